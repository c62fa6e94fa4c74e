//! The coordinator: one registration, one heartbeat, one predicate of liveness; a gap-free stream of notifications; quorums.
//!
//! Everything durable is in one [`Snapshot`], and changes only by a [`Record`] that is applied and emitted in one breath, so
//! what a restart replays is what was there. The rest of the state is about this life: when somebody was last heard of, who
//! asks, who listens.

mod formation;
mod invariants;
mod membership;
mod notices;
mod record;
mod rules;
mod status;

#[cfg(test)]
mod tests;

use crate::{Event, Ignored, Incarnation, Knobs, Message, Number, Refusal, Role, Session};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use rules::Waiting;
use squall_machine::{Address, Durable, Effects, Input, Machine, Span, Text, Time};

pub use record::{End, Member, Record, Snapshot, Stage};
pub use status::{MemberState, MemberStatus, OpenRequest, SessionStatus, Sizes, Status};

/// How many ticks the coordinator may not run before it takes the silence for its own.
const STALL_TICKS: u64 = 2;

/// What the process around the coordinator tells it: a member spoke to another part of that process. An overdue one is
/// declared failed before anybody listens to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Spoke {
    /// Who.
    pub incarnation: Incarnation,
}

/// What the coordinator tells the process around it: how members come and go, in the order in which that happens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Membership {
    /// An incarnation began.
    Began {
        /// The member's id.
        member: Text,
        /// The incarnation.
        incarnation: Incarnation,
        /// What it is for.
        role: Role,
    },
    /// An incarnation ended.
    Ended {
        /// The incarnation.
        incarnation: Incarnation,
        /// What it was for.
        role: Role,
        /// How.
        end: End,
    },
}

