//! The one trait that an outside protocol implements to be driven by the engine.

use crate::{Checker, Ledger, NodeId, NodeSet, NodeState};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_machine::{Address, Kind, Machine, Random, Span, Wall};
use std::collections::BTreeMap;
use std::fmt;

/// A system under test: how to build its nodes from a scenario file, its workload, its checkers.
///
/// One value is made per scenario and shared by all its runs; everything that differs between runs comes from the seed.
pub trait System: Sized + Send + Sync + fmt::Debug + 'static {
    /// What runs on a node: usually an enum of the kinds of nodes.
    type Node: Machine<
            Message: Kind + Serialize + DeserializeOwned + Send + Sync,
            Event: Kind + Serialize + Send + Sync,
            Request: Send,
            Record: Send + Sync,
            Snapshot: Send,
        > + Send
        + Sync;
    /// What a node looks like from outside, as plain data.
    type View: fmt::Debug + Send;
    /// What the explorer judges along each path: safety that events alone can tell. `()`: nothing but invariants and panics.
    type Ledger: Ledger<Self>;
    /// The system's own tables of a scenario file: `[topology]`, `[knobs]`, `[workload]`.
    type Topology: DeserializeOwned + JsonSchema + Default + fmt::Debug + Send + Sync;
    /// See [`Topology`](System::Topology).
    type Knobs: DeserializeOwned + JsonSchema + Default + fmt::Debug + Send + Sync;
    /// See [`Topology`](System::Topology).
    type Workload: DeserializeOwned + JsonSchema + Default + fmt::Debug + Send + Sync;

    /// The name of the system, for reports.
    const NAME: &'static str;

    /// What local clients and operators can ask of a node by a scenario's `request`; `drain` uses the one of that name.
    const REQUESTS: &'static [&'static str];

    /// The ids of all properties that [`checkers`](System::checkers) judge, for validating `guards` and `violates`.
    /// The engine's own (`LV5`, `HN1`, `RB1`, `EX1`) needn't be listed.
    const PROPERTIES: &'static [&'static str];

    /// The cases that `squall bench` measures: a name, and a scenario file without faults.
    const BENCHES: &'static [(&'static str, &'static str)] = &[];

    /// What the engine asks of every node of the core when the liveness phase begins, one of
    /// [`REQUESTS`](System::REQUESTS): to begin nothing new. Nodes without that request aren't asked.
    const QUIET: Option<&'static str> = None;

    /// The tables that `squall trace --table` can make of a history, by name.
    const TABLES: &'static [&'static str] = &[];

    /// Builds the system from its tables.
    ///
    /// # Errors
    /// The first key that can't be, and what would be right.
    fn new(topology: Self::Topology, knobs: Self::Knobs, workload: Self::Workload) -> Result<Self, InvalidKey>;

    /// The nodes and groups that the tables describe.
    fn layout(&self) -> Layout;

    /// The process that starts on a node.
    fn boot(&self, start: &Start) -> Self::Node;

    /// What local clients ask of a node for this name, one of [`REQUESTS`](System::REQUESTS); `None` if this node has no
    /// such request.
    fn request(&self, node: NodeId, name: &str) -> Option<<Self::Node as Machine>::Request>;

    /// What a node looks like from outside.
    fn view(&self, node: &Self::Node, now: squall_machine::Time) -> Self::View;

    /// What a node has done, in numbers, as an object of plain data; `None` if it keeps no such account. Asked once, when a run
    /// is over, of the processes that run then.
    fn account(&self, node: &Self::Node, now: squall_machine::Time) -> Option<serde_json::Value> {
        let _ = (node, now);
        None
    }

    /// A fresh table of this name, one of [`TABLES`](System::TABLES); `None` if what it is about isn't part of this system.
    fn table(&self, name: &str) -> Option<Box<dyn crate::report::Table<Self>>> {
        let _ = name;
        None
    }

    /// Whether a process has ended itself, as one does that a task kills, and after how long its supervisor starts it again.
    /// Asked after each step. It dies like any crashed one: what it hadn't synced is gone, what it said before is on its way.
    /// It is nobody's fault: it takes no room in a budget, and raises no hazard. Only the world asks; the explorer and other
    /// engines don't, so a system that uses this has to be refused there.
    fn aborted(&self, node: &Self::Node) -> Option<Span> {
        let _ = node;
        None
    }

    /// Fresh checkers for one run.
    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>>;

    /// The nodes to be healed and fully linked after the fault phase, drawn from `random`; all others are stopped or
    /// isolated. New load from outside the core stops with them.
    fn core(&self, nodes: &[NodeState], random: &mut Random) -> NodeSet;

    /// How long the liveness phase may last at most; checkers judge their own bounds within it. `delay` is the longest
    /// one-way delay of a link that is up, `sync` the longest sync.
    fn liveness_bound(&self, delay: Span, sync: Span) -> Span;
}

/// A process that is to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Where.
    pub node: NodeId,
    /// Which life of the node, from 1.
    pub life: u32,
    /// The address at which it is reached.
    pub address: Address,
    /// A seed of its own; its random ids come from it.
    pub seed: u64,
    /// What its calendar shows. For display only.
    pub wall: Wall,
}

/// The nodes of a system.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// The names, unique, in the order of their ids.
    pub nodes: Vec<String>,
    /// Named sets of nodes that faults can aim at: kinds of nodes, zones, racks. A group's name is no node's.
    pub groups: BTreeMap<String, NodeSet>,
}

/// A key of a scenario file that can't be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidKey {
    /// Its path, such as `["knobs", "lapse"]`; an index of an array of tables as a number.
    pub path: Vec<String>,
    /// What is wrong.
    pub problem: String,
    /// What would be right, if that can be said.
    pub hint: Option<String>,
}

impl InvalidKey {
    /// A key that can't be, without a hint.
    #[must_use]
    pub fn new(path: &[&str], problem: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&part| part.to_owned()).collect(), problem: problem.into(), hint: None }
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.problem)
    }
}

impl std::error::Error for InvalidKey {}
