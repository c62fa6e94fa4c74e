//! How a cluster is built in the simulated world: one coordinator, replicas with their local ranks, workers, subscribers;
//! what the clients of a run do, and what every run is checked against.
#![forbid(unsafe_code)]

pub mod checkers;
mod node;
mod settings;
mod text;
mod topology;
mod workload;

pub use node::Node;
pub use settings::Settings;
pub use text::{Length, LengthRange, Share};
pub use topology::{Authority, Topology};
pub use workload::Workload;

use squall::{Checker, InvalidKey, Layout, NodeId, NodeSet, NodeState, Start, System};
use squall_coordinator::Knobs;
use squall_machine::{Random, Span, Time};
use std::sync::Arc;

/// A cluster as a scenario file describes it.
#[derive(Debug)]
pub struct Cluster {
    topology: Topology,
    knobs: Arc<Knobs>,
    layout: Layout,
    kinds: Vec<NodeKind>,
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeKind {
    /// Decides about membership and quorums.
    Coordinator,
    /// Takes part in quorums; its local ranks train.
    Replica,
    /// Registers and stays alive.
    Worker,
    /// Listens to notifications.
    Subscriber,
}

impl NodeKind {
    /// What names of nodes of this kind begin with.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Coordinator => 'c',
            Self::Replica => 'r',
            Self::Worker => 'w',
            Self::Subscriber => 's',
        }
    }
}

impl Cluster {
    /// The settings of coordinator and members.
    #[must_use]
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// Where the coordinator runs.
    #[must_use]
    pub fn coordinator(&self) -> NodeId {
        NodeId(0)
    }

    /// What `node` is.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn kind(&self, node: NodeId) -> NodeKind {
        self.kinds[node.index()]
    }

    /// The name of `node`, which is also the id of the member that runs there.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn name(&self, node: NodeId) -> &str {
        &self.layout.nodes[node.index()]
    }

    /// Whether `node` listens to notifications.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn subscribes(&self, node: NodeId) -> bool {
        match self.kind(node) {
            NodeKind::Coordinator => false,
            NodeKind::Replica => self.topology.replicas_subscribe,
            NodeKind::Worker => self.topology.workers_subscribe,
            NodeKind::Subscriber => true,
        }
    }

    /// How many local ranks run at `node`; 0 unless it is a replica.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn world_size(&self, node: NodeId) -> u32 {
        if self.kind(node) == NodeKind::Replica { self.topology.world_size } else { 0 }
    }
}

/// What a node looks like from outside.
#[derive(Clone, Debug)]
pub enum ClusterView {
    /// No process has anything to show.
    Silent,
}

impl System for Cluster {
    type Node = Node;
    type View = ClusterView;
    type Topology = Topology;
    type Knobs = Settings;
    type Workload = Workload;

    const NAME: &'static str = "cluster";
    const REQUESTS: &'static [&'static str] = &["drain", "leave"];
    const PROPERTIES: &'static [&'static str] = checkers::PROPERTIES;

    fn new(topology: Topology, knobs: Settings, workload: Workload) -> Result<Self, InvalidKey> {
        let _ = workload;
        let knobs = Arc::new(knobs.knobs()?);
        let layout = topology.layout()?;
        if topology.replicas > 0 && knobs.min_replicas > topology.replicas {
            let problem = format!("no quorum of {} can form from {} replicas", knobs.min_replicas, topology.replicas);
            return Err(InvalidKey::new(&["knobs", "min_replicas"], problem)
                .hint(format!("at most {}, or more topology.replicas", topology.replicas)));
        }
        let kinds = topology.nodes().into_iter().map(|(kind, _)| kind).collect();
        Ok(Self { topology, knobs, layout, kinds })
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn boot(&self, _: &Start) -> Node {
        Node::Silent
    }

    fn request(&self, _: NodeId, _: &str) -> Option<()> {
        None
    }

    fn view(&self, _: &Node, _: Time) -> ClusterView {
        ClusterView::Silent
    }

    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>> {
        checkers::all(self)
    }

    fn core(&self, nodes: &[NodeState], _: &mut Random) -> NodeSet {
        NodeSet::first(nodes.len())
    }

    fn liveness_bound(&self, delay: Span, _: Span) -> Span {
        delay * 4 + self.knobs.join_timeout
    }
}
