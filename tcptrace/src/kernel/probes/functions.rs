//! Probes of functions: each by the best way that really loads on this host, trampoline before
//! breakpoint, and where neither does, by the tracepoints that tell less.

use aya::Btf;

use super::Probes;
use crate::kernel::error::KernelError;
use crate::kernel::hooks::{
    ACCEPT_FEXIT, ACCEPT_KRETPROBE, ACCEPT_SYSCALLS, ACKS, ENQUEUE, GRAFT, Hook, SYN, Tier,
};
use crate::kernel::layout::Resolved;
use crate::kernel::load;
use crate::kernel::probes::{ProbeOptions, ProbeState};

impl Probes {
    /// Hooks into functions as far as the kernel lets and the user wants.
    pub(super) fn functions(
        &mut self,
        btf: &Btf,
        layout: &Resolved,
        options: &ProbeOptions,
    ) -> Result<(), KernelError> {
        self.accept(btf, layout, options)?;
        self.syn(btf, layout, options)?;
        for ways in ENQUEUE.iter().chain(&ACKS) {
            self.first_of(btf, layout, options, ways)?;
        }
        Ok(())
    }

    /// Sees accept by the function where that can be probed, else by the system calls, if allowed.
    fn accept(
        &mut self,
        btf: &Btf,
        layout: &Resolved,
        options: &ProbeOptions,
    ) -> Result<(), KernelError> {
        if self.first_of(btf, layout, options, &GRAFT)? {
            return Ok(());
        }
        let arguments = layout.entry("accept_args");
        let by_arguments = ACCEPT_FEXIT
            .iter()
            .find(|(takes, _)| Some(*takes) == arguments);
        let mut ways = vec![ACCEPT_KRETPROBE];
        match by_arguments {
            Some((_, hook)) => ways.insert(0, *hook),
            None => {
                let hook = &ACCEPT_FEXIT[0].1;
                if hook.tier.is_admitted(options.tier) {
                    let lacks = "an inet_csk_accept with two or four arguments";
                    self.try_hook(btf, hook, Some(lacks))?;
                }
            }
        }
        if self.first_of(btf, layout, options, &ways)? {
            return Ok(());
        }
        for hook in &ACCEPT_SYSCALLS {
            if !hook.tier.is_admitted(options.tier) {
                continue;
            }
            if options.accept_syscalls {
                self.try_hook(btf, hook, layout.lacks("accept by system call"))?;
            } else {
                let state = ProbeState::Missing("switched off by --no-accept-syscalls".to_owned());
                self.note(hook, state);
            }
        }
        Ok(())
    }

    /// All programs that judge a SYN together, or none: without one of them every SYN would look
    /// dropped.
    fn syn(
        &mut self,
        btf: &Btf,
        layout: &Resolved,
        options: &ProbeOptions,
    ) -> Result<(), KernelError> {
        for ways in &SYN {
            if !self.first_of(btf, layout, options, ways)? {
                let function = ways[0].hook;
                self.forget(&SYN.concat(), function);
                break;
            }
        }
        Ok(())
    }

    /// Takes the first way that loads; whether there is one.
    fn first_of(
        &mut self,
        btf: &Btf,
        layout: &Resolved,
        options: &ProbeOptions,
        ways: &[Hook],
    ) -> Result<bool, KernelError> {
        for hook in ways {
            if !hook.tier.is_admitted(options.tier) {
                continue;
            }
            let feature = match hook.tier {
                Tier::Kprobe | Tier::Kretprobe if !load::has_kprobes() => {
                    Some("kprobes (CONFIG_KPROBE_EVENTS)")
                }
                Tier::Kprobe | Tier::Kretprobe => layout.lacks("kprobes"),
                _ => None,
            };
            let lacks = feature.or_else(|| match hook.purpose {
                crate::kernel::hooks::Purpose::QueueDrops => layout.lacks("queue drops"),
                _ => None,
            });
            if self.try_hook(btf, hook, lacks)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Unloads programs that are of no use without another one.
    fn forget(&mut self, hooks: &[Hook], without: &str) {
        for hook in hooks {
            let status = self
                .status
                .iter_mut()
                .find(|it| it.name == hook.program && it.state == ProbeState::Attached);
            if let Some(status) = status {
                status.state =
                    ProbeState::Missing(format!("of no use where {without} cannot be probed"));
                if let Err(error) = load::unhook(&mut self.ebpf, hook) {
                    tracing::warn!(program = hook.program, %error, "a probe cannot be unloaded");
                }
            }
        }
        self.attached
            .retain(|(it, _)| hooks.iter().all(|hook| hook.program != it.program));
    }
}
