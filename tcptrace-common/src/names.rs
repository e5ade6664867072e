//! The names by which the agent finds what is inside the object file: programs, maps and globals.

/// The ring of event records.
pub const EVENTS: &str = "EVENTS";
/// The ring of answers of the on-demand programs.
pub const ANSWERS: &str = "ANSWERS";
/// Per CPU and record kind: how often the ring had no room.
pub const FAILED: &str = "FAILED";

/// The global that says, when it is not 0, that user stacks are wanted.
pub const STACKS_WANTED: &str = "STACKS_WANTED";

/// The global with the offsets of the running kernel, see [`crate::layout::Layout`].
pub const LAYOUT: &str = "LAYOUT";
/// The global with the in-kernel filter, see [`crate::filter`].
pub const FILTER: &str = "FILTER";
/// Per CPU, the state changes that the first program handled and its understudy has not seen yet.
pub const HANDLED: &str = "HANDLED";
/// The same for the ends of sockets.
pub const ENDED: &str = "ENDED";
/// As [`HANDLED`], by task: where a tracepoint may be preempted, a task may go on elsewhere between two
/// programs.
pub const HANDLED_BY_TASK: &str = "HANDLED_BY_TASK";
/// As [`ENDED`], by task.
pub const ENDED_BY_TASK: &str = "ENDED_BY_TASK";
/// Places for such events, of each CPU or task.
pub const PLACES: usize = 4;
/// How many threads those by task tell apart, by their number; more share. A power of two.
pub const THREADS: u32 = 4096;
/// Behind the threads: how many CPUs' idle tasks, which all have the number 0. A power of two.
pub const IDLE_TASKS: u32 = 1024;
/// The global with the fill level of [`EVENTS`], in bytes, whose crossing wakes the reader.
pub const WAKE_LEVEL: &str = "WAKE_LEVEL";
/// How many arguments an on-demand program takes: MAX_BPF_FUNC_ARGS of the kernel.
pub const ARGUMENTS: usize = 12;
