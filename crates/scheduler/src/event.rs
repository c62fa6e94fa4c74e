//! What scheduler, workers and clients tell the history. Checkers read nothing else of them.

use crate::{
    Adaptable, Adapted, AttemptId, BreakerChange, BreakerKey, BreakerState, Checkpoint, CheckpointSeq, End, Generation,
    Incarnation, Issue, Offer, Outcome, Placement, Reception, Report, Resources, Setting, Settlement, Shape, Standing,
    Strategy, Task, TaskRefusal, TaskSpec, TaskType,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text, kinds};

/// Why an input was ignored, or a report rejected. Neither has an effect on anything but a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// Not a message for this receiver.
    WrongDirection,
    /// The incarnation hasn't begun, or has ended.
    UnknownWorker,
    /// There was never such an attempt, or its task is forgotten.
    UnknownAttempt,
    /// Another worker's, or another incarnation's, attempt.
    WrongWorker,
    /// The attempt was fenced: its task went on without it.
    Fenced,
    /// There is no such task.
    UnknownTask,
    /// Not newer than the last one that counted.
    Stale,
    /// It was done before and is answered again.
    Repeated,
    /// The answer to something that isn't asked any more.
    StaleAnswer,
    /// A figure in it is out of its range.
    Malformed,
    /// A text or a list in it is longer than its limit.
    TooLong,
    /// So many workers, attempts or tasks as may be known are.
    LimitReached,
    /// It has begun, and isn't done yet.
    UnderWay,
    /// It is over, and what came of it was said.
    Over,
    /// There is no checkpoint store.
    NoStore,
}

/// Why a task waits although its time has come.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// No worker of the class, with the capabilities, is alive and takes work.
    NoWorker,
    /// No such worker has so much, even when idle.
    TooBig,
    /// Those that have so much are occupied.
    Busy,
    /// They are draining or unhealthy.
    Unfit,
    /// Breakers are open: one of these.
    Breakers(Vec<BreakerKey>),
    /// So many retries as may start have started.
    RetryBudget,
}

/// Why a worker was chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// By which rule.
    pub placement: Placement,
    /// How many were eligible.
    pub eligible: u32,
    /// The figure that decided, in millionths; `None` with round robin.
    pub figure_micros: Option<i64>,
}

/// What became of a migration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// A target is there, and the source will be fenced.
    Started,
    /// The source is fenced.
    Fenced,
    /// The target runs.
    Committed,
    /// There is no target, or it was lost before it ran; the owner is the source or the queue.
    Aborted,
}

