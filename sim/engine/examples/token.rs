//! A protocol of one's own under the engine: a token that travels round a ring, and the one property that matters.
//!
//! `cargo run -p squall --example token -- run FILE` runs scenario files such as
//! ```toml
//! title = "a token maker that is too hasty"
//! knobs.remake = "300ms"
//! network.delay = "1ms..200ms"
//! expect.violates = "ME1"
//! ```
//! and `.. -- explore FILE` searches everything that one with a table `[explore]` can come to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall::scenario::Duration;
use squall::{
    Breach, Checker, Entry, EntryId, Fact, Findings, Interest, InvalidKey, Layout, Ledger, NodeId, NodeSet, NodeState,
    Scene, Start, System, Told, Truth,
};
use squall_machine::{Effects, Input, Machine, Random, Span, Time, kinds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn main() -> std::process::ExitCode {
    squall::cli::main::<Ring>()
}

/// How long a node holds the token.
const HOLD: Span = Span::from_millis(50);

/// The token travels.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Take it.
    Pass {
        /// One more each time.
        number: u64,
    },
}

kinds!(Message { pass => Pass { .. } });

/// What nodes tell the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It has the token from now on.
    Held {
        /// The token's number.
        number: u64,
    },
    /// It gave the token away.
    Passed {
        /// The token's number.
        number: u64,
    },
    /// The first node takes the token for lost, and makes another.
    Remade {},
    /// An older token than the last one came, and was thrown away.
    Ignored {
        /// Its number.
        number: u64,
    },
}

kinds!(Event { held => Held { .. }, passed => Passed { .. }, remade => Remade {}, ignored => Ignored { .. } });

/// One node of the ring.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node {
    me: u32,
    nodes: u32,
    /// After how long of silence the first node makes another token.
    remake: Option<Span>,
    /// The number of the newest token that was here.
    newest: u64,
    /// When the token goes on, while it is here.
    until: Option<Time>,
    /// When the token was here last.
    seen: Time,
}

impl Node {
    fn hold(&mut self, now: Time, number: u64, effects: &mut Effects<Self>) {
        (self.newest, self.until, self.seen) = (number, Some(now + HOLD), now);
        effects.event(Event::Held { number });
    }

    /// When the first node loses patience.
    fn patience(&self) -> Option<Time> {
        let waits = self.me == 0 && self.until.is_none();
        self.remake.filter(|_| waits).map(|remake| self.seen + remake)
    }
}

impl Machine for Node {
    type Message = Message;
    type Request = ();
    type Reply = ();
    type Record = ();
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(_) => {
                self.seen = now;
                if self.me == 0 {
                    self.hold(now, 1, effects);
                }
            }
            Input::Receive { message: Message::Pass { number }, .. } => {
                if number <= self.newest {
                    effects.event(Event::Ignored { number });
                } else {
                    self.hold(now, number, effects);
                }
            }
            Input::Request(()) => {}
            Input::Wake => {
                if self.until.is_some_and(|until| until <= now) {
                    self.until = None;
                    effects.event(Event::Passed { number: self.newest });
                    let next = NodeId((self.me + 1) % self.nodes);
                    effects.send(next.address(0), Message::Pass { number: self.newest + 1 });
                } else if self.patience().is_some_and(|patience| patience <= now) {
                    effects.event(Event::Remade {});
                    self.hold(now, self.newest + u64::from(self.nodes), effects);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.until.or(self.patience())
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        assert!(self.me < self.nodes, "a node is one of the ring");
    }
}

/// `[topology]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Topology {
    /// How many nodes the ring has. Default 3.
    pub(crate) nodes: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { nodes: 3 }
    }
}

/// `[knobs]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Knobs {
    /// After how long of silence the first node makes another token. Never by default.
    pub(crate) remake: Option<Duration>,
}

/// `[workload]`: nobody asks for anything.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {}

/// A ring of nodes.
#[derive(Debug)]
pub(crate) struct Ring {
    nodes: u32,
    remake: Option<Span>,
}

