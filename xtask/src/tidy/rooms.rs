//! Which room may name what: libraries, the clock, `unsafe`, and one another.

use super::source::{Source, has_word};
use super::{Complaints, assert_fine, assert_kept, assert_noticed, repository};

/// Words that only some places may use in production code.
struct Reserved {
    words: &'static [&'static str],
    places: &'static [&'static str],
    reason: &'static str,
}

/// Not part of the product: they may ask the clock and start what they like.
const WORKSHOP: [&str; 2] = ["xtask/", "tcptrace-lab/"];

const RESERVED: [Reserved; 6] = [
    Reserved {
        words: &["aya", "aya_log", "aya_ebpf", "aya_log_ebpf"],
        places: &["tcptrace/src/kernel/", "tcptrace-ebpf/"],
        reason: "only the kernel room and the programs know aya",
    },
    Reserved {
        words: &["ratatui"],
        places: &["tcptrace/src/tui/"],
        reason: "only the tui room draws",
    },
    Reserved {
        words: &["crossterm"],
        places: &["tcptrace/src/tui/", "tcptrace/src/command/live.rs"],
        reason: "only the tui room, and the command that feeds it keys, know the terminal",
    },
    Reserved {
        words: &["Instant::now", "SystemTime::now", "clock_gettime"],
        places: &["tcptrace/src/kernel/clock.rs", "tcptrace-core/examples/"],
        reason: "time is data: one file asks the clock (an example may time the engine)",
    },
    Reserved {
        words: &["select!"],
        places: &["tcptrace/src/pump.rs", "tcptrace/src/pump/"],
        reason: "the pump is the only loop that waits for several things",
    },
    Reserved {
        words: &["unsafe"],
        places: &["tcptrace/src/kernel/", "tcptrace-ebpf/"],
        reason: "unsafe stays beside the kernel",
    },
];

fn reserved(files: &[Source], rule: &Reserved) -> Complaints {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        if file.is_in(&WORKSHOP) || file.is_in(rule.places) {
            continue;
        }
        for (number, line) in file.production() {
            for word in rule.words.iter().filter(|w| has_word(line, w)) {
                complaints.push(format!("{}:{number}: `{word}`: {}", file.path, rule.reason));
            }
        }
    }
    complaints
}

/// What makes the core impure: input, output, clocks, threads, and maps whose order is random.
const IMPURE: [&str; 20] = [
    "tokio",
    "libc",
    "procfs",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::sync::Mutex",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "println!",
    "eprintln!",
    "RandomState",
    "HashMap",
    "HashSet",
    "static mut",
    "thread_local!",
];

fn core_is_pure(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| f.is_in(&["tcptrace-core/src/"])) {
        for (number, line) in file.production() {
            for word in IMPURE.iter().filter(|w| has_word(line, w)) {
                complaints.push(format!("{}:{number}: `{word}` in the pure core", file.path));
            }
        }
    }
    complaints
}

/// The agent's rooms, and those that each must not import: data flows command -> pump -> rooms,
/// and siblings never meet.
const STRANGERS: [(&str, &[&str]); 5] = [
    (
        "tcptrace/src/kernel/",
        &["command", "pump", "recording", "tui"],
    ),
    (
        "tcptrace/src/recording/",
        &["command", "pump", "kernel", "tui"],
    ),
    (
        "tcptrace/src/tui/",
        &["command", "pump", "kernel", "recording"],
    ),
    (
        "tcptrace/src/report/",
        &["command", "pump", "kernel", "recording", "tui"],
    ),
    ("tcptrace/src/pump.rs", &["command"]),
];

fn siblings_never_meet(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for (room, strangers) in STRANGERS {
        for file in files.iter().filter(|f| f.is_rust() && f.is_in(&[room])) {
            let imports = crate_imports(&file.code);
            for stranger in strangers.iter().filter(|s| imports.iter().any(|i| i == *s)) {
                complaints.push(format!("{} imports crate::{stranger}", file.path));
            }
        }
    }
    complaints
}

