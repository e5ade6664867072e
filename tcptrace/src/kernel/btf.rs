//! A small reader of the kernel's own type information (BTF): where is which member, how many
//! arguments has which function, which number has which enumerator.
//!
//! aya keeps the members of structures private, and btf-rs is LGPL, which would burden a statically
//! linked tool; the format is small and frozen. Total: malformed bytes give an error or `None`.

use tcptrace_common::layout::{ABSENT, Meaning};

/// The running kernel's BTF.
pub(super) const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Why bytes are not BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBtf {
    /// Something does not fit.
    #[error("the kernel's type information is malformed at byte {0}")]
    Malformed(usize),
    /// Of a kernel with the other byte order.
    #[error(
        "the kernel's type information is big-endian, and tcptrace runs on little-endian kernels only"
    )]
    BigEndian,
}

/// Kinds of type, as in `include/uapi/linux/btf.h`.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// How deep anonymous structures and typedefs are followed; real ones nest less than ten deep.
const MAX_DEPTH: u32 = 32;

/// Parsed just far enough to find types by number.
pub(crate) struct Btf {
    data: Vec<u8>,
    /// Where each type begins; type 0 is void.
    types: Vec<u32>,
    /// The types that are looked for by name, by the hash of theirs: a kernel has over 100,000 types,
    /// and some hundred names are asked for at the start.
    index: Vec<(u32, u32)>,
    strings: usize,
}

/// The head of a type.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    vlen: usize,
    /// Members carry bit-field sizes.
    bits: bool,
    /// Size, or the type referred to.
    target: u32,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// From the start of the outermost structure, in bits.
    pub(crate) bit_offset: u32,
}

impl Member {
    /// What to store for it in the layout.
    pub(crate) fn entry(self, meaning: Meaning) -> u16 {
        let entry = match meaning {
            Meaning::Shift => self.bit_offset % 8,
            Meaning::Offset | Meaning::Fact => self.bit_offset / 8,
        };
        u16::try_from(entry).unwrap_or(ABSENT)
    }
}

impl Btf {
    /// Finds the types in the bytes of a BTF file.
    pub(crate) fn parse(data: Vec<u8>) -> Result<Self, BadBtf> {
        const MAGIC: u16 = 0xeb9f;
        let word = |at: usize| read_u32(&data, at).ok_or(BadBtf::Malformed(at));
        let magic = data.get(..2).and_then(|it| it.try_into().ok());
        if magic.map(u16::from_be_bytes) == Some(MAGIC) {
            return Err(BadBtf::BigEndian);
        }
        if magic.map(u16::from_le_bytes) != Some(MAGIC) {
            return Err(BadBtf::Malformed(0));
        }
        let header = word(4)? as usize;
        let first = header + word(8)? as usize;
        let end = first + word(12)? as usize;
        let strings = header + word(16)? as usize;
        if end > data.len() || strings > data.len() {
            return Err(BadBtf::Malformed(12));
        }
        let mut types = vec![0];
        let mut at = first;
        while at < end {
            types.push(u32::try_from(at).map_err(|_| BadBtf::Malformed(at))?);
            let info = word(at + 4)?;
            let vlen = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 31 {
                    INT | VAR | DECL_TAG => 4,
                    ARRAY => 12,
                    STRUCT | UNION | DATASEC | ENUM64 => 12 * vlen,
                    ENUM | FUNC_PROTO => 8 * vlen,
                    _ => 0,
                };
        }
        let mut this = Self {
            data,
            types,
            index: Vec::new(),
            strings,
        };
        this.index = this.by_name();
        Ok(this)
    }

    fn by_name(&self) -> Vec<(u32, u32)> {
        let mut index: Vec<_> = (1..self.types.len())
            .filter_map(|id| {
                let id = u32::try_from(id).ok()?;
                let it = self.get(id)?;
                let asked = matches!(it.kind, STRUCT | ENUM | TYPEDEF | FUNC) && it.name != 0;
                asked.then_some((hash(self.string(it.name)?), id))
            })
            .collect();
        index.sort_unstable();
        index
    }

    /// Where `path` (names joined by dots) lies in the structure `name`; anonymous structures and
    /// unions are looked through.
    pub(crate) fn member(&self, name: &str, path: &str) -> Option<Member> {
        // A name may be taken several times, by unrelated types of drivers.
        self.named(STRUCT, name)
            .find_map(|outer| self.path(outer, path))
    }

    /// How many arguments a function has; absent when the kernel has no such function.
    pub(crate) fn arguments(&self, function: &str) -> Option<usize> {
        let function = self.named(FUNC, function).next()?;
        let proto = self.get(function.target)?;
        (proto.kind == FUNC_PROTO).then_some(proto.vlen)
    }

    /// How many arguments a tracepoint gives; absent when the kernel has no such tracepoint.
    pub(crate) fn tracepoint_arguments(&self, tracepoint: &str) -> Option<usize> {
        let typedef = self
            .named(TYPEDEF, &format!("btf_trace_{tracepoint}"))
            .next()?;
        let pointer = self.get(typedef.target)?;
        let proto = self.get(pointer.target)?;
        // The first argument is the tracepoint's own data.
        (pointer.kind == PTR && proto.kind == FUNC_PROTO).then(|| proto.vlen.saturating_sub(1))
    }

