//! Hand-made histories of five peers, `r0` to `r4`, who found generation 1 with incarnations 1 to 5.

use super::super::testing::{History, history_of};
use crate::{Authority, Cluster, ClusterView, Settings, Topology};
use squall::{Checker, NodeId};
use squall_machine::Address;
use squall_node::{PeerNodeEvent, WorkEvent};
use squall_recovery::{
    Answer, Ballot, Communicator, CommunicatorId, Event, Generation, Incarnation, Member, Message, PeerSizes,
    PeerStatus, Rank, Stage, Stamp, Start, Value,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The nodes of `r0` to `r4`.
pub(crate) const R: [NodeId; 5] = [NodeId(0), NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
const ALL: [u32; 5] = [0, 1, 2, 3, 4];

/// A history of five peers who have just started.
pub(super) fn peers<C: Checker<Cluster>>(checker: C) -> History<C> {
    let topology = Topology { authority: Authority::Peers, replicas: 5, ..Topology::default() };
    history_of(checker, topology, Settings::default())
}

impl<C: Checker<Cluster>> History<C> {
    /// All five install generation 1.
    pub(super) fn found(self) -> Self {
        ALL.into_iter().fold(self, |history, rank| history.event(R[rank as usize], installed(1, rank, &ALL, None)))
    }
}

fn group(generation: u64, members: &[u32]) -> Communicator {
    let member = |index: &u32| Member {
        id: format!("r{index}").into(),
        incarnation: Incarnation(u64::from(*index) + 1),
        address: Address(u64::from(*index)),
    };
    Communicator { generation: Generation(generation), members: members.iter().map(member).collect() }
}

/// The name of a group of these, by their indices.
pub(super) fn communicator(generation: u64, members: &[u32]) -> CommunicatorId {
    group(generation, members).id()
}

fn ballot((round, leader): (u64, u32)) -> Ballot {
    Ballot { round, leader: Rank(leader) }
}

fn value(dead: &[u32]) -> Value {
    Value { dead: dead.iter().copied().map(Rank).collect(), joined: [].into() }
}

fn ranks(ranks: &[u32]) -> Arc<BTreeSet<Rank>> {
    Arc::new(ranks.iter().copied().map(Rank).collect())
}

/// A generation of these members is installed.
pub(crate) fn installed(generation: u64, rank: u32, members: &[u32], old_rank: Option<u32>) -> Event {
    let group = group(generation, members);
    let incarnation = members.get(rank as usize).map_or(Incarnation(0), |index| Incarnation(u64::from(*index) + 1));
    Event::Installed {
        communicator: group.id(),
        group: Arc::new(group),
        rank: Rank(rank),
        old_rank: old_rank.map(Rank),
        incarnation,
    }
}

pub(super) fn active(generation: u64, rank: u32) -> Event {
    let generation = Generation(generation);
    Event::GroupActive { generation, communicator: CommunicatorId(generation.0), rank: Rank(rank), size: 5 }
}

pub(crate) fn suspects(generation: u64, rank: u32) -> Event {
    Event::Suspected { generation: Generation(generation), rank: Rank(rank) }
}

pub(super) fn round(generation: u64, at: (u64, u32)) -> Event {
    Event::RoundStarted { generation: Generation(generation), ballot: ballot(at), start: Start::Told }
}

pub(crate) fn promised(generation: u64, at: (u64, u32)) -> Event {
    Event::Promised { generation: Generation(generation), ballot: ballot(at) }
}

pub(super) fn counted(generation: u64, at: (u64, u32), from: u32, answer: Answer) -> Event {
    Event::Counted { generation: Generation(generation), ballot: ballot(at), from: Rank(from), answer }
}

pub(crate) fn proposed(
    generation: u64,
    at: (u64, u32),
    dead: &[u32],
    adopted: Option<(u64, u32)>,
    counted: &[u32],
) -> Event {
    Event::Proposed {
        generation: Generation(generation),
        ballot: ballot(at),
        value: value(dead),
        adopted: adopted.map(ballot),
        counted: ranks(counted),
    }
}

pub(crate) fn accepted(generation: u64, at: (u64, u32), dead: &[u32]) -> Event {
    Event::Accepted { generation: Generation(generation), ballot: ballot(at), value: value(dead) }
}

pub(crate) fn decided(generation: u64, at: (u64, u32), dead: &[u32], voters: &[u32]) -> Event {
    Event::Decided {
        generation: Generation(generation),
        ballot: ballot(at),
        value: value(dead),
        voters: ranks(voters),
        learnt: false,
    }
}

/// A step of generation `generation`, whose members are all five, is started.
pub(super) fn step(generation: u64, step: u64) -> PeerNodeEvent {
    let communicator = communicator(generation, &ALL);
    PeerNodeEvent::Work(WorkEvent::StepStarted { generation: Generation(generation), communicator, step })
}

/// It is done.
pub(super) fn done(generation: u64, step: u64) -> PeerNodeEvent {
    let communicator = communicator(generation, &ALL);
    PeerNodeEvent::Work(WorkEvent::StepDone { generation: Generation(generation), communicator, step })
}

pub(super) fn ping(generation: u64, rank: u32) -> Message {
    let communicator = communicator(generation, &ALL);
    Message::Ping { stamp: Stamp { generation: Generation(generation), communicator, rank: Rank(rank) }, seq: 1 }
}

pub(super) fn pong(generation: u64, rank: u32) -> Message {
    let communicator = communicator(generation, &ALL);
    Message::Pong { stamp: Stamp { generation: Generation(generation), communicator, rank: Rank(rank) }, seq: 1 }
}

/// What a member of generation 1 shows.
pub(super) fn status_with(change: impl FnOnce(&mut PeerStatus)) -> ClusterView {
    let group = group(1, &ALL);
    let mut status = PeerStatus {
        id: "r0".into(),
        incarnation: Incarnation(1),
        stage: Stage::Member,
        communicator: Some(group.id()),
        group: Some(Arc::new(group)),
        rank: Some(Rank(0)),
        activity: None,
        suspects: BTreeSet::new(),
        leader: Some(Rank(0)),
        promised: None,
        leads: None,
        sizes: PeerSizes::default(),
        waits_for: String::new(),
    };
    change(&mut status);
    ClusterView::Peer(Box::new(status))
}

/// A member of a generation that takes somebody for the leader.
pub(super) fn status(generation: u64, leader: Option<Rank>) -> ClusterView {
    status_with(|status| {
        status.group = Some(Arc::new(group(generation, &ALL)));
        status.leader = leader;
    })
}
