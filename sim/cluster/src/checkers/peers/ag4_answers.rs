//! AG4, what its first half rests on: whoever is suspected was silent, and is suspected no longer once it answers.
//!
//! Source: spec 2: suspicion comes after `peer_timeout` without an *answer* (or with the deadline of a ballot that awaits one), and
//! ends when the peer answers again. Nobody is suspected sooner than that after a generation was installed, one of the next three
//! ranks no sooner after it answered a ping, and nobody sooner after a silence of the suspecting process itself, for which it blames
//! nobody. An answer to a ping that was sent under the suspicion ends it at once. A ballot's deadline is that of the law, doubled
//! with each one that has passed; then all are suspected whose answer it awaited, and nothing counts in it any more.

use super::ag4_silence::NEXT;
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::{Address, Span, Time};
use squall_node::PeerNodeMessage;
use squall_recovery::{Event, Generation, Knobs, Message, Rank, Stamp, Start};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag4Answers {
    seats: BTreeMap<NodeId, Seat>,
}

/// A process in a generation.
#[derive(Debug)]
struct Seat {
    generation: Generation,
    rank: Rank,
    members: Vec<Address>,
    /// When it was installed, or was last silent itself.
    since: Time,
    /// When it began the ballot that it began last, later by the silences of its own since.
    led: Option<Time>,
    /// Who answered what is asked in that ballot.
    counted: BTreeSet<Rank>,
    /// How many deadlines have passed.
    overruns: u32,
    /// The newest ping that each of the others answered.
    answered: BTreeMap<Rank, Answered>,
    suspects: BTreeMap<Rank, Suspicion>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    seq: u64,
    at: Time,
    /// When the newest one before was answered: what is due comes before the message that is handed over at that moment.
    before: Time,
}

#[derive(Debug, Default)]
struct Suspicion {
    /// The first ping that was sent under it.
    asked: Option<u64>,
    /// The answer that it didn't survive, if it was right.
    answer: Option<(EntryId, Time)>,
}

impl Seat {
    fn rank_at(&self, node: NodeId) -> Option<Rank> {
        let index = self.members.iter().position(|address| NodeId::of_address(*address).0 == node)?;
        Some(Rank(index as u32))
    }

    fn always_watches(&self, rank: Rank) -> bool {
        let size = self.members.len() as u32;
        (rank.0 + size - self.rank.0) % size <= NEXT
    }

    /// Since when nothing was known, before this moment, that speaks for this rank.
    fn silent_since(&self, rank: Rank, now: Time) -> Time {
        let answered = self.answered.get(&rank).filter(|_| self.always_watches(rank));
        let at = answered.map(|answered| if answered.at < now { answered.at } else { answered.before });
        at.map_or(self.since, |at| at.max(self.since))
    }

    /// A ballot begins, by the deadline of the one before if it says so.
    fn on_round(&mut self, at: Time, start: Start, knobs: &Knobs) -> Option<String> {
        let led = self.led.replace(at);
        let counted = std::mem::take(&mut self.counted);
        if start != Start::Deadline {
            return None;
        }
        let (lasted, deadline) = (at.since(led?), knobs.deadline(self.overruns));
        self.overruns = self.overruns.saturating_add(1);
        // It is up to a tenth shorter than the law says.
        if lasted < least(deadline, 8) {
            return Some(format!("is past the deadline of {deadline} after {lasted}"));
        }
        let known = |rank: &Rank| *rank == self.rank || counted.contains(rank) || self.suspects.contains_key(rank);
        let silent = (0..self.members.len() as u32).map(Rank).find(|rank| !known(rank))?;
        Some(format!("is past its deadline, and doesn't suspect rank {silent}, which it awaited"))
    }

    /// Something counts in the ballot.
    fn on_counted(&self, at: Time, knobs: &Knobs) -> Option<String> {
        let (lasted, deadline) = (at.since(self.led?), knobs.deadline(self.overruns));
        let most = deadline + deadline / 50 + knobs.ping * 2;
        (lasted > most).then(|| format!("goes on with a ballot after {lasted}, past its deadline of {deadline}"))
    }

    fn on_ping(&mut self, to: NodeId, seq: u64) {
        let Some(rank) = self.rank_at(to) else { return };
        if let Some(suspicion) = self.suspects.get_mut(&rank) {
            suspicion.asked.get_or_insert(seq);
        }
    }

    fn on_pong(&mut self, stamp: Stamp, seq: u64, (id, at): (EntryId, Time)) {
        if stamp.generation != self.generation {
            return;
        }
        let newest = self.answered.entry(stamp.rank).or_insert(Answered { seq: 0, at: self.since, before: self.since });
        if newest.seq < seq {
            let before = if newest.at < at { newest.at } else { newest.before };
            *newest = Answered { seq, at, before };
        }
        if let Some(suspicion) = self.suspects.get_mut(&stamp.rank)
            && suspicion.asked.is_some_and(|asked| asked <= seq)
        {
            suspicion.answer.get_or_insert((id, at));
        }
    }
}

