//! The wiring between member and agent.

use super::*;
use crate::MemberPhase;
use alloc::collections::BTreeSet;
use alloc::vec;
use squall_coordinator::{BootId, Epoch};
use squall_machine::{Kind, Outbox, Released, Span};
use squall_scheduler::{
    AttemptId, Event as TaskEvent, HardwareClass, Message as TaskMessage, Precision, Reception, Resources, Shape,
    StoreEvent, TaskType, Work,
};

const COORDINATOR: Address = Address(7);

struct Bench {
    worker: WorkerNode,
    outbox: Outbox<WorkerNode>,
    now: Time,
    boot: BootId,
}

#[derive(Default, Debug)]
struct Given {
    messages: Vec<WorkerNodeMessage>,
    events: Vec<WorkerNodeEvent>,
    replies: Vec<WorkerReply>,
}

impl Given {
    fn kinds(&self) -> Vec<&'static str> {
        self.messages.iter().map(Kind::kind_name).collect()
    }

    fn event_kinds(&self) -> Vec<&'static str> {
        self.events.iter().map(Kind::kind_name).collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds().iter().filter(|sent| **sent == kind).count()
    }
}

fn coordinator(incarnation: u64) -> squall_coordinator::Incarnation {
    squall_coordinator::Incarnation(incarnation)
}

impl Bench {
    fn new() -> Self {
        let member = crate::rig::config(Role::Worker, false);
        let (class, resources) = (HardwareClass::Gpu, Resources::default());
        let config = WorkerNodeConfig {
            member,
            offer: Arc::new(Offer { class, capabilities: BTreeSet::new(), resources }),
            store: None,
            knobs: Arc::new(squall_scheduler::Knobs::default()),
        };
        let now = Time::ZERO + Span::from_secs(100);
        let mut bench = Self { worker: WorkerNode::new(config), outbox: Outbox::new(), now, boot: BootId(0) };
        let given = bench.step(Input::Boot(Durable::empty()));
        let [WorkerNodeMessage::Member(squall_coordinator::Message::Register { boot, .. })] = given.messages[..] else {
            panic!("it registers: {given:?}");
        };
        bench.boot = boot;
        bench
    }

    /// A worker with incarnation 5, known to the scheduler, that runs attempt 1.
    fn running() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.grant(5).kinds(), ["heartbeat", "offer", "beat"]);
        bench.task(TaskMessage::Offered { incarnation: Incarnation(5) });
        assert_eq!(bench.assign(5, 1).kinds(), ["started"]);
        bench
    }

    fn step(&mut self, input: Input<WorkerNode>) -> Given {
        let (mut effects, mut given) = (Effects::new(), Given::default());
        self.worker.step(self.now, input, &mut effects);
        self.worker.assert_invariants();
        let batch = self.outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => {
                assert_eq!(to, COORDINATOR, "scheduler and coordinator are one process");
                given.messages.push(message);
            }
            Released::Reply(reply) => given.replies.push(reply),
            Released::Event { event, .. } => given.events.push(event),
        });
        assert!(batch.is_none(), "a worker that doesn't subscribe keeps nothing");
        given
    }

    fn member(&mut self, message: squall_coordinator::Message) -> Given {
        self.step(Input::Receive { from: COORDINATOR, message: message.into() })
    }

    fn task(&mut self, message: TaskMessage) -> Given {
        self.step(Input::Receive { from: COORDINATOR, message: WorkerNodeMessage::Task(message) })
    }

    fn grant(&mut self, incarnation: u64) -> Given {
        let (boot, incarnation, epoch) = (self.boot, coordinator(incarnation), Epoch(1));
        self.member(squall_coordinator::Message::Granted { boot, incarnation, epoch })
    }

    fn assign(&mut self, incarnation: u64, attempt: u64) -> Given {
        let work = Work {
            task: "t".into(),
            kind: TaskType::Mixed,
            shape: Shape { class: HardwareClass::Gpu, precision: Precision::Fp32, batch_size: 1 },
            resources: Resources::default(),
            payload: [].into(),
            checkpoint_interval: None,
            restart_runtime: false,
            restore: None,
            next_seq: squall_scheduler::CheckpointSeq(1),
        };
        let (incarnation, attempt) = (Incarnation(incarnation), AttemptId(attempt));
        self.task(TaskMessage::Assign { incarnation, attempt, work: Arc::new(work) })
    }

    fn done(&mut self, attempt: u64) -> Given {
        let call = RuntimeCall::Done { attempt: AttemptId(attempt), result: [].into() };
        self.step(Input::Request(WorkerRequest::Runtime(call)))
    }

    fn leave(&mut self) -> Given {
        self.step(Input::Request(WorkerRequest::Leave))
    }

    fn phase(&self) -> MemberPhase {
        self.worker.member().status(self.now).phase
    }

    fn pass(&mut self, millis: u64) -> Given {
        let until = self.now + Span::from_millis(millis);
        let mut all = Given::default();
        while let Some(due) = self.worker.deadline().filter(|due| *due <= until) {
            self.now = due;
            let given = self.step(Input::Wake);
            assert!(self.worker.deadline().is_none_or(|next| next > self.now), "it wakes again at the same instant");
            all.messages.extend(given.messages);
            all.events.extend(given.events);
            all.replies.extend(given.replies);
        }
        self.now = until;
        all
    }
}

