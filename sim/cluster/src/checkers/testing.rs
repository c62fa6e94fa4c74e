//! Hand-made histories, on which checkers are tested.

use crate::Cluster;
use squall::{
    Checker, DiskQuality, Entry, EntryId, Fact, Findings, Hop, Interest, NodeId, NodeSet, NodeState, Phase, Plan,
    Quality, Scene, System, Truth,
};
use squall_coordinator::{
    Ask, BootId, Capacity, Cause, Change, Cursor, Epoch, Event, Failure, Incarnation, MemberState, MemberStatus,
    Message, Notice, Number, Participant, Quorum, QuorumId, Role, Session, Sizes, Status,
};
use squall_machine::{Kind, Ratio, Span, Text, Time};
use std::sync::Arc;

/// The coordinator's node.
pub(super) const C: NodeId = NodeId(0);
/// The nodes of replicas `r0`, `r1`, `r2`.
pub(super) const R: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// The node of worker `w0`.
pub(super) const W: NodeId = NodeId(4);
/// The node of subscriber `s0`.
pub(super) const S: NodeId = NodeId(5);

/// Every life's clock starts here.
const ORIGIN: Span = Span::from_secs(1_000);

/// Plays a history to one checker: one coordinator, three replicas, one worker, one subscriber.
pub(super) struct History<C> {
    cluster: Cluster,
    plan: Plan,
    nodes: Vec<NodeState>,
    started: Vec<Time>,
    core: NodeSet,
    phase: Phase,
    now: Time,
    next: u64,
    findings: Findings,
    checker: C,
}

/// A history in which everybody has just started.
pub(super) fn history<C: Checker<Cluster>>(checker: C) -> History<C> {
    history_with(checker, crate::Settings::default())
}

/// The same, under other settings.
pub(super) fn history_with<C: Checker<Cluster>>(checker: C, settings: crate::Settings) -> History<C> {
    let topology = crate::Topology { replicas: 3, workers: 1, subscribers: 1, ..crate::Topology::default() };
    history_of(checker, topology, settings)
}

/// The same, of another cluster.
pub(super) fn history_of<C: Checker<Cluster>>(
    checker: C,
    topology: crate::Topology,
    settings: crate::Settings,
) -> History<C> {
    history_in(checker, Cluster::new(topology, settings, crate::Workload::default()).expect("a cluster"))
}

/// The same as by default, but with tasks.
pub(super) fn history_with_tasks<C: Checker<Cluster>>(checker: C, settings: crate::Settings) -> History<C> {
    let topology = crate::Topology { replicas: 3, workers: 1, subscribers: 1, ..crate::Topology::default() };
    let workload = crate::Workload { tasks: Some(crate::Tasks::default()), ..crate::Workload::default() };
    history_in(checker, Cluster::new(topology, settings, workload).expect("a cluster"))
}

fn history_in<C: Checker<Cluster>>(checker: C, cluster: Cluster) -> History<C> {
    checker.interest(&mut Interest::default());
    let names = cluster.layout().nodes;
    let count = names.len();
    let plan = Plan {
        nodes: names,
        groups: Default::default(),
        warm_up: Span::ZERO,
        horizon: Span::from_secs(600),
        stabilise: true,
        network: Quality::default(),
        disk: DiskQuality::default(),
        clocks: Default::default(),
        absent: NodeSet::default(),
        faults: Vec::new(),
        hazards: Vec::new(),
        budget: Default::default(),
        limits: Default::default(),
    };
    let mut history = History {
        cluster,
        plan,
        nodes: vec![NodeState::default(); count],
        started: vec![Time::ZERO; count],
        core: NodeSet::default(),
        phase: Phase::Faults,
        now: Time::ZERO,
        next: 1,
        findings: Findings::default(),
        checker,
    };
    for node in 0..count as u32 {
        history = history.up(NodeId(node));
    }
    history
}

