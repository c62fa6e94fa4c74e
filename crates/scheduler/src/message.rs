//! What clients, workers and the scheduler say to each other. Every message may be lost, duplicated, delayed or overtaken;
//! requests are re-sent until they are answered.

use crate::{
    AttemptId, Checkpoint, CheckpointSeq, FailureKind, HardwareClass, Ignored, Incarnation, Outcome, Resources, Shape,
    TaskSpec, TaskType, Vitals,
};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text, kinds};

/// What a worker offers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its class of hardware.
    pub class: HardwareClass,
    /// What else it can do.
    pub capabilities: BTreeSet<Text>,
    /// What it has, all in all.
    pub resources: Resources,
}

/// What a worker needs to know of a task.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Work {
    /// The task's id.
    pub task: Text,
    /// What kind of work it is.
    pub kind: TaskType,
    /// How it is to run.
    pub shape: Shape,
    /// What it may occupy.
    pub resources: Resources,
    /// The client's own words.
    pub payload: Arc<[u8]>,
    /// How often it saves a checkpoint; `None`: never.
    pub checkpoint_interval: Option<Span>,
    /// Whether the runtime is restarted first.
    pub restart_runtime: bool,
    /// Where it goes on; `None`: at the beginning.
    pub restore: Option<Checkpoint>,
    /// The number of its first checkpoint.
    pub next_seq: CheckpointSeq,
}

/// What a worker says about an attempt that is over.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It is done.
    Succeeded {
        /// What it returns.
        result: Arc<[u8]>,
    },
    /// It failed.
    Failed {
        /// In which way; `None`: the scheduler reads it out of the text.
        kind: Option<FailureKind>,
        /// What was said about it.
        text: Text,
    },
    /// The worker gives it back: it is leaving, or was told to stop.
    Returned,
}

/// What became of a report or a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reception {
    /// It counts.
    Accepted,
    /// It counted before.
    AlreadyAccepted,
    /// It never will.
    Rejected(Ignored),
}

/// Why a submission is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskRefusal {
    /// There is no such class of hardware.
    UnknownClass,
    /// It needs nothing, or a figure or a span in it is out of its range.
    Malformed,
    /// A text, the payload or the list of capabilities is longer than its limit.
    TooLong,
    /// So many tasks wait as may. Submit it again later.
    QueueFull,
    /// A different task has this id.
    IdTaken,
}

/// Where a task is, as its client sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Never submitted, or forgotten.
    Unknown,
    /// It waits.
    Waiting,
    /// An attempt runs.
    Running {
        /// Which.
        attempt: AttemptId,
    },
    /// It has ended.
    Ended(Outcome),
}