impl Ag4Answers {
    fn update(&mut self, entry: &Entry<'_, Cluster>, event: &Event, cluster: &Cluster) -> Option<String> {
        let at = entry.at;
        if let Event::Installed { group, rank, .. } = event {
            let members = group.members.iter().map(|member| member.address).collect();
            let (generation, answered, suspects) = (group.generation, BTreeMap::new(), BTreeMap::new());
            let (rank, since, counted) = (*rank, at, BTreeSet::new());
            let seat = Seat { generation, rank, members, since, led: None, counted, overruns: 0, answered, suspects };
            self.seats.insert(entry.node, seat);
            return None;
        }
        if let Event::SelfFenced { .. } | Event::RecoveryFailed { .. } = event {
            self.seats.remove(&entry.node);
            return None;
        }
        let seat = self.seats.get_mut(&entry.node)?;
        let knobs = cluster.peer_knobs();
        match event {
            Event::Stalled { gap } => {
                seat.since = at;
                seat.led = seat.led.map(|led| led + *gap);
            }
            Event::RoundStarted { start, .. } => return seat.on_round(at, *start, knobs),
            Event::Proposed { .. } => {
                seat.counted.clear();
                return seat.on_counted(at, knobs);
            }
            Event::Counted { from, .. } => {
                seat.counted.insert(*from);
                return seat.on_counted(at, knobs);
            }
            Event::Cleared { rank, .. } => drop(seat.suspects.remove(rank)),
            Event::Suspected { rank, .. } => {
                seat.suspects.insert(*rank, Suspicion::default());
                // Clocks may drift by a few thousandths, and a deadline is up to a tenth shorter than the law says.
                let (timeout, deadline) = (least(knobs.peer_timeout, 50), least(knobs.deadline(0), 8));
                let silent = at.since(seat.silent_since(*rank, at));
                let by_deadline = seat.led.is_some_and(|led| at.since(led) >= deadline);
                return (silent < timeout && !by_deadline)
                    .then(|| format!("suspects rank {rank}, which can't have been silent for more than {silent}"));
            }
            _ => {}
        }
        None
    }

    /// A suspicion that has outlived an answer, told at whatever this process does next.
    fn outlived(&mut self, node: NodeId, now: Option<EntryId>) -> Option<(EntryId, String)> {
        let suspects = &mut self.seats.get_mut(&node)?.suspects;
        let (rank, id, at) = suspects.iter().find_map(|(rank, suspicion)| {
            let (id, at) = suspicion.answer.filter(|(id, _)| Some(*id) != now)?;
            Some((*rank, id, at))
        })?;
        suspects.remove(&rank);
        Some((id, format!("suspects rank {rank}, which answered a ping of that time at {at}")))
    }
}

fn least(span: Span, part: u64) -> Span {
    span.minus(span / part)
}

