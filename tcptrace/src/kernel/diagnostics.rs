//! Rare diagnostics of the eBPF side, by aya-log: to the log, never over the screen. Only programs
//! that run on demand write any.

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The consuming end.
pub(super) struct Diagnostics(Option<EbpfLogger<ToTracing>>);

impl Diagnostics {
    /// Nothing is read where the object cannot write.
    pub(super) fn of(ebpf: &mut Ebpf) -> Self {
        Self(EbpfLogger::init_with_logger(ebpf, ToTracing).ok())
    }

    /// Logs what the programs had to say.
    pub(super) fn pass_on(&mut self) {
        if let Some(logger) = &mut self.0 {
            logger.flush();
        }
    }
}

struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "tcptrace::ebpf", "{}", record.args());
    }

    fn flush(&self) {}
}
