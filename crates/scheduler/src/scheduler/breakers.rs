//! The three breakers that every attempt passes: of its worker, of its class of hardware, of its type of task.

use super::{Out, Scheduler, ignore};
use crate::{
    AttemptId, Blame, Breaker, BreakerChange, BreakerKey, BreakerStage, BreakerState, Event, Generation, HardwareClass,
    Ignored, Lease, Permits, Record, Settlement, TaskState, TaskType,
};
use alloc::vec::Vec;
use squall_machine::{Span, Text};

/// The keys of the three breakers that an attempt passes.
fn keys(worker: &Text, class: HardwareClass, kind: TaskType) -> [BreakerKey; 3] {
    [BreakerKey::Worker(worker.clone()), BreakerKey::Class(class), BreakerKey::Type(kind)]
}

impl Permits {
    const fn each(&self) -> [Generation; 3] {
        [self.worker, self.class, self.kind]
    }
}

impl Scheduler {
    pub(super) fn restore_breakers(&mut self) {
        for (key, &BreakerState { stage, generation, times_opened }) in &self.durable.breakers {
            if stage != BreakerStage::Closed {
                self.restless.insert(key.clone());
            }
            let breaker = Breaker::restored(self.breaker_knobs(key), stage, generation, times_opened);
            self.breakers.insert(key.clone(), breaker);
        }
    }

    /// Takes the permits of the probes that run on once more. What isn't of the current generation counts nothing anyway.
    pub(super) fn restore_permits(&mut self) {
        for task in self.durable.tasks.values() {
            let TaskState::Leased(lease) = &task.state else { continue };
            let keys = keys(&lease.worker, lease.class, task.spec.kind);
            for (key, generation) in keys.into_iter().zip(lease.permits.each()) {
                let knobs = self.breaker_knobs(&key);
                let breaker = self.breakers.entry(key.clone()).or_insert_with(|| Breaker::new(knobs));
                if breaker.stage() != BreakerStage::HalfOpen || breaker.generation() != generation {
                    continue;
                }
                if lease.probe_until <= self.earlier {
                    self.expired.insert((lease.attempt, key));
                } else {
                    breaker.take(lease.attempt, lease.probe_until);
                }
            }
        }
    }

    /// Whether a breaker lets anybody pass. Takes nothing.
    pub(super) fn permits(&self, key: &BreakerKey) -> bool {
        self.breakers.get(key).is_none_or(Breaker::permits)
    }

    /// Whether a worker's breaker lets anybody pass: asked of every worker for every task, and mostly all are closed.
    pub(super) fn worker_permits(&self, id: &Text) -> bool {
        self.restless.is_empty() || self.permits(&BreakerKey::Worker(id.clone()))
    }

    /// Takes the permits of all three breakers.
    ///
    /// # Panics
    /// If one of them gives none: the caller has looked at all three.
    pub(super) fn take_permits(
        &mut self,
        (attempt, probe_until): (AttemptId, Span),
        worker: &Text,
        class: HardwareClass,
        kind: TaskType,
    ) -> (Permits, [Event; 3]) {
        let keys = keys(worker, class, kind);
        assert!(keys.iter().all(|key| self.permits(key)), "all three, or none");
        let events = keys.map(|key| {
            let knobs = self.breaker_knobs(&key);
            let breaker = self.breakers.entry(key.clone()).or_insert_with(|| Breaker::new(knobs));
            let generation = breaker.take(attempt, probe_until);
            Event::Permitted { key, attempt, generation, probe: breaker.stage() == BreakerStage::HalfOpen }
        });
        let generations = events.each_ref().map(|event| match event {
            Event::Permitted { generation, .. } => *generation,
            _ => unreachable!("only permits were taken"),
        });
        let [worker, class, kind] = generations;
        (Permits { worker, class, kind }, events)
    }

