//! A member: a replica between its local ranks and the coordinator, or a worker.

#[cfg(test)]
mod tests;

use crate::contact::Contact;
use crate::lease::{Answered, Ended, Lease};
use crate::session::{MemberSession, Phase};
use crate::subscription::{Cut, Subscription};
use crate::{Bookmark, MemberPhase, MemberStatus, Record};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use squall_coordinator::{
    Capacity, Epoch, Event, Ignored, Inactivity, Incarnation, Knobs, Manager, ManagerConfig, ManagerReply,
    ManagerRequest, Message, QuorumId, RankAnswer, RankCall, RankError, Refusal, Role, recovery_assignment,
};
use squall_machine::{Address, Effects, Input, Machine, Text, Time};

/// What a member has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberConfig {
    /// Its id: stays the same across restarts.
    pub id: Text,
    /// What it is for.
    pub role: Role,
    /// Where other members reach it.
    pub address: Text,
    /// Where its store is reached.
    pub store_address: Text,
    /// What it can hold.
    pub capacity: Capacity,
    /// Where the coordinator is reached.
    pub coordinator: Address,
    /// How many local ranks a replica has; at least 1. Workers have none.
    pub world_size: u32,
    /// Whether it subscribes to the coordinator's notifications.
    pub subscribes: bool,
    /// For its boot id, its session id and its delays. Has to be another one in each life of the process: a process that
    /// starts under an old boot id is taken for the old process.
    pub seed: u64,
    /// Settings, the same as the coordinator's.
    pub knobs: Arc<Knobs>,
}

/// What local clients ask a member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MemberRequest {
    /// A local rank asks for the next quorum; answered with [`MemberReply::Answer`].
    Quorum {
        /// Which rank.
        rank: u32,
        /// Names the call; its answer carries it.
        token: u64,
        /// What it asks.
        call: RankCall,
    },
    /// A local rank votes on whether to commit a step; answered with [`MemberReply::Decision`] or
    /// [`MemberReply::Rejected`].
    Vote {
        /// Which rank.
        rank: u32,
        /// Names the call; its answer carries it.
        token: u64,
        /// Which step.
        step: u64,
        /// The quorum in which the step was made.
        quorum_id: QuorumId,
        /// For or against.
        commit: bool,
    },
    /// Planned departure: ends everything local, tells the coordinator, then stops. Repeating it changes nothing.
    Leave,
}

/// What a member answers local clients, and tells them unasked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MemberReply {
    /// The answer to [`MemberRequest::Quorum`].
    Answer {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Its view of the quorum, or why there is none.
        answer: RankAnswer,
    },
    /// The decision on a step, to one who voted.
    Decision {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Which step.
        step: u64,
        /// In which quorum.
        quorum_id: QuorumId,
        /// Whether to commit.
        decision: bool,
    },
    /// The vote didn't count and awaits no decision.
    Rejected {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Why.
        reason: Ignored,
    },
    /// Unasked, to every local rank: stop working in this formation, at once.
    Inactive {
        /// Which formation.
        formation: Epoch,
        /// Why.
        cause: Inactivity,
    },
    /// Unasked: the member has stopped for good.
    Stopped {
        /// Whether with an error (another process took over its id), not by plan.
        superseded: bool,
    },
}

/// A member node: registers and beats; as a replica it carries its local ranks' wishes to the coordinator and works under a
/// lease; it may subscribe.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberNode {
    config: Arc<MemberConfig>,
    contact: Contact,
    session: MemberSession,
    replica: Option<Replica>,
    subscription: Option<Subscription>,
}

/// What a replica has and a worker hasn't.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Replica {
    manager: Manager,
    lease: Lease,
}

impl MemberNode {
    /// A member that has not booted.
    ///
    /// # Panics
    /// If it is a replica with no local rank.
    #[must_use]
    pub fn new(config: MemberConfig) -> Self {
        let config = Arc::new(config);
        let knobs = &config.knobs;
        let replica = (config.role == Role::Replica).then(|| Replica {
            manager: Manager::new(ManagerConfig {
                id: config.id.clone(),
                address: config.address.clone(),
                store_address: config.store_address.clone(),
                world_size: config.world_size,
                knobs: knobs.clone(),
            }),
            lease: Lease::new(config.coordinator, knobs.clone()),
        });
        let subscription = config.subscribes.then(|| Subscription::new(config.coordinator, knobs.clone(), config.seed));
        Self {
            contact: Contact::new(config.seed, knobs),
            session: MemberSession::new(config.clone()),
            replica,
            subscription,
            config,
        }
    }

