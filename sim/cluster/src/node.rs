//! What runs on a node: one of the nodes that are shipped, in one type, with its local clients.

use crate::audience::{Audience, ListenerEvent};
use crate::published::Published;
use crate::replica::Replica;
use crate::runner::Runner;
use crate::submitter::Submitter;
use serde::{Deserialize, Serialize};
use squall_machine::{Durable, Effects, Input, Machine, Time, kinds_of_parts};
use squall_node::{
    Bookmark, CoordinatorNode, CoordinatorNodeEvent, CoordinatorNodeMessage, CoordinatorNodeRecord,
    CoordinatorNodeSnapshot, CoordinatorRequest, MemberNode, MemberRequest, ObserverNode, ObserverRequest,
    PeerNodeEvent, PeerNodeMessage, WorkerNodeEvent, WorkerNodeMessage,
};
use squall_recovery::PeerRequest;
use squall_scheduler::{BreakerStage, Store, StoreEvent, StoreMessage, StoreRecord, StoreSnapshot};
use std::convert::Infallible;

/// The process on a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// Decides about membership and quorums.
    Coordinator(Box<CoordinatorNode>),
    /// A replica with its local ranks.
    Replica(Box<Replica>),
    /// A worker that only stays a member, where there are no tasks.
    Worker(Box<MemberNode>),
    /// A worker that runs tasks.
    Runner(Box<Runner>),
    /// Where checkpoints are stored.
    Store(Box<Store>),
    /// Submits tasks.
    Client(Box<Submitter>),
    /// Only listens.
    Subscriber(Box<ObserverNode>),
    /// A replica where the peers decide about membership.
    Peer(Box<Audience>),
    /// The same by the published protocol.
    Published(Box<Published>),
}

/// Everything that travels between the nodes of a cluster. In one cluster there is one authority: the coordinator, or the peers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Between members or subscribers and the coordinator.
    Coordinator(squall_coordinator::Message),
    /// Between peers.
    Peer(PeerNodeMessage),
    /// Between clients or workers and the scheduler.
    Task(squall_scheduler::Message),
    /// Between workers and the checkpoint store.
    Store(StoreMessage),
}

/// What the nodes of a cluster tell the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// Of coordinator, members and subscribers.
    Coordinator(squall_coordinator::Event),
    /// Of peers.
    Peer(PeerNodeEvent),
    /// Of scheduler, workers and clients.
    Task(squall_scheduler::Event),
    /// Of checkpoint stores.
    Store(StoreEvent),
    /// Of the local subscribers of peers.
    Listener(ListenerEvent),
}

// Messages and events are moved from hand to hand in every step, and what is larger than 128 bytes with its envelope is copied by
// a call. What is large and rare is boxed in its part.
const _: () = assert!(size_of::<Message>() <= 72 && size_of::<Event>() <= 120);

kinds_of_parts!(Message {
    Coordinator(squall_coordinator::Message),
    Peer(PeerNodeMessage),
    Task(squall_scheduler::Message),
    Store(StoreMessage),
});
kinds_of_parts!(Event {
    Coordinator(squall_coordinator::Event),
    Peer(PeerNodeEvent),
    Task(squall_scheduler::Event),
    Store(StoreEvent),
    Listener(ListenerEvent),
});

impl From<CoordinatorNodeMessage> for Message {
    fn from(message: CoordinatorNodeMessage) -> Self {
        match message {
            CoordinatorNodeMessage::Coordinator(message) => Self::Coordinator(message),
            CoordinatorNodeMessage::Scheduler(message) => Self::Task(message),
        }
    }
}

impl From<CoordinatorNodeEvent> for Event {
    fn from(event: CoordinatorNodeEvent) -> Self {
        match event {
            CoordinatorNodeEvent::Coordinator(event) => Self::Coordinator(event),
            CoordinatorNodeEvent::Scheduler(event) => Self::Task(event),
        }
    }
}

impl From<WorkerNodeMessage> for Message {
    fn from(message: WorkerNodeMessage) -> Self {
        match message {
            WorkerNodeMessage::Member(message) => Self::Coordinator(message),
            WorkerNodeMessage::Task(message) => Self::Task(message),
            WorkerNodeMessage::Store(message) => Self::Store(message),
        }
    }
}

impl From<WorkerNodeEvent> for Event {
    fn from(event: WorkerNodeEvent) -> Self {
        match event {
            WorkerNodeEvent::Member(event) => Self::Coordinator(event),
            WorkerNodeEvent::Task(event) => Self::Task(event),
        }
    }
}

impl From<StoreMessage> for Message {
    fn from(message: StoreMessage) -> Self {
        Self::Store(message)
    }
}

