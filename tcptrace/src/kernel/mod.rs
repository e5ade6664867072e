//! Everything that touches the running kernel: probes, ring, snapshot, peek, counters, /proc.

mod clock;
mod counters;
mod error;
mod identity;
mod netns;
mod probes;
mod process;
