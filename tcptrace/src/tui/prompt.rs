//! The line in which filter words are typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Filter lines are short; a pasted file is not one.
const LONGEST: usize = 256;

/// A line being edited.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    text: String,
    /// Byte offset of the caret, on a character boundary.
    caret: usize,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The text or the caret changed.
    Changed,
    /// Enter.
    Done,
    /// Esc.
    Dropped,
    /// Not a key of an editor.
    Unknown,
}

impl Prompt {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            caret: text.len(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text before and after the caret.
    pub(super) fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.caret)
    }

    pub(super) fn insert(&mut self, c: char) {
        if !c.is_control() && self.text.len() + c.len_utf8() <= LONGEST {
            self.text.insert(self.caret, c);
            self.caret += c.len_utf8();
        }
    }

    fn before(&self) -> Option<char> {
        self.text[..self.caret].chars().next_back()
    }

    fn back(&mut self) -> Option<char> {
        let c = self.before()?;
        self.caret -= c.len_utf8();
        Some(self.text.remove(self.caret))
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Typed {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Done,
            KeyCode::Esc => return Typed::Dropped,
            KeyCode::Char('u') if control => {
                self.text.drain(..self.caret);
                self.caret = 0;
            }
            KeyCode::Char('w') if control => {
                while self.before() == Some(' ') {
                    self.back();
                }
                while self.before().is_some_and(|c| c != ' ') {
                    self.back();
                }
            }
            KeyCode::Char('a') if control => self.caret = 0,
            KeyCode::Char('e') if control => self.caret = self.text.len(),
            KeyCode::Char('h') if control => {
                self.back();
            }
            KeyCode::Char(c) if !control => self.insert(c),
            KeyCode::Backspace => {
                self.back();
            }
            KeyCode::Delete => {
                if self.caret < self.text.len() {
                    self.text.remove(self.caret);
                }
            }
            KeyCode::Left => self.caret -= self.before().map_or(0, char::len_utf8),
            KeyCode::Right => {
                let after = self.text[self.caret..].chars().next();
                self.caret += after.map_or(0, char::len_utf8);
            }
            KeyCode::Home => self.caret = 0,
            KeyCode::End => self.caret = self.text.len(),
            _ => return Typed::Unknown,
        }
        Typed::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(prompt: &mut Prompt, code: KeyCode, modifiers: KeyModifiers) -> Typed {
        prompt.key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn a_line_is_edited_by_characters() {
        let mut prompt = Prompt::new("état");
        for _ in 0..3 {
            press(&mut prompt, KeyCode::Left, KeyModifiers::NONE);
        }
        press(&mut prompt, KeyCode::Backspace, KeyModifiers::NONE);
        press(&mut prompt, KeyCode::Char('s'), KeyModifiers::NONE);
        assert_eq!(prompt.halves(), ("s", "tat"));
        press(&mut prompt, KeyCode::End, KeyModifiers::NONE);
        for c in "e:estab nginx ".chars() {
            press(&mut prompt, KeyCode::Char(c), KeyModifiers::NONE);
        }
        press(&mut prompt, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(prompt.text(), "state:estab ");
        press(&mut prompt, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(prompt.text(), "");
        press(&mut prompt, KeyCode::Backspace, KeyModifiers::NONE);
        press(&mut prompt, KeyCode::Delete, KeyModifiers::NONE);
        assert_eq!(
            press(&mut prompt, KeyCode::Enter, KeyModifiers::NONE),
            Typed::Done
        );
    }

    #[test]
    fn the_line_is_bounded_and_takes_no_controls() {
        let mut prompt = Prompt::default();
        prompt.insert('\u{1b}');
        for _ in 0..1000 {
            prompt.insert('x');
        }
        assert_eq!(prompt.text().len(), LONGEST);
        assert!(!prompt.text().contains('\u{1b}'));
    }
}
