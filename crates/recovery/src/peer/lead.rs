//! The leader's side of a round: collect, propose, decide.

use super::seat::Seat;
use super::{Out, Peer};
use crate::event::{Answer, Start};
use crate::{Ballot, Decision, Event, Ignored, Message, Rank, Value, Vow, choose, is_quorum};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Span, Time};

/// A ballot that this peer leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Lead {
    pub(super) ballot: Ballot,
    pub(super) phase: Phase,
    /// Gives up on whoever hasn't answered until then, and goes on with the next ballot.
    pub(super) deadline: Time,
}

/// How far a ballot is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    /// Awaits the promises of everybody who isn't suspected.
    Collecting {
        /// The promises that count, the leader's own among them.
        vows: BTreeMap<Rank, Vow>,
    },
    /// Awaits a quorum of acceptances.
    Proposing {
        value: Value,
        /// Who accepted, the leader among them.
        accepted: BTreeSet<Rank>,
    },
}

impl Lead {
    /// Whether this rank has answered what is asked now.
    pub(super) fn has_answered(&self, rank: Rank) -> bool {
        match &self.phase {
            Phase::Collecting { vows } => vows.contains_key(&rank),
            Phase::Proposing { accepted, .. } => accepted.contains(&rank),
        }
    }

    /// A promise of somebody who is suspected anew doesn't count; what was accepted stays accepted.
    pub(super) fn forget_promise(&mut self, rank: Rank) {
        match &mut self.phase {
            Phase::Collecting { vows } => {
                vows.remove(&rank);
            }
            Phase::Proposing { .. } => {}
        }
    }

    fn question(&self, seat: &Seat) -> Message {
        let (stamp, ballot) = (seat.stamp(), self.ballot);
        match &self.phase {
            Phase::Collecting { .. } => Message::Collect { stamp, ballot },
            Phase::Proposing { value, .. } => Message::Propose { stamp, ballot, value: Box::new(value.clone()) },
        }
    }
}

impl Seat {
    /// Whose answers the leader awaits: everybody's whom it doesn't suspect.
    pub(super) fn awaited(&self) -> BTreeSet<Rank> {
        let Some(lead) = &self.lead else { return BTreeSet::new() };
        let silent = self.others().filter(|rank| !lead.has_answered(*rank));
        silent.filter(|rank| !self.suspects.contains(rank)).collect()
    }

    /// Asks everybody again who hasn't answered, the suspected too.
    pub(super) fn repeat(&self, effects: &mut Out) {
        let Some(lead) = &self.lead else { return };
        let question = lead.question(self);
        for rank in self.others().filter(|rank| !lead.has_answered(*rank)) {
            self.send(rank, question.clone(), effects);
        }
    }
}

impl Peer {
    /// Starts a round if work stands still and nobody else is to do it, or if somebody waits to be admitted.
    pub(super) fn need_round(&mut self, now: Time, effects: &mut Out) {
        let ping = self.config.knobs.ping;
        let Some(seat) = &self.seat else { return };
        if self.stopped || !seat.driven || seat.lead.is_some() || seat.retry_at.is_some() {
            return;
        }
        if !seat.takes_itself_for_leader() {
            return;
        }
        if seat.is_inactive() {
            // Whoever was promised a moment ago may be about to end it.
            if seat.promised.is_none() || now.since(seat.promised_at) >= ping {
                self.start_round(now, Start::OwnNeed, effects);
            }
        } else if seat.activity == super::Activity::Active && self.admissible(seat) {
            self.start_round(now, Start::Joiners, effects);
        }
    }

    /// Begins the next ballot of this peer.
    pub(super) fn start_round(&mut self, now: Time, start: Start, effects: &mut Out) {
        let deadline = now + self.jittered_deadline();
        let Some(seat) = &mut self.seat else { return };
        let generation = seat.group.generation;
        let ballot = Ballot::above(seat.promised, seat.refused, seat.rank);
        assert!(seat.promised < Some(ballot), "a leader outbids itself, too");
        effects.event(Event::RoundStarted { generation, ballot, start });
        seat.promise(now, ballot, effects);
        let lead = Lead { ballot, phase: Phase::Collecting { vows: BTreeMap::new() }, deadline };
        seat.send_all(&lead.question(seat), effects);
        seat.lead = Some(lead);
        self.advance(now, effects);
    }

