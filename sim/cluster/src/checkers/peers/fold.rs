//! What is known of a group of peers from its history: who sits where, what was accepted, who can still decide.

use super::recovery;
use crate::Cluster;
use squall::{Entry, Fact, Interest, NodeId, NodeSet, Phase, Scene, Truth};
use squall_machine::{Span, Time};
use squall_recovery::{Ballot, Communicator, Event, Generation, Incarnation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a process is, by its own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    pub(super) generation: Generation,
    pub(super) rank: Rank,
    pub(super) incarnation: Incarnation,
    pub(super) active: bool,
    /// Suspected somebody, promised or accepted something in this generation.
    pub(super) troubled: bool,
}

/// What was said about one generation, by anybody, dead or alive.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) group: Option<Arc<Communicator>>,
    pub(super) accepted: BTreeMap<Ballot, Value>,
}

/// Follows all peers.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The processes that are members of something.
    pub(super) seats: BTreeMap<NodeId, Seat>,
    pub(super) said: BTreeMap<Generation, Said>,
    /// When the core was healed, and whether it can go on from there.
    pub(super) healed: Option<(Time, bool)>,
}

/// The generations that are remembered; nobody that is still needed is further behind.
const GENERATIONS: usize = 256;

impl Fold {
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["phase", "up", "down"]);
        interest.events(&[
            "installed",
            "group_active",
            "group_inactive",
            "self_fenced",
            "peer_suspected",
            "promised",
            "accepted",
        ]);
    }

    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        match entry.fact {
            Fact::Truth(Truth::Up { .. } | Truth::Down { .. }) => {
                self.seats.remove(&entry.node);
            }
            Fact::Truth(Truth::Phase { phase: Phase::Liveness, core }) => {
                self.healed = Some((entry.at, self.can_go_on(core, scene)));
            }
            _ => {}
        }
        let Some(event) = recovery(entry) else { return };
        match event {
            Event::Installed { group, rank, incarnation, .. } => {
                let (generation, rank, incarnation) = (group.generation, *rank, *incarnation);
                let seat = Seat { generation, rank, incarnation, active: false, troubled: false };
                self.seats.insert(entry.node, seat);
                self.said.entry(generation).or_default().group = Some(group.clone());
                if self.said.len() > GENERATIONS {
                    self.said.pop_first();
                }
            }
            Event::SelfFenced { .. } => {
                self.seats.remove(&entry.node);
            }
            Event::Accepted { generation, ballot, value } => {
                self.said.entry(*generation).or_default().accepted.insert(*ballot, value.clone());
            }
            _ => {}
        }
        let Some(seat) = self.seats.get_mut(&entry.node) else { return };
        match event {
            Event::GroupActive { .. } => seat.active = true,
            Event::GroupInactive { .. } => seat.active = false,
            Event::Suspected { .. } | Event::Promised { .. } | Event::Accepted { .. } => seat.troubled = true,
            _ => {}
        }
    }

    /// Whether the nodes of the core can decide: a quorum of the newest generation that one of them installed is among them,
    /// and one of each generation that may follow from what was accepted in it. What only those outside know helps nobody.
    pub(super) fn can_go_on(&self, core: &NodeSet, scene: &Scene<'_, Cluster>) -> bool {
        let seats = || self.seats.iter().filter(|(node, _)| core.contains(**node)).map(|(_, seat)| seat);
        let Some(newest) = seats().map(|seat| seat.generation).max() else { return false };
        let Some(Said { group: Some(group), accepted }) = self.said.get(&newest) else { return false };
        let alive: BTreeSet<Incarnation> = seats().map(|seat| seat.incarnation).collect();
        let mut next = accepted.values().map(|value| successor(group, value));
        scene.system.policy() == crate::Policy::Automatic
            && survives(group, &alive)
            && next.all(|group| survives(&group, &alive))
    }

    /// The seat of a node, if it is a member of something.
    pub(super) fn seat(&self, node: NodeId) -> Option<&Seat> {
        self.seats.get(&node)
    }
}

/// Whether so many of `size` decide: more than half of them, or exactly half with rank 0. Counted here anew.
pub(crate) fn decides(voters: &BTreeSet<Rank>, size: u32) -> bool {
    let counted = voters.iter().filter(|rank| rank.0 < size).count() as u32;
    counted > size - counted || counted == size - counted && voters.contains(&Rank(0))
}

/// The successor of a group by this value: computed here anew, by the words of the specification.
pub(super) fn successor(group: &Communicator, value: &Value) -> Communicator {
    let mut members = Vec::new();
    for (index, member) in group.members.iter().enumerate() {
        if !value.dead.contains(&Rank(index as u32)) {
            members.push(member.clone());
        }
    }
    let mut joined = value.joined.to_vec();
    joined.sort_by(|a, b| a.id.cmp(&b.id));
    members.extend(joined);
    Communicator { generation: group.generation.next(), members: members.into() }
}

fn survives(group: &Communicator, alive: &BTreeSet<Incarnation>) -> bool {
    let members = (0u32..).map(Rank).zip(group.members.iter());
    let left = members.filter(|(_, member)| alive.contains(&member.incarnation)).map(|(rank, _)| rank);
    decides(&left.collect(), group.size())
}

/// 2 peer_timeout + (f + 1) capped round deadlines + 4 L, with as many failures as there are nodes; and the ticks that each
/// step of it may wait for.
pub(crate) fn termination_bound(cluster: &Cluster, delay: Span) -> Span {
    let knobs = cluster.peer_knobs();
    let failures = cluster.nodes().len() as u64;
    knobs.peer_timeout * 2 + knobs.round_deadline_max * (failures + 1) + knobs.ping * 8 + delay * 4
}
