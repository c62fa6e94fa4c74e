//! The life of an attempt after its assignment: started, reported, fenced; and what becomes of its task.

use super::{Out, Scheduler, ignore};
use crate::{
    AttemptId, Climb, End, Event, FailureKind, Ignored, Incarnation, Ladder, Lease, Message, Move, Next, Outcome,
    Reception, Record, Report, Settlement, Step, Strategy, TaskState, Verdict, classify,
};
use alloc::sync::Arc;
use squall_machine::{Address, Span, Text};

/// Who speaks about which attempt.
pub(super) struct Reporter {
    pub(super) incarnation: Incarnation,
    pub(super) task: Text,
    pub(super) attempt: AttemptId,
}

impl Scheduler {
    /// Whether the attempt holds its task on behalf of this incarnation; if not, why not, and whether its own report ended
    /// it.
    fn judge(&self, who: &Reporter) -> Result<&Lease, (Ignored, bool)> {
        let Some(task) = self.durable.tasks.get(&who.task) else { return Err((Ignored::UnknownTask, false)) };
        if let TaskState::Leased(lease) = &task.state
            && lease.attempt == who.attempt
        {
            let own = lease.incarnation == who.incarnation;
            return if own { Ok(lease) } else { Err((Ignored::WrongWorker, false)) };
        }
        let past = task.past.iter().find(|past| past.attempt == who.attempt);
        match past {
            None => Err((Ignored::UnknownAttempt, false)),
            Some(past) if past.incarnation != who.incarnation => Err((Ignored::WrongWorker, false)),
            Some(past) if past.reported => Err((Ignored::Repeated, true)),
            Some(_) => Err((Ignored::Fenced, false)),
        }
    }

    pub(super) fn on_started(
        &mut self,
        from: Address,
        incarnation: Incarnation,
        task: &Text,
        attempt: AttemptId,
        effects: &mut Out,
    ) {
        let who = Reporter { incarnation, task: task.clone(), attempt };
        match self.judge(&who) {
            Ok(_) => {
                if !self.answered(attempt) {
                    return ignore(Ignored::Repeated, Some(incarnation), effects);
                }
                effects.event(Event::Started { task: task.clone(), attempt });
                self.arrive(task, effects);
            }
            Err((reason, _)) => {
                ignore(reason, Some(incarnation), effects);
                effects.send(from, Message::Stop { incarnation, attempt });
            }
        }
    }

    pub(super) fn on_report(&mut self, at: Span, from: Address, who: Reporter, report: Report, effects: &mut Out) {
        let Reporter { incarnation, attempt, .. } = who;
        let lease = match self.judge(&who) {
            Ok(lease) => lease.clone(),
            Err((reason, repeated)) => {
                let reception = if repeated { Reception::AlreadyAccepted } else { Reception::Rejected(reason) };
                effects.event(Event::Rejected { attempt, incarnation, repeated, reason });
                return effects.send(from, Message::Received { attempt, reception });
            }
        };
        // A report that overtakes `Started` says that, too.
        if self.answered(attempt) {
            effects.event(Event::Started { task: who.task.clone(), attempt });
        }
        self.arrive(&who.task, effects);
        match report {
            // What can't be kept is no result, and trying again is up to the task's ladder.
            Report::Succeeded { result } if result.len() > self.knobs.result_bytes_max as usize => {
                self.fail(at, &who.task, &lease, FailureKind::Unknown, true, effects);
            }
            Report::Succeeded { result } => self.succeed(at, &who.task, &lease, result, effects),
            Report::Failed { kind, text } => {
                let kind = kind.unwrap_or_else(|| classify(&text));
                self.fail(at, &who.task, &lease, kind, true, effects);
            }
            Report::Returned => {
                // Who gives work back is leaving, and would give back the next as well.
                self.drain(incarnation, from, effects);
                let next = self.again(&who.task, at);
                self.conclude(at, &who.task, &lease, &End::Drained, true, next, effects);
                self.settle_all(at, &who.task, &lease, |_| Settlement::Released, effects);
                self.after(at, &who.task, None, effects);
            }
        }
        effects.send(from, Message::Received { attempt, reception: Reception::Accepted });
        self.finish_drain(incarnation, effects);
    }

    fn succeed(&mut self, at: Span, id: &Text, lease: &Lease, result: Arc<[u8]>, effects: &mut Out) {
        let next = Next::Ends(Outcome::Succeeded { attempt: lease.attempt, result });
        let climb = self.observed_climb(id);
        self.conclude(at, id, lease, &End::Succeeded, true, next, effects);
        self.observe_step(climb, true, effects);
        self.settle_all(at, id, lease, |_| Settlement::Success, effects);
        let kind = self.durable.tasks[id].spec.kind;
        self.observe_run(kind, at.minus(lease.at));
        self.after(at, id, None, effects);
    }

