//! Everything that touches the running kernel: probes, ring, snapshot, peek, counters, /proc.

mod btf;
mod diagnostics;
mod error;
mod iterators;
mod layout;
mod learn;
mod load;
mod on_demand;
mod probes;
mod ring;
mod tracefs;