/// The first names after `crate::`, also in `crate::{a::b, c}`.
fn crate_imports(code: &str) -> Vec<String> {
    let mut imports = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        let rest = &code[at + matched.len()..];
        match rest.strip_prefix('{') {
            None => imports.extend(name(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            imports.extend(name(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    imports
}

fn name(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// What each package may depend on, of our own packages and of those that would break it.
const DIRECTIONS: [(&str, &[&str]); 6] = [
    ("tcptrace-common", &[]),
    (
        "tcptrace-ebpf",
        &["tcptrace-common", "aya-ebpf", "aya-log-ebpf"],
    ),
    ("tcptrace-core", &["tcptrace-common"]),
    (
        "tcptrace",
        &[
            "tcptrace-common",
            "tcptrace-core",
            "aya",
            "aya-log",
            "aya-obj",
            "libc",
            "procfs",
            "ratatui",
            "crossterm",
            "tokio",
            "nix",
        ],
    ),
    (
        "tcptrace-lab",
        &[
            "tcptrace-common",
            "tcptrace-core",
            "libc",
            "nix",
            "tokio",
            "procfs",
        ],
    ),
    ("xtask", &["tcptrace-lab", "libc"]),
];

/// The packages whose direction matters: ours, and those that touch the world.
const WATCHED: [&str; 8] = [
    "tcptrace",
    "aya",
    "libc",
    "procfs",
    "ratatui",
    "crossterm",
    "tokio",
    "nix",
];

fn dependencies_point_one_way(files: &[Source]) -> Complaints {
    let mut complaints = Vec::new();
    for file in files {
        let Some(package) = file.path.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(name, _)| *name == package) else {
            complaints.push(format!(
                "{}: say in tidy what this package may depend on",
                file.path
            ));
            continue;
        };
        for dependency in dependencies(&file.text) {
            let watched = WATCHED
                .iter()
                .any(|w| dependency == *w || dependency.starts_with(&format!("{w}-")));
            if watched && !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{package} depends on {dependency}"));
            }
        }
    }
    complaints
}

/// The names under `[dependencies]` and `[build-dependencies]`; tests may use what they like.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && section != "dev-dependencies";
        } else if inside {
            let name: String = line
                .chars()
                .take_while(|c| c.is_alphanumeric() || "-_".contains(*c))
                .collect();
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

#[track_caller]
fn check_reserved(word: &str, at_home: &str) {
    let rule = RESERVED
        .iter()
        .find(|r| r.words.contains(&word))
        .expect("the word is reserved");
    assert_kept(reserved(&repository(), rule));
    let code = format!("fn f() {{ {word}(); }}\n");
    assert_noticed(
        |files| reserved(files, rule),
        "tcptrace-core/src/x.rs",
        &code,
    );
    assert_noticed(
        |files| reserved(files, rule),
        "tcptrace/src/recording/x.rs",
        &code,
    );
    assert_fine(|files| reserved(files, rule), at_home, &code);
    let comment = format!("// {word}\n");
    assert_fine(
        |files| reserved(files, rule),
        "tcptrace-core/src/x.rs",
        &comment,
    );
}

#[test]
fn only_the_kernel_room_and_the_programs_name_aya() {
    check_reserved("aya", "tcptrace/src/kernel/probes.rs");
}

#[test]
fn only_the_tui_room_names_the_terminal() {
    check_reserved("ratatui", "tcptrace/src/tui/mod.rs");
    check_reserved("crossterm", "tcptrace/src/tui/input.rs");
}

#[test]
fn one_file_asks_the_clock() {
    check_reserved("Instant::now", "tcptrace/src/kernel/clock.rs");
    check_reserved("clock_gettime", "tcptrace/src/kernel/clock.rs");
}

#[test]
fn only_the_pump_selects() {
    check_reserved("select!", "tcptrace/src/pump.rs");
}

#[test]
fn unsafe_stays_beside_the_kernel() {
    check_reserved("unsafe", "tcptrace/src/kernel/btf.rs");
}

#[test]
fn the_core_is_pure() {
    assert_kept(core_is_pure(&repository()));
    for impure in [
        "use std::collections::HashMap;\n",
        "let t = Instant::now();\n",
    ] {
        assert_noticed(core_is_pure, "tcptrace-core/src/x.rs", impure);
        assert_fine(core_is_pure, "tcptrace/src/kernel/x.rs", impure);
    }
    assert_fine(
        core_is_pure,
        "tcptrace-core/src/x.rs",
        "use rustc_hash::FxHashMap;\n",
    );
    let test = "#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n";
    assert_fine(core_is_pure, "tcptrace-core/src/x.rs", test);
}

#[test]
fn sibling_rooms_never_import_one_another() {
    assert_kept(siblings_never_meet(&repository()));
    let tui = "tcptrace/src/tui/x.rs";
    assert_noticed(siblings_never_meet, tui, "use crate::kernel::Kernel;\n");
    assert_noticed(
        siblings_never_meet,
        tui,
        "use crate::{failure::Failure, recording};\n",
    );
    assert_fine(
        siblings_never_meet,
        tui,
        "use crate::{tui::{kernel, x}, failure};\n",
    );
    assert_noticed(
        siblings_never_meet,
        "tcptrace/src/pump.rs",
        "crate::command::main();\n",
    );
    assert_fine(
        siblings_never_meet,
        "tcptrace/src/pump.rs",
        "use crate::tui::Tui;\n",
    );
}

#[test]
fn dependencies_between_packages_point_one_way() {
    assert_kept(dependencies_point_one_way(&repository()));
    let core = "tcptrace-core/Cargo.toml";
    let rule = dependencies_point_one_way;
    assert_noticed(
        rule,
        core,
        "[dependencies]\ntokio.workspace = true\nserde = \"1\"\n",
    );
    assert_noticed(
        rule,
        "tcptrace-common/Cargo.toml",
        "[dependencies]\ntcptrace-core = {}\n",
    );
    assert_fine(
        rule,
        core,
        "[dependencies]\ntcptrace-common = {}\n[dev-dependencies]\ntokio = {}\n",
    );
}