impl Checker<Cluster> for Ag4Answers {
    fn property(&self) -> &'static str {
        "AG4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "down"]);
        interest.sent(&["ping", "appeal"]);
        interest.delivered(&["pong"]);
        interest.events(&[
            "installed",
            "self_fenced",
            "recovery_failed",
            "peer_suspected",
            "peer_cleared",
            "peer_stalled",
            "round_started",
            "counted",
            "proposed",
        ]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let problem = match entry.fact {
            Fact::Truth(Truth::Up { .. } | Truth::Down { .. }) => {
                self.seats.remove(&entry.node);
                None
            }
            Fact::Sent { hop, message: crate::Message::Peer(PeerNodeMessage::Recovery(message)) } => {
                if let Message::Ping { seq, .. } | Message::Appeal { seq, .. } = message
                    && let Some(seat) = self.seats.get_mut(&entry.node)
                {
                    seat.on_ping(hop.to, *seq);
                }
                None
            }
            Fact::Delivered { hop, message: crate::Message::Peer(PeerNodeMessage::Recovery(message)) } => {
                if let Message::Pong { stamp, seq } = message
                    && let Some(seat) = self.seats.get_mut(&hop.to)
                {
                    seat.on_pong(*stamp, *seq, (entry.id, entry.at));
                }
                self.outlived(hop.to, Some(entry.id))
            }
            _ => recovery(entry)
                .and_then(|event| self.update(entry, event, scene.system))
                .map(|problem| (entry.id, problem)),
        };
        if let Some((id, problem)) = problem {
            let node = if let Fact::Delivered { hop, .. } = entry.fact { hop.to } else { entry.node };
            findings.violated("AG4", entry.at, [id], format!("{} {problem}", scene.system.name(node)));
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let nodes: Vec<NodeId> = self.seats.keys().copied().collect();
        for node in nodes {
            if let Some((id, problem)) = self.outlived(node, None) {
                findings.violated("AG4", scene.now, [id], format!("{} {problem}", scene.system.name(node)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{R, communicator, counted, peers, round, suspects};
    use super::*;
    use squall_recovery::{Answer, Ballot};

    fn stamped(rank: u32) -> Stamp {
        Stamp { generation: Generation(1), communicator: communicator(1, &[0, 1, 2, 3, 4]), rank: Rank(rank) }
    }

    fn start() -> History<Ag4Answers> {
        peers(Ag4Answers::default()).found()
    }

    fn pong(history: History<Ag4Answers>, rank: u32, seq: u64) -> History<Ag4Answers> {
        history.delivers(R[rank as usize], R[0], Message::Pong { stamp: stamped(rank), seq })
    }

    #[test]
    fn who_is_suspected_was_silent() {
        start().at(2_000).event(R[0], suspects(1, 4)).holds();
        start().at(1_900).event(R[0], suspects(1, 4)).violated("silent for more than 1.9s");
        // Of the next three each answer to a newer ping counts.
        pong(start().at(1_000), 1, 5).at(2_900).event(R[0], suspects(1, 1)).violated("rank 1, which can't");
        pong(start().at(1_000), 1, 5).at(3_000).event(R[0], suspects(1, 1)).holds();
        pong(pong(start(), 1, 5).at(1_000), 1, 5).at(2_500).event(R[0], suspects(1, 1)).holds();
        // What is due comes first.
        pong(start().at(2_100), 1, 5).event(R[0], suspects(1, 1)).holds();
        pong(pong(start().at(1_000), 1, 5).at(2_100), 1, 6).event(R[0], suspects(1, 1)).violated("more than 1.1s");
        pong(start().at(1_000), 4, 5).at(2_900).event(R[0], suspects(1, 4)).holds();
        let stalled = Event::Stalled { gap: Span::from_millis(900) };
        start().at(1_500).event(R[0], stalled).at(2_500).event(R[0], suspects(1, 1)).violated("more than 1s");
        // A ballot's deadline needs no silence.
        let led = |at| pong(start().event(R[0], round(1, (1, 0))).at(at - 10), 1, 20).at(at);
        led(4_500).event(R[0], suspects(1, 1)).holds();
        led(4_000).event(R[0], suspects(1, 1)).violated("rank 1");
    }

    #[test]
    fn a_deadline_is_kept_and_suspects_the_silent() {
        let again = |round, start| Event::RoundStarted {
            generation: Generation(1),
            ballot: Ballot { round, leader: Rank(0) },
            start,
        };
        let counts = |from| counted(1, (1, 0), from, Answer::Promise);
        let led = || start().event(R[0], round(1, (1, 0))).event(R[0], counts(1)).event(R[0], counts(2));
        let silent = |history: History<Ag4Answers>| history.event(R[0], suspects(1, 3)).event(R[0], suspects(1, 4));
        let over = |at| silent(led().at(at)).event(R[0], again(2, Start::Deadline));
        over(4_600).holds();
        let early = silent(led().at(4_000)).event(R[0], again(2, Start::Suspicion)).at(8_000);
        early.event(R[0], again(3, Start::Deadline)).violated("past the deadline of 5s after 4s");
        led().at(4_600).event(R[0], suspects(1, 3)).event(R[0], again(2, Start::Deadline)).violated("suspect rank 4");
        // The next one has twice the time.
        over(4_600).at(10_000).event(R[0], again(3, Start::Deadline)).violated("past the deadline of 10s");
        over(4_600).at(10_000).event(R[0], counted(1, (2, 0), 1, Answer::Promise)).holds();
        led().at(6_000).event(R[0], counts(3)).violated("goes on with a ballot after 6s");
        let stalled = Event::Stalled { gap: Span::from_secs(1) };
        led().at(3_000).event(R[0], stalled).at(6_000).event(R[0], counts(3)).holds();
    }

    #[test]
    fn who_answers_is_suspected_no_longer() {
        let asked = || {
            let suspecting = start().at(2_500).event(R[0], suspects(1, 3));
            suspecting.sends_from(R[0], R[3], Message::Ping { stamp: stamped(0), seq: 13 }).at(2_600)
        };
        let cleared = || Event::Cleared { generation: Generation(1), rank: Rank(3) };
        pong(asked(), 3, 13).event(R[0], cleared()).end().holds();
        pong(asked(), 3, 13).end().violated("r0 suspects rank 3, which answered a ping");
        pong(pong(asked(), 3, 14), 1, 13).violated("rank 3, which answered");
        // What answers an older ping may have come before, and be known.
        pong(asked(), 3, 12).end().holds();
        pong(asked(), 2, 13).end().holds();
    }
}