impl From<StoreEvent> for Event {
    fn from(event: StoreEvent) -> Self {
        Self::Store(event)
    }
}

impl From<squall_scheduler::Message> for Message {
    fn from(message: squall_scheduler::Message) -> Self {
        Self::Task(message)
    }
}

impl From<squall_scheduler::Event> for Event {
    fn from(event: squall_scheduler::Event) -> Self {
        Self::Task(event)
    }
}

impl From<squall_coordinator::Message> for Message {
    fn from(message: squall_coordinator::Message) -> Self {
        Self::Coordinator(message)
    }
}

impl From<PeerNodeMessage> for Message {
    fn from(message: PeerNodeMessage) -> Self {
        Self::Peer(message)
    }
}

impl From<squall_coordinator::Event> for Event {
    fn from(event: squall_coordinator::Event) -> Self {
        Self::Coordinator(event)
    }
}

impl From<squall_recovery::Message> for Message {
    fn from(message: squall_recovery::Message) -> Self {
        Self::Peer(message.into())
    }
}

impl From<squall_recovery::Event> for Event {
    fn from(event: squall_recovery::Event) -> Self {
        Self::Peer(event.into())
    }
}

impl From<PeerNodeEvent> for Event {
    fn from(event: PeerNodeEvent) -> Self {
        Self::Peer(event)
    }
}

impl From<ListenerEvent> for Event {
    fn from(event: ListenerEvent) -> Self {
        Self::Listener(event)
    }
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
    /// To agree and rebuild now, under the manual policy; of a worker, to be sick no more.
    Recover,
    /// To fail tasks as the workload says of sick workers.
    Sicken,
    /// To submit nothing new.
    Quiet,
    /// To move one running task, the one that was assigned first, to another worker.
    Migrate,
    /// To close every breaker.
    ResetBreakers,
}

/// One durable record.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// Of a coordinator.
    Coordinator(CoordinatorNodeRecord),
    /// Of a member or a subscriber.
    Member(squall_node::Record),
    /// Of a checkpoint store.
    Store(StoreRecord),
}

/// All durable state at one point.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Snapshot {
    /// Of a coordinator.
    Coordinator(Box<CoordinatorNodeSnapshot>),
    /// Of a member or a subscriber.
    Member(Option<Bookmark>),
    /// Of a checkpoint store.
    Store(Box<StoreSnapshot>),
    /// Of a peer or a client: it keeps nothing.
    Nothing,
}

impl From<CoordinatorNodeRecord> for Record {
    fn from(record: CoordinatorNodeRecord) -> Self {
        Self::Coordinator(record)
    }
}

impl From<squall_node::Record> for Record {
    fn from(record: squall_node::Record) -> Self {
        Self::Member(record)
    }
}

impl From<StoreRecord> for Record {
    fn from(record: StoreRecord) -> Self {
        Self::Store(record)
    }
}

impl From<Infallible> for Record {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A part of a node, as the node drives it.
trait Part: Machine<Message: Into<Message>, Event: Into<Event>, Record: Into<Record>> {
    /// The part's own message; `None` if it is another authority's.
    fn own_message(message: Message) -> Option<Self::Message>;
    /// The part's own record; `None` if it is another kind's.
    fn own_record(record: Record) -> Option<Self::Record>;
    /// The part's own snapshot; `None` if it is another kind's.
    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot>;
    /// What the part is asked; `None` if it has no such request.
    fn own_request(order: Order) -> Option<Self::Request>;
}

impl Part for CoordinatorNode {
    fn own_message(message: Message) -> Option<Self::Message> {
        match message {
            Message::Coordinator(message) => Some(message.into()),
            Message::Task(message) => Some(message.into()),
            Message::Peer(_) | Message::Store(_) => None,
        }
    }

    fn own_record(record: Record) -> Option<Self::Record> {
        match record {
            Record::Coordinator(record) => Some(record),
            Record::Member(_) | Record::Store(_) => None,
        }
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        match snapshot {
            Snapshot::Coordinator(snapshot) => Some(*snapshot),
            Snapshot::Member(_) | Snapshot::Store(_) | Snapshot::Nothing => None,
        }
    }

    fn own_request(_: Order) -> Option<Self::Request> {
        None
    }
}

/// The parts that keep a bookmark, and nothing else.
macro_rules! keeps_a_bookmark {
    ($part:ty, $message:expr, $request:expr) => {
        impl Part for $part {
            fn own_message(message: Message) -> Option<Self::Message> {
                $message(message)
            }

            fn own_record(record: Record) -> Option<Self::Record> {
                match record {
                    Record::Member(record) => Some(record),
                    Record::Coordinator(_) | Record::Store(_) => None,
                }
            }

            fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
                match snapshot {
                    Snapshot::Member(bookmark) => Some(bookmark),
                    Snapshot::Coordinator(_) | Snapshot::Store(_) | Snapshot::Nothing => None,
                }
            }

            fn own_request(order: Order) -> Option<Self::Request> {
                $request(order)
            }
        }
    };
}

