//! The scheduler: tasks are placed, leased, retried, migrated and ended; nothing is lost, nothing counts twice.
//!
//! Everything durable is in one [`Snapshot`], and changes only by a [`Record`] that is applied and emitted in one breath. The
//! rest is about this life: where workers are reached, what is set aside of them, what has to be done when.
//!
//! Who is alive is not its business. It is told when a worker's incarnation begins and ends, and it asks a [`Roster`] at the
//! very moment of each decision; it keeps no opinion of its own.

mod attempts;
mod breakers;
mod clears;
mod clients;
mod healing;
mod invariants;
mod place;
mod queue;
mod saves;
mod status;
mod workers;

#[cfg(test)]
mod tests;

use crate::statistics::Counters;
use crate::{
    Adaptation, AdaptedState, AttemptId, Breaker, BreakerKey, Event, Ignored, Incarnation, Knobs, Message, Patterns,
    Record, RetryBudget, Snapshot, TaskState, TaskType, Tau,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use clears::Clears;
use queue::Queue;
use squall_machine::{Address, Durable, Effects, Input, Machine, Random, Span, Text, Time};
use workers::Worker;

pub use status::{BreakerStatus, SchedulerStatus, TaskCounts, TaskStatus, WorkerStatus};

/// Who is alive, as the one authority over members sees it.
pub trait Roster {
    /// Whether this incarnation may be given work at this moment: it is alive, and not suspected.
    fn takes_work(&self, incarnation: Incarnation) -> bool;
}

/// How a worker's incarnation ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Departure {
    /// Another process took over its id: it crashed, and came back.
    Crashed,
    /// It fell silent.
    Disconnected,
    /// It left by plan.
    Left,
}

/// What the process around the scheduler tells it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// A worker's incarnation began.
    Began {
        /// Its id.
        worker: Text,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// A worker's incarnation ended.
    Ended {
        /// Its incarnation.
        incarnation: Incarnation,
        /// How.
        departure: Departure,
    },
    /// An operator moves a running task to another worker.
    Migrate {
        /// Which.
        task: Text,
    },
    /// An operator closes a breaker.
    ResetBreaker {
        /// Which.
        key: BreakerKey,
    },
}

/// The scheduler's machine.
///
/// The process around it calls [`place`](Scheduler::place) after every step, with its roster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scheduler {
    knobs: Arc<Knobs>,
    random: Random,
    /// When this life began, on the monotonic clock; `None` before.
    booted: Option<Time>,
    /// The uptime of all earlier lives.
    earlier: Span,
    /// All that survives a crash. Written by `commit` alone.
    durable: Snapshot,
    /// Incarnations of workers that have begun and not ended, with their ids.
    live: BTreeMap<Incarnation, Text>,
    /// Those of them that offered themselves.
    workers: BTreeMap<Incarnation, Worker>,
    /// The same, by class and id: the order of every choice.
    by_class: BTreeMap<crate::HardwareClass, BTreeMap<Text, Incarnation>>,
    /// The worker of each class that was used last: round robin goes on from there.
    last_used: BTreeMap<crate::HardwareClass, Text>,
    queue: Queue,
    /// Tasks whose time has not come.
    delayed: BTreeSet<(Span, Text)>,
    /// When tasks that haven't ended end by their deadline.
    deadlines: BTreeSet<(Span, Text)>,
    /// When attempts have run for as long as they may.
    limits: BTreeSet<(Span, AttemptId, Text)>,
    /// When assignments that nobody has answered are sent again.
    unanswered: BTreeSet<(Span, AttemptId)>,
    /// The same, by attempt, with the task.
    answer_due: BTreeMap<AttemptId, (Span, Text)>,
    /// Every breaker that was ever used.
    breakers: BTreeMap<BreakerKey, Breaker>,
    /// Those of them that aren't closed: only they ever have something to do by themselves.
    restless: BTreeSet<BreakerKey>,
    /// Permits that were taken back because a probe held them for too long; what comes of it counts nothing.
    expired: BTreeSet<(AttemptId, BreakerKey)>,
    patterns: Patterns,
    /// What follows from results; `None`: self-healing is off.
    adaptation: Option<Adaptation>,
    budget: RetryBudget,
    /// The expected run time of each type of task, as observed in this life.
    taus: BTreeMap<TaskType, Tau>,
    /// Running tasks that are to go elsewhere, if there is room.
    moves: BTreeSet<Text>,
    /// What the store is to forget.
    clears: Clears,
    /// When the queue was last looked at from its beginning.
    looked: Span,
    counters: Counters,
}

