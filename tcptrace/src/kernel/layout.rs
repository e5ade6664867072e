//! The offsets of the running kernel, resolved from its BTF into the LAYOUT global of the object.

use tcptrace_common::layout::{ABSENT, FIELDS, Field, Meaning, Need};

use super::btf::{self, Btf};
use super::error::KernelError;

/// What was found.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The entries, in the order of the object's `Layout`.
    pub(crate) entries: Vec<u16>,
    /// What the kernel lacks: feature, and the missing member.
    pub(crate) missing: Vec<(&'static str, String)>,
    /// `enum sk_rst_reason`, names without their prefix.
    pub(crate) reset_reasons: Vec<(u32, String)>,
    /// Maps count against RLIMIT_MEMLOCK, as up to Linux 5.10 (`bpf_map_charge_init` in
    /// kernel/bpf/syscall.c).
    pub(crate) maps_are_locked: bool,
}

impl Resolved {
    /// One entry by name; absent when the kernel has no such field.
    pub(crate) fn entry(&self, name: &str) -> Option<u16> {
        let index = FIELDS.iter().position(|field| field.name == name)?;
        self.entries
            .get(index)
            .copied()
            .filter(|&entry| entry != ABSENT)
    }

    /// Whether the kernel may preempt a tracepoint's programs, as Linux 7.0 and later do.
    pub(crate) fn may_preempt(&self) -> bool {
        self.entry("preemptible") == Some(1)
    }

    /// The first missing member of a feature.
    pub(crate) fn lacks(&self, feature: &str) -> Option<&str> {
        let (_, member) = self.missing.iter().find(|(name, _)| *name == feature)?;
        Some(member)
    }
}

/// Reads the running kernel's BTF and resolves every field.
pub(crate) fn resolve() -> Result<Resolved, KernelError> {
    if cfg!(target_endian = "big") {
        return Err(KernelError::KernelCannot {
            lacks: "a little-endian processor: the programs and their records are little-endian"
                .to_owned(),
            remedy: "run tcptrace on x86-64 or arm64",
        });
    }
    let bytes = std::fs::read(btf::PATH).map_err(|error| KernelError::KernelCannot {
        lacks: format!("type information ({}: {error})", btf::PATH),
        remedy: "use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions' kernels from 5.10 on are",
    })?;
    let btf = Btf::parse(bytes).map_err(|error| KernelError::KernelCannot {
        lacks: format!("readable type information ({error})"),
        remedy: "please report it with the kernel's version",
    })?;
    from(&btf)
}

fn from(btf: &Btf) -> Result<Resolved, KernelError> {
    let mut entries = Vec::with_capacity(FIELDS.len());
    let mut missing = Vec::new();
    for field in FIELDS {
        let entry = match field.meaning {
            Meaning::Fact => fact(btf, field.name),
            meaning => btf
                .member(field.of, field.path)
                .map(|member| member.entry(meaning))
                .filter(|&entry| entry != ABSENT),
        };
        match (entry, field.need) {
            (None, Need::Mandatory) => {
                return Err(KernelError::KernelCannot {
                    lacks: named(field),
                    remedy: "use a kernel from 5.10 on, and report this kernel's version if it is one",
                });
            }
            // Of these two a kernel has one.
            (None, _) if field.name == "file_count" || field.name == "file_ref" => {}
            (None, Need::Optional(feature)) => missing.push((feature, named(field))),
            (Some(_), _) => {}
        }
        entries.push(entry.unwrap_or(ABSENT));
    }
    let reset_reasons = btf
        .enumerators("sk_rst_reason")
        .into_iter()
        .map(|(number, name)| {
            let short = name.strip_prefix("SK_RST_REASON_").unwrap_or(&name);
            (number, short.to_owned())
        })
        .collect();
    Ok(Resolved {
        entries,
        missing,
        reset_reasons,
        maps_are_locked: btf.arguments("bpf_map_charge_init").is_some(),
    })
}

fn named(field: &Field) -> String {
    if field.of.is_empty() {
        field.path.to_owned()
    } else {
        format!("struct {}.{}", field.of, field.path)
    }
}

