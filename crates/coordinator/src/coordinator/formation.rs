//! Who works together: requests, formations, evictions.

use super::record::Record;
use super::rules::{self, Candidate, Lack, Pace, Waiting};
use super::{Coordinator, Open, Out, ignore};
use crate::{Ask, Epoch, Event, Ignored, Incarnation, Message, Number, Participant, Quorum, Refusal, Role};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Span, Text, Time};

/// A request as it arrives.
pub(super) struct Asking {
    pub(super) incarnation: Incarnation,
    pub(super) number: Number,
    pub(super) epoch: Epoch,
    pub(super) ask: Arc<Ask>,
}

/// A quorum that may be formed.
struct Proposal {
    members: Vec<Participant>,
    healthy: usize,
    pace: Pace,
    waited: Span,
}

impl Coordinator {
    pub(super) fn on_ask(&mut self, now: Time, from: Address, asking: Asking, effects: &mut Out) {
        let Asking { incarnation, number, epoch, ref ask } = asking;
        if !self.admit(now, from, incarnation, effects) {
            return;
        }
        self.live.get_mut(&incarnation).expect("only the live are admitted").address = Some(from);
        if let Some((reason, answer)) = self.settled_answer(incarnation, number, epoch) {
            ignore(reason, Some(incarnation), effects);
            if let Some(answer) = answer {
                effects.send(from, answer);
            }
            return;
        }
        if let Some(refusal) = self.refusal(now, incarnation, ask) {
            self.refuse(incarnation, number, refusal, effects);
            return self.consider(now, effects);
        }
        let member = self.durable.members[&incarnation].id.clone();
        self.settled.entry(incarnation).or_default();
        self.open.insert(incarnation, Open { number, ask: asking.ask, since: now });
        effects.event(Event::Requested { member, incarnation, number, epoch: self.durable.epoch });
        self.consider(now, effects);
    }

    pub(super) fn on_withdraw(
        &mut self,
        now: Time,
        from: Address,
        incarnation: Incarnation,
        through: Number,
        effects: &mut Out,
    ) {
        if !self.admit(now, from, incarnation, effects) {
            return;
        }
        self.live.get_mut(&incarnation).expect("only the live are admitted").address = Some(from);
        let settled = self.settled.entry(incarnation).or_default();
        if through <= settled.withdrawn {
            ignore(Ignored::WithdrawnRequest, Some(incarnation), effects);
            return effects.send(from, Message::Withdrawn { incarnation, through });
        }
        settled.withdrawn = through;
        if self.open.get(&incarnation).is_some_and(|open| open.number <= through) {
            self.open.remove(&incarnation);
        }
        effects.event(Event::Withdrawn { incarnation, through });
        effects.send(from, Message::Withdrawn { incarnation, through });
        self.consider(now, effects);
    }

    /// What an incarnation says about its own past counts also after its end: it was told to stop, and has.
    pub(super) fn on_evict_ack(
        &mut self,
        now: Time,
        from: Address,
        incarnation: Incarnation,
        formation: Epoch,
        effects: &mut Out,
    ) {
        let newest = self.durable.formed.as_ref().map(|quorum| quorum.formation);
        let awaited = self.durable.holders.contains(&incarnation) && Some(formation) >= newest;
        let ended = awaited && self.ended.contains_key(&incarnation);
        if !ended && !self.admit(now, from, incarnation, effects) {
            return;
        }
        if !awaited {
            return ignore(Ignored::StaleEviction, Some(incarnation), effects);
        }
        self.commit(Record::Evicted { incarnation, formation }, effects);
        effects.event(Event::Evicted { incarnation, formation });
        self.consider(now, effects);
    }

    /// Forms a quorum if one can be formed, and says why not if that has changed.
    pub(super) fn consider(&mut self, now: Time, effects: &mut Out) {
        self.refuse_hopeless(now, effects);
        match self.weigh(now) {
            Ok(proposal) => {
                self.form(proposal, effects);
                self.explain(Waiting::Nobody, effects);
            }
            Err(waiting) => self.explain(waiting, effects),
        }
    }

    /// Asks those who hold up a formation to stop, at every tick until they confirm it.
    pub(super) fn send_evictions(&mut self, now: Time, effects: &mut Out) {
        let Waiting::Holders { formation, ref holders, evicting: true } = self.waiting else {
            return;
        };
        for &(_, incarnation) in holders {
            let live = self.live.get(&incarnation).and_then(|live| live.address);
            let Some(to) = live.or_else(|| self.ended.get(&incarnation).and_then(|ended| ended.address)) else {
                continue;
            };
            debug_assert!(!self.released(incarnation, now), "who lapsed holds nothing up");
            effects.event(Event::EvictSent { incarnation, formation });
            effects.send(to, Message::Evict { incarnation, formation });
        }
    }

