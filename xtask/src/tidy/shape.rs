//! The shape of a file: how long, how introduced, how named, what it must not contain.

use std::path::Path;

use super::source::Source;
use super::{Complaints, assert_fine, assert_kept, assert_noticed, repository};

/// Past about 400 lines of production code a file asks for a second room; this is where asking ends.
const LONGEST: usize = 450;

fn no_file_is_too_long(files: &[Source]) -> Complaints {
    files
        .iter()
        .filter(|f| f.is_rust() && f.production_lines > LONGEST)
        .map(|f| {
            let lines = f.production_lines;
            format!(
                "{}: {lines} lines before the tests; {LONGEST} are allowed",
                f.path
            )
        })
        .collect()
}

fn every_module_says_what_it_is_for(files: &[Source]) -> Complaints {
    files
        .iter()
        .filter(|f| f.is_rust() && !f.path.contains("/tests/data/"))
        .filter(|f| !f.text.lines().take(3).any(|line| line.starts_with("//!")))
        .map(|f| format!("{}: no `//!` in its first lines", f.path))
        .collect()
}

fn no_room_for_everything(files: &[Source]) -> Complaints {
    const NAMES: [&str; 7] = [
        "utils", "util", "helpers", "helper", "common", "misc", "shared",
    ];
    files
        .iter()
        .filter(|f| f.is_rust())
        .filter(|f| {
            f.path
                .trim_end_matches(".rs")
                .split('/')
                .any(|part| NAMES.contains(&part))
        })
        .map(|f| format!("{}: a room is named after what lives in it", f.path))
        .collect()
}

/// What must not stand in a file, in comments neither, outside of tidy.
fn nothing_is_unfinished(files: &[Source]) -> Complaints {
    const WORDS: [&str; 6] = [
        "todo!(",
        "unimplemented!(",
        "dbg!(",
        "#[ignore",
        "FIXME",
        "XXX",
    ];
    let mut complaints = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.is_rust() && !f.is_in(&["xtask/src/tidy/"]))
    {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(word) = WORDS.iter().find(|w| line.contains(**w)) {
                complaints.push(format!("{}:{}: `{word}`", file.path, at + 1));
            }
        }
    }
    complaints
}

/// Paths of the machine a file was written on, and registries' hosts, which differ from machine to
/// machine and are cargo's and apt's business.
fn no_machine_is_named(files: &[Source]) -> Complaints {
    // Put together here, so that this file names none either.
    let host = |name: &str, domain: &str| format!("{name}.{domain}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let mut marks = vec![
        format!("/{}/", "root"),
        host("crates", "io/"),
        host("debian", "org"),
        host("pypi", "org"),
        host("npmjs", ""),
    ];
    // Where this very tree lies, and what lies beside it.
    marks.extend(
        root.and_then(Path::parent)
            .filter(|p| p.parent().is_some())
            .map(|p| format!("{}/", p.display())),
    );
    // They say what must not stand in the object.
    const EXEMPT: [&str; 2] = ["xtask/src/tidy/", "xtask/src/build_ebpf/mod.rs"];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|f| !f.is_in(&EXEMPT)) {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|m| line.contains(m.as_str())) {
                complaints.push(format!("{}:{}: {mark:?}", file.path, at + 1));
            }
        }
    }
    complaints
}

#[test]
fn files_stay_short() {
    assert_kept(no_file_is_too_long(&repository()));
    let long = "fn f() {}\n".repeat(LONGEST + 1);
    assert_noticed(no_file_is_too_long, "tcptrace/src/x.rs", &long);
    assert_fine(no_file_is_too_long, "tcptrace-lab/tests/x.rs", &long);
}

#[test]
fn modules_introduce_themselves() {
    assert_kept(every_module_says_what_it_is_for(&repository()));
    let rule = every_module_says_what_it_is_for;
    assert_noticed(rule, "tcptrace/src/x.rs", "fn f() {}\n");
    assert_fine(rule, "tcptrace/src/x.rs", "//! What it is for.\n");
}

#[test]
fn rooms_are_named_after_what_lives_in_them() {
    assert_kept(no_room_for_everything(&repository()));
    assert_noticed(no_room_for_everything, "tcptrace/src/tui/utils.rs", "");
    assert_fine(no_room_for_everything, "tcptrace-common/src/lib.rs", "");
}

#[test]
fn nothing_unfinished_is_left() {
    assert_kept(nothing_is_unfinished(&repository()));
    assert_noticed(nothing_is_unfinished, "tcptrace/src/x.rs", "// FIXME\n");
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    assert_kept(no_machine_is_named(&repository()));
    assert_noticed(
        no_machine_is_named,
        "README.md",
        &format!("see /{}/notes\n", "root"),
    );
}
