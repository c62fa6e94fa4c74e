//! What runs on a node: one of the nodes that are shipped, in one type, with its local clients.

use crate::replica::Replica;
use squall_coordinator::{Event, Message};
use squall_machine::{Durable, Effects, Input, Machine, Time};
use squall_node::{Bookmark, CoordinatorNode, MemberNode, MemberRequest, ObserverNode, ObserverRequest};
use std::convert::Infallible;

/// The process on a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// Decides about membership and quorums.
    Coordinator(Box<CoordinatorNode>),
    /// A replica with its local ranks.
    Replica(Box<Replica>),
    /// A worker.
    Worker(Box<MemberNode>),
    /// Only listens.
    Subscriber(Box<ObserverNode>),
}

/// What an operator asks of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// To leave by plan, and to stop.
    Leave,
    /// To train from now on.
    Train,
    /// To train no more, once the step in progress is voted on.
    Rest,
}

/// One durable record.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// Of a coordinator.
    Coordinator(squall_coordinator::Record),
    /// Of a member or a subscriber.
    Member(squall_node::Record),
}

/// All durable state at one point.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Snapshot {
    /// Of a coordinator.
    Coordinator(Box<squall_coordinator::Snapshot>),
    /// Of a member or a subscriber.
    Member(Option<Bookmark>),
}

impl From<squall_coordinator::Record> for Record {
    fn from(record: squall_coordinator::Record) -> Self {
        Self::Coordinator(record)
    }
}

impl From<squall_node::Record> for Record {
    fn from(record: squall_node::Record) -> Self {
        Self::Member(record)
    }
}

/// A part of a node, as the node drives it.
trait Part: Machine<Message = Message, Event = Event, Record: Into<Record>> {
    /// The part's own record; `None` if it is another kind's.
    fn own_record(record: Record) -> Option<Self::Record>;
    /// The part's own snapshot; `None` if it is another kind's.
    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot>;
    /// What the part is asked; `None` if it has no such request.
    fn own_request(order: Order) -> Option<Self::Request>;
}

impl Part for CoordinatorNode {
    fn own_record(record: Record) -> Option<Self::Record> {
        match record {
            Record::Coordinator(record) => Some(record),
            Record::Member(_) => None,
        }
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        match snapshot {
            Snapshot::Coordinator(snapshot) => Some(*snapshot),
            Snapshot::Member(_) => None,
        }
    }

    fn own_request(_: Order) -> Option<Self::Request> {
        None
    }
}

/// The parts that keep a bookmark, and nothing else.
macro_rules! keeps_a_bookmark {
    ($part:ty, $request:expr) => {
        impl Part for $part {
            fn own_record(record: Record) -> Option<Self::Record> {
                match record {
                    Record::Member(record) => Some(record),
                    Record::Coordinator(_) => None,
                }
            }

            fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
                match snapshot {
                    Snapshot::Member(bookmark) => Some(bookmark),
                    Snapshot::Coordinator(_) => None,
                }
            }

            fn own_request(order: Order) -> Option<Self::Request> {
                $request(order)
            }
        }
    };
}

keeps_a_bookmark!(Replica, Some);
keeps_a_bookmark!(MemberNode, |order| (order == Order::Leave).then_some(MemberRequest::Leave));
keeps_a_bookmark!(ObserverNode, |order| (order == Order::Leave).then_some(ObserverRequest::Close));

impl Node {
    /// Whether a node of this kind has such a request.
    pub(crate) const fn takes(kind: crate::NodeKind, order: Order) -> bool {
        match kind {
            crate::NodeKind::Coordinator => false,
            crate::NodeKind::Replica => true,
            crate::NodeKind::Worker | crate::NodeKind::Subscriber => matches!(order, Order::Leave),
        }
    }
}

fn drive<P: Part>(part: &mut P, now: Time, input: Input<Node>, effects: &mut Effects<Node>)
where
    Record: From<P::Record>,
{
    let input = match input {
        Input::Boot(durable) => Input::Boot(own::<P>(durable)),
        Input::Receive { from, message } => Input::Receive { from, message },
        Input::Request(order) => match P::own_request(order) {
            Some(request) => Input::Request(request),
            None => unreachable!("the system asks nobody for {order:?} who can't"),
        },
        Input::Wake => Input::Wake,
    };
    let mut inner = Effects::new();
    inner.set_wall(effects.wall());
    part.step(now, input, &mut inner);
    effects.take_over(&mut inner, |_, _| {});
}

fn own<P: Part>(durable: Durable<Node>) -> Durable<P> {
    let foreign = "a disk holds the records of one kind of node";
    Durable {
        snapshot: durable.snapshot.map(|snapshot| P::own_snapshot(snapshot).expect(foreign)),
        records: durable.records.into_iter().map(|record| P::own_record(record).expect(foreign)).collect(),
        torn_tail: durable.torn_tail,
    }
}

impl Machine for Node {
    type Message = Message;
    type Request = Order;
    type Reply = Infallible;
    type Record = Record;
    type Snapshot = Snapshot;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match self {
            Self::Coordinator(part) => drive(&mut **part, now, input, effects),
            Self::Replica(part) => drive(&mut **part, now, input, effects),
            Self::Worker(part) => drive(&mut **part, now, input, effects),
            Self::Subscriber(part) => drive(&mut **part, now, input, effects),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Coordinator(part) => part.deadline(),
            Self::Replica(part) => part.deadline(),
            Self::Worker(part) => part.deadline(),
            Self::Subscriber(part) => part.deadline(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        match self {
            Self::Coordinator(part) => Snapshot::Coordinator(Box::new(part.snapshot())),
            Self::Replica(part) => Snapshot::Member(part.snapshot()),
            Self::Worker(part) => Snapshot::Member(part.snapshot()),
            Self::Subscriber(part) => Snapshot::Member(part.snapshot()),
        }
    }

    fn assert_invariants(&self) {
        match self {
            Self::Coordinator(part) => part.assert_invariants(),
            Self::Replica(part) => part.assert_invariants(),
            Self::Worker(part) => part.assert_invariants(),
            Self::Subscriber(part) => part.assert_invariants(),
        }
    }
}
