//! The contract between the eBPF programs and the agent: records, kinds, loss causes, names and
//! the layout of the kernel's structures. No logic, no `std`.
#![no_std]
