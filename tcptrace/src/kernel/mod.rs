//! Everything that touches the running kernel: probes, ring, snapshot, peek, counters, /proc.

mod error;
mod probes;
