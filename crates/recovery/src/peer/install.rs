//! What follows from a decision: the next communicator, or the fence.

use super::seat::Seat;
use super::{Out, Peer, members_of};
use crate::{Communicator, Decision, Event, Generation, Ignored, Incarnation, Policy, Rank, Value};
use alloc::boxed::Box;
use alloc::sync::Arc;
use squall_machine::Time;

impl Peer {
    /// The successor of this generation is known.
    pub(super) fn conclude(&mut self, now: Time, decision: Arc<Decision>, learnt: bool, effects: &mut Out) {
        let Some(seat) = &self.seat else { return };
        assert_eq!((decision.generation, decision.communicator), (seat.group.generation, seat.id), "a decision of now");
        let (group, rank) = (seat.group.clone(), seat.rank);
        effects.event(Event::Decided {
            generation: decision.generation,
            ballot: decision.ballot,
            value: decision.value.clone(),
            voters: decision.voters.clone(),
            learnt,
        });
        if self.decisions.len() >= self.config.knobs.decisions_kept as usize {
            self.decisions.pop_front();
        }
        let value = decision.value.clone();
        self.decisions.push_back(decision);
        if value.names(rank) {
            return self.fence(now, group.generation.next(), effects);
        }
        let next = Arc::new(group.successor(&value));
        self.install(now, next, Some((&group, rank)), Some(&value), effects);
    }

    /// A communicator is in force from now on; nothing of the one before counts any more.
    pub(super) fn install(
        &mut self,
        now: Time,
        group: Arc<Communicator>,
        before: Option<(&Communicator, Rank)>,
        value: Option<&Value>,
        effects: &mut Out,
    ) {
        let Some(rank) = group.rank_of(&self.me.id, self.me.incarnation) else {
            unreachable!("only members install generation {}", group.generation)
        };
        let older = self.seat.as_ref().map(|seat| seat.group.generation);
        assert!(older < Some(group.generation), "generations strictly increase");
        let old_rank = before.map(|(_, rank)| rank);
        let seat = Seat::new(group.clone(), rank, now, self.config.policy == Policy::Automatic);
        effects.event(Event::Installed {
            communicator: seat.id,
            group: group.clone(),
            rank,
            old_rank,
            incarnation: self.me.incarnation,
        });
        self.seat = Some(Box::new(seat));
        self.join_at = None;
        let dead = before.zip(value).map(|((group, _), value)| members_of(group, value.dead.iter().copied()));
        let joined = value.map(|value| value.joined.clone());
        let change = super::Change::Installed {
            generation: group.generation,
            old_rank,
            new_rank: rank,
            size: group.size(),
            dead: dead.unwrap_or_default(),
            joined: joined.unwrap_or_default(),
        };
        self.stream.push(change, self.config.knobs.notices_kept);
        self.joiners.clear();
        if let Some(seat) = &mut self.seat {
            seat.consider_active(effects);
        }
        self.look(now, effects);
        self.ask(now, effects);
        self.next_tick = now + self.config.knobs.ping;
    }

    /// This process is no member of `generation`: whatever it was ends here, and it comes back as somebody new.
    pub(super) fn fence(&mut self, now: Time, generation: Generation, effects: &mut Out) {
        assert!(self.seat.is_some(), "only a member can be excluded");
        effects.event(Event::SelfFenced { generation, incarnation: self.me.incarnation });
        self.stream.push(super::Change::Fenced { generation }, self.config.knobs.notices_kept);
        self.seat = None;
        self.joiners.clear();
        self.early.clear();
        self.me.incarnation = Incarnation(self.random.next());
        self.begin_to_join(now, effects);
    }

    /// The newest communicator, for a newcomer or for a member that is far behind.
    pub(super) fn on_welcome(&mut self, now: Time, group: Arc<Communicator>, effects: &mut Out) -> Result<(), Ignored> {
        if !group.is_possible(self.config.knobs.members_max) {
            return Err(Ignored::ImpossibleCommunicator);
        }
        let here = self.seat.as_ref().map(|seat| (seat.group.clone(), seat.rank));
        if here.as_ref().is_some_and(|(older, _)| older.generation >= group.generation) {
            return Err(Ignored::StaleNews);
        }
        let is_member = group.rank_of(&self.me.id, self.me.incarnation).is_some();
        match here {
            Some((older, rank)) if is_member => self.install(now, group, Some((&older, rank)), None, effects),
            Some(_) => self.fence(now, group.generation, effects),
            None if is_member => self.install(now, group, None, None, effects),
            None => return Err(Ignored::StaleNews),
        }
        Ok(())
    }
}
