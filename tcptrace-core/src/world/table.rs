//! The sockets, by id and in order of id.
//!
//! Ids are handed out in ascending order, so the index is one sorted run: a new socket goes to its
//! end, a lookup gallops back from the end (recent sockets are looked up most), and iteration is in
//! order without a second structure. Removed entries stay until they are a third of the run.
//!
//! Invariants: the index is strictly ascending; each live entry names one used slot; what is
//! remembered of the last lookup is an entry of the index; a slot is
//! reused with its allocations, so that churn allocates nothing.

use crate::units::SockId;
use crate::world::slot::Slot;

/// Slots are allocated in blocks, so that growing copies none of them.
const BLOCK: usize = 1024;

/// Entries of the index that may be dead before it is swept, besides a third of it.
const SWEEP_SLACK: usize = 4096;

const DEAD: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Table {
    index: Vec<(SockId, u32)>,
    dead: usize,
    blocks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    /// The entry that was last asked for: applying one fact looks up its socket several times.
    last: Option<(SockId, u32)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len() - self.dead
    }

    fn find(&self, id: SockId) -> Result<usize, usize> {
        let len = self.index.len();
        let mut step = 1;
        let mut high = len;
        let mut low = len;
        while low > 0 {
            low = low.saturating_sub(step);
            if self.index[low].0 <= id {
                break;
            }
            high = low;
            step *= 4;
        }
        self.index[low..high]
            .binary_search_by_key(&id, |entry| entry.0)
            .map(|at| at + low)
            .map_err(|at| at + low)
    }

    fn number(&self, id: SockId) -> Option<u32> {
        if let Some((last, number)) = self.last
            && last == id
        {
            return Some(number);
        }
        let at = self.find(id).ok()?;
        Some(self.index[at].1).filter(|number| *number != DEAD)
    }

    pub(super) fn get(&self, id: SockId) -> Option<&Slot> {
        self.number(id).map(|number| self.slot(number))
    }

    pub(super) fn get_mut(&mut self, id: SockId) -> Option<&mut Slot> {
        let number = self.number(id)?;
        self.last = Some((id, number));
        let number = number as usize;
        self.blocks.get_mut(number / BLOCK)?.get_mut(number % BLOCK)
    }

    fn slot(&self, number: u32) -> &Slot {
        let number = number as usize;
        &self.blocks[number / BLOCK][number % BLOCK]
    }

    fn slot_mut(&mut self, number: u32) -> &mut Slot {
        let number = number as usize;
        &mut self.blocks[number / BLOCK][number % BLOCK]
    }

    /// The slot of `id`, and whether it is new (then it is blank).
    pub(super) fn entry(&mut self, id: SockId) -> (&mut Slot, bool) {
        if let Some((last, number)) = self.last
            && last == id
        {
            return (self.slot_mut(number), false);
        }
        let place = self.find(id);
        let (number, new) = match place {
            Ok(at) if self.index[at].1 != DEAD => (self.index[at].1, false),
            Ok(at) => {
                let number = self.take_slot();
                self.index[at].1 = number;
                self.dead -= 1;
                (number, true)
            }
            Err(at) => {
                let number = self.take_slot();
                self.index.insert(at, (id, number));
                (number, true)
            }
        };
        self.last = Some((id, number));
        let slot = self.slot_mut(number);
        if new {
            slot.reset();
        }
        (slot, new)
    }

    fn take_slot(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        if self
            .blocks
            .last()
            .is_none_or(|block| block.len() == block.capacity())
        {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let blocks = self.blocks.len();
        let block = &mut self.blocks[blocks - 1];
        block.push(Slot::default());
        u32::try_from((blocks - 1) * BLOCK + block.len() - 1)
            .expect("the number of sockets is bounded far below 4 billion")
    }

    pub(super) fn remove(&mut self, id: SockId) {
        self.last = None;
        let Ok(at) = self.find(id) else { return };
        let number = std::mem::replace(&mut self.index[at].1, DEAD);
        if number == DEAD {
            return;
        }
        self.free.push(number);
        self.dead += 1;
        if self.dead > SWEEP_SLACK + self.index.len() / 3 {
            self.index.retain(|entry| entry.1 != DEAD);
            self.dead = 0;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.index
            .iter()
            .filter(|entry| entry.1 != DEAD)
            .map(|entry| self.slot(entry.1))
    }

    /// The smallest id, for eviction.
    pub(super) fn first_where(&self, wanted: impl Fn(&Slot) -> bool) -> Option<SockId> {
        self.iter()
            .find(|slot| wanted(slot))
            .map(|slot| slot.socket.key.sock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Whatever the order of ids, the table is a sorted set.
        #[test]
        fn behaves_like_a_sorted_set(steps in prop::collection::vec((0_u64..200, any::<bool>()), 0..400)) {
            let mut table = Table::default();
            let mut model = BTreeSet::new();
            for (id, insert) in steps {
                let id = SockId(id);
                if insert {
                    let (slot, new) = table.entry(id);
                    slot.socket.key.sock = id;
                    prop_assert_eq!(new, model.insert(id));
                } else {
                    table.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(table.get(id).is_some(), model.contains(&id));
            }
            let ids: Vec<SockId> = table.iter().map(|slot| slot.socket.key.sock).collect();
            prop_assert_eq!(ids, model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(table.len(), model.len());
        }
    }
}