type Out = Effects<Scheduler>;

impl Scheduler {
    /// A scheduler that has not booted. `seed` is for the jitter of delays.
    ///
    /// # Panics
    /// If what adapts would begin outside its bounds: settings are [checked](Knobs::validate) before.
    #[must_use]
    pub fn new(knobs: Arc<Knobs>, seed: u64) -> Self {
        Self {
            random: Random::new(seed, "retry"),
            booted: None,
            earlier: Span::ZERO,
            durable: Snapshot::default(),
            live: BTreeMap::new(),
            workers: BTreeMap::new(),
            by_class: BTreeMap::new(),
            last_used: BTreeMap::new(),
            queue: Queue::default(),
            delayed: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            limits: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            answer_due: BTreeMap::new(),
            breakers: BTreeMap::new(),
            restless: BTreeSet::new(),
            expired: BTreeSet::new(),
            patterns: Patterns::new(knobs.patterns),
            adaptation: knobs.self_healing.then(|| Adaptation::new(knobs.adaptation.clone(), knobs.adaptable())),
            budget: RetryBudget::new(knobs.retry_budget),
            taus: BTreeMap::new(),
            moves: BTreeSet::new(),
            clears: Clears::default(),
            looked: Span::ZERO,
            counters: Counters::new(knobs.workers_max),
            knobs,
        }
    }

    /// The settings.
    #[must_use]
    pub fn knobs(&self) -> &Arc<Knobs> {
        &self.knobs
    }

    /// How long the scheduler has been up, in all its lives: the time that every durable moment is told in. What passes
    /// while it is down counts for nobody.
    #[must_use]
    pub fn uptime(&self, now: Time) -> Span {
        self.earlier + self.booted.map_or(Span::ZERO, |booted| now.since(booted))
    }

