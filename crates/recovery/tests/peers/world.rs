//! A few peers, the messages between them, and what may happen to both.

use crate::judge::Judge;
use proptest::sample::Index;
use squall_machine::{Address, Durable, Effects, Input, Kind, Machine, Outbox, Released, Span, Time};
use squall_recovery::{Event, Generation, Incarnation, Knobs, Member, Message, Peer, PeerConfig, PeerStatus, Policy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const NODES_MAX: u64 = 5;
const IN_FLIGHT_MAX: usize = 400;
/// How far time goes between two rounds of deliveries when all is calm: the one-way delay.
const STEP: Span = Span::from_millis(10);
/// Long enough for two timeouts, as many capped deadlines as there are peers, and the same again for those who come back.
const CALM: u64 = 30_000;

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Deliver(Index),
    Drop(Index),
    Duplicate(Index),
    /// Only clocks move: nothing is delivered.
    Advance(u64),
    /// Everything that isn't cut, paused or down works for a while.
    Calm(u64),
    Crash(u64),
    Restart(u64),
    Pause(u64),
    Resume(u64),
    Cut(u64, u64),
    Mend(u64, u64),
    Isolate(u64),
    MendAll,
    /// Waits for messages of a kind, delivers some of them and loses the others; then their sender crashes (1) or is cut off
    /// (2).
    Interrupt(usize, usize, u8),
}

/// What may be interrupted.
pub(crate) const KINDS: [&str; 5] = ["collect", "promise", "propose", "accept", "decision"];

struct Process {
    peer: Peer,
    outbox: Outbox<Peer>,
    paused: bool,
}

pub(crate) struct World {
    now: Time,
    nodes: u64,
    seed: u64,
    lives: u64,
    knobs: Arc<Knobs>,
    processes: BTreeMap<u64, Process>,
    in_flight: Vec<(u64, u64, Message)>,
    cut: BTreeSet<(u64, u64)>,
    judge: Judge,
    reached: BTreeMap<&'static str, u64>,
}

fn founder(node: u64) -> Member {
    Member { id: format!("m{node}").into(), incarnation: Incarnation(node + 1), address: Address(node) }
}

impl World {
    pub(crate) fn new(nodes: u64, seed: u64) -> Self {
        let knobs = Knobs {
            ping: Span::from_millis(50),
            peer_timeout: Span::from_millis(300),
            round_deadline: Span::from_millis(500),
            round_deadline_max: Span::from_secs(2),
            join: Span::from_millis(100),
            joiner_ttl: Span::from_millis(400),
            ..Knobs::default()
        };
        assert_eq!(knobs.validate(), Ok(()));
        let mut world = Self {
            now: Time::ZERO + Span::from_secs(50),
            nodes,
            seed,
            lives: 0,
            knobs: Arc::new(knobs),
            processes: BTreeMap::new(),
            in_flight: Vec::new(),
            cut: BTreeSet::new(),
            judge: Judge::default(),
            reached: BTreeMap::new(),
        };
        for node in 0..nodes {
            world.start(node, true);
        }
        world
    }

    fn start(&mut self, node: u64, founds: bool) {
        self.lives += 1;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(self.lives);
        let incarnation = Incarnation(self.lives + 1_000);
        let member = if founds { founder(node) } else { Member { incarnation, ..founder(node) } };
        let config = PeerConfig {
            member,
            founders: founds.then(|| (0..self.nodes).map(founder).collect()),
            contacts: (0..self.nodes).map(Address).collect(),
            policy: Policy::Automatic,
            seed,
            knobs: self.knobs.clone(),
        };
        self.judge.on_start(node);
        self.processes.insert(node, Process { peer: Peer::new(config), outbox: Outbox::new(), paused: false });
        self.step(node, Input::Boot(Durable::empty()));
    }

