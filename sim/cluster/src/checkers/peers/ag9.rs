//! AG9: each decision has a quorum of Accepted at one ballot.
//!
//! Source: spec 2 (a majority, or exactly half with rank 0). Judged at each Decided: its voters are a quorum of the members, and
//! each of them has accepted this value at this ballot.

use super::fold::decides;
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Ballot, Event, Generation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A value, and who accepted it.
type Acceptances = (Value, BTreeSet<Rank>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag9 {
    seats: BTreeMap<NodeId, Rank>,
    sizes: BTreeMap<Generation, u32>,
    accepted: BTreeMap<(Generation, Ballot), Vec<Acceptances>>,
}

/// The ballots that are remembered; older ones belong to generations that are long over.
const BALLOTS: usize = 4_096;

impl Ag9 {
    fn problem(
        &self,
        generation: Generation,
        ballot: Ballot,
        value: &Value,
        voters: &BTreeSet<Rank>,
    ) -> Option<String> {
        let size = *self.sizes.get(&generation)?;
        if !decides(voters, size) {
            return Some(format!("{voters:?} of {size} members are no quorum"));
        }
        let accepted = self.accepted.get(&(generation, ballot)).and_then(|all| all.iter().find(|(v, _)| v == value));
        let liar = voters.iter().find(|voter| accepted.is_none_or(|(_, accepted)| !accepted.contains(voter)))?;
        Some(format!("rank {liar} never accepted it"))
    }
}

impl Checker<Cluster> for Ag9 {
    fn property(&self) -> &'static str {
        "AG9"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["installed", "accepted", "decided"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.seats.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::Installed { group, rank, .. }) => {
                self.seats.insert(entry.node, *rank);
                self.sizes.insert(group.generation, group.size());
            }
            Some(Event::Accepted { generation, ballot, value }) => {
                let Some(rank) = self.seats.get(&entry.node) else { return };
                let all = self.accepted.entry((*generation, *ballot)).or_default();
                match all.iter_mut().find(|(known, _)| known == value) {
                    Some((_, voters)) => drop(voters.insert(*rank)),
                    None => all.push((value.clone(), BTreeSet::from([*rank]))),
                }
                if self.accepted.len() > BALLOTS {
                    self.accepted.pop_first();
                }
            }
            Some(Event::Decided { generation, ballot, value, voters, .. }) => {
                if let Some(problem) = self.problem(*generation, *ballot, value, voters) {
                    let message = format!("generation {generation} is decided at ballot {ballot}, but {problem}");
                    findings.violated("AG9", entry.at, [entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, decided, installed, peers};
    use super::*;

    #[test]
    fn a_quorum_has_accepted_what_is_decided() {
        let start = || {
            let start = peers(Ag9::default()).found();
            (0..3).fold(start, |history, rank| history.event(R[rank], accepted(1, (1, 0), &[4])))
        };
        start().event(R[0], decided(1, (1, 0), &[4], &[0, 1, 2])).holds();
        start().event(R[0], decided(1, (1, 0), &[4], &[0, 1])).violated("are no quorum");
        start().event(R[0], decided(1, (1, 0), &[4], &[0, 1, 3])).violated("rank 3 never accepted");
        start().event(R[0], decided(1, (1, 0), &[3], &[0, 1, 2])).violated("never accepted");
        start().event(R[0], decided(1, (2, 0), &[4], &[0, 1, 2])).violated("never accepted");
    }

    #[test]
    fn half_decides_with_rank_0_only() {
        let half = |ranks: [usize; 2]| {
            let members = [0, 1, 2, 3];
            let start = peers(Ag9::default());
            let start =
                (0..4).fold(start, |history, rank| history.event(R[rank], installed(2, rank as u32, &members, None)));
            let voters = ranks.map(|rank| rank as u32);
            let start = ranks.iter().fold(start, |history, rank| history.event(R[*rank], accepted(2, (1, 0), &[])));
            start.event(R[ranks[0]], decided(2, (1, 0), &[], &voters))
        };
        half([0, 3]).holds();
        half([1, 2]).violated("are no quorum");
    }
}