    /// An attempt failed: its task climbs its ladder, or has no retries left.
    fn fail(&mut self, at: Span, id: &Text, lease: &Lease, kind: FailureKind, reported: bool, effects: &mut Out) {
        let climb = self.observed_climb(id);
        let (next, strategy) = self.after_failure(at, id, lease, kind);
        self.patterns.on_failure(at, kind, lease.class, &lease.worker);
        self.conclude(at, id, lease, &End::Failed(kind), reported, next, effects);
        self.observe_step(climb, false, effects);
        let blame = kind.blame();
        let settlement = |key| if key == blame { Settlement::Failure } else { Settlement::Released };
        self.settle_all(at, id, lease, settlement, effects);
        self.after(at, id, strategy, effects);
    }

    fn after_failure(&mut self, at: Span, id: &Text, lease: &Lease, kind: FailureKind) -> (Next, Option<Strategy>) {
        let task = &self.durable.tasks[id];
        let failures = task.failures + 1;
        if failures > task.spec.max_retries.unwrap_or(self.knobs.max_retries) {
            return (Next::Ends(Outcome::Failed(Verdict::Escalated(kind))), None);
        }
        let (ladder, order, from) = match &task.climb {
            Some(climb) => (climb.ladder, climb.order.clone(), climb.step.saturating_add(1)),
            None => {
                let pattern = self.patterns.is_pattern(at, kind, lease.class, &lease.worker);
                let ladder = Ladder::for_failure(kind, lease.class);
                (ladder, self.changed_order(ladder), u8::from(pattern))
            }
        };
        let steps = order.as_deref().unwrap_or(ladder.steps());
        let step = Step::next(steps, from, task.shape, task.spec.degradable);
        let delay = match step.strategy {
            Strategy::RetryAtOnce => self.knobs.tick,
            _ => self.knobs.retry.delay(failures, &mut self.random),
        };
        let next = Next::Waits {
            not_before: at + delay,
            shape: step.shape,
            climb: Some(Arc::new(Climb { ladder, order, step: step.index, strategy: step.strategy })),
            avoid: (step.strategy == Strategy::OtherWorker).then(|| lease.worker.clone()),
            restart_runtime: step.strategy == Strategy::RestartRuntime,
        };
        (next, Some(step.strategy))
    }

    /// The worker of an attempt is gone. `charged`: whether its breaker hears of it; it counts once, however many attempts
    /// it had.
    pub(super) fn lose(
        &mut self,
        at: Span,
        id: &Text,
        attempt: AttemptId,
        end: &End,
        charged: bool,
        effects: &mut Out,
    ) {
        let lease = self.durable.lease(id, attempt).expect("what a worker holds is leased").clone();
        let task = &self.durable.tasks[id];
        let poisoned = matches!(end, End::Lost(_)) && task.losses + 1 > self.knobs.max_losses;
        let next = if poisoned { Next::Ends(Outcome::Failed(Verdict::Poison)) } else { self.again(id, at) };
        self.abort_migration(id, &lease, effects);
        self.conclude(at, id, &lease, end, false, next, effects);
        let blame = match end {
            End::Lost(kind) if charged => Some(kind.blame()),
            End::Lost(_)
            | End::Drained
            | End::Succeeded
            | End::Failed(_)
            | End::Migrated
            | End::Cancelled
            | End::Expired => None,
        };
        let settlement = |key| if Some(key) == blame { Settlement::Failure } else { Settlement::Released };
        self.settle_all(at, id, &lease, settlement, effects);
        self.after(at, id, None, effects);
    }

    /// The same task once more, at once and as it was.
    pub(super) fn again(&self, id: &Text, at: Span) -> Next {
        let task = &self.durable.tasks[id];
        let (shape, climb, avoid) = (task.shape, task.climb.clone(), task.avoid.clone());
        Next::Waits { not_before: at, shape, climb, avoid, restart_runtime: task.restart_runtime }
    }

    /// Ends an attempt that has reported nothing, and tells its worker.
    pub(super) fn fence(&mut self, at: Span, id: &Text, attempt: AttemptId, end: &End, next: Next, effects: &mut Out) {
        let lease = self.durable.lease(id, attempt).expect("only what is leased is fenced").clone();
        self.abort_migration(id, &lease, effects);
        self.conclude(at, id, &lease, end, false, next, effects);
        self.settle_all(at, id, &lease, |_| Settlement::Released, effects);
        self.after(at, id, None, effects);
        self.stop(&lease, effects);
        self.finish_drain(lease.incarnation, effects);
    }

