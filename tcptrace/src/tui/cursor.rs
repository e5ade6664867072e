//! The selected line of a list whose lines move.
//!
//! The selection belongs to an identity, not to a line: when rows are sorted anew the marked one
//! stays on its place of the screen and the list moves around it. Until the user moves, the
//! first line is marked, whoever stands there.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A move of the selection, or of a scrolled text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Movement {
    /// What `key` means in every list and text.
    pub(super) fn of(key: KeyEvent) -> Option<Self> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Some(match key.code {
            KeyCode::Char('u' | 'b') if control => Self::PageUp,
            KeyCode::Char('d' | 'f') if control => Self::PageDown,
            _ if control => return None,
            KeyCode::Up | KeyCode::Char('k') => Self::Up,
            KeyCode::Down | KeyCode::Char('j') => Self::Down,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown | KeyCode::Char(' ') => Self::PageDown,
            KeyCode::Home | KeyCode::Char('g') => Self::First,
            KeyCode::End | KeyCode::Char('G') => Self::Last,
            _ => return None,
        })
    }

    /// Where one gets from `position` among `count`, with `page` lines on the screen.
    pub(super) fn apply(self, position: usize, count: usize, page: usize) -> usize {
        let page = page.max(1);
        let target = match self {
            Self::Up => position.saturating_sub(1),
            Self::Down => position + 1,
            Self::PageUp => position.saturating_sub(page),
            Self::PageDown => position + page,
            Self::First => 0,
            Self::Last => count,
        };
        target.min(count.saturating_sub(1))
    }
}

/// Which line is marked, and which is on top.
#[derive(Clone, Debug)]
pub(super) struct Cursor<Id> {
    /// Whose line is marked; the first line's when the user has not moved.
    selected: Option<Id>,
    /// Its place in the list when last drawn.
    position: usize,
    /// The first line on the screen.
    top: usize,
    /// How many lines fitted when last drawn.
    page: usize,
}

impl<Id> Default for Cursor<Id> {
    fn default() -> Self {
        Self {
            selected: None,
            position: 0,
            top: 0,
            page: 1,
        }
    }
}

impl<Id: Copy + PartialEq> Cursor<Id> {
    pub(super) fn selected(&self) -> Option<Id> {
        self.selected
    }

    /// The first line on the screen, when last drawn.
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// Follows the list before it is drawn or moved in. `position` is where the selected id now
    /// stands, `None` when nothing is selected or it is gone; the answer is the line to mark.
    pub(super) fn settle(&mut self, position: Option<usize>, count: usize) -> usize {
        let last = count.saturating_sub(1);
        match (self.selected, position) {
            (None, _) => {
                self.position = 0;
                self.top = 0;
            }
            (Some(_), Some(now)) => {
                // Keep the line where it was on the screen.
                let on_screen = self.position.saturating_sub(self.top);
                self.position = now;
                self.top = now.saturating_sub(on_screen);
            }
            // It is gone: whoever took its place is marked.
            (Some(_), None) => self.position = self.position.min(last),
        }
        self.position
    }

    /// Makes room for `page` lines and answers the first line to draw. Call after [`Self::settle`].
    pub(super) fn scroll(&mut self, count: usize, page: usize) -> usize {
        let page = page.max(1);
        self.page = page;
        let lowest = self.position.saturating_sub(page - 1);
        let highest = self.position.min(count.saturating_sub(page));
        self.top = self.top.clamp(lowest, highest.max(lowest));
        self.top
    }

    /// Where `movement` leads; hand the id found there to [`Self::select`].
    pub(super) fn target(&self, movement: Movement, count: usize) -> usize {
        movement.apply(self.position, count, self.page)
    }

    /// Marks `id` at `position`. The first line marks nobody in particular.
    pub(super) fn select(&mut self, id: Option<Id>, position: usize) {
        self.selected = if position == 0 { None } else { id };
        if self.selected.is_none() {
            self.top = 0;
        }
        self.position = position;
    }

    /// Moves in a short list, whose ids are all at hand.
    pub(super) fn travel(&mut self, movement: Movement, ids: &[Id]) {
        self.settle(self.find(ids), ids.len());
        let target = self.target(movement, ids.len());
        self.select(ids.get(target).copied(), target);
    }

    /// The marked line of a short list.
    pub(super) fn marked(&mut self, ids: &[Id]) -> Option<Id> {
        let found = self.find(ids);
        let position = self.settle(found, ids.len());
        let marked = ids.get(position).copied();
        if found.is_none() && self.selected.is_some() {
            self.selected = marked;
        }
        marked
    }

    fn find(&self, ids: &[Id]) -> Option<usize> {
        ids.iter().position(|id| Some(*id) == self.selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_stays_with_its_row_and_its_place_on_the_screen() {
        let mut cursor = Cursor::default();
        let ids: Vec<u32> = (0..100).collect();
        assert_eq!(cursor.marked(&ids), Some(0));
        cursor.scroll(100, 10);
        for _ in 0..20 {
            cursor.travel(Movement::Down, &ids);
            cursor.scroll(100, 10);
        }
        assert_eq!(
            (cursor.marked(&ids), cursor.scroll(100, 10)),
            (Some(20), 11)
        );

        // Five rows appear above: the list moves, the mark does not.
        let more: Vec<u32> = (200..205).chain(0..100).collect();
        assert_eq!(
            (cursor.marked(&more), cursor.scroll(105, 10)),
            (Some(20), 16)
        );

        // It goes away: the one that took its line is marked.
        let fewer: Vec<u32> = more.iter().copied().filter(|id| *id != 20).collect();
        assert_eq!(cursor.marked(&fewer), Some(21));

        cursor.travel(Movement::Last, &fewer);
        assert_eq!(
            (cursor.marked(&fewer), cursor.scroll(104, 10)),
            (Some(99), 94)
        );
        cursor.travel(Movement::First, &fewer);
        assert_eq!(
            (cursor.marked(&fewer), cursor.scroll(104, 10)),
            (Some(200), 0)
        );
    }

    #[test]
    fn the_first_line_follows_the_list_until_the_user_moves() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.marked(&[1, 2]), Some(1));
        assert_eq!(cursor.marked(&[9, 1, 2]), Some(9));
        assert_eq!(cursor.marked(&[]), None);
        cursor.travel(Movement::Down, &[]);
        assert_eq!(cursor.marked(&[5]), Some(5));
    }
}
