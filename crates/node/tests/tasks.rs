//! Coordinator, workers, checkpoint store and client, all as they are shipped, under loss, repetition, crashes and pauses:
//! whatever was acknowledged ends, once, and its client learns how.

#[path = "tasks/process.rs"]
mod process;

use process::{Left, Process, Wire};
use squall_coordinator::{Capacity, Knobs, Role};
use squall_machine::{Address, Input, Random, Ratio, Span, Text, Time};
use squall_node::{
    CoordinatorNode, CoordinatorNodeConfig, MemberConfig, WorkerNode, WorkerNodeConfig, WorkerReply, WorkerRequest,
};
use squall_scheduler::{
    AttemptId, Checkpoint, ClientConfig, ClientReply, ClientRequest, Degradable, End, Event, FailureKind,
    HardwareClass, Offer, Outcome, Precision, Resources, RuntimeCall, RuntimeOrder, Standing, Store, StoreKnobs,
    TaskClient, TaskSpec, TaskType,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const COORDINATOR: Address = Address(0);
const WORKERS: std::ops::RangeInclusive<u64> = 1..=3;
const STORE: Address = Address(8);
const CLIENT: Address = Address(9);
const TASKS: u64 = 30;
/// How finely time passes.
const STEP: Span = Span::from_millis(10);
/// An attempt takes twenty of these.
const STRIDE: Span = Span::from_millis(100);

/// What the runtime of a worker does.
type Runtime = BTreeMap<AttemptId, (u32, Time)>;

struct World {
    random: Random,
    now: Time,
    lives: u64,
    coordinator: Process<CoordinatorNode>,
    workers: BTreeMap<u64, (Process<WorkerNode>, Runtime)>,
    store: Process<Store>,
    client: Process<TaskClient>,
    in_flight: Vec<(Time, Address, Address, Wire)>,
    /// When a process comes back, by address.
    down: BTreeMap<u64, Time>,
    /// When a worker runs again.
    paused: BTreeMap<u64, Time>,
    judge: Judge,
}

/// What the history must never show.
#[derive(Default)]
struct Judge {
    acknowledged: BTreeSet<Text>,
    terminal: BTreeMap<Text, Outcome>,
    learned: BTreeMap<Text, Outcome>,
    cancelled: BTreeSet<Text>,
    succeeded: BTreeSet<Text>,
    attempts: BTreeSet<AttemptId>,
    over: BTreeSet<AttemptId>,
    completed: BTreeMap<Text, Checkpoint>,
    restored: u32,
    fenced: u32,
}

impl Judge {
    fn hear(&mut self, event: &Event) {
        if let Event::Accepted { attempt, .. } | Event::Fenced { attempt, .. } = event {
            assert!(self.over.insert(*attempt), "attempt {attempt} ends twice");
        }
        match event {
            Event::Assigned { task, attempt, restore, .. } => {
                assert!(self.attempts.insert(*attempt), "attempt {attempt} twice");
                assert!(!self.terminal.contains_key(task), "{task} has ended");
                assert_eq!(restore.as_deref(), self.completed.get(task), "{task} goes on from the newest");
            }
            Event::Accepted { task, end: End::Succeeded, .. } => {
                assert!(self.succeeded.insert(task.clone()), "{task} succeeds twice");
            }
            Event::Completed { task, checkpoint, .. } => {
                assert!(!self.over.contains(&checkpoint.attempt), "a checkpoint of attempt {}", checkpoint.attempt);
                let older = self.completed.insert(task.clone(), *checkpoint);
                assert!(older.is_none_or(|older| older.seq < checkpoint.seq), "checkpoints of {task} out of order");
            }
            Event::Terminal { task, outcome, .. } => {
                let older = self.terminal.insert(task.clone(), outcome.clone());
                assert_eq!(older, None, "{task} ends twice");
            }
            Event::Restored { .. } => self.restored += 1,
            Event::Fenced { .. } => self.fenced += 1,
            Event::Acknowledged { task } => {
                self.acknowledged.insert(task.clone());
            }
            Event::Learned { task, outcome } => {
                assert_eq!(self.terminal.get(task), Some(outcome), "{task} ended otherwise");
                self.learned.insert(task.clone(), outcome.clone());
            }
            Event::Missing { task } => panic!("{task} is lost"),
            _ => {}
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: Random::new(seed, "tasks"),
            now: Time::ZERO + Span::from_secs(5),
            lives: 0,
            coordinator: Process::new(),
            workers: WORKERS.map(|worker| (worker, (Process::new(), Runtime::new()))).collect(),
            store: Process::new(),
            client: Process::new(),
            in_flight: Vec::new(),
            down: BTreeMap::new(),
            paused: BTreeMap::new(),
            judge: Judge::default(),
        };
        for node in [COORDINATOR.0, STORE.0, CLIENT.0].into_iter().chain(WORKERS) {
            world.boot(node);
        }
        world
    }

    fn boot(&mut self, node: u64) {
        self.lives += 1;
        let (seed, now) = (self.lives, self.now);
        let knobs = Arc::new(Knobs {
            worker_heartbeat: Span::from_secs(1),
            worker_timeout: Span::from_secs(5),
            ..Knobs::default()
        });
        let scheduler = Arc::new(squall_scheduler::Knobs { beat: Span::from_secs(1), ..Default::default() });
        if node == COORDINATOR.0 {
            let machine = CoordinatorNode::new(CoordinatorNodeConfig { knobs, scheduler, seed });
            let left = self.coordinator.boot(now, machine);
            self.take(COORDINATOR, left, |_, never| match never {});
        } else if node == STORE.0 {
            let left = self.store.boot(now, Store::new(Arc::new(StoreKnobs::default())));
            self.take(STORE, left, |_, never| match never {});
        } else if node == CLIENT.0 {
            let return_spread = knobs.return_spread;
            let (poll, open_max) = (Span::from_secs(2), 1_000);
            let config = ClientConfig { scheduler: COORDINATOR, poll, open_max, return_spread, seed, knobs: scheduler };
            let left = self.client.boot(now, TaskClient::new(config));
            self.take_client(left);
        } else {
            let member = MemberConfig {
                id: format!("w{node}").into(),
                role: Role::Worker,
                address: "".into(),
                store_address: "".into(),
                capacity: Capacity::default(),
                coordinator: COORDINATOR,
                world_size: 0,
                subscribes: false,
                seed,
                knobs,
            };
            let resources = Resources { cpu_millis: 4_000, ..Resources::default() };
            let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources });
            let config = WorkerNodeConfig { member, offer, store: Some(STORE), knobs: scheduler };
            let (process, runtime) = self.workers.get_mut(&node).expect("a worker");
            runtime.clear();
            let left = process.boot(now, WorkerNode::new(config));
            self.take_worker(node, left);
        }
    }

    fn take<R>(&mut self, from: Address, left: Vec<Left<R>>, mut on_reply: impl FnMut(&mut Self, R)) {
        for left in left {
            match left {
                Left::Message { to, message } => self.send(from, to, message),
                Left::Reply(reply) => on_reply(self, reply),
                Left::Told(event) => self.judge.hear(&event),
                Left::Untold => {}
            }
        }
    }

    fn take_client(&mut self, left: Vec<Left<ClientReply>>) {
        self.take(CLIENT, left, |world, reply| {
            if let ClientReply::Cancelled { task, standing: Standing::Ended(Outcome::Cancelled) } = reply {
                world.judge.cancelled.insert(task);
            }
        });
    }

    fn take_worker(&mut self, node: u64, left: Vec<Left<WorkerReply>>) {
        self.take(Address(node), left, |world, reply| {
            let now = world.now;
            let (_, runtime) = world.workers.get_mut(&node).expect("a worker");
            match reply {
                WorkerReply::Runtime(RuntimeOrder::Run { attempt, from_micros, .. }) => {
                    runtime.insert(attempt, (from_micros, now + STRIDE));
                }
                WorkerReply::Runtime(RuntimeOrder::Halt { attempt }) => {
                    runtime.remove(&attempt);
                }
                WorkerReply::Runtime(RuntimeOrder::SaveEnded { .. }) => {}
                // It came back too early for the coordinator, or left: somebody starts it again.
                WorkerReply::Stopped { .. } => {
                    world.down.insert(node, now + Span::from_secs(1));
                }
            }
        });
    }

    fn chance(&mut self, in_thousand: u32) -> bool {
        self.random.chance(Ratio::new(in_thousand, 1_000).expect("a share"))
    }

    fn send(&mut self, from: Address, to: Address, message: Wire) {
        let copies = if self.is_calm() { 1 } else { [0, 1, 1, 1, 1, 1, 1, 1, 1, 2][self.random.below(10) as usize] };
        for _ in 0..copies {
            let at = self.now + self.random.span(Span::from_millis(1), Span::from_millis(60));
            self.in_flight.push((at, from, to, message.clone()));
        }
    }

    fn is_calm(&self) -> bool {
        self.now.since(Time::ZERO) > Span::from_secs(65)
    }

    fn worker_step(&mut self, node: u64, input: Input<WorkerNode>) {
        let now = self.now;
        let (process, _) = self.workers.get_mut(&node).expect("a worker");
        let left = process.step(now, input);
        self.take_worker(node, left);
    }

    fn deliver(&mut self) {
        let now = self.now;
        let due = |flight: &(Time, Address, Address, Wire)| flight.0 <= now;
        let (due, later) = std::mem::take(&mut self.in_flight).into_iter().partition(due);
        self.in_flight = later;
        for (at, from, to, message) in due {
            if self.paused.contains_key(&to.0) {
                self.in_flight.push((at + STRIDE, from, to, message));
            } else if to == COORDINATOR {
                let left = self.coordinator.hear(now, from, message);
                self.take(to, left, |_, never| match never {});
            } else if to == STORE {
                let left = self.store.hear(now, from, message);
                self.take(to, left, |_, never| match never {});
            } else if to == CLIENT {
                let left = self.client.hear(now, from, message);
                self.take_client(left);
            } else {
                let left = self.workers.get_mut(&to.0).expect("a worker").0.hear(now, from, message);
                self.take_worker(to.0, left);
            }
        }
    }

    /// Disks catch up, and whoever is due is woken.
    fn wake(&mut self) {
        let now = self.now;
        for _ in 0..2 {
            let left = self.coordinator.sync();
            self.take(COORDINATOR, left, |_, never| match never {});
            let left = self.store.sync();
            self.take(STORE, left, |_, never| match never {});
            let left = self.coordinator.wake(now);
            self.take(COORDINATOR, left, |_, never| match never {});
        }
        let left = self.client.wake(now);
        self.take_client(left);
        for node in WORKERS.filter(|node| !self.paused.contains_key(node)).collect::<Vec<_>>() {
            let left = self.workers.get_mut(&node).expect("a worker").0.wake(now);
            self.take_worker(node, left);
            let (_, runtime) = &self.workers[&node];
            let due: Vec<AttemptId> =
                runtime.iter().filter(|(_, (_, at))| *at <= now).map(|(attempt, _)| *attempt).collect();
            for attempt in due {
                self.stride(node, attempt);
            }
        }
    }

    /// An attempt comes further, or to its end.
    fn stride(&mut self, node: u64, attempt: AttemptId) {
        let fails = self.chance(5);
        let (_, runtime) = self.workers.get_mut(&node).expect("a worker");
        let Some((micros, at)) = runtime.get_mut(&attempt) else { return };
        *micros += 50_000;
        *at += STRIDE;
        let micros = *micros;
        let calls = if fails {
            vec![RuntimeCall::Failed { attempt, kind: Some(FailureKind::Evaluation), text: "by chance".into() }]
        } else if micros >= 1_000_000 {
            vec![RuntimeCall::Done { attempt, result: [1].into() }]
        } else if micros % 250_000 == 0 {
            let save = RuntimeCall::Save { attempt, progress_micros: micros, bytes: 100, digest: u64::from(micros) };
            vec![RuntimeCall::Progress { attempt, micros }, save]
        } else {
            vec![RuntimeCall::Progress { attempt, micros }]
        };
        if fails || micros >= 1_000_000 {
            runtime.remove(&attempt);
        }
        for call in calls {
            self.worker_step(node, Input::Request(WorkerRequest::Runtime(call)));
        }
    }

    fn strike(&mut self) {
        if self.chance(3) {
            let node = [0, 1, 2, 3, 8][self.random.below(5) as usize];
            self.crash(node);
        }
        if self.chance(2) {
            let (node, span) = (self.random.range(1, 3), self.random.span(STRIDE, Span::from_secs(12)));
            self.paused.entry(node).or_insert(self.now + span);
        }
        if self.chance(1) {
            let node = self.random.range(1, 3);
            self.worker_step(node, Input::Request(WorkerRequest::Leave));
        }
    }

    fn crash(&mut self, node: u64) {
        if self.down.contains_key(&node) {
            return;
        }
        self.down.insert(node, self.now + self.random.span(STRIDE, Span::from_secs(10)));
        if node == COORDINATOR.0 {
            self.coordinator.crash();
        } else if node == STORE.0 {
            self.store.crash();
        } else {
            let (process, runtime) = self.workers.get_mut(&node).expect("a worker");
            process.crash();
            runtime.clear();
            self.paused.remove(&node);
        }
    }

    fn pass(&mut self) {
        self.now += STEP;
        let now = self.now;
        self.paused.retain(|_, until| *until > now);
        let back: Vec<u64> = self.down.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in back {
            self.down.remove(&node);
            if let Some((process, _)) = self.workers.get_mut(&node) {
                process.crash();
            }
            self.boot(node);
        }
        self.deliver();
        self.wake();
    }

    fn request(&mut self, request: ClientRequest) {
        let left = self.client.step(self.now, Input::Request(request));
        self.take_client(left);
    }
}