impl<C: Checker<Cluster>> History<C> {
    fn show(&mut self, node: NodeId, fact: Fact<'_, Cluster>) {
        let entry = Entry { id: EntryId(self.next), at: self.now, node, cause: EntryId(0), fact };
        self.next += 1;
        let scene = Scene {
            system: &self.cluster,
            plan: &self.plan,
            nodes: &self.nodes,
            now: self.now,
            phase: self.phase,
            core: &self.core,
        };
        self.checker.on_entry(&entry, &scene, &mut self.findings);
    }

    /// Time goes on to this many milliseconds.
    pub(super) fn at(mut self, millis: u64) -> Self {
        let at = Time::ZERO + Span::from_millis(millis);
        assert!(at >= self.now, "time goes on");
        self.now = at;
        self
    }

    /// An event of a node, decided now.
    pub(super) fn event(self, node: NodeId, event: impl Into<crate::Event>) -> Self {
        self.event_after(node, 0, event)
    }

    /// An event of a node, decided so many milliseconds ago.
    pub(super) fn event_after(mut self, node: NodeId, millis: u64, event: impl Into<crate::Event>) -> Self {
        let local = ORIGIN + self.now.since(self.started[node.index()]);
        let decided = Time::ZERO + local.minus(Span::from_millis(millis));
        self.show(node, Fact::Event { decided, event: &event.into() });
        self
    }

    /// An event of the coordinator, decided now.
    pub(super) fn coordinator(self, event: Event) -> Self {
        self.event(C, event)
    }

    /// The coordinator sends a message to the first replica.
    pub(super) fn sends(self, message: Message) -> Self {
        self.sends_from(C, R[0], message)
    }

    /// A message leaves.
    pub(super) fn sends_from(mut self, from: NodeId, to: NodeId, message: impl Into<crate::Message>) -> Self {
        let message: crate::Message = message.into();
        let hop = Hop { sent: EntryId(self.next), from, to, kind: message.kind() };
        self.show(from, Fact::Sent { hop, message: &message });
        self
    }

    /// A message is handed to its receiver.
    pub(super) fn delivers(mut self, from: NodeId, to: NodeId, message: impl Into<crate::Message>) -> Self {
        let message: crate::Message = message.into();
        let hop = Hop { sent: EntryId(0), from, to, kind: message.kind() };
        self.show(to, Fact::Delivered { hop, message: &message });
        self
    }

    /// From the beginning, the network may lose messages.
    pub(super) fn drops_some(mut self) -> Self {
        self.plan.network.loss = Ratio::new(1, 100).expect("a fraction");
        self
    }

    /// Something true.
    pub(super) fn truth(mut self, node: NodeId, truth: Truth) -> Self {
        let state = &mut self.nodes[node.index()];
        match &truth {
            Truth::Up { life, .. } => {
                *state = NodeState { up: true, life: *life, ..NodeState::default() };
                self.started[node.index()] = self.now;
            }
            Truth::Down { .. } => state.up = false,
            Truth::Pause => state.paused = true,
            Truth::Resume => state.paused = false,
            Truth::Phase { phase, core } => (self.phase, self.core) = (*phase, core.clone()),
            _ => {}
        }
        self.show(node, Fact::Truth(&truth));
        self
    }

    /// A process starts.
    pub(super) fn up(self, node: NodeId) -> Self {
        let life = self.nodes[node.index()].life + 1;
        self.truth(node, Truth::Up { life, records: 0, torn_tail: false, disk_lost: false })
    }

    /// A process dies.
    pub(super) fn down(self, node: NodeId) -> Self {
        self.truth(node, Truth::Down { lost: 0, cause: squall::DownCause::Crash })
    }

    /// The liveness phase begins with everybody in the core.
    pub(super) fn liveness(self) -> Self {
        let core = NodeSet::first(self.nodes.len());
        self.truth(C, Truth::Phase { phase: Phase::Stabilisation, core: core.clone() })
            .truth(C, Truth::Phase { phase: Phase::Liveness, core })
    }

