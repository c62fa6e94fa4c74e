//! CM4: installed generations strictly increase per member.
//!
//! Source: spec 2. A member is an incarnation, wherever it runs: a restarted process that goes on as the one before would
//! install, and vote in, what that one left. And a stay is unbroken: who was left out of a generation is in no later one, and who
//! has been a member doesn't join as the same incarnation.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Scene};
use squall_machine::Text;
use squall_recovery::{Communicator, Event, Generation, Incarnation, Member};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm4 {
    installed: BTreeMap<(NodeId, Incarnation), (Generation, EntryId)>,
    /// The newest generation of which each incarnation is a member.
    stays: BTreeMap<(Text, Incarnation), Generation>,
    newest: Generation,
}

impl Cm4 {
    /// Who of a new group was left out of one before.
    fn returns(&mut self, group: &Communicator) -> Option<Text> {
        if group.generation <= self.newest {
            return None;
        }
        let before = std::mem::replace(&mut self.newest, group.generation);
        let mut returned = None;
        for member in group.members.iter() {
            let left = self.stays.insert((member.id.clone(), member.incarnation), group.generation);
            // Only if every generation in between was seen is it certain that it was left out.
            if left.is_some_and(|left| left < before) && before.next() == group.generation {
                returned = Some(member.id.clone());
            }
        }
        returned
    }
}

impl Checker<Cluster> for Cm4 {
    fn property(&self) -> &'static str {
        "CM4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.events(&["installed", "decided"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Some(Event::Decided { generation, value, .. }) = recovery(entry) {
            let stay = |joiner: &Member| self.stays.get(&(joiner.id.clone(), joiner.incarnation));
            if let Some(joiner) = value.joined.iter().find(|joiner| stay(joiner).is_some_and(|last| last <= generation))
            {
                let id = &joiner.id;
                let message =
                    format!("{id} joins after generation {generation} as an incarnation that has been a member");
                findings.violated("CM4", entry.at, [entry.id], message);
            }
        }
        let Some(Event::Installed { group, incarnation, .. }) = recovery(entry) else { return };
        let generation = group.generation;
        if let Some(id) = self.returns(group) {
            let message = format!("{id} is back in generation {generation} as the incarnation that was left out");
            findings.violated("CM4", entry.at, [entry.id], message);
        }
        let before = self.installed.insert((entry.node, *incarnation), (generation, entry.id));
        if let Some((before, told)) = before.filter(|(before, _)| *before >= generation) {
            let message = format!("incarnation {incarnation} installs generation {generation} after {before}");
            findings.violated("CM4", entry.at, [told, entry.id], message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, decided, installed, peers};
    use super::*;
    use squall_machine::Address;
    use squall_recovery::Value;

    #[test]
    fn generations_rise() {
        let start = || peers(Cm4::default()).found().event(R[0], installed(3, 0, &[0, 1, 2], None));
        start().event(R[0], installed(4, 0, &[0, 1], Some(0))).holds();
        start().event(R[0], installed(3, 0, &[0, 1, 2], None)).violated("generation 3 after 3");
        start().event(R[0], installed(2, 0, &[0, 1, 2, 3], None)).violated("generation 2 after 3");
        start()
            .event(R[0], installed(4, 0, &[0, 1], Some(0)))
            .event(R[0], installed(5, 0, &[0, 1, 2], Some(0)))
            .violated("back");
        start().down(R[1]).up(R[1]).event(R[1], installed(1, 1, &[0, 1, 2, 3, 4], None)).violated("1 after 1");
    }
    #[test]
    fn nobody_joins_who_has_been_a_member() {
        let joins = |incarnation| {
            let Event::Decided { generation, ballot, value, voters, learnt } = decided(1, (1, 0), &[4], &[0, 1, 2])
            else {
                unreachable!()
            };
            let joiner = Member { id: "r4".into(), incarnation: Incarnation(incarnation), address: Address(4) };
            let value = Value { joined: [joiner].into(), ..value };
            Event::Decided { generation, ballot, value, voters, learnt }
        };
        let start = || peers(Cm4::default()).found();
        start().event(R[0], joins(77)).holds();
        start().event(R[0], joins(5)).violated("r4 joins after generation 1 as an incarnation that has been a member");
        // Who learns it late sees it work already.
        let next = installed(2, 0, &[0, 1, 2, 3, 4], Some(0));
        start().event(R[0], next).event(R[1], joins(5)).holds();
    }
}
