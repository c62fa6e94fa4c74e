//! Who is a member: registration, heartbeats, departures, failures.

use super::record::{End, Record, Stage};
use super::{Coordinator, Ended, Live, Membership, Out, ignore, rules};
use crate::{Cause, Event, Ignored, Incarnation, Message, Role};
use alloc::vec::Vec;
use squall_machine::{Address, Span, Text, Time};

impl Coordinator {
    /// `grant` is what the process asks for, under the next number.
    pub(super) fn on_register(&mut self, now: Time, from: Address, grant: Record, effects: &mut Out) {
        let Record::Granted { incarnation, ref id, boot, ref address, .. } = grant else {
            unreachable!("a registration asks for a grant");
        };
        if self.too_long(id) || self.too_long(address) {
            return ignore(Ignored::TextTooLong, None, effects);
        }
        if let Some(known) = self.granted_to(id, boot) {
            if !self.is_overdue(known, now) {
                if let Some(asked) = self.grants.get_mut(&known) {
                    *asked = now;
                }
                ignore(Ignored::RepeatedRequest, Some(known), effects);
                return effects.send(from, Message::Granted { boot, incarnation: known, epoch: self.durable.epoch });
            }
            self.declare(now, known, Cause::Timeout, effects);
        }
        if self.durable.members.len() >= self.knobs.members_max as usize {
            return ignore(Ignored::LimitReached, None, effects);
        }
        let member = id.clone();
        self.commit(grant, effects);
        self.names.insert((member.clone(), incarnation));
        self.grants.insert(incarnation, now);
        effects.event(Event::Granted { member, incarnation, boot });
        effects.send(from, Message::Granted { boot, incarnation, epoch: self.durable.epoch });
    }

