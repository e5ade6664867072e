//! The thresholds in force: defaults, and what `--set KIND.NAME=VALUE` made of them. They stand in
//! a recording's header, so that a replay judges by the same measure.
//!
//! Invariant: one table says everything about a threshold; the struct, the command line and the
//! header are made from it.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::units::nanos;

/// The value of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A time; as written on the command line `90s`, `5m`.
    Duration(Duration),
    /// A number of sockets, events or attempts.
    Count(u64),
    /// A share, 0 to 100.
    Percent(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(value) => write!(f, "{}", humantime::format_duration(*value)),
            Self::Count(value) => write!(f, "{value}"),
            Self::Percent(value) => write!(f, "{value}%"),
        }
    }
}

/// One threshold, as `--help`, the header and the documents show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// `KIND.NAME`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// The value in force.
    pub value: Value,
}

impl Threshold {
    /// Its name in a recording's header: a duration is in nanoseconds, and says so.
    pub fn header_name(&self) -> String {
        match self.value {
            Value::Duration(_) => format!("{}_ns", self.name),
            Value::Count(_) | Value::Percent(_) => self.name.to_owned(),
        }
    }

    /// Its value in a recording's header.
    pub fn header_value(&self) -> u64 {
        match self.value {
            Value::Duration(value) => nanos(value),
            Value::Count(value) | Value::Percent(value) => value,
        }
    }
}

/// Why a threshold was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetError {
    /// It is not `KIND.NAME=VALUE`.
    #[error("`{0}` is not KIND.NAME=VALUE, as in close_wait_leak.after=30s")]
    Shape(String),
    /// No such threshold.
    #[error("there is no threshold `{0}`; `tcptrace explain thresholds` lists them")]
    Unknown(String),
    /// The value does not fit.
    #[error("`{value}` is no value for {name}: it takes {wanted}")]
    Value {
        /// Which threshold.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
}

/// How the kinds of values are read and shown.
trait Quantity: Copy {
    fn read(text: &str) -> Result<Self, &'static str>;
    fn from_number(number: u64) -> Self;
}

impl Quantity for Duration {
    fn read(text: &str) -> Result<Self, &'static str> {
        humantime::parse_duration(text).map_err(|_| "a duration as in 90s or 5m")
    }
    fn from_number(number: u64) -> Self {
        Self::from_nanos(number)
    }
}

impl Quantity for u64 {
    fn read(text: &str) -> Result<Self, &'static str> {
        text.trim_end_matches('%')
            .parse()
            .map_err(|_| "a whole number")
    }
    fn from_number(number: u64) -> Self {
        number
    }
}

macro_rules! thresholds {
    ($( $kind:ident { $( $field:ident: $type:path, $variant:ident = $default:expr, $meaning:literal; )+ } )+) => {
        /// Every threshold of the engine, by kind of finding.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $(
            #[doc = concat!("Of `", stringify!($kind), "`.")]
            pub $kind: kinds::$kind::Thresholds,
        )+ }

        /// The thresholds of each kind.
        pub mod kinds { $(
            #[doc = concat!("Of `", stringify!($kind), "`.")]
            pub mod $kind {
                #[doc = concat!("The thresholds of `", stringify!($kind), "`.")]
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub struct Thresholds { $(
                    #[doc = $meaning]
                    pub $field: $type,
                )+ }
            }
        )+ }

        impl Default for Settings {
            fn default() -> Self {
                Self { $( $kind: kinds::$kind::Thresholds { $( $field: $default, )+ }, )+ }
            }
        }

        impl Settings {
            /// All of them, in the order of the catalogue.
            pub fn all(&self) -> Vec<Threshold> {
                vec![ $( $( Threshold {
                    name: concat!(stringify!($kind), ".", stringify!($field)),
                    meaning: $meaning,
                    value: Value::$variant(self.$kind.$field),
                }, )+ )+ ]
            }

            fn put(&mut self, name: &str, value: &str) -> Result<(), SetError> {
                match name { $( $(
                    concat!(stringify!($kind), ".", stringify!($field)) => {
                        self.$kind.$field = Quantity::read(value).map_err(|wanted| SetError::Value {
                            name: concat!(stringify!($kind), ".", stringify!($field)),
                            value: value.to_owned(),
                            wanted,
                        })?;
                    }
                )+ )+
                    _ => return Err(SetError::Unknown(name.to_owned())),
                }
                Ok(())
            }

            fn put_number(&mut self, name: &str, number: u64) {
                match name { $( $(
                    concat!(stringify!($kind), ".", stringify!($field)) => {
                        self.$kind.$field = Quantity::from_number(number);
                    }
                )+ )+
                    _ => {}
                }
            }
        }
    };
}

