//! AG2: validity: each member decided dead was suspected by somebody before, and no promise of it was counted in the ballot
//! that first proposed the value.
//!
//! Source: spec 2 (union of suspicions, minus all whose promise was counted). Judged at each Proposed that adopts nothing. A
//! promise counts from its Counted on, unless the leader suspects its sender anew.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Answer, Ballot, Event, Generation, Rank};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag2 {
    suspected: BTreeSet<(Generation, Rank)>,
    /// Whose promises count at each leader's ballot.
    counted: BTreeMap<NodeId, (Ballot, BTreeSet<Rank>)>,
}

impl Checker<Cluster> for Ag2 {
    fn property(&self) -> &'static str {
        "AG2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["peer_suspected", "round_started", "counted", "proposed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.counted.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::Suspected { generation, rank }) => {
                self.suspected.insert((*generation, *rank));
                if let Some((_, counted)) = self.counted.get_mut(&entry.node) {
                    counted.remove(rank);
                }
            }
            Some(Event::RoundStarted { ballot, .. }) => {
                self.counted.insert(entry.node, (*ballot, BTreeSet::new()));
            }
            Some(Event::Counted { ballot, from, answer: Answer::Promise, .. }) => {
                if let Some((led, counted)) = self.counted.get_mut(&entry.node)
                    && led == ballot
                {
                    counted.insert(*from);
                }
            }
            Some(Event::Proposed { generation, ballot, value, adopted: None, counted }) => {
                let heard = self.counted.get(&entry.node).filter(|(led, _)| led == ballot).map(|(_, heard)| heard);
                for dead in value.dead.iter() {
                    let problem = if !self.suspected.contains(&(*generation, *dead)) {
                        "but nobody suspected it"
                    } else if counted.contains(dead) || heard.is_some_and(|heard| heard.contains(dead)) {
                        "but its promise counted in this ballot"
                    } else {
                        continue;
                    };
                    let message =
                        format!("rank {dead} of generation {generation} is proposed dead at {ballot}, {problem}");
                    findings.violated("AG2", entry.at, [entry.id], message);
                    return;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, counted, peers, proposed, round, suspects};
    use super::*;

    #[test]
    fn who_is_proposed_dead_was_suspected_and_did_not_promise() {
        let start = || peers(Ag2::default()).found().event(R[3], suspects(1, 4)).event(R[0], round(1, (1, 0)));
        let promise = |rank| counted(1, (1, 0), rank, Answer::Promise);
        start().event(R[0], promise(1)).event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 2])).holds();
        start().event(R[0], proposed(1, (1, 0), &[3], None, &[0, 1, 2])).violated("nobody suspected");
        start().event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 4])).violated("its promise counted");
        start().event(R[0], promise(4)).event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 2])).violated("counted");
        let anew = || start().event(R[0], promise(4)).event(R[0], suspects(1, 4));
        anew().event(R[0], proposed(1, (1, 0), &[4], None, &[0, 1, 2])).holds();
        start().event(R[0], proposed(1, (1, 0), &[2], Some((1, 3)), &[0, 1, 2])).holds();
    }
}