    /// Starts the formation over: a new epoch, no participants, and everyone who waited is told.
    pub(super) fn reset(&mut self, failed: Vec<Text>, effects: &mut Out) {
        let epoch = self.durable.epoch.next();
        self.commit(Record::Reset { epoch }, effects);
        self.reset_by = failed.into();
        effects.event(Event::Reset { epoch, failed: self.reset_by.clone() });
        self.tell_waiting(effects);
        self.explain(Waiting::Nobody, effects);
    }

    /// What a request gets whose number or epoch is over, and the reason why it doesn't count.
    fn settled_answer(
        &self,
        incarnation: Incarnation,
        number: Number,
        epoch: Epoch,
    ) -> Option<(Ignored, Option<Message>)> {
        let settled = self.settled.get(&incarnation).cloned().unwrap_or_default();
        let reset = || Message::Reset { incarnation, epoch: self.durable.epoch, failed: self.reset_by.clone() };
        if number <= settled.withdrawn {
            let through = settled.withdrawn;
            return Some((Ignored::WithdrawnRequest, Some(Message::Withdrawn { incarnation, through })));
        }
        if let Some((_, refusal)) = settled.refused.filter(|&(refused, _)| refused == number) {
            return Some((Ignored::RepeatedRequest, Some(Message::Refused { incarnation, number, refusal })));
        }
        // Its sender has gone on to a later number, and may be Active in what that one got: a `Reset` would end it.
        let open = self.open.get(&incarnation).map_or(Number(0), |open| open.number);
        if number < open.max(settled.answered) {
            return Some((Ignored::StaleRequest, None));
        }
        if self.durable.answered(incarnation) == Some(number) {
            // Who was evicted has promised never to become Active in that formation.
            return Some(match self.durable.holders.contains(&incarnation) {
                true => (Ignored::RepeatedRequest, Some(self.formed_answer(incarnation, number))),
                false => (Ignored::StaleEpoch, Some(reset())),
            });
        }
        if epoch < self.durable.epoch {
            return Some((Ignored::StaleEpoch, Some(reset())));
        }
        if number == settled.answered {
            return Some((Ignored::StaleRequest, None));
        }
        (number == open).then_some((Ignored::RepeatedRequest, None))
    }

    fn formed_answer(&self, incarnation: Incarnation, number: Number) -> Message {
        let quorum = self.durable.formed.clone().expect("a formation answered this request");
        let heartbeat = self.acknowledged.get(&incarnation).copied().unwrap_or(0);
        Message::Formed { incarnation, number, heartbeat, quorum }
    }

    fn refusal(&self, now: Time, incarnation: Incarnation, ask: &Ask) -> Option<Refusal> {
        let member = &self.durable.members[&incarnation];
        if member.role != Role::Replica {
            return Some(Refusal::NotAReplica);
        }
        let too_much = ask.data.len() > self.knobs.data_bytes_max as usize;
        if ask.world_size == 0 || too_much || self.too_long(&ask.address) || self.too_long(&ask.store_address) {
            return Some(Refusal::Malformed);
        }
        let hopeless = ask.shrink_only && self.is_hopeless(now, incarnation);
        hopeless.then_some(Refusal::NothingToShrink)
    }

    /// Whether the incarnation is outside the previous quorum, and nobody of that is alive.
    fn is_hopeless(&self, now: Time, incarnation: Incarnation) -> bool {
        !self.previous().is_empty()
            && self.durable.participant(incarnation).is_none()
            && !self.previous().iter().any(|participant| self.alive(participant.incarnation, now))
    }

    fn refuse(&mut self, incarnation: Incarnation, number: Number, refusal: Refusal, effects: &mut Out) {
        self.open.remove(&incarnation);
        let settled = self.settled.entry(incarnation).or_default();
        settled.answered = number;
        settled.refused = Some((number, refusal));
        effects.event(Event::Refused { incarnation, number, refusal });
        if let Some(address) = self.address(incarnation) {
            effects.send(address, Message::Refused { incarnation, number, refusal });
        }
    }

    fn refuse_hopeless(&mut self, now: Time, effects: &mut Out) {
        let shrinking = self.open.iter().filter(|(_, open)| open.ask.shrink_only);
        let hopeless: Vec<(Incarnation, Number)> = shrinking
            .filter(|&(&incarnation, _)| self.is_hopeless(now, incarnation))
            .map(|(&incarnation, open)| (incarnation, open.number))
            .collect();
        for (incarnation, number) in hopeless {
            self.refuse(incarnation, number, Refusal::NothingToShrink, effects);
        }
    }

    fn previous(&self) -> &[Participant] {
        self.durable.formed.as_ref().map_or(&[], |quorum| &quorum.members)
    }

    /// Whether a member of the newest formation can't be Active in it any more.
    fn released(&self, incarnation: Incarnation, now: Time) -> bool {
        let silence = self.silence(incarnation, now);
        !self.durable.holders.contains(&incarnation)
            || silence.is_none_or(|age| rules::lapsed(age, self.knobs.takeover))
    }

