//! A member on a bench: its tests say what the coordinator says, and look at what it does.

use crate::{MemberConfig, MemberNode, MemberReply, MemberRequest, Record};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_coordinator::{
    Ask, BootId, Capacity, Cursor, Epoch, Event, Ignored, Incarnation, Knobs, Message, Number, Participant, Quorum,
    QuorumId, RankCall, Role,
};
use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Released, Span, Time, Wall};

pub(crate) const COORDINATOR: Address = Address(7);

pub(crate) struct Rig {
    pub(crate) member: MemberNode,
    pub(crate) now: Time,
    outbox: Outbox<MemberNode>,
    pub(crate) disk: Vec<Record>,
    pub(crate) boot: BootId,
}

/// What one or more steps gave.
#[derive(Default, Debug)]
pub(crate) struct Given {
    pub(crate) messages: Vec<Message>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<MemberReply>,
    pub(crate) records: Vec<Record>,
}

impl Given {
    pub(crate) fn ignored(&self) -> Option<Ignored> {
        self.events
            .iter()
            .find_map(|event| if let Event::Ignored { reason, .. } = event { Some(*reason) } else { None })
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        use squall_machine::Kind;
        self.messages.iter().map(Kind::kind_name).collect()
    }

    pub(crate) fn event_kinds(&self) -> Vec<&'static str> {
        use squall_machine::Kind;
        self.events.iter().map(Kind::kind_name).collect()
    }

    /// The last request among the messages: its number and epoch.
    pub(crate) fn asked(&self) -> Option<(u64, u64)> {
        self.messages.iter().rev().find_map(|message| match message {
            Message::Ask { number, epoch, .. } => Some((number.0, epoch.0)),
            _ => None,
        })
    }

    pub(crate) fn inactive(&self) -> Option<(u64, squall_coordinator::Inactivity)> {
        self.replies.iter().find_map(|reply| match reply {
            MemberReply::Inactive { formation, cause } => Some((formation.0, *cause)),
            _ => None,
        })
    }
}

pub(crate) fn config(role: Role, subscribes: bool) -> MemberConfig {
    MemberConfig {
        id: "r1".into(),
        role,
        address: "a1".into(),
        store_address: "s1".into(),
        capacity: Capacity::default(),
        coordinator: COORDINATOR,
        world_size: 1,
        subscribes,
        seed: 42,
        knobs: Arc::new(Knobs::default()),
    }
}

impl Rig {
    /// A member that has just booted on this disk, and what it did.
    pub(crate) fn boot(config: MemberConfig, disk: Vec<Record>) -> (Self, Given) {
        let member = MemberNode::new(config);
        let now = Time::ZERO + Span::from_secs(100);
        let mut rig = Self { member, now, outbox: Outbox::new(), disk: disk.clone(), boot: BootId(0) };
        let given = rig.step(Input::Boot(Durable { snapshot: None, records: disk, torn_tail: false }));
        for message in &given.messages {
            if let Message::Register { boot, .. } = message {
                rig.boot = *boot;
            }
        }
        (rig, given)
    }

    /// A replica that has incarnation 5 and knows epoch 1; heartbeat 1 has left.
    pub(crate) fn replica() -> Self {
        let (mut rig, _) = Self::boot(config(Role::Replica, false), Vec::new());
        let given = rig.grant(5, 1);
        assert_eq!(given.kinds(), ["heartbeat"]);
        rig
    }

    /// A replica that is Active in formation 3 (quorum 9), renewed by heartbeat 1, which left at its grant.
    pub(crate) fn active() -> Self {
        let mut rig = Self::replica();
        rig.ask();
        rig.form(1, 3, 1);
        assert_eq!(rig.formation(), Some(3));
        rig
    }

    pub(crate) fn step(&mut self, input: Input<MemberNode>) -> Given {
        let mut effects = Effects::new();
        effects.set_wall(Wall(77));
        self.member.step(self.now, input, &mut effects);
        self.member.assert_invariants();
        let mut given = Given::default();
        let batch = self.outbox.drain(self.now, &mut effects, |released| sort(released, &mut given));
        if let Some(batch) = batch {
            self.disk.extend(&batch.records);
            given.records = batch.records;
            self.outbox.confirm(batch.pledge.synced(), |released| sort(released, &mut given));
        }
        given
    }

