//! The voter's side of a round: promise, accept, learn.

use super::{Out, Peer};
use crate::event::Inactivity;
use crate::{Ballot, Decision, Event, Ignored, Message, Rank, Value, is_quorum};
use alloc::sync::Arc;
use squall_machine::{Address, Time};

impl Peer {
    /// Whether `from` may ask for answers at this ballot. Who bids too low is told what was promised.
    fn check_bid(&self, from: Rank, ballot: Ballot, effects: &mut Out) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        if ballot.leader != from {
            return Err(Ignored::ForgedLeader);
        }
        if !ballot.is_possible() {
            return Err(Ignored::ImpossibleBallot);
        }
        if let Some(promised) = seat.promised.filter(|promised| ballot < *promised) {
            seat.send(from, Message::Outbid { stamp: seat.stamp(), ballot, promised }, effects);
            return Err(Ignored::StaleBallot);
        }
        Ok(())
    }

    pub(super) fn on_collect(
        &mut self,
        now: Time,
        from: Rank,
        ballot: Ballot,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.check_bid(from, ballot, effects)?;
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        // The promise of a repeated question is repeated: the first one may be lost.
        if seat.promised != Some(ballot) {
            seat.promise(now, ballot, effects);
        }
        // What was accepted at this very ballot is no news to its leader, who proposed it.
        if seat.accepted.as_ref().is_some_and(|(accepted, _)| *accepted == ballot) {
            return Err(Ignored::RepeatedAnswer);
        }
        let (stamp, Some(vow)) = (seat.stamp(), self.vow()) else { return Err(Ignored::NotAMember) };
        if let Some(seat) = &self.seat {
            seat.send(from, Message::Promise { stamp, ballot, vow: Arc::new(vow) }, effects);
        }
        Ok(())
    }

    pub(super) fn on_propose(
        &mut self,
        now: Time,
        from: Rank,
        ballot: Ballot,
        value: Value,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let members_max = self.config.knobs.members_max;
        self.check_bid(from, ballot, effects)?;
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        value.check(&seat.group, members_max).map_err(Ignored::ImpossibleValue)?;
        let known = seat.accepted.as_ref().filter(|(accepted, _)| *accepted == ballot);
        if known.is_some_and(|(_, accepted)| *accepted != value) {
            return Err(Ignored::ConflictingValue);
        }
        let repeated = known.is_some();
        // Its leader has a quorum of promises; this one may be missing among them.
        if seat.promised != Some(ballot) {
            seat.promise(now, ballot, effects);
        }
        assert_eq!(seat.promised, Some(ballot), "nothing is accepted below a promise");
        if !repeated {
            seat.accepted = Some((ballot, value.clone()));
            effects.event(Event::Accepted { generation: seat.group.generation, ballot, value });
        }
        seat.transition_to_inactive(Inactivity::Promise, effects);
        seat.send(from, Message::Accept { stamp: seat.stamp(), ballot }, effects);
        Ok(())
    }

    /// Somebody knows what was decided. It counts from any round.
    pub(super) fn on_decision(
        &mut self,
        now: Time,
        from: Address,
        decision: Arc<Decision>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let members_max = self.config.knobs.members_max;
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        if decision.generation > seat.group.generation {
            let seen = decision.generation;
            return self.on_early(from, seen, Message::Decision { decision }, effects);
        }
        if decision.generation < seat.group.generation {
            return Err(Ignored::StaleNews);
        }
        if decision.communicator != seat.id {
            return Err(Ignored::WrongCommunicator);
        }
        if !decision.ballot.is_possible() || decision.ballot.leader.0 >= seat.group.size() {
            return Err(Ignored::ImpossibleBallot);
        }
        if !is_quorum(&decision.voters, seat.group.size()) {
            return Err(Ignored::NoQuorum);
        }
        decision.value.check(&seat.group, members_max).map_err(Ignored::ImpossibleValue)?;
        self.conclude(now, decision, true, effects);
        Ok(())
    }
}