keeps_a_bookmark!(Replica, Message::of_coordinator, Some);
keeps_a_bookmark!(Runner, Message::of_worker, Some);
keeps_a_bookmark!(MemberNode, Message::of_coordinator, |order| (order == Order::Leave).then_some(MemberRequest::Leave));
keeps_a_bookmark!(ObserverNode, Message::of_coordinator, |order| {
    (order == Order::Leave).then_some(ObserverRequest::Close)
});

impl Part for Audience {
    fn own_message(message: Message) -> Option<Self::Message> {
        match message {
            Message::Peer(message) => Some(message),
            Message::Coordinator(_) | Message::Task(_) | Message::Store(_) => None,
        }
    }

    fn own_record(_: Record) -> Option<Self::Record> {
        None
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        matches!(snapshot, Snapshot::Nothing).then_some(())
    }

    fn own_request(order: Order) -> Option<Self::Request> {
        Some(order)
    }
}

impl Part for Published {
    fn own_message(message: Message) -> Option<Self::Message> {
        match message {
            Message::Peer(PeerNodeMessage::Recovery(message)) => Some(message),
            Message::Peer(PeerNodeMessage::Work(_))
            | Message::Coordinator(_)
            | Message::Task(_)
            | Message::Store(_) => None,
        }
    }

    fn own_record(_: Record) -> Option<Self::Record> {
        None
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        matches!(snapshot, Snapshot::Nothing).then_some(())
    }

    fn own_request(order: Order) -> Option<Self::Request> {
        (order == Order::Recover).then_some(PeerRequest::Recover)
    }
}

impl Message {
    fn of_coordinator(self) -> Option<squall_coordinator::Message> {
        match self {
            Self::Coordinator(message) => Some(message),
            Self::Peer(_) | Self::Task(_) | Self::Store(_) => None,
        }
    }

    fn of_worker(self) -> Option<WorkerNodeMessage> {
        match self {
            Self::Coordinator(message) => Some(WorkerNodeMessage::Member(message)),
            Self::Task(message) => Some(WorkerNodeMessage::Task(message)),
            Self::Store(message) => Some(WorkerNodeMessage::Store(message)),
            Self::Peer(_) => None,
        }
    }
}

impl Part for Store {
    fn own_message(message: Message) -> Option<Self::Message> {
        match message {
            Message::Store(message) => Some(message),
            Message::Coordinator(_) | Message::Peer(_) | Message::Task(_) => None,
        }
    }

    fn own_record(record: Record) -> Option<Self::Record> {
        match record {
            Record::Store(record) => Some(record),
            Record::Coordinator(_) | Record::Member(_) => None,
        }
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        match snapshot {
            Snapshot::Store(snapshot) => Some(*snapshot),
            Snapshot::Coordinator(_) | Snapshot::Member(_) | Snapshot::Nothing => None,
        }
    }

    fn own_request(_: Order) -> Option<Self::Request> {
        None
    }
}

impl Part for Submitter {
    fn own_message(message: Message) -> Option<Self::Message> {
        match message {
            Message::Task(message) => Some(message),
            Message::Coordinator(_) | Message::Peer(_) | Message::Store(_) => None,
        }
    }

    fn own_record(_: Record) -> Option<Self::Record> {
        None
    }

    fn own_snapshot(snapshot: Snapshot) -> Option<Self::Snapshot> {
        matches!(snapshot, Snapshot::Nothing).then_some(())
    }

    fn own_request(order: Order) -> Option<Self::Request> {
        Some(order)
    }
}

impl Node {
    /// Whether a node of this kind has such a request, in a cluster with or without tasks.
    pub(crate) const fn takes(kind: crate::NodeKind, order: Order, tasks: bool) -> bool {
        match kind {
            crate::NodeKind::Coordinator => tasks && matches!(order, Order::Migrate | Order::ResetBreakers),
            crate::NodeKind::Replica => matches!(order, Order::Leave | Order::Train | Order::Rest),
            crate::NodeKind::Peer => matches!(order, Order::Recover),
            crate::NodeKind::Worker if tasks => {
                matches!(order, Order::Leave | Order::Sicken | Order::Recover | Order::Quiet)
            }
            crate::NodeKind::Worker | crate::NodeKind::Subscriber => matches!(order, Order::Leave),
            crate::NodeKind::Store => false,
            crate::NodeKind::Client => matches!(order, Order::Quiet),
        }
    }

