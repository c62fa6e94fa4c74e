//! Plays a plan with processes that are shells.

use crate::edges::{Layer, NodeClock, NodeDisk, NodeJournal};
use crate::life::{Life, Mailbox, Order};
use crate::watched::Watched;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId as Host;
use squall::{
    Command, Delay, NodeId, Outcome, Plan, Quality, Report, RunOptions, Shells, Stage, Start, System, guarded,
};
use squall_cluster::{Cluster, Message, Node, NodeKind};
use squall_machine::{Durable, Ratio, Span, Time};
use squall_server::driver::Driver;
use squall_server::edges::{Local, LocalClient};
use squall_server::grpc::client::{GrpcClient, GrpcClientConfig, Patience};
use squall_server::grpc::server::GrpcServer;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep_until;

/// How many requests of local clients wait at most; a scenario has few.
const REQUESTS_MAX: usize = 1_024;
/// Where the coordinator runs.
const COORDINATOR: NodeId = NodeId(0);
/// Where it listens for the node of number 0.
const PORT: u16 = 4_100;

/// Plays a plan with a seed.
pub(crate) fn play<'a>(system: &'a Cluster, plan: &'a Plan, seed: u64, options: RunOptions<'a, Cluster>) -> Outcome {
    let (network, layer) = share(plan.network);
    let config = madsim::Config { net: network, ..madsim::Config::default() };
    let runtime = Runtime::with_seed_and_config(seed, config);
    let mailbox = Arc::new(Mailbox::default());
    let troupe = Troupe::new(system, plan, runtime.handle().clone(), mailbox.clone());
    let stage = RefCell::new(Stage::new(system, plan, seed, options, Box::new(troupe), layer));
    let ended = guarded(|| runtime.block_on(direct(&stage, mailbox)));
    // Its tasks end before what they report to.
    drop(runtime);
    let mut stage = stage.into_inner();
    if let Err(panic) = ended {
        stage.panicked(&panic);
    }
    stage.outcome()
}

/// What of the links is the simulated network's, and what the layer above it does.
///
/// The network draws delays uniformly, and what it loses, a stream sends again. Other delays are the layer's, on top of a
/// network without any.
fn share(quality: Quality) -> (madsim::net::Config, Quality) {
    let nothing = Delay::Uniform { low: Span::ZERO, high: Span::ZERO };
    let (send_latency, delay) = match quality.delay {
        Delay::Uniform { low, high } => (latency(low, high), nothing),
        Delay::Exponential { .. } | Delay::HeavyTail { .. } => (latency(Span::ZERO, Span::ZERO), quality.delay),
    };
    let packet_loss_rate = f64::from(quality.loss.numerator()) / f64::from(quality.loss.denominator());
    (madsim::net::Config { packet_loss_rate, send_latency }, Quality { delay, loss: Ratio::ZERO, ..quality })
}

/// A range that isn't empty.
fn latency(low: Span, high: Span) -> Range<Duration> {
    Duration::from_nanos(low.as_nanos())..Duration::from_nanos(high.as_nanos() + 1)
}

/// Lets the world and the shells go on until the run is over.
async fn direct(stage: &RefCell<Stage<'_, Cluster>>, mailbox: Arc<Mailbox>) {
    mailbox.begin();
    stage.borrow_mut().begin();
    loop {
        while let Some((node, life, report)) = mailbox.take() {
            stage.borrow_mut().report(mailbox.elapsed(), node, life, report);
        }
        stage.borrow_mut().advance(mailbox.elapsed());
        if stage.borrow().is_over() {
            return;
        }
        let next = stage.borrow().next().unwrap_or(Time::ZERO);
        tokio::select! {
            biased;
            () = mailbox.arrived() => {}
            () = sleep_until(mailbox.instant(next)) => {}
        }
    }
}

/// The processes of a run.
struct Troupe<'a> {
    system: &'a Cluster,
    plan: &'a Plan,
    runtime: Handle,
    mailbox: Arc<Mailbox>,
    players: BTreeMap<NodeId, Player>,
}

/// A node of the simulated runtime.
struct Player {
    host: Host,
    life: Option<(Arc<Life>, LocalClient<Watched>)>,
}

impl<'a> Troupe<'a> {
    fn new(system: &'a Cluster, plan: &'a Plan, runtime: Handle, mailbox: Arc<Mailbox>) -> Self {
        Self { system, plan, runtime, mailbox, players: BTreeMap::new() }
    }

    /// The simulated computer of a node, which outlives its processes.
    fn player(&mut self, node: NodeId) -> &mut Player {
        let (runtime, plan) = (&self.runtime, self.plan);
        self.players.entry(node).or_insert_with(|| {
            let built = runtime.create_node().name(&plan.nodes[node.index()]).ip(ip(node)).build();
            Player { host: built.id(), life: None }
        })
    }

    fn start(&mut self, start: Start, durable: Durable<Node>, life: Life) {
        let life = Arc::new(life);
        let (local, client) = Local::queues(REQUESTS_MAX);
        let snapshot_every = self.plan.disk.snapshot_every as usize;
        let (kind, name) = (self.system.kind(start.node), self.plan.nodes[start.node.index()].clone());
        let player = self.player(start.node);
        player.life = Some((life.clone(), client));
        let host = player.host;
        // A computer that was switched off is switched on again.
        self.runtime.restart(host);
        let Some(host) = self.runtime.get_node(host) else { return };
        let nodes = self.plan.nodes.len() as u32;
        let part = Part { node: start.node, kind, nodes, name, seed: start.seed, durable, snapshot_every, life, local };
        drop(host.spawn(process(part)));
    }
}

