//! Who gets what: the queue meets the workers.

use super::queue::Need;
use super::{Out, Roster, Scheduler, ignore};
use crate::{
    AttemptId, BreakerKey, Candidate, Choice, Demand, End, Event, Ignored, Incarnation, Lease, Message, Move, Obstacle,
    Placement, Record, TaskState, TaskType, Tau, Work, choose, load, risk,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Span, Text, Time};

/// How many open breakers are named as what a task waits for.
const NAMED_MAX: usize = 8;

/// What kept workers from being eligible.
#[derive(Default)]
struct Tally {
    too_big: bool,
    unfit: bool,
    busy: bool,
    breakers: Vec<BreakerKey>,
}

impl Tally {
    fn obstacle(self) -> Obstacle {
        match self {
            Self { busy: true, .. } => Obstacle::Busy,
            Self { breakers, .. } if !breakers.is_empty() => Obstacle::Breakers(breakers),
            Self { unfit: true, .. } => Obstacle::Unfit,
            Self { too_big: true, .. } => Obstacle::TooBig,
            Self { .. } => Obstacle::NoWorker,
        }
    }
}

impl Scheduler {
    /// Gives work to whoever may have it, until nothing more can be placed. To be called after every step, with the one
    /// authority on who is alive, at the same moment.
    pub fn place(&mut self, now: Time, roster: &dyn Roster, effects: &mut Out) {
        let at = self.uptime(now);
        for id in core::mem::take(&mut self.moves) {
            self.move_task(at, &id, roster, effects);
        }
        // Each round takes a task out of the queue or blocks a line of it.
        while let Some((need, id)) = self.queue.first() {
            let (need, id) = (need.clone(), id.clone());
            match self.choose_worker(at, &need, None, roster) {
                Ok((incarnation, choice)) => self.assign(at, &id, incarnation, choice, None, effects),
                Err(obstacle) => {
                    if self.queue.block(&need, &obstacle) {
                        effects.event(Event::Held { task: id, obstacle });
                    }
                }
            }
        }
    }

    /// The worker for a task with this need, and why it; or what stands in the way. Takes nothing.
    fn choose_worker(
        &self,
        at: Span,
        need: &Need,
        source: Option<&Text>,
        roster: &dyn Roster,
    ) -> Result<(Incarnation, Choice), Obstacle> {
        if need.retry && !self.budget.may_retry(at) {
            return Err(Obstacle::RetryBudget);
        }
        let shared = [BreakerKey::Class(need.class), BreakerKey::Type(need.kind)];
        let open: Vec<BreakerKey> = shared.into_iter().filter(|key| !self.permits(key)).collect();
        if !open.is_empty() {
            return Err(Obstacle::Breakers(open));
        }
        let mut tally = Tally::default();
        let mut eligible = self.eligible(need, source, roster, &mut tally);
        // Rather another worker, if there is one.
        if let Some(avoid) = &need.avoid
            && eligible.iter().any(|(candidate, _)| candidate.id != &**avoid)
        {
            eligible.retain(|(candidate, _)| candidate.id != &**avoid);
        }
        let candidates: Vec<Candidate<'_>> = eligible.iter().map(|(candidate, _)| *candidate).collect();
        let chosen = choose(self.knobs.placement, &candidates, self.last_used.get(&need.class).map(|id| &**id));
        let Some(chosen) = chosen else { return Err(tally.obstacle()) };
        let (Candidate { figure, .. }, incarnation) = eligible[chosen];
        let placement = if figure.is_some() { self.knobs.placement } else { Placement::RoundRobin };
        Ok((incarnation, Choice { placement, eligible: eligible.len() as u32, figure_micros: figure }))
    }

