//! AG10: a value that a quorum may have accepted is the only one any later ballot proposes.
//!
//! Source: spec 2 (adoption), Paxos. Once a quorum accepted a value at a ballot, which nobody may know yet, every proposal of a
//! higher ballot of that generation names it, made before or after. Besides: one proposal per ballot.

use super::fold::decides;
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Ballot, Communicator, Event, Generation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Ballots {
    size: u32,
    proposed: BTreeMap<Ballot, (Value, EntryId)>,
    accepted: BTreeMap<Ballot, (Value, BTreeSet<Rank>)>,
    /// The lowest ballot at which a quorum accepted, and what.
    chosen: Option<(Ballot, Value, EntryId)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag10 {
    seats: BTreeMap<NodeId, (Generation, Rank)>,
    generations: BTreeMap<Generation, Ballots>,
}

/// The generations that are remembered.
const GENERATIONS: usize = 64;

impl Ag10 {
    fn on_installed(&mut self, node: NodeId, group: &Communicator, rank: Rank) {
        self.seats.insert(node, (group.generation, rank));
        self.generations.entry(group.generation).or_default().size = group.size();
        if self.generations.len() > GENERATIONS {
            self.generations.pop_first();
        }
    }

    /// A leader died after somebody accepted what it proposed, and before a quorum did.
    fn is_partial(&self, node: NodeId) -> bool {
        let Some((generation, rank)) = self.seats.get(&node) else { return false };
        let Some(ballots) = self.generations.get(generation) else { return false };
        let led = ballots.accepted.last_key_value().filter(|(ballot, _)| ballot.leader == *rank);
        led.is_some_and(|(_, (_, voters))| voters.len() > 1 && !decides(voters, ballots.size))
    }
}

impl Checker<Cluster> for Ag10 {
    fn property(&self) -> &'static str {
        "AG10"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "down"]);
        interest.events(&["installed", "proposed", "accepted"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(truth) = entry.fact {
            if matches!(truth, Truth::Down { .. }) && self.is_partial(entry.node) {
                findings.reached("leader died after a partial propose");
            }
            self.seats.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::Installed { group, rank, .. }) => self.on_installed(entry.node, group, *rank),
            Some(Event::Proposed { generation, ballot, value, adopted, counted }) => {
                if adopted.is_some_and(|adopted| adopted.leader != ballot.leader) {
                    findings.reached("value adopted by a later leader");
                }
                if adopted.is_some() && value.dead.iter().any(|dead| counted.contains(dead)) {
                    findings.reached("live member named by an adopted value");
                }
                let ballots = self.generations.entry(*generation).or_default();
                if let Some((_, told)) = ballots.proposed.insert(*ballot, (value.clone(), entry.id)) {
                    let message = format!("ballot {ballot} of generation {generation} has two proposals");
                    return findings.violated("AG10", entry.at, [told, entry.id], message);
                }
                let chosen = ballots.chosen.as_ref().filter(|(at, chosen, _)| at < ballot && chosen != value);
                if let Some((at, chosen, told)) = chosen {
                    let message = format!(
                        "ballot {ballot} of generation {generation} proposes {value:?}, but a quorum accepted {chosen:?} at {at}"
                    );
                    findings.violated("AG10", entry.at, [*told, entry.id], message);
                }
            }
            Some(Event::Accepted { generation, ballot, value }) => {
                let Some((_, rank)) = self.seats.get(&entry.node) else { return };
                let ballots = self.generations.entry(*generation).or_default();
                let (_, voters) = ballots.accepted.entry(*ballot).or_insert_with(|| (value.clone(), BTreeSet::new()));
                voters.insert(*rank);
                if !decides(voters, ballots.size) || ballots.chosen.as_ref().is_some_and(|(at, ..)| at <= ballot) {
                    return;
                }
                ballots.chosen = Some((*ballot, value.clone(), entry.id));
                let later = ballots.proposed.range(ballot..).find(|(_, (proposed, _))| proposed != value);
                if let Some((later, (proposed, told))) = later {
                    let message = format!(
                        "a quorum of generation {generation} accepts {value:?} at {ballot}, but {later} proposed {proposed:?}"
                    );
                    findings.violated("AG10", entry.at, [*told, entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, peers, proposed};
    use super::*;

    #[test]
    fn what_a_quorum_accepted_stands() {
        let start = || {
            let start = peers(Ag10::default()).found().event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 2]));
            (0..3).fold(start, |history, rank| history.event(R[rank], accepted(1, (1, 0), &[4])))
        };
        start().event(R[1], proposed(1, (2, 1), &[4], Some((1, 0)), &[1, 2, 3])).holds();
        start().event(R[1], proposed(1, (2, 1), &[0], None, &[1, 2, 3])).violated("a quorum accepted");
        start().event(R[1], proposed(2, (2, 1), &[0], None, &[1, 2, 3])).holds();
        start().event(R[0], proposed(1, (1, 0), &[], None, &[0, 1, 2])).violated("two proposals");
    }

    #[test]
    fn a_quorum_that_comes_later_is_seen_too() {
        let start = peers(Ag10::default()).found().event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 2]));
        let start = start.event(R[1], proposed(1, (2, 1), &[0], None, &[1, 2, 3]));
        let two = (0..2).fold(start, |history, rank| history.event(R[rank], accepted(1, (1, 0), &[4])));
        two.event(R[2], accepted(1, (1, 0), &[4])).violated("but 2.1 proposed");
    }
}
