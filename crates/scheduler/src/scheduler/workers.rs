//! Who offers to work: beginnings and ends of incarnations, offers, beats, draining.

use super::{Departure, Out, Scheduler, ignore};
use crate::{
    Account, AttemptId, End, Event, FailureKind, Ignored, Incarnation, Issue, Message, Offer, Record, Resources, Vitals,
};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Span, Text};

/// A worker's incarnation that offered itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Worker {
    pub(super) id: Text,
    pub(super) offer: Arc<Offer>,
    /// Where it was last heard from in this life of the scheduler.
    pub(super) address: Option<Address>,
    /// Its newest beat; 0 before the first of this life.
    seq: u64,
    /// What is wrong with its host.
    pub(super) issues: Vec<Issue>,
    /// Where it awaits the answer that it is drained.
    pub(super) draining: Option<Address>,
    pub(super) account: Account,
    /// What it holds.
    pub(super) leases: BTreeMap<AttemptId, Text>,
}

impl Worker {
    fn new(id: Text, offer: Arc<Offer>) -> Self {
        let account = Account::new(offer.resources);
        let (issues, leases) = (Vec::new(), BTreeMap::new());
        Self { id, offer, address: None, seq: 0, issues, draining: None, account, leases }
    }

    /// Sets resources aside.
    ///
    /// # Panics
    /// If they aren't there: the caller has looked.
    pub(super) fn reserve(&mut self, attempt: AttemptId, task: &Text, resources: Resources) {
        self.account.reserve(attempt, resources).expect("what was found to fit is there");
        self.leases.insert(attempt, task.clone());
    }
}

impl Scheduler {
    pub(super) fn restore_workers(&mut self) {
        for (&incarnation, (id, offer)) in &self.durable.workers {
            self.workers.insert(incarnation, Worker::new(id.clone(), offer.clone()));
            self.by_class.entry(offer.class).or_default().insert(id.clone(), incarnation);
            self.counters.on_worker(self.earlier, incarnation, id);
        }
    }

    /// The incarnations that hold leases or may get them, as far as the disk knows.
    pub fn known_workers(&self) -> impl Iterator<Item = Incarnation> {
        self.durable.workers.keys().copied()
    }

    pub(super) fn on_began(&mut self, worker: Text, incarnation: Incarnation) {
        self.live.insert(incarnation, worker);
        self.queue.unblock();
    }

    /// An incarnation ended: its leases are fenced, and their tasks go on elsewhere.
    pub(super) fn on_ended(&mut self, at: Span, incarnation: Incarnation, departure: Departure, effects: &mut Out) {
        self.live.remove(&incarnation);
        let Some(worker) = self.workers.get(&incarnation) else { return };
        let end = match departure {
            Departure::Crashed => End::Lost(FailureKind::WorkerCrash),
            Departure::Disconnected => End::Lost(FailureKind::WorkerDisconnected),
            Departure::Left => End::Drained,
        };
        let leases: Vec<(AttemptId, Text)> =
            worker.leases.iter().map(|(&attempt, task)| (attempt, task.clone())).collect();
        for (index, (attempt, task)) in leases.into_iter().enumerate() {
            self.lose(at, &task, attempt, &end, index == 0, effects);
        }
        self.commit(Record::Gone { incarnation }, effects);
        self.counters.on_worker_gone(at, incarnation);
        let worker = self.workers.remove(&incarnation).expect("it was there");
        assert!(worker.leases.is_empty(), "a lease on an ended incarnation");
        if let Some(class) = self.by_class.get_mut(&worker.offer.class)
            && class.get(&worker.id) == Some(&incarnation)
        {
            class.remove(&worker.id);
        }
    }

