//! The eBPF programs: one hook per file, stateless and short. A program guards, reads, fills one
//! fixed record, emits. Correlation is user space's work.
//!
//! Invariants: no offset of the kernel is compiled in, each is read from the LAYOUT global, which the
//! verifier treats as constants; a branch on LAYOUT is folded away, so that one object loads on
//! kernels that lack a field, an argument or a helper; what does not fit into the ring is counted.
//!
//! No program calls a function of its own: everything is inlined. Kernels before 6.5 have the main
//! program twice when there are subprograms, once without the table that catches faults of plain
//! loads, and which of the two a fault finds is chance: a null pointer then panics the kernel
//! (seen on 5.10; Linux 0108a4e9f358 "bpf: ensure main program has an extable"). A test of the
//! agent holds the object against this.
#![no_std]
#![no_main]

mod accept_function;
mod accept_syscall;
mod answer;
mod descriptors;
mod destroy;
mod destroy_understudy;
mod emit;
mod enqueue;
mod filter;
mod handled;
mod layout;
mod peek;
mod process_exit;
mod queue;
mod queue_drop;
mod receive_reset;
mod registers;
mod resolve;
mod retransmit;
mod row;
mod segment;
mod send_reset;
mod sock;
mod stack;
mod state;
mod synack;
mod tables;
mod understudy;

/// The helpers used are GPL-only; the sources may also be used under the MIT licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