    /// The deadline of the next ballot: up to a tenth less than the law says, so that competing leaders don't keep step.
    fn jittered_deadline(&mut self) -> Span {
        let overruns = self.seat.as_ref().map_or(0, |seat| seat.overruns);
        let longest = self.config.knobs.deadline(overruns);
        self.random.span(longest.minus(longest / 10), longest)
    }

    /// Goes on above the last ballot, if this peer still takes itself for the leader; else leaves it to the one that it takes
    /// for it.
    pub(super) fn next_ballot(&mut self, now: Time, start: Start, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        seat.lead = None;
        if seat.takes_itself_for_leader() {
            self.start_round(now, start, effects);
        }
    }

    /// Whoever is silent is suspected, and the next ballot begins. It is never fatal.
    pub(super) fn on_deadline(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        assert!(seat.lead.is_some(), "only a leader has a deadline");
        let silent: Vec<Rank> = seat.awaited().into_iter().collect();
        seat.overruns = seat.overruns.saturating_add(1);
        if !silent.is_empty() {
            self.suspect(&silent, effects);
        }
        if !self.stopped {
            self.next_ballot(now, Start::Deadline, effects);
        }
    }

    /// An outbid leader tries again.
    pub(super) fn on_retry(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        assert!(seat.lead.is_none(), "who waits for its next ballot leads none");
        seat.retry_at = None;
        self.next_ballot(now, Start::Outbid, effects);
    }

    /// What a voter tells the leader.
    pub(super) fn vow(&self) -> Option<Vow> {
        let seat = self.seat.as_ref()?;
        let suspects = seat.suspects.iter().copied().collect();
        let joiners = self.joiners.values().map(|(member, _)| member.clone()).collect();
        Some(Vow { suspects, joiners, accepted: seat.accepted.clone() })
    }

    /// Goes on as far as the answers allow: from promises to a proposal, from acceptances to the decision.
    pub(super) fn advance(&mut self, now: Time, effects: &mut Out) {
        self.propose(effects);
        let Some(seat) = &self.seat else { return };
        let Some(Lead { ballot, phase: Phase::Proposing { value, accepted }, .. }) = &seat.lead else { return };
        if !is_quorum(accepted, seat.group.size()) {
            return;
        }
        let decision = Arc::new(Decision {
            generation: seat.group.generation,
            communicator: seat.id,
            ballot: *ballot,
            value: value.clone(),
            voters: Arc::new(accepted.clone()),
        });
        seat.send_all(&Message::Decision { decision: decision.clone() }, effects);
        self.conclude(now, decision, false, effects);
        self.welcome_joined(effects);
    }

    /// Proposes once everybody who isn't suspected has promised, if they are a quorum. The leader is a voter like any other:
    /// its own promise and suspicions are the newest ones, and it accepts first.
    fn propose(&mut self, effects: &mut Out) {
        let (members_max, own) = (self.config.knobs.members_max, self.vow());
        let (Some(seat), Some(own)) = (&mut self.seat, own) else { return };
        if !seat.awaited().is_empty() {
            return;
        }
        let rank = seat.rank;
        let Some(Lead { ballot, phase, .. }) = &mut seat.lead else { return };
        let Phase::Collecting { vows } = phase else { return };
        vows.insert(rank, own);
        let counted: BTreeSet<Rank> = vows.keys().copied().collect();
        if !is_quorum(&counted, seat.group.size()) {
            return;
        }
        let (value, adopted) = choose(&seat.group, vows, members_max);
        assert_eq!(value.check(&seat.group, members_max), Ok(()), "what is chosen can be decided");
        let (ballot, generation, counted) = (*ballot, seat.group.generation, Arc::new(counted));
        *phase = Phase::Proposing { value: value.clone(), accepted: BTreeSet::from([rank]) };
        effects.event(Event::Proposed { generation, ballot, value: value.clone(), adopted, counted });
        assert_eq!(seat.promised, Some(ballot), "a leader has promised its own ballot");
        seat.accepted = Some((ballot, value.clone()));
        effects.event(Event::Accepted { generation, ballot, value });
        if let Some(lead) = &seat.lead {
            seat.send_all(&lead.question(seat), effects);
        }
    }