/// What the agent finds out about the running kernel beside offsets.
fn fact(btf: &Btf, name: &str) -> Option<u16> {
    let given = |tracepoint, arguments| {
        btf.tracepoint_arguments(tracepoint)
            .map(|count| u16::from(count >= arguments))
    };
    match name {
        // The argument was added; a kernel without the tracepoint does not run the program either.
        "retransmit_has_err" => Some(given("tcp_retransmit_skb", 3).unwrap_or(0)),
        "reset_has_reason" => Some(given("tcp_send_reset", 3).unwrap_or(0)),
        "has_task_btf" => Some(u16::from(
            btf.arguments("bpf_get_current_task_btf").is_some(),
        )),
        "preemptible" => Some(u16::from(btf.arguments("init_srcu_struct_fast").is_some())),
        "may_probe" => Some(u16::from(!locked_down())),
        "has_sock_from_file" => Some(u16::from(btf.arguments("bpf_sock_from_file").is_some())),
        "accept_args" => u16::try_from(btf.arguments("inet_csk_accept")?).ok(),
        "synack_cookie" => btf
            .enumerators("tcp_synack_type")
            .into_iter()
            .find(|(_, name)| name == "TCP_SYNACK_COOKIE")
            .and_then(|(number, _)| u16::try_from(number).ok()),
        "pt_regs_ret" => register(btf, "ax", 0),
        "pt_regs_arg0" => register(btf, "di", 0),
        "pt_regs_arg1" => register(btf, "si", 1),
        "pt_regs_arg2" => register(btf, "dx", 2),
        "pt_regs_arg3" => register(btf, "cx", 3),
        "pt_regs_arg4" => register(btf, "r8", 4),
        _ => None,
    }
}

/// Where a saved register lies: by its name on x86-64 (System V ABI), by its number on arm64 (AAPCS64),
/// whichever this kernel's `struct pt_regs` has.
fn register(btf: &Btf, x86_64: &str, arm64: u16) -> Option<u16> {
    let entry = |path| Some(btf.member("pt_regs", path)?.entry(Meaning::Offset));
    entry(x86_64).or_else(|| Some(entry("regs")? + 8 * arm64))
}

