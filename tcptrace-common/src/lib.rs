//! The contract between the eBPF programs and the agent: records, kinds, loss causes, names and
//! the layout of the kernel's structures. No logic, no `std`.
//!
//! Invariants: every record is `#[repr(C)]` without implicit padding, its size is a constant that a
//! test on either side checks, and numbers are in the kernel's unit, which their names tell.
#![no_std]

pub mod filter;
pub mod layout;
pub mod names;
pub mod record;
