//! Hand-made histories of one scheduler, the worker `w0` (incarnation 10, a processor host) and a client.

use super::super::testing::{C, History, S, W, history};
use super::breakers::keys;
use squall::Checker;
use squall_coordinator::{Capacity, Role};
use squall_machine::{Span, Text};
use squall_scheduler::{
    Adaptable, AdaptationReason, Adapted, AttemptId, BreakerCause, BreakerChange, BreakerKey, BreakerStage, Checkpoint,
    CheckpointSeq, Choice, Degradable, End, Event, FailureKind, Generation, HardwareClass, Incarnation, Offer, Outcome,
    Placement, Precision, Resources, Setting, Settlement, Shape, Strategy, Tally, TaskSpec, TaskType,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The worker's incarnation.
pub(super) const I: Incarnation = Incarnation(10);
pub(super) const CPU: HardwareClass = HardwareClass::Cpu;

/// What a task needs; the worker has four times as much.
pub(super) const NEED: Resources = Resources { cpu_millis: 1_000, memory_mib: 1_024, storage_mib: 0, gpu_millis: 0 };

pub(super) fn offer() -> Arc<Offer> {
    let resources = Resources { cpu_millis: 4_000, memory_mib: 4_096, storage_mib: 0, gpu_millis: 0 };
    Arc::new(Offer { class: CPU, capabilities: BTreeSet::new(), resources })
}

/// A task on processor cores of which everything may be degraded.
pub(super) fn spec(id: &str) -> TaskSpec {
    TaskSpec {
        id: id.into(),
        kind: TaskType::CpuLight,
        class: "cpu".into(),
        resources: NEED,
        capabilities: BTreeSet::new(),
        priority: 0,
        payload: Arc::from([]),
        max_retries: None,
        deadline: None,
        run_limit: None,
        checkpoint_interval: None,
        batch_size: 8,
        precision: Precision::Fp32,
        degradable: Degradable { batch: true, precision: true, fallback_class: None },
        slack_millis: None,
    }
}

pub(super) const SHAPE: Shape = Shape { class: CPU, precision: Precision::Fp32, batch_size: 8 };

pub(super) fn checkpoint(attempt: u64, seq: u64) -> Checkpoint {
    let (attempt, seq) = (AttemptId(attempt), CheckpointSeq(seq));
    Checkpoint { attempt, seq, progress_micros: seq.0 as u32, bytes: 1, digest: 1 }
}

/// A history in which `w0` has begun and offered itself.
pub(super) fn tasks<C0: Checker<crate::Cluster>>(checker: C0) -> History<C0> {
    history(checker).at(100).worker(10).offered(10)
}

pub(super) fn assigned(task: &str, attempt: u64) -> Event {
    assigned_with(task, attempt, 0, None)
}

pub(super) fn assigned_with(task: &str, attempt: u64, failures: u32, restore: Option<Checkpoint>) -> Event {
    Event::Assigned {
        task: task.into(),
        attempt: AttemptId(attempt),
        worker: "w0".into(),
        incarnation: I,
        resources: NEED,
        shape: SHAPE,
        kind: TaskType::CpuLight,
        failures,
        restore: restore.map(Box::new),
        choice: Choice { placement: Placement::Rts, eligible: 1, figure_micros: Some(0) },
    }
}

pub(super) fn permitted(key: BreakerKey, attempt: u64, generation: u64, probe: bool) -> Event {
    Event::Permitted { key, attempt: AttemptId(attempt), generation: Generation(generation), probe }
}

pub(super) fn settled(key: BreakerKey, attempt: u64, generation: u64, settlement: Settlement, counted: bool) -> Event {
    Event::Settled { key, attempt: AttemptId(attempt), generation: Generation(generation), settlement, counted }
}

/// The keys of `w0`, of its class and of the type of task.
pub(super) fn three() -> [BreakerKey; 3] {
    keys(&Text::from("w0"), CPU, TaskType::CpuLight)
}

pub(super) fn worker_key() -> BreakerKey {
    BreakerKey::Worker("w0".into())
}

pub(super) fn changed(
    key: BreakerKey,
    from: BreakerStage,
    to: BreakerStage,
    (generation, times_opened): (u64, u32),
    cause: BreakerCause,
) -> Event {
    let change = BreakerChange { from, to, generation: Generation(generation), times_opened, cause };
    Event::BreakerChanged { key, change }
}

/// A setting changes for the first time.
pub(super) fn adapted(what: Adaptable, from: Setting, to: Setting) -> Event {
    let reason = AdaptationReason::ResultsPoor(Tally { successes: 0, failures: 50 });
    Event::Adapted { change: Box::new(Adapted { what, from, to, reason }), number: 1 }
}

pub(super) fn accepted(task: &str, attempt: u64, end: End) -> Event {
    Event::Accepted { task: task.into(), attempt: AttemptId(attempt), incarnation: I, end }
}

pub(super) fn fenced(task: &str, attempt: u64, end: End) -> Event {
    Event::Fenced { task: task.into(), attempt: AttemptId(attempt), incarnation: I, end }
}

pub(super) fn lost() -> End {
    End::Lost(FailureKind::WorkerDisconnected)
}

pub(super) fn requeued(task: &str, delay: Span, counts: (u32, u32), strategy: Option<Strategy>) -> Event {
    let (failures, losses) = counts;
    Event::Requeued { task: task.into(), delay, failures, losses, strategy, shape: SHAPE }
}

pub(super) fn terminal(task: &str, outcome: Outcome, failures: u32, losses: u32) -> Event {
    Event::Terminal { task: task.into(), outcome, failures, losses }
}

pub(super) fn success(attempt: u64) -> Outcome {
    Outcome::Succeeded { attempt: AttemptId(attempt), result: Arc::from([]) }
}

pub(super) fn completed(task: &str, checkpoint: Checkpoint, pruned: &[u64]) -> Event {
    let pruned = pruned.iter().map(|&seq| CheckpointSeq(seq)).collect();
    Event::Completed { task: task.into(), incarnation: I, checkpoint, pruned }
}

impl<C0: Checker<crate::Cluster>> History<C0> {
    /// `w0` begins.
    pub(super) fn worker(self, incarnation: u64) -> Self {
        let incarnation = squall_coordinator::Incarnation(incarnation);
        let (member, boot): (Text, _) = ("w0".into(), squall_coordinator::BootId(incarnation.0));
        let _ = Capacity::default();
        self.event(W, squall_coordinator::Event::Joined { member: member.clone(), incarnation, boot })
            .coordinator(squall_coordinator::Event::Began { member, incarnation, role: Role::Worker, returned: None })
            .coordinator(squall_coordinator::Event::HeartbeatAccepted { incarnation, seq: 1 })
    }

    /// `w0` is declared failed.
    pub(super) fn dies(self) -> Self {
        self.coordinator(squall_coordinator::Event::Failed {
            member: "w0".into(),
            incarnation: squall_coordinator::Incarnation(I.0),
            role: Role::Worker,
            cause: squall_coordinator::Cause::Timeout,
            cursor: squall_coordinator::Cursor(1),
            age: Span::from_secs(30),
        })
    }

    /// The scheduler tells something.
    pub(super) fn tells(self, event: Event) -> Self {
        self.event(C, event)
    }

    /// A client tells something.
    pub(super) fn client(self, event: Event) -> Self {
        self.event(S, event)
    }

    pub(super) fn offered(self, incarnation: u64) -> Self {
        self.tells(Event::Offered { worker: "w0".into(), incarnation: Incarnation(incarnation), offer: offer() })
    }

    pub(super) fn submit(self, id: &str, number: u64) -> Self {
        self.tells(Event::Submitted { spec: Arc::new(spec(id)), number })
    }

    /// Permits of generation 0 are taken, and the task is assigned.
    pub(super) fn assign(self, task: &str, attempt: u64) -> Self {
        self.assign_event(assigned(task, attempt), attempt)
    }

    pub(super) fn assign_event(self, event: Event, attempt: u64) -> Self {
        let reserved = Event::Reserved { attempt: AttemptId(attempt), incarnation: I, resources: NEED };
        three()
            .into_iter()
            .fold(self.tells(reserved), |history, key| history.tells(permitted(key, attempt, 0, false)))
            .tells(event)
    }

    pub(super) fn released(self, attempt: u64) -> Self {
        self.tells(Event::Released { attempt: AttemptId(attempt), incarnation: I, resources: NEED })
    }

    /// The permits of an attempt come back: the worker's, the class's and the type's.
    pub(super) fn settle(self, attempt: u64, settlements: [Settlement; 3]) -> Self {
        three().into_iter().zip(settlements).fold(self, |history, (key, settlement)| {
            history.tells(settled(key, attempt, 0, settlement, settlement != Settlement::Released))
        })
    }

    /// An attempt succeeds, with everything that belongs to it.
    pub(super) fn succeed(self, task: &str, attempt: u64) -> Self {
        self.tells(accepted(task, attempt, End::Succeeded))
            .released(attempt)
            .settle(attempt, [Settlement::Success; 3])
            .tells(terminal(task, success(attempt), 0, 0))
    }

    /// An attempt fails with an evaluation, and its task waits.
    pub(super) fn fail_once(self, task: &str, attempt: u64, failures: u32, delay: Span, strategy: Strategy) -> Self {
        let blamed = [Settlement::Released, Settlement::Released, Settlement::Failure];
        self.tells(accepted(task, attempt, End::Failed(FailureKind::Evaluation)))
            .released(attempt)
            .settle(attempt, blamed)
            .tells(requeued(task, delay, (failures, 0), Some(strategy)))
    }

    /// The worker of an attempt dies, and its task waits.
    pub(super) fn lose(self, task: &str, attempt: u64, losses: u32) -> Self {
        let blamed = [Settlement::Failure, Settlement::Released, Settlement::Released];
        self.dies().tells(fenced(task, attempt, lost())).released(attempt).settle(attempt, blamed).tells(requeued(
            task,
            Span::ZERO,
            (0, losses),
            None,
        ))
    }
}
