//! Where every task, attempt and worker stands, as the scheduler tells it.
//!
//! A scheduler that starts again tells what it finds, and from then on that counts: it may have recorded more than it told
//! before it died, and the books are exact again. Whether it may have found that is CR1's to judge.

use super::breakers::Breakers;
use super::line::Line;
use super::told;
use super::tuning::Tuning;
use crate::Cluster;
use crate::checkers::event;
use squall::{Entry, Fact, Interest, Scene, Truth};
use squall_machine::{Text, Time};
use squall_scheduler::{
    AttemptId, Checkpoint, End, Event, HardwareClass, Incarnation, Message, Move, Obstacle, Offer, Outcome, Resources,
    Shape, Task, TaskSpec, TaskState,
};
use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Nanoseconds of the scheduler's own time. Its origin is the same for a whole life of the process, and no longer.
pub(super) type Moment = i128;

/// Where a task is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Place {
    Waiting {
        since: Time,
        not_before: Moment,
    },
    Leased(AttemptId),
    /// Its attempt has ended, and what becomes of it is said in the same step.
    Between,
    /// `None`: it ended without a word.
    Ended(Option<Outcome>),
}

/// One task that isn't forgotten.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) spec: Arc<TaskSpec>,
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) shape: Shape,
    pub(super) failures: u32,
    pub(super) losses: u32,
    /// Complete checkpoints, oldest first.
    pub(super) checkpoints: VecDeque<Checkpoint>,
    pub(super) deadline: Option<Moment>,
    pub(super) obstacle: Option<Obstacle>,
    /// The attempt that ended last, and how.
    pub(super) last: Option<(AttemptId, End)>,
    /// Its next assignment ends a migration.
    pub(super) moves: bool,
}

/// One attempt that holds its task.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) task: Text,
    pub(super) worker: Text,
    pub(super) incarnation: Incarnation,
    pub(super) resources: Resources,
    pub(super) class: HardwareClass,
    pub(super) restore: Option<Checkpoint>,
}

/// One worker that offered itself.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) id: Text,
    pub(super) offer: Arc<Offer>,
    pub(super) leases: BTreeSet<AttemptId>,
    pub(super) draining: bool,
    pub(super) unhealthy: bool,
    /// Whether this life of the scheduler knows where to reach it.
    pub(super) reached: bool,
    /// When something last changed about what it can take.
    pub(super) changed: Time,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) tasks: BTreeMap<Text, Row>,
    /// Those that wait: most tasks have ended long ago, and nobody has to look at them again.
    waiting: BTreeSet<Text>,
    pub(super) attempts: BTreeMap<AttemptId, Attempt>,
    pub(super) hosts: BTreeMap<Incarnation, Host>,
    pub(super) breakers: Breakers,
    pub(super) tuning: Tuning,
    /// Those of the tasks that wait.
    pub(super) line: Line,
    pub(super) newest: AttemptId,
    pub(super) submitted: u64,
    pub(super) ended: u64,
    pub(super) forgotten: u64,
    /// Leases on an incarnation that ended at this moment, by the coordinator's clock.
    pub(super) orphans: Option<(Time, BTreeSet<AttemptId>)>,
    /// Added to the clock of this life to get the scheduler's time.
    shift: Moment,
    /// What this life has found so far.
    pub(super) found: Found,
    /// The process has started again, and has not said what it found.
    pub(super) silent: bool,
    /// A disk of the coordinator was lost: what was acknowledged may be gone.
    pub(super) disk_lost: bool,
}

/// What a process finds on its disk.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tasks: BTreeMap<Text, Arc<Task>>,
    hosts: BTreeMap<Incarnation, Host>,
}

/// One [`Books`] for several checkers. Each judges an entry before it is taken in, so the one that takes entries in comes
/// last in their order.
#[derive(Clone, Debug)]
pub(super) struct SharedBooks {
    books: Rc<RefCell<Books>>,
    follows: bool,
}

impl Default for SharedBooks {
    /// For a checker on its own.
    fn default() -> Self {
        Self { books: Rc::default(), follows: true }
    }
}