    fn drive(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match self {
            Self::Coordinator(part) => drive(&mut **part, now, input, effects),
            Self::Replica(part) => drive(&mut **part, now, input, effects),
            Self::Worker(part) => drive(&mut **part, now, input, effects),
            Self::Runner(part) => drive(&mut **part, now, input, effects),
            Self::Store(part) => drive(&mut **part, now, input, effects),
            Self::Client(part) => drive(&mut **part, now, input, effects),
            Self::Subscriber(part) => drive(&mut **part, now, input, effects),
            Self::Peer(part) => drive(&mut **part, now, input, effects),
            Self::Published(part) => drive(&mut **part, now, input, effects),
        }
    }

    /// Whether the process has ended itself.
    pub(crate) fn dead(&self) -> bool {
        match self {
            Self::Runner(runner) => runner.dead(),
            Self::Coordinator(_)
            | Self::Replica(_)
            | Self::Worker(_)
            | Self::Subscriber(_)
            | Self::Peer(_)
            | Self::Published(_)
            | Self::Store(_)
            | Self::Client(_) => false,
        }
    }
}

fn drive<P: Part>(part: &mut P, now: Time, input: Input<Node>, effects: &mut Effects<Node>)
where
    Record: From<P::Record>,
    Message: From<P::Message>,
    Event: From<P::Event>,
{
    let input = match input {
        Input::Boot(durable) => Input::Boot(own::<P>(durable)),
        Input::Receive { from, message } => match P::own_message(message) {
            Some(message) => Input::Receive { from, message },
            None => unreachable!("a cluster has one authority"),
        },
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

/// An operator asks a coordinator. Whom that concerns is seen at the moment of the request.
fn operate(part: &mut CoordinatorNode, now: Time, order: Order, effects: &mut Effects<Node>) {
    let status = part.scheduler().status(now);
    let requests: Vec<CoordinatorRequest> = match order {
        Order::Migrate => {
            let running = status.open.iter().filter_map(|task| task.lease.map(|(attempt, _)| (attempt, &task.task)));
            running.min().map(|(_, task)| CoordinatorRequest::Migrate { task: task.clone() }).into_iter().collect()
        }
        Order::ResetBreakers => {
            let open = status.breakers.iter().filter(|breaker| !matches!(breaker.stage, BreakerStage::Closed));
            open.map(|breaker| CoordinatorRequest::ResetBreaker { key: breaker.key.clone() }).collect()
        }
        Order::Leave | Order::Train | Order::Rest | Order::Recover | Order::Sicken | Order::Quiet => {
            unreachable!("the system asks no coordinator for {order:?}")
        }
    };
    for request in requests {
        let mut inner = Effects::new();
        inner.set_wall(effects.wall());
        part.step(now, Input::Request(request), &mut inner);
        effects.take_over(&mut inner, |never, _| match never {});
    }
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
        match (self, input) {
            (Self::Coordinator(part), Input::Request(order)) => operate(part, now, order, effects),
            (node, input) => node.drive(now, input, effects),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Coordinator(part) => part.deadline(),
            Self::Replica(part) => part.deadline(),
            Self::Worker(part) => part.deadline(),
            Self::Runner(part) => part.deadline(),
            Self::Store(part) => part.deadline(),
            Self::Client(part) => part.deadline(),
            Self::Subscriber(part) => part.deadline(),
            Self::Peer(part) => part.deadline(),
            Self::Published(part) => part.deadline(),
        }
    }

    fn snapshot(&self) -> Snapshot {
        match self {
            Self::Coordinator(part) => Snapshot::Coordinator(Box::new(part.snapshot())),
            Self::Replica(part) => Snapshot::Member(part.snapshot()),
            Self::Worker(part) => Snapshot::Member(part.snapshot()),
            Self::Runner(part) => Snapshot::Member(part.snapshot()),
            Self::Store(part) => Snapshot::Store(Box::new(part.snapshot())),
            Self::Subscriber(part) => Snapshot::Member(part.snapshot()),
            Self::Peer(_) | Self::Published(_) | Self::Client(_) => Snapshot::Nothing,
        }
    }

    fn assert_invariants(&self) {
        match self {
            Self::Coordinator(part) => part.assert_invariants(),
            Self::Replica(part) => part.assert_invariants(),
            Self::Worker(part) => part.assert_invariants(),
            Self::Runner(part) => part.assert_invariants(),
            Self::Store(part) => part.assert_invariants(),
            Self::Client(part) => part.assert_invariants(),
            Self::Subscriber(part) => part.assert_invariants(),
            Self::Peer(part) => part.assert_invariants(),
            Self::Published(part) => part.assert_invariants(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Kind;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for names in [Message::NAMES, Event::NAMES] {
            let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
    }
}
