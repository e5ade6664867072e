//! The in-kernel filter: a read-only global, so that the verifier folds away what is not used.
//!
//! It is a plain `[u32; FILTER_WORDS]`; the constants say which word means what. Unused words are 0.

/// 4, 6, or 0 for both. An IPv4-mapped IPv6 address counts as IPv4.
pub const FAMILY: usize = 0;
/// The inode number of the only wanted network namespace, or 0.
pub const NETNS: usize = 1;
/// How many local ports follow.
pub const LOCAL_COUNT: usize = 2;
/// How many remote ports follow.
pub const REMOTE_COUNT: usize = 3;
/// The first local port, host byte order.
pub const LOCAL: usize = 4;
/// How many ports of a side can be given.
pub const MAX_PORTS: usize = 8;
/// The first remote port, host byte order.
pub const REMOTE: usize = LOCAL + MAX_PORTS;
/// Length of the global.
pub const FILTER_WORDS: usize = REMOTE + MAX_PORTS;