    /// `r<index>` is granted `incarnation`, joins and begins.
    pub(super) fn begin(self, index: usize, incarnation: u64) -> Self {
        let (member, incarnation): (Text, _) = (format!("r{index}").into(), Incarnation(incarnation));
        let boot = BootId(incarnation.0);
        self.coordinator(Event::Granted { member: member.clone(), incarnation, boot })
            .event(R[index], Event::Joined { member: member.clone(), incarnation, boot })
            .coordinator(Event::Began { member, incarnation, role: Role::Replica, returned: None })
            .coordinator(Event::HeartbeatAccepted { incarnation, seq: 1 })
    }

    /// A heartbeat is accepted.
    pub(super) fn beat(self, incarnation: u64, seq: u64) -> Self {
        self.coordinator(Event::HeartbeatAccepted { incarnation: Incarnation(incarnation), seq })
    }

    /// `r<index>` is declared failed.
    pub(super) fn fail(self, index: usize, incarnation: u64, cursor: u64, age: Span) -> Self {
        self.coordinator(failed(index, incarnation, cursor, age))
    }

    /// A replica asks, and the coordinator counts it.
    pub(super) fn ask(self, index: usize, incarnation: u64, number: u64, epoch: u64) -> Self {
        let (incarnation, number, epoch) = (Incarnation(incarnation), Number(number), Epoch(epoch));
        let asked = Event::Asked { incarnation, number, epoch, step: 0, shrink_only: false, commit_failures: 0 };
        let member = format!("r{index}").into();
        self.event(R[index], asked).coordinator(Event::Requested { member, incarnation, number, epoch })
    }

    /// The coordinator forms a quorum.
    pub(super) fn form(self, quorum: Quorum, healthy: u32, fast: bool) -> Self {
        self.coordinator(Event::Formed { quorum, healthy, fast, waited: Span::ZERO })
    }

    /// The run ends.
    pub(super) fn end(mut self) -> Self {
        let scene = Scene {
            system: &self.cluster,
            plan: &self.plan,
            nodes: &self.nodes,
            now: self.now,
            phase: self.phase,
            core: &self.core,
        };
        self.checker.on_end(&scene, &mut self.findings);
        self
    }

    /// A node is looked at.
    pub(super) fn view(mut self, node: NodeId, view: &crate::ClusterView) -> Self {
        let scene = Scene {
            system: &self.cluster,
            plan: &self.plan,
            nodes: &self.nodes,
            now: self.now,
            phase: self.phase,
            core: &self.core,
        };
        self.checker.on_view(node, view, &scene, &mut self.findings);
        self
    }

    /// Nothing was found.
    #[track_caller]
    pub(super) fn holds(self) {
        assert_eq!(self.findings.violations(), [], "a good history");
    }

    /// The last entry violated the checker's property, and nothing before it did.
    #[track_caller]
    pub(super) fn violated(self, part: &str) {
        let found = self.findings.violations();
        assert_eq!(found.len(), 1, "one violation: {found:?}");
        assert_eq!((found[0].property, found[0].at), (self.checker.property(), self.now));
        assert!(found[0].message.contains(part), "{:?} says {part:?}", found[0].message);
    }
}

/// `r<index>` failed by timeout.
pub(super) fn failed(index: usize, incarnation: u64, cursor: u64, age: Span) -> Event {
    Event::Failed {
        member: format!("r{index}").into(),
        incarnation: Incarnation(incarnation),
        role: Role::Replica,
        cause: Cause::Timeout,
        cursor: Cursor(cursor),
        age,
    }
}

