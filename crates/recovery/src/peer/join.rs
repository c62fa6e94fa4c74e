//! How a process that is no member becomes one, and what members do for it.

use super::seat::Seat;
use super::{Out, Peer};
use crate::event::Start;
use crate::{Event, Generation, Ignored, Incarnation, Member, Message};
use squall_machine::{Address, Time};

/// How many contacts are asked at a time.
const CONTACTS_ASKED: usize = 3;

impl Peer {
    pub(super) fn begin_to_join(&mut self, now: Time, effects: &mut Out) {
        assert!(self.seat.is_none(), "a member doesn't ask to be one");
        effects.event(Event::Joining { incarnation: self.me.incarnation });
        self.join_at = Some(now);
        self.invited = Generation(0);
    }

    /// A member says which generation may be joined. What was asked in an earlier one may have been granted, and revoked since
    /// without a word arriving here: whoever asks in a later one is somebody new, so no incarnation is admitted twice.
    pub(super) fn on_invite(&mut self, now: Time, generation: Generation, effects: &mut Out) -> Result<(), Ignored> {
        if self.seat.is_some() || generation <= self.invited {
            return Err(Ignored::StaleNews);
        }
        if self.invited > Generation(0) {
            self.me.incarnation = Incarnation(self.random.next());
            effects.event(Event::Joining { incarnation: self.me.incarnation });
        }
        self.invited = generation;
        self.ask_to_join(now, effects);
        Ok(())
    }

    /// Asks some of the contacts, drawn anew each time: any of them may be gone.
    pub(super) fn ask_to_join(&mut self, now: Time, effects: &mut Out) {
        assert!(self.seat.is_none(), "a member doesn't ask to be one");
        self.join_at = Some(now + self.config.knobs.join);
        let own = self.me.address;
        let mut contacts: alloc::vec::Vec<Address> =
            self.config.contacts.iter().copied().filter(|contact| *contact != own).collect();
        self.random.shuffle(&mut contacts);
        for contact in contacts.into_iter().take(CONTACTS_ASKED) {
            effects.send(contact, Message::Join { member: self.me.clone(), generation: self.invited });
        }
    }

    /// Somebody asks to be admitted. Who is a member already is given the communicator; who was invited to this generation is
    /// remembered, and the leader is told; anybody else is invited.
    pub(super) fn on_join(
        &mut self,
        now: Time,
        joiner: Member,
        generation: Generation,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.check_id(&joiner.id)?;
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        if seat.group.rank_of(&joiner.id, joiner.incarnation).is_some() {
            effects.send(joiner.address, Message::Welcome { communicator: seat.group.clone() });
            return Ok(());
        }
        let here = seat.group.generation;
        if generation > here {
            return Err(Ignored::EarlyGeneration);
        }
        if generation < here {
            effects.send(joiner.address, Message::Invite { generation: here });
            return Ok(());
        }
        let known = self.joiners.get(&joiner.id);
        if known.is_none() && self.joiners.len() >= self.config.knobs.joiners_max as usize {
            return Err(Ignored::LimitReached);
        }
        if !seat.takes_itself_for_leader() {
            effects.send(seat.address(seat.leader()), Message::Join { member: joiner.clone(), generation });
        }
        if known.is_none_or(|(member, _)| *member != joiner) {
            effects.event(Event::JoinerKnown { member: joiner.clone() });
        }
        self.joiners.insert(joiner.id.clone(), (joiner, now));
        Ok(())
    }

    pub(super) fn check_id(&self, id: &str) -> Result<(), Ignored> {
        let fits = !id.is_empty() && id.len() <= self.config.knobs.text_bytes_max as usize;
        fits.then_some(()).ok_or(Ignored::BadId)
    }

    /// Whether a known joiner could be admitted now: nobody has its id, and there is room.
    pub(super) fn admissible(&self, seat: &Seat) -> bool {
        let free = |id: &str| seat.group.members.iter().all(|member| &*member.id != id);
        seat.group.size() < self.config.knobs.members_max && self.joiners.keys().any(|id| free(id))
    }

    /// Whoever was admitted by the ballot that this peer led is told at once; if that is lost, it asks again.
    pub(super) fn welcome_joined(&mut self, effects: &mut Out) {
        let (Some(seat), Some(decision)) = (&self.seat, self.decisions.back()) else { return };
        for joiner in decision.value.joined.iter() {
            effects.send(joiner.address, Message::Welcome { communicator: seat.group.clone() });
        }
    }

    /// A local client wants the group rebuilt: the suspicions that wait under the manual policy are acted upon.
    pub(super) fn on_recover(&mut self, now: Time, effects: &mut Out) -> Result<(), Ignored> {
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        if !seat.is_inactive() {
            return Err(Ignored::NothingToRecover);
        }
        seat.driven = true;
        if seat.lead.is_none() && seat.retry_at.is_none() && seat.takes_itself_for_leader() {
            self.start_round(now, Start::OwnNeed, effects);
        }
        Ok(())
    }
}
