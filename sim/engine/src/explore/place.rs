//! One node as the explorer keeps it: plain data, and what one step makes of it.

use squall_machine::{Address, Batch, Durable, Effects, Input, Machine, Outbox, Pledge, Released, Time};

/// A node: its disk, and the process on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place<M: Machine> {
    /// How many processes were started here.
    pub(super) life: u32,
    /// The durable records, in order. Tiny systems write few, so there are no snapshots.
    pub(super) durable: Vec<M::Record>,
    pub(super) process: Option<Process<M>>,
}

/// A process that runs: what is gone when it dies.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Process<M: Machine> {
    machine: M,
    unsynced: Vec<M::Record>,
    /// What waits until everything unsynced is synced.
    held: Vec<Said<M>>,
}

/// What a machine said, and may be known to others.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Said<M: Machine> {
    Message { to: Address, message: M::Message },
    Event { decided: Time, event: M::Event },
}

impl<M: Machine> Place<M> {
    /// A node on which nothing ever ran.
    pub(super) fn empty() -> Self {
        Self { life: 0, durable: Vec::new(), process: None }
    }

    /// How many records a crash could lose.
    pub(super) fn unsynced(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.unsynced.len())
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.process.as_ref().and_then(|process| process.machine.deadline())
    }

    /// The process takes an input. Returns what it says at once, in order.
    pub(super) fn step(&mut self, now: Time, input: Input<M>) -> Vec<Said<M>> {
        self.process.as_mut().map_or_else(Vec::new, |process| process.step(now, input))
    }

    /// A process starts, and finds what is durable. Returns what it says at once, in order.
    pub(super) fn start(&mut self, machine: M, now: Time) -> Vec<Said<M>> {
        assert!(self.process.is_none(), "one process at a time");
        self.life += 1;
        self.process = Some(Process { machine, unsynced: Vec::new(), held: Vec::new() });
        let durable = Durable { snapshot: None, records: self.durable.clone(), torn_tail: false };
        self.step(now, Input::Boot(durable))
    }

    /// Everything written becomes durable. Returns what waited for it, in order.
    pub(super) fn sync(&mut self) -> Vec<Said<M>> {
        let Some(process) = &mut self.process else { return Vec::new() };
        self.durable.append(&mut process.unsynced);
        std::mem::take(&mut process.held)
    }

    /// The process dies; the first `kept` of its unsynced records have reached the disk. Returns how many are lost.
    pub(super) fn crash(&mut self, kept: usize) -> u32 {
        let Some(process) = self.process.take() else { return 0 };
        assert!(kept <= process.unsynced.len(), "a disk keeps no more than was written");
        let lost = process.unsynced.len() - kept;
        self.durable.extend(process.unsynced.into_iter().take(kept));
        lost as u32
    }
}

impl<M: Machine> Process<M> {
    fn step(&mut self, now: Time, input: Input<M>) -> Vec<Said<M>> {
        let (mut outbox, mut effects, mut free) = (Outbox::new(), Effects::new(), Vec::new());
        // An outbox can't be copied with the state. One that was given an unsynced record first holds back the same.
        let earlier = self.unsynced.first().cloned().and_then(|record| {
            effects.record(record);
            outbox.drain(now, &mut effects, |_| {})
        });
        self.machine.step(now, input, &mut effects);
        self.machine.assert_invariants();
        let batch = outbox.drain(now, &mut effects, |released| free.extend(said(released)));
        let pledge: Option<Pledge> = match batch {
            Some(Batch { records, pledge }) => {
                self.unsynced.extend(records);
                Some(pledge)
            }
            None => earlier.map(|batch| batch.pledge),
        };
        if let Some(pledge) = pledge {
            outbox.confirm(pledge.synced(), |released| self.held.extend(said(released)));
        }
        free
    }
}

/// What others can know of; local clients of whole nodes are operators, and what they are answered is in the events.
fn said<M: Machine>(released: Released<M>) -> Option<Said<M>> {
    match released {
        Released::Message { to, message } => Some(Said::Message { to, message }),
        Released::Event { decided, event } => Some(Said::Event { decided, event }),
        Released::Reply(_) => None,
    }
}
