//! The little Markdown that the pages use, made fit for a terminal: headings, paragraphs, lists,
//! fenced code. Everything else is passed on.

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For a terminal: bold headings, wrapped lines.
    Terminal,
    /// The same without attributes.
    Plain,
    /// As written, for a pipe or a file.
    Markdown,
}

/// Lines are wrapped here: every terminal has it, and longer lines are hard to read.
const WIDTH: usize = 80;

const BOLD: &str = "\x1b[1m";
const END: &str = "\x1b[0m";

/// The first sentence of a text, on one line.
pub(super) fn first_sentence(text: &str) -> String {
    let paragraph = text.trim_start().split("\n\n").next().unwrap_or("");
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.find(". ") {
        Some(end) => line[..=end].to_owned(),
        None => line,
    }
}

/// Renders a page.
pub(super) fn render(text: &str, style: Style) -> String {
    if style == Style::Markdown {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut paragraph = Paragraph::default();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            paragraph.flush(&mut out);
            in_code = !in_code;
        } else if in_code {
            out.push_str("    ");
            out.push_str(line);
            out.push('\n');
        } else if let Some(heading) = line.strip_prefix('#') {
            paragraph.flush(&mut out);
            let heading = heading.trim_start_matches('#').trim();
            match style {
                Style::Terminal => out.push_str(&format!("{BOLD}{heading}{END}\n")),
                _ => out.push_str(&format!("{heading}\n")),
            }
        } else if line.trim().is_empty() {
            paragraph.flush(&mut out);
            out.push('\n');
        } else {
            let indent = line.len() - line.trim_start().len();
            if line.trim_start().starts_with("- ") {
                paragraph.flush(&mut out);
                paragraph.indent = indent;
                paragraph.hang = indent + 2;
            }
            paragraph
                .words
                .extend(line.split_whitespace().map(str::to_owned));
        }
    }
    paragraph.flush(&mut out);
    out
}

/// Words that become lines.
#[derive(Default)]
struct Paragraph {
    words: Vec<String>,
    /// Of the first line, and of the others.
    indent: usize,
    hang: usize,
}

impl Paragraph {
    fn flush(&mut self, out: &mut String) {
        let mut used = 0;
        for (at, word) in self.words.drain(..).enumerate() {
            let length = word.chars().count();
            if at == 0 {
                out.extend(std::iter::repeat_n(' ', self.indent));
                used = self.indent;
            } else if used + 1 + length > WIDTH {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', self.hang));
                used = self.hang;
            } else {
                out.push(' ');
                used += 1;
            }
            out.push_str(&word);
            used += length;
        }
        if used > 0 {
            out.push('\n');
        }
        (self.indent, self.hang) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_wrapped_and_its_code_is_not() {
        let long = "word ".repeat(30);
        let text = format!("# title\n\n{long}\n\n- an item {long}\n\n```sh\n{long}\n```\n");
        let plain = render(&text, Style::Plain);
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[0], "title");
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("    ") || line.len() <= WIDTH)
        );
        assert!(plain.contains("\n- an item"));
        assert!(plain.contains("\n  word"));
        assert!(plain.contains(&format!("    {long}")));
        assert!(!plain.contains("```"));
        assert!(render(&text, Style::Terminal).starts_with("\x1b[1mtitle\x1b[0m\n"));
        assert_eq!(render(&text, Style::Markdown), text);
    }

    #[test]
    fn the_first_sentence_ends_at_its_full_stop() {
        assert_eq!(first_sentence("\n\nOne. Two.\n\nThree."), "One.");
        assert_eq!(first_sentence("net.ipv4 is\nnone"), "net.ipv4 is none");
    }
}