thresholds! {
    close_wait_leak {
        after: std::time::Duration, Duration = Duration::from_secs(60), "age at which a socket in CLOSE_WAIT becomes suspect; never-accepted ones after at most 10 s";
        warning_count: u64, Count = 10, "sockets that make it a warning";
        growth_windows: u64, Count = 3, "one-minute windows of growth that make it a warning";
        critical_percent: u64, Percent = 80, "share of the descriptor limit that makes it critical";
        critical_forecast: std::time::Duration, Duration = Duration::from_secs(30 * 60), "time to the exhaustion of descriptors that makes it critical";
    }
    fin_retransmit {
        info_attempt: u64, Count = 3, "the repetition of a FIN that is worth knowing, loss probes not counted";
        warning_count: u64, Count = 10, "connections within the window that make it a warning";
        warning_percent: u64, Percent = 1, "share of the closes within the window that makes it a warning";
        window: std::time::Duration, Duration = Duration::from_secs(60), "the window of count and share";
    }
    closing_stuck {
        after: std::time::Duration, Duration = Duration::from_secs(60), "time in FIN_WAIT1, CLOSING or LAST_ACK that is worth knowing";
        warning_count: u64, Count = 10, "sockets that make it a warning";
    }
    syn_retransmit {
        info_attempt: u64, Count = 2, "the repetition of a SYN that is worth knowing";
        warning_count: u64, Count = 10, "connections within the window that make it a warning";
        warning_percent: u64, Percent = 5, "share of the handshakes within the window that makes it a warning";
        window: std::time::Duration, Duration = Duration::from_secs(60), "the window of count and share";
    }
    synack_retransmit {
        info_attempt: u64, Count = 2, "the repetition of a SYN-ACK that is worth knowing";
        warning_count: u64, Count = 10, "connections within the window that make it a warning";
        warning_percent: u64, Percent = 5, "share of the handshakes within the window that makes it a warning";
        window: std::time::Duration, Duration = Duration::from_secs(60), "the window of count and share";
    }
    dead_peer {
        info_attempt: u64, Count = 3, "the repetition of data or of a keepalive probe that is worth knowing";
        idle_after: std::time::Duration, Duration = Duration::from_secs(3600), "silence of an ESTABLISHED socket without keepalive that is worth knowing, with --idle-peers";
        idle_peers: u64, Count = 0, "1 looks for such sockets, as --idle-peers does";
    }
    syn_queue_overflow {
        critical_per_second: u64, Count = 100, "drops a second that make it critical when they last";
        critical_after: std::time::Duration, Duration = Duration::from_secs(10), "how long they must last";
    }
    accept_queue_overflow {
        not_accepting_after: std::time::Duration, Duration = Duration::from_secs(1), "time without an accept, while the queue is full, that is not slow but absent";
        critical_after: std::time::Duration, Duration = Duration::from_secs(10), "how long nobody must have accepted to make it critical";
    }
    backlog_truncated {
        depth_percent: u64, Percent = 50, "share of its limit that the accept queue must have passed";
    }
    time_wait_pileup {
        info_count: u64, Count = 1000, "connections in TIME_WAIT that are worth knowing when they last";
        info_after: std::time::Duration, Duration = Duration::from_secs(10), "how long they must last";
        warning_percent: u64, Percent = 50, "share of tcp_max_tw_buckets that makes it a warning";
    }
    port_exhaustion {
        info_percent: u64, Percent = 50, "share of ip_local_port_range in use towards one endpoint that is worth knowing";
        warning_percent: u64, Percent = 70, "share that makes it a warning";
        critical_percent: u64, Percent = 90, "share that makes it critical";
    }
    fin_wait2_stuck {
        half_closed_after: std::time::Duration, Duration = Duration::from_secs(5 * 60), "time in FIN_WAIT2 with a descriptor open that counts as stuck";
        warning_count: u64, Count = 10, "half-closed sockets that make it a warning";
        info_orphans: u64, Count = 1000, "orphans that are worth knowing";
    }
    reset_burst {
        warning_count: u64, Count = 20, "resets within the window that make it a warning, with the share";
        warning_percent: u64, Percent = 5, "share of the closes within the window that makes it a warning";
        window: std::time::Duration, Duration = Duration::from_secs(60), "the window of count and share";
    }
}

impl Settings {
    /// Takes `KIND.NAME=VALUE`.
    ///
    /// # Errors
    ///
    /// When the assignment has another shape, names no threshold, or the value does not fit.
    pub fn set(&mut self, assignment: &str) -> Result<(), SetError> {
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| SetError::Shape(assignment.to_owned()))?;
        let name = name.trim();
        let mut changed = self.clone();
        changed.put(name, value.trim())?;
        let excessive = changed
            .all()
            .into_iter()
            .find(|t| t.name == name && matches!(t.value, Value::Percent(share) if share > 100));
        if let Some(threshold) = excessive {
            return Err(SetError::Value {
                name: threshold.name,
                value: value.trim().to_owned(),
                wanted: "a share from 0 to 100",
            });
        }
        *self = changed;
        Ok(())
    }

    /// Takes a value as a header holds it; what a newer version wrote is ignored.
    pub fn set_from_header(&mut self, name: &str, number: u64) {
        let known = self
            .all()
            .into_iter()
            .find(|threshold| threshold.header_name() == name);
        if let Some(threshold) = known {
            self.put_number(threshold.name, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_can_be_set_and_comes_back_from_a_header() {
        for threshold in Settings::default().all() {
            let text = match threshold.value {
                Value::Duration(_) => "7s",
                Value::Count(_) => "7",
                Value::Percent(_) => "7%",
            };
            let mut settings = Settings::default();
            settings
                .set(&format!("{}={text}", threshold.name))
                .expect("its own kind of value");
            assert_ne!(settings, Settings::default(), "{}", threshold.name);
            let mut read = Settings::default();
            for written in settings.all() {
                read.set_from_header(&written.header_name(), written.header_value());
            }
            assert_eq!(read, settings, "{}", threshold.name);
        }
    }

    #[test]
    fn a_wrong_assignment_says_what_is_wanted() {
        let mut settings = Settings::default();
        let message = |settings: &mut Settings, text: &str| {
            settings.set(text).expect_err("wrong").to_string()
        };
        assert!(message(&mut settings, "close_wait_leak").contains("KIND.NAME=VALUE"));
        assert!(message(&mut settings, "close_wait_leak.before=1s").contains("no threshold"));
        assert!(message(&mut settings, "close_wait_leak.after=soon").contains("a duration"));
        assert!(message(&mut settings, "reset_burst.warning_percent=101").contains("0 to 100"));
        assert_eq!(settings, Settings::default());
    }
}
