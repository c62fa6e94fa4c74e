//! How a cluster is built in the simulated world: one coordinator, replicas with their local ranks, workers, subscribers; or
//! peers that decide among themselves; what the clients of a run do, and what every run is checked against.
#![forbid(unsafe_code)]

mod attempts;
mod audience;
pub mod checkers;
mod convergence;
mod ledger;
mod node;
mod published;
mod replica;
mod runner;
mod runtime;
mod settings;
mod submitter;
mod tasks;
mod topology;
mod trainer;
mod workload;

pub use audience::ListenerEvent;
pub use ledger::ClusterLedger;
pub use node::{Event, Message, Node, Order, Record, Snapshot};
pub use published::Published;
pub use replica::Replica;
pub use runner::Runner;
pub use settings::{AdaptationTable, BoundsTable, BreakerTable, PlacementRule, Settings, VitalsTable};
pub use submitter::Submitter;
pub use tasks::{Mix, MixDegradable, Overload, Sick, Tasks};
pub use topology::{Authority, Hardware, Policy, Topology};
pub use workload::{Shrink, SlowSteps, Who, Workload};

use audience::Audience;
use published::PublishedConfig;
use squall::{Checker, InvalidKey, Layout, NodeId, NodeSet, NodeState, Start, System};
use squall_coordinator::{Capacity, Knobs, Role, Status};
use squall_machine::{Random, Span, Time};
use squall_node::{
    CoordinatorNode, CoordinatorNodeConfig, MemberConfig, MemberNode, MemberStatus, ObserverConfig, ObserverNode,
    ObserverStatus, PeerNode, PeerNodeConfig, WorkKnobs, WorkerNode, WorkerNodeConfig,
};
use squall_recovery::{Incarnation, Member, PeerConfig, PeerStatus};
use squall_scheduler::{ClientConfig, Offer, Store, StoreKnobs, TaskClient, TaskCounts};
use std::collections::BTreeMap;
use std::sync::Arc;
use trainer::{Habits, Trainer};
use workload::Assigned;

/// A cluster as a scenario file describes it.
#[derive(Debug)]
pub struct Cluster {
    topology: Topology,
    knobs: Arc<Knobs>,
    peer_knobs: Arc<squall_recovery::Knobs>,
    scheduler_knobs: Arc<squall_scheduler::Knobs>,
    workload: Arc<Workload>,
    layout: Layout,
    kinds: Vec<NodeKind>,
    founders: NodeSet,
    assigned: Assigned,
    work: Option<Work>,
}

/// What there is where there are tasks.
#[derive(Debug)]
struct Work {
    tasks: Arc<Tasks>,
    store_knobs: Arc<StoreKnobs>,
    store: NodeId,
    /// What each worker offers.
    offers: BTreeMap<NodeId, Arc<Offer>>,
    /// The workers that offer the same, for each offer that there is.
    alike: Vec<NodeSet>,
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeKind {
    /// Decides about membership and quorums.
    Coordinator,
    /// Takes part in quorums; its local ranks train.
    Replica,
    /// Registers and stays alive; runs tasks, where there are any.
    Worker,
    /// Listens to notifications.
    Subscriber,
    /// A replica that decides about membership together with the others.
    Peer,
    /// Stores checkpoints.
    Store,
    /// Submits tasks.
    Client,
}

impl NodeKind {
    /// What names of nodes of this kind begin with.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Coordinator => 'c',
            Self::Replica | Self::Peer => 'r',
            Self::Worker => 'w',
            Self::Subscriber => 's',
            Self::Store => 'k',
            Self::Client => 'q',
        }
    }
}

impl Cluster {
    /// The settings of coordinator and members.
    #[must_use]
    pub fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    /// The settings of peers.
    #[must_use]
    pub fn peer_knobs(&self) -> &squall_recovery::Knobs {
        &self.peer_knobs
    }

    /// The settings of scheduler and agents.
    #[must_use]
    pub fn scheduler_knobs(&self) -> &squall_scheduler::Knobs {
        &self.scheduler_knobs
    }

    /// The tasks that clients submit, if there are any.
    #[must_use]
    pub fn tasks(&self) -> Option<&Tasks> {
        self.work.as_ref().map(|work| &*work.tasks)
    }

    /// What a worker offers; `None` if it is none, or there are no tasks.
    #[must_use]
    pub fn offer(&self, node: NodeId) -> Option<&Offer> {
        self.work.as_ref().and_then(|work| work.offers.get(&node)).map(|offer| &**offer)
    }