    fn step(&mut self, node: u64, input: Input<Peer>) {
        let Some(process) = self.processes.get_mut(&node) else { return };
        let mut effects = Effects::new();
        process.peer.step(self.now, input, &mut effects);
        process.peer.assert_invariants();
        let (in_flight, judge, reached) = (&mut self.in_flight, &mut self.judge, &mut self.reached);
        let batch = process.outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => in_flight.push((node, to.0, message)),
            Released::Reply(reply) => panic!("nobody asked, and is answered {reply:?}"),
            Released::Event { event, .. } => {
                *reached.entry(event.kind_name()).or_default() += 1;
                if let Event::Proposed { adopted: Some(_), .. } = event {
                    *reached.entry("adopted").or_default() += 1;
                }
                judge.on_event(node, &event);
            }
        });
        assert!(batch.is_none(), "a peer keeps no records");
        let excess = self.in_flight.len().saturating_sub(IN_FLIGHT_MAX);
        self.in_flight.drain(..excess);
    }

    fn runs(&self, node: u64) -> bool {
        self.processes.get(&node).is_some_and(|process| !process.paused)
    }

    fn deliver(&mut self, from: u64, to: u64, message: Message) {
        if self.runs(to) && !self.cut.contains(&(from, to)) {
            self.step(to, Input::Receive { from: Address(from), message });
        }
    }

    fn wake_all(&mut self) {
        for node in 0..self.nodes {
            let due = self.processes.get(&node).and_then(|process| process.peer.deadline());
            if self.runs(node) && due.is_some_and(|due| due <= self.now) {
                self.step(node, Input::Wake);
            }
        }
    }

    /// Time passes in small steps; with `deliver` everything in flight arrives at each.
    fn pass(&mut self, millis: u64, deliver: bool) {
        let until = self.now + Span::from_millis(millis);
        while self.now < until {
            self.now = until.min(self.now + STEP);
            if deliver {
                for (from, to, message) in std::mem::take(&mut self.in_flight) {
                    self.deliver(from, to, message);
                }
            }
            self.wake_all();
        }
    }

    fn pick(&self, index: Index) -> Option<usize> {
        (!self.in_flight.is_empty()).then(|| index.index(self.in_flight.len()))
    }

    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(index) => {
                if let Some(index) = self.pick(index) {
                    let (from, to, message) = self.in_flight.remove(index);
                    self.deliver(from, to, message);
                }
            }
            Action::Drop(index) => {
                if let Some(index) = self.pick(index) {
                    self.in_flight.remove(index);
                }
            }
            Action::Duplicate(index) => {
                if let Some(index) = self.pick(index) {
                    self.in_flight.push(self.in_flight[index].clone());
                }
            }
            Action::Advance(millis) => self.pass(millis, false),
            Action::Calm(millis) => self.pass(millis, true),
            Action::Crash(node) => {
                self.judge.on_down(node);
                self.processes.remove(&node);
            }
            Action::Restart(node) => {
                if node < self.nodes {
                    self.judge.on_down(node);
                    self.start(node, false);
                }
            }
            Action::Pause(node) => self.pause(node, true),
            Action::Resume(node) => self.pause(node, false),
            Action::Cut(from, to) => {
                self.cut.insert((from, to));
            }
            Action::Mend(from, to) => {
                self.cut.remove(&(from, to));
            }
            Action::Isolate(node) => {
                self.cut.extend((0..self.nodes).flat_map(|other| [(node, other), (other, node)]));
            }
            Action::MendAll => self.cut.clear(),
            Action::Interrupt(kind, keep, end) => self.interrupt(KINDS[kind], keep, end),
        }
    }

    fn interrupt(&mut self, kind: &str, keep: usize, end: u8) {
        let is_it = |(_, _, message): &(u64, u64, Message)| message.kind_name() == kind;
        for _ in 0..100 {
            if self.in_flight.iter().any(is_it) {
                break;
            }
            self.pass(10, true);
        }
        let (mut hit, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.in_flight).into_iter().partition(is_it);
        self.in_flight = rest;
        let Some(&(sender, _, _)) = hit.first() else { return };
        hit.truncate(keep);
        for (from, to, message) in hit {
            self.deliver(from, to, message);
        }
        match end {
            1 => self.act(Action::Crash(sender)),
            2 => self.act(Action::Isolate(sender)),
            _ => {}
        }
    }

    fn pause(&mut self, node: u64, paused: bool) {
        if let Some(process) = self.processes.get_mut(&node) {
            process.paused = paused;
        }
    }

    pub(crate) fn status(&self, node: u64) -> Option<PeerStatus> {
        self.processes.get(&node).map(|process| process.peer.status())
    }

    /// Everything is mended; whoever is left works together, if a quorum of every generation that matters is left.
    pub(crate) fn end(&mut self) {
        for node in 0..self.nodes {
            self.pause(node, false);
        }
        self.cut.clear();
        let possible = self.judge.can_go_on();
        self.pass(CALM, true);
        if !possible {
            return;
        }
        let status: Vec<PeerStatus> = (0..self.nodes).filter_map(|node| self.status(node)).collect();
        let newest: Option<Generation> =
            status.iter().filter_map(|status| status.group.as_ref()).map(|group| group.generation).max();
        for status in &status {
            let generation = status.group.as_ref().map(|group| group.generation);
            let active = status.activity == Some(squall_recovery::Activity::Active);
            assert!(active && generation == newest, "{} should work in {newest:?}: {status:#?}", status.id);
            assert_eq!(status.waits_for, "", "who works waits for nothing");
        }
        let members = status.first().and_then(|status| status.group.as_ref()).map_or(0, |group| group.members.len());
        assert_eq!(members, status.len(), "everybody who is left is a member, and nobody else");
    }

    pub(crate) fn reached(&self) -> &BTreeMap<&'static str, u64> {
        &self.reached
    }
}
