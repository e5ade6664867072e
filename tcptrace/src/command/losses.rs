//! What is missing, in words, for whoever reads the result of a run.

use std::fmt;

use tcptrace_core::Evictions;
use tcptrace_core::input::LossCause;
use tcptrace_core::world::Totals;

/// What engines counted as missing, those of several recordings together.
#[derive(Debug, Default)]
pub(super) struct Losses {
    counts: [u64; LossCause::ALL.len()],
    evictions: Evictions,
}

impl Losses {
    pub(super) fn add(&mut self, totals: &Totals) {
        for (sum, count) in self.counts.iter_mut().zip(totals.losses) {
            *sum += count;
        }
        self.evictions.merge(&totals.evictions);
    }

    pub(super) fn any(&self) -> bool {
        self.counts.iter().any(|count| *count > 0)
    }
}

/// `3 (ring), 781 (evicted from fin_wait2_stuck 781)`, or `none`.
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (cause, count) in LossCause::ALL.into_iter().zip(self.counts) {
            match cause {
                _ if count == 0 => {}
                LossCause::Evicted => {
                    parts.push(format!(
                        "{count} ({} from {})",
                        cause.name(),
                        self.evictions
                    ));
                }
                _ => parts.push(format!("{count} ({})", cause.name())),
            }
        }
        match parts.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tcptrace_core::input::Loss;
    use tcptrace_core::units::MonoNs;
    use tcptrace_core::{Engine, Input, Outcome};

    use super::*;

    #[test]
    fn losses_are_added_up_and_full_tables_named() {
        let mut losses = Losses::default();
        assert_eq!((losses.any(), losses.to_string().as_str()), (false, "none"));
        for (cause, kind) in [
            (LossCause::Ring, "transition"),
            (LossCause::Evicted, "socket"),
        ] {
            let mut engine = Engine::new(tcptrace_core::settings::Settings::default());
            let loss = Loss {
                cause,
                kind: Some(Arc::from(kind)),
                count: 3,
                from: MonoNs(1),
                to: MonoNs(2),
            };
            engine.apply(&Input::Loss(loss), &mut Outcome::default());
            losses.add(engine.world().totals());
            losses.add(engine.world().totals());
        }
        assert!(losses.any());
        assert_eq!(losses.to_string(), "6 (ring), 6 (evicted from sockets 6)");
    }
}