/// The coordinator's machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Coordinator {
    knobs: Arc<Knobs>,
    booted: bool,
    /// All that survives a crash. Written by `commit` alone.
    durable: Snapshot,
    /// When the last failure tick was over; the coordinator ran at least once per tick, or it stalled.
    last_tick: Time,
    /// The incarnations of each member, so that a registration finds what its process was granted.
    names: BTreeSet<(Text, Incarnation)>,
    /// Grants that no heartbeat has claimed, and when each was last asked for.
    grants: BTreeMap<Incarnation, Time>,
    /// Incarnations that have begun and not ended.
    live: BTreeMap<Incarnation, Live>,
    /// Incarnations that have ended and are remembered.
    ended: BTreeMap<Incarnation, Ended>,
    /// The live replicas, by id: the order of every list of members.
    replicas: BTreeMap<Text, Incarnation>,
    /// The open request of each replica that waits. All are of the current epoch.
    open: BTreeMap<Incarnation, Open>,
    /// What is settled about the requests of each live incarnation that ever made one.
    settled: BTreeMap<Incarnation, Settled>,
    /// The newest heartbeat of each member of the newest formation that was accepted before forming, in this life.
    acknowledged: BTreeMap<Incarnation, u64>,
    /// The replicas whose failure began the current epoch.
    reset_by: Arc<[Text]>,
    /// Why no quorum forms.
    waiting: Waiting,
    sessions: BTreeMap<Session, notices::Listener>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Live {
    /// When the last heartbeat was accepted, or, if that is later, when all ages started anew.
    heard: Time,
    /// The last accepted heartbeat; 0 before the first of this life.
    seq: u64,
    /// The timeout of the member's role.
    timeout: Span,
    suspected: bool,
    /// Where the newest accepted heartbeat or request came from.
    address: Option<Address>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Ended {
    at: Time,
    /// When the last heartbeat was accepted: from here on its lease runs out.
    heard: Time,
    address: Option<Address>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Open {
    number: Number,
    ask: Arc<crate::Ask>,
    since: Time,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Settled {
    /// The last request that its client gave up.
    withdrawn: Number,
    /// The last request that was answered for good.
    answered: Number,
    /// The last request that was refused.
    refused: Option<(Number, Refusal)>,
}

type Out = Effects<Coordinator>;

impl Coordinator {
    /// A coordinator that has not booted.
    #[must_use]
    pub fn new(knobs: Arc<Knobs>) -> Self {
        Self {
            knobs,
            booted: false,
            durable: Snapshot::default(),
            last_tick: Time::ZERO,
            names: BTreeSet::new(),
            grants: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            replicas: BTreeMap::new(),
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            reset_by: Arc::from([]),
            waiting: Waiting::Nobody,
            sessions: BTreeMap::new(),
        }
    }

    /// The one predicate of liveness, by which every reader goes: whether the incarnation has begun, has not ended, and was
    /// heard of less than its timeout ago.
    #[must_use]
    pub fn alive(&self, incarnation: Incarnation, now: Time) -> bool {
        self.live.get(&incarnation).is_some_and(|live| rules::alive(now.since(live.heard), live.timeout))
    }

    /// The incarnations that have begun and not ended, with what is known about them.
    pub fn live_members(&self) -> impl Iterator<Item = (Incarnation, &Member)> {
        self.live.keys().map(|&incarnation| (incarnation, &self.durable.members[&incarnation]))
    }

    /// What is known about an incarnation that is not forgotten.
    #[must_use]
    pub fn member(&self, incarnation: Incarnation) -> Option<&Member> {
        self.durable.members.get(&incarnation)
    }

    /// Where a live incarnation was last heard from; `None` if it wasn't since the restart.
    #[must_use]
    pub fn address(&self, incarnation: Incarnation) -> Option<Address> {
        self.live.get(&incarnation).and_then(|live| live.address)
    }

    /// The settings.
    #[must_use]
    pub fn knobs(&self) -> &Arc<Knobs> {
        &self.knobs
    }

    /// The only writer of durable state.
    fn commit(&mut self, record: Record, effects: &mut Out) {
        self.durable.apply(&record, self.knobs.notices_kept);
        effects.record(record);
    }

    fn timeout(&self, role: Role) -> Span {
        match role {
            Role::Replica => self.knobs.replica_timeout,
            Role::Worker => self.knobs.worker_timeout,
        }
    }

    fn on_boot(&mut self, now: Time, durable: Durable<Self>, effects: &mut Out) {
        assert!(!self.booted, "a process boots once");
        assert_eq!(self.knobs.validate(), Ok(()), "settings are checked before a coordinator is built");
        self.booted = true;
        self.last_tick = now;
        let restarted = durable.snapshot.is_some() || !durable.records.is_empty();
        self.durable = durable.snapshot.unwrap_or_default();
        for record in &durable.records {
            self.durable.apply(record, self.knobs.notices_kept);
        }
        for (&incarnation, member) in &self.durable.members {
            self.names.insert((member.id.clone(), incarnation));
            match member.stage {
                Stage::Granted => {
                    self.grants.insert(incarnation, now);
                }
                Stage::Begun => {
                    let timeout = self.timeout(member.role);
                    let live = Live { heard: now, seq: 0, timeout, suspected: false, address: None };
                    self.live.insert(incarnation, live);
                    if member.role == Role::Replica {
                        self.replicas.insert(member.id.clone(), incarnation);
                    }
                }
                Stage::Ended(_) => {
                    self.ended.insert(incarnation, Ended { at: now, heard: now, address: None });
                }
            }
        }
        for &incarnation in self.live.keys() {
            if let Some(answered) = self.durable.answered(incarnation) {
                self.settled.insert(incarnation, Settled { answered, ..Settled::default() });
            }
        }
        if restarted {
            effects.event(Event::Stalled { gap: Span::ZERO, restarted: true });
            self.reset(Vec::new(), effects);
        }
    }

    /// What every step begins with: the coordinator notices its own silence, then everybody else's.
    fn on_entry(&mut self, now: Time, effects: &mut Out) {
        let gap = now.since(self.last_tick);
        if gap > self.knobs.tick * STALL_TICKS {
            self.on_stall(now, gap, effects);
        }
        if gap >= self.knobs.tick {
            self.on_tick(now, effects);
        }
    }

    /// Its own gap never kills anybody: all ages, and all waits, start anew.
    fn on_stall(&mut self, now: Time, gap: Span, effects: &mut Out) {
        effects.event(Event::Stalled { gap, restarted: false });
        for (&incarnation, live) in &mut self.live {
            live.heard = now;
            if core::mem::take(&mut live.suspected) {
                let member = self.durable.members[&incarnation].id.clone();
                effects.event(Event::Cleared { member, incarnation });
            }
        }
        self.grants.values_mut().for_each(|asked| *asked = now);
        self.open.values_mut().for_each(|open| open.since = now);
        self.sessions.values_mut().for_each(|listener| (listener.heard, listener.stuck) = (now, false));
    }

    fn on_tick(&mut self, now: Time, effects: &mut Out) {
        self.declare_overdue(now, effects);
        self.suspect_silent(now, effects);
        self.forget_old(now, effects);
        self.end_silent_sessions(now, effects);
        self.find_lagging(effects);
        self.consider(now, effects);
        self.send_evictions(now, effects);
        self.last_tick = now;
        effects.event(Event::Ticked {});
    }

    fn on_receive(&mut self, now: Time, from: Address, message: Message, effects: &mut Out) {
        match message {
            Message::Heartbeat { incarnation, seq, wall: _ } => self.on_heartbeat(now, from, incarnation, seq, effects),
            Message::Register { id, boot, role, address, capacity } => {
                self.on_register(
                    now,
                    from,
                    Record::Granted { incarnation: self.durable.incarnation.next(), id, boot, role, address, capacity },
                    effects,
                );
            }
            Message::Leave { incarnation } => self.on_leave(now, from, incarnation, effects),
            Message::Ask { incarnation, number, epoch, ask } => {
                self.on_ask(now, from, formation::Asking { incarnation, number, epoch, ask }, effects);
            }
            Message::Withdraw { incarnation, through } => self.on_withdraw(now, from, incarnation, through, effects),
            Message::EvictAck { incarnation, formation } => {
                self.on_evict_ack(now, from, incarnation, formation, effects);
            }
            Message::Subscribe { session, after } => self.on_subscribe(now, from, session, after, effects),
            Message::Unsubscribe { session } => self.on_unsubscribe(session, effects),
            Message::Granted { incarnation, .. }
            | Message::HeartbeatAck { incarnation, .. }
            | Message::Left { incarnation }
            | Message::Unknown { incarnation }
            | Message::Failed { incarnation, .. }
            | Message::Superseded { incarnation }
            | Message::Formed { incarnation, .. }
            | Message::Reset { incarnation, .. }
            | Message::Refused { incarnation, .. }
            | Message::Withdrawn { incarnation, .. }
            | Message::Evict { incarnation, .. } => ignore(Ignored::WrongDirection, Some(incarnation), effects),
            Message::Notification { .. } | Message::Snapshot { .. } => ignore(Ignored::WrongDirection, None, effects),
        }
    }
}

impl Machine for Coordinator {
    type Message = Message;
    type Request = Spoke;
    type Reply = Membership;
    type Record = Record;
    type Snapshot = Snapshot;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Out) {
        debug_assert!(effects.is_empty(), "the effects of the last step were not drained");
        let newest = self.durable.cursor;
        match input {
            Input::Boot(durable) => self.on_boot(now, durable, effects),
            Input::Receive { from, message } => {
                assert!(self.booted, "a message before boot");
                self.on_entry(now, effects);
                self.on_receive(now, from, message, effects);
            }
            Input::Request(Spoke { incarnation }) => {
                assert!(self.booted, "a request before boot");
                self.on_entry(now, effects);
                self.declare_if_overdue(now, incarnation, effects);
            }
            Input::Wake => {
                assert!(self.booted, "a wake-up before boot");
                self.on_entry(now, effects);
            }
        }
        if self.durable.cursor != newest {
            self.announce(effects);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.booted.then(|| self.last_tick + self.knobs.tick)
    }

    fn snapshot(&self) -> Snapshot {
        self.durable.clone()
    }

    fn assert_invariants(&self) {
        self.check();
    }
}

fn ignore(reason: Ignored, incarnation: Option<Incarnation>, effects: &mut Out) {
    effects.event(Event::Ignored { reason, incarnation });
}
