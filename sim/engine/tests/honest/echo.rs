//! The smallest system that has everything: nodes that beat to each other, count what they hear, and remember it on disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall::{
    Budget, Clocks, DiskQuality, Fault, Layout, Limits, NodeId, NodeSet, NodeState, Plan, Quality, Start, System,
};
use squall_machine::{Address, Effects, Input, Machine, Random, Span, Time, kinds};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Beat { seq: u64, wall: i64 },
}

kinds!(Message { beat => Beat { .. } });

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Booted { remembered: u64, torn: bool },
    Heard { from: u64, seq: u64 },
    Beaten { seq: u64 },
    Asked {},
}

kinds!(Event { booted => Booted { .. }, heard => Heard { .. }, beaten => Beaten { .. }, asked => Asked {} });

/// Beats to everybody every 100 ms; records every tenth beat before it tells of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node {
    pub(crate) me: NodeId,
    pub(crate) peers: u32,
    pub(crate) seq: u64,
    pub(crate) next: Time,
    pub(crate) panics_at: Option<u64>,
    pub(crate) aborts_at: Option<u64>,
}

/// How long it takes until a process that ended itself is started again.
pub(crate) const ABORTED: Span = Span::from_secs(2);

impl Machine for Node {
    type Message = Message;
    type Request = ();
    type Reply = ();
    type Record = u64;
    type Snapshot = u64;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                let remembered = durable.records.last().copied().or(durable.snapshot).unwrap_or(0);
                self.seq = remembered;
                self.next = now;
                effects.event(Event::Booted { remembered, torn: durable.torn_tail });
            }
            Input::Receive { from, message: Message::Beat { seq, .. } } => {
                effects.event(Event::Heard { from: from.0, seq });
            }
            Input::Request(()) => effects.event(Event::Asked {}),
            Input::Wake => {
                assert!(self.panics_at != Some(self.seq), "told to panic at {}", self.seq);
                self.seq += 1;
                self.next = now + Span::from_millis(100);
                if self.seq.is_multiple_of(10) {
                    effects.record(self.seq);
                }
                effects.event(Event::Beaten { seq: self.seq });
                for peer in (0..self.peers).map(NodeId).filter(|&peer| peer != self.me) {
                    effects.send(peer.address(0), Message::Beat { seq: self.seq, wall: effects.wall().0 });
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next)
    }

    fn snapshot(&self) -> u64 {
        self.seq / 10 * 10
    }

    fn assert_invariants(&self) {
        assert!(self.peers > 0, "a node is its own peer at least");
    }
}

#[derive(Default, Debug, Deserialize, JsonSchema)]
pub(crate) struct Empty {}

#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) nodes: u32,
    pub(crate) panics_at: Option<u64>,
    /// How many of the last nodes are outside the core.
    pub(crate) frozen: usize,
    /// The beat with which the first process of the first node ends itself.
    pub(crate) aborts_at: Option<u64>,
}

impl System for Echo {
    type Node = Node;
    type View = u64;
    type Ledger = ();
    type Topology = Empty;
    type Knobs = Empty;
    type Workload = Empty;

    const NAME: &'static str = "echo";
    const REQUESTS: &'static [&'static str] = &["ask"];
    const PROPERTIES: &'static [&'static str] = &[];

    fn new(_: Empty, _: Empty, _: Empty) -> Result<Self, squall::InvalidKey> {
        Ok(Self { nodes: 3, panics_at: None, frozen: 0, aborts_at: None })
    }

    fn layout(&self) -> Layout {
        Layout { nodes: (0..self.nodes).map(|node| format!("n{node}")).collect(), groups: BTreeMap::new() }
    }

    fn boot(&self, start: &Start) -> Node {
        let aborts_at = self.aborts_at.filter(|_| start.node == NodeId(0) && start.life == 1);
        let (me, panics_at) = (start.node, self.panics_at);
        Node { me, peers: self.nodes, seq: 0, next: Time::ZERO, panics_at, aborts_at }
    }

    fn aborted(&self, node: &Node) -> Option<Span> {
        node.aborts_at.filter(|at| node.seq >= *at).map(|_| ABORTED)
    }

    fn request(&self, _: NodeId, _: &str) -> Option<()> {
        Some(())
    }

    fn view(&self, node: &Node, _: Time) -> u64 {
        node.seq
    }

    fn checkers(&self) -> Vec<Box<dyn squall::Checker<Self>>> {
        Vec::new()
    }

    fn core(&self, nodes: &[NodeState], _: &mut Random) -> NodeSet {
        NodeSet::first(nodes.len() - self.frozen)
    }

    fn liveness_bound(&self, _: Span, _: Span) -> Span {
        Span::from_secs(5)
    }
}

/// A plan of ten seconds with these faults.
pub(crate) fn plan(system: &Echo, faults: Vec<Fault>) -> Plan {
    Plan {
        nodes: system.layout().nodes,
        groups: BTreeMap::new(),
        warm_up: Span::ZERO,
        horizon: Span::from_secs(10),
        stabilise: false,
        network: Quality::default(),
        disk: DiskQuality::default(),
        clocks: Clocks::default(),
        absent: NodeSet::default(),
        faults,
        hazards: Vec::new(),
        budget: Budget::default(),
        limits: Limits::default(),
    }
}

/// Whose address this is.
pub(crate) fn owner(address: u64) -> NodeId {
    NodeId::of_address(Address(address)).0
}
