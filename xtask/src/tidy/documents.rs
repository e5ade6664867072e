//! The documents: links lead somewhere, and every invariant is kept by a test that exists.

use super::source::Source;
use super::{Complaints, assert_kept, repository};

const INVARIANTS: &str = "ARCHITECTURE.md";

/// The numbered invariants of ARCHITECTURE.md, each with the tests that it names.
fn invariants(text: &str) -> Vec<(String, Vec<String>)> {
    let section = text
        .split_once("\n## Invariants\n")
        .map_or("", |(_, after)| after.split("\n## ").next().unwrap_or(""));
    let mut items: Vec<String> = Vec::new();
    for line in section.lines() {
        let numbered = line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        match items.last_mut() {
            _ if numbered => items.push(line.to_owned()),
            Some(item) if line.starts_with(' ') => {
                item.push(' ');
                item.push_str(line.trim());
            }
            _ => {}
        }
    }
    items
        .into_iter()
        .map(|item| {
            let kept_by = item.split_once("Kept by ").map_or("", |(_, tests)| tests);
            let tests = kept_by
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            (item, tests)
        })
        .collect()
}

fn invariants_are_kept(files: &[Source]) -> Complaints {
    let Some(document) = files.iter().find(|f| f.path == INVARIANTS) else {
        return vec![format!("{INVARIANTS} is missing")];
    };
    let mut complaints = Vec::new();
    let invariants = invariants(&document.text);
    if invariants.is_empty() {
        complaints.push(format!("{INVARIANTS} has no numbered invariants"));
    }
    for (item, tests) in invariants {
        if tests.is_empty() {
            complaints.push(format!("no test keeps this invariant: {item}"));
        }
        for test in tests {
            if !files
                .iter()
                .any(|f| f.is_rust() && has_test(&f.code, &test))
            {
                complaints.push(format!(
                    "there is no test `{test}`, which should keep: {item}"
                ));
            }
        }
    }
    complaints
}

/// Whether a function of that name stands under a `#[test]`.
pub(super) fn has_test(code: &str, name: &str) -> bool {
    let lines: Vec<&str> = code.lines().collect();
    let head = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        line.contains(&head)
            && lines[at.saturating_sub(5)..at]
                .iter()
                .any(|above| above.trim().starts_with("#[") && above.contains("test"))
    })
}

/// Links inside the repository: the file exists, and so does the heading.
fn links_lead_somewhere(files: &[Source]) -> Complaints {
    let root = crate::repository::root();
    let mut complaints = Vec::new();
    for document in files.iter().filter(|f| f.path.ends_with(".md")) {
        for link in links(&document.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = document
                .path
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            let target = if path.is_empty() {
                document.path.clone()
            } else {
                normalise(folder, path)
            };
            if !root.join(&target).exists() {
                complaints.push(format!("{}: {link} does not exist", document.path));
            } else if !anchor.is_empty() {
                let found = files.iter().find(|f| f.path == target);
                if !found.is_some_and(|f| anchors(&f.text).any(|a| a == anchor)) {
                    complaints.push(format!("{}: {link}: no such heading", document.path));
                }
            }
        }
    }
    complaints
}

/// What stands in `](…)`, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for (at, matched) in line.match_indices("](") {
            let rest = &line[at + matched.len()..];
            if let Some((link, _)) = rest.split_once(')') {
                links.push(link.to_owned());
            }
        }
    }
    links
}

/// `path` as seen from `folder`, without `.` and `..`.
fn normalise(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document's headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[test]
fn every_invariant_is_kept_by_a_test() {
    assert_kept(invariants_are_kept(&repository()));
    let check = |document: &str, code: &str, complaints: usize| {
        let files = [
            Source::new(INVARIANTS, document),
            Source::new("tcptrace/src/x.rs", code),
        ];
        let found = invariants_are_kept(&files);
        assert_eq!(found.len(), complaints, "{document}: {found:?}");
    };
    let test = "#[test]\nfn it_holds() {}\n";
    let kept = "# A\n\n## Invariants\n\n1. It holds,\n   always. Kept by\n   `it_holds`.\n\n## B\n";
    check(kept, test, 0);
    check(kept, "fn it_holds() {}\n", 1);
    check("# A\n\n## Invariants\n\n1. It holds.\n", test, 1);
    check("# A\n", test, 1);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let files = repository();
    assert_kept(links_lead_somewhere(&files));
    let broken = [Source::new(
        "docs/x.md",
        "[a](../README.md) [b](nowhere.md)",
    )];
    assert_eq!(links_lead_somewhere(&broken).len(), 1);
}
