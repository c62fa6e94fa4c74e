//! AG2, its other half: the voters of a ballot are all whom its leader doesn't suspect, and whoever one of them suspects is in
//! the fresh value, unless its own promise counts there.
//!
//! Source: spec 2 (the union of suspicions, minus all whose promise was counted; the leader is a voter like any other; it awaits all
//! that it doesn't suspect, and a promise counts unless its sender is suspected anew). A voter's suspicions are those that it has
//! kept from its promise until that counts, the leader's those that it has when it proposes.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Answer, Ballot, Event, Generation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag2Union {
    seats: BTreeMap<NodeId, Seat>,
}

/// A process in a generation.
#[derive(Debug)]
struct Seat {
    generation: Generation,
    rank: Rank,
    size: u32,
    suspects: BTreeSet<Rank>,
    /// Its promise, and whom it has suspected since.
    promised: Option<(Ballot, BTreeSet<Rank>)>,
    /// What the counted voters of its own ballot are known to suspect.
    counted: BTreeMap<Rank, BTreeSet<Rank>>,
}

impl Ag2Union {
    /// What the voter has suspected since it promised this ballot.
    fn vow(&self, generation: Generation, ballot: Ballot, voter: Rank) -> BTreeSet<Rank> {
        let mut seats = self.seats.values();
        let seat = seats.find(|seat| seat.generation == generation && seat.rank == voter);
        let promised = seat.and_then(|seat| seat.promised.as_ref()).filter(|(promised, _)| *promised == ballot);
        promised.map(|(_, suspects)| suspects.clone()).unwrap_or_default()
    }

    /// Somebody whose promise counts although the leader suspects it, or who should have been awaited.
    fn wrong_voter(&self, node: NodeId, voters: &BTreeSet<Rank>) -> Option<String> {
        let seat = self.seats.get(&node)?;
        if let Some(rank) = voters.iter().find(|rank| seat.suspects.contains(rank)) {
            return Some(format!("counts the promise of rank {rank}, which its leader suspects"));
        }
        let awaited = |rank: &Rank| !voters.contains(rank) && !seat.suspects.contains(rank);
        let rank = (0..seat.size).map(Rank).find(awaited)?;
        Some(format!("hasn't waited for rank {rank}, which its leader doesn't suspect"))
    }

    fn missing(&self, node: NodeId, value: &Value, voters: &BTreeSet<Rank>) -> Option<(Rank, Rank)> {
        let seat = self.seats.get(&node)?;
        let own = seat.suspects.iter().map(|suspect| (seat.rank, *suspect));
        let others = seat.counted.iter().filter(|(voter, _)| voters.contains(voter));
        let others = others.flat_map(|(voter, suspects)| suspects.iter().map(|suspect| (*voter, *suspect)));
        own.chain(others).find(|(_, suspect)| !voters.contains(suspect) && !value.dead.contains(suspect))
    }
}

