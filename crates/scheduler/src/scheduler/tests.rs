//! Scripts against the whole machine, rule by rule. After every step the invariants hold, and what a restart would replay is
//! what is there.

mod breakers;
mod checkpoints;
mod failures;
mod healing;
mod leases;
mod placement;
mod properties;
mod recount;

use super::{Call, Departure, Roster, Scheduler};
use crate::{
    AttemptId, BreakerKey, Degradable, Event, FailureKind, HardwareClass, Ignored, Incarnation, Knobs, Message, Offer,
    Outcome, Placement, Precision, Reception, Record, Report, Resources, Snapshot, Standing, TaskRefusal, TaskSpec,
    TaskType, Verdict, Vitals,
};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Durable, Effects, Input, Machine, Outbox, Released, Span, Text, Time};

const SECOND: Span = Span::from_secs(1);
const CLIENT: u64 = 900;

/// Everybody but those named.
#[derive(Default)]
struct Suspected(BTreeSet<Incarnation>);

impl Roster for Suspected {
    fn takes_work(&self, incarnation: Incarnation) -> bool {
        !self.0.contains(&incarnation)
    }
}

/// A scheduler with a disk that syncs at once, and everything it has said since it was last asked.
struct Rig {
    knobs: Arc<Knobs>,
    scheduler: Scheduler,
    outbox: Outbox<Scheduler>,
    now: Time,
    disk: Vec<Record>,
    sent: Vec<(Address, Message)>,
    events: Vec<Event>,
    suspected: Suspected,
    recount: recount::Recount,
}

impl Rig {
    fn new(set: impl FnOnce(&mut Knobs)) -> Self {
        let mut knobs = Knobs { placement: Placement::RoundRobin, ..Knobs::default() };
        knobs.retry.jitter = squall_machine::Ratio::ZERO;
        set(&mut knobs);
        let knobs = Arc::new(knobs);
        let mut rig = Self {
            scheduler: Scheduler::new(knobs.clone(), 1),
            knobs,
            outbox: Outbox::new(),
            now: Time::from_nanos(1_000),
            disk: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            suspected: Suspected::default(),
            recount: recount::Recount::default(),
        };
        rig.step(Input::Boot(Durable::empty()));
        rig
    }

    fn step(&mut self, input: Input<Scheduler>) {
        let mut effects = Effects::new();
        if let Input::Request(Call::Ended { incarnation, .. }) = &input {
            self.recount.gone(self.scheduler.uptime(self.now), *incarnation);
        }
        self.scheduler.step(self.now, input, &mut effects);
        self.scheduler.place(self.now, &self.suspected, &mut effects);
        let mut released = Vec::new();
        if let Some(batch) = self.outbox.drain(self.now, &mut effects, |item| released.push(item)) {
            self.disk.extend(batch.records);
            self.outbox.confirm(batch.pledge.synced(), |item| released.push(item));
        }
        for item in released {
            match item {
                Released::Message { to, message } => self.sent.push((to, message)),
                Released::Event { event, .. } => {
                    self.recount.follow(self.scheduler.uptime(self.now), &event);
                    self.events.push(event);
                }
                Released::Reply(never) => match never {},
            }
        }
        self.scheduler.assert_invariants();
        assert_eq!(self.replayed(), self.scheduler.snapshot(), "a restart replays what is there");
        let at = self.scheduler.uptime(self.now);
        assert_eq!(self.recount.at(at), self.scheduler.statistics(self.now), "statistics are what was told");
    }

    fn replayed(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for record in &self.disk {
            snapshot.apply(record, self.knobs.checkpoints_kept);
        }
        snapshot
    }

    /// Forgets what was said so far.
    fn clear(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    /// Says something, and forgets what was said before.
    fn say(&mut self, from: u64, message: Message) {
        self.clear();
        self.step(Input::Receive { from: Address(from), message });
    }

    fn call(&mut self, call: Call) {
        self.clear();
        self.step(Input::Request(call));
    }

    /// Lets time pass; the scheduler wakes when it wants to. Nothing that was said on the way is lost.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        self.clear();
        while let Some(deadline) = self.scheduler.deadline().filter(|&deadline| deadline <= end) {
            assert!(deadline > self.now || self.scheduler.is_due(self.now), "a deadline that changes nothing");
            self.now = self.now.max(deadline);
            self.step(Input::Wake);
        }
        self.now = end;
    }