/// Whether the kernel refuses programs that read its memory.
fn locked_down() -> bool {
    // Without the file there is no lockdown.
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

/// What would be found on this kernel if structures of it lacked these members.
#[cfg(test)]
pub(super) fn resolve_without(members: &[(&str, &str)]) -> Result<Resolved, KernelError> {
    let bytes = std::fs::read(btf::PATH).expect("this kernel has BTF");
    let whole = Btf::parse(bytes).expect("it is well-formed");
    from(
        &members
            .iter()
            .fold(whole, |btf, (of, member)| btf.without(of, member)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        let resolved = resolve().expect("this kernel can be traced");
        assert_eq!(resolved.missing, Vec::new());
        assert_eq!(resolved.entry("skc_dport"), Some(12));
        assert_eq!(resolved.entry("skc_daddr"), Some(0));
        assert!(
            resolved
                .entry("icsk_ca_state_shift")
                .is_some_and(|it| it < 8)
        );
        assert!(resolved.entry("file_count").is_some() != resolved.entry("file_ref").is_some());
        let no_socket = resolved
            .reset_reasons
            .iter()
            .find(|(_, name)| name == "NO_SOCKET");
        // The enumeration came with the tracepoint's third argument (6.10).
        let expected = (resolved.entry("reset_has_reason") == Some(1)).then_some(1);
        assert_eq!(no_socket.map(|(number, _)| *number), expected);
    }

    /// Whatever is optional can be missing, and costs its own feature, by name.
    #[test]
    fn a_missing_member_costs_its_feature_alone() {
        for field in FIELDS.iter().filter(|it| it.meaning != Meaning::Fact) {
            let Need::Optional(feature) = field.need else {
                continue;
            };
            // A kernel has one of the first two; through the third leads the way to another member.
            if matches!(field.name, "file_count" | "file_ref" | "wait_head") {
                continue;
            }
            // The structure in which the last member lies.
            let (of, member) = match field.path.split_once('.') {
                Some(("__sk_common", member)) => ("sock_common", member),
                Some(("icsk_accept_queue", member)) => ("request_sock_queue", member),
                Some(("ipv4", member)) => ("netns_ipv4", member),
                Some((member, _)) => (field.of, member),
                None => (field.of, field.path),
            };
            let resolved = resolve_without(&[(of, member)]).expect("it is optional");
            let mut features: Vec<_> = resolved.missing.iter().map(|it| it.0).collect();
            features.dedup();
            assert_eq!(features, [feature], "without {of}.{member}");
            let named = resolved.lacks(feature).expect("it is missing");
            assert!(named.contains(member), "{named}");
        }
        let error = resolve_without(&[("sock", "sk_err")]).expect_err("it is mandatory");
        assert!(error.to_string().contains("struct sock.sk_err"), "{error}");
    }

    /// `struct pt_regs` as arm64 has it: `regs[31]` in an anonymous structure of an anonymous union.
    fn registers_of_arm64() -> Btf {
        const STRINGS: &[u8] = b"\0u64\0regs\0sp\0pt_regs\0";
        let name = |text: &str| {
            let text = format!("\0{text}\0");
            let at = STRINGS
                .windows(text.len())
                .position(|it| it == text.as_bytes());
            u32::try_from(at.expect("it is there") + 1).expect("small")
        };
        let head = |name: u32, kind: u32, vlen: u32, size: u32| [name, kind << 24 | vlen, size];
        let types: Vec<u32> = [
            &head(name("u64"), 1, 0, 8)[..], // 1: INT
            &[64],
            &head(0, 3, 0, 0), // 2: ARRAY
            &[1, 1, 31],
            &head(0, 4, 2, 256), // 3: STRUCT
            &[name("regs"), 2, 0, name("sp"), 1, 248 * 8],
            &head(0, 5, 1, 256), // 4: UNION
            &[0, 3, 0],
            &head(name("pt_regs"), 4, 1, 256), // 5: STRUCT
            &[0, 4, 0],
        ]
        .concat();
        let types: Vec<u8> = types.iter().flat_map(|it| it.to_le_bytes()).collect();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small");
        let header = [
            0x0001_eb9f,
            24,
            0,
            size(&types),
            size(&types),
            size(STRINGS),
        ];
        let header = header.iter().flat_map(|it: &u32| it.to_le_bytes());
        Btf::parse(
            header
                .chain(types.clone())
                .chain(STRINGS.iter().copied())
                .collect(),
        )
        .expect("it is well-formed")
    }

    #[test]
    fn arguments_are_found_in_the_registers_of_each_architecture() {
        let names = [
            "pt_regs_arg0",
            "pt_regs_arg1",
            "pt_regs_arg2",
            "pt_regs_arg3",
            "pt_regs_arg4",
        ];
        let arm64 = registers_of_arm64();
        let found = names.map(|name| fact(&arm64, name));
        assert_eq!(found, [0, 8, 16, 24, 32].map(Some));
        assert_eq!(fact(&arm64, "pt_regs_ret"), Some(0));
        let here = resolve().expect("this kernel can be traced");
        let found = names.map(|name| here.entry(name));
        let expected = match std::env::consts::ARCH {
            // di, si, dx, cx, r8 of struct pt_regs, as they lie since Linux 2.6.
            "x86_64" => [112, 104, 96, 88, 72].map(Some),
            _ => [0, 8, 16, 24, 32].map(Some),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_optional_field_is_named_when_it_is_missing() {
        let resolved = Resolved {
            entries: vec![ABSENT; FIELDS.len()],
            missing: vec![("peek", "struct sock.sk_wq".to_owned())],
            reset_reasons: Vec::new(),
            maps_are_locked: false,
        };
        assert_eq!(resolved.lacks("peek"), Some("struct sock.sk_wq"));
        assert_eq!(resolved.lacks("IPv6"), None);
        assert_eq!(resolved.entry("sk_wq"), None);
    }
}