    pub(super) fn on_offer(
        &mut self,
        at: Span,
        from: Address,
        incarnation: Incarnation,
        offer: Arc<Offer>,
        effects: &mut Out,
    ) {
        let Some(id) = self.live.get(&incarnation).cloned() else {
            return ignore(Ignored::UnknownWorker, Some(incarnation), effects);
        };
        if let Some(worker) = self.workers.get_mut(&incarnation) {
            worker.address = Some(from);
            // What it has doesn't change while it lives.
            let reason = if worker.offer == offer { Ignored::Repeated } else { Ignored::Stale };
            ignore(reason, Some(incarnation), effects);
            return effects.send(from, Message::Offered { incarnation });
        }
        let long = |text: &Text| text.len() > self.knobs.text_bytes_max as usize;
        if offer.capabilities.len() > self.knobs.capabilities_max as usize || offer.capabilities.iter().any(long) {
            return ignore(Ignored::TooLong, Some(incarnation), effects);
        }
        if self.workers.len() >= self.knobs.workers_max as usize {
            return ignore(Ignored::LimitReached, Some(incarnation), effects);
        }
        self.commit(Record::Offered { worker: id.clone(), incarnation, offer: offer.clone() }, effects);
        self.by_class.entry(offer.class).or_default().insert(id.clone(), incarnation);
        let worker = Worker { address: Some(from), ..Worker::new(id.clone(), offer.clone()) };
        self.workers.insert(incarnation, worker);
        self.counters.on_worker(at, incarnation, &id);
        self.forget_breakers(effects);
        effects.event(Event::Offered { worker: id, incarnation, offer });
        effects.send(from, Message::Offered { incarnation });
        self.queue.unblock();
    }

    /// How a worker is, and what it runs. Whatever of that it shouldn't run, it is told to stop.
    pub(super) fn on_beat(
        &mut self,
        from: Address,
        incarnation: Incarnation,
        seq: u64,
        vitals: &Vitals,
        running: &[(AttemptId, u32)],
        effects: &mut Out,
    ) {
        if !self.live.contains_key(&incarnation) {
            return ignore(Ignored::UnknownWorker, Some(incarnation), effects);
        }
        let limits = self.knobs.vitals;
        let Some(worker) = self.workers.get_mut(&incarnation) else {
            ignore(Ignored::UnknownWorker, Some(incarnation), effects);
            return effects.send_volatile(from, Message::Introduce { incarnation });
        };
        if seq <= worker.seq {
            return ignore(Ignored::Stale, Some(incarnation), effects);
        }
        worker.seq = seq;
        let reached = worker.address.replace(from).is_none();
        let issues = vitals.issues(&limits);
        let changed = issues != worker.issues;
        if changed {
            worker.issues.clone_from(&issues);
            effects.event(Event::Health { incarnation, issues });
        }
        // The list may have been composed before an assignment that is on its way: what is missing in it means nothing.
        let fenced = running.iter().filter(|(attempt, _)| !worker.leases.contains_key(attempt));
        for &(attempt, _) in fenced.take(self.knobs.leases_max as usize) {
            effects.send(from, Message::Stop { incarnation, attempt });
        }
        if changed || reached {
            self.queue.unblock();
        }
    }

    pub(super) fn on_drain(&mut self, from: Address, incarnation: Incarnation, effects: &mut Out) {
        let Some(worker) = self.workers.get_mut(&incarnation) else {
            ignore(Ignored::UnknownWorker, Some(incarnation), effects);
            // Who offers nothing holds nothing.
            return effects.send(from, Message::Drained { incarnation });
        };
        worker.address = Some(from);
        if !self.drain(incarnation, from, effects) {
            ignore(Ignored::Repeated, Some(incarnation), effects);
        }
        self.finish_drain(incarnation, effects);
    }

    /// The worker gets no more work, and awaits at `from` that it holds none; false if that was known.
    pub(super) fn drain(&mut self, incarnation: Incarnation, from: Address, effects: &mut Out) -> bool {
        let Some(worker) = self.workers.get_mut(&incarnation) else { return false };
        if worker.draining.replace(from).is_some() {
            return false;
        }
        // What saves its progress goes on elsewhere, if there is room; the rest is finished here.
        let tasks = &self.durable.tasks;
        let movable = worker.leases.values().filter(|id| tasks[*id].spec.checkpoint_interval.is_some());
        self.moves.extend(movable.cloned());
        effects.event(Event::Draining { incarnation });
        true
    }

    /// Lets a draining worker go once it holds nothing.
    pub(super) fn finish_drain(&self, incarnation: Incarnation, effects: &mut Out) {
        let Some(worker) = self.workers.get(&incarnation) else { return };
        if let (Some(to), true) = (worker.draining, worker.leases.is_empty()) {
            effects.event(Event::Drained { incarnation });
            effects.send(to, Message::Drained { incarnation });
        }
    }
}