    /// The process dies, and starts again on its disk; its clock has another origin.
    fn restart(&mut self) {
        self.clear();
        self.scheduler = Scheduler::new(self.knobs.clone(), 2);
        self.outbox = Outbox::new();
        self.now = Time::from_nanos(7);
        let records = self.disk.clone();
        self.recount = recount::Recount::since(self.replayed().uptime);
        self.step(Input::Boot(Durable { snapshot: None, records, torn_tail: false }));
    }

    /// A worker with this much: four cores, 8 GiB, one accelerator.
    fn worker(&mut self, number: u64) -> Incarnation {
        self.worker_with(number, HardwareClass::Cpu, HOST)
    }

    fn worker_with(&mut self, number: u64, class: HardwareClass, resources: Resources) -> Incarnation {
        let incarnation = Incarnation(number);
        self.call(Call::Began { worker: worker(number), incarnation });
        let offer = Arc::new(Offer { class, capabilities: BTreeSet::new(), resources });
        self.say(number, Message::Offer { incarnation, offer });
        incarnation
    }

    fn submit(&mut self, spec: TaskSpec) {
        self.say(CLIENT, Message::Submit { spec: Arc::new(spec) });
    }

    /// Submits a task that fits anywhere; returns the attempt, if it was placed at once.
    fn start(&mut self, id: &str) -> Option<(AttemptId, Incarnation)> {
        self.submit(task(id));
        self.assigned()
    }

    /// The first attempt that was assigned since it was last asked.
    fn assigned(&self) -> Option<(AttemptId, Incarnation)> {
        self.events.iter().find_map(|event| match event {
            Event::Assigned { attempt, incarnation, .. } => Some((*attempt, *incarnation)),
            _ => None,
        })
    }

    fn report(&mut self, id: &str, (attempt, incarnation): (AttemptId, Incarnation), report: Report) -> Reception {
        self.say(incarnation.0, Message::Report { incarnation, task: id.into(), attempt, report });
        let answer = self.sent.iter().find_map(|(_, message)| match message {
            Message::Received { attempt: about, reception } if *about == attempt => Some(*reception),
            _ => None,
        });
        answer.expect("every report is answered")
    }

    fn succeed(&mut self, id: &str, lease: (AttemptId, Incarnation)) -> Reception {
        self.report(id, lease, Report::Succeeded { result: Arc::from([1]) })
    }

    fn fail(&mut self, id: &str, lease: (AttemptId, Incarnation), kind: FailureKind) -> Reception {
        self.report(id, lease, Report::Failed { kind: Some(kind), text: "".into() })
    }

    fn outcome(&self, id: &str) -> Option<Outcome> {
        self.scheduler.outcome(id).cloned()
    }

    fn ignored(&self) -> Vec<Ignored> {
        let reason = |event: &Event| match event {
            Event::Ignored { reason, .. } | Event::Rejected { reason, .. } | Event::SaveRejected { reason, .. } => {
                Some(*reason)
            }
            _ => None,
        };
        self.events.iter().filter_map(reason).collect()
    }

    fn kinds(&self) -> Vec<&'static str> {
        use squall_machine::Kind;
        self.events.iter().map(Kind::kind_name).collect()
    }

    fn sent_kinds(&self) -> Vec<(u64, &'static str)> {
        use squall_machine::Kind;
        self.sent.iter().map(|(to, message)| (to.0, message.kind_name())).collect()
    }
}

const HOST: Resources = Resources { cpu_millis: 4_000, memory_mib: 8_192, storage_mib: 1_000, gpu_millis: 1_000 };

fn worker(number: u64) -> Text {
    format!("w{number}").into()
}

/// A task that takes a quarter of a host.
fn task(id: &str) -> TaskSpec {
    TaskSpec {
        id: id.into(),
        kind: TaskType::CpuLight,
        class: "cpu".into(),
        resources: Resources { cpu_millis: 1_000, memory_mib: 1_024, storage_mib: 0, gpu_millis: 0 },
        capabilities: BTreeSet::new(),
        priority: 0,
        payload: Arc::from([]),
        max_retries: None,
        deadline: None,
        run_limit: None,
        checkpoint_interval: None,
        batch_size: 8,
        precision: Precision::Fp32,
        degradable: Degradable::default(),
        slack_millis: None,
    }
}
