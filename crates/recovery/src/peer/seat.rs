//! A peer's place in one generation: whom it watches and suspects, what it promised and accepted, what it leads.

use super::Out;
use super::lead::Lead;
use super::watch::Watched;
use crate::{Ballot, Communicator, CommunicatorId, Event, Message, Rank, Stamp, Value, event::Inactivity};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use squall_machine::{Address, Time};

/// How many ranks after its own a peer watches.
pub(super) const WATCHED: u32 = 3;

/// Whether a member may work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Activity {
    /// Not yet: not every member was heard in this generation.
    Installed,
    /// Yes.
    Active,
    /// No more in this generation: it suspected somebody, or promised a ballot.
    Inactive,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Seat {
    pub(super) group: Arc<Communicator>,
    pub(super) id: CommunicatorId,
    pub(super) rank: Rank,
    pub(super) activity: Activity,
    /// Who was heard in this generation. (activity = Installed; complete ever after Active)
    pub(super) heard: BTreeSet<Rank>,
    /// Whom this peer asks for signs of life.
    pub(super) watch: BTreeMap<Rank, Watched>,
    pub(super) suspects: BTreeSet<Rank>,
    /// The last round of pings.
    pub(super) seq: u64,
    /// The highest ballot that it takes part in, and since when.
    pub(super) promised: Option<Ballot>,
    pub(super) promised_at: Time,
    /// What it accepted last, at a ballot not above its promise.
    pub(super) accepted: Option<(Ballot, Value)>,
    /// The ballot that it leads, which is the one that it promised.
    pub(super) lead: Option<Lead>,
    /// The highest round that a refusal named.
    pub(super) refused: u64,
    /// When an outbid leader tries again. (lead = None)
    pub(super) retry_at: Option<Time>,
    /// How many deadlines of its ballots passed.
    pub(super) overruns: u32,
    /// Whether it does something about its suspicions: at once, or once it is asked to.
    pub(super) driven: bool,
}

impl Seat {
    pub(super) fn new(group: Arc<Communicator>, rank: Rank, now: Time, driven: bool) -> Self {
        assert!(group.member(rank).is_some(), "a seat is a member's");
        Self {
            id: group.id(),
            rank,
            activity: Activity::Installed,
            heard: BTreeSet::from([rank]),
            watch: BTreeMap::new(),
            suspects: BTreeSet::new(),
            seq: 0,
            promised: None,
            promised_at: now,
            accepted: None,
            lead: None,
            refused: 0,
            retry_at: None,
            overruns: 0,
            driven,
            group,
        }
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { generation: self.group.generation, communicator: self.id, rank: self.rank }
    }

    /// Whom this peer takes for the leader: the lowest rank that it doesn't suspect.
    pub(super) fn leader(&self) -> Rank {
        assert!(!self.suspects.contains(&self.rank), "nobody suspects itself");
        self.group.ranks().find(|rank| !self.suspects.contains(rank)).unwrap_or(self.rank)
    }

    pub(super) fn takes_itself_for_leader(&self) -> bool {
        self.leader() == self.rank
    }

    pub(super) fn is_inactive(&self) -> bool {
        self.activity == Activity::Inactive
    }

    pub(super) fn address(&self, rank: Rank) -> Address {
        assert!(rank != self.rank, "nobody writes to itself");
        match self.group.member(rank) {
            Some(member) => member.address,
            None => unreachable!("rank {rank} was checked against the group"),
        }
    }

    /// Every other member.
    pub(super) fn others(&self) -> impl Iterator<Item = Rank> + use<> {
        let rank = self.rank;
        self.group.ranks().filter(move |other| *other != rank)
    }

    pub(super) fn send(&self, to: Rank, message: Message, effects: &mut Out) {
        effects.send(self.address(to), message);
    }

    pub(super) fn send_all(&self, message: &Message, effects: &mut Out) {
        for rank in self.others() {
            effects.send(self.address(rank), message.clone());
        }
    }

    /// Everybody was heard, nobody is suspected, nothing is promised: work may start.
    pub(super) fn transition_to_active(&mut self, effects: &mut Out) {
        assert_eq!(self.activity, Activity::Installed, "activity begins once per generation");
        assert!(self.suspects.is_empty() && self.promised.is_none(), "who suspects or promised is Inactive");
        self.activity = Activity::Active;
        effects.event(Event::GroupActive {
            generation: self.group.generation,
            communicator: self.id,
            rank: self.rank,
            size: self.group.size(),
        });
    }

    /// No work is started in this generation any more.
    pub(super) fn transition_to_inactive(&mut self, cause: Inactivity, effects: &mut Out) {
        if !self.is_inactive() {
            self.activity = Activity::Inactive;
            effects.event(Event::GroupInactive { generation: self.group.generation, cause });
        }
    }

    /// Promises a ballot: nothing below it is accepted from now on, and what this peer led below it is over.
    pub(super) fn promise(&mut self, now: Time, ballot: Ballot, effects: &mut Out) {
        assert!(self.promised < Some(ballot), "promises never go back");
        self.promised = Some(ballot);
        self.promised_at = now;
        self.lead = None;
        self.retry_at = None;
        effects.event(Event::Promised { generation: self.group.generation, ballot });
        self.transition_to_inactive(Inactivity::Promise, effects);
    }
}
