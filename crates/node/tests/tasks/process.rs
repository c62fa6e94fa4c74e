//! One process: a machine, its outbox, its disk.

use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Pledge, Released, Time};
use squall_node::{
    CoordinatorNode, CoordinatorNodeEvent, CoordinatorNodeMessage, WorkerNode, WorkerNodeEvent, WorkerNodeMessage,
};
use squall_scheduler::{Event, Message, Store, StoreEvent, StoreMessage, TaskClient};

/// Whatever travels.
pub(crate) type Wire = WorkerNodeMessage;

/// What left a process.
pub(crate) enum Left<R> {
    Message {
        to: Address,
        message: Wire,
    },
    Reply(R),
    /// It told of tasks.
    Told(Box<Event>),
    /// It told of something else.
    Untold,
}

/// A machine that takes part.
pub(crate) trait Speaks: Machine {
    fn hear(message: Wire) -> Self::Message;
    fn say(message: Self::Message) -> Wire;
    fn tell(event: Self::Event) -> Option<Event>;
}

impl Speaks for CoordinatorNode {
    fn hear(message: Wire) -> CoordinatorNodeMessage {
        match message {
            Wire::Member(message) => CoordinatorNodeMessage::Coordinator(message),
            Wire::Task(message) => CoordinatorNodeMessage::Scheduler(message),
            Wire::Store(message) => panic!("not for a coordinator: {message:?}"),
        }
    }

    fn say(message: CoordinatorNodeMessage) -> Wire {
        match message {
            CoordinatorNodeMessage::Coordinator(message) => Wire::Member(message),
            CoordinatorNodeMessage::Scheduler(message) => Wire::Task(message),
        }
    }

    fn tell(event: CoordinatorNodeEvent) -> Option<Event> {
        match event {
            CoordinatorNodeEvent::Coordinator(_) => None,
            CoordinatorNodeEvent::Scheduler(event) => Some(event),
        }
    }
}

impl Speaks for WorkerNode {
    fn hear(message: Wire) -> Wire {
        message
    }

    fn say(message: Wire) -> Wire {
        message
    }

    fn tell(event: WorkerNodeEvent) -> Option<Event> {
        match event {
            WorkerNodeEvent::Member(_) => None,
            WorkerNodeEvent::Task(event) => Some(event),
        }
    }
}

impl Speaks for Store {
    fn hear(message: Wire) -> StoreMessage {
        let Wire::Store(message) = message else { panic!("not for a store: {message:?}") };
        message
    }

    fn say(message: StoreMessage) -> Wire {
        Wire::Store(message)
    }

    fn tell(_: StoreEvent) -> Option<Event> {
        None
    }
}

impl Speaks for TaskClient {
    fn hear(message: Wire) -> Message {
        let Wire::Task(message) = message else { panic!("not for a client: {message:?}") };
        message
    }

    fn say(message: Message) -> Wire {
        Wire::Task(message)
    }

    fn tell(event: Event) -> Option<Event> {
        Some(event)
    }
}

pub(crate) struct Process<M: Machine> {
    machine: Option<M>,
    outbox: Outbox<M>,
    synced: Vec<M::Record>,
    unsynced: Vec<(Vec<M::Record>, Pledge)>,
}

impl<M: Speaks> Process<M> {
    pub(crate) fn new() -> Self {
        Self { machine: None, outbox: Outbox::new(), synced: Vec::new(), unsynced: Vec::new() }
    }

    /// The process starts as `machine`, on what its disk holds.
    pub(crate) fn boot(&mut self, now: Time, machine: M) -> Vec<Left<M::Reply>> {
        assert!(self.machine.is_none(), "one process at a time");
        self.machine = Some(machine);
        self.outbox = Outbox::new();
        let records = self.synced.clone();
        self.step(now, Input::Boot(Durable { snapshot: None, records, torn_tail: false }))
    }

    /// The process dies; what was not synced is gone.
    pub(crate) fn crash(&mut self) {
        self.machine = None;
        self.unsynced.clear();
    }

    pub(crate) fn step(&mut self, now: Time, input: Input<M>) -> Vec<Left<M::Reply>> {
        let mut left = Vec::new();
        let Some(machine) = &mut self.machine else { return left };
        let mut effects = Effects::new();
        machine.step(now, input, &mut effects);
        machine.assert_invariants();
        let batch = self.outbox.drain(now, &mut effects, |released| left.push(sort(released)));
        if let Some(batch) = batch {
            self.unsynced.push((batch.records, batch.pledge));
        }
        left
    }

    /// A message arrives.
    pub(crate) fn hear(&mut self, now: Time, from: Address, message: Wire) -> Vec<Left<M::Reply>> {
        self.step(now, Input::Receive { from, message: M::hear(message) })
    }

    /// The clock has reached the machine's deadline, if it has.
    pub(crate) fn wake(&mut self, now: Time) -> Vec<Left<M::Reply>> {
        let due = self.machine.as_ref().and_then(Machine::deadline).is_some_and(|due| due <= now);
        if due { self.step(now, Input::Wake) } else { Vec::new() }
    }

    /// The disk catches up; what waited for it leaves.
    pub(crate) fn sync(&mut self) -> Vec<Left<M::Reply>> {
        let mut left = Vec::new();
        for (records, pledge) in self.unsynced.drain(..) {
            self.synced.extend(records);
            self.outbox.confirm(pledge.synced(), |released| left.push(sort(released)));
        }
        left
    }
}

fn sort<M: Speaks>(released: Released<M>) -> Left<M::Reply> {
    match released {
        Released::Message { to, message } => Left::Message { to, message: M::say(message) },
        Released::Reply(reply) => Left::Reply(reply),
        Released::Event { event, .. } => M::tell(event).map_or(Left::Untold, |event| Left::Told(Box::new(event))),
    }
}