    fn stop(&self, lease: &Lease, effects: &mut Out) {
        if let Some(to) = self.workers.get(&lease.incarnation).and_then(|worker| worker.address) {
            effects.send(to, Message::Stop { incarnation: lease.incarnation, attempt: lease.attempt });
        }
    }

    /// The one way in which an attempt ends: recorded, told, and everything it held is free.
    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn conclude(
        &mut self,
        at: Span,
        id: &Text,
        lease: &Lease,
        end: &End,
        reported: bool,
        next: Next,
        effects: &mut Out,
    ) {
        let Lease { attempt, incarnation, .. } = *lease;
        let (task, spec) = (id.clone(), self.durable.tasks[id].spec.clone());
        self.commit(Record::Ended { at, task: id.clone(), attempt, end: end.clone(), reported, next }, effects);
        self.counters.on_end(at, id, &lease.worker, end);
        let end = end.clone();
        effects.event(match reported {
            true => Event::Accepted { task, attempt, incarnation, end },
            false => Event::Fenced { task, attempt, incarnation, end },
        });
        self.limits.remove(&(lease.at + self.run_limit(&spec), attempt, id.clone()));
        self.answered(attempt);
        let worker = self.workers.get_mut(&incarnation).expect("a lease is on a worker that is known");
        worker.leases.remove(&attempt);
        let resources = worker.account.release(attempt).expect("what was reserved is released once");
        effects.event(Event::Released { attempt, incarnation, resources });
        self.queue.unblock();
    }

    /// A task whose attempt has just ended goes on, or has ended with it.
    fn after(&mut self, at: Span, id: &Text, strategy: Option<Strategy>, effects: &mut Out) {
        let task = &self.durable.tasks[id];
        match &task.state {
            TaskState::Terminal { .. } => self.finish(at, id, effects),
            TaskState::Leased(_) => unreachable!("{id} has just been given up"),
            TaskState::Waiting { not_before, .. } => {
                effects.event(Event::Requeued {
                    task: id.clone(),
                    delay: not_before.minus(at),
                    failures: task.failures,
                    losses: task.losses,
                    strategy,
                    shape: task.shape,
                });
                self.wait(at, id);
            }
        }
    }

    /// Fails the attempts that have run for as long as they may.
    pub(super) fn limit_runs(&mut self, at: Span, effects: &mut Out) {
        while let Some((when, attempt, id)) = self.limits.first().cloned() {
            if when > at {
                return;
            }
            let lease = self.durable.lease(&id, attempt).expect("only what runs has a limit").clone();
            self.abort_migration(&id, &lease, effects);
            self.fail(at, &id, &lease, FailureKind::Timeout, false, effects);
            self.stop(&lease, effects);
            self.finish_drain(lease.incarnation, effects);
        }
    }

    /// Sends assignments again that nobody has answered.
    pub(super) fn repeat_assignments(&mut self, at: Span, effects: &mut Out) {
        while let Some((when, attempt)) = self.unanswered.first().copied() {
            if when > at {
                return;
            }
            self.unanswered.remove(&(when, attempt));
            let (_, id) = self.answer_due.remove(&attempt).expect("both know what is unanswered");
            self.await_answer(at + self.knobs.resend, attempt, &id);
            let lease = self.durable.lease(&id, attempt).expect("only what is leased awaits an answer");
            if let Some(to) = self.workers.get(&lease.incarnation).and_then(|worker| worker.address) {
                let incarnation = lease.incarnation;
                effects.send(to, Message::Assign { incarnation, attempt, work: self.work(&id) });
            }
        }
    }

    /// An assignment awaits its answer until `at`, and is then sent again.
    pub(super) fn await_answer(&mut self, at: Span, attempt: AttemptId, id: &Text) {
        self.answer_due.insert(attempt, (at, id.clone()));
        self.unanswered.insert((at, attempt));
    }

    /// Somebody answered an assignment; false if that was known.
    fn answered(&mut self, attempt: AttemptId) -> bool {
        let Some((at, _)) = self.answer_due.remove(&attempt) else { return false };
        self.unanswered.remove(&(at, attempt))
    }

    /// The target of a migration runs.
    fn arrive(&mut self, id: &Text, effects: &mut Out) {
        let TaskState::Leased(Lease { attempt, migrated_from: Some(source), .. }) = self.durable.tasks[id].state else {
            return;
        };
        self.commit(Record::Arrived { task: id.clone() }, effects);
        effects.event(Event::Migration { task: id.clone(), source, target: Some(attempt), step: Move::Committed });
    }

    /// The target of a migration is lost before it ran.
    fn abort_migration(&self, id: &Text, lease: &Lease, effects: &mut Out) {
        if let Some(source) = lease.migrated_from {
            let (task, target) = (id.clone(), Some(lease.attempt));
            effects.event(Event::Migration { task, source, target, step: Move::Aborted });
        }
    }
}