impl SharedBooks {
    /// The same, for a checker that comes before the one that takes entries in.
    pub(super) fn reader(&self) -> Self {
        Self { books: self.books.clone(), follows: false }
    }

    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(&self, interest: &mut Interest<Cluster>) {
        if self.follows {
            interest.truth(&["up"]);
            interest.events(&["failed", "left"]);
            interest.sent(&["offered"]);
            interest.events(&["worker_recalled", "breaker_recalled", "task_recalled", "tasks_recovered"]);
            interest.events(&["task_submitted", "assigned", "report_accepted", "fenced", "requeued", "terminal"]);
            interest.events(&["task_forgotten", "held", "migration", "offered", "draining", "health"]);
            interest.events(&["breaker_changed", "permitted", "settled", "completed", "started"]);
            interest.events(&["adapted", "setting_recalled"]);
        }
    }

    pub(super) fn look(&self) -> Ref<'_, Books> {
        self.books.borrow()
    }

    /// Takes an entry in, after it was judged.
    pub(super) fn follow(&self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if self.follows {
            self.books.borrow_mut().follow(entry, scene);
        }
    }
}

impl Found {
    /// The attempts that hold what was found so far.
    pub(super) fn attempts(&self) -> BTreeSet<AttemptId> {
        let lease = |task: &Arc<Task>| match &task.state {
            TaskState::Leased(lease) => Some(lease.attempt),
            TaskState::Waiting { .. } | TaskState::Terminal { .. } => None,
        };
        self.tasks.values().filter_map(lease).collect()
    }
}

/// The amounts of resources, to be summed.
pub(super) fn amounts(resources: &Resources) -> [u64; 4] {
    resources.each().map(|(_, amount)| u64::from(amount))
}

impl Books {
    /// A moment of the coordinator's clock in the scheduler's time.
    pub(super) fn moment(&self, decided: Time) -> Moment {
        Moment::from(decided.as_nanos()) + self.shift
    }

    /// What a worker has left.
    pub(super) fn available(&self, host: &Host) -> [u64; 4] {
        let mut left = amounts(&host.offer.resources);
        for attempt in host.leases.iter().filter_map(|attempt| self.attempts.get(attempt)) {
            let taken = amounts(&attempt.resources);
            left.iter_mut().zip(taken).for_each(|(left, taken)| *left = left.saturating_sub(taken));
        }
        left
    }