impl Checker<Cluster> for Ag2Union {
    fn property(&self) -> &'static str {
        "AG2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&[
            "installed",
            "self_fenced",
            "peer_suspected",
            "peer_cleared",
            "promised",
            "round_started",
            "counted",
            "proposed",
        ]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.seats.remove(&entry.node);
        }
        let Some(event) = recovery(entry) else { return };
        match event {
            Event::Installed { group, rank, .. } => {
                let (generation, suspects, counted) = (group.generation, BTreeSet::new(), BTreeMap::new());
                let (rank, size) = (*rank, group.size());
                self.seats.insert(entry.node, Seat { generation, rank, size, suspects, promised: None, counted });
            }
            Event::SelfFenced { .. } => drop(self.seats.remove(&entry.node)),
            Event::Counted { generation, ballot, from, answer: Answer::Promise } => {
                let vow = self.vow(*generation, *ballot, *from);
                if let Some(seat) = self.seats.get_mut(&entry.node) {
                    seat.counted.insert(*from, vow);
                }
            }
            Event::Proposed { ballot, value, adopted, counted, .. } => {
                let problem = self.wrong_voter(entry.node, counted).or_else(|| {
                    let (voter, suspect) = self.missing(entry.node, value, counted).filter(|_| adopted.is_none())?;
                    Some(format!("proposes {value:?}, without rank {suspect}, which its voter {voter} suspects"))
                });
                if let Some(problem) = problem {
                    findings.violated("AG2", entry.at, [entry.id], format!("ballot {ballot} {problem}"));
                }
            }
            other => {
                let Some(seat) = self.seats.get_mut(&entry.node) else { return };
                match other {
                    Event::Suspected { rank, .. } => drop(seat.suspects.insert(*rank)),
                    Event::Cleared { rank, .. } => {
                        seat.suspects.remove(rank);
                        if let Some((_, kept)) = &mut seat.promised {
                            kept.remove(rank);
                        }
                    }
                    Event::Promised { ballot, .. } => seat.promised = Some((*ballot, seat.suspects.clone())),
                    Event::RoundStarted { .. } => seat.counted.clear(),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{R, counted, peers, promised, proposed, round, suspects};
    use super::*;

    #[test]
    fn a_fresh_value_names_whom_its_voters_suspect() {
        let voter = |before: History<Ag2Union>| {
            let said = before.event(R[0], round(1, (1, 0))).event(R[1], promised(1, (1, 0)));
            said.event(R[0], counted(1, (1, 0), 1, Answer::Promise))
        };
        let start =
            || voter(peers(Ag2Union::default()).found().event(R[0], suspects(1, 3)).event(R[1], suspects(1, 4)));
        let proposes = |dead: &[u32], counted: &[u32]| proposed(1, (1, 0), dead, None, counted);
        start().event(R[0], suspects(1, 4)).event(R[0], proposes(&[3, 4], &[0, 1, 2])).holds();
        start().event(R[0], proposes(&[3], &[0, 1, 2, 4])).holds();
        start().event(R[0], proposes(&[], &[0, 1, 2, 4])).violated("without rank 3, which its voter 0 suspects");
        let two = || peers(Ag2Union::default()).found().event(R[1], suspects(1, 4)).event(R[0], suspects(1, 4));
        let cleared = || Event::Cleared { generation: Generation(1), rank: Rank(4) };
        let anew = |rank| voter(two()).event(R[0], suspects(1, rank));
        anew(3).event(R[0], proposes(&[3], &[0, 1, 2])).violated("without rank 4");
        // The vow of somebody who doesn't count counts nothing.
        let alone = voter(peers(Ag2Union::default()).found().event(R[1], suspects(1, 4)));
        alone.event(R[0], suspects(1, 1)).event(R[0], proposes(&[1], &[0, 2, 3, 4])).holds();
        anew(3).event(R[0], proposed(1, (1, 0), &[], Some((1, 3)), &[0, 1, 2])).holds();
        let withdrawn = peers(Ag2Union::default()).found().event(R[1], suspects(1, 4)).event(R[1], cleared());
        voter(withdrawn).event(R[0], proposes(&[], &[0, 1, 2, 3, 4])).holds();
    }

    #[test]
    fn all_are_voters_whom_the_leader_does_not_suspect() {
        let start = || peers(Ag2Union::default()).found().event(R[0], suspects(1, 4)).event(R[0], round(1, (1, 0)));
        let proposes = |counted: &[u32]| proposed(1, (1, 0), &[4], None, counted);
        start().event(R[0], proposes(&[0, 1, 2, 3])).holds();
        start().event(R[0], proposes(&[0, 1, 2])).violated("hasn't waited for rank 3");
        start().event(R[0], proposes(&[0, 1, 2, 3, 4])).violated("counts the promise of rank 4");
        start().event(R[0], proposed(1, (1, 0), &[], Some((1, 3)), &[0, 1, 2])).violated("hasn't waited");
    }
}
