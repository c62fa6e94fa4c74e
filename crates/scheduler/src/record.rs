//! What survives a crash.

use crate::{
    Adaptable, AdaptationReason, Adapted, AttemptId, BreakerKey, BreakerStage, Checkpoint, CheckpointIndex, Climb, End,
    Generation, Incarnation, Keeping, Lease, Offer, Outcome, PAST_KEPT, Past, Setting, Shape, Task, TaskSpec,
    TaskState,
};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text};

/// One change of durable state. `at` is the scheduler's uptime, which goes on where the last record left it when the
/// process starts again: the time in between counts for nobody.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Time went by.
    Clock {
        /// When.
        at: Span,
    },
    /// A task was accepted.
    Submitted {
        /// When.
        at: Span,
        /// What it is.
        spec: Arc<TaskSpec>,
        /// How it runs at first.
        shape: Shape,
    },
    /// An attempt was given to a worker.
    Assigned {
        /// When; the lease says so, too.
        at: Span,
        /// Which task.
        task: Text,
        /// The lease that begins. Boxed, since every effect of every step is as large as the largest record.
        lease: Box<Lease>,
    },
    /// The target of a migration runs.
    Arrived {
        /// Which task.
        task: Text,
    },
    /// An attempt ended; what becomes of its task is decided with it.
    Ended {
        /// When.
        at: Span,
        /// Which task.
        task: Text,
        /// Which attempt.
        attempt: AttemptId,
        /// How it ended.
        end: End,
        /// Whether its own report says so.
        reported: bool,
        /// What comes next.
        next: Next,
    },
    /// A task ended that nobody worked on.
    Closed {
        /// When.
        at: Span,
        /// Which task.
        task: Text,
        /// How.
        outcome: Outcome,
    },
    /// A checkpoint counts.
    Kept {
        /// Of which task.
        task: Text,
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// The store holds nothing any more of a task that has ended.
    Cleared {
        /// Which.
        task: Text,
    },
    /// A task is forgotten.
    Forgotten {
        /// Which.
        task: Text,
    },
    /// A worker offers itself.
    Offered {
        /// Its id.
        worker: Text,
        /// Its incarnation.
        incarnation: Incarnation,
        /// What it has.
        offer: Arc<Offer>,
    },
    /// A worker's incarnation ended. Its leases ended before.
    Gone {
        /// Which incarnation.
        incarnation: Incarnation,
    },
    /// A breaker changed.
    Breaker {
        /// When.
        at: Span,
        /// Which.
        key: BreakerKey,
        /// What it is now, without counts.
        state: BreakerState,
    },
    /// A setting adapted.
    Adapted {
        /// How.
        change: Box<Adapted>,
        /// The how many-th change of this setting it is, from 1.
        number: u64,
    },
    /// A closed breaker of a worker that is gone is forgotten, to make room.
    BreakerForgotten {
        /// Which.
        key: BreakerKey,
    },
}

/// What becomes of a task whose attempt ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// It ended, too.
    Ends(Outcome),
    /// It waits for another attempt.
    Waits {
        /// Not before this moment, in uptime of the scheduler.
        not_before: Span,
        /// How it runs next time.
        shape: Shape,
        /// Where it stands on its ladder.
        climb: Option<Arc<Climb>>,
        /// The worker that it should rather not be given to.
        avoid: Option<Text>,
        /// Whether the runtime is restarted first.
        restart_runtime: bool,
    },
}

/// What of a breaker survives: its changes, not its counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BreakerState {
    /// Where it stands.
    pub stage: BreakerStage,
    /// Its generation.
    pub generation: Generation,
    /// How often it has opened since it was last closed.
    pub times_opened: u32,
}

/// What of an adapted setting survives.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AdaptedState {
    /// What it is.
    pub value: Setting,
    /// How often it has changed.
    pub changes: u64,
}

/// All durable state of the scheduler.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// How long the scheduler has been up, in all its lives.
    pub uptime: Span,
    /// The newest attempt; 0 before the first.
    pub attempt: AttemptId,
    /// How many tasks were ever submitted.
    pub submitted: u64,
    /// How many tasks ever ended.
    pub ended: u64,
    /// Every task that isn't forgotten.
    pub tasks: BTreeMap<Text, Task>,
    /// The tasks that have ended, oldest first, each with its place among all endings.
    pub terminal: VecDeque<Text>,
    /// Every worker that offers itself, with its id.
    pub workers: BTreeMap<Incarnation, (Text, Arc<Offer>)>,
    /// Every breaker that ever changed.
    pub breakers: BTreeMap<BreakerKey, BreakerState>,
    /// Every setting that isn't as configured because it adapted.
    pub adapted: BTreeMap<Adaptable, AdaptedState>,
}

impl Snapshot {
    /// The lease of an attempt on a task; `None` if another attempt holds it, or none.
    #[must_use]
    pub fn lease(&self, task: &str, attempt: AttemptId) -> Option<&Lease> {
        match &self.tasks.get(task)?.state {
            TaskState::Leased(lease) => Some(lease).filter(|lease| lease.attempt == attempt),
            TaskState::Waiting { .. } | TaskState::Terminal { .. } => None,
        }
    }

