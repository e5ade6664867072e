//! A file as the rules see it: its text, its code without comments and strings, and how much of it
//! is production.

/// One file of the repository.
pub(super) struct Source {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments and the contents of literals blanked; lines stay lines. Of files
    /// other than Rust, the text itself.
    pub(super) code: String,
    /// How many lines of it come before the tests.
    pub(super) production_lines: usize,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust { blank(text) } else { text.to_owned() };
        let lines = text.lines().count();
        let production_lines = match () {
            () if is_test_file(path) => 0,
            () if rust => tests_start(&code).unwrap_or(lines),
            () => lines,
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            production_lines,
        }
    }

    /// The files, as path without `.rs`, of the modules that this one declares under
    /// `#[cfg(test)]`.
    pub(super) fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "main" | "lib")) => folder,
            _ => stem,
        };
        let lines: Vec<&str> = self.code.lines().collect();
        let pairs = lines
            .windows(2)
            .filter(|pair| pair[0].trim() == "#[cfg(test)]");
        pairs
            .filter_map(|pair| pair[1].split_once("mod ")?.1.strip_suffix(';'))
            .map(|module| format!("{folder}/{module}"))
            .collect()
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines of code that are not tests, numbered from 1.
    pub(super) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate().take(self.production_lines);
        lines.map(|(at, line)| (at + 1, line))
    }

    /// Whether the path lies in one of these folders, or is one of these files.
    pub(super) fn is_in(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|p| self.path == *p || p.ends_with('/') && self.path.starts_with(p))
    }
}

/// Whether `word` stands in `line` as a whole word (a name, or a path of names).
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside)
    })
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("xtask/src/tidy/")
}

/// The number of lines before the first module of tests.
fn tests_start(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().collect();
    lines
        .iter()
        .position(|line| *line == "#[cfg(test)]")
        .filter(|at| {
            let attributes = |line: &&&str| line.starts_with("#[");
            let item = lines[at + 1..].iter().find(|line| !attributes(line));
            // `mod tests;` is a file of its own, and production goes on below it.
            item.is_some_and(|item| item.starts_with("mod ") && item.ends_with('{'))
        })
}

/// Blanks comments and the contents of literals.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end > at {
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` when none starts there.
fn skip(chars: &[char], at: usize) -> usize {
    let starts = |at: usize, what: &str| {
        what.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let find = |from: usize, what: &str| (from..chars.len()).find(|at| starts(*at, what));
    let name_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if starts(at, "//") => find(at, "\n").unwrap_or(chars.len()),
        '/' if starts(at, "/*") => find(at + 2, "*/").map_or(chars.len(), |end| end + 2),
        '"' => quoted(chars, at),
        'r' if !name_before && (starts(at, "r\"") || starts(at, "r#")) => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return at; // A raw identifier.
            }
            let close = format!("\"{}", "#".repeat(hashes));
            find(at + 2 + hashes, &close).map_or(chars.len(), |end| end + close.len())
        }
        // A character, not a lifetime.
        '\'' if chars.get(at + 1) == Some(&'\\') => {
            find(at + 3, "'").map_or(chars.len(), |end| end + 1)
        }
        '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn quoted(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let check = |text: &str, expected: &str| {
            let squeezed: Vec<&str> = expected.split_whitespace().collect();
            let code = blank(text);
            assert_eq!(
                code.split_whitespace().collect::<Vec<_>>(),
                squeezed,
                "{text}"
            );
            assert_eq!(code.lines().count(), text.lines().count(), "{text}");
        };
        check("a(); // b\nc();", "a(); c();");
        check("a /* b\n */ c", "a c");
        check(r#"f("x \" y", 'z', '\'') g"#, "f( , , ) g");
        check("r#\"a \" b\"# c", "c");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#type x", "r#type x");
    }

    #[test]
    fn production_ends_where_the_tests_begin() {
        let lines = |path, text| Source::new(path, text).production_lines;
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(lines("tcptrace/src/a.rs", code), 1);
        assert_eq!(lines("tcptrace-lab/tests/a.rs", code), 0);
        assert_eq!(lines("a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n"), 3);
    }

    #[test]
    fn modules_that_exist_for_tests_are_found() {
        let check = |path, text, expected: &[&str]| {
            assert_eq!(Source::new(path, text).test_modules(), expected, "{path}");
        };
        let declares = "#[cfg(test)]\nmod samples;\nmod other;\n";
        check(
            "tcptrace/src/a/mod.rs",
            declares,
            &["tcptrace/src/a/samples"],
        );
        check("tcptrace/src/a.rs", declares, &["tcptrace/src/a/samples"]);
        check("tcptrace/src/a.rs", "#[cfg(test)]\nmod tests {\n}\n", &[]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("use aya::Ebpf;", "aya"));
        assert!(!has_word("let ayah = 1;", "aya"));
        assert!(has_word("Instant::now()", "Instant::now"));
        assert!(!has_word("FxHashMap<u8>", "HashMap"));
    }
}
