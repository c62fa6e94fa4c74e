//! What the store's disk holds.

use super::Part;
use crate::{AttemptId, Checkpoint, CheckpointSeq};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use serde::{Deserialize, Serialize};
use squall_machine::Text;

/// One durable record of a checkpoint store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreRecord {
    /// A part of a checkpoint. The checkpoint is complete with the last of its parts.
    Part(Part),
    /// A checkpoint that wasn't complete is gone.
    Dropped {
        /// Of which task.
        task: Text,
        /// Whose.
        attempt: AttemptId,
        /// Which.
        seq: CheckpointSeq,
    },
    /// All checkpoints of a task that has ended are gone, and no more of it will be taken.
    Cleared {
        /// Of which task.
        task: Text,
        /// The newest attempt that there was.
        until: AttemptId,
    },
    /// The old checkpoints of a task are gone.
    Deleted {
        /// Of which task.
        task: Text,
        /// All with lower numbers.
        below: CheckpointSeq,
    },
}

/// How many tasks that have ended a store remembers. Their workers are told to stop long before so many others have ended.
pub const OVER_MAX: usize = 4_096;

/// Everything that a checkpoint store holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct StoreSnapshot {
    /// By task; none without a checkpoint.
    pub tasks: BTreeMap<Text, Shelf>,
    /// How many checkpoints were ever begun.
    pub begun: u64,
    /// The tasks that ended last, each with its newest attempt: a late save of one would stay for ever.
    pub over: BTreeMap<Text, AttemptId>,
    /// The same, in the order in which they ended; at most [`OVER_MAX`].
    pub endings: VecDeque<Text>,
}

/// The checkpoints of one task.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Shelf {
    /// By number; two attempts may have used the same one.
    pub saves: BTreeMap<(CheckpointSeq, AttemptId), Save>,
}

/// One checkpoint, as far as it has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Save {
    /// What it is, or will be.
    pub checkpoint: Checkpoint,
    /// How many parts it has.
    pub count: u32,
    /// Which of them are there.
    pub parts: BTreeSet<u32>,
    /// Its place among all that were begun.
    pub number: u64,
}

impl Save {
    /// Whether every part is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.len() == self.count as usize
    }
}

impl Shelf {
    /// The key of the first checkpoint with this number or a higher one.
    pub(super) fn first(seq: CheckpointSeq) -> (CheckpointSeq, AttemptId) {
        (seq, AttemptId(0))
    }

    /// What all of them occupy; a checkpoint counts as a whole from its first part on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.saves.values().fold(0, |sum, save| sum.saturating_add(save.checkpoint.bytes))
    }

    pub(super) fn assert_invariants(&self) {
        assert!(!self.saves.is_empty(), "a task without a checkpoint");
        for ((seq, attempt), save) in &self.saves {
            assert_eq!((save.checkpoint.seq, save.checkpoint.attempt), (*seq, *attempt), "a checkpoint under its name");
            assert!(!save.parts.is_empty(), "a checkpoint without a part");
            assert!(save.parts.last().is_none_or(|last| *last < save.count), "a part beyond the last one");
        }
    }
}

impl StoreSnapshot {
    /// Adds one record.
    ///
    /// # Panics
    /// If the record can't follow the state: the disk returned something else than what was written.
    pub fn apply(&mut self, record: &StoreRecord) {
        match record {
            StoreRecord::Part(part) => {
                let shelf = self.tasks.entry(part.task.clone()).or_default();
                let save = shelf.saves.entry(part.key()).or_insert_with(|| {
                    self.begun += 1;
                    let (checkpoint, count) = (part.checkpoint, part.count);
                    Save { checkpoint, count, parts: BTreeSet::new(), number: self.begun }
                });
                assert!(part.is_intact(), "a part that isn't what was written");
                assert_eq!((save.checkpoint, save.count), (part.checkpoint, part.count), "parts of two checkpoints");
                assert!(save.parts.insert(part.index), "a part was stored twice");
            }
            StoreRecord::Dropped { task, attempt, seq } => {
                let shelf = self.tasks.get_mut(task).expect("a task that is known");
                let dropped = shelf.saves.remove(&(*seq, *attempt)).expect("a checkpoint that is known");
                assert!(!dropped.is_complete(), "what is complete isn't dropped");
                self.forget_empty(task);
            }
            StoreRecord::Cleared { task, until } => {
                if let Some(shelf) = self.tasks.get_mut(task) {
                    shelf.saves.retain(|(_, attempt), _| attempt > until);
                }
                self.forget_empty(task);
                self.close(task, *until);
            }
            StoreRecord::Deleted { task, below } => {
                let shelf = self.tasks.get_mut(task).expect("a task that is known");
                shelf.saves = shelf.saves.split_off(&Shelf::first(*below));
                self.forget_empty(task);
            }
        }
    }

    fn close(&mut self, task: &Text, until: AttemptId) {
        if self.over.insert(task.clone(), until).is_none() {
            self.endings.push_back(task.clone());
        }
        while self.endings.len() > OVER_MAX {
            let oldest = self.endings.pop_front().expect("there is one");
            self.over.remove(&oldest);
        }
    }

    /// Whether the task of this attempt has ended, as far as is remembered.
    #[must_use]
    pub fn is_over(&self, task: &str, attempt: AttemptId) -> bool {
        self.over.get(task).is_some_and(|until| attempt <= *until)
    }

    fn forget_empty(&mut self, task: &Text) {
        if self.tasks.get(task).is_some_and(|shelf| shelf.saves.is_empty()) {
            self.tasks.remove(task);
        }
    }
}
