//! Who is heard, who is silent, and what the watch makes of it.

use super::{Out, Published, Seat, tell};
use crate::published::agree::Stage;
use squall_machine::{Address, Span, Time};
use squall_recovery::{Communicator, Event, Ignored, Message, Rank, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one rank knows of the others.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Watch {
    /// The group whose ranks the failure list names.
    pub(super) first: Arc<Communicator>,
    /// When the next beat is due.
    beat_at: Time,
    beats: u64,
    /// When each of the others was last heard.
    heard_at: BTreeMap<Rank, Time>,
    /// Who was heard in this group.
    heard_here: BTreeSet<Rank>,
    /// Whose silence was seen in this group.
    pub(super) silent: BTreeSet<Rank>,
    /// Failures since the list was last read, in ranks of the first group.
    seen: BTreeSet<Rank>,
    /// FLAW: all failures ever, in ranks of the first group, also after a rebuild has given everybody another rank. In the product a
    /// suspicion belongs to a generation and ends with it.
    pub(super) failed: BTreeSet<Rank>,
    /// When the watch fires although nothing was seen.
    again_at: Option<Time>,
}

impl Watch {
    pub(super) fn new(now: Time, group: &Arc<Communicator>, own: Rank) -> Self {
        let others = || group.ranks().filter(|rank| *rank != own);
        Self {
            first: group.clone(),
            beat_at: now,
            beats: 0,
            heard_at: others().map(|rank| (rank, now)).collect(),
            heard_here: BTreeSet::from([own]),
            silent: BTreeSet::new(),
            seen: BTreeSet::new(),
            failed: BTreeSet::new(),
            again_at: None,
        }
    }

    /// The watch after a rebuild.
    pub(super) fn rebuilt(self, now: Time, group: &Arc<Communicator>, own: Rank, again: Span) -> Self {
        Self {
            // FLAW: once its list is handled, the watch forgets that it was, and fires again for the same failure. In the product a
            // decision ends every suspicion of its generation.
            again_at: Some(now + again),
            failed: self.failed,
            first: self.first,
            beats: self.beats,
            // FLAW: `seen` begins anew. What was seen between the read that began the recovery and this moment is gone unread. In the
            // product a new suspicion starts the next ballot at once, and what is still silent is suspected in the next generation.
            ..Self::new(now, group, own)
        }
    }

    pub(super) fn has_heard_all(&self) -> bool {
        self.heard_here.len() > self.heard_at.len()
    }

    pub(super) fn next(&self) -> Time {
        self.beat_at
    }

    /// Who is silent and was not before.
    fn newly_silent(&mut self, now: Time, timeout: Span) -> Vec<Rank> {
        let overdue = self.heard_at.iter().filter(|(_, at)| now.since(**at) >= timeout).map(|(rank, _)| *rank);
        let new: Vec<Rank> = overdue.filter(|rank| !self.silent.contains(rank)).collect();
        self.silent.extend(&new);
        new
    }

    /// Reads and clears what was seen. Whether it fires.
    fn read(&mut self, now: Time) -> bool {
        let again = self.again_at.is_some_and(|at| at <= now);
        if again {
            self.again_at = None;
        }
        let news = !self.seen.is_empty();
        self.failed.append(&mut self.seen);
        news || again
    }
}

impl Published {
    /// A beat to everybody, and a look at who is silent.
    pub(super) fn watch(&mut self, now: Time, effects: &mut Out) {
        let knobs = self.config.knobs.clone();
        let Some(seat) = self.seat.as_mut().filter(|seat| seat.watch.beat_at <= now) else { return };
        seat.watch.beat_at = now + knobs.ping;
        seat.watch.beats += 1;
        for (_, member) in others(seat) {
            effects.send_volatile(member, Message::Ping { stamp: seat.stamp(), seq: seat.watch.beats });
        }
        for rank in seat.watch.newly_silent(now, knobs.peer_timeout) {
            tell(effects, Event::Suspected { generation: seat.group.generation, rank });
            let member = seat.group.member(rank).and_then(|one| seat.watch.first.rank_of(&one.id, one.incarnation));
            seat.watch.seen.extend(member);
        }
        if seat.stage == Stage::Idle && seat.watch.read(now) {
            self.recover(now, effects);
        }
    }

    /// Somebody is alive.
    pub(super) fn on_beat(&mut self, now: Time, stamp: Stamp, from: Address, effects: &mut Out) -> Result<(), Ignored> {
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        let Some((rank, _)) = others(seat).into_iter().find(|(_, address)| *address == from) else {
            return Err(Ignored::ImpossibleRank);
        };
        seat.watch.heard_at.insert(rank, now);
        if stamp.generation == seat.group.generation && stamp.communicator == seat.group.id() {
            seat.watch.heard_here.insert(rank);
        }
        self.activate(now, effects);
        Ok(())
    }
}

/// The other members and where they are reached.
pub(super) fn others(seat: &Seat) -> Vec<(Rank, Address)> {
    let members = seat.group.ranks().zip(seat.group.members.iter());
    members.filter(|(rank, _)| *rank != seat.rank).map(|(rank, member)| (rank, member.address)).collect()
}
