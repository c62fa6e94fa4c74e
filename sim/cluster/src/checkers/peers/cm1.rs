//! CM1: equal generation => equal communicator id, ranks and size; and different groups have different ids.
//!
//! Source: spec 2 (the id is a function of generation and members only). Judged at each Installed.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Scene};
use squall_recovery::{Communicator, CommunicatorId, Event, Generation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm1 {
    groups: BTreeMap<Generation, (Arc<Communicator>, CommunicatorId, EntryId)>,
    names: BTreeMap<CommunicatorId, Generation>,
}

impl Checker<Cluster> for Cm1 {
    fn property(&self) -> &'static str {
        "CM1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.events(&["installed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let Some(Event::Installed { communicator, group, rank, incarnation, .. }) = recovery(entry) else { return };
        let generation = group.generation;
        let listed = group.members.get(rank.0 as usize);
        if listed
            .is_none_or(|member| (&*member.id, member.incarnation) != (scene.system.name(entry.node), *incarnation))
        {
            let message = format!("generation {generation} is installed as rank {rank}, which is somebody else");
            findings.violated("CM1", entry.at, [entry.id], message);
        }
        if self.names.insert(*communicator, generation).is_some_and(|named| named != generation) {
            let message = format!("communicator {communicator} names two generations");
            findings.violated("CM1", entry.at, [entry.id], message);
        }
        let known = self.groups.entry(generation).or_insert_with(|| (group.clone(), *communicator, entry.id));
        if (&known.0, known.1) != (group, *communicator) {
            let message = format!("generation {generation} has two communicators");
            findings.violated("CM1", entry.at, [known.2, entry.id], message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, installed, peers};
    use super::*;

    #[test]
    fn a_generation_is_one_communicator() {
        let start = || peers(Cm1::default()).found().event(R[0], installed(2, 0, &[0, 1, 2, 3], Some(0)));
        start().event(R[3], installed(2, 3, &[0, 1, 2, 3], Some(3))).holds();
        start().event(R[2], installed(2, 1, &[0, 2, 3], Some(2))).violated("two communicators");
        start().event(R[3], installed(2, 2, &[0, 1, 2, 3], Some(3))).violated("somebody else");
        let Event::Installed { communicator, .. } = installed(2, 0, &[0, 1, 2, 3], None) else { unreachable!("built") };
        let mut reused = installed(3, 0, &[0, 1, 2], Some(0));
        if let Event::Installed { communicator: name, .. } = &mut reused {
            *name = communicator;
        }
        start().event(R[0], reused).violated("names two generations");
    }
}
