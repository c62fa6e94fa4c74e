//! Which checkpoints of a task are known and kept.

use crate::{AttemptId, CheckpointSeq};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A complete checkpoint in the store, as the index knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which attempt saved it.
    pub attempt: AttemptId,
    /// Its place in the numbering of the task.
    pub seq: CheckpointSeq,
    /// How much of the task it holds, in millionths: 0 to 1,000,000.
    pub progress_micros: u32,
    /// How long it is.
    pub bytes: u64,
    /// A digest of its content, by which a torn one is known.
    pub digest: u64,
}

impl Checkpoint {
    /// The highest number that a checkpoint may have. No task gets there by saving; without a limit one forged number
    /// would leave no room above it.
    pub const SEQ_MAX: CheckpointSeq = CheckpointSeq(1 << 40);

    /// Whether a worker could have saved it.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.seq > CheckpointSeq(0) && self.seq < Self::SEQ_MAX && self.progress_micros <= 1_000_000
    }
}

/// What became of a checkpoint that was offered to the index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Keeping {
    /// It is the newest one now. `pruned` are no longer needed, oldest first; their bytes may go.
    Accepted {
        /// What the index forgot.
        pruned: Vec<Checkpoint>,
    },
    /// It is one of those that are kept: the message was repeated.
    AlreadyAccepted,
    /// Its number isn't above the newest one's, and it isn't kept: it came late, or was pruned. Nothing changed.
    Stale,
}

/// The checkpoints of one task, in strictly increasing order of their numbers.
///
/// Whether an attempt may still save is for its owner to judge, before it offers anything.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct CheckpointIndex {
    kept: VecDeque<Checkpoint>,
}

impl CheckpointIndex {
    /// How many checkpoints of a task are kept, if nothing else is set.
    pub const KEEP: u32 = 5;

    /// Offers a checkpoint that is complete in the store; the newest `keep` are kept, and always at least one.
    ///
    /// # Panics
    /// If it is [impossible](Checkpoint::is_possible).
    pub fn accept(&mut self, checkpoint: Checkpoint, keep: u32) -> Keeping {
        assert!(checkpoint.is_possible(), "{checkpoint:?} can't be");
        if self.kept.contains(&checkpoint) {
            return Keeping::AlreadyAccepted;
        }
        if checkpoint.seq < self.next_seq() {
            return Keeping::Stale;
        }
        self.kept.push_back(checkpoint);
        let surplus = self.kept.len().saturating_sub(keep.max(1) as usize);
        let pruned = self.kept.drain(..surplus).collect();
        assert_eq!(self.newest(), Some(&checkpoint), "the newest one is kept");
        Keeping::Accepted { pruned }
    }

    /// The one to restore from.
    #[must_use]
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.kept.back()
    }

    /// The lowest number that the next checkpoint may have; the first is 1.
    #[must_use]
    pub fn next_seq(&self) -> CheckpointSeq {
        self.newest().map_or(CheckpointSeq(1), |newest| newest.seq.next())
    }

    /// Those that are kept, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Checkpoint> {
        self.kept.iter()
    }

    /// Checks the order.
    ///
    /// # Panics
    /// If numbers don't strictly increase.
    pub fn assert_invariants(&self) {
        assert!(self.kept.iter().is_sorted_by(|a, b| a.seq < b.seq), "numbers strictly increase");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoint(attempt: u64, seq: u64) -> Checkpoint {
        let (attempt, seq) = (AttemptId(attempt), CheckpointSeq(seq));
        Checkpoint { attempt, seq, progress_micros: 0, bytes: 10, digest: 7 }
    }

    #[test]
    fn numbers_strictly_increase() {
        let mut index = CheckpointIndex::default();
        assert_eq!((index.newest(), index.next_seq()), (None, CheckpointSeq(1)));
        let accepted = || Keeping::Accepted { pruned: Vec::new() };
        for (attempt, seq, expected, next) in [
            (1, 1, accepted(), 2),
            (1, 1, Keeping::AlreadyAccepted, 2),
            (2, 1, Keeping::Stale, 2),
            (1, 4, accepted(), 5),
            (1, 3, Keeping::Stale, 5),
            (1, 1, Keeping::AlreadyAccepted, 5),
            (2, 5, accepted(), 6),
        ] {
            assert_eq!(index.accept(checkpoint(attempt, seq), CheckpointIndex::KEEP), expected, "{attempt} {seq}");
            assert_eq!(index.next_seq(), CheckpointSeq(next));
        }
        let torn = Checkpoint { digest: 8, ..checkpoint(2, 5) };
        assert_eq!(index.accept(torn, CheckpointIndex::KEEP), Keeping::Stale, "another content of the same number");
        assert_eq!(index.newest(), Some(&checkpoint(2, 5)));
    }

    #[test]
    fn the_newest_are_kept_and_always_one() {
        for (keep, kept) in [(0, 1), (1, 1), (5, 5)] {
            let mut index = CheckpointIndex::default();
            for seq in 1..=9u64 {
                let pruned = seq.checked_sub(kept).filter(|oldest| *oldest > 0).map(|oldest| checkpoint(1, oldest));
                let expected = Keeping::Accepted { pruned: pruned.into_iter().collect() };
                assert_eq!(index.accept(checkpoint(1, seq), keep), expected, "keep {keep}");
            }
            assert_eq!(index.kept().count() as u64, kept);
            assert_eq!(index.accept(checkpoint(1, 9 - kept), keep), Keeping::Stale, "pruned");
        }
    }

    #[test]
    fn keeping_fewer_prunes_all_that_are_too_many() {
        let mut index = CheckpointIndex::default();
        for seq in 1..=5 {
            index.accept(checkpoint(1, seq), 5);
        }
        let pruned = (1..=4).map(|seq| checkpoint(1, seq)).collect();
        assert_eq!(index.accept(checkpoint(1, 6), 2), Keeping::Accepted { pruned });
    }

    #[test]
    fn what_nobody_could_have_saved_is_known() {
        assert!(checkpoint(1, 1).is_possible() && !checkpoint(1, 0).is_possible());
        assert!(!checkpoint(1, 1 << 40).is_possible());
        assert!(!Checkpoint { progress_micros: 1_000_001, ..checkpoint(1, 1) }.is_possible());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_all_that_were_accepted(
            offers in prop::collection::vec((1..30u64, 1..3u64, 0..4u32), 0..80),
        ) {
            let mut index = CheckpointIndex::default();
            let mut list: Vec<Checkpoint> = Vec::new();
            let mut gone = 0;
            for (seq, attempt, keep) in offers {
                let offered = checkpoint(attempt, seq);
                let expected = if list[gone..].contains(&offered) {
                    Keeping::AlreadyAccepted
                } else if list.iter().any(|accepted| accepted.seq >= offered.seq) {
                    Keeping::Stale
                } else {
                    list.push(offered);
                    let from = gone;
                    gone = gone.max(list.len() - (keep.max(1) as usize).min(list.len()));
                    Keeping::Accepted { pruned: list[from..gone].to_vec() }
                };
                prop_assert_eq!(index.accept(offered, keep), expected);
                prop_assert!(index.kept().eq(&list[gone..]));
                index.assert_invariants();
            }
        }
    }
}
