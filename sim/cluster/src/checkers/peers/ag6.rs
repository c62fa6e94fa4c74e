//! AG6: only messages of exactly this (generation, ballot) count, decisions excepted.
//!
//! Source: spec 2. Judged at each Counted: it names the generation in which the leader is, and the ballot that it began last;
//! and its sender has promised, or accepted, exactly that. A
//! ballot is over once somebody is suspected whose answer it awaits: the next one starts at once, so nothing counts in it any more,
//! and its deadline is not waited for.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::Time;
use squall_recovery::{Answer, Ballot, Event, Generation, Rank, Start};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag6 {
    seats: BTreeMap<NodeId, (Generation, Rank)>,
    led: BTreeMap<NodeId, Led>,
    promised: BTreeSet<(Generation, Ballot, Rank)>,
    accepted: BTreeSet<(Generation, Ballot, Rank)>,
}

/// The ballot that a process began last.
#[derive(Debug)]
struct Led {
    generation: Generation,
    ballot: Ballot,
    /// Who answered what is asked now.
    answered: BTreeSet<Rank>,
    /// The first of those who were suspected while their answer was awaited.
    over: Option<(Rank, Time)>,
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
            Some(led) if led.generation != generation => {
                return Some(format!("the leader is in generation {}", led.generation));
            }
            Some(led) if led.ballot != ballot => return Some(format!("the leader is at ballot {}", led.ballot)),
            Some(Led { over: Some((rank, _)), .. }) => {
                return Some(format!("rank {rank} was suspected, which ended that ballot"));
            }
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

impl Ag6 {
    /// A ballot begins.
    fn on_round(
        &mut self,
        node: NodeId,
        (generation, ballot): (Generation, Ballot),
        start: Start,
        at: Time,
    ) -> Option<String> {
        let led = Led { generation, ballot, answered: BTreeSet::new(), over: None };
        let before = self.led.insert(node, led).filter(|before| before.generation == generation)?;
        // A deadline that passes suspects the silent and starts the next ballot in one step.
        let (rank, _) = before.over.filter(|(_, since)| start == Start::Deadline && *since < at)?;
        Some(format!("ballot {} waited for its deadline, although rank {rank} was suspected in it", before.ballot))
    }

    /// The proposal of a ballot: other answers are awaited from now on.
    fn on_proposed(&mut self, node: NodeId, ballot: Ballot) -> Option<String> {
        let led = self.led.get_mut(&node).filter(|led| led.ballot == ballot)?;
        led.answered.clear();
        let (rank, _) = led.over?;
        Some(format!("ballot {ballot} proposes, although rank {rank} was suspected in it while its answer was awaited"))
    }

    fn on_suspected(&mut self, node: NodeId, generation: Generation, rank: Rank, at: Time) {
        let Some(led) = self.led.get_mut(&node).filter(|led| led.generation == generation) else { return };
        if !led.answered.contains(&rank) {
            led.over.get_or_insert((rank, at));
        }
    }
}

impl Checker<Cluster> for Ag6 {
    fn property(&self) -> &'static str {
        "AG6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&[
            "installed",
            "round_started",
            "promised",
            "accepted",
            "counted",
            "proposed",
            "peer_suspected",
        ]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.seats.remove(&entry.node);
            self.led.remove(&entry.node);
        }
        let problem = match recovery(entry) {
            Some(Event::Installed { group, rank, .. }) => {
                self.seats.insert(entry.node, (group.generation, *rank));
                self.led.remove(&entry.node);
                None
            }
            Some(Event::RoundStarted { generation, ballot, start }) => {
                if *start == Start::Suspicion {
                    findings.reached("ballot restarted by a new suspicion");
                }
                self.on_round(entry.node, (*generation, *ballot), *start, entry.at)
            }
            Some(Event::Promised { generation, ballot }) => {
                self.say(entry.node, *generation, *ballot, false);
                None
            }
            Some(Event::Accepted { generation, ballot, .. }) => {
                self.say(entry.node, *generation, *ballot, true);
                None
            }
            Some(Event::Proposed { ballot, .. }) => self.on_proposed(entry.node, *ballot),
            Some(Event::Suspected { generation, rank }) => {
                self.on_suspected(entry.node, *generation, *rank, entry.at);
                None
            }
            Some(Event::Counted { generation, ballot, from, answer }) => {
                let problem = self.problem(entry.node, *generation, *ballot, *from, *answer);
                if let Some(led) = self.led.get_mut(&entry.node) {
                    led.answered.insert(*from);
                }
                problem.map(|problem| {
                    format!(
                        "{answer:?} of rank {from} at ballot {ballot} of generation {generation} counts, but {problem}"
                    )
                })
            }
            _ => None,
        };
        if let Some(problem) = problem {
            findings.violated("AG6", entry.at, [entry.id], problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, counted, peers, promised, proposed, round, suspects};
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

    #[test]
    fn a_suspicion_of_whoever_is_awaited_ends_the_ballot() {
        let start = || {
            let led = peers(Ag6::default()).found().event(R[0], round(1, (2, 0)));
            let said = led.event(R[1], promised(1, (2, 0))).event(R[2], promised(1, (2, 0)));
            said.event(R[0], counted(1, (2, 0), 1, Answer::Promise))
        };
        let promise = || counted(1, (2, 0), 2, Answer::Promise);
        start().event(R[0], suspects(1, 1)).event(R[0], promise()).holds();
        start().event(R[0], suspects(1, 3)).event(R[0], promise()).violated("rank 3 was suspected");
        let by_deadline = |at| Event::RoundStarted {
            generation: Generation(1),
            ballot: Ballot { round: at, leader: Rank(0) },
            start: Start::Deadline,
        };
        start().event(R[0], by_deadline(3)).holds();
        start().event(R[0], suspects(1, 3)).event(R[0], round(1, (3, 0))).event(R[0], by_deadline(4)).holds();
        start().event(R[0], suspects(1, 3)).event(R[0], by_deadline(3)).holds();
        start().event(R[0], suspects(1, 3)).at(5).event(R[0], by_deadline(3)).violated("waited for its deadline");
        let proposes = || proposed(1, (2, 0), &[3, 4], None, &[0, 1, 2]);
        start().event(R[0], proposes()).event(R[0], suspects(1, 1)).event(R[0], round(1, (3, 0))).holds();
        start().event(R[0], suspects(1, 3)).event(R[0], proposes()).violated("proposes, although rank 3");
    }
}
