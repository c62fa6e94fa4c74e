//! Agreement of peers, as far as events alone tell it.

use crate::Cluster;
use squall::{Breach, NodeId};
use squall_recovery::{Ballot, Communicator, CommunicatorId, Event, Generation, Incarnation, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// AG1: a generation is decided once for all. AG2: who is named dead by a fresh value gave no promise that counted for it. AG7:
/// promises never go back, and nothing is accepted below one. CM1: a generation is one communicator, and each member is who it
/// says. CM4: generations rise.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Agreement {
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
        match event {
            Event::Decided { generation, value, .. } => self.decide(*generation, value),
            Event::Proposed { generation, value, adopted: None, counted, .. } => {
                match value.dead.iter().find(|rank| counted.contains(rank)) {
                    None => Ok(()),
                    Some(rank) => {
                        let message = format!("rank {rank} of generation {generation} is named dead, and promised");
                        Err(Breach::of("AG2", message))
                    }
                }
            }
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
    use crate::checkers::peers::testing::{R, accepted, decided, installed, promised, proposed};
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
            (vec![(0, proposed(1, (1, 0), &[4], None, &[0, 1, 2]))], None),
            (vec![(0, proposed(1, (1, 0), &[2], None, &[0, 1, 2]))], Some("AG2")),
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
    fn who_died_has_promised_nothing() {
        let topology = Topology { authority: Authority::Peers, replicas: 5, ..Topology::default() };
        let cluster = Cluster::new(topology, Settings::default(), Workload::default()).expect("five peers");
        let mut agreement = Agreement::default();
        assert_eq!(agreement.judge(&cluster, R[0], &promised(1, (2, 1))), Ok(()));
        agreement.forget(R[0]);
        assert_eq!(agreement.judge(&cluster, R[0], &promised(1, (1, 0))), Ok(()));
    }
}
