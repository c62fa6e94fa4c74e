//! What will happen, ordered by (time, tie-break, insertion). The tie-break is drawn from a seeded stream, so that what
//! happens at one instant happens in every order over the seeds.

use squall_machine::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of happenings. Entries of the heap are small; what happens lies in a slab.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Key>>,
    slab: Vec<Option<T>>,
    free: Vec<u32>,
    inserted: u32,
}

/// When, then the tie-break, then the order of insertion; the slot comes last and decides nothing, since the number of an
/// insertion comes back only after four thousand million others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    at: Time,
    tie_and_insertion: u64,
    slot: u32,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), slab: Vec::new(), free: Vec::new(), inserted: 0 }
    }

    pub(super) fn push(&mut self, at: Time, tie: u32, happening: T) {
        let slot = if let Some(slot) = self.free.pop() {
            self.slab[slot as usize] = Some(happening);
            slot
        } else {
            self.slab.push(Some(happening));
            (self.slab.len() - 1) as u32
        };
        self.inserted = self.inserted.wrapping_add(1);
        let tie_and_insertion = u64::from(tie) << 32 | u64::from(self.inserted);
        self.heap.push(Reverse(Key { at, tie_and_insertion, slot }));
    }

    /// When something is to happen next.
    pub(super) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(key)| key.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse(Key { at, slot, .. }) = self.heap.pop()?;
        self.free.push(slot);
        let happening = self.slab[slot as usize].take();
        debug_assert!(happening.is_some(), "an entry of the heap has its slot");
        happening.map(|happening| (at, happening))
    }

    /// Everything that is still to happen, in no order that means anything.
    pub(super) fn remaining(&self) -> impl Iterator<Item = &T> {
        self.slab.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_first_then_the_tie_break_then_insertion() {
        let mut queue = Queue::new();
        for (at, tie, name) in [(2, 0, "late"), (1, 9, "second"), (1, 3, "first"), (1, 9, "third")] {
            queue.push(Time::from_nanos(at), tie, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(order, ["first", "second", "third", "late"]);
    }

    #[test]
    fn slots_are_used_again() {
        let mut queue = Queue::new();
        for round in 0..100u64 {
            queue.push(Time::from_nanos(round), 0, round);
            assert_eq!(queue.pop(), Some((Time::from_nanos(round), round)));
        }
        assert_eq!(queue.slab.len(), 1);
        assert_eq!(queue.remaining().count(), 0);
    }
}
