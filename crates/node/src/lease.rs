//! The quorum client of a replica, and the lease under which it works.
//!
//! Nobody works in two groups: a replica is Active only while the coordinator must still count on it. The lease runs from
//! the *sending* of the newest heartbeat that was acknowledged in the formation, because the coordinator counts from its
//! receipt, which is later (after Gray and Cheriton, "Leases", 1989).

#[cfg(test)]
mod tests;

use crate::MemberNode;
use crate::contact::Contact;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use squall_coordinator::{
    Ask, Epoch, Event, Ignored, Inactivity, Incarnation, Knobs, Message, Number, Quorum, QuorumId, Refusal,
};
use squall_machine::{Address, Effects, Time};

/// The most heartbeats whose time of sending is kept. Forgetting one too early only lets a lease run out too early.
const SENT_MAX: usize = 1_024;

/// Gets quorums for the local ranks, and knows whether the replica may work.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lease {
    coordinator: Address,
    knobs: Arc<Knobs>,
    incarnation: Option<Incarnation>,
    /// The newest formation epoch heard of in an answer: what the next request carries. An acknowledgement is volatile, and
    /// the epoch that it names may be lost in a crash and begin again: a request of the lost one, withdrawn before and
    /// delivered after, would then count in the other.
    epoch: Epoch,
    /// What the local ranks want, until they get it or give up.
    wish: Option<Arc<Ask>>,
    /// The newest number used by this incarnation; 0 before the first request.
    last: Number,
    open: Option<Open>,
    withdrawal: Option<Withdrawal>,
    hold: Option<Hold>,
    /// Never Active in this formation or an earlier one: it was received, reset or evicted from.
    barred: Epoch,
    /// The newest formation that an acknowledgement named, and the newest heartbeat acknowledged in it.
    acknowledged: Option<(Epoch, u64)>,
    /// When heartbeats were sent, oldest first; none that is older than `lapse` when a newer one leaves.
    sent: VecDeque<(u64, Time)>,
}

/// The request that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Open {
    number: Number,
    epoch: Epoch,
    resend: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Withdrawal {
    through: Number,
    resend: Time,
}

/// The formation in which the replica is Active.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Hold {
    formation: Epoch,
    quorum_id: QuorumId,
    /// When the newest heartbeat acknowledged in it was sent.
    renewed: Time,
}

/// The replica stopped being Active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the local ranks have to hear of it"]
pub(crate) struct Ended {
    pub(crate) formation: Epoch,
    pub(crate) cause: Inactivity,
}

/// What a coordinator's answer with a quorum says, besides the quorum.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) incarnation: Incarnation,
    pub(crate) number: Number,
    pub(crate) heartbeat: u64,
}

impl Lease {
    pub(crate) fn new(coordinator: Address, knobs: Arc<Knobs>) -> Self {
        Self {
            coordinator,
            knobs,
            incarnation: None,
            epoch: Epoch::default(),
            wish: None,
            last: Number::default(),
            open: None,
            withdrawal: None,
            hold: None,
            barred: Epoch::default(),
            acknowledged: None,
            sent: VecDeque::new(),
        }
    }

