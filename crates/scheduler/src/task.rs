//! What a task is, from its submission to its end.

use crate::{
    AttemptId, CheckpointIndex, Degradable, FailureKind, Generation, HardwareClass, Incarnation, Ladder, Precision,
    Resources, Shape, Slack, Strategy, TaskType,
};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text};
use xxhash_rust::xxh3::Xxh3;

/// What a client submits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Names the task for ever; submitting it again under the same id changes nothing.
    pub id: Text,
    /// What kind of work it is.
    pub kind: TaskType,
    /// The class of hardware that it needs, as text, so that a class that there isn't can be refused by its name.
    pub class: Text,
    /// What it occupies while it runs; not everything may be zero.
    pub resources: Resources,
    /// What else a worker must be able to do; all of it.
    pub capabilities: BTreeSet<Text>,
    /// Higher comes first.
    pub priority: u8,
    /// Handed to the worker as it is.
    pub payload: Arc<[u8]>,
    /// How often it is tried again after a failure; the scheduler's own setting if it isn't said.
    pub max_retries: Option<u32>,
    /// When it ends as failed, from its submission on; never if it isn't said. Counts the scheduler's uptime.
    pub deadline: Option<Span>,
    /// How long one attempt may run before it counts as failed by timeout; the scheduler's own setting if it isn't said.
    pub run_limit: Option<Span>,
    /// How often a running attempt saves a checkpoint; never if it isn't said.
    pub checkpoint_interval: Option<Span>,
    /// How much it takes at once; at least 1.
    pub batch_size: u32,
    /// The precision that it computes with.
    pub precision: Precision,
    /// What may be degraded to get it done.
    pub degradable: Degradable,
    /// Risk-aware placement: by when it should be done, in thousandths of its expected run time, 1500 to 2500; 2000 if it
    /// isn't said.
    pub slack_millis: Option<u32>,
}

/// How a task ended. Final.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An attempt succeeded.
    Succeeded {
        /// Which.
        attempt: AttemptId,
        /// What it returned.
        result: Arc<[u8]>,
    },
    /// It will not be tried again.
    Failed(Verdict),
    /// A client cancelled it.
    Cancelled,
}

/// Why a task failed for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its retries are used up; the kind of the last failure.
    Escalated(FailureKind),
    /// It lost more workers than a task may lose.
    Poison,
    /// Its deadline passed.
    Deadline,
}

/// How one attempt ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The worker reported success.
    Succeeded,
    /// The worker reported a failure, or the attempt ran for longer than it may.
    Failed(FailureKind),
    /// The worker's incarnation ended by failure: a crash, or a disconnection.
    Lost(FailureKind),
    /// The worker's incarnation ended by plan, or the worker gave the attempt back. Charged to nobody.
    Drained,
    /// It was fenced so that the task goes on elsewhere. Charged to nobody.
    Migrated,
    /// The task was cancelled.
    Cancelled,
    /// The task's deadline passed.
    Expired,
}

/// Where a task is. A submitted one is exactly in one of these.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for a worker: queued once the moment has come, delayed until then.
    Waiting {
        /// Not before this moment, in uptime of the scheduler.
        not_before: Span,
        /// Whether it has been assigned before; such tasks go before new ones.
        requeued: bool,
    },
    /// An attempt holds it.
    Leased(Lease),
    /// It has ended.
    Terminal {
        /// How.
        outcome: Outcome,
        /// Its place among all endings: the oldest are forgotten first.
        number: u64,
    },
}

/// The right of one attempt to work on a task.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The attempt.
    pub attempt: AttemptId,
    /// The worker's id.
    pub worker: Text,
    /// The worker's incarnation: the lease ends with it.
    pub incarnation: Incarnation,
    /// When it was assigned, in uptime of the scheduler.
    pub at: Span,
    /// The class of hardware that it runs on.
    pub class: HardwareClass,
    /// What is reserved for it.
    pub resources: Resources,
    /// The permits that it holds.
    pub permits: Permits,
    /// Until when it may hold those of half-open breakers.
    pub probe_until: Span,
    /// The attempt from whose worker the task moved here, until this one has started.
    pub migrated_from: Option<AttemptId>,
}

/// The generations of the three breakers at the moment when a permit was taken of each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Permits {
    /// Of the worker's breaker.
    pub worker: Generation,
    /// Of the breaker of the hardware class.
    pub class: Generation,
    /// Of the breaker of the task type.
    pub kind: Generation,
}

/// The ladder of a task that has failed, and where on it the task stands.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Climb {
    /// Chosen by the first failure.
    pub ladder: Ladder,
    /// The order of its steps at that time: whatever adapts later, a task goes on as it began. `None`: the specification's.
    pub order: Option<Arc<[Strategy]>>,
    /// The place of the step that was taken last.
    pub step: u8,
    /// What was done in it.
    pub strategy: Strategy,
}

impl Climb {
    /// The steps that the task takes, in order.
    #[must_use]
    pub fn steps(&self) -> &[Strategy] {
        self.order.as_deref().unwrap_or(self.ladder.steps())
    }
}

impl TaskSpec {
    /// By which two submissions under one id are known to be the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Task {
    /// By when risk-aware placement should have it done.
    #[must_use]
    pub fn slack(&self) -> Slack {
        self.spec.slack_millis.and_then(Slack::from_millis).unwrap_or_default()
    }
}

/// One task, as the disk knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Task {
    /// What was submitted; without the payload once the task has ended.
    pub spec: Arc<TaskSpec>,
    /// By which a submission under the same id is known to be the same (xxh3 of all of the spec).
    pub digest: u64,
    /// Its place among all submissions, from 1.
    pub number: u64,
    /// When it was submitted, in uptime of the scheduler.
    pub submitted: Span,
    /// Where it is.
    pub state: TaskState,
    /// How it runs now: degraded, perhaps.
    pub shape: Shape,
    /// Where it stands on its ladder, once it has failed.
    pub climb: Option<Arc<Climb>>,
    /// How many attempts there were.
    pub attempts: u32,
    /// How many of them failed.
    pub failures: u32,
    /// How many of them lost their worker.
    pub losses: u32,
    /// The worker that it should rather not be given to.
    pub avoid: Option<Text>,
    /// Whether the worker's runtime is restarted before the next attempt.
    pub restart_runtime: bool,
    /// Its complete checkpoints.
    pub checkpoints: CheckpointIndex,
    /// Whether the store may hold checkpoints of it that count or don't: it has had an attempt that may save, and the store
    /// has not been cleared of it since.
    pub saves: bool,
    /// Its last attempts that are over, newest last, at most [`PAST_KEPT`].
    pub past: VecDeque<Past>,
}

/// How many attempts of a task are remembered after their end. A report of an older one is answered as unknown.
pub const PAST_KEPT: usize = 16;

/// An attempt that is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub attempt: AttemptId,
    /// Whose it was.
    pub incarnation: Incarnation,
    /// Whether its own report ended it.
    pub reported: bool,
}