fn failed(incarnation: u64) -> squall_coordinator::Message {
    let cause = squall_coordinator::Cause::Timeout;
    squall_coordinator::Message::Failed { incarnation: coordinator(incarnation), cause }
}

fn halt(attempt: u64) -> WorkerReply {
    WorkerReply::Runtime(RuntimeOrder::Halt { attempt: AttemptId(attempt) })
}

#[test]
fn a_worker_offers_itself_under_each_new_incarnation() {
    let mut bench = Bench::running();
    assert_eq!(bench.worker.agent().running().count(), 1);
    let given = bench.member(failed(5));
    assert_eq!((given.replies, bench.worker.agent().incarnation()), (vec![halt(1)], None));
    let given = bench.pass(10_000);
    assert!(given.count("register") > 0 && given.count("beat") == 0, "{:?}", given.kinds());
    assert_eq!(bench.grant(6).kinds(), ["heartbeat", "offer", "beat"]);
    assert_eq!(bench.worker.agent().incarnation(), Some(Incarnation(6)));
    assert_eq!(bench.assign(5, 2).event_kinds(), ["task_ignored"], "for who it was");
    assert_eq!(bench.assign(6, 3).kinds(), ["started"]);
}

#[test]
fn a_zombie_reports_as_who_it_was_and_learns_that_it_counts_for_nothing() {
    let mut bench = Bench::running();
    bench.now += Span::from_secs(90);
    assert_eq!(bench.done(1).count("report"), 1);
    let given = bench.member(failed(5));
    assert!(given.replies.is_empty(), "nothing runs any more");
    bench.grant(6);
    let given = bench.pass(3_000);
    let reporter = |message: &WorkerNodeMessage| match message {
        WorkerNodeMessage::Task(TaskMessage::Report { incarnation, .. }) => Some(*incarnation),
        _ => None,
    };
    let reporters: BTreeSet<Incarnation> = given.messages.iter().filter_map(reporter).collect();
    assert_eq!(reporters, [Incarnation(5)].into());
    let reception = Reception::Rejected(Ignored::Fenced);
    let given = bench.task(TaskMessage::Received { attempt: AttemptId(1), reception });
    let answered = TaskEvent::Answered { attempt: AttemptId(1), reception };
    assert_eq!(given.events, [WorkerNodeEvent::Task(answered)]);
}

#[test]
fn who_leaves_drains_first() {
    let mut bench = Bench::running();
    assert_eq!(bench.leave().kinds(), ["drain"]);
    assert_eq!(bench.leave().event_kinds(), ["task_ignored"]);
    assert_eq!(bench.assign(5, 2).kinds(), ["report"], "it takes nothing more");
    let given = bench.pass(10_000);
    assert_eq!((given.count("leave"), bench.phase()), (0, MemberPhase::Member), "what runs is not done");
    assert!(given.count("heartbeat") > 0);
    bench.done(1);
    for attempt in [1, 2] {
        bench.task(TaskMessage::Received { attempt: AttemptId(attempt), reception: Reception::Accepted });
    }
    let given = bench.task(TaskMessage::Drained { incarnation: Incarnation(5) });
    assert_eq!((given.count("leave"), bench.phase()), (1, MemberPhase::Leaving));
    assert!(bench.pass(3_000).count("leave") > 0, "until it is answered");
    let given = bench.member(squall_coordinator::Message::Left { incarnation: coordinator(5) });
    assert_eq!(given.replies, [WorkerReply::Stopped { superseded: false }]);
    assert_eq!(bench.worker.deadline(), None);
}

#[test]
fn who_is_nobody_leaves_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.leave().replies, [WorkerReply::Stopped { superseded: false }]);
    let mut bench = Bench::running();
    bench.leave();
    let given = bench.member(failed(5));
    assert_eq!(given.replies, [halt(1), WorkerReply::Stopped { superseded: false }], "there is nothing left to leave");
    assert_eq!(bench.worker.deadline(), None);
}

#[test]
fn a_superseded_worker_halts_what_runs_and_says_nothing_more() {
    let mut bench = Bench::running();
    bench.assign(5, 2);
    bench.done(2);
    let given = bench.member(squall_coordinator::Message::Superseded { incarnation: coordinator(5) });
    assert!(given.replies.contains(&halt(1)) && given.replies.contains(&WorkerReply::Stopped { superseded: true }));
    assert_eq!((bench.worker.deadline(), bench.pass(60_000).messages), (None, vec![]));
    let given = bench.assign(5, 3);
    assert_eq!((given.event_kinds(), given.messages), (vec!["task_ignored"], vec![]));
    assert_eq!(bench.done(1).event_kinds(), ["task_ignored"]);
    assert_eq!(bench.leave().event_kinds(), ["task_ignored"]);
}

#[test]
fn names_of_messages_and_events_are_there_once() {
    let store = [<StoreMessage as Kind>::NAMES, <StoreEvent as Kind>::NAMES].concat();
    for names in [<WorkerNodeMessage as Kind>::NAMES, &[<WorkerNodeEvent as Kind>::NAMES, &store].concat()] {
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