/// Everything that travels between clients or workers and the scheduler.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    // ---- from clients
    /// Submits a task. Re-sent until answered with `Admitted` or `Declined`.
    Submit {
        /// The task.
        spec: Arc<TaskSpec>,
    },
    /// Cancels a task. Re-sent until answered with `CancelAnswer`.
    Cancel {
        /// Which.
        task: Text,
    },
    /// Asks where tasks are. Answered with `Standings`.
    Poll {
        /// Which.
        tasks: Arc<[Text]>,
    },
    // ---- to clients
    /// The task is known and will not be lost.
    Admitted {
        /// Which.
        task: Text,
    },
    /// The task is not known, and wasn't taken.
    Declined {
        /// Which.
        task: Text,
        /// Why.
        refusal: TaskRefusal,
    },
    /// The answer to `Cancel`: where the task is now. It is cancelled if that is how it ended.
    CancelAnswer {
        /// Which.
        task: Text,
        /// Where it is; it has ended, or isn't known.
        standing: Standing,
    },
    /// The answer to `Poll`.
    Standings {
        /// Where each is, in the order of the question.
        tasks: Arc<[(Text, Standing)]>,
    },
    // ---- from workers
    /// Offers itself for work. Re-sent until answered with `Offered`.
    Offer {
        /// Who.
        incarnation: Incarnation,
        /// What it has.
        offer: Arc<Offer>,
    },
    /// How it is, and what it runs. Volatile; sent with every heartbeat.
    Beat {
        /// Who.
        incarnation: Incarnation,
        /// Grows by one with each; starts at 1.
        seq: u64,
        /// How its host is.
        vitals: Vitals,
        /// What it runs, and how far that is, in millionths. Composed before any assignment that is still on its way.
        running: Arc<[(AttemptId, u32)]>,
    },
    /// The answer to `Assign`: the attempt runs.
    Started {
        /// Who, or who it was when the attempt was assigned.
        incarnation: Incarnation,
        /// Of which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// An attempt is over. Re-sent until answered with `Received`.
    Report {
        /// Who, or who it was when the attempt was assigned.
        incarnation: Incarnation,
        /// Of which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended.
        report: Report,
    },
    /// A checkpoint is complete in the store. Re-sent until answered with `Kept`.
    Saved {
        /// Who, or who it was when the attempt was assigned.
        incarnation: Incarnation,
        /// Which task.
        task: Text,
        /// The checkpoint.
        checkpoint: Box<Checkpoint>,
    },
    /// Asks for no more work. Re-sent until answered with `Drained`.
    Drain {
        /// Who.
        incarnation: Incarnation,
    },
    /// The answer to `Clear`.
    Cleared {
        /// Who.
        incarnation: Incarnation,
        /// Of which task the store holds nothing any more.
        task: Text,
    },
    // ---- to workers
    /// The answer to `Offer`.
    Offered {
        /// Who.
        incarnation: Incarnation,
    },
    /// Begs for an `Offer`: this incarnation beats, and nothing is known of what it has.
    Introduce {
        /// Who.
        incarnation: Incarnation,
    },
    /// An attempt begins. Re-sent until answered with `Started` or `Report`.
    Assign {
        /// Who.
        incarnation: Incarnation,
        /// Which attempt.
        attempt: AttemptId,
        /// What to do.
        work: Arc<Work>,
    },
    /// This attempt is fenced: whatever comes of it counts nothing.
    Stop {
        /// Who.
        incarnation: Incarnation,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// The answer to `Report`.
    Received {
        /// Which attempt.
        attempt: AttemptId,
        /// What became of it.
        reception: Reception,
    },
    /// The answer to `Saved`.
    Kept {
        /// Which attempt.
        attempt: AttemptId,
        /// Which checkpoint.
        seq: CheckpointSeq,
        /// What became of it.
        reception: Reception,
    },
    /// A task has ended: the store is to be cleared of it. Re-sent, to any worker, until answered with `Cleared`.
    Clear {
        /// Who.
        incarnation: Incarnation,
        /// Which task.
        task: Text,
        /// The newest attempt that there was.
        until: AttemptId,
    },
    /// The answer to `Drain`: it holds no lease any more, and gets none.
    Drained {
        /// Who.
        incarnation: Incarnation,
    },
}

impl Message {
    /// The worker that says this to the scheduler; `None` if it is no worker's.
    #[must_use]
    pub const fn speaker(&self) -> Option<Incarnation> {
        match self {
            Self::Offer { incarnation, .. }
            | Self::Beat { incarnation, .. }
            | Self::Started { incarnation, .. }
            | Self::Report { incarnation, .. }
            | Self::Saved { incarnation, .. }
            | Self::Cleared { incarnation, .. }
            | Self::Drain { incarnation } => Some(*incarnation),
            Self::Submit { .. }
            | Self::Cancel { .. }
            | Self::Poll { .. }
            | Self::Admitted { .. }
            | Self::Declined { .. }
            | Self::CancelAnswer { .. }
            | Self::Standings { .. }
            | Self::Offered { .. }
            | Self::Introduce { .. }
            | Self::Assign { .. }
            | Self::Stop { .. }
            | Self::Clear { .. }
            | Self::Received { .. }
            | Self::Kept { .. }
            | Self::Drained { .. } => None,
        }
    }
}

kinds!(Message {
    submit => Submit { .. },
    cancel => Cancel { .. },
    poll => Poll { .. },
    admitted => Admitted { .. },
    declined => Declined { .. },
    cancel_answer => CancelAnswer { .. },
    standings => Standings { .. },
    offer => Offer { .. },
    beat => Beat { .. },
    started => Started { .. },
    report => Report { .. },
    saved => Saved { .. },
    drain => Drain { .. },
    cleared => Cleared { .. },
    offered => Offered { .. },
    introduce => Introduce { .. },
    assign => Assign { .. },
    stop => Stop { .. },
    clear => Clear { .. },
    received => Received { .. },
    kept => Kept { .. },
    drained => Drained { .. },
});