impl Shells<Cluster> for Troupe<'_> {
    fn command(&mut self, node: NodeId, command: Command<Cluster>) {
        if let Command::Start { start, durable, clock, cause } = command {
            let machine = self.system.boot(&start);
            let life = Life::new(node, start.life, self.mailbox.clone(), machine, clock, cause);
            return self.start(start, durable, life);
        }
        let runtime = self.runtime.clone();
        let player = self.player(node);
        match command {
            Command::Start { .. } => {}
            Command::Stop => {
                player.life = None;
                runtime.kill(player.host);
            }
            Command::Pause => runtime.pause(player.host),
            Command::Resume => runtime.resume(player.host),
            Command::Clock(clock) => {
                if let Some((life, _)) = &player.life {
                    life.inner().clock = clock;
                    life.rewound.notify_one();
                }
            }
            Command::Transmit { to, message } => player.order(Order::Transmit { to, message: carried(message) }),
            Command::Deliver { from, message, cause } => {
                player.order(Order::Deliver { from, message: carried(message), cause });
            }
            Command::Request { request, cause } => {
                if let Some((life, client)) = &player.life {
                    life.inner().requests.push_back(cause);
                    assert!(
                        client.requests.try_send(request).is_ok(),
                        "a scenario asks less than {REQUESTS_MAX} times"
                    );
                }
            }
            Command::Synced { receipt, cause } => {
                if let Some((life, _)) = &player.life {
                    life.inner().receipt = Some((receipt, cause));
                    life.synced.notify_one();
                }
            }
        }
    }

    fn bar(&mut self, from: NodeId, to: NodeId, barred: bool) {
        let (from, to) = (self.player(from).host, self.player(to).host);
        let network = madsim::net::NetSim::current();
        if barred { network.clog_link(from, to) } else { network.unclog_link(from, to) }
    }

    fn calm(&mut self) {
        madsim::net::NetSim::current().update_config(|config| config.packet_loss_rate = 0.0);
    }

    fn look(&self, node: NodeId, look: &mut dyn FnMut(&Node)) {
        if let Some((life, _)) = self.players.get(&node).and_then(|player| player.life.as_ref()) {
            look(&life.inner().machine);
        }
    }
}

impl Player {
    fn order(&self, order: Order) {
        if let Some((life, _)) = &self.life {
            life.order(order);
        }
    }
}

/// One process: the shell around its node, with the transport of its kind.
async fn process(part: Part) {
    let life = part.life.clone();
    if let Err(why) = shell(part).await {
        life.report(Report::Ended { why });
    }
}

/// What a process is made of.
struct Part {
    node: NodeId,
    kind: NodeKind,
    /// How many nodes there are.
    nodes: u32,
    name: String,
    seed: u64,
    durable: Durable<Node>,
    snapshot_every: usize,
    life: Arc<Life>,
    local: Local<Watched>,
}

async fn shell(part: Part) -> Result<(), String> {
    match part.kind {
        NodeKind::Coordinator => {
            let (transport, service) = GrpcServer::new();
            for member in (0..part.nodes).map(NodeId) {
                let (service, life) = (service.clone(), part.life.clone());
                drop(tokio::spawn(async move {
                    let ended = service.listen_at(port(member), pending()).await;
                    life.report(Report::Ended { why: format!("it listens no more: {ended:?}") });
                }));
            }
            drop(service);
            driver(part, transport).run(pending()).await.map(drop).map_err(|error| error.to_string())
        }
        NodeKind::Replica | NodeKind::Worker | NodeKind::Subscriber => {
            let config = GrpcClientConfig {
                endpoint: format!("http://{}", port(part.node)),
                coordinator: COORDINATOR.address(0),
                seed: part.seed,
                patience: Patience::default(),
            };
            let transport = GrpcClient::new(config).map_err(|error| error.to_string())?;
            driver(part, transport).run(pending()).await.map(drop).map_err(|error| error.to_string())
        }
        NodeKind::Peer => unreachable!("clusters without a coordinator are refused"),
        NodeKind::Store | NodeKind::Client => unreachable!("clusters with tasks are refused"),
    }
}

type Shell<T> = Driver<Watched, NodeClock, NodeDisk, Layer<T>, NodeJournal>;

fn driver<T>(part: Part, transport: T) -> Shell<T> {
    let Part { name, durable, snapshot_every, life, local, .. } = part;
    Driver {
        name,
        machine: Watched(life.clone()),
        clock: NodeClock(life.clone()),
        disk: NodeDisk { life: life.clone(), durable: Some(durable) },
        transport: Layer { life: life.clone(), transport },
        journal: NodeJournal(life),
        local,
        snapshot_every,
    }
}

/// What the shell's transport carries.
fn carried(message: Message) -> squall_coordinator::Message {
    match message {
        Message::Coordinator(message) => message,
        Message::Peer(_) => unreachable!("clusters without a coordinator are refused"),
        Message::Task(_) | Message::Store(_) => unreachable!("clusters with tasks are refused"),
    }
}

/// Where the coordinator listens for a member. The simulated tonic takes one call at a time from a port, and waits for the
/// whole of it: through a single port one member behind a bad link would bar the way of all others.
fn port(member: NodeId) -> SocketAddr {
    SocketAddr::new(ip(COORDINATOR), PORT + member.0 as u16)
}

/// Where a node is reached.
fn ip(node: NodeId) -> IpAddr {
    let [_, high, middle, low] = (node.0 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, middle, low))
}