    /// The quorum that forms now, or what it lacks.
    fn weigh(&self, now: Time) -> Result<Proposal, Waiting> {
        if self.open.is_empty() {
            return Err(Waiting::Nobody);
        }
        let healthy: Vec<(&Text, Incarnation)> = self
            .replicas
            .iter()
            .map(|(id, &incarnation)| (id, incarnation))
            .filter(|&(_, incarnation)| self.alive(incarnation, now))
            .collect();
        let candidates = healthy.iter().filter_map(|&(id, incarnation)| {
            let open = self.open.get(&incarnation)?;
            Some(Candidate { id, incarnation, ask: &open.ask, waited: now.since(open.since) })
        });
        let (selected, left_out) = rules::select(candidates.collect(), self.previous());
        let (min, join_timeout) = (self.knobs.min_replicas, self.knobs.join_timeout);
        let (asking, healthy_count) = (selected.len(), healthy.len());
        let missing = || {
            // The selected are some of the healthy, in the same order.
            let mut rest = selected.iter().map(|candidate| candidate.incarnation).peekable();
            healthy.iter().filter(|&&(_, who)| rest.next_if_eq(&who).is_none()).map(|&(id, _)| id).collect()
        };
        let pace =
            rules::judge(&selected, healthy_count, self.previous(), min, join_timeout).map_err(|lack| match lack {
                Lack::Replicas => Waiting::Replicas { asking, min, left_out },
                Lack::Majority => Waiting::Majority { asking, healthy: healthy_count, missing: missing() },
                Lack::Stragglers => {
                    Waiting::Stragglers { asking, healthy: healthy_count, missing: missing(), join_timeout }
                }
            })?;
        let waited = rules::first_wait(&selected);
        let holders = self.holding_up(&selected, now);
        if !holders.is_empty() {
            let formation = self.durable.formed.as_ref().expect("somebody holds it").formation;
            return Err(Waiting::Holders { formation, holders, evicting: waited >= join_timeout });
        }
        let members = selected.iter().map(|candidate| {
            let open = &self.open[&candidate.incarnation];
            let (id, ask) = (candidate.id.clone(), open.ask.clone());
            Participant { id, incarnation: candidate.incarnation, number: open.number, ask }
        });
        Ok(Proposal { members: members.collect(), healthy: healthy_count, pace, waited })
    }

    /// Those who may still be Active in the newest formation and would be left out of the next one.
    fn holding_up(&self, selected: &[Candidate<'_>], now: Time) -> Vec<(Text, Incarnation)> {
        self.previous()
            .iter()
            .map(|participant| (&participant.id, participant.incarnation))
            .filter(|&(id, who)| !rules::selects(selected, id, who) && !self.released(who, now))
            .map(|(id, who)| (id.clone(), who))
            .collect()
    }

    fn form(&mut self, proposal: Proposal, effects: &mut Out) {
        let Proposal { members, healthy, pace, waited } = proposal;
        assert!(!members.is_empty(), "a quorum is never empty");
        assert!(members.iter().all(|member| self.live.contains_key(&member.incarnation)), "all members are live");
        let id = self.durable.quorum_id();
        let id = if rules::number_grows(self.durable.formed.as_ref(), &members) { id.next() } else { id };
        let quorum = Quorum { id, formation: self.durable.epoch, members: members.into() };
        self.commit(Record::Formed { quorum: quorum.clone() }, effects);
        let healthy = u32::try_from(healthy).expect("members_max bounds it");
        effects.event(Event::Formed { quorum: quorum.clone(), healthy, fast: pace == Pace::Fast, waited });
        self.reset_by = Arc::from([]);
        self.acknowledged.clear();
        for &Participant { incarnation, number, .. } in quorum.members.iter() {
            let (heartbeat, address) = (self.live[&incarnation].seq, self.live[&incarnation].address);
            self.open.remove(&incarnation);
            self.settled.entry(incarnation).or_default().answered = number;
            self.acknowledged.insert(incarnation, heartbeat);
            if let Some(to) = address {
                effects.send(to, self.formed_answer(incarnation, number));
            }
        }
        self.tell_waiting(effects);
    }

    /// Ends every open request, and tells its replica that a new epoch has begun.
    fn tell_waiting(&mut self, effects: &mut Out) {
        for incarnation in core::mem::take(&mut self.open).into_keys() {
            if let Some(to) = self.address(incarnation) {
                let (epoch, failed) = (self.durable.epoch, self.reset_by.clone());
                effects.send(to, Message::Reset { incarnation, epoch, failed });
            }
        }
    }

    fn explain(&mut self, waiting: Waiting, effects: &mut Out) {
        if self.waiting != waiting {
            effects.event(Event::Waiting { reason: alloc::format!("{waiting}").into() });
            self.waiting = waiting;
        }
    }
}