    /// Whether the clock has reached what the scheduler waits for.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether [`place`](Scheduler::place) has anything to look at.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.queue.first().is_some() || !self.moves.is_empty()
    }

    /// The moment of this life at which the uptime is `at`.
    fn moment(&self, at: Span) -> Option<Time> {
        self.booted.map(|booted| booted + at.minus(self.earlier))
    }

    /// The only writer of durable state.
    fn commit(&mut self, record: Record, effects: &mut Out) {
        self.durable.apply(&record, self.knobs.checkpoints_kept);
        effects.record(record);
    }

    fn on_boot(&mut self, now: Time, durable: Durable<Self>, effects: &mut Out) {
        assert!(self.booted.is_none(), "a process boots once");
        assert_eq!(self.knobs.validate(), Ok(()), "settings are checked before a scheduler is built");
        let restarted = durable.snapshot.is_some() || !durable.records.is_empty();
        self.durable = durable.snapshot.unwrap_or_default();
        for record in &durable.records {
            self.durable.apply(record, self.knobs.checkpoints_kept);
        }
        self.earlier = self.durable.uptime;
        self.looked = self.earlier;
        self.booted = Some(now);
        self.counters.on_boot(self.earlier);
        if restarted {
            self.recall(effects);
        }
        self.restore_settings(effects);
        self.restore_breakers();
        self.restore_workers();
        self.restore_tasks(effects);
    }

    /// Tells what the disk holds. A process that died may have recorded more than it told.
    fn recall(&self, effects: &mut Out) {
        let Snapshot { uptime, attempt, submitted, ended, tasks, workers, breakers, adapted, .. } = &self.durable;
        for (&incarnation, (worker, offer)) in workers {
            effects.event(Event::WorkerRecalled { worker: worker.clone(), incarnation, offer: offer.clone() });
        }
        for (key, &state) in breakers {
            effects.event(Event::BreakerRecalled { key: key.clone(), state });
        }
        for (&what, AdaptedState { value, changes }) in adapted {
            effects.event(Event::SettingRecalled { what, value: value.clone(), changes: *changes });
        }
        for task in tasks.values().filter(|task| !matches!(task.state, TaskState::Terminal { .. })) {
            effects.event(Event::TaskRecalled { task: Arc::new(task.clone()) });
        }
        let (uptime, attempt, submitted, ended) = (*uptime, *attempt, *submitted, *ended);
        effects.event(Event::Recovered { uptime, attempt, submitted, ended });
    }

    /// Fits what waits, runs and has its time into the order of this life.
    fn restore_tasks(&mut self, effects: &mut Out) {
        let at = self.earlier;
        let durable = core::mem::take(&mut self.durable);
        let (mut unanswered, mut ended) = (Vec::new(), Vec::new());
        for (id, task) in &durable.tasks {
            match &task.state {
                TaskState::Terminal { .. } => {
                    ended.push(id.clone());
                    continue;
                }
                TaskState::Waiting { not_before, .. } if *not_before <= at => self.queue.insert(task),
                TaskState::Waiting { not_before, .. } => {
                    self.delayed.insert((*not_before, id.clone()));
                }
                TaskState::Leased(lease) => {
                    let worker =
                        self.workers.get_mut(&lease.incarnation).expect("a lease is on a worker that is known");
                    worker.reserve(lease.attempt, id, lease.resources);
                    self.limits.insert((lease.at + self.run_limit(&task.spec), lease.attempt, id.clone()));
                    // Perhaps it was never sent; who runs it already says so again.
                    unanswered.push((lease.attempt, id.clone()));
                    let (attempt, incarnation, resources) = (lease.attempt, lease.incarnation, lease.resources);
                    effects.event(Event::Reserved { attempt, incarnation, resources });
                }
            }
            if let Some(deadline) = task.spec.deadline {
                self.deadlines.insert((task.submitted + deadline, id.clone()));
            }
        }
        self.durable = durable;
        for id in ended {
            self.await_clear(at, &id);
        }
        for (attempt, id) in unanswered {
            self.await_answer(at, attempt, &id);
        }
        self.restore_permits();
    }

    fn run_limit(&self, spec: &crate::TaskSpec) -> Span {
        spec.run_limit.unwrap_or(self.knobs.run_limit)
    }

    /// Does what is due before anything else is heard.
    fn on_due(&mut self, at: Span, effects: &mut Out) {
        self.expire(at, effects);
        self.limit_runs(at, effects);
        self.wake_delayed(at);
        self.move_breakers(at, effects);
        self.repeat_assignments(at, effects);
        if at.minus(self.looked) >= self.knobs.tick {
            self.looked = at;
            self.queue.unblock();
        }
        if at.minus(self.durable.uptime) >= self.knobs.clock && self.is_busy() {
            self.commit(Record::Clock { at }, effects);
        }
    }

    /// Whether any task waits or runs, a breaker counts its time, or the store is to forget something.
    fn is_busy(&self) -> bool {
        self.queue.len() > 0
            || !self.delayed.is_empty()
            || !self.limits.is_empty()
            || !self.restless.is_empty()
            || self.clears.len() > 0
    }

    fn wake_delayed(&mut self, at: Span) {
        while let Some((when, _)) = self.delayed.first() {
            if *when > at {
                return;
            }
            if let Some((_, id)) = self.delayed.pop_first() {
                self.queue.insert(&self.durable.tasks[&id]);
            }
        }
    }

    /// Takes a task out of whatever it waits in.
    fn unwait(&mut self, id: &Text) {
        let task = &self.durable.tasks[id];
        let TaskState::Waiting { not_before, .. } = task.state else { unreachable!("{id} doesn't wait") };
        if !self.delayed.remove(&(not_before, id.clone())) {
            self.queue.remove(task);
        }
    }

    /// Puts a task into what it waits in.
    fn wait(&mut self, at: Span, id: &Text) {
        let task = &self.durable.tasks[id];
        let TaskState::Waiting { not_before, .. } = task.state else { unreachable!("{id} doesn't wait") };
        if not_before <= at {
            self.queue.insert(task);
        } else {
            self.delayed.insert((not_before, id.clone()));
        }
    }

    /// Forgets the oldest of the tasks that have ended, if there are too many.
    fn forget_ended(&mut self, effects: &mut Out) {
        while self.durable.terminal.len() > self.knobs.terminal_kept as usize {
            let task = self.durable.terminal[0].clone();
            self.commit(Record::Forgotten { task: task.clone() }, effects);
            effects.event(Event::TaskForgotten { task });
        }
    }

    fn on_message(&mut self, at: Span, from: Address, message: Message, effects: &mut Out) {
        match message {
            Message::Submit { spec } => self.on_submit(at, from, spec, effects),
            Message::Cancel { task } => self.on_cancel(at, from, task, effects),
            Message::Poll { tasks } => self.on_poll(from, &tasks, effects),
            Message::Offer { incarnation, offer } => self.on_offer(at, from, incarnation, offer, effects),
            Message::Beat { incarnation, seq, vitals, running } => {
                self.on_beat(from, incarnation, seq, &vitals, &running, effects);
            }
            Message::Started { incarnation, task, attempt } => {
                self.on_started(from, incarnation, &task, attempt, effects);
            }
            Message::Report { incarnation, task, attempt, report } => {
                self.on_report(at, from, attempts::Reporter { incarnation, task, attempt }, report, effects);
            }
            Message::Saved { incarnation, task, checkpoint } => {
                self.on_saved(from, incarnation, &task, *checkpoint, effects);
            }
            Message::Drain { incarnation } => self.on_drain(from, incarnation, effects),
            Message::Cleared { incarnation, task } => self.on_cleared(incarnation, task, effects),
            Message::Offered { incarnation }
            | Message::Introduce { incarnation }
            | Message::Assign { incarnation, .. }
            | Message::Stop { incarnation, .. }
            | Message::Clear { incarnation, .. }
            | Message::Drained { incarnation } => ignore(Ignored::WrongDirection, Some(incarnation), effects),
            Message::Admitted { .. }
            | Message::Declined { .. }
            | Message::CancelAnswer { .. }
            | Message::Standings { .. }
            | Message::Received { .. }
            | Message::Kept { .. } => ignore(Ignored::WrongDirection, None, effects),
        }
    }

    fn on_call(&mut self, at: Span, call: Call, effects: &mut Out) {
        match call {
            Call::Began { worker, incarnation } => self.on_began(worker, incarnation),
            Call::Ended { incarnation, departure } => self.on_ended(at, incarnation, departure, effects),
            Call::Migrate { task } => self.on_migrate(task, effects),
            Call::ResetBreaker { key } => self.on_reset_breaker(at, &key, effects),
        }
    }
}

