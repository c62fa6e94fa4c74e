//! One process: a machine, its outbox, its disk.

use squall_coordinator::{Event, Message};
use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Pledge, Released, Time};
use squall_node::{CoordinatorNode, CoordinatorNodeEvent, CoordinatorNodeMessage, MemberNode, ObserverNode};

/// What left a process.
pub(crate) enum Left<R> {
    Message { to: Address, message: Message },
    Reply(R),
    Event(Event),
}

/// A machine whose messages and events are, or wrap, those of the coordinator's protocol.
pub(crate) trait Speaks: Machine {
    fn hear(message: Message) -> Self::Message;
    fn say(message: Self::Message) -> Message;
    /// What it tells of the coordinator's protocol.
    fn tell(event: Self::Event) -> Option<Event>;
}

macro_rules! speaks_plainly {
    ($($machine:ty),+) => {$(
        impl Speaks for $machine {
            fn hear(message: Message) -> Message {
                message
            }

            fn say(message: Message) -> Message {
                message
            }

            fn tell(event: Event) -> Option<Event> {
                Some(event)
            }
        }
    )+};
}

speaks_plainly!(MemberNode, ObserverNode);

impl Speaks for CoordinatorNode {
    fn hear(message: Message) -> CoordinatorNodeMessage {
        CoordinatorNodeMessage::Coordinator(message)
    }

    fn say(message: CoordinatorNodeMessage) -> Message {
        match message {
            CoordinatorNodeMessage::Coordinator(message) => message,
            CoordinatorNodeMessage::Scheduler(message) => panic!("there are no tasks: {message:?}"),
        }
    }

    fn tell(event: CoordinatorNodeEvent) -> Option<Event> {
        match event {
            CoordinatorNodeEvent::Coordinator(event) => Some(event),
            CoordinatorNodeEvent::Scheduler(squall_scheduler::Event::Recovered { submitted: 0, .. }) => None,
            CoordinatorNodeEvent::Scheduler(event) => panic!("there are no tasks: {event:?}"),
        }
    }
}

pub(crate) struct Process<M: Machine> {
    pub(crate) machine: Option<M>,
    pub(crate) paused: bool,
    outbox: Outbox<M>,
    snapshot: Option<M::Snapshot>,
    synced: Vec<M::Record>,
    unsynced: Vec<(Vec<M::Record>, Pledge)>,
}

impl<M: Speaks> Process<M> {
    pub(crate) fn new() -> Self {
        Self {
            machine: None,
            paused: false,
            outbox: Outbox::new(),
            snapshot: None,
            synced: Vec::new(),
            unsynced: Vec::new(),
        }
    }

    /// The process starts as `machine`, on what its disk holds.
    pub(crate) fn boot(&mut self, now: Time, machine: M) -> Vec<Left<M::Reply>> {
        assert!(self.machine.is_none(), "one process at a time");
        self.machine = Some(machine);
        self.paused = false;
        self.outbox = Outbox::new();
        let (snapshot, records) = (self.snapshot.clone(), self.synced.clone());
        self.step(now, Input::Boot(Durable { snapshot, records, torn_tail: false }))
    }

    /// The process dies; what was not synced is gone.
    pub(crate) fn crash(&mut self) {
        self.machine = None;
        self.paused = false;
        self.unsynced.clear();
    }

    pub(crate) fn wipe(&mut self) {
        self.crash();
        self.snapshot = None;
        self.synced.clear();
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.machine.as_ref().filter(|_| !self.paused).and_then(Machine::deadline)
    }

    pub(crate) fn step(&mut self, now: Time, input: Input<M>) -> Vec<Left<M::Reply>> {
        let mut left = Vec::new();
        let Some(machine) = self.machine.as_mut().filter(|_| !self.paused) else { return left };
        let mut effects = Effects::new();
        machine.step(now, input, &mut effects);
        machine.assert_invariants();
        let batch = self.outbox.drain(now, &mut effects, |released| left.extend(sort(released)));
        if let Some(batch) = batch {
            self.unsynced.push((batch.records, batch.pledge));
        }
        left
    }

    /// A message arrives.
    pub(crate) fn hear(&mut self, now: Time, from: Address, message: Message) -> Vec<Left<M::Reply>> {
        self.step(now, Input::Receive { from, message: M::hear(message) })
    }

    /// The disk catches up; what waited for it leaves.
    pub(crate) fn sync(&mut self) -> Vec<Left<M::Reply>> {
        let mut left = Vec::new();
        for (records, pledge) in self.unsynced.drain(..) {
            self.synced.extend(records);
            self.outbox.confirm(pledge.synced(), |released| left.extend(sort(released)));
        }
        left
    }

    /// Replaces the synced records by a snapshot.
    pub(crate) fn compact(&mut self) {
        if let Some(machine) = self.machine.as_ref().filter(|_| self.unsynced.is_empty()) {
            self.snapshot = Some(machine.snapshot());
            self.synced.clear();
        }
    }
}

fn sort<M: Speaks>(released: Released<M>) -> Option<Left<M::Reply>> {
    match released {
        Released::Message { to, message } => Some(Left::Message { to, message: M::say(message) }),
        Released::Reply(reply) => Some(Left::Reply(reply)),
        Released::Event { event, .. } => M::tell(event).map(Left::Event),
    }
}