    /// Takes a sign of life. This is the hot path: one look-up, an acknowledgement and an event.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Time,
        from: Address,
        incarnation: Incarnation,
        seq: u64,
        effects: &mut Out,
    ) {
        let Some(live) = self.live.get_mut(&incarnation) else {
            return match self.grants.contains_key(&incarnation) {
                true if seq == 0 => ignore(Ignored::StaleSeq, Some(incarnation), effects),
                true => self.begin(now, from, incarnation, seq, effects),
                false => self.answer_ended(from, incarnation, effects),
            };
        };
        if rules::overdue(now.since(live.heard), live.timeout, self.knobs.grace) {
            return self.declare_by_own_input(now, from, incarnation, effects);
        }
        if seq <= live.seq {
            return ignore(Ignored::StaleSeq, Some(incarnation), effects);
        }
        live.heard = now;
        live.seq = seq;
        live.address = Some(from);
        let cleared = core::mem::take(&mut live.suspected);
        self.acknowledge(from, incarnation, seq, effects);
        if cleared {
            let member = self.durable.members[&incarnation].id.clone();
            effects.event(Event::Cleared { member, incarnation });
            self.consider(now, effects);
        }
    }

    pub(super) fn on_leave(&mut self, now: Time, from: Address, incarnation: Incarnation, effects: &mut Out) {
        // A grant that nobody claimed can be given back; its heartbeats may still be on their way and must not begin it.
        let unclaimed = self.grants.contains_key(&incarnation);
        if !unclaimed && !self.admit(now, from, incarnation, effects) {
            return;
        }
        self.commit(Record::Left { incarnation }, effects);
        self.grants.remove(&incarnation);
        let heard = self.live.get(&incarnation).map_or(now, |live| live.heard);
        let (member, role) = self.end(incarnation, Ended { at: now, heard, address: Some(from) });
        effects.event(Event::Left { member, incarnation });
        effects.reply(Membership::Ended { incarnation, role, end: End::Left });
        effects.send(from, Message::Left { incarnation });
        self.consider(now, effects);
    }

    /// Whether the sender is live, by the clock as well. If it isn't, it is answered, and what it says is ignored.
    pub(super) fn admit(&mut self, now: Time, from: Address, incarnation: Incarnation, effects: &mut Out) -> bool {
        if self.grants.contains_key(&incarnation) {
            ignore(Ignored::UnclaimedGrant, Some(incarnation), effects);
            return false;
        }
        if !self.live.contains_key(&incarnation) {
            self.answer_ended(from, incarnation, effects);
            return false;
        }
        if self.is_overdue(incarnation, now) {
            self.declare_by_own_input(now, from, incarnation, effects);
            return false;
        }
        true
    }

    pub(super) fn is_overdue(&self, incarnation: Incarnation, now: Time) -> bool {
        self.live
            .get(&incarnation)
            .is_some_and(|live| rules::overdue(now.since(live.heard), live.timeout, self.knobs.grace))
    }

    /// Whether a text exceeds its limit.
    pub(super) fn too_long(&self, text: &str) -> bool {
        text.len() > self.knobs.text_bytes_max as usize
    }

    pub(super) fn declare_overdue(&mut self, now: Time, effects: &mut Out) {
        let overdue: Vec<Incarnation> = self.live.keys().copied().filter(|&who| self.is_overdue(who, now)).collect();
        let mut replicas = Vec::new();
        for incarnation in overdue {
            replicas.extend(self.fail(now, incarnation, Cause::Timeout, effects));
        }
        if !replicas.is_empty() {
            self.reset(replicas, effects);
        }
    }

    pub(super) fn suspect_silent(&mut self, now: Time, effects: &mut Out) {
        for (&incarnation, live) in &mut self.live {
            if !live.suspected && !rules::alive(now.since(live.heard), live.timeout) {
                live.suspected = true;
                let member = self.durable.members[&incarnation].id.clone();
                effects.event(Event::Suspected { member, incarnation });
            }
        }
    }

    /// Forgets grants that nobody claimed within the timeout of their role, and incarnations that ended `forget_after` ago
    /// and hold up no formation.
    pub(super) fn forget_old(&mut self, now: Time, effects: &mut Out) {
        let unclaimed = self
            .grants
            .iter()
            .filter(|&(incarnation, &asked)| now.since(asked) >= self.timeout(self.durable.members[incarnation].role));
        let ended = self.ended.iter().filter(|(incarnation, ended)| {
            now.since(ended.at) >= self.knobs.forget_after
                && (!self.durable.holders.contains(*incarnation)
                    || rules::lapsed(now.since(ended.heard), self.knobs.takeover))
        });
        let old: Vec<Incarnation> = unclaimed.map(|(&who, _)| who).chain(ended.map(|(&who, _)| who)).collect();
        for incarnation in old {
            self.forget(incarnation, effects);
        }
    }

    /// The incarnation that this process was granted, unless that has ended.
    fn granted_to(&self, id: &Text, boot: crate::BootId) -> Option<Incarnation> {
        self.incarnations(id).rev().find(|incarnation| {
            let member = &self.durable.members[incarnation];
            member.boot == boot && !matches!(member.stage, Stage::Ended(_))
        })
    }

    fn incarnations(&self, id: &Text) -> impl DoubleEndedIterator<Item = Incarnation> {
        let range = (id.clone(), Incarnation(0))..=(id.clone(), Incarnation(u64::MAX));
        self.names.range(range).map(|&(_, incarnation)| incarnation)
    }

    /// Begins a granted incarnation. Whatever the id was before ends first, so that a crash between any two records leaves
    /// at most one live incarnation of it.
    fn begin(&mut self, now: Time, from: Address, incarnation: Incarnation, seq: u64, effects: &mut Out) {
        let (id, role) = {
            let member = &self.durable.members[&incarnation];
            (member.id.clone(), member.role)
        };
        let older: Vec<Incarnation> = self.incarnations(&id).take_while(|&who| who < incarnation).collect();
        for who in older {
            if self.grants.contains_key(&who) {
                self.forget(who, effects);
            } else if self.live.contains_key(&who) {
                let cause = if self.is_overdue(who, now) { Cause::Timeout } else { Cause::Superseded };
                self.declare(now, who, cause, effects);
            }
        }
        let returned = self.durable.failures.contains_key(&id).then(|| self.durable.cursor.next());
        self.commit(Record::Began { incarnation, returned }, effects);
        self.grants.remove(&incarnation);
        let timeout = self.timeout(role);
        self.live.insert(incarnation, Live { heard: now, seq, timeout, suspected: false, address: Some(from) });
        if role == Role::Replica {
            let older = self.replicas.insert(id.clone(), incarnation);
            assert_eq!(older, None, "two live incarnations of {id}");
        }
        effects.event(Event::Began { member: id.clone(), incarnation, role, returned });
        effects.reply(Membership::Began { member: id, incarnation, role });
        self.acknowledge(from, incarnation, seq, effects);
        self.consider(now, effects);
    }

    fn acknowledge(&self, to: Address, incarnation: Incarnation, seq: u64, effects: &mut Out) {
        let formation = self.durable.formed.as_ref().map(|quorum| quorum.formation);
        let (epoch, cursor) = (self.durable.epoch, self.durable.cursor);
        effects.event(Event::HeartbeatAccepted { incarnation, seq });
        effects.send_volatile(to, Message::HeartbeatAck { incarnation, seq, epoch, formation, cursor });
    }

    /// Answers whoever speaks for an incarnation that isn't live.
    pub(super) fn answer_ended(&mut self, from: Address, incarnation: Incarnation, effects: &mut Out) {
        let (reason, answer) = match self.durable.members.get(&incarnation).map(|member| member.stage) {
            None => (Ignored::UnknownIncarnation, Message::Unknown { incarnation }),
            Some(Stage::Ended(End::Left)) => (Ignored::LeftIncarnation, Message::Left { incarnation }),
            Some(Stage::Ended(End::Failed(cause))) => failed_answer(incarnation, cause),
            Some(Stage::Granted | Stage::Begun) => unreachable!("incarnation {incarnation} has not ended"),
        };
        ignore(reason, Some(incarnation), effects);
        effects.send(from, answer);
    }

    /// The sender is overdue: its failure is declared before it is heard, which also answers it.
    fn declare_by_own_input(&mut self, now: Time, from: Address, incarnation: Incarnation, effects: &mut Out) {
        self.live.get_mut(&incarnation).expect("only the live can be overdue").address = Some(from);
        self.declare(now, incarnation, Cause::Timeout, effects);
        ignore(Ignored::FailedIncarnation, Some(incarnation), effects);
    }

    /// Somebody speaks for an incarnation: if that is overdue, it has failed.
    pub(super) fn declare_if_overdue(&mut self, now: Time, incarnation: Incarnation, effects: &mut Out) {
        if self.is_overdue(incarnation, now) {
            self.declare(now, incarnation, Cause::Timeout, effects);
        }
    }

    /// Ends one incarnation by failure; if it was a replica, formation starts over.
    fn declare(&mut self, now: Time, incarnation: Incarnation, cause: Cause, effects: &mut Out) {
        if let Some(replica) = self.fail(now, incarnation, cause, effects) {
            self.reset(alloc::vec![replica], effects);
        }
    }

    /// Recording, cleaning and numbering the notice are one step. Returns the id of a replica.
    fn fail(&mut self, now: Time, incarnation: Incarnation, cause: Cause, effects: &mut Out) -> Option<Text> {
        let live = &self.live[&incarnation];
        let (heard, address) = (live.heard, live.address);
        let cursor = self.durable.cursor.next();
        self.commit(Record::Failed { incarnation, cause, cursor }, effects);
        let (member, role) = self.end(incarnation, Ended { at: now, heard, address });
        let age: Span = now.since(heard);
        effects.event(Event::Failed { member: member.clone(), incarnation, role, cause, cursor, age });
        effects.reply(Membership::Ended { incarnation, role, end: End::Failed(cause) });
        if let Some(address) = address {
            effects.send(address, failed_answer(incarnation, cause).1);
        }
        (role == Role::Replica).then_some(member)
    }

    /// Moves an incarnation that the record has just ended out of everything that the living are in.
    fn end(&mut self, incarnation: Incarnation, ended: Ended) -> (Text, Role) {
        let member = &self.durable.members[&incarnation];
        assert!(matches!(member.stage, Stage::Ended(_)), "the record comes first");
        let (id, role) = (member.id.clone(), member.role);
        if self.live.remove(&incarnation).is_some() && role == Role::Replica {
            self.replicas.remove(&id);
        }
        self.open.remove(&incarnation);
        self.settled.remove(&incarnation);
        self.ended.insert(incarnation, ended);
        (id, role)
    }

    fn forget(&mut self, incarnation: Incarnation, effects: &mut Out) {
        let member = self.durable.members[&incarnation].id.clone();
        self.commit(Record::Forgotten { incarnation }, effects);
        self.grants.remove(&incarnation);
        self.ended.remove(&incarnation);
        self.names.remove(&(member.clone(), incarnation));
        effects.event(Event::Forgotten { member, incarnation });
    }

    /// How long ago the last heartbeat of a live or remembered incarnation was accepted; `None` for others.
    pub(super) fn silence(&self, incarnation: Incarnation, now: Time) -> Option<Span> {
        let live = self.live.get(&incarnation).map(|live| live.heard);
        let heard = live.or_else(|| self.ended.get(&incarnation).map(|ended| ended.heard));
        heard.map(|heard| now.since(heard))
    }
}

fn failed_answer(incarnation: Incarnation, cause: Cause) -> (Ignored, Message) {
    match cause {
        Cause::Timeout => (Ignored::FailedIncarnation, Message::Failed { incarnation, cause }),
        Cause::Superseded => (Ignored::SupersededIncarnation, Message::Superseded { incarnation }),
    }
}
