//! The same honesty where processes run elsewhere: the smallest shells there are, each message a millisecond on its way.

use crate::echo::{Echo, Message, Node, owner, plan};
use crate::{A, B, History, SEEDS, Seen, at, delivered, lasting, links, secs, target};
use squall::{
    Action, Command, DropReason, Fate, LocalClock, NodeId, Outcome, Plan, Quality, Report, RunOptions, Shells, Stage,
    System, Truth, Verdict,
};
use squall_machine::{Effects, Input, Machine, Outbox, Released, Span, Time};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// A process.
struct Shell {
    life: u32,
    machine: Node,
    outbox: Outbox<Node>,
    clock: LocalClock,
    paused: bool,
    waiting: Vec<Input<Node>>,
}

#[derive(Default)]
struct Troupe {
    now: Time,
    shells: BTreeMap<NodeId, Shell>,
    barred: BTreeSet<(NodeId, NodeId)>,
    wire: BTreeMap<(Time, u64), (NodeId, NodeId, Message)>,
    sent: u64,
    reports: VecDeque<(NodeId, u32, Report<Echo>)>,
}

impl Troupe {
    fn step(&mut self, node: NodeId, input: Input<Node>) {
        let Some(shell) = self.shells.get_mut(&node) else { return };
        if shell.paused {
            return shell.waiting.push(input);
        }
        let local = shell.clock.local(self.now);
        let mut effects = Effects::new();
        shell.machine.step(local, input, &mut effects);
        let mut said = Vec::new();
        let batch = shell.outbox.drain(local, &mut effects, |released| said.push(released));
        self.reports.push_back((node, shell.life, Report::Stepped { cause: Default::default() }));
        if let Some(batch) = batch {
            let wrote = Report::Wrote { group: vec![batch], cause: Default::default() };
            self.reports.push_back((node, shell.life, wrote));
        }
        self.say(node, said);
    }

    fn say(&mut self, node: NodeId, said: Vec<Released<Node>>) {
        let life = self.shells[&node].life;
        for released in said {
            let cause = Default::default();
            self.reports.push_back((
                node,
                life,
                match released {
                    Released::Message { to, message } => Report::Said { to, message, cause },
                    Released::Event { decided, event } => Report::Decided { decided, event, cause },
                    Released::Reply(()) => continue,
                },
            ));
        }
    }

    /// When a message arrives, or a machine wants to be woken.
    fn next(&self) -> Option<Time> {
        let awake = self.shells.values().filter(|shell| !shell.paused);
        let deadlines = awake.filter_map(|shell| shell.clock.when(shell.machine.deadline()?));
        deadlines.chain(self.wire.keys().map(|(at, _)| *at)).min()
    }

    fn go_on(&mut self, now: Time) {
        self.now = now;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
            let (from, to, message) = entry.remove();
            let life = |node: NodeId| self.shells.get(&node).map(|shell| shell.life);
            if self.barred.contains(&(from, to)) || life(to).is_none() {
                if let Some(life) = life(from) {
                    self.reports.push_back((from, life, Report::Lost { message, certain: true }));
                }
            } else if let Some(life) = life(to) {
                self.reports.push_back((to, life, Report::Heard { from: from.address(0), message }));
            }
        }
        let due = |shell: &Shell| !shell.paused && shell.machine.deadline() <= Some(shell.clock.local(now));
        let due: Vec<NodeId> = self.shells.iter().filter(|(_, shell)| due(shell)).map(|(&node, _)| node).collect();
        due.into_iter().for_each(|node| self.step(node, Input::Wake));
    }
}

struct Handle(Rc<RefCell<Troupe>>);