    /// Gives back the three permits of an attempt that has ended, each exactly once.
    pub(super) fn settle_all(
        &mut self,
        at: Span,
        id: &Text,
        lease: &Lease,
        settlement: impl Fn(Blame) -> Settlement,
        effects: &mut Out,
    ) {
        let attempt = lease.attempt;
        let keys = keys(&lease.worker, lease.class, self.durable.tasks[id].spec.kind);
        let blames = [Blame::Worker, Blame::Class, Blame::Type];
        for ((key, generation), blame) in keys.into_iter().zip(lease.permits.each()).zip(blames) {
            if self.expired.remove(&(attempt, key.clone())) {
                continue;
            }
            let settlement = settlement(blame);
            let breaker = self.breakers.get_mut(&key).expect("who gave a permit is there");
            let counted = generation == breaker.generation() && settlement != Settlement::Released;
            let probe = breaker.stage() == BreakerStage::HalfOpen;
            let change = breaker.settle(at, attempt, generation, settlement);
            effects.event(Event::Settled { key: key.clone(), attempt, generation, settlement, counted });
            if let Some(change) = change {
                self.changed(at, key, change, effects);
            }
            if counted {
                self.observe_result(blame, probe, settlement == Settlement::Success, effects);
            }
        }
    }

    /// A breaker has just changed: recorded, told, and what waits is looked at again.
    fn changed(&mut self, at: Span, key: BreakerKey, change: BreakerChange, effects: &mut Out) {
        let BreakerChange { to: stage, generation, times_opened, .. } = change;
        if stage == BreakerStage::Closed {
            self.restless.remove(&key);
        } else {
            self.restless.insert(key.clone());
        }
        let state = BreakerState { stage, generation, times_opened };
        self.commit(Record::Breaker { at, key: key.clone(), state }, effects);
        effects.event(Event::BreakerChanged { key, change });
        self.queue.unblock();
    }

    /// Half-opens the breakers whose time has come, and takes back permits that were held for too long.
    pub(super) fn move_breakers(&mut self, at: Span, effects: &mut Out) {
        let is_due = |key: &&BreakerKey| self.breakers[*key].deadline().is_some_and(|when| when <= at);
        let due: Vec<BreakerKey> = self.restless.iter().filter(is_due).cloned().collect();
        for key in due {
            let breaker = self.breakers.get_mut(&key).expect("a breaker that has something to do is there");
            let generation = breaker.generation();
            let due = breaker.on_due(at);
            if !due.expired.is_empty() {
                // After a restart nobody takes these permits again: by then their time is over, too.
                self.commit(Record::Clock { at }, effects);
            }
            for attempt in due.expired {
                let (settlement, counted) = (Settlement::Released, false);
                effects.event(Event::Settled { key: key.clone(), attempt, generation, settlement, counted });
                self.expired.insert((attempt, key.clone()));
                self.queue.unblock();
            }
            if let Some(change) = due.change {
                self.changed(at, key, change, effects);
            }
        }
    }

    /// Makes room for the breakers of new workers: those of workers that are gone, and say nothing, go first.
    pub(super) fn forget_breakers(&mut self, effects: &mut Out) {
        while self.breakers.len() > self.knobs.workers_max as usize + BreakerKey::SHARED {
            let gone = |key: &BreakerKey| match key {
                BreakerKey::Worker(id) => !self.live.values().any(|live| live == id),
                BreakerKey::Class(_) | BreakerKey::Type(_) => false,
            };
            let mut gone = self.breakers.iter().filter(|(key, _)| gone(key));
            let quiet = gone.clone().find(|(_, breaker)| breaker.stage() == BreakerStage::Closed);
            let Some((key, _)) = quiet.or_else(|| gone.next()) else { return };
            let key = key.clone();
            self.breakers.remove(&key);
            self.restless.remove(&key);
            if self.durable.breakers.contains_key(&key) {
                self.commit(Record::BreakerForgotten { key }, effects);
            }
        }
    }

    pub(super) fn on_reset_breaker(&mut self, at: Span, key: &BreakerKey, effects: &mut Out) {
        match self.breakers.get_mut(key) {
            Some(breaker) => {
                let change = breaker.reset();
                self.changed(at, key.clone(), change, effects);
            }
            None => ignore(Ignored::Stale, None, effects),
        }
    }
}