    pub(crate) fn hear(&mut self, message: Message) -> Given {
        self.step(Input::Receive { from: COORDINATOR, message })
    }

    pub(crate) fn request(&mut self, request: MemberRequest) -> Given {
        self.step(Input::Request(request))
    }

    /// Lets time pass; the member is woken whenever it wants to be.
    pub(crate) fn pass(&mut self, span: Span) -> Given {
        let until = self.now + span;
        let mut all = Given::default();
        while let Some(due) = self.member.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let given = self.step(Input::Wake);
            assert!(self.member.deadline().is_none_or(|next| next > self.now), "it wakes again at the same instant");
            all.messages.extend(given.messages);
            all.events.extend(given.events);
            all.replies.extend(given.replies);
            all.records.extend(given.records);
        }
        self.now = until;
        all
    }

    pub(crate) fn grant(&mut self, incarnation: u64, epoch: u64) -> Given {
        let (boot, incarnation, epoch) = (self.boot, Incarnation(incarnation), Epoch(epoch));
        self.hear(Message::Granted { boot, incarnation, epoch })
    }

    pub(crate) fn ack(&mut self, seq: u64, epoch: u64, formation: u64) -> Given {
        let formation = (formation > 0).then_some(Epoch(formation));
        let incarnation = self.member.status(self.now).incarnation.expect("it has one");
        self.hear(Message::HeartbeatAck { incarnation, seq, epoch: Epoch(epoch), formation, cursor: Cursor(0) })
    }

    pub(crate) fn ask(&mut self) -> Given {
        self.ask_with(None)
    }

    pub(crate) fn ask_with(&mut self, patience: Option<Span>) -> Given {
        let call = RankCall {
            step: 4,
            shrink_only: false,
            init_sync: true,
            commit_failures: 0,
            store_address: "".into(),
            data: "".into(),
            patience,
        };
        self.request(MemberRequest::Quorum { rank: 0, token: 1, call })
    }

    /// The answer to request `number` of the current incarnation: a quorum of it alone.
    pub(crate) fn form(&mut self, number: u64, formation: u64, heartbeat: u64) -> Given {
        self.hear(self.formed(number, formation, heartbeat))
    }

    pub(crate) fn formed(&self, number: u64, formation: u64, heartbeat: u64) -> Message {
        let incarnation = self.member.status(self.now).incarnation.expect("it has one");
        let number = Number(number);
        let ask = Arc::new(Ask {
            address: "a1".into(),
            store_address: "s1".into(),
            step: 4,
            world_size: 1,
            shrink_only: false,
            commit_failures: 0,
            data: "".into(),
        });
        let members = [Participant { id: "r1".into(), incarnation, number, ask }].into();
        let quorum = Quorum { id: QuorumId(9), formation: Epoch(formation), members };
        Message::Formed { incarnation, number, heartbeat, quorum }
    }

    pub(crate) fn reset(&mut self, incarnation: u64, epoch: u64) -> Given {
        self.hear(Message::Reset { incarnation: Incarnation(incarnation), epoch: Epoch(epoch), failed: [].into() })
    }

    pub(crate) fn evict(&mut self, incarnation: u64, formation: u64) -> Given {
        self.hear(Message::Evict { incarnation: Incarnation(incarnation), formation: Epoch(formation) })
    }

    pub(crate) fn formation(&self) -> Option<u64> {
        self.member.status(self.now).active.map(|(formation, _)| formation.0)
    }

    pub(crate) fn open(&self) -> Option<u64> {
        self.member.status(self.now).open_request.map(|number| number.0)
    }
}

fn sort(released: Released<MemberNode>, given: &mut Given) {
    match released {
        Released::Message { to, message } => {
            assert_eq!(to, COORDINATOR, "members speak to the coordinator only");
            given.messages.push(message);
        }
        Released::Reply(reply) => given.replies.push(reply),
        Released::Event { event, .. } => given.events.push(event),
    }
}