    /// The incarnation that it works under; `None` before its grant and after its end.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.session.incarnation()
    }

    /// Where it stands. `now` is its own clock.
    #[must_use]
    pub fn status(&self, now: Time) -> MemberStatus {
        let (phase, superseded) = match self.session.phase() {
            Phase::Off => (MemberPhase::Off, false),
            Phase::Registering { .. } => (MemberPhase::Registering, false),
            Phase::Member(_) => (MemberPhase::Member, false),
            Phase::Leaving { .. } => (MemberPhase::Leaving, false),
            Phase::Stopped { superseded, .. } => (MemberPhase::Stopped, superseded),
        };
        let lease = self.replica.as_ref().map(|replica| &replica.lease);
        let bookmark = self.subscription.as_ref().and_then(Subscription::bookmark);
        MemberStatus {
            id: self.config.id.clone(),
            phase,
            incarnation: self.session.incarnation(),
            superseded,
            active: lease.and_then(Lease::active),
            lease_until: lease.and_then(Lease::until),
            epoch: lease.map(Lease::epoch).unwrap_or_default(),
            open_request: lease.and_then(Lease::open_request),
            waiting_ranks: self.replica.as_ref().map_or(0, |replica| replica.manager.waiting_ranks()),
            session: bookmark.map(|bookmark| bookmark.session),
            taken: bookmark.and_then(|bookmark| bookmark.taken),
            heartbeats_kept: lease.map_or(0, Lease::heartbeats_kept),
            contact_lost: self.contact.is_lost(now),
            waits_for: self.waits_for(now),
        }
    }

    fn waits_for(&self, now: Time) -> String {
        let lost = if self.contact.is_lost(now) { "; the coordinator is silent" } else { "" };
        match self.session.phase() {
            Phase::Off => return "its start".to_string(),
            Phase::Registering { .. } => return format!("an incarnation{lost}"),
            Phase::Leaving { .. } => return format!("the coordinator to confirm that it leaves{lost}"),
            Phase::Stopped { .. } => return String::new(),
            Phase::Member(_) => {}
        }
        let Some(Replica { manager, lease }) = &self.replica else { return String::new() };
        if let Some(number) = lease.open_request() {
            return format!("the answer to request {number} in epoch {}{lost}", lease.epoch());
        }
        let (waiting, size) = (manager.waiting_ranks(), manager.world_size());
        if waiting > 0 {
            return format!("{} of {size} local ranks to ask", size - waiting);
        }
        if let Some((step, quorum_id, voted)) = manager.open_vote() {
            return format!("{} of {size} votes on step {step} in quorum {quorum_id}", size - voted);
        }
        match lease.withdrawing() {
            Some(through) => format!("the coordinator to confirm the withdrawal of request {through}{lost}"),
            None => String::new(),
        }
    }

    fn on_message(&mut self, now: Time, message: Message, effects: &mut Effects<Self>) -> Result<(), Ignored> {
        if matches!(self.session.phase(), Phase::Stopped { .. }) {
            return Err(Ignored::Stopped);
        }
        match message {
            Message::Granted { boot, incarnation, epoch } => {
                self.session.on_granted(now, boot, incarnation, effects)?;
                if let Some(Replica { lease, .. }) = &mut self.replica {
                    lease.begin(now, incarnation, epoch, effects);
                }
                Ok(())
            }
            Message::HeartbeatAck { incarnation, seq, epoch: _, formation, cursor } => {
                let beats = self.session.beats().filter(|beats| beats.incarnation == incarnation && seq <= beats.seq);
                beats.ok_or(Ignored::StaleAnswer)?;
                if let Some(subscription) = &mut self.subscription {
                    subscription.on_newest(now, cursor);
                }
                if let Some(Replica { lease, .. }) = &mut self.replica {
                    let ended = lease.on_acknowledged(seq, formation, effects);
                    self.tell_inactive(now, ended, effects);
                }
                Ok(())
            }
            Message::Left { incarnation } => {
                self.own(incarnation)?;
                match self.session.phase() {
                    Phase::Leaving { .. } => self.end(now, effects),
                    Phase::Off | Phase::Registering { .. } | Phase::Member(_) | Phase::Stopped { .. } => {
                        return Err(Ignored::StaleAnswer);
                    }
                }
                Ok(())
            }
            Message::Unknown { incarnation } | Message::Failed { incarnation, cause: _ } => {
                self.own(incarnation)?;
                self.end(now, effects);
                Ok(())
            }
            Message::Superseded { incarnation } => {
                self.own(incarnation)?;
                self.on_superseded(now, effects);
                Ok(())
            }
            Message::Formed { .. }
            | Message::Reset { .. }
            | Message::Refused { .. }
            | Message::Withdrawn { .. }
            | Message::Evict { .. } => self.on_quorum_message(now, message, effects),
            Message::Notification { session, notice } => match &mut self.subscription {
                Some(subscription) => subscription.on_notification(now, session, notice, effects),
                None => Err(Ignored::StaleSession),
            },
            Message::Snapshot { session, cursor, lagged, failures } => match &mut self.subscription {
                Some(subscription) => subscription.on_snapshot(now, session, Cut { cursor, lagged, failures }, effects),
                None => Err(Ignored::StaleSession),
            },
            Message::Register { .. }
            | Message::Heartbeat { .. }
            | Message::Leave { .. }
            | Message::Ask { .. }
            | Message::Withdraw { .. }
            | Message::EvictAck { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. } => Err(Ignored::WrongDirection),
        }
    }

    /// What the coordinator says about formations.
    fn on_quorum_message(&mut self, now: Time, message: Message, effects: &mut Effects<Self>) -> Result<(), Ignored> {
        let own = self.session.incarnation();
        let Some(Replica { lease, .. }) = &mut self.replica else { return Err(Ignored::StaleAnswer) };
        match message {
            Message::Formed { incarnation, number, heartbeat, quorum } => {
                // What the manager couldn't use must not start a lease: its ranks would wait for ever.
                if recovery_assignment(&quorum, &self.config.id, 0, false).is_none() {
                    return Err(Ignored::StaleAnswer);
                }
                let answered = Answered { incarnation, number, heartbeat };
                if lease.on_formed(now, answered, &quorum, effects)? {
                    self.tell_manager(now, ManagerRequest::Formed(quorum), effects);
                }
            }
            Message::Reset { incarnation, epoch, failed: _ } => {
                if own != Some(incarnation) {
                    return Err(Ignored::StaleAnswer);
                }
                let ended = lease.on_reset(now, epoch, effects)?;
                self.tell_inactive(now, ended, effects);
            }
            Message::Refused { incarnation, number, refusal } => {
                let refusal = lease.on_refused(incarnation, number, refusal)?;
                self.tell_manager(now, ManagerRequest::Refused(refusal), effects);
            }
            Message::Withdrawn { incarnation, through } => {
                if own != Some(incarnation) {
                    return Err(Ignored::StaleAnswer);
                }
                lease.on_withdrawn(now, through, effects)?;
            }
            Message::Evict { incarnation, formation } => {
                if own == Some(incarnation) {
                    let ended = lease.on_evict(incarnation, formation, effects);
                    self.tell_inactive(now, ended, effects);
                } else if own.is_none_or(|own| incarnation < own) {
                    // One that this process, or the one before it, has given up: it works nowhere.
                    effects.send(self.config.coordinator, Message::EvictAck { incarnation, formation });
                } else {
                    return Err(Ignored::StaleAnswer);
                }
            }
            Message::Register { .. }
            | Message::Heartbeat { .. }
            | Message::Leave { .. }
            | Message::Ask { .. }
            | Message::Withdraw { .. }
            | Message::EvictAck { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. }
            | Message::Granted { .. }
            | Message::HeartbeatAck { .. }
            | Message::Left { .. }
            | Message::Unknown { .. }
            | Message::Failed { .. }
            | Message::Superseded { .. }
            | Message::Notification { .. }
            | Message::Snapshot { .. } => panic!("not about formations"),
        }
        Ok(())
    }

    fn own(&self, incarnation: Incarnation) -> Result<(), Ignored> {
        if self.session.incarnation() == Some(incarnation) { Ok(()) } else { Err(Ignored::StaleAnswer) }
    }

    /// The incarnation is over. A live member comes back as a new one and asks again for what its ranks still want.
    fn end(&mut self, now: Time, effects: &mut Effects<Self>) {
        if let Some(Replica { lease, .. }) = &mut self.replica {
            let ended = lease.end(Inactivity::Ended, effects);
            self.tell_inactive(now, ended, effects);
        }
        if !self.session.on_ended(now, &mut self.contact, effects) {
            self.say_goodbye(false, effects);
        }
    }

    fn on_superseded(&mut self, now: Time, effects: &mut Effects<Self>) {
        if let Some(Replica { lease, .. }) = &mut self.replica {
            let ended = lease.end(Inactivity::Ended, effects);
            self.tell_inactive(now, ended, effects);
            self.tell_manager(now, ManagerRequest::Superseded, effects);
        }
        if let Some(Replica { lease, .. }) = &mut self.replica {
            lease.forget_wish();
        }
        self.session.transition_to_stopped(true, effects);
        self.say_goodbye(true, effects);
    }

    /// A local client wants the member to leave.
    fn on_leave(&mut self, now: Time, effects: &mut Effects<Self>) {
        match self.session.phase() {
            Phase::Leaving { .. } | Phase::Stopped { .. } => {
                effects.event(Event::Ignored { reason: Ignored::Stopped, incarnation: self.session.incarnation() });
            }
            Phase::Off | Phase::Registering { .. } | Phase::Member(_) => {
                if self.replica.is_some() {
                    self.tell_manager(now, ManagerRequest::Shutdown, effects);
                } else {
                    self.leave(now, effects);
                }
            }
        }
    }

    fn leave(&mut self, now: Time, effects: &mut Effects<Self>) {
        if let Some(Replica { lease, .. }) = &mut self.replica {
            let ended = lease.end(Inactivity::Left, effects);
            self.tell_inactive(now, ended, effects);
        }
        self.session.leave(now, effects);
        if matches!(self.session.phase(), Phase::Stopped { .. }) {
            self.say_goodbye(false, effects);
        }
    }

    fn say_goodbye(&mut self, superseded: bool, effects: &mut Effects<Self>) {
        if let Some(subscription) = &mut self.subscription {
            subscription.close(effects);
        }
        effects.reply(MemberReply::Stopped { superseded });
    }

    /// The replica stopped being Active: its ranks stop working, and an open vote is over.
    fn tell_inactive(&mut self, now: Time, ended: Option<Ended>, effects: &mut Effects<Self>) {
        if let Some(Ended { formation, cause }) = ended {
            effects.reply(MemberReply::Inactive { formation, cause });
            self.tell_manager(now, ManagerRequest::Inactive, effects);
        }
    }

    fn tell_manager(&mut self, now: Time, request: ManagerRequest, effects: &mut Effects<Self>) {
        self.step_manager(now, Input::Request(request), effects);
    }

    /// One input to the manager, and whatever it wants of the quorum client.
    fn step_manager(&mut self, now: Time, input: Input<Manager>, effects: &mut Effects<Self>) {
        let Some(Replica { manager, .. }) = &mut self.replica else { return };
        let mut part = Effects::new();
        let mut wishes = VecDeque::new();
        manager.step(now, input, &mut part);
        effects.take_over(&mut part, |reply, effects| match reply {
            ManagerReply::Answer { rank, token, answer } => effects.reply(MemberReply::Answer { rank, token, answer }),
            ManagerReply::Decision { rank, token, step, quorum_id, decision } => {
                effects.reply(MemberReply::Decision { rank, token, step, quorum_id, decision });
            }
            ManagerReply::Rejected { rank, token, reason } => {
                effects.reply(MemberReply::Rejected { rank, token, reason });
            }
            ManagerReply::Ask(_) | ManagerReply::Withdraw | ManagerReply::Leave => wishes.push_back(reply),
        });
        for wish in wishes {
            self.on_wish(now, wish, effects);
        }
    }

    fn on_wish(&mut self, now: Time, wish: ManagerReply, effects: &mut Effects<Self>) {
        let Some(Replica { lease, .. }) = &mut self.replica else { return };
        match wish {
            ManagerReply::Ask(ask) => {
                let ended = lease.ask(now, ask, effects);
                self.tell_inactive(now, ended, effects);
            }
            ManagerReply::Withdraw => lease.withdraw(now, effects),
            ManagerReply::Leave => self.leave(now, effects),
            ManagerReply::Answer { .. } | ManagerReply::Decision { .. } | ManagerReply::Rejected { .. } => {
                panic!("answers go to the local ranks")
            }
        }
    }

    fn on_request(&mut self, now: Time, request: MemberRequest, effects: &mut Effects<Self>) {
        let replica = self.replica.is_some();
        match request {
            MemberRequest::Quorum { rank, token, call } if replica => {
                self.tell_manager(now, ManagerRequest::Quorum { rank, token, call }, effects);
            }
            MemberRequest::Vote { rank, token, step, quorum_id, commit } if replica => {
                self.tell_manager(now, ManagerRequest::Vote { rank, token, step, quorum_id, commit }, effects);
            }
            MemberRequest::Quorum { rank, token, .. } => {
                effects.event(Event::Ignored { reason: Ignored::RankOutOfRange, incarnation: None });
                let answer = RankAnswer::Error(RankError::Refused(Refusal::NotAReplica));
                effects.reply(MemberReply::Answer { rank, token, answer });
            }
            MemberRequest::Vote { rank, token, .. } => {
                let reason = Ignored::RankOutOfRange;
                effects.event(Event::Ignored { reason, incarnation: None });
                effects.reply(MemberReply::Rejected { rank, token, reason });
            }
            MemberRequest::Leave => self.on_leave(now, effects),
        }
    }

    /// Judges what time alone decides, before the input of the same step: the lease first.
    fn expire(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Some(Replica { lease, manager }) = &mut self.replica else { return };
        let ended = lease.expire(now, effects);
        let due = manager.deadline().is_some_and(|deadline| now >= deadline);
        self.tell_inactive(now, ended, effects);
        if due {
            self.step_manager(now, Input::Wake, effects);
        }
    }

    fn send_due(&mut self, now: Time, effects: &mut Effects<Self>) {
        if matches!(self.session.phase(), Phase::Stopped { .. }) {
            return;
        }
        let seq = self.session.send_due(now, &mut self.contact, effects);
        if let Some(Replica { lease, .. }) = &mut self.replica {
            if let Some(seq) = seq {
                lease.on_sent(now, seq);
            }
            lease.send_due(now, &mut self.contact, effects);
        }
        if let Some(subscription) = &mut self.subscription {
            subscription.send_due(now, effects);
        }
    }
}