impl Shells<Echo> for Handle {
    fn command(&mut self, node: NodeId, command: Command<Echo>) {
        let mut troupe = self.0.borrow_mut();
        match command {
            Command::Start { start, durable, clock, .. } => {
                let machine = Echo { nodes: 3, panics_at: None, frozen: 0, aborts_at: None }.boot(&start);
                let (outbox, waiting) = (Outbox::new(), Vec::new());
                let shell = Shell { life: start.life, machine, outbox, clock, paused: false, waiting };
                troupe.shells.insert(node, shell);
                troupe.step(node, Input::Boot(durable));
            }
            Command::Stop => drop(troupe.shells.remove(&node)),
            Command::Pause => troupe.shells.get_mut(&node).expect("it runs").paused = true,
            Command::Resume => {
                let shell = troupe.shells.get_mut(&node).expect("it runs");
                shell.paused = false;
                std::mem::take(&mut shell.waiting).into_iter().for_each(|input| troupe.step(node, input));
            }
            Command::Clock(clock) => {
                if let Some(shell) = troupe.shells.get_mut(&node) {
                    shell.clock = clock;
                }
            }
            Command::Transmit { to, message } => {
                troupe.sent += 1;
                let key = (troupe.now + Span::from_millis(1), troupe.sent);
                troupe.wire.insert(key, (node, owner(to.0), message));
            }
            Command::Deliver { from, message, .. } => troupe.step(node, Input::Receive { from, message }),
            Command::Request { request, .. } => troupe.step(node, Input::Request(request)),
            Command::Synced { receipt, .. } => {
                let mut said = Vec::new();
                let shell = troupe.shells.get_mut(&node).expect("it runs");
                shell.outbox.confirm(receipt, |released| said.push(released));
                troupe.say(node, said);
            }
        }
    }

    fn bar(&mut self, from: NodeId, to: NodeId, barred: bool) {
        let links = &mut self.0.borrow_mut().barred;
        let changed = if barred { links.insert((from, to)) } else { links.remove(&(from, to)) };
        assert!(changed, "a link is barred once, and opened once");
    }

    fn calm(&mut self) {}

    fn look(&self, node: NodeId, look: &mut dyn FnMut(&Node)) {
        if let Some(shell) = self.0.borrow().shells.get(&node) {
            look(&shell.machine);
        }
    }
}

/// Plays a plan with shells.
fn play(system: &Echo, plan: &Plan, seed: u64) -> (Outcome, History) {
    let troupe = Rc::new(RefCell::new(Troupe::default()));
    let mut history = Vec::new();
    let mut watch = |entry: &squall::Entry<'_, Echo>, _: &squall::Scene<'_, Echo>| {
        history.push((entry.at, entry.node, Seen::of(&entry.fact)));
    };
    let options = RunOptions { watch: Some(&mut watch), ..RunOptions::default() };
    let nothing = squall::Delay::Uniform { low: Span::ZERO, high: Span::ZERO };
    let layer = Quality { delay: nothing, ..Quality::default() };
    let mut stage = Stage::new(system, plan, seed, options, Box::new(Handle(troupe.clone())), layer);
    stage.begin();
    while !stage.is_over() {
        let report = troupe.borrow_mut().reports.pop_front();
        let now = troupe.borrow().now;
        if let Some((node, life, report)) = report {
            stage.report(now, node, life, report);
            continue;
        }
        let next = [stage.next(), troupe.borrow().next()].into_iter().flatten().min().expect("something is to happen");
        let now = next.max(now);
        troupe.borrow_mut().go_on(now);
        stage.advance(now);
    }
    let outcome = stage.outcome();
    assert!(outcome.messages.add_up(), "seed {seed}: {:?}", outcome.messages);
    (outcome, history)
}

fn each(fault: squall::Fault, judge: impl Fn(&Outcome, &History)) {
    let system = crate::system();
    let plan = plan(&system, vec![fault]);
    for seed in 0..SEEDS {
        let (outcome, history) = play(&system, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?} {:?}", outcome.remark, outcome.violations);
        assert!(outcome.strikes[0] > 0, "seed {seed}: the fault never struck");
        judge(&outcome, &history);
        assert_eq!(play(&system, &plan, seed).0.fingerprint, outcome.fingerprint, "seed {seed}");
    }
}