    /// Who decides about membership.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.topology.authority
    }

    /// The peers of the first group.
    #[must_use]
    pub fn founders(&self) -> &NodeSet {
        &self.founders
    }

    /// What peers do about a suspicion.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.topology.policy
    }

    /// Where the coordinator runs, if there is one.
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
            NodeKind::Coordinator | NodeKind::Peer | NodeKind::Store | NodeKind::Client => false,
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

    /// Whether the local ranks of `node` ask for quorums from the beginning, as long as their process lives.
    #[must_use]
    pub fn trains(&self, node: NodeId) -> bool {
        self.assigned.training.contains(node)
    }

    /// The names of all nodes.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.layout.nodes
    }

    /// What the local ranks do.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    fn habits(&self, node: NodeId) -> Arc<Habits> {
        Arc::new(Habits {
            workload: self.workload.clone(),
            world_size: self.world_size(node),
            trains: self.trains(node),
            slow: self.assigned.slow.contains(node),
            shrinks: self.assigned.shrinking.contains(node),
        })
    }

    /// The first life of a founder takes part from the beginning; every other process has to be admitted.
    fn peer(&self, start: &Start) -> PeerNodeConfig {
        let founder = |node: NodeId| Member {
            id: self.name(node).into(),
            incarnation: Incarnation(u64::from(node.0) + 1),
            address: node.address(0),
        };
        let founds = start.life == 1 && self.founders.contains(start.node);
        let newcomer = || Member {
            // High enough to be nobody's of the founders.
            incarnation: Incarnation(Random::new(start.seed, "boot").next() | 1 << 63),
            address: start.address,
            ..founder(start.node)
        };
        let work = self.workload.step;
        PeerNodeConfig {
            peer: PeerConfig {
                member: if founds { founder(start.node) } else { newcomer() },
                founders: founds.then(|| self.founders.iter().map(founder).collect()),
                contacts: (0u32..).map(NodeId).take(self.kinds.len()).map(|node| node.address(0)).collect(),
                policy: self.topology.policy.into(),
                seed: start.seed,
                knobs: self.peer_knobs.clone(),
            },
            work: Some(WorkKnobs { step_min: work.low, step_max: work.high, resend: self.peer_knobs.ping }),
        }
    }

    /// The same process, by the published protocol.
    fn published(&self, start: &Start) -> PublishedConfig {
        let PeerConfig { member, founders, seed, knobs, .. } = self.peer(start).peer;
        let step = (self.workload.step.low, self.workload.step.high);
        PublishedConfig { member, founders, step, seed, knobs }
    }

    /// # Panics
    /// If there are no tasks: then there is no node that is only there for them.
    fn work(&self) -> &Work {
        self.work.as_ref().expect("with such a node there are tasks")
    }

    fn worker(&self, start: &Start) -> Node {
        let member = self.member(start, Role::Worker);
        let Some(work) = &self.work else { return Node::Worker(Box::new(MemberNode::new(member))) };
        let worker = WorkerNode::new(WorkerNodeConfig {
            member,
            offer: work.offers[&start.node].clone(),
            store: Some(work.store.address(0)),
            knobs: self.scheduler_knobs.clone(),
        });
        Node::Runner(Box::new(Runner::new(worker, runtime::Runtime::new(work.tasks.clone()))))
    }

    fn client(&self, start: &Start, work: &Work) -> Submitter {
        let client = TaskClient::new(ClientConfig {
            scheduler: self.coordinator().address(0),
            poll: work.tasks.poll.0,
            // Cancelling and submitting again need room beside what is new.
            open_max: work.tasks.open_max.saturating_mul(2),
            return_spread: self.knobs.return_spread,
            seed: start.seed,
            knobs: self.scheduler_knobs.clone(),
        });
        Submitter::new(client, work.tasks.clone(), self.name(start.node), start.life, start.seed)
    }

    fn member(&self, start: &Start, role: Role) -> MemberConfig {
        let name = self.name(start.node);
        let id = self.topology.twins.get(name).map_or(name, String::as_str);
        // A process that moved is reached elsewhere, and others see that by its text.
        let (_, moves) = NodeId::of_address(start.address);
        MemberConfig {
            id: id.into(),
            role,
            address: format!("{name}:{moves}").into(),
            store_address: format!("{name}-store:{moves}").into(),
            capacity: Capacity { cpu_millis: 8_000, memory_mib: 32_768, gpus: 1 },
            coordinator: self.coordinator().address(0),
            world_size: self.world_size(start.node).max(1),
            subscribes: self.subscribes(start.node),
            seed: start.seed,
            knobs: self.knobs.clone(),
        }
    }
}

