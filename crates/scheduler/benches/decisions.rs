//! What a decision costs: a task is submitted, placed, reported and ended, while others wait and workers are many.
//!
//! `cargo bench -p squall-scheduler` prints decisions a second, and each as a share of the smallest case, which is measured in
//! the same run: with ten thousand times as many tasks a decision should cost a few times as much, and with a hundred times
//! as many eligible workers at most a hundred times.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::disallowed_types, reason = "a bench measures time")]

use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Released, Text, Time};
use squall_scheduler::{
    AttemptId, Call, Degradable, HardwareClass, Incarnation, Knobs, Message, Offer, Placement, Precision, Report,
    Resources, Roster, Scheduler, TaskSpec, TaskType,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each case is measured; the best of three rounds counts.
const ROUND: Duration = Duration::from_millis(300);

struct Everybody;

impl Roster for Everybody {
    fn takes_work(&self, _: Incarnation) -> bool {
        true
    }
}

struct Bench {
    scheduler: Scheduler,
    outbox: Outbox<Scheduler>,
    effects: Effects<Scheduler>,
    now: u64,
    started: u64,
}

impl Bench {
    /// So many tasks wait for hardware that there isn't; so many workers could do all others.
    fn new(tasks: u32, workers: u32, placement: Placement) -> Self {
        let knobs = Knobs { queued_max: tasks + 10, terminal_kept: 1_000, placement, ..Knobs::default() };
        let scheduler = Scheduler::new(Arc::new(knobs), 1);
        let mut bench = Self { scheduler, outbox: Outbox::new(), effects: Effects::new(), now: 1, started: 0 };
        bench.step(Input::Boot(Durable::empty()));
        for worker in 0..workers {
            let incarnation = Incarnation(u64::from(worker));
            bench.step(Input::Request(Call::Began { worker: format!("w{worker}").into(), incarnation }));
            let resources =
                Resources { cpu_millis: 64_000, memory_mib: 262_144, storage_mib: 1_000, gpu_millis: 8_000 };
            let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources });
            bench.say(Message::Offer { incarnation, offer });
        }
        for task in 0..tasks {
            bench.say(Message::Submit { spec: Arc::new(task_spec(format!("waiting{task}").into(), "tpu", task)) });
        }
        bench
    }

    /// Returns the attempt that was assigned, if one was.
    fn step(&mut self, input: Input<Scheduler>) -> Option<(AttemptId, Incarnation)> {
        self.now += 1_000;
        let now = Time::from_nanos(self.now);
        self.scheduler.step(now, input, &mut self.effects);
        self.scheduler.place(now, &Everybody, &mut self.effects);
        let mut assigned = None;
        let mut see = |released| {
            if let Released::Message { message: Message::Assign { attempt, incarnation, .. }, .. } = released {
                assigned = Some((attempt, incarnation));
            }
        };
        if let Some(batch) = self.outbox.drain(now, &mut self.effects, &mut see) {
            self.outbox.confirm(batch.pledge.synced(), &mut see);
        }
        assigned
    }

    fn say(&mut self, message: Message) -> Option<(AttemptId, Incarnation)> {
        self.step(Input::Receive { from: Address(1), message })
    }

    /// One task from its submission to its end.
    fn decide(&mut self) {
        self.started += 1;
        let id: Text = format!("task{}", self.started).into();
        let spec = Arc::new(task_spec(id.clone(), "cpu", 0));
        let (attempt, incarnation) = self.say(Message::Submit { spec }).expect("there is room for it");
        let report = Report::Succeeded { result: Arc::from([]) };
        self.say(Message::Report { incarnation, task: id, attempt, report });
    }

    /// Decisions a second.
    fn measure(&mut self) -> f64 {
        let mut best = 0.0f64;
        for _ in 0..3 {
            let (begin, mut count) = (Instant::now(), 0u32);
            while begin.elapsed() < ROUND {
                for _ in 0..16 {
                    self.decide();
                }
                count += 16;
            }
            best = best.max(f64::from(count) / begin.elapsed().as_secs_f64());
        }
        best
    }
}

fn task_spec(id: Text, class: &str, number: u32) -> TaskSpec {
    TaskSpec {
        id,
        kind: TaskType::CpuLight,
        class: class.into(),
        // A hundred different needs.
        resources: Resources { cpu_millis: 1_000 + number % 100, memory_mib: 1_024, storage_mib: 0, gpu_millis: 0 },
        capabilities: BTreeSet::new(),
        priority: 0,
        payload: Arc::from([]),
        max_retries: None,
        deadline: None,
        run_limit: None,
        checkpoint_interval: None,
        batch_size: 1,
        precision: Precision::Fp32,
        degradable: Degradable::default(),
        slack_millis: None,
    }
}

fn main() {
    // `cargo test` builds and runs benches as well; there is nothing to assert in timings.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    for placement in [Placement::RoundRobin, Placement::Rts] {
        let smallest = Bench::new(10, 10, placement).measure();
        for workers in [10, 1_000] {
            for tasks in [10, 1_000, 100_000] {
                let rate = Bench::new(tasks, workers, placement).measure();
                println!(
                    "{placement:<12} {tasks:>7} tasks wait, {workers:>5} workers: {rate:>9.0} decisions/s, {:>6.2} x the cost of \
                     10 and 10",
                    smallest / rate
                );
            }
        }
    }
}
