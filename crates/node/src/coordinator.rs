//! The coordinator node.

use alloc::sync::Arc;
use squall_coordinator::{Coordinator, Event, Knobs, Message, Never, Record, Snapshot};
use squall_machine::{Effects, Input, Machine, Time};

/// The process that decides who is a member and who works together.
///
/// Whatever else runs in that process is composed here, and asks [`coordinator`](CoordinatorNode::coordinator) who is alive:
/// there is one liveness, and no second opinion about it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CoordinatorNode {
    coordinator: Coordinator,
}

impl CoordinatorNode {
    /// A coordinator that has not booted.
    #[must_use]
    pub fn new(knobs: Arc<Knobs>) -> Self {
        Self { coordinator: Coordinator::new(knobs) }
    }

    /// The core that knows who is alive.
    #[must_use]
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }
}

impl Machine for CoordinatorNode {
    type Message = Message;
    type Request = Never;
    type Reply = Never;
    type Record = Record;
    type Snapshot = Snapshot;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        let input = match input {
            Input::Boot(durable) => Input::Boot(squall_machine::Durable {
                snapshot: durable.snapshot,
                records: durable.records,
                torn_tail: durable.torn_tail,
            }),
            Input::Receive { from, message } => Input::Receive { from, message },
            Input::Request(never) => match never {},
            Input::Wake => Input::Wake,
        };
        let mut part = Effects::new();
        part.set_wall(effects.wall());
        self.coordinator.step(now, input, &mut part);
        effects.take_over(&mut part, |never, _| match never {});
    }

    fn deadline(&self) -> Option<Time> {
        self.coordinator.deadline()
    }

    fn snapshot(&self) -> Snapshot {
        self.coordinator.snapshot()
    }

    fn assert_invariants(&self) {
        self.coordinator.assert_invariants();
    }
}