impl Work {
    fn new(
        tasks: Arc<Tasks>,
        store_knobs: Arc<StoreKnobs>,
        topology: &Topology,
        layout: &Layout,
    ) -> Result<Self, InvalidKey> {
        let mut offers = BTreeMap::new();
        let mut alike = Vec::new();
        for (offer, workers) in topology.offers(&layout.nodes)? {
            let offer = Arc::new(offer);
            offers.extend(workers.iter().map(|node| (node, offer.clone())));
            alike.push(workers);
        }
        let store = layout.groups["stores"].iter().next().expect("with tasks there is a store");
        Ok(Self { tasks, store_knobs, store, offers, alike })
    }
}

/// How a scheduler counts its tasks at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// When, on its own clock.
    pub at: Time,
    /// How many tasks are where.
    pub counts: TaskCounts,
}

/// What a node looks like from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClusterView {
    /// The coordinator, and how the scheduler counts its tasks.
    Coordinator(Status, Tally),
    /// A replica or a worker.
    Member(MemberStatus),
    /// A subscriber.
    Observer(ObserverStatus),
    /// A peer.
    Peer(Box<PeerStatus>),
    /// A checkpoint store.
    Store,
    /// A client.
    Client {
        /// How many tasks it cares about.
        open: usize,
    },
}

impl System for Cluster {
    type Node = Node;
    type View = ClusterView;
    type Ledger = ClusterLedger;
    type Topology = Topology;
    type Knobs = Settings;
    type Workload = Workload;

