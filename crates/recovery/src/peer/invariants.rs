//! The relations between a peer's fields that hold between any two steps.

use super::lead::Phase;
use super::seat::Seat;
use super::{Activity, Peer};
use crate::{Message, Rank};

impl Peer {
    pub(super) fn check(&self) {
        let knobs = &self.config.knobs;
        assert_eq!(self.me.id, self.config.member.id, "an id is for life");
        assert!(self.joiners.len() <= knobs.joiners_max as usize, "too many joiners");
        assert!(self.early.len() <= knobs.early_max as usize, "too many early messages");
        assert!(self.decisions.len() <= knobs.decisions_kept as usize, "too many decisions");
        assert_eq!(self.booted && self.seat.is_none(), self.join_at.is_some(), "who is no member asks to be one");
        let ordered = self.decisions.iter().is_sorted_by(|a, b| a.generation < b.generation);
        assert!(ordered, "decisions in the order of generations");
        self.stream.check(knobs.subscriber_queue, knobs.notices_kept, knobs.subscribers_max);
        let Some(seat) = &self.seat else { return };
        let newest = self.decisions.back().map(|decision| decision.generation);
        assert!(newest < Some(seat.group.generation), "what is decided is over");
        let me = seat.group.member(seat.rank);
        assert!(me.is_some_and(|me| (&me.id, me.incarnation) == (&self.me.id, self.me.incarnation)), "a foreign seat");
        for (_, message) in &self.early {
            let here = Some(seat.group.generation);
            let early = match message {
                Message::Decision { decision } => Some(decision.generation) > here,
                other => other.stamp().map(|stamp| stamp.generation) > here,
            };
            assert!(early, "an early message that is due");
        }
        seat.check();
    }
}

impl Seat {
    fn check(&self) {
        let size = self.group.size();
        let known = |rank: &Rank| rank.0 < size && *rank != self.rank;
        assert_eq!(self.id, self.group.id(), "a communicator has one name");
        assert!(self.suspects.iter().all(known), "a suspect that is nobody, or itself");
        assert!(self.watch.keys().all(known), "a watched rank that is nobody, or itself");
        assert!(self.heard.contains(&self.rank) && self.heard.len() <= size as usize, "everybody hears itself");
        let troubled = !self.suspects.is_empty() || self.promised.is_some();
        assert!(!troubled || self.activity == Activity::Inactive, "who suspects or promised doesn't work");
        let complete = self.heard.len() == size as usize;
        assert!(self.activity != Activity::Active || complete, "work waits for everybody");
        let accepted = self.accepted.as_ref().map(|(ballot, _)| *ballot);
        assert!(accepted <= self.promised, "accepted above the promise");
        assert!(self.lead.is_none() || self.retry_at.is_none(), "who waits for its next ballot leads none");
        let Some(lead) = &self.lead else { return };
        assert_eq!((Some(lead.ballot), lead.ballot.leader), (self.promised, self.rank), "a leader promised its ballot");
        match &lead.phase {
            Phase::Collecting { vows } => assert!(vows.keys().all(|rank| rank.0 < size), "a promise of nobody"),
            Phase::Proposing { value, accepted } => {
                assert!(accepted.iter().all(|rank| rank.0 < size), "an acceptance of nobody");
                assert_eq!(self.accepted, Some((lead.ballot, value.clone())), "a leader accepts its own proposal");
            }
        }
    }
}