impl System for Ring {
    type Node = Node;
    type View = u64;
    type Ledger = Holders;
    type Topology = Topology;
    type Knobs = Knobs;
    type Workload = Workload;

    const NAME: &'static str = "ring";
    const REQUESTS: &'static [&'static str] = &["drain", "look"];
    const PROPERTIES: &'static [&'static str] = &["ME1"];

    fn new(topology: Topology, knobs: Knobs, _: Workload) -> Result<Self, InvalidKey> {
        if !(2..=100).contains(&topology.nodes) {
            return Err(InvalidKey::new(&["topology", "nodes"], "a ring has 2 to 100 nodes").hint("nodes = 3"));
        }
        Ok(Self { nodes: topology.nodes, remake: knobs.remake.map(|remake| remake.0) })
    }

    fn layout(&self) -> Layout {
        let nodes = (0..self.nodes).map(|node| format!("n{node}")).collect();
        let others = (1..self.nodes).map(NodeId).collect();
        Layout { nodes, groups: BTreeMap::from([("others".to_owned(), others)]) }
    }

    fn boot(&self, start: &Start) -> Node {
        let (nodes, remake) = (self.nodes, self.remake);
        Node { me: start.node.0, nodes, remake, newest: 0, until: None, seen: Time::ZERO }
    }

    fn request(&self, _: NodeId, _: &str) -> Option<()> {
        Some(())
    }

    fn view(&self, node: &Node, _: Time) -> u64 {
        node.newest
    }

    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>> {
        vec![Box::new(OneHolder::default())]
    }

    fn core(&self, nodes: &[NodeState], _: &mut Random) -> NodeSet {
        NodeSet::first(nodes.len())
    }

    fn liveness_bound(&self, _: Span, _: Span) -> Span {
        Span::from_secs(1)
    }
}

/// ME1: never do two nodes hold a token.
#[derive(Debug, Default)]
struct OneHolder {
    holders: BTreeMap<NodeId, EntryId>,
}

impl Checker<Ring> for OneHolder {
    fn property(&self) -> &'static str {
        "ME1"
    }

    fn interest(&self, interest: &mut Interest<Ring>) {
        interest.events(&["held", "passed"]);
        interest.truth(&["down"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Ring>, scene: &Scene<'_, Ring>, findings: &mut Findings) {
        match &entry.fact {
            Fact::Event { event: Event::Held { number }, .. } => {
                if let Some((other, since)) = self.holders.iter().find(|(node, _)| **node != entry.node) {
                    let name = |node: NodeId| Arc::<str>::from(scene.plan.nodes[node.index()].as_str());
                    let (here, there) = (name(entry.node), name(*other));
                    let message = format!("{here} holds token {number} while {there} still holds one");
                    findings.violated("ME1", entry.at, [*since, entry.id], message);
                }
                self.holders.insert(entry.node, entry.id);
            }
            Fact::Event { event: Event::Passed { .. }, .. } | Fact::Truth(Truth::Down { .. }) => {
                self.holders.remove(&entry.node);
            }
            Fact::Event { .. } | Fact::Truth(_) | Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. } => {
            }
        }
    }
}

/// ME1, as the explorer judges it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Holders(BTreeSet<NodeId>);

impl Ledger<Ring> for Holders {
    fn judge(&mut self, _: &Ring, node: NodeId, told: &Told<'_, Ring>) -> Result<(), Breach> {
        match told {
            Told::Event(Event::Held { number }) => {
                if let Some(other) = self.0.iter().find(|other| **other != node) {
                    let message = format!("n{} holds token {number} while n{} still holds one", node.0, other.0);
                    return Err(Breach::of("ME1", message));
                }
                self.0.insert(node);
            }
            Told::Event(Event::Passed { .. }) | Told::Down => {
                self.0.remove(&node);
            }
            Told::Event(Event::Remade {} | Event::Ignored { .. }) | Told::Up { .. } => {}
        }
        Ok(())
    }
}
