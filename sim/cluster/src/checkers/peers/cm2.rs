//! CM2: ranks: order-preserving, then joiners; later messages use the new numbering.
//!
//! Source: spec 2 (survivors keep their order, joiners follow in id order; everything later uses the new numbering). Each
//! Installed is compared with what follows from the generation before and what was decided about it; each message that speaks in
//! the name of the generation where its sender is names the rank that the sender has there.

use super::ag5::STAMPED;
use super::fold::successor;
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_node::PeerNodeMessage;
use squall_recovery::{Communicator, Event, Generation, Rank, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm2 {
    groups: BTreeMap<Generation, Arc<Communicator>>,
    decided: BTreeMap<Generation, Value>,
    seats: BTreeMap<NodeId, (Generation, Rank)>,
}

/// The generations that are remembered.
const GENERATIONS: usize = 64;

impl Cm2 {
    fn problem(&self, group: &Communicator) -> Option<String> {
        let generation = group.generation;
        let before = Generation(generation.0 - 1);
        let expected = successor(self.groups.get(&before)?, self.decided.get(&before)?);
        (expected != *group).then(|| format!("generation {generation} isn't what was decided about the one before"))
    }
}

impl Checker<Cluster> for Cm2 {
    fn property(&self) -> &'static str {
        "CM2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["installed", "decided"]);
        interest.sent(&STAMPED);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        match entry.fact {
            Fact::Truth(Truth::Up { .. }) => drop(self.seats.remove(&entry.node)),
            Fact::Sent { message: crate::Message::Peer(PeerNodeMessage::Recovery(message)), .. } => {
                let Some(stamp) = message.stamp() else { return };
                let seat = self.seats.get(&entry.node).filter(|(generation, _)| *generation == stamp.generation);
                if let Some((generation, rank)) = seat.filter(|(_, rank)| *rank != stamp.rank) {
                    let named = stamp.rank;
                    let message = format!("rank {rank} of generation {generation} calls itself {named} in a message");
                    findings.violated("CM2", entry.at, [entry.id], message);
                }
            }
            _ => {}
        }
        match recovery(entry) {
            Some(Event::Decided { generation, value, .. }) => {
                self.decided.insert(*generation, value.clone());
            }
            Some(Event::Installed { group, rank, .. }) => {
                if let Some(problem) = self.problem(group) {
                    findings.violated("CM2", entry.at, [entry.id], problem);
                }
                self.seats.insert(entry.node, (group.generation, *rank));
                self.groups.insert(group.generation, group.clone());
                if self.groups.len() > GENERATIONS {
                    self.groups.pop_first();
                    self.decided.pop_first();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, decided, installed, peers, ping};
    use super::*;

    #[test]
    fn survivors_keep_their_order() {
        let start = || peers(Cm2::default()).found().event(R[0], decided(1, (1, 0), &[1], &[0, 2, 3]));
        start().event(R[2], installed(2, 1, &[0, 2, 3, 4], Some(2))).holds();
        start().event(R[2], installed(2, 0, &[2, 0, 3, 4], Some(2))).violated("isn't what was decided");
        start().event(R[2], installed(2, 1, &[0, 2, 3], Some(2))).violated("isn't what was decided");
        start().event(R[2], installed(3, 1, &[0, 2, 3], None)).holds();
    }

    #[test]
    fn messages_use_the_new_numbering() {
        let start = || {
            let start = peers(Cm2::default()).found().event(R[0], decided(1, (1, 0), &[1], &[0, 2, 3]));
            start.event(R[2], installed(2, 1, &[0, 2, 3, 4], Some(2)))
        };
        start().sends_from(R[2], R[0], ping(2, 1)).holds();
        start().sends_from(R[2], R[0], ping(2, 2)).violated("calls itself 2");
    }
}