impl Machine for MemberNode {
    type Message = Message;
    type Request = MemberRequest;
    type Reply = MemberReply;
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        self.expire(now, effects);
        match input {
            Input::Boot(durable) => {
                self.session.on_boot(now);
                if let Some(subscription) = &mut self.subscription {
                    subscription.on_boot(now, Bookmark::replay(durable.snapshot.flatten(), &durable.records), effects);
                }
            }
            Input::Receive { from: _, message } => {
                self.contact.on_heard();
                if let Err(reason) = self.on_message(now, message, effects) {
                    effects.event(Event::Ignored { reason, incarnation: self.session.incarnation() });
                }
            }
            Input::Request(request) => self.on_request(now, request, effects),
            Input::Wake => {}
        }
        self.send_due(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        let session = self.session.deadline();
        let lease = self.replica.as_ref().and_then(|replica| replica.lease.deadline());
        let manager = self.replica.as_ref().and_then(|replica| replica.manager.deadline());
        let subscription = self.subscription.as_ref().and_then(Subscription::deadline);
        session.into_iter().chain(lease).chain(manager).chain(subscription).min()
    }

    fn snapshot(&self) -> Option<Bookmark> {
        self.subscription.as_ref().and_then(Subscription::bookmark)
    }

    fn assert_invariants(&self) {
        self.session.assert_invariants();
        if let Some(Replica { manager, lease }) = &self.replica {
            manager.assert_invariants();
            lease.assert_invariants();
            let active = lease.active();
            assert!(active.is_none() || self.session.incarnation().is_some(), "only an incarnation is Active");
        }
        if let Some(subscription) = &self.subscription {
            subscription.assert_invariants();
        }
        if matches!(self.session.phase(), Phase::Stopped { .. }) {
            assert_eq!(self.deadline(), None, "who has stopped wants nothing");
        }
    }
}
