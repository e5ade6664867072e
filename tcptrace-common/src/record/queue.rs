//! The walk through an accept queue.

/// How many children one run of the accept queue's walk gives.
pub const CHILDREN: usize = 128;

/// One step of a walk through an accept queue.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Child {
    /// The address of the child's `struct sock`; 0 past the end.
    pub sock: u64,
    /// The listener that its request names: another one when the request was reused meanwhile.
    pub listener: u64,
}

/// The answer of the program that walks a listener's accept queue.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AcceptQueue {
    /// The request to go on with, or 0.
    pub next: u64,
    /// The children, oldest first.
    pub children: [Child; CHILDREN],
}

const _: () = assert!(size_of::<AcceptQueue>() == 8 + 16 * CHILDREN);
