//! Where the fields of kernel structures lie on the running kernel. The agent resolves every entry
//! from BTF and writes the result into the LAYOUT global; the programs read it field by field.
//! Nothing here is an offset: only names are compiled in.

/// A field that the running kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// What an entry of the layout means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The byte offset of a member; for a bit field, of the byte with its lowest bit.
    Offset,
    /// The position of a bit field's lowest bit in that byte.
    Shift,
    /// Something else that the agent finds out: see the field's comment.
    Fact,
}

/// What becomes of tcptrace when a field is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It cannot run.
    Mandatory,
    /// The named feature is off.
    Optional(&'static str),
}

/// One entry of the layout.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The entry's name.
    pub name: &'static str,
    /// The kernel's type.
    pub of: &'static str,
    /// The member's path; anonymous structs and unions are looked through.
    pub path: &'static str,
    /// What to store.
    pub meaning: Meaning,
    /// Whether it may be missing.
    pub need: Need,
}

macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident: $meaning:ident $of:literal $path:literal $need:expr;)*) => {
        /// Offsets of the running kernel; [`ABSENT`] where it has no such field.
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct Layout {
            $($(#[$doc])* #[doc = concat!("`", $of, ".", $path, "`")] pub $name: u16,)*
        }

        /// The entries, in the order of [`Layout`].
        pub const FIELDS: &[Field] = &[$(Field {
            name: stringify!($name),
            of: $of,
            path: $path,
            meaning: Meaning::$meaning,
            need: $need,
        }),*];

        impl Layout {
            /// Nothing known.
            pub const UNKNOWN: Self = Self { $($name: ABSENT),* };
        }
    };
}

use Need::{Mandatory, Optional};

const PEEK: Need = Optional("peek");
const EPOLL: Need = Optional("epoll registrations");
const SYNACK: Need = Optional("SYN-ACK retransmits");
const ACCEPT: Need = Optional("accept by system call");
const FILES: Need = Optional("file references");
const KPROBE: Need = Optional("kprobes");
const WAITER: Need = Optional("who waited at a FIN");
const SENDING: Need = Optional("what the sending side waits for");
const SETTINGS: Need = Optional("per-socket timeouts");
const MAPPED: Need = Optional("zero-copy receive");
const IPV6: Need = Optional("IPv6");
const USAGE: Need = Optional("how a connection was used");

layout! {
    skc_family: Offset "sock" "__sk_common.skc_family" Mandatory;
    skc_state: Offset "sock" "__sk_common.skc_state" Mandatory;
    skc_num: Offset "sock" "__sk_common.skc_num" Mandatory;
    skc_dport: Offset "sock" "__sk_common.skc_dport" Mandatory;
    skc_daddr: Offset "sock" "__sk_common.skc_daddr" Mandatory;
    skc_rcv_saddr: Offset "sock" "__sk_common.skc_rcv_saddr" Mandatory;
    skc_v6_daddr: Offset "sock" "__sk_common.skc_v6_daddr" IPV6;
    skc_v6_rcv_saddr: Offset "sock" "__sk_common.skc_v6_rcv_saddr" IPV6;
    skc_listener: Offset "request_sock" "__req_common.skc_listener" Mandatory;
    skc_flags: Offset "sock" "__sk_common.skc_flags" Mandatory;
    skc_net: Offset "sock" "__sk_common.skc_net.net" Mandatory;
    sk_lock_owned: Offset "sock" "sk_lock.owned" Mandatory;
    sk_protocol: Offset "sock" "sk_protocol" Mandatory;
    sk_type: Offset "sock" "sk_type" Mandatory;
    sk_err: Offset "sock" "sk_err" Mandatory;
    sk_shutdown: Offset "sock" "sk_shutdown" Mandatory;
    sk_socket: Offset "sock" "sk_socket" Mandatory;
    sk_txhash: Offset "sock" "sk_txhash" Mandatory;
    sk_ack_backlog: Offset "sock" "sk_ack_backlog" Mandatory;
    sk_max_ack_backlog: Offset "sock" "sk_max_ack_backlog" Mandatory;
    sk_drops: Offset "sock" "sk_drops" Optional("listener drops");
    sk_wq: Offset "sock" "sk_wq" PEEK;
    sk_data_ready: Offset "sock" "sk_data_ready" PEEK;
    inet_sport: Offset "inet_sock" "inet_sport" Mandatory;
    icsk_retransmits: Offset "inet_connection_sock" "icsk_retransmits" Mandatory;
    icsk_pending: Offset "inet_connection_sock" "icsk_pending" Mandatory;
    icsk_backoff: Offset "inet_connection_sock" "icsk_backoff" Mandatory;
    icsk_rto: Offset "inet_connection_sock" "icsk_rto" Mandatory;
    icsk_ca_state: Offset "inet_connection_sock" "icsk_ca_state" Mandatory;
    icsk_ca_state_shift: Shift "inet_connection_sock" "icsk_ca_state" Mandatory;
    icsk_probes_out: Offset "inet_connection_sock" "icsk_probes_out" SENDING;
    icsk_syn_retries: Offset "inet_connection_sock" "icsk_syn_retries" SETTINGS;
    icsk_user_timeout: Offset "inet_connection_sock" "icsk_user_timeout" SETTINGS;
    icsk_qlen: Offset "inet_connection_sock" "icsk_accept_queue.qlen" Mandatory;
    icsk_accept_head: Offset "inet_connection_sock" "icsk_accept_queue.rskq_accept_head" Mandatory;
    icsk_defer_accept: Offset "inet_connection_sock" "icsk_accept_queue.rskq_defer_accept" SYNACK;
    tcp_rcv_nxt: Offset "tcp_sock" "rcv_nxt" Mandatory;
    tcp_copied_seq: Offset "tcp_sock" "copied_seq" Mandatory;
    tcp_write_seq: Offset "tcp_sock" "write_seq" Mandatory;
    tcp_snd_una: Offset "tcp_sock" "snd_una" Mandatory;
    tcp_snd_nxt: Offset "tcp_sock" "snd_nxt" SENDING;
    tcp_snd_wnd: Offset "tcp_sock" "snd_wnd" SENDING;
    tcp_keepalive_time: Offset "tcp_sock" "keepalive_time" SENDING;
    tcp_keepalive_intvl: Offset "tcp_sock" "keepalive_intvl" SENDING;
    tcp_keepalive_probes: Offset "tcp_sock" "keepalive_probes" SENDING;
    tcp_bytes_acked: Offset "tcp_sock" "bytes_acked" Mandatory;
    tcp_lsndtime: Offset "tcp_sock" "lsndtime" USAGE;
    tcp_data_segs_in: Offset "tcp_sock" "data_segs_in" USAGE;
    tcp_data_segs_out: Offset "tcp_sock" "data_segs_out" USAGE;
    icsk_lrcvtime: Offset "inet_connection_sock" "icsk_ack.lrcvtime" USAGE;
    tcp_rcv_tstamp: Offset "tcp_sock" "rcv_tstamp" Mandatory;
    skb_cb: Offset "sk_buff" "cb" Mandatory;
    skb_head: Offset "sk_buff" "head" Mandatory;
    skb_network_header: Offset "sk_buff" "network_header" Mandatory;
    skb_transport_header: Offset "sk_buff" "transport_header" Mandatory;
    skb_dev: Offset "sk_buff" "dev" Mandatory;
    dev_net: Offset "net_device" "nd_net.net" Mandatory;
    cb_tcp_flags: Offset "tcp_skb_cb" "tcp_flags" Mandatory;
    req_dl_next: Offset "request_sock" "dl_next" Mandatory;
    req_sk: Offset "request_sock" "sk" Mandatory;
    req_num_retrans: Offset "request_sock" "num_retrans" SYNACK;
    req_num_timeout: Offset "request_sock" "num_timeout" Optional("timeouts of SYN-ACKs");
    req_num_timeout_shift: Shift "request_sock" "num_timeout" Optional("timeouts of SYN-ACKs");
    ireq_acked: Offset "inet_request_sock" "acked" SYNACK;
    ireq_acked_shift: Shift "inet_request_sock" "acked" SYNACK;
    tw_substate: Offset "inet_timewait_sock" "tw_substate" Optional("TIME_WAIT substates");
    net_inum: Offset "net" "ns.inum" Mandatory;
    socket_sk: Offset "socket" "sk" Mandatory;
    socket_file: Offset "socket" "file" FILES;
    file_inode: Offset "file" "f_inode" Mandatory;
    file_private: Offset "file" "private_data" Mandatory;
    /// The reference count up to Linux 6.12.
    file_count: Offset "file" "f_count.counter" FILES;
    /// The reference count from Linux 6.13, which stores one less.
    file_ref: Offset "file" "f_ref.refcnt.counter" FILES;
    file_mapping: Offset "file" "f_mapping" MAPPED;
    mapping_tree: Offset "address_space" "i_mmap.rb_root.rb_node" MAPPED;
    inode_mode: Offset "inode" "i_mode" Mandatory;
    task_flags: Offset "task_struct" "flags" Mandatory;
    task_tgid: Offset "task_struct" "tgid" Mandatory;
    task_comm: Offset "task_struct" "comm" Mandatory;
    task_files: Offset "task_struct" "files" ACCEPT;
    task_exit_code: Offset "task_struct" "exit_code" Optional("signals that end processes");
    task_signal: Offset "task_struct" "signal" Mandatory;
    task_leader: Offset "task_struct" "group_leader" Mandatory;
    task_start_boottime: Offset "task_struct" "start_boottime" Mandatory;
    signal_live: Offset "signal_struct" "live.counter" Mandatory;
    files_fdt: Offset "files_struct" "fdt" ACCEPT;
    fdt_fd: Offset "fdtable" "fd" ACCEPT;
    fdt_max: Offset "fdtable" "max_fds" ACCEPT;
    wq_wait_head: Offset "socket_wq" "wait.head" PEEK;
    wait_head: Offset "wait_queue_head" "head" EPOLL;
    wait_func: Offset "wait_queue_entry" "func" PEEK;
    wait_entry: Offset "wait_queue_entry" "entry" PEEK;
    wait_private: Offset "wait_queue_entry" "private" WAITER;
    list_next: Offset "list_head" "next" PEEK;
    list_prev: Offset "list_head" "prev" PEEK;
    eppoll_base: Offset "eppoll_entry" "base" EPOLL;
    eppoll_wait: Offset "eppoll_entry" "wait" EPOLL;
    epitem_rdllink: Offset "epitem" "rdllink" EPOLL;
    epitem_ep: Offset "epitem" "ep" EPOLL;
    epitem_events: Offset "epitem" "event.events" EPOLL;
    eventpoll_wq: Offset "eventpoll" "wq" EPOLL;
    eventpoll_poll_wait: Offset "eventpoll" "poll_wait" EPOLL;
    /// 1 when `tcp_retransmit_skb` passes `err` (Linux 6.17 on).
    retransmit_has_err: Fact "" "btf_trace_tcp_retransmit_skb" Mandatory;
    /// 1 when `tcp_send_reset` passes a reason (Linux 6.10 on).
    reset_has_reason: Fact "" "btf_trace_tcp_send_reset" Mandatory;
    /// How many arguments `inet_csk_accept` has: its result follows them.
    accept_args: Fact "" "inet_csk_accept" Optional("accept by function");
    /// 1 when the kernel has `bpf_get_current_task_btf` (Linux 5.11 on).
    has_task_btf: Fact "" "bpf_get_current_task_btf" Mandatory;
    /// `TCP_SYNACK_COOKIE`.
    synack_cookie: Fact "" "enum tcp_synack_type" Optional("queue drops");
    net_syncookies: Offset "net" "ipv4.sysctl_tcp_syncookies" Optional("queue drops with both queues full");
    /// Where the saved registers keep the arguments of a function, by the architecture.
    pt_regs_arg0: Fact "" "struct pt_regs" KPROBE;
    pt_regs_arg1: Fact "" "struct pt_regs" KPROBE;
    pt_regs_arg2: Fact "" "struct pt_regs" KPROBE;
    pt_regs_arg3: Fact "" "struct pt_regs" KPROBE;
    pt_regs_arg4: Fact "" "struct pt_regs" KPROBE;
    /// Where the saved registers keep the result of a function.
    pt_regs_ret: Fact "" "struct pt_regs" KPROBE;
    /// 1 when programs may read any kernel memory: not under lockdown for confidentiality.
    may_probe: Fact "" "bpf_probe_read_kernel" Mandatory;
    /// 1 when the kernel has `bpf_sock_from_file` (Linux 5.11 on).
    has_sock_from_file: Fact "" "bpf_sock_from_file" Mandatory;
    /// 1 when what a tracepoint calls may be preempted: Linux 7.0 on guards it with SRCU, whose fast
    /// flavour has a constructor of its own since 6.19.
    preemptible: Fact "" "init_srcu_struct_fast" Mandatory;
    sys_exit_ret: Offset "syscall_trace_exit" "ret" ACCEPT;
}

const _: () = assert!(size_of::<Layout>() == 2 * FIELDS.len());