fn spec(number: u64) -> Arc<TaskSpec> {
    Arc::new(TaskSpec {
        id: format!("t{number}").into(),
        kind: TaskType::CpuLight,
        class: "cpu".into(),
        resources: Resources { cpu_millis: 1_000, ..Resources::default() },
        capabilities: BTreeSet::new(),
        priority: 0,
        payload: [].into(),
        max_retries: None,
        deadline: None,
        run_limit: Some(Span::from_secs(20)),
        checkpoint_interval: Some(STRIDE * 5),
        batch_size: 1,
        precision: Precision::Fp32,
        degradable: Degradable::default(),
        slack_millis: None,
    })
}

fn run(seed: u64) -> Judge {
    let mut world = World::new(seed);
    for number in 0..TASKS {
        for _ in 0..world.random.below(200) {
            world.pass();
            world.strike();
        }
        world.request(ClientRequest::Submit(spec(number)));
        if number % 10 == 9 {
            world.request(ClientRequest::Cancel(format!("t{number}").into()));
        }
    }
    while !world.is_calm() {
        world.pass();
        world.strike();
    }
    // Breakers that opened stay so for minutes.
    let end = world.now + Span::from_secs(1_200);
    while world.now < end && world.judge.learned.len() < TASKS as usize {
        world.pass();
    }
    let judge = world.judge;
    assert_eq!(judge.acknowledged.len(), TASKS as usize, "seed {seed}: not all submissions were answered");
    assert_eq!(judge.learned, judge.terminal, "seed {seed}: not all ends were told");
    assert_eq!(judge.learned.len(), TASKS as usize, "seed {seed}: not all tasks ended");
    let succeeded = |outcome: &Outcome| matches!(outcome, Outcome::Succeeded { .. });
    for task in &judge.cancelled {
        assert!(!judge.succeeded.contains(task), "seed {seed}: {task} was cancelled");
    }
    assert_eq!(judge.learned.values().filter(|outcome| succeeded(outcome)).count(), judge.succeeded.len());
    judge
}

#[test]
fn whatever_was_acknowledged_ends_once_and_is_told() {
    let (mut restored, mut fenced, mut succeeded, mut cancelled) = (0, 0, 0, 0);
    for seed in 0..40 {
        let judge = run(seed);
        restored += judge.restored;
        fenced += judge.fenced;
        succeeded += judge.succeeded.len();
        cancelled += judge.cancelled.len();
    }
    let reached = restored > 100 && fenced > 300 && succeeded > 900 && cancelled > 80;
    assert!(reached, "{restored} restored, {fenced} fenced, {succeeded} succeeded, {cancelled} cancelled: too tame");
}