    /// The enumerators of an enumeration: number and name.
    pub(crate) fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let Some(it) = self.named(ENUM, name).next() else {
            return Vec::new();
        };
        (0..it.vlen)
            .filter_map(|index| {
                let at = it.at + 12 + 8 * index;
                let name = self.string(self.word(at)?)?;
                let name = String::from_utf8_lossy(name).into_owned();
                Some((self.word(at + 4)?, name))
            })
            .collect()
    }

    fn path(&self, outer: Type, path: &str) -> Option<Member> {
        let mut outer = outer;
        let mut bit_offset = 0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let (offset, inner) = self.find(outer, name, 0)?;
            bit_offset += offset;
            if names.peek().is_some() {
                outer = self.strip(inner)?;
            }
        }
        Some(Member { bit_offset })
    }

    /// The member `name` of a structure: its offset in bits, and its type.
    fn find(&self, outer: Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        if !matches!(outer.kind, STRUCT | UNION) || depth > MAX_DEPTH {
            return None;
        }
        (0..outer.vlen).find_map(|index| {
            let at = outer.at + 12 + 12 * index;
            let (own, target, place) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let offset = if outer.bits { place & 0xff_ffff } else { place };
            if own == 0 {
                let (inner, found) = self.find(self.strip(target)?, name, depth + 1)?;
                Some((offset + inner, found))
            } else {
                (self.string(own)? == name.as_bytes()).then_some((offset, target))
            }
        })
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let it = self.get(id)?;
            match it.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = it.target,
                _ => return Some(it),
            }
        }
        None
    }

    fn named<'a>(&'a self, kind: u32, name: &'a str) -> impl Iterator<Item = Type> + 'a {
        let wanted = hash(name.as_bytes());
        let first = self.index.partition_point(|(hash, _)| *hash < wanted);
        self.index[first..]
            .iter()
            .take_while(move |(hash, _)| *hash == wanted)
            .filter_map(move |(_, id)| {
                let it = self.get(*id)?;
                (it.kind == kind && self.string(it.name)? == name.as_bytes()).then_some(it)
            })
    }

    fn get(&self, id: u32) -> Option<Type> {
        if id == 0 {
            return None;
        }
        let at = *self.types.get(id as usize)? as usize;
        let info = self.word(at + 4)?;
        Some(Type {
            at,
            name: self.word(at)?,
            kind: info >> 24 & 31,
            vlen: (info & 0xffff) as usize,
            bits: info >> 31 != 0,
            target: self.word(at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let tail = self.data.get(self.strings + offset as usize..)?;
        tail.split(|&byte| byte == 0).next()
    }

    /// The same type information without one member: its name is that of nothing.
    #[cfg(test)]
    pub(crate) fn without(&self, name: &str, member: &str) -> Self {
        let mut data = self.data.clone();
        for outer in self.named(STRUCT, name) {
            let mut outers = vec![outer];
            while let Some(outer) = outers.pop() {
                for index in 0..outer.vlen {
                    let at = outer.at + 12 + 12 * index;
                    let own = self.word(at).and_then(|own| self.string(own));
                    let inner = self.word(at + 4).and_then(|id| self.strip(id));
                    if own == Some(member.as_bytes()) {
                        data[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
                    } else if own == Some(b"") {
                        let nested = |it: &Type| matches!(it.kind, STRUCT | UNION);
                        outers.extend(inner.filter(nested));
                    }
                }
            }
        }
        Self {
            data,
            types: self.types.clone(),
            index: self.index.clone(),
            strings: self.strings,
        }
    }

    fn word(&self, at: usize) -> Option<u32> {
        read_u32(&self.data, at)
    }
}

/// FNV-1a.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kernel() -> Btf {
        Btf::parse(std::fs::read(PATH).expect("this kernel has BTF")).expect("it is well-formed")
    }

    #[test]
    fn members_of_the_running_kernel_are_found() {
        let btf = kernel();
        // These have lain there in every kernel since 5.10.
        assert_eq!(
            btf.member("sock", "__sk_common.skc_dport"),
            Some(Member { bit_offset: 12 * 8 })
        );
        assert_eq!(
            btf.member("sock", "__sk_common.skc_state"),
            Some(Member { bit_offset: 18 * 8 })
        );
        let ca_state = btf
            .member("inet_connection_sock", "icsk_ca_state")
            .expect("a bit field");
        assert!(ca_state.bit_offset > 8 * 1024);
        assert_eq!(btf.member("sock", "no_such_member"), None);
        assert_eq!(btf.member("no_such_struct", "x"), None);
        assert_eq!(btf.member("sock", "sk_err.x"), None);
    }

    #[test]
    fn prototypes_of_the_running_kernel_are_found() {
        let btf = kernel();
        assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Some(3));
        assert_eq!(btf.tracepoint_arguments("tcp_destroy_sock"), Some(1));
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
        assert!(matches!(btf.arguments("inet_csk_accept"), Some(2 | 4)));
        assert_eq!(btf.arguments("no_such_function"), None);
    }

    #[test]
    fn the_other_byte_order_is_refused() {
        let mut bytes = std::fs::read(PATH).expect("this kernel has BTF");
        bytes[..2].reverse();
        assert_eq!(Btf::parse(bytes).err(), Some(BadBtf::BigEndian));
    }

    #[test]
    fn truncated_bytes_are_an_error() {
        let whole = std::fs::read(PATH).expect("this kernel has BTF");
        for len in [0, 1, 3, 24, 4096, whole.len() / 2] {
            assert!(Btf::parse(whole[..len].to_vec()).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(magic) = bytes.get_mut(..8) {
                magic.copy_from_slice(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
            }
            if let Ok(btf) = Btf::parse(bytes) {
                let _ = btf.member("", "");
                let _ = btf.member("a", "b.c");
                let _ = btf.enumerators("");
                let _ = btf.arguments("");
                let _ = btf.tracepoint_arguments("");
            }
        }
    }
}
