//! Newtypes that keep units and identities apart, from the decoder to the screen.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds on CLOCK_MONOTONIC, the clock of `bpf_ktime_get_ns`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// The time from `earlier` to `self`; zero when `earlier` is later, as records of two CPUs may
    /// arrive out of order.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// The instant `by` earlier, not before the start of the clock.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

/// A duration as nanoseconds; 584 years is as long as it gets.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallNs(pub i64);

/// A TCP port in host byte order, never 0: an unknown port is an absent one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(pub u16);

/// A process id (the kernel's tgid) in the initial pid namespace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Pid(pub u32);

/// A thread id (the kernel's pid) in the initial pid namespace.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tid(pub u32);

/// A file descriptor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(pub u32);

/// A network namespace by its inode number, as `/proc/PID/ns/net` shows it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NetnsId(pub u32);

/// One life of one socket, unique in a recording.
///
/// A kernel address is not an identity: the allocator hands it out again within milliseconds. The
/// agent numbers sockets as they are born, so that no address enters the engine or a file.
/// Written in base 36.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub u64);

impl fmt::Display for SockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0_u8; 13];
        let mut at = digits.len();
        let mut rest = self.0;
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&digits[at..]).unwrap_or("?"))
    }
}

/// The text is not a [`SockId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a socket id: expected up to 13 base-36 digits")]
pub struct BadSockId(String);

impl FromStr for SockId {
    type Err = BadSockId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` accepts a sign and capitals, which Display never writes.
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        match u64::from_str_radix(text, 36) {
            Ok(number) if plain => Ok(Self(number)),
            _ => Err(BadSockId(text.to_owned())),
        }
    }
}

impl Serialize for SockId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SockId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sock_ids_survive_text() {
        for number in [0, 1, 35, 36, 12_345_678, u64::MAX] {
            let id = SockId(number);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("+1".parse::<SockId>().is_err());
        assert!("A".parse::<SockId>().is_err());
        assert!("".parse::<SockId>().is_err());
    }

    #[test]
    fn time_saturates() {
        assert_eq!(MonoNs(5).since(MonoNs(7)), Duration::ZERO);
        assert_eq!(MonoNs(5).minus(Duration::from_secs(1)), MonoNs(0));
    }
}