    /// The tasks that have not ended.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Text, &Row)> {
        self.tasks.iter().filter(|(_, row)| !matches!(row.place, Place::Ended(_)))
    }

    /// The tasks that wait, by id.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Text, &Row)> {
        self.waiting.iter().map(|task| (task, &self.tasks[task]))
    }

    /// The only writer of where a task is. Returns its row, if it is known.
    fn put(&mut self, task: &Text, place: Place) -> Option<&mut Row> {
        let row = self.tasks.get_mut(task)?;
        match place {
            Place::Waiting { .. } => self.waiting.insert(task.clone()),
            Place::Leased(_) | Place::Between | Place::Ended(_) => self.waiting.remove(task),
        };
        row.place = place;
        Some(row)
    }

    fn insert(&mut self, row: Row) {
        let (task, place) = (row.spec.id.clone(), row.place.clone());
        self.tasks.insert(task.clone(), row);
        self.put(&task, place);
    }

    fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if entry.node != scene.system.coordinator() {
            return;
        }
        if let Fact::Truth(Truth::Up { life, disk_lost, .. }) = entry.fact {
            // Who told of no task may have died before anything of it was durable, and then finds nothing.
            let silent = *life > 1 && self.submitted > 0;
            (self.silent, self.found, self.orphans) = (silent, Found::default(), None);
            self.disk_lost |= *disk_lost;
            self.breakers.restart();
            self.tuning.found.clear();
            if *disk_lost {
                *self = Self { disk_lost: true, ..Self::default() };
            }
        } else if let Some((decided, told)) = told(entry) {
            let at = self.moment(decided);
            self.breakers.follow(at, entry.at, told, &self.tuning, scene.system.scheduler_knobs());
            self.tuning.follow(told);
            self.follow_task(entry.at, at, told);
            self.follow_recall(entry.at, decided, told);
            self.follow_worker(entry.at, told);
        } else if let Fact::Sent { message: crate::Message::Task(Message::Offered { incarnation }), .. } = entry.fact {
            // Whoever was recalled offered itself again. Other messages are repeated too, and don't say where to reach it.
            if let Some(host) = self.hosts.get_mut(incarnation).filter(|host| !host.reached) {
                (host.reached, host.changed) = (true, entry.at);
            }
        } else if let Some((
            decided,
            squall_coordinator::Event::Failed { incarnation, .. } | squall_coordinator::Event::Left { incarnation, .. },
        )) = event(entry)
            && let Some(host) = self.hosts.remove(&Incarnation(incarnation.0))
            && !host.leases.is_empty()
        {
            let (_, orphans) = self.orphans.get_or_insert_with(|| (decided, BTreeSet::new()));
            orphans.extend(host.leases);
        }
    }

    fn follow_task(&mut self, seen: Time, at: Moment, told: &Event) {
        let known = match told {
            Event::Requeued { task, .. } => self.tasks.get(task).map(|row| (row.spec.priority, row.number)),
            _ => None,
        };
        self.line.follow(told, known);
        match told {
            Event::Submitted { spec, number } => {
                self.submitted = self.submitted.max(*number);
                let row = Row {
                    spec: spec.clone(),
                    number: *number,
                    place: Place::Waiting { since: seen, not_before: at },
                    shape: Shape {
                        class: spec.class.parse().unwrap_or(HardwareClass::Cpu),
                        precision: spec.precision,
                        batch_size: spec.batch_size,
                    },
                    failures: 0,
                    losses: 0,
                    checkpoints: VecDeque::new(),
                    deadline: spec.deadline.map(|span| at + Moment::from(span.as_nanos())),
                    obstacle: None,
                    last: None,
                    moves: false,
                };
                self.insert(row);
            }
            Event::Assigned { task, attempt, worker, incarnation, resources, shape, restore, .. } => {
                self.newest = self.newest.max(*attempt);
                if let Some(row) = self.put(task, Place::Leased(*attempt)) {
                    (row.obstacle, row.moves) = (None, false);
                }
                let row = Attempt {
                    task: task.clone(),
                    worker: worker.clone(),
                    incarnation: *incarnation,
                    resources: *resources,
                    class: shape.class,
                    restore: restore.as_deref().copied(),
                };
                self.attempts.insert(*attempt, row);
                if let Some(host) = self.hosts.get_mut(incarnation) {
                    host.leases.insert(*attempt);
                    (host.reached, host.changed) = (true, seen);
                }
            }
            Event::Accepted { task, attempt, end, .. } | Event::Fenced { task, attempt, end, .. } => {
                self.end(seen, task, *attempt, end);
            }
            Event::Requeued { task, delay, shape, .. } => {
                let not_before = at + Moment::from(delay.as_nanos());
                if let Some(row) = self.put(task, Place::Waiting { since: seen + *delay, not_before }) {
                    row.shape = *shape;
                }
            }
            Event::Terminal { task, outcome, .. } => {
                self.ended += 1;
                if let Some(row) = self.put(task, Place::Ended(Some(outcome.clone()))) {
                    row.checkpoints.clear();
                }
            }
            Event::TaskForgotten { task } => {
                self.forgotten += 1;
                self.tasks.remove(task);
                self.waiting.remove(task);
            }
            Event::Held { task, obstacle } => {
                if let Some(row) = self.tasks.get_mut(task) {
                    row.obstacle = Some(obstacle.clone());
                }
            }
            Event::Migration { task, step: Move::Fenced, .. } => {
                if let Some(row) = self.tasks.get_mut(task) {
                    row.moves = true;
                }
            }
            Event::Completed { task, checkpoint, pruned, .. } => {
                if let Some(row) = self.tasks.get_mut(task) {
                    row.checkpoints.push_back(*checkpoint);
                    row.checkpoints.retain(|kept| !pruned.contains(&kept.seq));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, seen: Time, task: &Text, attempt: AttemptId, end: &End) {
        if let Some(row) = self.put(task, Place::Between) {
            row.last = Some((attempt, end.clone()));
            row.failures += u32::from(matches!(end, End::Failed(_)));
            row.losses += u32::from(matches!(end, End::Lost(_)));
        }
        if let Some((_, orphans)) = &mut self.orphans {
            orphans.remove(&attempt);
        }
        if self.orphans.as_ref().is_some_and(|(_, orphans)| orphans.is_empty()) {
            self.orphans = None;
        }
        let Some(ended) = self.attempts.remove(&attempt) else { return };
        if let Some(host) = self.hosts.get_mut(&ended.incarnation) {
            host.leases.remove(&attempt);
            host.changed = seen;
        }
    }

    fn follow_worker(&mut self, seen: Time, told: &Event) {
        let mut change = |incarnation: &Incarnation, change: &dyn Fn(&mut Host)| {
            if let Some(host) = self.hosts.get_mut(incarnation) {
                host.changed = seen;
                change(host);
            }
        };
        match told {
            Event::Draining { incarnation } => change(incarnation, &|host| host.draining = true),
            Event::Health { incarnation, issues } => {
                change(incarnation, &|host| (host.unhealthy, host.reached) = (!issues.is_empty(), true));
            }
            Event::Offered { worker, incarnation, offer } => {
                self.hosts.insert(*incarnation, Host { reached: true, ..Host::new(worker, offer, seen) });
            }
            _ => {}
        }
    }

    fn follow_recall(&mut self, seen: Time, decided: Time, told: &Event) {
        match told {
            Event::WorkerRecalled { worker, incarnation, offer } => {
                self.found.hosts.insert(*incarnation, Host::new(worker, offer, seen));
            }
            Event::TaskRecalled { task } => {
                self.found.tasks.insert(task.spec.id.clone(), task.clone());
            }
            Event::Recovered { uptime, attempt, submitted, ended } => {
                let found = std::mem::take(&mut self.found);
                self.silent = false;
                self.shift = Moment::from(uptime.as_nanos()) - Moment::from(decided.as_nanos());
                (self.newest, self.submitted, self.ended) = (*attempt, *submitted, *ended);
                self.hosts = found.hosts;
                self.attempts.clear();
                self.line = Line::default();
                for row in self.tasks.values_mut().filter(|row| !matches!(row.place, Place::Ended(_))) {
                    row.place = Place::Ended(None);
                }
                self.waiting.clear();
                for (id, task) in found.tasks {
                    self.recall(seen, &id, &task, Moment::from(uptime.as_nanos()));
                }
            }
            _ => {}
        }
    }

    fn recall(&mut self, seen: Time, id: &Text, task: &Task, uptime: Moment) {
        let place = match &task.state {
            TaskState::Waiting { not_before, requeued } => {
                let not_before = Moment::from(not_before.as_nanos());
                let wait = u64::try_from(not_before - uptime).unwrap_or(0);
                self.line.enter(id, (task.spec.priority, task.number), *requeued);
                Place::Waiting { since: seen + squall_machine::Span::from_nanos(wait), not_before }
            }
            TaskState::Leased(lease) => {
                if let Some(host) = self.hosts.get_mut(&lease.incarnation) {
                    host.leases.insert(lease.attempt);
                }
                let attempt = Attempt {
                    task: id.clone(),
                    worker: lease.worker.clone(),
                    incarnation: lease.incarnation,
                    resources: lease.resources,
                    class: lease.class,
                    restore: task.checkpoints.newest().copied(),
                };
                self.attempts.insert(lease.attempt, attempt);
                self.breakers.recall(lease, task.spec.kind, uptime);
                Place::Leased(lease.attempt)
            }
            TaskState::Terminal { outcome, .. } => Place::Ended(Some(outcome.clone())),
        };
        let deadline = task.spec.deadline.map(|span| Moment::from((task.submitted + span).as_nanos()));
        let row = Row {
            spec: task.spec.clone(),
            number: task.number,
            place,
            shape: task.shape,
            failures: task.failures,
            losses: task.losses,
            checkpoints: task.checkpoints.kept().copied().collect(),
            deadline,
            obstacle: None,
            last: None,
            moves: false,
        };
        self.insert(row);
    }
}

impl Host {
    fn new(id: &Text, offer: &Arc<Offer>, seen: Time) -> Self {
        Self {
            id: id.clone(),
            offer: offer.clone(),
            leases: BTreeSet::new(),
            draining: false,
            unhealthy: false,
            reached: false,
            changed: seen,
        }
    }
}
