//! The order of many rows, without sorting them all.
//!
//! A list of 100,000 connections shows thirty. Each becomes a number; what stands on the screen is
//! found by selection, which is linear in the number of rows, and only those rows are sorted and,
//! elsewhere, formatted.

/// By what, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort<Column> {
    pub(super) column: Column,
    pub(super) reversed: bool,
}

/// A number whose ascending order is the order of a list; what stands first in it is what one
/// would look for first.
pub(super) type Rank = (u128, u64);

/// The rows of a list, in an order that is worked out where it is looked at.
#[derive(Debug)]
pub(super) struct Rows<Id> {
    rows: Vec<Row<Id>>,
}

/// The derived order is the list's: by rank, then by id, so that equals never swap places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row<Id> {
    rank: Rank,
    id: Id,
}

impl<Id> Default for Rows<Id> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

impl<Id: Copy + Ord> Rows<Id> {
    /// Takes the rows to show; keeps the memory of the last time.
    pub(super) fn fill(&mut self, rows: impl Iterator<Item = (Rank, Id)>, reversed: bool) {
        self.rows.clear();
        self.rows.extend(rows.map(|((major, minor), id)| Row {
            rank: if reversed {
                (!major, !minor)
            } else {
                (major, minor)
            },
            id,
        }));
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where `id` stands.
    pub(super) fn position(&self, id: Id) -> Option<usize> {
        let row = self.rows.iter().find(|row| row.id == id)?;
        Some(self.rows.iter().filter(|other| *other < row).count())
    }

    /// Who stands at `position`.
    pub(super) fn at(&mut self, position: usize) -> Option<Id> {
        if position >= self.rows.len() {
            return None;
        }
        Some(self.rows.select_nth_unstable(position).1.id)
    }

    /// `count` ids from `top` on, in order.
    pub(super) fn window(&mut self, top: usize, count: usize) -> impl Iterator<Item = Id> {
        if top < self.rows.len() {
            self.rows.select_nth_unstable(top);
        }
        let rest = self.rows.get_mut(top..).unwrap_or_default();
        if count < rest.len() {
            rest.select_nth_unstable(count);
        }
        let count = count.min(rest.len());
        let window = &mut rest[..count];
        window.sort_unstable();
        window.iter().map(|row| row.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn selection_agrees_with_sorting(
            ranks in prop::collection::vec(0..50_u64, 1..200),
            top in 0..200_usize,
            count in 0..50_usize,
            reversed in any::<bool>(),
        ) {
            let mut rows = Rows::default();
            let ids = ranks.iter().zip(0_u64..).map(|(rank, id)| ((0, *rank), id));
            rows.fill(ids, reversed);
            let mut sorted = rows.rows.clone();
            sorted.sort_unstable();
            let expected: Vec<_> = sorted.iter().skip(top).take(count).map(|row| row.id).collect();
            prop_assert_eq!(rows.window(top, count).collect::<Vec<_>>(), expected);
            for (position, row) in sorted.iter().enumerate() {
                prop_assert_eq!(rows.position(row.id), Some(position));
                prop_assert_eq!(rows.at(position), Some(row.id));
            }
        }
    }
}