    /// A new incarnation begins: its requests are numbered from 1, and what is still wanted is asked for again.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        incarnation: Incarnation,
        epoch: Epoch,
        effects: &mut Effects<MemberNode>,
    ) {
        assert!(self.incarnation.is_none() && self.hold.is_none(), "the one before has ended");
        self.incarnation = Some(incarnation);
        self.last = Number::default();
        self.epoch = self.epoch.max(epoch);
        if self.wish.is_some() {
            self.ask_anew(now, effects);
        }
    }

    /// The incarnation ended, or is about to leave: nothing of it stays but, unless it leaves, what the ranks want.
    pub(crate) fn end(&mut self, cause: Inactivity, effects: &mut Effects<MemberNode>) -> Option<Ended> {
        let ended = self.transition_to_inactive(cause, effects);
        self.incarnation = None;
        self.open = None;
        self.withdrawal = None;
        self.acknowledged = None;
        self.sent.clear();
        if cause == Inactivity::Left {
            self.wish = None;
        }
        ended
    }

    /// The local ranks want the next quorum; this replaces what they wanted before.
    pub(crate) fn ask(&mut self, now: Time, ask: Arc<Ask>, effects: &mut Effects<MemberNode>) -> Option<Ended> {
        let ended = self.transition_to_inactive(Inactivity::Asked, effects);
        self.wish = Some(ask);
        if self.incarnation.is_some() {
            self.ask_anew(now, effects);
        }
        ended
    }

    /// The local ranks gave up.
    pub(crate) fn withdraw(&mut self, now: Time, effects: &mut Effects<MemberNode>) {
        self.wish = None;
        if let Some((open, incarnation)) = self.open.take().zip(self.incarnation) {
            self.withdrawal = Some(Withdrawal { through: open.number, resend: now });
            effects.event(Event::GaveUp { incarnation, through: open.number });
        }
    }

    /// The process stops: nobody is left who wants a quorum.
    pub(crate) fn forget_wish(&mut self) {
        assert!(self.incarnation.is_none(), "an incarnation in use withdraws instead");
        self.wish = None;
    }

    /// A heartbeat left.
    pub(crate) fn on_sent(&mut self, now: Time, seq: u64) {
        assert!(self.sent.back().is_none_or(|(last, _)| *last + 1 == seq), "heartbeats are numbered without gaps");
        while self.sent.front().is_some_and(|(_, at)| now.since(*at) >= self.knobs.lapse) {
            self.sent.pop_front();
        }
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now));
    }

    /// A heartbeat was accepted: renews the lease if it was in the formation held, ends it if there is a newer one.
    pub(crate) fn on_acknowledged(
        &mut self,
        seq: u64,
        formation: Option<Epoch>,
        effects: &mut Effects<MemberNode>,
    ) -> Option<Ended> {
        let formation = formation?;
        match &mut self.acknowledged {
            Some((newest, newest_seq)) if *newest == formation => *newest_seq = seq.max(*newest_seq),
            Some((newest, _)) if *newest > formation => {}
            Some(_) | None => self.acknowledged = Some((formation, seq)),
        }
        let sent = self.sent_at(seq);
        let hold = self.hold.as_mut()?;
        if formation > hold.formation {
            return self.transition_to_inactive(Inactivity::Newer, effects);
        }
        if let Some(sent) = sent.filter(|_| formation == hold.formation) {
            hold.renewed = hold.renewed.max(sent);
        }
        None
    }

    /// The answer to the open request: the quorum, if the replica is Active in it now.
    ///
    /// Receipt alone starts no lease: without a heartbeat that was accepted and sent less than `lapse` ago it counts as
    /// lapsed, and the next quorum is asked for, once another heartbeat could be accepted.
    pub(crate) fn on_formed(
        &mut self,
        now: Time,
        answered: Answered,
        quorum: &Quorum,
        effects: &mut Effects<MemberNode>,
    ) -> Result<bool, Ignored> {
        let Answered { incarnation, number, heartbeat } = answered;
        if self.open.is_none_or(|open| open.number != number) || self.incarnation != Some(incarnation) {
            return Err(Ignored::StaleAnswer);
        }
        if !quorum.members.iter().any(|member| (member.incarnation, member.number) == (incarnation, number)) {
            return Err(Ignored::StaleAnswer);
        }
        let formation = quorum.formation;
        let newest = self.acknowledged.map_or(Epoch::default(), |(newest, _)| newest);
        self.epoch = self.epoch.max(formation.next());
        if formation <= self.barred || formation < newest {
            self.ask_later(now, effects);
            return Err(Ignored::StaleFormation);
        }
        assert!(self.hold.is_none(), "who asks isn't Active");
        self.barred = formation;
        effects.event(Event::Received { incarnation, number, quorum: quorum.clone() });
        let in_it = self.acknowledged.filter(|(newest, _)| *newest == formation).map_or(0, |(_, seq)| seq);
        match self.sent_at(heartbeat.max(in_it)).filter(|sent| now.since(*sent) < self.knobs.lapse) {
            Some(renewed) => {
                self.open = None;
                self.wish = None;
                self.hold = Some(Hold { formation, quorum_id: quorum.id, renewed });
                effects.event(Event::Active { incarnation, formation, quorum_id: quorum.id });
                Ok(true)
            }
            None => {
                self.ask_later(now, effects);
                Ok(false)
            }
        }
    }

    /// The formation starts over: what is open in an older epoch is asked again, what is held from one is over.
    pub(crate) fn on_reset(
        &mut self,
        now: Time,
        epoch: Epoch,
        effects: &mut Effects<MemberNode>,
    ) -> Result<Option<Ended>, Ignored> {
        let held = self.hold.is_some_and(|hold| hold.formation < epoch);
        let open = self.open.is_some_and(|open| open.epoch < epoch);
        self.epoch = self.epoch.max(epoch);
        if !held && !open {
            return Err(if self.hold.is_some() { Ignored::StaleFormation } else { Ignored::StaleAnswer });
        }
        self.barred = self.barred.max(Epoch(epoch.0 - 1));
        let ended = if held { self.transition_to_inactive(Inactivity::Reset, effects) } else { None };
        if open {
            self.ask_anew(now, effects);
        }
        Ok(ended)
    }

    /// Stops working in `formation` and every earlier one, and says so, each time it is told.
    pub(crate) fn on_evict(
        &mut self,
        incarnation: Incarnation,
        formation: Epoch,
        effects: &mut Effects<MemberNode>,
    ) -> Option<Ended> {
        self.barred = self.barred.max(formation);
        let held = self.hold.is_some_and(|hold| hold.formation <= formation);
        let ended = if held { self.transition_to_inactive(Inactivity::Evicted, effects) } else { None };
        effects.send(self.coordinator, Message::EvictAck { incarnation, formation });
        ended
    }

    /// The answer to the open request: it can't be met.
    pub(crate) fn on_refused(
        &mut self,
        incarnation: Incarnation,
        number: Number,
        refusal: Refusal,
    ) -> Result<Refusal, Ignored> {
        if self.open.is_none_or(|open| open.number != number) || self.incarnation != Some(incarnation) {
            return Err(Ignored::StaleAnswer);
        }
        self.open = None;
        self.wish = None;
        Ok(refusal)
    }

    /// Requests up to a number are over at the coordinator. If the open one is among them, the transport withdrew it when the
    /// call that carried it broke off; it is asked anew, because under its old number nobody would ever answer.
    pub(crate) fn on_withdrawn(
        &mut self,
        now: Time,
        through: Number,
        effects: &mut Effects<MemberNode>,
    ) -> Result<(), Ignored> {
        let confirmed = self.withdrawal.is_some_and(|withdrawal| withdrawal.through <= through);
        let broken_off = self.open.is_some_and(|open| open.number <= through);
        if !confirmed && !broken_off {
            return Err(Ignored::StaleAnswer);
        }
        if confirmed {
            self.withdrawal = None;
        }
        if broken_off {
            self.ask_anew(now, effects);
        }
        Ok(())
    }

    /// Judges the lease. At its entry every step does this first, so that nobody works one input too long.
    pub(crate) fn expire(&mut self, now: Time, effects: &mut Effects<MemberNode>) -> Option<Ended> {
        if self.hold.is_none_or(|hold| now.since(hold.renewed) < self.knobs.lapse) {
            return None;
        }
        self.transition_to_inactive(Inactivity::Lapsed, effects)
    }

    /// Sends what is due.
    pub(crate) fn send_due(&mut self, now: Time, contact: &mut Contact, effects: &mut Effects<MemberNode>) {
        let Some(incarnation) = self.incarnation else { return };
        if let Some(withdrawal) = self.withdrawal.as_mut().filter(|withdrawal| now >= withdrawal.resend) {
            contact.on_sent(now);
            withdrawal.resend = contact.next_resend(now);
            effects.send(self.coordinator, Message::Withdraw { incarnation, through: withdrawal.through });
        }
        let Some((open, ask)) = self.open.as_mut().zip(self.wish.as_ref()) else { return };
        if now >= open.resend {
            contact.on_sent(now);
            open.resend = contact.next_resend(now);
            let Open { number, epoch, .. } = *open;
            effects.send(self.coordinator, Message::Ask { incarnation, number, epoch, ask: ask.clone() });
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let open = self.open.map(|open| open.resend);
        let withdrawal = self.withdrawal.map(|withdrawal| withdrawal.resend);
        open.into_iter().chain(withdrawal).chain(self.until()).min()
    }

    /// When the replica stops being Active, unless another heartbeat is acknowledged.
    pub(crate) fn until(&self) -> Option<Time> {
        self.hold.map(|hold| hold.renewed + self.knobs.lapse)
    }

    pub(crate) fn active(&self) -> Option<(Epoch, QuorumId)> {
        self.hold.map(|hold| (hold.formation, hold.quorum_id))
    }

    pub(crate) fn open_request(&self) -> Option<Number> {
        self.open.map(|open| open.number)
    }

    pub(crate) fn withdrawing(&self) -> Option<Number> {
        self.withdrawal.map(|withdrawal| withdrawal.through)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn heartbeats_kept(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn assert_invariants(&self) {
        let waits = self.wish.is_some() && self.incarnation.is_some();
        assert_eq!(self.open.is_some(), waits, "what is wanted is asked for, and nothing else");
        assert!(self.open.is_none() || self.hold.is_none(), "who asks isn't Active");
        assert!(self.open.is_none_or(|open| open.number == self.last), "only the newest request is open");
        assert!(self.hold.is_none_or(|hold| hold.formation == self.barred), "Active in the newest formation received");
        assert!(self.hold.is_none() || self.incarnation.is_some(), "only an incarnation is Active");
        assert!(self.sent.len() <= SENT_MAX, "a bounded memory");
    }

    /// The only way out of being Active.
    fn transition_to_inactive(&mut self, cause: Inactivity, effects: &mut Effects<MemberNode>) -> Option<Ended> {
        let (hold, incarnation) = self.hold.take().zip(self.incarnation)?;
        let formation = hold.formation;
        effects.event(Event::Inactive { incarnation, formation, cause });
        Some(Ended { formation, cause })
    }

    /// Asks under a new number, in the newest epoch known; what was asked before is over.
    fn ask_anew(&mut self, now: Time, effects: &mut Effects<MemberNode>) {
        let Some((ask, incarnation)) = self.wish.as_ref().zip(self.incarnation) else { return };
        self.last = self.last.next();
        let (number, epoch) = (self.last, self.epoch);
        self.open = Some(Open { number, epoch, resend: now });
        let Ask { step, shrink_only, commit_failures, .. } = **ask;
        effects.event(Event::Asked { incarnation, number, epoch, step, shrink_only, commit_failures });
    }

    /// As [`ask_anew`](Self::ask_anew), but the request leaves a heartbeat later: at once it would only be answered with
    /// the same kind of quorum, in which there is no lease.
    fn ask_later(&mut self, now: Time, effects: &mut Effects<MemberNode>) {
        self.ask_anew(now, effects);
        if let Some(open) = &mut self.open {
            open.resend = now + self.knobs.replica_heartbeat;
        }
    }

    fn sent_at(&self, seq: u64) -> Option<Time> {
        // Heartbeats are numbered without gaps within an incarnation, so the place of one is its distance from the first.
        let (first, _) = self.sent.front()?;
        let index = usize::try_from(seq.checked_sub(*first)?).ok()?;
        self.sent.get(index).filter(|(sent, _)| *sent == seq).map(|(_, at)| *at)
    }
}