    pub(super) fn on_promise(
        &mut self,
        now: Time,
        from: Rank,
        ballot: Ballot,
        vow: Arc<Vow>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.check_vow(ballot, &vow)?;
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        let generation = seat.group.generation;
        let Some(lead) = seat.lead.as_mut().filter(|lead| lead.ballot == ballot) else {
            return Err(Ignored::StaleAnswer);
        };
        let Phase::Collecting { vows } = &mut lead.phase else { return Err(Ignored::StaleAnswer) };
        if vows.contains_key(&from) {
            return Err(Ignored::RepeatedAnswer);
        }
        vows.insert(from, (*vow).clone());
        effects.event(Event::Counted { generation, ballot, from, answer: Answer::Promise });
        seat.clear(now, from, effects);
        self.advance(now, effects);
        Ok(())
    }

    /// Whether a member could have vowed this.
    fn check_vow(&self, ballot: Ballot, vow: &Vow) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        let ascending = vow.suspects.is_sorted_by(|a, b| a < b) && vow.joiners.is_sorted_by(|a, b| a.id < b.id);
        let known = vow.suspects.last().is_none_or(|last| last.0 < seat.group.size());
        let few = vow.joiners.len() <= self.config.knobs.joiners_max as usize;
        let named = vow.joiners.iter().all(|joiner| self.check_id(&joiner.id).is_ok());
        if !ascending || !known || !few || !named {
            return Err(Ignored::ImpossibleVow);
        }
        let Some((accepted, value)) = &vow.accepted else { return Ok(()) };
        if !accepted.is_possible() || *accepted >= ballot || accepted.leader.0 >= seat.group.size() {
            return Err(Ignored::ImpossibleBallot);
        }
        value.check(&seat.group, self.config.knobs.members_max).map_err(Ignored::ImpossibleValue)
    }

    pub(super) fn on_accept(
        &mut self,
        now: Time,
        from: Rank,
        ballot: Ballot,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        let generation = seat.group.generation;
        let Some(lead) = seat.lead.as_mut().filter(|lead| lead.ballot == ballot) else {
            return Err(Ignored::StaleAnswer);
        };
        let Phase::Proposing { accepted, .. } = &mut lead.phase else { return Err(Ignored::StaleAnswer) };
        if !accepted.insert(from) {
            return Err(Ignored::RepeatedAnswer);
        }
        effects.event(Event::Counted { generation, ballot, from, answer: Answer::Accept });
        seat.clear(now, from, effects);
        self.advance(now, effects);
        Ok(())
    }

    /// Somebody promised a higher ballot: this one is over. The leader goes on above it, after a moment of its own choice,
    /// so that two leaders who outbid each other fall out of step.
    pub(super) fn on_outbid(
        &mut self,
        now: Time,
        from: Rank,
        ballot: Ballot,
        promised: Ballot,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        if seat.lead.as_ref().is_none_or(|lead| lead.ballot != ballot) {
            return Err(Ignored::StaleAnswer);
        }
        if promised <= ballot || !promised.is_possible() || promised.leader.0 >= seat.group.size() {
            return Err(Ignored::ImpossibleBallot);
        }
        let wait = self.random.span(Span::ZERO, self.config.knobs.ping);
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        seat.clear(now, from, effects);
        seat.refused = seat.refused.max(promised.round);
        seat.lead = None;
        seat.retry_at = Some(now + wait);
        Ok(())
    }
}
