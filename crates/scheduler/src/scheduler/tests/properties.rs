//! Anything in any order: invariants hold, a restart finds what was there, and a message that comes twice changes nothing.

use super::*;
use crate::{Checkpoint, CheckpointSeq};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Action {
    Begin(u64),
    End(u64, Departure),
    Beat(u64, u32),
    Drain(u64),
    Submit(u8, TaskSpec),
    Cancel(u8),
    Start(prop::sample::Index),
    Succeed(prop::sample::Index),
    Fail(prop::sample::Index, FailureKind),
    Return(prop::sample::Index),
    Save(prop::sample::Index, u64),
    Migrate(u8),
    ResetBreaker(u64),
    Suspect(u64),
    Pass(u64),
    Restart,
}

fn spec() -> impl Strategy<Value = TaskSpec> {
    let deadline = proptest::option::weighted(0.2, (1..120u64).prop_map(Span::from_secs));
    let saves = proptest::option::weighted(0.5, Just(SECOND));
    (1..5u32, prop_oneof![Just("cpu"), Just("gpu")], 0..3u8, 0..3u32, deadline, saves, any::<bool>()).prop_map(
        |(quarters, class, priority, max_retries, deadline, checkpoint_interval, batch)| TaskSpec {
            class: class.into(),
            resources: Resources { cpu_millis: quarters * 1_000, ..task("").resources },
            priority,
            max_retries: Some(max_retries),
            deadline,
            run_limit: Some(SECOND * 45),
            checkpoint_interval,
            degradable: Degradable { batch, precision: true, fallback_class: Some(HardwareClass::Cpu) },
            ..task("")
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let departure = prop_oneof![Just(Departure::Crashed), Just(Departure::Disconnected), Just(Departure::Left)];
    let attempt = any::<prop::sample::Index>;
    prop_oneof![
        3 => (1..5u64).prop_map(Action::Begin),
        2 => (1..5u64, departure).prop_map(|(worker, departure)| Action::End(worker, departure)),
        1 => (1..5u64, 94_000..96_000u32).prop_map(|(worker, cpu)| Action::Beat(worker, cpu)),
        1 => (1..5u64).prop_map(Action::Drain),
        6 => (0..12u8, spec()).prop_map(|(id, spec)| Action::Submit(id, spec)),
        1 => (0..12u8).prop_map(Action::Cancel),
        2 => attempt().prop_map(Action::Start),
        5 => attempt().prop_map(Action::Succeed),
        5 => (attempt(), proptest::sample::select(FailureKind::ALL))
            .prop_map(|(index, kind)| Action::Fail(index, kind)),
        1 => attempt().prop_map(Action::Return),
        3 => (attempt(), 1..9u64).prop_map(|(index, seq)| Action::Save(index, seq)),
        1 => (0..12u8).prop_map(Action::Migrate),
        1 => (1..5u64).prop_map(Action::ResetBreaker),
        1 => (1..5u64).prop_map(Action::Suspect),
        4 => (1..90_000u64).prop_map(Action::Pass),
        1 => Just(Action::Restart),
    ]
}

/// A rig, and what is known about its attempts from what it said.
struct Play {
    rig: Rig,
    /// The live incarnation of each worker.
    workers: BTreeMap<u64, Incarnation>,
    incarnations: u64,
    beats: u64,
    attempts: Vec<(Text, AttemptId, Incarnation)>,
    ended: BTreeMap<Text, Outcome>,
    accepted: BTreeSet<AttemptId>,
}

impl Play {
    fn new(self_healing: bool) -> Self {
        let rig = Rig::new(|knobs| {
            knobs.self_healing = self_healing;
            knobs.adaptation.sample = 2;
            knobs.terminal_kept = 8;
            knobs.worker_breaker.threshold = 2;
            knobs.class_breaker.threshold = 2;
            knobs.type_breaker.threshold = 3;
            knobs.retry_budget.floor = 2;
        });
        Self {
            rig,
            workers: BTreeMap::new(),
            incarnations: 0,
            beats: 0,
            attempts: Vec::new(),
            ended: BTreeMap::new(),
            accepted: BTreeSet::new(),
        }
    }

    /// Says something, and says it again at once: the second time nothing changes.
    fn say(&mut self, from: u64, message: Message) {
        self.rig.say(from, message.clone());
        self.see();
        let before = self.rig.scheduler.clone();
        self.rig.say(from, message.clone());
        self.see();
        assert_eq!(self.rig.scheduler, before, "{message:?} counted twice");
    }

    fn call(&mut self, call: Call) {
        self.rig.call(call);
        self.see();
    }

    /// Remembers what was told.
    fn see(&mut self) {
        for event in &self.rig.events {
            match event {
                Event::Assigned { task, attempt, incarnation, .. } => {
                    assert!(self.workers.values().any(|live| live == incarnation), "work for an ended incarnation");
                    assert!(!self.rig.suspected.0.contains(incarnation), "work for a suspected worker");
                    assert!(!self.ended.contains_key(task), "{task} goes on after its end");
                    self.attempts.push((task.clone(), *attempt, *incarnation));
                }
                Event::Accepted { attempt, .. } => {
                    assert!(self.accepted.insert(*attempt), "attempt {attempt} was accepted twice");
                }
                Event::Terminal { task, outcome, failures, losses } => {
                    assert!(*failures <= 4 && *losses <= 4, "{task} was tried too often");
                    assert_eq!(self.ended.insert(task.clone(), outcome.clone()), None, "{task} ended twice");
                }
                Event::TaskForgotten { task } => {
                    self.ended.remove(task);
                }
                _ => {}
            }
        }
        self.rig.events.clear();
    }

    fn attempt(&self, index: prop::sample::Index) -> Option<(Text, AttemptId, Incarnation)> {
        // Mostly one of the newest.
        let newest = self.attempts.len().saturating_sub(6);
        let (all, some) = (&self.attempts[..], &self.attempts[newest..]);
        if some.is_empty() {
            None
        } else {
            Some(if index.index(4) == 0 { index.get(all) } else { index.get(some) }.clone())
        }
    }

    fn report(&mut self, index: prop::sample::Index, report: Report) {
        if let Some((task, attempt, incarnation)) = self.attempt(index) {
            self.say(incarnation.0, Message::Report { incarnation, task, attempt, report });
        }
    }

    fn end(&mut self, worker: u64, departure: Departure) {
        if let Some(incarnation) = self.workers.remove(&worker) {
            self.rig.suspected.0.remove(&incarnation);
            self.call(Call::Ended { incarnation, departure });
        }
    }

    fn offer(&mut self, worker: u64) {
        let Some(&incarnation) = self.workers.get(&worker) else { return };
        let class = if worker.is_multiple_of(2) { HardwareClass::Gpu } else { HardwareClass::Cpu };
        let offer = Arc::new(Offer { class, capabilities: BTreeSet::new(), resources: HOST });
        self.say(incarnation.0, Message::Offer { incarnation, offer });
    }

    fn act(&mut self, action: Action) {
        let name = |id: u8| -> Text { format!("t{id}").into() };
        match action {
            Action::Begin(worker) => {
                self.end(worker, Departure::Crashed);
                self.incarnations += 1;
                let incarnation = Incarnation(self.incarnations);
                self.workers.insert(worker, incarnation);
                self.call(Call::Began { worker: super::worker(worker), incarnation });
                self.offer(worker);
            }
            Action::End(worker, departure) => self.end(worker, departure),
            Action::Beat(worker, cpu) => {
                let Some(&incarnation) = self.workers.get(&worker) else { return };
                self.beats += 1;
                let vitals = Vitals { cpu, ..Vitals::default() };
                let running: Vec<_> = self.attempts.iter().rev().take(3).map(|(_, attempt, _)| (*attempt, 7)).collect();
                let beat = Message::Beat { incarnation, seq: self.beats, vitals, running: running.into() };
                self.say(incarnation.0, beat);
            }
            Action::Drain(worker) => {
                let Some(&incarnation) = self.workers.get(&worker) else { return };
                self.say(incarnation.0, Message::Drain { incarnation });
            }
            Action::Submit(id, spec) => {
                self.say(CLIENT, Message::Submit { spec: Arc::new(TaskSpec { id: name(id), ..spec }) });
            }
            Action::Cancel(id) => {
                self.say(CLIENT, Message::Cancel { task: name(id) });
            }
            Action::Start(index) => {
                if let Some((task, attempt, incarnation)) = self.attempt(index) {
                    self.say(incarnation.0, Message::Started { incarnation, task, attempt });
                }
            }
            Action::Succeed(index) => self.report(index, Report::Succeeded { result: Arc::from([]) }),
            Action::Fail(index, kind) => self.report(index, Report::Failed { kind: Some(kind), text: "".into() }),
            Action::Return(index) => self.report(index, Report::Returned),
            Action::Save(index, seq) => {
                let Some((task, attempt, incarnation)) = self.attempt(index) else { return };
                let seq = CheckpointSeq(seq);
                let checkpoint = Checkpoint { attempt, seq, progress_micros: 5, bytes: 1, digest: 1 };
                self.say(incarnation.0, Message::Saved { incarnation, task, checkpoint: Box::new(checkpoint) });
            }
            Action::Migrate(id) => self.call(Call::Migrate { task: name(id) }),
            Action::ResetBreaker(worker) => {
                self.call(Call::ResetBreaker { key: BreakerKey::Worker(super::worker(worker)) });
            }
            Action::Suspect(worker) => {
                let Some(&incarnation) = self.workers.get(&worker) else { return };
                if !self.rig.suspected.0.remove(&incarnation) {
                    self.rig.suspected.0.insert(incarnation);
                }
            }
            Action::Pass(millis) => {
                self.rig.pass(Span::from_millis(millis));
                self.see();
            }
            Action::Restart => {
                self.rig.restart();
                self.see();
                for (worker, incarnation) in self.workers.clone() {
                    self.call(Call::Began { worker: super::worker(worker), incarnation });
                    self.offer(worker);
                }
            }
        }
    }

    /// Workers enough for everything, and everything they do succeeds: every task ends.
    fn settle(&mut self) {
        self.rig.suspected.0.clear();
        for worker in [1, 2] {
            self.act(Action::Begin(worker));
        }
        for worker in [3, 4] {
            self.end(worker, Departure::Left);
        }
        // A breaker may be open for an hour; a task that waits for one is looked at again when that is over.
        for _ in 0..20_000 {
            let leases: Vec<_> = self
                .rig
                .scheduler
                .status(self.rig.now)
                .open
                .into_iter()
                .filter_map(|one| Some((one.task, one.lease?)))
                .collect();
            if leases.is_empty() {
                if self.rig.scheduler.counts().queued + self.rig.scheduler.counts().delayed == 0 {
                    return;
                }
                self.rig.pass(SECOND * 5);
                self.see();
            }
            for (task, (attempt, incarnation)) in leases {
                self.say(
                    incarnation.0,
                    Message::Report { incarnation, task, attempt, report: Report::Succeeded { result: Arc::from([]) } },
                );
            }
        }
        let waits = self.rig.scheduler.waits_for();
        panic!("{:?} never ended: {waits}", self.rig.scheduler.counts());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_and_nothing_counts_twice(
        self_healing in any::<bool>(),
        actions in prop::collection::vec(action(), 1..80),
    ) {
        let mut play = Play::new(self_healing);
        for action in actions {
            play.act(action);
        }
        play.settle();
        let story: String = play.rig.scheduler.waits_for();
        prop_assert!(story.is_empty(), "{}", story);
    }
}