    /// All workers that may get a task with this need, in the order of their ids.
    fn eligible<'a>(
        &'a self,
        need: &Need,
        source: Option<&Text>,
        roster: &dyn Roster,
        tally: &mut Tally,
    ) -> Vec<(Candidate<'a>, Incarnation)> {
        let mut eligible = Vec::new();
        let demand = Demand { need: need.resources, tau: self.tau(need.kind), slack: need.slack };
        for (id, &incarnation) in self.by_class.get(&need.class).into_iter().flatten() {
            let worker = &self.workers[&incarnation];
            if source == Some(id)
                || worker.address.is_none()
                || !need.capabilities.is_subset(&worker.offer.capabilities)
                || !roster.takes_work(incarnation)
            {
                continue;
            }
            if worker.offer.resources.covers(&need.resources).is_err() {
                tally.too_big = true;
            } else if worker.draining.is_some() || !worker.issues.is_empty() {
                tally.unfit = true;
            } else if !self.worker_permits(id) {
                if tally.breakers.len() < NAMED_MAX {
                    tally.breakers.push(BreakerKey::Worker(id.clone()));
                }
            } else if worker.account.fits(&need.resources).is_err()
                || worker.leases.len() >= self.knobs.leases_max as usize
            {
                tally.busy = true;
            } else {
                let figure = match self.knobs.placement {
                    Placement::RoundRobin => None,
                    Placement::LeastLoaded => load(&worker.account).and_then(|load| i64::try_from(load).ok()),
                    Placement::Rts => risk(&worker.account, &demand, 0, 0),
                };
                eligible.push((Candidate { id, figure }, incarnation));
            }
        }
        eligible
    }

    fn assign(
        &mut self,
        at: Span,
        id: &Text,
        incarnation: Incarnation,
        choice: Choice,
        migrated_from: Option<AttemptId>,
        effects: &mut Out,
    ) {
        self.unwait(id);
        let task = &self.durable.tasks[id];
        let (spec, shape, failures) = (task.spec.clone(), task.shape, task.failures);
        let restore = task.checkpoints.newest().cloned().map(Box::new);
        let worker = self.workers[&incarnation].id.clone();
        let attempt = self.durable.attempt.next();
        let probe_until = at + self.knobs.probe_max.max(self.tau(spec.kind).span() * 3);
        let (permits, permitted) = self.take_permits((attempt, probe_until), &worker, shape.class, spec.kind);
        let (class, resources) = (shape.class, spec.resources);
        let lease = Lease {
            attempt,
            worker: worker.clone(),
            incarnation,
            at,
            class,
            resources,
            permits,
            probe_until,
            migrated_from,
        };
        self.commit(Record::Assigned { at, task: id.clone(), lease: Box::new(lease) }, effects);
        let target = self.workers.get_mut(&incarnation).expect("the chosen worker is there");
        target.reserve(attempt, id, resources);
        let to = target.address;
        self.limits.insert((at + self.run_limit(&spec), attempt, id.clone()));
        self.await_answer(at + self.knobs.resend, attempt, id);
        // A move is no retry, and takes no room from those who are.
        let retry = failures > 0 && migrated_from.is_none();
        self.budget.on_start(at, retry);
        self.counters.on_start(at, id, retry);
        self.last_used.insert(class, worker.clone());
        effects.event(Event::Reserved { attempt, incarnation, resources });
        permitted.into_iter().for_each(|event| effects.event(event));
        let (task, kind) = (id.clone(), spec.kind);
        effects.event(Event::Assigned {
            task,
            attempt,
            worker,
            incarnation,
            resources,
            shape,
            kind,
            failures,
            restore,
            choice,
        });
        if let Some(to) = to {
            effects.send(to, Message::Assign { incarnation, attempt, work: self.work(id) });
        }
    }

    /// What the worker of a task needs to know.
    pub(super) fn work(&self, id: &Text) -> Arc<Work> {
        let task = &self.durable.tasks[id];
        Arc::new(Work {
            task: id.clone(),
            kind: task.spec.kind,
            shape: task.shape,
            resources: task.spec.resources,
            payload: task.spec.payload.clone(),
            checkpoint_interval: task.spec.checkpoint_interval,
            restart_runtime: task.restart_runtime,
            restore: task.checkpoints.newest().cloned(),
            next_seq: task.checkpoints.next_seq(),
        })
    }

    pub(super) fn on_migrate(&mut self, task: Text, effects: &mut Out) {
        match self.durable.tasks.get(&task).map(|task| &task.state) {
            Some(TaskState::Leased(_)) => {
                self.moves.insert(task);
            }
            Some(TaskState::Waiting { .. } | TaskState::Terminal { .. }) => ignore(Ignored::Stale, None, effects),
            None => ignore(Ignored::UnknownTask, None, effects),
        }
    }

    /// Moves a running task, if there is room elsewhere: the source is fenced before the target gets it. Otherwise it goes on
    /// where it is.
    fn move_task(&mut self, at: Span, id: &Text, roster: &dyn Roster, effects: &mut Out) {
        let task = &self.durable.tasks[id];
        let TaskState::Leased(lease) = &task.state else { return };
        let source = lease.attempt;
        let step = |step, target| Event::Migration { task: id.clone(), source, target, step };
        // A move is no retry, whatever happened to the task before.
        let need = Need { retry: false, ..Need::of(task) };
        let Ok((incarnation, choice)) = self.choose_worker(at, &need, Some(&lease.worker), roster) else {
            return effects.event(step(Move::Aborted, None));
        };
        effects.event(step(Move::Started, None));
        let next = self.again(id, at);
        self.fence(at, id, source, &End::Migrated, next, effects);
        effects.event(step(Move::Fenced, None));
        self.assign(at, id, incarnation, choice, Some(source), effects);
    }

    /// The expected run time of a type of task.
    fn tau(&self, kind: TaskType) -> Tau {
        self.taus.get(&kind).copied().unwrap_or_else(|| Tau::initial(kind))
    }

    /// An attempt succeeded after this long.
    pub(super) fn observe_run(&mut self, kind: TaskType, run: Span) {
        self.taus.entry(kind).or_insert_with(|| Tau::initial(kind)).observe(run);
    }
}
