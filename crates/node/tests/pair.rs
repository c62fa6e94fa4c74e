//! A coordinator, one to three members and an observer under everything that may happen to their messages, processes and
//! disks: whatever the order, the pair stays safe; and once things calm down, everybody who asks gets a quorum.

#[path = "pair/judge.rs"]
mod judge;
#[path = "pair/process.rs"]
mod process;

use judge::Judge;
use process::{Left, Process};
use proptest::prelude::*;
use squall_coordinator::{Capacity, Knobs, Message, RankAnswer, RankCall, Role};
use squall_machine::{Address, Input, Span, Time};
use squall_node::{
    CoordinatorNode, CoordinatorNodeConfig, MemberConfig, MemberNode, MemberPhase, MemberReply, MemberRequest,
    ObserverConfig, ObserverNode,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const COORDINATOR: Address = Address(0);
const OBSERVER: Address = Address(9);
const IN_FLIGHT_MAX: usize = 300;

#[derive(Clone, Debug)]
enum Action {
    Deliver(usize),
    Drop(usize),
    Duplicate(usize),
    /// Only clocks move: nothing is delivered, nothing synced.
    Advance(u64),
    /// Everything works for a while.
    Calm(u64),
    Sync(u64),
    Compact(u64),
    Crash(u64),
    Restart(u64),
    Wipe(u64),
    Pause(u64),
    Resume(u64),
    Ask(u64, u64),
    Vote(u64, bool),
    Leave(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let node = 0..5u64;
    let member = 1..4u64;
    let action = prop_oneof![
        12 => any::<prop::sample::Index>().prop_map(|index| Action::Deliver(index.index(IN_FLIGHT_MAX))),
        2 => any::<prop::sample::Index>().prop_map(|index| Action::Drop(index.index(IN_FLIGHT_MAX))),
        2 => any::<prop::sample::Index>().prop_map(|index| Action::Duplicate(index.index(IN_FLIGHT_MAX))),
        4 => (1..400u64).prop_map(Action::Advance),
        6 => (1..1_500u64).prop_map(Action::Calm),
        3 => node.clone().prop_map(Action::Sync),
        1 => node.clone().prop_map(Action::Compact),
        2 => node.clone().prop_map(Action::Crash),
        3 => node.clone().prop_map(Action::Restart),
        1 => (1..5u64).prop_map(Action::Wipe),
        1 => node.clone().prop_map(Action::Pause),
        2 => node.prop_map(Action::Resume),
        5 => (member.clone(), 0..3u64).prop_map(|(node, step)| Action::Ask(node, step)),
        2 => (member.clone(), any::<bool>()).prop_map(|(node, commit)| Action::Vote(node, commit)),
        1 => member.prop_map(Action::Leave),
    ];
    prop::collection::vec(action, 1..80)
}

struct World {
    now: Time,
    knobs: Arc<Knobs>,
    lives: u64,
    tokens: u64,
    coordinator: Process<CoordinatorNode>,
    members: BTreeMap<u64, Process<MemberNode>>,
    observer: Process<ObserverNode>,
    in_flight: Vec<(Address, Address, Message)>,
    judge: Judge,
    /// The newest answer of each local rank: its token, and whether it was a quorum.
    answered: BTreeMap<(u64, u32), (u64, bool)>,
}

fn knobs() -> Knobs {
    Knobs {
        replica_heartbeat: Span::from_millis(100),
        replica_timeout: Span::from_millis(1_000),
        tick: Span::from_millis(200),
        join_timeout: Span::from_millis(2_000),
        lapse: Span::from_millis(800),
        takeover: Span::from_millis(1_000),
        subscriber_queue: 3,
        notices_kept: 6,
        session_ttl: Span::from_secs(5),
        poll: Span::from_millis(300),
        forget_after: Span::from_secs(8),
        resend: Span::from_millis(150),
        return_spread: Span::from_millis(300),
        vote_timeout: Span::from_secs(2),
        ..Knobs::default()
    }
}

fn coordinator(knobs: Arc<Knobs>) -> CoordinatorNode {
    CoordinatorNode::new(CoordinatorNodeConfig { knobs, scheduler: Arc::default(), seed: 0 })
}

fn world_size(node: u64) -> u32 {
    if node == 2 { 2 } else { 1 }
}

impl World {
    fn new(members: u64) -> Self {
        let knobs = knobs();
        assert_eq!(knobs.validate(), Ok(()));
        let mut world = Self {
            now: Time::ZERO,
            knobs: Arc::new(knobs),
            lives: 0,
            tokens: 0,
            coordinator: Process::new(),
            members: (1..=members).map(|node| (node, Process::new())).collect(),
            observer: Process::new(),
            in_flight: Vec::new(),
            judge: Judge::default(),
            answered: BTreeMap::new(),
        };
        world.restart_all();
        world
    }

    fn nodes(&self) -> Vec<u64> {
        [0].into_iter().chain(self.members.keys().copied()).chain([4]).collect()
    }

    fn restart(&mut self, node: u64) {
        self.lives += 1;
        let (now, seed, knobs) = (self.now, self.lives, self.knobs.clone());
        if node == 0 && self.coordinator.machine.is_none() {
            let left = self.coordinator.boot(now, coordinator(knobs));
            self.carry(COORDINATOR, left, |never| match never {});
        } else if node == 4 && self.observer.machine.is_none() {
            let config = ObserverConfig { coordinator: COORDINATOR, seed, knobs };
            let left = self.observer.boot(now, ObserverNode::new(&config));
            self.carry(OBSERVER, left, |never| match never {});
        } else if let Some(process) = self.members.get_mut(&node).filter(|process| process.machine.is_none()) {
            let config = MemberConfig {
                id: format!("r{node}").into(),
                role: Role::Replica,
                address: format!("a{node}").into(),
                store_address: format!("s{node}").into(),
                capacity: Capacity::default(),
                coordinator: COORDINATOR,
                world_size: world_size(node),
                subscribes: node == 1,
                seed,
                knobs,
            };
            let left = process.boot(now, MemberNode::new(config));
            self.carry(Address(node), left, Some);
        }
    }

    fn restart_all(&mut self) {
        for node in self.nodes() {
            self.restart(node);
        }
    }

    fn crash(&mut self, node: u64, wipe: bool) {
        match (node, wipe) {
            (0, _) => self.coordinator.crash(),
            (4, false) => self.observer.crash(),
            (4, true) => self.observer.wipe(),
            (_, false) => self.members.get_mut(&node).into_iter().for_each(Process::crash),
            (_, true) => self.members.get_mut(&node).into_iter().for_each(Process::wipe),
        }
    }

    fn pause(&mut self, node: u64, paused: bool) {
        match node {
            0 => self.coordinator.paused = paused,
            4 => self.observer.paused = paused,
            _ => self.members.get_mut(&node).into_iter().for_each(|process| process.paused = paused),
        }
    }

    fn sync(&mut self, node: u64) {
        match node {
            0 => {
                let left = self.coordinator.sync();
                self.carry(COORDINATOR, left, |never| match never {});
            }
            4 => {
                let left = self.observer.sync();
                self.carry(OBSERVER, left, |never| match never {});
            }
            _ => {
                if let Some(process) = self.members.get_mut(&node) {
                    let left = process.sync();
                    self.carry(Address(node), left, Some);
                }
            }
        }
    }

    fn compact(&mut self, node: u64) {
        match node {
            0 => self.coordinator.compact(),
            4 => self.observer.compact(),
            _ => self.members.get_mut(&node).into_iter().for_each(Process::compact),
        }
    }

    fn deadline(&self, node: u64) -> Option<Time> {
        match node {
            0 => self.coordinator.deadline(),
            4 => self.observer.deadline(),
            _ => self.members.get(&node).and_then(Process::deadline),
        }
    }

    fn wake(&mut self, node: u64) {
        let now = self.now;
        match node {
            0 => {
                let left = self.coordinator.step(now, Input::Wake);
                self.carry(COORDINATOR, left, |never| match never {});
            }
            4 => {
                let left = self.observer.step(now, Input::Wake);
                self.carry(OBSERVER, left, |never| match never {});
            }
            _ => {
                if let Some(process) = self.members.get_mut(&node) {
                    let left = process.step(now, Input::Wake);
                    self.carry(Address(node), left, Some);
                }
            }
        }
    }

    fn request(&mut self, node: u64, request: MemberRequest) {
        if let Some(process) = self.members.get_mut(&node) {
            let left = process.step(self.now, Input::Request(request));
            self.carry(Address(node), left, Some);
        }
    }

    fn deliver(&mut self, index: usize) {
        let (from, to, message) = self.in_flight.remove(index);
        let now = self.now;
        if to == COORDINATOR {
            let left = self.coordinator.hear(now, from, message);
            self.carry(to, left, |never| match never {});
        } else if to == OBSERVER {
            let left = self.observer.hear(now, from, message);
            self.carry(to, left, |never| match never {});
        } else if let Some(process) = self.members.get_mut(&to.0) {
            let left = process.hear(now, from, message);
            self.carry(to, left, Some);
        }
    }

    /// Takes over what left a process, and judges.
    fn carry<R>(&mut self, from: Address, left: Vec<Left<R>>, reply: impl Fn(R) -> Option<MemberReply>) {
        for left in left {
            match left {
                Left::Message { to, message } => self.in_flight.push((from, to, message)),
                Left::Event(event) => self.judge.see(&event),
                Left::Reply(of) => {
                    if let Some(MemberReply::Answer { rank, token, answer }) = reply(of) {
                        let quorum = matches!(answer, RankAnswer::Quorum(_));
                        self.answered.insert((from.0, rank), (token, quorum));
                    }
                }
            }
        }
        let excess = self.in_flight.len().saturating_sub(IN_FLIGHT_MAX);
        self.in_flight.drain(..excess);
        self.judge_activity();
    }

    /// Nobody works in an older formation while a newer one that leaves it out exists.
    fn judge_activity(&self) {
        let Some(newest) = self.judge.newest() else { return };
        for member in self.members.values().filter_map(|process| process.machine.as_ref()) {
            let status = member.status(self.now);
            let Some((formation, _)) = status.active.filter(|_| status.lease_until > Some(self.now)) else { continue };
            assert!(formation <= newest.formation, "Active in a formation that was never formed");
            let stays = newest.members.iter().any(|other| Some(other.incarnation) == status.incarnation);
            assert!(
                formation == newest.formation || stays,
                "{} is Active in {formation}, and {} was formed without it",
                status.id,
                newest.formation
            );
        }
    }

    fn advance(&mut self, millis: u64, calm: bool) {
        let until = self.now + Span::from_millis(millis);
        for _ in 0..100_000 {
            if calm {
                self.settle();
            }
            let due = self.nodes().into_iter().filter_map(|node| Some((self.deadline(node)?, node))).min();
            match due.filter(|(at, _)| *at <= until) {
                Some((at, node)) => {
                    self.now = self.now.max(at);
                    self.wake(node);
                    assert!(self.deadline(node).is_none_or(|next| next > at), "node {node} wakes again at once");
                }
                None => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("time doesn't move");
    }

    /// Syncs and delivers until nothing is left to do at this instant.
    fn settle(&mut self) {
        for round in 0.. {
            for node in self.nodes() {
                self.sync(node);
            }
            if self.in_flight.is_empty() {
                return;
            }
            assert!(round < 5_000, "messages breed at one instant: {:?}", self.in_flight);
            self.deliver(0);
        }
    }

    fn ask(&mut self, node: u64, step: u64) {
        for rank in 0..world_size(node) {
            self.tokens += 1;
            let call = RankCall {
                step,
                shrink_only: false,
                init_sync: true,
                commit_failures: 0,
                store_address: "".into(),
                data: "".into(),
                patience: step.eq(&2).then_some(Span::from_secs(1)),
            };
            self.request(node, MemberRequest::Quorum { rank, token: self.tokens, call });
        }
    }

    fn vote(&mut self, node: u64, commit: bool) {
        let Some(quorum_id) = self.judge.newest().map(|quorum| quorum.id) else { return };
        for rank in 0..world_size(node) {
            self.tokens += 1;
            self.request(node, MemberRequest::Vote { rank, token: self.tokens, step: 1, quorum_id, commit });
        }
    }

    fn act(&mut self, action: &Action) {
        let index = |index: usize, len: usize| (len > 0).then(|| index % len.max(1));
        match *action {
            Action::Deliver(at) => {
                if let Some(at) = index(at, self.in_flight.len()) {
                    self.deliver(at);
                }
            }
            Action::Drop(at) => {
                if let Some(at) = index(at, self.in_flight.len()) {
                    self.in_flight.remove(at);
                }
            }
            Action::Duplicate(at) => {
                if let Some(at) = index(at, self.in_flight.len()) {
                    self.in_flight.push(self.in_flight[at].clone());
                }
            }
            Action::Advance(millis) => self.advance(millis, false),
            Action::Calm(millis) => self.advance(millis, true),
            Action::Sync(node) => self.sync(node),
            Action::Compact(node) => self.compact(node),
            Action::Crash(node) => self.crash(node, false),
            Action::Restart(node) => self.restart(node),
            Action::Wipe(node) => self.crash(node, true),
            Action::Pause(node) => self.pause(node, true),
            Action::Resume(node) => self.pause(node, false),
            Action::Ask(node, step) => self.ask(node, step),
            Action::Vote(node, commit) => self.vote(node, commit),
            Action::Leave(node) => self.request(node, MemberRequest::Leave),
        }
    }

    /// Every process runs again; who has left starts anew.
    fn heal(&mut self) {
        for node in self.nodes() {
            self.pause(node, false);
            let leaves = |status: MemberPhase| matches!(status, MemberPhase::Leaving | MemberPhase::Stopped);
            let member = self.members.get(&node).and_then(|process| process.machine.as_ref());
            if member.is_some_and(|member| leaves(member.status(self.now).phase)) {
                self.crash(node, false);
            }
        }
        self.restart_all();
        self.advance(6_000, true);
    }

    /// Everybody asks, again and again, as trainers do: within a few rounds each is answered with a quorum of everybody. (Who
    /// joins waits while the others, being the whole previous quorum, go on without it, until they ask again.)
    fn everybody_gets_a_quorum(&mut self, rounds: u64) {
        let nodes: Vec<u64> = self.members.keys().copied().collect();
        let mut fresh = 0;
        for _ in 0..rounds {
            fresh = self.tokens;
            // Twice, as clients do: the first call of a rank may disagree with one that another rank left open.
            nodes.iter().chain(&nodes).for_each(|&node| self.ask(node, 7));
            self.advance(3_000, true);
        }
        for (&node, process) in &self.members {
            let status = process.machine.as_ref().expect("it runs").status(self.now);
            for rank in 0..world_size(node) {
                let answer = self.answered.get(&(node, rank)).filter(|(token, _)| *token > fresh);
                assert!(answer.is_some_and(|(_, quorum)| *quorum), "r{node} waits for {}", status.waits_for);
            }
            assert!(status.active.is_some(), "r{node} isn't Active: {status:?}");
            assert_eq!(status.waits_for, "", "r{node} has all it wants");
        }
        let newest = self.judge.newest().expect("formed");
        assert_eq!(newest.members.len(), self.members.len(), "nobody was left out");
    }

    fn subscribers_are_up_to_date(&self) {
        let coordinator = self.coordinator.machine.as_ref().expect("it runs");
        let newest = Some(coordinator.coordinator().status(self.now).cursor);
        let observer = self.observer.machine.as_ref().expect("it runs");
        assert_eq!(observer.status().taken, newest, "the observer missed something");
        let member = self.members[&1].machine.as_ref().expect("it runs");
        assert_eq!(member.status(self.now).taken, newest, "r1 missed something");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_pair_is_safe_and_afterwards_everybody_gets_a_quorum(
        members in 1..4u64,
        actions in actions(),
    ) {
        let mut world = World::new(members);
        for action in &actions {
            world.act(action);
        }
        world.heal();
        world.everybody_gets_a_quorum(4);
        world.subscribers_are_up_to_date();
    }
}

#[test]
fn without_any_fault_one_quorum_forms_and_nobody_fails() {
    let mut world = World::new(3);
    world.advance(2_000, true);
    world.everybody_gets_a_quorum(1);
    assert_eq!(world.judge.formed.len(), 1, "one formation");
    world.advance(60_000, true);
    assert_eq!(world.judge.formed.len(), 1);
    for process in world.members.values() {
        let status = process.machine.as_ref().expect("it runs").status(world.now);
        assert!(status.active.is_some(), "the lease is renewed: {status:?}");
    }
    world.subscribers_are_up_to_date();
}

#[test]
fn an_isolated_replica_lapses_before_the_others_go_on_without_it() {
    let mut world = World::new(3);
    world.advance(2_000, true);
    world.everybody_gets_a_quorum(1);
    world.pause(3, true);
    world.ask(1, 8);
    world.ask(2, 8);
    world.advance(6_000, true);
    let newest = world.judge.newest().expect("formed").clone();
    assert_eq!(newest.members.len(), 2, "the others went on");
    world.pause(3, false);
    world.advance(3_000, true);
    let status = world.members[&3].machine.as_ref().expect("it runs").status(world.now);
    assert_eq!(status.active, None);
    world.everybody_gets_a_quorum(2);
}
