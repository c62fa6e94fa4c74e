//! Scripts against the whole machine, rule by rule. After every step the invariants hold, and what a restart would replay
//! is what is there.

mod liveness;
mod notices;
mod properties;
mod quorum;

use super::{Coordinator, End, Membership, Record, Spoke, Status};
use crate::{
    Ask, BootId, Capacity, Cause, Cursor, Epoch, Event, Ignored, Incarnation, Knobs, Message, Number, Quorum, Role,
    Session,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Released, Span, Time, Wall};

const SECOND: Span = Span::from_secs(1);

/// A coordinator with a disk that syncs at once, and everything it has said since it was last asked.
struct Rig {
    knobs: Arc<Knobs>,
    coordinator: Coordinator,
    outbox: Outbox<Coordinator>,
    now: Time,
    disk: Vec<Record>,
    sent: Vec<(Address, Message)>,
    events: Vec<Event>,
    /// How members came and went, as the process around it is told.
    told: Vec<Membership>,
    /// Every event of all lives, with the clock of its life.
    history: Vec<(Time, Event)>,
    seqs: BTreeMap<Incarnation, u64>,
    boots: u64,
}

impl Rig {
    fn new(set: impl FnOnce(&mut Knobs)) -> Self {
        let mut knobs = Knobs::default();
        set(&mut knobs);
        let knobs = Arc::new(knobs);
        let mut rig = Self {
            coordinator: Coordinator::new(knobs.clone()),
            knobs,
            outbox: Outbox::new(),
            now: Time::from_nanos(1_000),
            disk: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            history: Vec::new(),
            seqs: BTreeMap::new(),
            boots: 0,
        };
        rig.step(Input::Boot(Durable::empty()));
        rig
    }

    fn step(&mut self, input: Input<Coordinator>) {
        let mut effects = Effects::new();
        self.coordinator.step(self.now, input, &mut effects);
        let mut released = Vec::new();
        if let Some(batch) = self.outbox.drain(self.now, &mut effects, |item| released.push(item)) {
            self.disk.extend(batch.records);
            self.outbox.confirm(batch.pledge.synced(), |item| released.push(item));
        }
        for item in released {
            match item {
                Released::Message { to, message } => self.sent.push((to, message)),
                Released::Event { decided, event } => {
                    self.history.push((decided, event.clone()));
                    self.events.push(event);
                }
                Released::Reply(membership) => self.told.push(membership),
            }
        }
        self.coordinator.assert_invariants();
    }

    /// Sends a message, and returns what was sent in return to anybody.
    fn say(&mut self, from: u64, message: Message) -> Vec<(u64, Message)> {
        self.sent.clear();
        self.events.clear();
        self.step(Input::Receive { from: Address(from), message });
        self.drain()
    }

    fn drain(&mut self) -> Vec<(u64, Message)> {
        self.sent.drain(..).map(|(to, message)| (to.0, message)).collect()
    }

