//! Access to kernel memory through the LAYOUT global: plainly, where the verifier knows the type of
//! the pointer, or by probe reads, where it does not.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tcptrace_common::layout::Layout;

/// Filled by the agent before the load, and read-only from then on.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Layout = Layout::UNKNOWN;

/// A global that the agent changes in the object, unknown to the compiler.
#[inline(always)]
pub(crate) fn constant(entry: &'static u16) -> usize {
    // SAFETY: a reference is readable.
    usize::from(unsafe { core::ptr::from_ref(entry).read_volatile() })
}

/// One entry of the layout, as a constant for the verifier but not for the compiler.
macro_rules! at {
    ($field:ident) => {
        $crate::layout::constant(&$crate::layout::LAYOUT.$field)
    };
}
pub(crate) use at;

/// Whether the running kernel has a field.
macro_rules! has {
    ($field:ident) => {
        $crate::layout::at!($field) != tcptrace_common::layout::ABSENT as usize
    };
}
pub(crate) use has;

/// A way to read kernel memory.
pub(crate) trait Memory {
    /// Whether a pointer must be compared with NULL before it is followed.
    const MINDS_NULL: bool;

    /// How to read what a pointer that was read leads to.
    type Behind: Memory;

    /// Reads a `T` at `base + offset`; zeroes where there is none.
    fn get<T: Copy>(base: *const u8, offset: usize) -> T;
}

/// Loads through pointers whose type the verifier knows. A fault reads zeroes.
pub(crate) struct Plain;

impl Memory for Plain {
    /// A fault is harmless by itself, but on 5.10 its fixup can miss while a program is being
    /// detached, and the host panics.
    const MINDS_NULL: bool = true;

    type Behind = Self;

    #[inline(always)]
    fn get<T: Copy>(base: *const u8, offset: usize) -> T {
        // SAFETY: the verifier admits the load only at a field of the pointer's type, and the
        // kernel turns a fault into zeroes.
        unsafe { base.add(offset).cast::<T>().read_volatile() }
    }
}

/// `bpf_probe_read_kernel`, for any address.
pub(crate) struct Probe;

impl Memory for Probe {
    const MINDS_NULL: bool = false;

    type Behind = Self;

    /// The result of the helper is ignored on purpose: it fills with zeroes on a fault, and a branch
    /// for each read explodes in the verifier.
    #[inline(always)]
    fn get<T: Copy>(base: *const u8, offset: usize) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes all bytes, zeroes on a fault, and every `T` used is made of integers.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                base.wrapping_add(offset).cast(),
            );
            value.assume_init()
        }
    }
}

/// The beginning of a structure, fetched by one probe read: most of what one costs is the call, so
/// several fields that lie close together come at the price of one.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Beginning<const WORDS: usize> {
    address: *const u8,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Beginning<WORDS> {
    #[inline(always)]
    pub(crate) fn of(address: *const u8) -> Self {
        Self {
            address,
            words: Probe::get(address, 0),
        }
    }

    /// Where the structure lies in the kernel.
    #[inline(always)]
    pub(crate) fn address(&self) -> *const u8 {
        self.address
    }

    /// As the base for reads by [`Near`].
    #[inline(always)]
    pub(crate) fn base(&self) -> *const u8 {
        core::ptr::from_ref(self).cast()
    }
}

/// Loads from a [`Beginning`], and probe reads of what lies behind it.
pub(crate) struct Near<const WORDS: usize>;

impl<const WORDS: usize> Memory for Near<WORDS> {
    const MINDS_NULL: bool = false;

    type Behind = Probe;

    /// The offset is a constant for the verifier, which folds the branch away.
    #[inline(always)]
    fn get<T: Copy>(base: *const u8, offset: usize) -> T {
        let beginning = base.cast::<Beginning<WORDS>>();
        // SAFETY: the base of this memory is a Beginning, and the load lies within its words.
        unsafe {
            // The verifier admits aligned loads of the stack only.
            if offset + size_of::<T>() <= WORDS * size_of::<u64>() && offset % align_of::<T>() == 0
            {
                let words = (&raw const (*beginning).words).cast::<u8>();
                words.add(offset).cast::<T>().read_volatile()
            } else {
                Probe::get((*beginning).address, offset)
            }
        }
    }
}
