#!/bin/busybox sh
# The first process of the guest: prepares it, runs /command, says how that ended, and leaves.
# The kernel's messages go to the first serial line, ours and the command's to the second.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux LC_ALL=C.UTF-8
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# /tmp stays what it is: the programs lie where they were built, which may be below it.
chmod 1777 /tmp
mount -t tmpfs tmpfs /run
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec >/dev/ttyS1 2>&1 </dev/null
stty -F /dev/ttyS1 raw
ln -s /proc/self/fd /dev/fd
hostname guest
ip link set lo up

# In the order of their dependencies.
while read -r module; do
    insmod "/modules/$module.ko" || echo "vm: $module did not load"
done </modules/list

# A guest that outlives its host's patience must not run for ever.
( sleep @LIMIT@; echo 'vm: out of time'; echo w >/proc/sysrq-trigger; echo b >/proc/sysrq-trigger ) >/dev/kmsg &

cd /root
ulimit -n 65536
echo '@MARK@' up
# By its path: busybox would run its own shell, whose `ip` is its own too.
/bin/sh /command
status=$?
echo
echo '@MARK@' "$status"
sync
reboot -f
