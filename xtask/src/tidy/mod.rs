//! The house rules that a compiler does not know, kept by tests.
//!
//! Each rule is a function from the repository's files to complaints, so that a test can show both
//! that the repository keeps it and that breaking it is noticed. Reading is crude on purpose:
//! comments and strings are blanked and the rest is searched for words, no parser involved.

mod documents;
mod rooms;
mod scenarios;
mod shape;
mod source;

use std::fs;
use std::path::Path;

use source::Source;

/// What breaks a rule: file, place, reason.
type Complaints = Vec<String>;

/// Every file of the repository that somebody wrote.
fn repository() -> Vec<Source> {
    let mut files = Vec::new();
    walk(crate::repository::root(), Path::new(""), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let test_modules: Vec<String> = files.iter().flat_map(Source::test_modules).collect();
    for file in &mut files {
        let own =
            |m: &String| file.path == format!("{m}.rs") || file.path.starts_with(&format!("{m}/"));
        if test_modules.iter().any(own) {
            file.production_lines = 0;
        }
    }
    assert!(files.len() > 20, "tidy found only {} files", files.len());
    files
}

fn walk(root: &Path, relative: &Path, files: &mut Vec<Source>) {
    const KINDS: [&str; 7] = ["rs", "md", "toml", "yml", "sh", "json", "snap"];
    let folder = root.join(relative);
    for entry in fs::read_dir(&folder).expect("the repository can be read") {
        let entry = entry.expect("the repository can be read");
        let path = relative.join(entry.file_name());
        let name = path.to_string_lossy().into_owned();
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() {
            let built = entry.file_name() == "target" || name == ".git";
            if !built {
                walk(root, &path, files);
            }
        } else if kind.is_file() {
            let known = path
                .extension()
                .is_some_and(|e| KINDS.iter().any(|k| e == *k));
            if known || name == ".ci/run" {
                let text = fs::read_to_string(root.join(&path)).expect("sources are UTF-8");
                files.push(Source::new(&name, &text));
            }
        }
    }
}

/// Fails with every complaint, not with the first.
#[track_caller]
fn assert_kept(complaints: Complaints) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Fails unless the rule complains about a file of that path and text.
#[track_caller]
fn assert_noticed(rule: impl Fn(&[Source]) -> Complaints, path: &str, text: &str) {
    let complaints = rule(&[Source::new(path, text)]);
    assert_eq!(complaints.len(), 1, "{path}: {text:?} gave {complaints:?}");
}

/// Fails if the rule complains about a file of that path and text.
#[track_caller]
fn assert_fine(rule: impl Fn(&[Source]) -> Complaints, path: &str, text: &str) {
    assert_kept(rule(&[Source::new(path, text)]));
}