impl Machine for Scheduler {
    type Message = Message;
    type Request = Call;
    type Reply = core::convert::Infallible;
    type Record = Record;
    type Snapshot = Snapshot;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Out) {
        let input = match input {
            Input::Boot(durable) => return self.on_boot(now, durable, effects),
            Input::Receive { .. } | Input::Request(_) | Input::Wake => input,
        };
        assert!(self.booted.is_some(), "an input before boot");
        let at = self.uptime(now);
        self.on_due(at, effects);
        match input {
            Input::Receive { from, message } => self.on_message(at, from, message, effects),
            Input::Request(call) => self.on_call(at, call, effects),
            Input::Wake | Input::Boot(_) => {}
        }
        self.clear_store(at, effects);
        self.forget_ended(effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.booted?;
        // Asked after every step of the process, which mostly has other things to do.
        if !self.is_busy() {
            return None;
        }
        let clock = Some(self.durable.uptime + self.knobs.clock);
        let look = self.queue.is_blocked().then(|| self.looked + self.knobs.tick);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let limit = self.limits.first().map(|(at, ..)| *at);
        let unanswered = self.unanswered.first().map(|(at, _)| *at);
        let breaker = self.restless.iter().filter_map(|key| self.breakers[key].deadline()).min();
        let all = [clock, look, delayed, deadline, limit, unanswered, breaker, self.clears.deadline()];
        all.into_iter().flatten().min().and_then(|at| self.moment(at))
    }

    fn snapshot(&self) -> Snapshot {
        self.durable.clone()
    }

    fn assert_invariants(&self) {
        self.check();
    }
}

fn ignore(reason: Ignored, incarnation: Option<Incarnation>, effects: &mut Out) {
    effects.event(Event::Ignored { reason, incarnation });
}