    /// Lets time pass; the coordinator wakes when it wants to. Nothing that was said on the way is lost.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        self.sent.clear();
        self.events.clear();
        while let Some(deadline) = self.coordinator.deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.step(Input::Wake);
        }
        self.now = end;
    }

    /// Lets time pass in which only these members are heard of.
    fn pass_with(&mut self, members: &[Incarnation], span: Span) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        let end = self.now + span;
        while self.now < end {
            let stride = end.since(self.now).min(SECOND / 2);
            self.pass(stride);
            for &incarnation in members {
                self.seqs.entry(incarnation).and_modify(|seq| *seq += 1);
                let (seq, wall) = (self.seqs[&incarnation], Wall::default());
                let message = Message::Heartbeat { incarnation, seq, wall };
                self.step(Input::Receive { from: Address(incarnation.0), message });
            }
            self.sent.retain(|(_, message)| !matches!(message, Message::HeartbeatAck { .. }));
            self.events.retain(|event| !matches!(event, Event::HeartbeatAccepted { .. } | Event::Ticked {}));
            sent.append(&mut self.sent);
            events.append(&mut self.events);
        }
        (self.sent, self.events) = (sent, events);
    }

    fn register(&mut self, id: &str, boot: u64, role: Role) -> Incarnation {
        let answer = self.say(1, register(id, boot, role));
        match answer.as_slice() {
            [(1, Message::Granted { incarnation, .. })] => *incarnation,
            other => panic!("{id} was not granted: {other:?}"),
        }
    }

    fn beat(&mut self, incarnation: Incarnation) -> Vec<(u64, Message)> {
        let seq = self.seqs.entry(incarnation).or_insert(0);
        *seq += 1;
        let seq = *seq;
        self.say(incarnation.0, Message::Heartbeat { incarnation, seq, wall: Wall::default() })
    }

    /// Registers under a fresh boot id, and begins. The incarnation's number is also its address.
    fn join(&mut self, id: &str, role: Role) -> Incarnation {
        self.boots += 1;
        let incarnation = self.register(id, self.boots, role);
        self.beat(incarnation);
        incarnation
    }

    fn replicas(&mut self, ids: &[&str]) -> Vec<Incarnation> {
        ids.iter().map(|id| self.join(id, Role::Replica)).collect()
    }

    fn ask(&mut self, incarnation: Incarnation, number: u64) -> Vec<(u64, Message)> {
        self.ask_with(incarnation, number, self.epoch(), |_| {})
    }

    fn ask_with(
        &mut self,
        incarnation: Incarnation,
        number: u64,
        epoch: Epoch,
        set: impl FnOnce(&mut Ask),
    ) -> Vec<(u64, Message)> {
        let mut ask = plain_ask(incarnation);
        set(&mut ask);
        let message = Message::Ask { incarnation, number: Number(number), epoch, ask: Arc::new(ask) };
        self.say(incarnation.0, message)
    }

    fn status(&self) -> Status {
        self.coordinator.status(self.now)
    }

    fn epoch(&self) -> Epoch {
        self.status().epoch
    }

    /// Crashes and boots from the disk, at an unrelated time.
    fn restart(&mut self) {
        let before = self.coordinator.snapshot();
        self.outbox = Outbox::new();
        self.coordinator = Coordinator::new(self.knobs.clone());
        self.now = Time::from_nanos(77);
        self.sent.clear();
        self.events.clear();
        let records = self.disk.clone();
        let mut replayed = super::Snapshot::default();
        records.iter().for_each(|record| replayed.apply(record, self.knobs.notices_kept));
        assert_eq!(replayed, before, "what is replayed is what was there");
        self.step(Input::Boot(Durable { snapshot: None, records, torn_tail: false }));
    }

    fn failures(&self) -> Vec<(Incarnation, Cause)> {
        let failed = self.events.iter().filter_map(|event| match event {
            Event::Failed { incarnation, cause, .. } => Some((*incarnation, *cause)),
            _ => None,
        });
        failed.collect()
    }

    fn ignored(&self) -> Vec<Ignored> {
        let ignored = self.events.iter().filter_map(|event| match event {
            Event::Ignored { reason, .. } => Some(*reason),
            _ => None,
        });
        ignored.collect()
    }

    fn formed(&self) -> Option<Quorum> {
        self.events.iter().find_map(|event| match event {
            Event::Formed { quorum, .. } => Some(quorum.clone()),
            _ => None,
        })
    }
}

fn register(id: &str, boot: u64, role: Role) -> Message {
    Message::Register { id: id.into(), boot: BootId(boot), role, address: id.into(), capacity: Capacity::default() }
}

fn plain_ask(incarnation: Incarnation) -> Ask {
    Ask {
        address: format!("manager-{incarnation}").into(),
        store_address: "store".into(),
        step: 0,
        world_size: 1,
        shrink_only: false,
        commit_failures: 0,
        data: "".into(),
    }
}

fn members(quorum: &Quorum) -> Vec<u64> {
    quorum.members.iter().map(|participant| participant.incarnation.0).collect()
}