/// A quorum of replicas, each as (index, incarnation, number), all at step 0.
pub(super) fn quorum(id: u64, formation: u64, members: &[(usize, u64, u64)]) -> Quorum {
    let ask = |index: usize| Ask {
        address: format!("a{index}").into(),
        store_address: format!("s{index}").into(),
        step: 0,
        world_size: 1,
        shrink_only: false,
        commit_failures: 0,
        data: "".into(),
    };
    let participant = |&(index, incarnation, number): &(usize, u64, u64)| Participant {
        id: format!("r{index}").into(),
        incarnation: Incarnation(incarnation),
        number: Number(number),
        ask: Arc::new(ask(index)),
    };
    Quorum { id: QuorumId(id), formation: Epoch(formation), members: members.iter().map(participant).collect() }
}

pub(super) const SESSION: Session = Session(77);

/// The subscriber opens its session.
pub(super) fn opened() -> Event {
    Event::SessionOpened { session: SESSION }
}

/// The subscriber takes the failure of `r<index>`.
pub(super) fn notified(cursor: u64, index: usize, incarnation: u64) -> Event {
    let notice = Notice {
        cursor: Cursor(cursor),
        member: format!("r{index}").into(),
        incarnation: Incarnation(incarnation),
        change: Change::Failed(Cause::Timeout),
    };
    Event::Notified { session: SESSION, notice }
}

/// The subscriber takes a snapshot: the failures as (index, incarnation, cursor).
pub(super) fn resynced(cursor: u64, failures: &[(usize, u64, u64)]) -> Event {
    let failure = |&(index, incarnation, cursor): &(usize, u64, u64)| Failure {
        member: format!("r{index}").into(),
        incarnation: Incarnation(incarnation),
        cause: Cause::Timeout,
        cursor: Cursor(cursor),
    };
    let failures = failures.iter().map(failure).collect();
    Event::Resynced { session: SESSION, cursor: Cursor(cursor), lagged: None, failures }
}

/// What an idle coordinator shows.
pub(super) fn status() -> Status {
    Status {
        members: Vec::new(),
        failures: Vec::new(),
        ended: Vec::new(),
        open: Vec::new(),
        epoch: Epoch(1),
        quorum: None,
        holders: Vec::new(),
        cursor: Cursor(0),
        sessions: Vec::new(),
        waiting: "".into(),
        sizes: Sizes {
            grants: 0,
            live: 0,
            ended: 0,
            failures: 0,
            notices: 0,
            sessions: 0,
            open: 0,
            settled: 0,
            holders: 0,
        },
    }
}

/// A coordinator without tasks, from outside.
pub(super) fn coordinator_view(status: Status) -> crate::ClusterView {
    crate::ClusterView::Coordinator(status, crate::Tally::default())
}

/// A live replica of this age, as the coordinator shows it.
pub(super) fn live(index: usize, incarnation: u64, age: Span) -> MemberStatus {
    MemberStatus {
        id: format!("r{index}").into(),
        incarnation: Incarnation(incarnation),
        role: Role::Replica,
        address: "".into(),
        capacity: Capacity::default(),
        state: MemberState::Alive,
        age,
    }
}

/// A replica receives a quorum by its first request.
pub(super) fn received(incarnation: u64, quorum: Quorum) -> Event {
    Event::Received { incarnation: Incarnation(incarnation), number: Number(1), quorum }
}

/// A replica works in a formation.
pub(super) fn active(incarnation: u64, formation: u64) -> Event {
    let (incarnation, formation) = (Incarnation(incarnation), Epoch(formation));
    Event::Active { incarnation, formation, quorum_id: QuorumId(1) }
}

/// What a member shows that has not booted.
pub(super) fn member_status() -> squall_node::MemberStatus {
    squall_node::MemberStatus {
        id: "r0".into(),
        phase: squall_node::MemberPhase::Off,
        incarnation: None,
        superseded: false,
        active: None,
        lease_until: None,
        epoch: Epoch(1),
        open_request: None,
        waiting_ranks: 0,
        session: None,
        taken: None,
        heartbeats_kept: 0,
        contact_lost: false,
        waits_for: String::new(),
    }
}
