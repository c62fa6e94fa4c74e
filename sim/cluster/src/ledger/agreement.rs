//! Agreement of peers, as far as events alone tell it.

use super::votes::Votes;
use crate::Cluster;
use squall::{Breach, NodeId};
use squall_recovery::{Ballot, Communicator, CommunicatorId, Event, Generation, Incarnation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// AG1: a generation is decided once for all. AG2: who is named dead by a fresh value was suspected, and gave no promise that
/// counted for it. AG7: promises never go back, and nothing is accepted below one. AG9, AG10: see [`Votes`]. CM1: a generation is
/// one communicator, and each member is who it says. CM4: generations rise.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Agreement {
    suspected: BTreeSet<(Generation, Rank)>,
    votes: Votes,
    decided: BTreeMap<Generation, Value>,
    promised: BTreeMap<(NodeId, Generation), Ballot>,
    groups: BTreeMap<Generation, (Arc<Communicator>, CommunicatorId)>,
    installed: BTreeMap<(NodeId, Incarnation), Generation>,
}

impl Agreement {
    /// A process died, and everything that it promised with it: it comes back as somebody else.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.promised.retain(|(whose, _), _| *whose != node);
    }

    pub(super) fn judge(&mut self, cluster: &Cluster, node: NodeId, event: &Event) -> Result<(), Breach> {
        if let Event::Proposed { generation, value, adopted: None, counted, .. } = event {
            self.propose(*generation, value, counted)?;
        }
        if let Event::Proposed { generation, .. }
        | Event::Accepted { generation, .. }
        | Event::Decided { generation, .. } = event
            && let Some((group, _)) = self.groups.get(generation)
        {
            self.votes.judge(cluster, node, group, event)?;
        }
        match event {
            Event::Suspected { generation, rank } => {
                self.suspected.insert((*generation, *rank));
                Ok(())
            }
            Event::Decided { generation, value, .. } => self.decide(*generation, value),
            Event::Promised { generation, ballot } => self.promise(node, *generation, *ballot, "promises"),
            Event::Accepted { generation, ballot, .. } => self.promise(node, *generation, *ballot, "accepts at"),
            Event::Installed { communicator, group, rank, incarnation, .. } => {
                let listed = group.members.get(rank.0 as usize);
                if listed.is_none_or(|member| (&*member.id, member.incarnation) != (cluster.name(node), *incarnation)) {
                    let message = format!("generation {} is installed as rank {rank}, somebody else", group.generation);
                    return Err(Breach::of("CM1", message));
                }
                self.install(node, *incarnation, group, *communicator)
            }
            _ => Ok(()),
        }
    }

    fn propose(&self, generation: Generation, value: &Value, counted: &BTreeSet<Rank>) -> Result<(), Breach> {
        for rank in value.dead.iter() {
            let problem = if !self.suspected.contains(&(generation, *rank)) {
                "but nobody suspected it"
            } else if counted.contains(rank) {
                "but its promise counted in this ballot"
            } else {
                continue;
            };
            return Err(Breach::of(
                "AG2",
                format!("rank {rank} of generation {generation} is proposed dead, {problem}"),
            ));
        }
        Ok(())
    }

    fn decide(&mut self, generation: Generation, value: &Value) -> Result<(), Breach> {
        let first = self.decided.entry(generation).or_insert_with(|| value.clone());
        if first == value {
            return Ok(());
        }
        Err(Breach::of("AG1", format!("generation {generation} is decided as {value:?}, and as {first:?} before")))
    }

    fn promise(&mut self, node: NodeId, generation: Generation, ballot: Ballot, does: &str) -> Result<(), Breach> {
        let before = self.promised.insert((node, generation), ballot);
        match before.filter(|before| *before > ballot) {
            None => Ok(()),
            Some(before) => {
                let message = format!("in generation {generation} it {does} {ballot:?} after {before:?}");
                Err(Breach::of("AG7", message))
            }
        }
    }

    fn install(
        &mut self,
        node: NodeId,
        who: Incarnation,
        group: &Arc<Communicator>,
        name: CommunicatorId,
    ) -> Result<(), Breach> {
        let generation = group.generation;
        let first = self.groups.entry(generation).or_insert_with(|| (group.clone(), name));
        if *first != (group.clone(), name) {
            return Err(Breach::of("CM1", format!("generation {generation} has two communicators")));
        }
        match self.installed.insert((node, who), generation).filter(|before| *before >= generation) {
            None => Ok(()),
            Some(before) => Err(Breach::of("CM4", format!("generation {generation} is installed after {before}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::peers::testing::{R, accepted, decided, installed, promised, proposed, suspects};
    use crate::{Authority, Settings, Topology, Workload};
    use squall::System;

    fn check(events: &[(usize, Event)]) -> Option<&'static str> {
        let topology = Topology { authority: Authority::Peers, replicas: 5, ..Topology::default() };
        let cluster = Cluster::new(topology, Settings::default(), Workload::default()).expect("five peers");
        let mut agreement = Agreement::default();
        let mut judged = events.iter().map(|(rank, event)| agreement.judge(&cluster, R[*rank], event));
        let early = judged.by_ref().take(events.len() - 1).find_map(Result::err);
        assert_eq!(early, None, "only the last event may be wrong");
        judged.next().and_then(Result::err).map(|breach| breach.property)
    }

    #[test]
    fn each_property_holds_and_breaks() {
        let four = [0, 1, 2, 3];
        for (events, breach) in [
            (vec![(0, decided(1, (1, 0), &[4], &[0, 1, 2])), (1, decided(1, (3, 1), &[4], &[1, 2, 3]))], None),
            (vec![(0, decided(1, (1, 0), &[4], &[0, 1, 2])), (1, decided(1, (3, 1), &[3], &[1, 2, 3]))], Some("AG1")),
            (vec![(1, suspects(1, 4)), (0, proposed(1, (1, 0), &[4], None, &[0, 1, 2]))], None),
            (vec![(1, suspects(1, 2)), (0, proposed(1, (1, 0), &[2], None, &[0, 1, 2]))], Some("AG2")),
            (vec![(1, suspects(2, 4)), (0, proposed(1, (1, 0), &[4], None, &[0, 1, 2]))], Some("AG2")),
            (vec![(0, proposed(1, (2, 0), &[2], Some((1, 1)), &[0, 1, 2]))], None),
            (vec![(0, promised(1, (2, 1))), (0, accepted(1, (2, 1), &[4])), (1, promised(1, (1, 0)))], None),
            (vec![(0, promised(1, (2, 1))), (0, promised(1, (1, 2)))], Some("AG7")),
            (vec![(0, promised(1, (2, 1))), (0, accepted(1, (1, 0), &[4]))], Some("AG7")),
            (vec![(0, installed(2, 0, &four, Some(0))), (3, installed(2, 3, &four, Some(3)))], None),
            (vec![(0, installed(2, 0, &four, Some(0))), (1, installed(2, 1, &[0, 1, 2], Some(1)))], Some("CM1")),
            (vec![(3, installed(2, 2, &four, Some(3)))], Some("CM1")),
            (vec![(0, installed(3, 0, &four, None)), (0, installed(2, 0, &four, None))], Some("CM4")),
        ] {
            assert_eq!(check(&events), breach, "{events:?}");
        }
    }

    #[test]
    fn a_quorum_accepts_what_is_decided_and_binds_what_is_proposed() {
        let all = [0, 1, 2, 3, 4];
        let found = |rank: usize| (rank, installed(1, rank as u32, &all, None));
        let accepts = |ranks: &[usize], at, dead: &[u32]| -> Vec<(usize, Event)> {
            ranks.iter().map(|rank| (*rank, accepted(1, at, dead))).collect()
        };
        let again = |dead: &[u32], adopted| (1, proposed(1, (3, 1), dead, adopted, &[0, 1, 2]));
        let suspected = [(0, suspects(1, 3)), (0, suspects(1, 4))];
        let three = accepts(&[0, 1, 2], (1, 0), &[4]);
        let two = accepts(&[0, 1], (1, 0), &[4]);
        for (votes, last, breach) in [
            (&three, (0, decided(1, (1, 0), &[4], &[0, 1, 2])), None),
            (&three, (0, decided(1, (1, 0), &[4], &[0, 1])), Some("AG9")),
            (&three, (0, decided(1, (1, 0), &[4], &[0, 1, 3])), Some("AG9")),
            (&three, (0, decided(1, (1, 0), &[3], &[0, 1, 2])), Some("AG9")),
            (&three, (0, decided(1, (2, 0), &[4], &[0, 1, 2])), Some("AG9")),
            (&three, again(&[4], Some((1, 0))), None),
            (&three, again(&[3], None), Some("AG10")),
            (&three, (1, proposed(2, (3, 1), &[3], Some((1, 0)), &[0, 1, 2])), None),
            (&two, again(&[3], None), None),
            (&[&two[..], &[again(&[3], None)]].concat(), (2, accepted(1, (1, 0), &[4])), Some("AG10")),
            (&[again(&[4], Some((1, 0)))].to_vec(), again(&[4], Some((1, 0))), Some("AG10")),
        ] {
            let events = [&[found(0)][..], &suspected, votes, std::slice::from_ref(&last)].concat();
            assert_eq!(check(&events), breach, "{votes:?}, then {last:?}");
        }
    }

    #[test]
    fn who_died_has_promised_nothing() {
        let topology = Topology { authority: Authority::Peers, replicas: 5, ..Topology::default() };
        let cluster = Cluster::new(topology, Settings::default(), Workload::default()).expect("five peers");
        let mut agreement = Agreement::default();
        assert_eq!(agreement.judge(&cluster, R[0], &promised(1, (2, 1))), Ok(()));
        agreement.forget(R[0]);
        assert_eq!(agreement.judge(&cluster, R[0], &promised(1, (1, 0))), Ok(()));
    }
}