/// One entry of the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    // ---- the scheduler: what a process finds on its disk
    /// A worker that offered itself, and whose incarnation hadn't ended.
    WorkerRecalled {
        /// Its id.
        worker: Text,
        /// Its incarnation.
        incarnation: Incarnation,
        /// What it has.
        offer: Arc<Offer>,
    },
    /// A breaker that has ever changed.
    BreakerRecalled {
        /// Which.
        key: BreakerKey,
        /// How it is.
        state: BreakerState,
    },
    /// A setting that has adapted.
    SettingRecalled {
        /// Which.
        what: Adaptable,
        /// What it is.
        value: Setting,
        /// How often it has changed.
        changes: u64,
    },
    /// A task that hasn't ended.
    TaskRecalled {
        /// All that is known of it.
        task: Arc<Task>,
    },
    /// That is all: the process started again on what its disk holds. Told once per life, before anything else is done; a
    /// process that finds nothing says nothing.
    Recovered {
        /// Its uptime, in all its lives.
        uptime: Span,
        /// The newest attempt.
        attempt: AttemptId,
        /// How many tasks were ever submitted.
        submitted: u64,
        /// How many of them have ended.
        ended: u64,
    },
    // ---- the scheduler: tasks
    /// A task was accepted.
    Submitted {
        /// What it is.
        spec: Arc<TaskSpec>,
        /// Its place among all submissions.
        number: u64,
    },
    /// A task was refused.
    Declined {
        /// Which.
        task: Text,
        /// Why.
        refusal: TaskRefusal,
    },
    /// An attempt was given to a worker.
    Assigned {
        /// Which task.
        task: Text,
        /// The attempt.
        attempt: AttemptId,
        /// The worker's id.
        worker: Text,
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// What it occupies.
        resources: Resources,
        /// How it runs.
        shape: Shape,
        /// What kind of work it is.
        kind: TaskType,
        /// The failures of the task before this attempt: more than 0 makes it a retry.
        failures: u32,
        /// The checkpoint that it goes on from.
        restore: Option<Box<Checkpoint>>,
        /// Why this worker.
        choice: Choice,
    },
    /// The worker has begun with an attempt, as the scheduler heard.
    Started {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// The end of an attempt counts: the worker reported it.
    Accepted {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// The reporting worker's incarnation.
        incarnation: Incarnation,
        /// How it ended.
        end: End,
    },
    /// A report doesn't count.
    Rejected {
        /// Which attempt.
        attempt: AttemptId,
        /// Who reported.
        incarnation: Incarnation,
        /// Whether it was a repeat of the one that counted.
        repeated: bool,
        /// Why.
        reason: Ignored,
    },
    /// An attempt ended without a report: from now on nothing that comes of it counts.
    Fenced {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// Its worker's incarnation.
        incarnation: Incarnation,
        /// Why.
        end: End,
    },
    /// A task goes back to where it waits.
    Requeued {
        /// Which task.
        task: Text,
        /// How long it waits at least.
        delay: Span,
        /// Its failures so far.
        failures: u32,
        /// The workers it lost so far.
        losses: u32,
        /// What is done about its failure; `None` if it was none.
        strategy: Option<Strategy>,
        /// How it runs next time.
        shape: Shape,
    },
    /// A task ended.
    Terminal {
        /// Which.
        task: Text,
        /// How.
        outcome: Outcome,
        /// Its failures.
        failures: u32,
        /// The workers it lost.
        losses: u32,
    },
    /// A task that has ended is forgotten, to make room.
    TaskForgotten {
        /// Which.
        task: Text,
    },
    /// A task waits for another reason than before.
    Held {
        /// Which.
        task: Text,
        /// Why.
        obstacle: Obstacle,
    },
    /// A task is on its way from one worker to another.
    Migration {
        /// Which.
        task: Text,
        /// The attempt at the source.
        source: AttemptId,
        /// The attempt at the target, once there is one.
        target: Option<AttemptId>,
        /// What has become of it.
        step: Move,
    },
    /// Resources of a worker are set aside.
    Reserved {
        /// For which attempt.
        attempt: AttemptId,
        /// Whose.
        incarnation: Incarnation,
        /// How much.
        resources: Resources,
    },
    /// They are free again.
    Released {
        /// Of which attempt.
        attempt: AttemptId,
        /// Whose.
        incarnation: Incarnation,
        /// How much.
        resources: Resources,
    },
    // ---- the scheduler: workers
    /// A worker offers itself.
    Offered {
        /// Its id.
        worker: Text,
        /// Its incarnation.
        incarnation: Incarnation,
        /// What it has.
        offer: Arc<Offer>,
    },
    /// A worker gets no more work, because it asked for that.
    Draining {
        /// Who.
        incarnation: Incarnation,
    },
    /// A draining worker holds no lease any more.
    Drained {
        /// Who.
        incarnation: Incarnation,
    },
    /// A worker's host became unhealthy, or healthy again (no issues).
    Health {
        /// Who.
        incarnation: Incarnation,
        /// What is wrong.
        issues: Vec<Issue>,
    },
    /// An input was ignored.
    Ignored {
        /// Why.
        reason: Ignored,
        /// Who said it, if it was a worker.
        incarnation: Option<Incarnation>,
    },
    // ---- the scheduler: breakers
    /// A breaker changed.
    BreakerChanged {
        /// Which.
        key: BreakerKey,
        /// From what, to what, why, and the generation that begins.
        change: BreakerChange,
    },
    /// A permit was taken.
    Permitted {
        /// Of which breaker.
        key: BreakerKey,
        /// For which attempt.
        attempt: AttemptId,
        /// In which generation.
        generation: Generation,
        /// Whether it is a probe: the breaker is half open.
        probe: bool,
    },
    /// A permit was given back.
    Settled {
        /// To which breaker.
        key: BreakerKey,
        /// For which attempt.
        attempt: AttemptId,
        /// Of which generation.
        generation: Generation,
        /// As what.
        settlement: Settlement,
        /// Whether it counted: its generation is the breaker's, and it blames the breaker or speaks for it.
        counted: bool,
    },
    // ---- the scheduler: self-healing
    /// A setting changed, because of what was observed. In force from now on: results are judged by it, breakers open by it,
    /// tasks that fail for the first time pick it.
    Adapted {
        /// What, from what, to what, and why.
        change: Box<Adapted>,
        /// The how many-th change of this setting it is, from 1.
        number: u64,
    },
    // ---- the scheduler: checkpoints
    /// A checkpoint counts.
    Completed {
        /// Of which task.
        task: Text,
        /// Whose incarnation.
        incarnation: Incarnation,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Those that are kept no longer.
        pruned: Vec<CheckpointSeq>,
    },
    /// The store holds nothing any more of a task that has ended.
    Cleared {
        /// Which.
        task: Text,
    },
    /// A checkpoint doesn't count.
    SaveRejected {
        /// Of which attempt.
        attempt: AttemptId,
        /// Which.
        seq: CheckpointSeq,
        /// Whether it counted before.
        repeated: bool,
        /// Why.
        reason: Ignored,
    },
    // ---- workers
    /// A worker begins to run an attempt.
    Running {
        /// Who.
        incarnation: Incarnation,
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
    },
    /// A worker goes on from a checkpoint.
    Restored {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// What it found in the store.
        checkpoint: Checkpoint,
    },
    /// A worker begins to save a checkpoint.
    SaveBegun {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// Which checkpoint.
        seq: CheckpointSeq,
        /// How far the task is, in millionths.
        progress_micros: u32,
    },
    /// A save has ended at its worker: the next one may begin.
    SaveEnded {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// Which checkpoint.
        seq: CheckpointSeq,
        /// Whether the checkpoint counts.
        kept: bool,
    },
    /// An attempt is over at its worker.
    Reported {
        /// Who.
        incarnation: Incarnation,
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended.
        report: Report,
        /// How far the task was, in millionths.
        progress_micros: u32,
    },
    /// A worker learned what became of its report.
    Answered {
        /// Which attempt.
        attempt: AttemptId,
        /// What.
        reception: Reception,
    },
    /// A worker ends an attempt because it was told to, or because its incarnation ended.
    Halted {
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
    },
    // ---- clients
    /// A client's task was admitted.
    Acknowledged {
        /// Which.
        task: Text,
    },
    /// A client's task was refused.
    Denied {
        /// Which.
        task: Text,
        /// Why.
        refusal: TaskRefusal,
    },
    /// A client learned where its cancelled task is.
    CancelAnswered {
        /// Which.
        task: Text,
        /// Where it is.
        standing: Standing,
    },
    /// A client learned how its task ended.
    Learned {
        /// Which.
        task: Text,
        /// How.
        outcome: Outcome,
    },
    /// A client was told that its admitted task isn't known.
    Missing {
        /// Which.
        task: Text,
    },
}

