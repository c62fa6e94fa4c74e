//! Who is alive: only answers prove it.

use super::seat::{Seat, WATCHED};
use super::{Out, Peer, PeerReply, members_of};
use crate::event::{Inactivity, Start};
use crate::{Event, Ignored, Message, Policy, Rank};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use squall_machine::Time;

/// What is known about somebody who is asked for signs of life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Watched {
    /// The newest ping that it answered, or the last one before it was watched.
    pub(super) answered: u64,
    /// When it answered last, or when it was first asked.
    pub(super) heard: Time,
}

impl Seat {
    /// Whom to ask for signs of life: the next ranks; everybody who wasn't heard in this generation, since work waits for
    /// them; the suspected, whose suspicion ends when they answer; the leader, while work stands still; and everybody whose
    /// answer a leader awaits.
    fn targets(&self) -> BTreeSet<Rank> {
        let size = self.group.size();
        let next = (1..=WATCHED.min(size - 1)).map(|step| Rank((self.rank.0 + step) % size));
        let mut targets: BTreeSet<Rank> = next.chain(self.suspects.iter().copied()).collect();
        if self.heard.len() < size as usize {
            targets.extend(self.others().filter(|rank| !self.heard.contains(rank)));
        }
        targets.extend(self.awaited());
        if self.appeals() {
            targets.insert(self.leader());
        }
        targets
    }

    /// Whether this peer tells another one that it is taken for the leader.
    fn appeals(&self) -> bool {
        self.is_inactive() && self.driven && self.lead.is_none() && !self.takes_itself_for_leader()
    }

    /// Somebody answered: it lives.
    pub(super) fn clear(&mut self, now: Time, rank: Rank, effects: &mut Out) {
        if let Some(watched) = self.watch.get_mut(&rank) {
            watched.heard = now;
        }
        if self.suspects.remove(&rank) {
            effects.event(Event::Cleared { generation: self.group.generation, rank });
        }
    }
}

impl Peer {
    /// Adjusts whom this peer watches, and suspects who was asked and left it without an answer for too long.
    pub(super) fn look(&mut self, now: Time, effects: &mut Out) {
        let timeout = self.config.knobs.peer_timeout;
        let Some(seat) = &mut self.seat else { return };
        let targets = seat.targets();
        seat.watch.retain(|rank, _| targets.contains(rank));
        for rank in targets {
            seat.watch.entry(rank).or_insert(Watched { answered: seat.seq, heard: now });
        }
        let silent = seat.watch.iter().filter(|(_, watched)| now.since(watched.heard) >= timeout);
        let silent: Vec<Rank> = silent.map(|(rank, _)| *rank).filter(|rank| !seat.suspects.contains(rank)).collect();
        if silent.is_empty() {
            return;
        }
        let awaited = seat.awaited();
        self.suspect(&silent, effects);
        if !self.stopped && silent.iter().any(|rank| awaited.contains(rank)) {
            self.next_ballot(now, Start::Suspicion, effects);
        }
    }

    /// Suspects members who weren't.
    pub(super) fn suspect(&mut self, silent: &[Rank], effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        let generation = seat.group.generation;
        for &rank in silent {
            assert!(rank != seat.rank, "nobody suspects itself");
            assert!(seat.suspects.insert(rank), "rank {rank} is suspected already");
            effects.event(Event::Suspected { generation, rank });
            if let Some(lead) = &mut seat.lead {
                lead.forget_promise(rank);
            }
        }
        seat.transition_to_inactive(Inactivity::Suspicion, effects);
        match self.config.policy {
            Policy::Automatic => {}
            Policy::Manual => {
                let newly = members_of(&seat.group, silent.iter().copied());
                self.stream.on_suspected(generation, newly, self.config.knobs.notices_kept);
            }
            Policy::Abort => {
                let suspects = seat.suspects.iter().copied().collect();
                effects.event(Event::RecoveryFailed { generation, suspects });
                let suspects = members_of(&seat.group, seat.suspects.iter().copied());
                effects.reply(PeerReply::Aborted { suspects });
                self.stopped = true;
            }
        }
    }

    /// Sends what is due with every tick: pings, the appeal, and everything that wasn't answered.
    pub(super) fn ask(&mut self, now: Time, effects: &mut Out) {
        if self.stopped {
            return;
        }
        let Some(seat) = &mut self.seat else { return };
        seat.seq += 1;
        let (stamp, seq) = (seat.stamp(), seat.seq);
        let leader = seat.appeals().then(|| seat.leader());
        if let Some(leader) = leader {
            seat.watch.entry(leader).or_insert(Watched { answered: seq - 1, heard: now });
        }
        for &rank in seat.watch.keys() {
            let message =
                if leader == Some(rank) { Message::Appeal { stamp, seq } } else { Message::Ping { stamp, seq } };
            effects.send_volatile(seat.address(rank), message);
        }
        seat.repeat(effects);
    }

    /// A message of this generation from a member: it is there.
    pub(super) fn on_heard(&mut self, rank: Rank, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        if seat.heard.insert(rank) {
            seat.consider_active(effects);
        }
    }

    pub(super) fn on_ping(&mut self, rank: Rank, seq: u64, effects: &mut Out) {
        let Some(seat) = &self.seat else { return };
        effects.send_volatile(seat.address(rank), Message::Pong { stamp: seat.stamp(), seq });
    }

    pub(super) fn on_pong(&mut self, now: Time, rank: Rank, seq: u64, effects: &mut Out) -> Result<(), Ignored> {
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        let newest = seat.seq;
        let Some(watched) = seat.watch.get_mut(&rank).filter(|watched| watched.answered < seq && seq <= newest) else {
            return Err(Ignored::StalePong);
        };
        watched.answered = seq;
        seat.clear(now, rank, effects);
        Ok(())
    }

    /// Somebody can't work and takes this peer for the leader. A ballot of another leader that was just promised gets one
    /// ping interval to come to its end: two leaders who outbid each other at the speed of the network would never end.
    pub(super) fn on_appeal(&mut self, now: Time, rank: Rank, seq: u64, effects: &mut Out) {
        self.on_ping(rank, seq, effects);
        let ping = self.config.knobs.ping;
        let Some(seat) = &self.seat else { return };
        let just_promised = seat.promised.is_some() && now.since(seat.promised_at) < ping;
        if seat.lead.is_none() && seat.retry_at.is_none() && !just_promised {
            self.start_round(now, Start::Told, effects);
        }
    }
}

impl Seat {
    /// Work starts when every member was heard, unless somebody is suspected or something is promised by then.
    pub(super) fn consider_active(&mut self, effects: &mut Out) {
        let complete = self.heard.len() == self.group.members.len();
        if complete && self.activity == super::Activity::Installed {
            self.transition_to_active(effects);
        }
    }
}
