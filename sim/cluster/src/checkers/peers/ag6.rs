//! AG6: only messages of exactly this (generation, ballot) count, decisions excepted.
//!
//! Source: spec 2. Judged at each Counted: it names the generation in which the leader is, and the ballot that it began last;
//! and its sender has promised, or accepted, exactly that.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Answer, Ballot, Event, Generation, Rank, Start};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag6 {
    seats: BTreeMap<NodeId, (Generation, Rank)>,
    led: BTreeMap<NodeId, (Generation, Ballot)>,
    promised: BTreeSet<(Generation, Ballot, Rank)>,
    accepted: BTreeSet<(Generation, Ballot, Rank)>,
}

/// The voters' words that are remembered; older ones belong to generations that are long over.
const WORDS: usize = 65_536;

impl Ag6 {
    fn problem(
        &self,
        node: NodeId,
        generation: Generation,
        ballot: Ballot,
        from: Rank,
        answer: Answer,
    ) -> Option<String> {
        match self.led.get(&node) {
            Some((here, _)) if *here != generation => return Some(format!("the leader is in generation {here}")),
            Some((_, led)) if *led != ballot => return Some(format!("the leader is at ballot {led}")),
            None => return Some("its receiver leads nothing".to_owned()),
            Some(_) => {}
        }
        let said = match answer {
            Answer::Promise => &self.promised,
            Answer::Accept => &self.accepted,
        };
        (!said.contains(&(generation, ballot, from))).then(|| "its sender never said so".to_owned())
    }

    fn say(&mut self, node: NodeId, generation: Generation, ballot: Ballot, accepts: bool) {
        let Some((_, rank)) = self.seats.get(&node) else { return };
        let said = if accepts { &mut self.accepted } else { &mut self.promised };
        said.insert((generation, ballot, *rank));
        if said.len() > WORDS {
            said.pop_first();
        }
    }
}

impl Checker<Cluster> for Ag6 {
    fn property(&self) -> &'static str {
        "AG6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["installed", "round_started", "promised", "accepted", "counted"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.seats.remove(&entry.node);
            self.led.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::Installed { group, rank, .. }) => {
                self.seats.insert(entry.node, (group.generation, *rank));
                self.led.remove(&entry.node);
            }
            Some(Event::RoundStarted { generation, ballot, start }) => {
                if *start == Start::Suspicion {
                    findings.reached("ballot restarted by a new suspicion");
                }
                self.led.insert(entry.node, (*generation, *ballot));
            }
            Some(Event::Promised { generation, ballot }) => self.say(entry.node, *generation, *ballot, false),
            Some(Event::Accepted { generation, ballot, .. }) => self.say(entry.node, *generation, *ballot, true),
            Some(Event::Counted { generation, ballot, from, answer }) => {
                if let Some(problem) = self.problem(entry.node, *generation, *ballot, *from, *answer) {
                    let message = format!(
                        "{answer:?} of rank {from} at ballot {ballot} of generation {generation} counts, but {problem}"
                    );
                    findings.violated("AG6", entry.at, [entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, counted, peers, promised, round};
    use super::*;

    #[test]
    fn answers_count_at_their_ballot_only() {
        let start = || peers(Ag6::default()).found().event(R[0], round(1, (2, 0))).event(R[1], promised(1, (2, 0)));
        let promise = |generation, ballot, rank| counted(generation, ballot, rank, Answer::Promise);
        start().event(R[0], promise(1, (2, 0), 1)).holds();
        start().event(R[0], promise(1, (2, 0), 2)).violated("never said so");
        start().event(R[0], promise(1, (1, 0), 1)).violated("is at ballot 2.0");
        start().event(R[0], promise(2, (2, 0), 1)).violated("is in generation 1");
        start().event(R[3], promise(1, (2, 0), 1)).violated("leads nothing");
        let accept = || counted(1, (2, 0), 1, Answer::Accept);
        start().event(R[0], accept()).violated("never said so");
        start().event(R[1], accepted(1, (2, 0), &[4])).event(R[0], accept()).holds();
    }
}