    /// Adds one record. Keeps `checkpoints_kept` checkpoints of each task.
    ///
    /// # Panics
    /// If the record can't follow the state: the disk returned something else than what was written.
    pub fn apply(&mut self, record: &Record, checkpoints_kept: u32) {
        match record {
            Record::Clock { at } => self.advance(*at),
            Record::Submitted { at, spec, shape } => {
                self.advance(*at);
                self.submitted += 1;
                let task = Task {
                    spec: spec.clone(),
                    digest: spec.digest(),
                    number: self.submitted,
                    submitted: *at,
                    state: TaskState::Waiting { not_before: *at, requeued: false },
                    shape: *shape,
                    climb: None,
                    attempts: 0,
                    failures: 0,
                    losses: 0,
                    avoid: None,
                    restart_runtime: false,
                    checkpoints: CheckpointIndex::default(),
                    saves: false,
                    past: VecDeque::new(),
                };
                let older = self.tasks.insert(spec.id.clone(), task);
                assert!(older.is_none(), "task {} was submitted twice", spec.id);
            }
            Record::Assigned { at, task, lease } => {
                self.advance(*at);
                assert_eq!(lease.attempt, self.attempt.next(), "an attempt out of order");
                self.attempt = lease.attempt;
                let task = self.task(task);
                assert!(matches!(task.state, TaskState::Waiting { .. }), "only what waits is assigned");
                task.attempts += 1;
                task.saves |= task.spec.checkpoint_interval.is_some();
                task.state = TaskState::Leased((**lease).clone());
            }
            Record::Arrived { task } => match &mut self.task(task).state {
                TaskState::Leased(lease) => lease.migrated_from = None,
                TaskState::Waiting { .. } | TaskState::Terminal { .. } => panic!("{task} arrived nowhere"),
            },
            Record::Ended { at, task, attempt, end, reported, next } => {
                self.advance(*at);
                self.end(task, *attempt, end, *reported, next);
            }
            Record::Closed { at, task, outcome } => {
                self.advance(*at);
                let open = matches!(self.task(task).state, TaskState::Waiting { .. });
                assert!(open, "{task} can't be closed");
                self.close(task, outcome.clone());
            }
            Record::Kept { task, checkpoint } => {
                let kept = self.task(task).checkpoints.accept(*checkpoint, checkpoints_kept);
                assert!(matches!(kept, Keeping::Accepted { .. }), "a checkpoint out of order");
            }
            Record::Cleared { task } => {
                let task = self.task(task);
                assert!(matches!(task.state, TaskState::Terminal { .. }), "what lives keeps its checkpoints");
                task.saves = false;
            }
            Record::Forgotten { task } => {
                assert_eq!(
                    self.terminal.pop_front().as_ref(),
                    Some(task),
                    "tasks are forgotten in the order they ended"
                );
                self.tasks.remove(task);
            }
            Record::Offered { worker, incarnation, offer } => {
                self.workers.insert(*incarnation, (worker.clone(), offer.clone()));
            }
            Record::Gone { incarnation } => {
                assert!(self.workers.remove(incarnation).is_some(), "{incarnation} went twice");
            }
            Record::Breaker { at, key, state } => {
                self.advance(*at);
                self.breakers.insert(key.clone(), *state);
            }
            Record::Adapted { change, number } => self.adapt(change, *number),
            Record::BreakerForgotten { key } => {
                assert!(self.breakers.remove(key).is_some(), "a breaker was forgotten twice");
            }
        }
    }

    fn adapt(&mut self, change: &Adapted, number: u64) {
        let Adapted { what, from, to, reason } = change;
        let known = self.adapted.get(what);
        assert!(known.is_none_or(|known| known.value == *from), "{what:?} was something else");
        assert_eq!(known.map_or(0, |known| known.changes) + 1, number, "a change of {what:?} was lost");
        match reason {
            AdaptationReason::Reconfigured => {
                self.adapted.remove(what);
            }
            AdaptationReason::ResultsPoor(_)
            | AdaptationReason::ResultsGood(_)
            | AdaptationReason::DoesBetter { .. } => {
                self.adapted.insert(*what, AdaptedState { value: to.clone(), changes: number });
            }
        }
    }

    fn advance(&mut self, at: Span) {
        assert!(at >= self.uptime, "uptime goes back");
        self.uptime = at;
    }

    fn task(&mut self, id: &Text) -> &mut Task {
        self.tasks.get_mut(id).expect("a record about an unknown task")
    }

    fn end(&mut self, id: &Text, attempt: AttemptId, end: &End, reported: bool, next: &Next) {
        let lease = self.lease(id, attempt).expect("only the attempt that holds a task can end");
        let past = Past { attempt, incarnation: lease.incarnation, reported };
        let task = self.task(id);
        if task.past.len() == PAST_KEPT {
            task.past.pop_front();
        }
        task.past.push_back(past);
        match end {
            End::Failed(_) => task.failures += 1,
            End::Lost(_) => task.losses += 1,
            End::Succeeded | End::Drained | End::Migrated | End::Cancelled | End::Expired => {}
        }
        match next {
            Next::Ends(outcome) => self.close(id, outcome.clone()),
            Next::Waits { not_before, shape, climb, avoid, restart_runtime } => {
                task.state = TaskState::Waiting { not_before: *not_before, requeued: true };
                task.shape = *shape;
                task.climb.clone_from(climb);
                task.avoid.clone_from(avoid);
                task.restart_runtime = *restart_runtime;
            }
        }
    }

    fn close(&mut self, id: &Text, outcome: Outcome) {
        self.ended += 1;
        let number = self.ended;
        let task = self.task(id);
        task.state = TaskState::Terminal { outcome, number };
        // What nobody will run needs no payload.
        task.spec = Arc::new(TaskSpec { payload: Arc::from([]), ..TaskSpec::clone(&task.spec) });
        self.terminal.push_back(id.clone());
    }
}
