//! What a peer looks like from outside: plain data, for people and for checkers.

use super::lead::{Lead, Phase};
use super::seat::Seat;
use super::{Activity, Peer};
use crate::{Ballot, Communicator, CommunicatorId, Incarnation, Rank};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::Text;

/// How many ranks a reason names.
const RANKS_SHOWN: usize = 8;

/// What a process is to its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// The process has not booted.
    Off,
    /// It asks to be admitted.
    Joining,
    /// It is a member of the newest generation that it knows.
    Member,
    /// It has stopped: the policy is to abort.
    Stopped,
}

/// How much a peer keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PeerSizes {
    /// Members whom it watches.
    pub watched: usize,
    /// Known joiners.
    pub joiners: usize,
    /// Kept decisions.
    pub decisions: usize,
    /// Kept messages of later generations.
    pub early: usize,
    /// Kept notices.
    pub notices: usize,
    /// Local subscribers.
    pub subscribers: usize,
}

/// The state of a peer at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerStatus {
    /// Its id.
    pub id: Text,
    /// Its incarnation, which begins when it is admitted.
    pub incarnation: Incarnation,
    /// What it is to its group.
    pub stage: Stage,
    /// The communicator that is in force at this process.
    pub group: Option<Arc<Communicator>>,
    /// Its name.
    pub communicator: Option<CommunicatorId>,
    /// The rank of this process in it.
    pub rank: Option<Rank>,
    /// Whether it may work.
    pub activity: Option<Activity>,
    /// Whom it suspects.
    pub suspects: BTreeSet<Rank>,
    /// Whom it takes for the leader.
    pub leader: Option<Rank>,
    /// The highest ballot that it promised in this generation.
    pub promised: Option<Ballot>,
    /// The ballot that it leads.
    pub leads: Option<Ballot>,
    /// How much it keeps.
    pub sizes: PeerSizes,
    /// What it waits for before it can work, for people; empty if for nothing.
    pub waits_for: String,
}

impl Peer {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> PeerStatus {
        let seat = self.seat.as_deref();
        PeerStatus {
            id: self.me.id.clone(),
            incarnation: self.me.incarnation,
            stage: match (self.booted, self.stopped, seat) {
                (false, _, _) => Stage::Off,
                (true, true, _) => Stage::Stopped,
                (true, false, None) => Stage::Joining,
                (true, false, Some(_)) => Stage::Member,
            },
            group: seat.map(|seat| seat.group.clone()),
            communicator: seat.map(|seat| seat.id),
            rank: seat.map(|seat| seat.rank),
            activity: seat.map(|seat| seat.activity),
            suspects: seat.map(|seat| seat.suspects.clone()).unwrap_or_default(),
            leader: seat.map(Seat::leader),
            promised: seat.and_then(|seat| seat.promised),
            leads: seat.and_then(|seat| seat.lead.as_ref()).map(|lead| lead.ballot),
            sizes: PeerSizes {
                watched: seat.map_or(0, |seat| seat.watch.len()),
                joiners: self.joiners.len(),
                decisions: self.decisions.len(),
                early: self.early.len(),
                notices: self.stream.kept(),
                subscribers: self.stream.subscribers(),
            },
            waits_for: self.waits_for(),
        }
    }

    fn waits_for(&self) -> String {
        if !self.booted || self.stopped {
            return String::new();
        }
        let Some(seat) = &self.seat else {
            return format!("to be admitted by a member, asking {} contacts", self.config.contacts.len());
        };
        let generation = seat.group.generation;
        match seat.activity {
            Activity::Active => String::new(),
            Activity::Installed => {
                let silent = seat.group.ranks().filter(|rank| !seat.heard.contains(rank));
                format!("to hear {} in generation {generation}", ranks(silent))
            }
            Activity::Inactive if !seat.driven => {
                let suspects = ranks(seat.suspects.iter().copied());
                format!("for a request to recover: {suspects} suspected, and the policy is manual")
            }
            Activity::Inactive => match &seat.lead {
                Some(lead) => lead.waits_for(seat),
                None if seat.takes_itself_for_leader() => format!("to lead the next round of generation {generation}"),
                None => format!("for rank {} to lead a round of generation {generation}", seat.leader()),
            },
        }
    }
}

impl Lead {
    fn waits_for(&self, seat: &Seat) -> String {
        let awaited = seat.awaited();
        let (have, of, what) = match &self.phase {
            Phase::Collecting { vows } => (vows.len(), seat.group.size(), "promises"),
            Phase::Proposing { accepted, .. } => (accepted.len(), seat.group.size(), "acceptances"),
        };
        let ballot = self.ballot;
        if awaited.is_empty() {
            return format!(
                "for a quorum: ballot {ballot} has {have} {what} of {of} members, all others are suspected"
            );
        }
        format!("for {what} of {} at ballot {ballot}, {have} of {of} came", ranks(awaited))
    }
}

/// Names ranks, a few of them.
fn ranks(all: impl IntoIterator<Item = Rank>) -> String {
    let all: Vec<String> = all.into_iter().map(|rank| rank.to_string()).collect();
    let noun = if all.len() == 1 { "rank" } else { "ranks" };
    match all.len().checked_sub(RANKS_SHOWN) {
        None | Some(0) => format!("{noun} {}", all.join(", ")),
        Some(more) => format!("{noun} {} and {more} more", all[..RANKS_SHOWN].join(", ")),
    }
}