#[test]
fn a_crash_silences_a_shell_and_a_restart_finds_what_was_synced() {
    let restart = lasting(4, 6, Action::Crash(target(A)));
    each(restart, |outcome, history| {
        assert!(delivered(history, A, B, 1, 4) > 20);
        assert_eq!(delivered(history, A, B, 5, 6), 0, "a dead process says nothing");
        let dropped =
            [DropReason::Down, DropReason::Undelivered].map(|reason| outcome.messages.dropped[reason as usize]);
        assert!(dropped.iter().sum::<u64>() > 20, "what is said to it is lost: {dropped:?}");
        assert!(delivered(history, A, B, 7, 10) > 20, "it came back");
        let remembered = history.iter().filter_map(|(_, node, seen)| match seen {
            Seen::Event(crate::Event::Booted { remembered, .. }) if *node == A => Some(*remembered),
            _ => None,
        });
        let remembered: Vec<u64> = remembered.collect();
        assert!(remembered[0] == 0 && remembered[1] >= 30 && remembered[1].is_multiple_of(10), "{remembered:?}");
    });
}

#[test]
fn a_cut_delivers_nothing_and_a_healed_link_does() {
    each(lasting(3, 6, Action::Cut(vec![links(false)])), |outcome, history| {
        assert_eq!(delivered(history, A, B, 4, 6), 0);
        assert!(delivered(history, B, A, 4, 6) > 15, "the other way is open");
        assert!(delivered(history, A, B, 7, 10) > 20);
        assert!(outcome.messages.dropped[DropReason::Undelivered as usize] >= 29);
    });
}

#[test]
fn single_messages_are_dropped_delayed_and_copied_before_the_transport() {
    let next = |fate| at(3, Action::Next { kind: None, links: links(false), count: 5, fate });
    each(next(Fate::Drop), |outcome, _| {
        assert_eq!(outcome.messages.dropped[DropReason::Scripted as usize], 5);
    });
    each(next(Fate::Duplicate { copies: 2, within: secs(1) }), |outcome, _| {
        assert_eq!(outcome.messages.duplicated, 10);
    });
}

#[test]
fn a_layer_without_delays_of_its_own_still_reorders() {
    let patch = squall::QualityPatch { reorder: squall_machine::Ratio::new(1, 2), ..squall::QualityPatch::default() };
    let system = crate::system();
    let mut plan = plan(&system, vec![at(1, Action::Degrade { links: links(false), patch })]);
    // Held back by up to ten of the transport's delays: longer than from one beat to the next.
    plan.network.delay = squall::Delay::Uniform { low: Span::ZERO, high: Span::from_millis(50) };
    for seed in 0..SEEDS {
        let (outcome, history) = play(&system, &plan, seed);
        assert!(outcome.strikes[0] > 0, "seed {seed}: nothing was held back");
        let heard = history.iter().filter_map(|(_, node, seen)| match seen {
            Seen::Event(crate::Event::Heard { from, seq }) if *node == B && owner(*from) == A => Some(*seq),
            _ => None,
        });
        let heard: Vec<u64> = heard.collect();
        assert!(!heard.is_sorted(), "seed {seed}: nothing overtook anything: {heard:?}");
    }
}

#[test]
fn a_paused_shell_says_nothing_and_loses_nothing() {
    each(lasting(3, 6, Action::Pause(target(A))), |outcome, history| {
        assert_eq!(delivered(history, A, B, 4, 6), 0);
        assert!(delivered(history, A, B, 7, 10) > 20);
        assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()]);
    });
}

#[test]
fn without_faults_everything_arrives() {
    let system = crate::system();
    let (outcome, history) = play(&system, &plan(&system, Vec::new()), 7);
    assert_eq!(outcome.verdict, Verdict::Pass);
    assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()]);
    assert!(outcome.messages.delivered > 500);
    let up = history.iter().filter(|(.., seen)| matches!(seen, Seen::Truth(Truth::Up { .. }))).count();
    assert_eq!(up, 3);
}
