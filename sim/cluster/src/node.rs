//! What runs on a node.

use squall_coordinator::{Event, Message};
use squall_machine::{Effects, Input, Machine, Time};

/// The process on a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// Says nothing.
    Silent,
}

impl Machine for Node {
    type Message = Message;
    type Request = ();
    type Reply = ();
    type Record = ();
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, _: Time, _: Input<Self>, _: &mut Effects<Self>) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {}
}
