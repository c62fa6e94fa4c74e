//! What workers and the checkpoint store say to each other.

use super::StoreIgnored;
use crate::{AttemptId, Checkpoint, CheckpointSeq};
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use squall_machine::{Text, kinds};
use xxhash_rust::xxh3::Xxh3;

/// One part of a checkpoint. It says of which one, so parts may arrive in any order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The task.
    pub task: Text,
    /// The checkpoint, as it will be when it is complete.
    pub checkpoint: Checkpoint,
    /// Which part, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
    /// A digest of all the above, and, where there are bytes, of them.
    pub seal: u64,
}

impl Part {
    /// A sealed part.
    ///
    /// # Panics
    /// If there aren't so many parts.
    #[must_use]
    pub fn new(task: Text, checkpoint: Checkpoint, index: u32, count: u32) -> Self {
        assert!(index < count, "part {index} of {count}");
        let mut part = Self { task, checkpoint, index, count, seal: 0 };
        part.seal = part.digest();
        part
    }

    /// Whether it is as it was sealed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.seal == self.digest()
    }

    /// By what the checkpoint is known among those of its task: newer ones come later.
    pub(super) fn key(&self) -> (CheckpointSeq, AttemptId) {
        (self.checkpoint.seq, self.checkpoint.attempt)
    }

    pub(super) fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        (&self.task, self.checkpoint, self.index, self.count).hash(&mut hasher);
        hasher.finish()
    }
}

/// Everything that travels between workers and the checkpoint store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreMessage {
    /// Stores a part. All parts are re-sent until answered with `Complete` or `Refused`.
    Put {
        /// The part.
        part: Box<Part>,
    },
    /// The answer to `Put`: every part is durable, and the checkpoint can be fetched.
    Complete {
        /// Of which task.
        task: Text,
        /// Whose.
        attempt: AttemptId,
        /// Which.
        seq: CheckpointSeq,
    },
    /// The answer to `Put`: it will never be stored.
    Refused {
        /// Of which task.
        task: Text,
        /// Whose.
        attempt: AttemptId,
        /// Which.
        seq: CheckpointSeq,
        /// Why.
        reason: StoreIgnored,
    },
    /// Asks for a checkpoint. Re-sent until answered with `Fetched`.
    Fetch {
        /// Of which task.
        task: Text,
        /// Who saved it.
        attempt: AttemptId,
        /// Which.
        seq: CheckpointSeq,
        /// The attempt that goes on from it.
        reader: AttemptId,
    },
    /// The answer to `Fetch`.
    Fetched {
        /// Of which task.
        task: Text,
        /// The attempt that goes on from it.
        reader: AttemptId,
        /// What is there; `None` if it isn't there, or not complete.
        checkpoint: Option<Box<Checkpoint>>,
    },
    /// What is no longer needed. Re-sent until answered with `Deleted`.
    Delete {
        /// Of which task.
        task: Text,
        /// All checkpoints with lower numbers, complete or not.
        below: CheckpointSeq,
    },
    /// A task has ended: nothing of it, up to an attempt, is needed any more. Re-sent until answered with `Cleared`.
    Clear {
        /// Of which task.
        task: Text,
        /// The newest attempt that there was; what comes of it, or of an older one, is refused from now on.
        until: AttemptId,
    },
    /// The answer to `Clear`: nothing of it is there any more.
    Cleared {
        /// Of which task.
        task: Text,
        /// As in the question.
        until: AttemptId,
    },
    /// The answer to `Delete`: nothing of it is there any more.
    Deleted {
        /// Of which task.
        task: Text,
        /// As in the question.
        below: CheckpointSeq,
    },
}

kinds!(StoreMessage {
    store_put => Put { .. },
    store_complete => Complete { .. },
    store_refused => Refused { .. },
    store_fetch => Fetch { .. },
    store_fetched => Fetched { .. },
    store_delete => Delete { .. },
    store_deleted => Deleted { .. },
    store_clear => Clear { .. },
    store_cleared => Cleared { .. },
});
