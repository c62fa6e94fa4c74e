//! Work goes on exactly while every member takes part.

use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Durable, Kind, Outbox, Released, Span};
use squall_recovery::{CommunicatorId, Generation, Incarnation, Knobs, Member, Policy, Rank};

const WORK: WorkKnobs =
    WorkKnobs { step_min: Span::from_millis(50), step_max: Span::from_millis(90), resend: Span::from_millis(200) };

struct Bench {
    now: Time,
    nodes: BTreeMap<u64, (PeerNode, Outbox<PeerNode>)>,
    in_flight: Vec<(u64, u64, PeerNodeMessage)>,
    told: Vec<(u64, PeerNodeEvent)>,
}

impl Bench {
    fn new(count: u64) -> Self {
        let member = |node: u64| Member {
            id: format!("m{node}").into(),
            incarnation: Incarnation(node + 1),
            address: Address(node),
        };
        let founders: Arc<[Member]> = (0..count).map(member).collect();
        let mut bench = Self {
            now: Time::ZERO + Span::from_secs(1),
            nodes: BTreeMap::new(),
            in_flight: Vec::new(),
            told: Vec::new(),
        };
        for node in 0..count {
            let peer = PeerConfig {
                member: member(node),
                founders: Some(founders.clone()),
                contacts: (0..count).map(Address).collect(),
                policy: Policy::Automatic,
                seed: node,
                knobs: Arc::new(Knobs::default()),
            };
            bench.nodes.insert(node, (PeerNode::new(PeerNodeConfig { peer, work: Some(WORK) }), Outbox::new()));
            bench.step(node, Input::Boot(Durable::empty()));
        }
        bench
    }

    fn step(&mut self, node: u64, input: Input<PeerNode>) {
        let Some((machine, outbox)) = self.nodes.get_mut(&node) else { return };
        let mut effects = Effects::new();
        machine.step(self.now, input, &mut effects);
        machine.assert_invariants();
        let (in_flight, told) = (&mut self.in_flight, &mut self.told);
        let batch = outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => in_flight.push((node, to.0, message)),
            Released::Reply(reply) => panic!("nobody asked: {reply:?}"),
            Released::Event { event, .. } => told.push((node, event)),
        });
        assert!(batch.is_none(), "nothing is recorded");
    }

    /// Everything arrives within 5 ms, but for what `lost` says.
    fn run(&mut self, millis: u64, lost: impl Fn(u64, u64, &PeerNodeMessage) -> bool) {
        for _ in 0..millis / 5 {
            self.now += Span::from_millis(5);
            for (from, to, message) in core::mem::take(&mut self.in_flight) {
                if !lost(from, to, &message) {
                    self.step(to, Input::Receive { from: Address(from), message });
                }
            }
            let due: Vec<u64> = self.nodes.keys().copied().collect();
            for node in due {
                if self.nodes.get(&node).and_then(|(machine, _)| machine.deadline()).is_some_and(|at| at <= self.now) {
                    self.step(node, Input::Wake);
                }
            }
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.told.iter().filter(|(_, event)| event.kind_name() == kind).count()
    }

    fn ignored(&self) -> Option<crate::WorkIgnored> {
        self.told.iter().rev().find_map(|(_, event)| match event {
            PeerNodeEvent::Work(WorkEvent::Ignored { reason }) => Some(*reason),
            PeerNodeEvent::Work(_) | PeerNodeEvent::Recovery(_) => None,
        })
    }
}

#[test]
fn steps_follow_each_other_while_all_take_part() {
    let mut bench = Bench::new(3);
    bench.run(2_000, |_, _, _| false);
    assert_eq!(bench.count("group_active"), 3);
    assert!(bench.count("step_done") >= 3 * 15, "{} steps", bench.count("step_done"));
    bench.nodes.remove(&2);
    bench.told.clear();
    bench.run(1_500, |_, _, _| false);
    assert!(bench.count("step_done") <= 3, "the others wait for rank 2");
    bench.run(6_000, |_, _, _| false);
    assert_eq!((bench.count("decided"), bench.count("installed")), (2, 2));
    assert!(bench.count("step_done") >= 20, "they go on without it");
}

#[test]
fn a_lost_part_or_answer_is_sent_again() {
    for kind in ["contribute", "combined"] {
        let mut bench = Bench::new(3);
        let every_third = core::cell::Cell::new(0);
        bench.run(3_000, |_, _, message| {
            let hit = message.kind_name() == kind;
            every_third.set(every_third.get() + u32::from(hit));
            hit && every_third.get().is_multiple_of(3)
        });
        assert!(bench.count("step_done") >= 3 * 8, "{kind}: {} steps", bench.count("step_done"));
        assert_eq!(bench.count("peer_suspected"), 0);
    }
}

#[test]
fn parts_count_where_they_belong_only() {
    let mut bench = Bench::new(2);
    bench.run(300, |_, _, _| false);
    let (here, _) = bench
        .nodes
        .get(&0)
        .and_then(|(machine, _)| machine.peer.active())
        .map(|(_, id, rank)| (id, rank))
        .expect("an active group");
    let send = |bench: &mut Bench, to: u64, message: WorkMessage| {
        let digest = bench.nodes.get(&to).map(|(machine, _)| machine.work.clone());
        bench.step(to, Input::Receive { from: Address(9), message: PeerNodeMessage::Work(message) });
        assert_eq!(digest, bench.nodes.get(&to).map(|(machine, _)| machine.work.clone()), "no effect");
        bench.ignored()
    };
    let contribute = |communicator, rank, step| WorkMessage::Contribute { communicator, rank: Rank(rank), step };
    let foreign = CommunicatorId(7);
    for (to, message, reason) in [
        (0, contribute(foreign, 1, 1), crate::WorkIgnored::WrongCommunicator),
        (0, contribute(here, 2, 1), crate::WorkIgnored::WrongRank),
        (0, contribute(here, 0, 1), crate::WorkIgnored::WrongRank),
        (1, contribute(here, 0, 1), crate::WorkIgnored::WrongRank),
        (0, contribute(here, 1, 999), crate::WorkIgnored::WrongStep),
        (0, contribute(here, 1, 0), crate::WorkIgnored::WrongStep),
        (1, WorkMessage::Combined { communicator: foreign, step: 1 }, crate::WorkIgnored::WrongCommunicator),
        (0, WorkMessage::Combined { communicator: here, step: 1 }, crate::WorkIgnored::WrongRank),
        (1, WorkMessage::Combined { communicator: here, step: 999 }, crate::WorkIgnored::WrongStep),
    ] {
        assert_eq!(send(&mut bench, to, message), Some(reason), "{message:?} to {to}");
    }
}

#[test]
fn names_are_unique_across_the_parts() {
    for names in [PeerNodeMessage::NAMES, PeerNodeEvent::NAMES] {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), names.len());
    }
    let done = PeerNodeEvent::Work(WorkEvent::StepDone {
        generation: Generation(1),
        communicator: CommunicatorId(1),
        step: 1,
    });
    assert_eq!((done.kind_name(), PeerNodeEvent::NAMES.len()), ("step_done", 22));
}