kinds!(Event {
    worker_recalled => WorkerRecalled { .. },
    breaker_recalled => BreakerRecalled { .. },
    setting_recalled => SettingRecalled { .. },
    task_recalled => TaskRecalled { .. },
    tasks_recovered => Recovered { .. },
    task_submitted => Submitted { .. },
    task_declined => Declined { .. },
    assigned => Assigned { .. },
    started => Started { .. },
    report_accepted => Accepted { .. },
    report_rejected => Rejected { .. },
    fenced => Fenced { .. },
    requeued => Requeued { .. },
    terminal => Terminal { .. },
    task_forgotten => TaskForgotten { .. },
    held => Held { .. },
    migration => Migration { .. },
    reserved => Reserved { .. },
    released => Released { .. },
    offered => Offered { .. },
    draining => Draining { .. },
    drained => Drained { .. },
    health => Health { .. },
    task_ignored => Ignored { .. },
    breaker_changed => BreakerChanged { .. },
    permitted => Permitted { .. },
    settled => Settled { .. },
    adapted => Adapted { .. },
    completed => Completed { .. },
    task_cleared => Cleared { .. },
    save_rejected => SaveRejected { .. },
    running => Running { .. },
    restored => Restored { .. },
    save_begun => SaveBegun { .. },
    save_ended => SaveEnded { .. },
    reported => Reported { .. },
    answered => Answered { .. },
    halted => Halted { .. },
    acknowledged => Acknowledged { .. },
    denied => Denied { .. },
    cancel_answered => CancelAnswered { .. },
    learned => Learned { .. },
    missing => Missing { .. },
});