    const NAME: &'static str = "cluster";
    const REQUESTS: &'static [&'static str] =
        &["drain", "leave", "train", "rest", "recover", "sicken", "quiet", "migrate", "reset_breakers"];
    const QUIET: Option<&'static str> = Some("quiet");
    const BENCHES: &'static [(&'static str, &'static str)] = &[
        ("replicas_8", include_str!("../benches/replicas_8.toml")),
        ("replicas_1000", include_str!("../benches/replicas_1000.toml")),
    ];
    const PROPERTIES: &'static [&'static str] = checkers::PROPERTIES;
    const TABLES: &'static [&'static str] = &["tasks"];

    fn new(topology: Topology, knobs: Settings, workload: Workload) -> Result<Self, InvalidKey> {
        knobs.check_authority(topology.authority)?;
        let peer_knobs = Arc::new(knobs.peer_knobs()?);
        let tasks = workload.tasks.clone().map(Tasks::complete).transpose()?.map(Arc::new);
        match (&tasks, topology.authority) {
            (None, _) => knobs.check_without_tasks()?,
            (Some(_), Authority::Coordinator) => {}
            (Some(_), Authority::Peers | Authority::Published) => {
                let problem = "there is no scheduler under this authority";
                return Err(InvalidKey::new(&["workload", "tasks"], problem).hint("see topology.authority"));
            }
        }
        let scheduler_knobs = Arc::new(knobs.scheduler_knobs()?);
        let store_knobs = Arc::new(knobs.store_knobs()?);
        let knobs = Arc::new(knobs.knobs()?);
        let layout = topology.layout(tasks.is_some())?;
        let founders = topology.founders(&layout.nodes)?;
        if topology.authority.is_of_peers() && topology.replicas > peer_knobs.members_max {
            let problem =
                format!("{} replicas are more than the {} of a group", topology.replicas, peer_knobs.members_max);
            return Err(InvalidKey::new(&["knobs", "members_max"], problem));
        }
        if topology.replicas > 0 && knobs.min_replicas > topology.replicas {
            let problem = format!("no quorum of {} can form from {} replicas", knobs.min_replicas, topology.replicas);
            return Err(InvalidKey::new(&["knobs", "min_replicas"], problem)
                .hint(format!("at most {}, or more topology.replicas", topology.replicas)));
        }
        let kinds: Vec<NodeKind> = topology.nodes(tasks.is_some()).into_iter().map(|(kind, _)| kind).collect();
        let work = match tasks {
            Some(tasks) => Some(Work::new(tasks, store_knobs, &topology, &layout)?),
            None => None,
        };
        let assigned = workload.assign(&layout.nodes, &layout.groups["replicas"])?;
        let workload = Arc::new(workload);
        Ok(Self { topology, knobs, peer_knobs, scheduler_knobs, workload, layout, kinds, founders, assigned, work })
    }

    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn boot(&self, start: &Start) -> Node {
        match self.kind(start.node) {
            NodeKind::Coordinator => Node::Coordinator(Box::new(CoordinatorNode::new(CoordinatorNodeConfig {
                knobs: self.knobs.clone(),
                scheduler: self.scheduler_knobs.clone(),
                seed: start.seed,
            }))),
            NodeKind::Replica => {
                let trainer = Trainer::new(self.habits(start.node), start.seed);
                let member = MemberNode::new(self.member(start, Role::Replica));
                Node::Replica(Box::new(Replica::new(member, trainer)))
            }
            NodeKind::Worker => self.worker(start),
            NodeKind::Store => Node::Store(Box::new(Store::new(self.work().store_knobs.clone()))),
            NodeKind::Client => Node::Client(Box::new(self.client(start, self.work()))),
            NodeKind::Subscriber => {
                let coordinator = self.coordinator().address(0);
                let config = ObserverConfig { coordinator, seed: start.seed, knobs: self.knobs.clone() };
                Node::Subscriber(Box::new(ObserverNode::new(&config)))
            }
            NodeKind::Peer if self.topology.authority == Authority::Published => {
                Node::Published(Box::new(Published::new(self.published(start))))
            }
            NodeKind::Peer => {
                let node = PeerNode::new(self.peer(start));
                Node::Peer(Box::new(Audience::new(node, self.topology.replicas_subscribe, start.seed)))
            }
        }
    }

    fn request(&self, node: NodeId, name: &str) -> Option<Order> {
        let order = match name {
            "drain" | "leave" => Order::Leave,
            "train" => Order::Train,
            "rest" => Order::Rest,
            "recover" => Order::Recover,
            "sicken" => Order::Sicken,
            "quiet" => Order::Quiet,
            "migrate" => Order::Migrate,
            "reset_breakers" => Order::ResetBreakers,
            _ => return None,
        };
        Node::takes(self.kind(node), order, self.work.is_some()).then_some(order)
    }

    fn view(&self, node: &Node, now: Time) -> ClusterView {
        match node {
            Node::Coordinator(node) => {
                let tally = Tally { at: now, counts: node.scheduler().counts() };
                ClusterView::Coordinator(node.coordinator().status(now), tally)
            }
            Node::Replica(replica) => ClusterView::Member(replica.member().status(now)),
            Node::Worker(worker) => ClusterView::Member(worker.status(now)),
            Node::Runner(runner) => ClusterView::Member(runner.worker().member().status(now)),
            Node::Store(_) => ClusterView::Store,
            Node::Client(client) => ClusterView::Client { open: client.client().open() },
            Node::Subscriber(observer) => ClusterView::Observer(observer.status()),
            Node::Peer(peer) => ClusterView::Peer(Box::new(peer.node().peer().status())),
            Node::Published(peer) => ClusterView::Peer(Box::new(peer.status())),
        }
    }

    fn account(&self, node: &Node, now: Time) -> Option<serde_json::Value> {
        match node {
            Node::Coordinator(coordinator) if self.work.is_some() => {
                serde_json::to_value(coordinator.scheduler().statistics(now)).ok()
            }
            Node::Coordinator(_)
            | Node::Replica(_)
            | Node::Worker(_)
            | Node::Runner(_)
            | Node::Store(_)
            | Node::Client(_)
            | Node::Subscriber(_)
            | Node::Peer(_)
            | Node::Published(_) => None,
        }
    }

    fn table(&self, name: &str) -> Option<Box<dyn squall::report::Table<Self>>> {
        let tasks = name == "tasks" && self.work.is_some();
        tasks.then(|| Box::new(attempts::Attempts::default()) as Box<dyn squall::report::Table<Self>>)
    }

    fn aborted(&self, node: &Node) -> Option<Span> {
        let tasks = self.tasks()?;
        node.dead().then_some(tasks.worker_restart.0)
    }

    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>> {
        checkers::all(self)
    }

    fn core(&self, _: &[NodeState], random: &mut Random) -> NodeSet {
        convergence::core(self, random)
    }

    fn liveness_bound(&self, delay: Span, sync: Span) -> Span {
        convergence::bound(self, delay, sync)
    }
}
