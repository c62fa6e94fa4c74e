//! The cheapest system there is: spokes that beat to a hub, which acknowledges. What it takes is the engine's own.

use crate::{Checker, InvalidKey, Layout, NodeId, NodeSet, NodeState, Start, System};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_machine::{Effects, Input, Machine, Random, Span, Time, kinds};

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Beat { seq: u64 },
    Ack { seq: u64 },
}

kinds!(Message { beat => Beat { .. }, ack => Ack { .. } });

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
pub(super) enum Event {
    Heard { seq: u64 },
}

kinds!(Event { heard => Heard { .. } });

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Node {
    Hub,
    Spoke { seq: u64, next: Time },
}

const HUB: NodeId = NodeId(0);
const PERIOD: Span = Span::from_millis(100);

impl Machine for Node {
    type Message = Message;
    type Request = ();
    type Reply = ();
    type Record = ();
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match (self, input) {
            (Self::Hub, Input::Receive { from, message: Message::Beat { seq } }) => {
                effects.event(Event::Heard { seq });
                effects.send_volatile(from, Message::Ack { seq });
            }
            (Self::Spoke { seq, next }, Input::Wake) => {
                *seq += 1;
                *next += PERIOD;
                effects.send_volatile(HUB.address(0), Message::Beat { seq: *seq });
            }
            (Self::Spoke { seq, next }, Input::Boot(_)) => *next = now + PERIOD * (*seq % 100) / 100,
            (Self::Hub, Input::Boot(_) | Input::Wake | Input::Request(()) | Input::Receive { .. })
            | (Self::Spoke { .. }, Input::Receive { .. } | Input::Request(())) => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Hub => None,
            Self::Spoke { next, .. } => Some(*next),
        }
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {}
}

#[derive(Default, Debug, Deserialize, JsonSchema)]
pub(super) struct Nothing {}

#[derive(Debug)]
pub(super) struct Floor;

impl System for Floor {
    type Node = Node;
    type View = ();
    type Ledger = ();
    type Topology = Nothing;
    type Knobs = Nothing;
    type Workload = Nothing;

    const NAME: &'static str = "floor";
    const REQUESTS: &'static [&'static str] = &[];
    const PROPERTIES: &'static [&'static str] = &[];

    fn new(_: Nothing, _: Nothing, _: Nothing) -> Result<Self, InvalidKey> {
        Ok(Self)
    }

    fn layout(&self) -> Layout {
        Layout::default()
    }

    fn boot(&self, start: &Start) -> Node {
        if start.node == HUB { Node::Hub } else { Node::Spoke { seq: u64::from(start.node.0), next: Time::ZERO } }
    }

    fn request(&self, _: NodeId, _: &str) -> Option<()> {
        None
    }

    fn view(&self, _: &Node, _: Time) {}

    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>> {
        Vec::new()
    }

    fn core(&self, nodes: &[NodeState], _: &mut Random) -> NodeSet {
        NodeSet::first(nodes.len())
    }

    fn liveness_bound(&self, _: Span, _: Span) -> Span {
        Span::ZERO
    }
}
