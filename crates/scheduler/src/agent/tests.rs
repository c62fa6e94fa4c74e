//! An agent on a bench: its tests say what scheduler, store and runtime say, and look at what it does.

mod play;

use super::duty::FETCHES_MAX;
use super::*;
use crate::{HardwareClass, Precision, Reception, Resources, Shape, StoreIgnored, TaskType};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use squall_machine::{Durable, Kind, Outbox, Released};

const SCHEDULER: Address = Address(1);
const STORE: Address = Address(2);
const OWN: Incarnation = Incarnation(7);

struct Bench {
    agent: Agent,
    outbox: Outbox<Agent>,
    now: Time,
}

/// What one or more steps gave.
#[derive(Default, Debug)]
struct Given {
    messages: Vec<AgentMessage>,
    events: Vec<Event>,
    replies: Vec<AgentReply>,
}

impl Given {
    fn ignored(&self) -> Option<Ignored> {
        self.events.iter().find_map(|event| match event {
            Event::Ignored { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.messages.iter().map(Kind::kind_name).collect()
    }

    fn event_kinds(&self) -> Vec<&'static str> {
        self.events.iter().map(Kind::kind_name).collect()
    }

    fn orders(&self) -> Vec<RuntimeOrder> {
        let orders = self.replies.iter().filter_map(|reply| match reply {
            AgentReply::Runtime(order) => Some(order.clone()),
            AgentReply::Left => None,
        });
        orders.collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds().iter().filter(|sent| **sent == kind).count()
    }
}

fn work(restore: Option<Checkpoint>) -> Work {
    Work {
        task: "t".into(),
        kind: TaskType::Mixed,
        shape: Shape { class: HardwareClass::Gpu, precision: Precision::Fp32, batch_size: 8 },
        resources: Resources::default(),
        payload: [1, 2].into(),
        checkpoint_interval: Some(Span::from_secs(5)),
        restart_runtime: false,
        restore,
        next_seq: restore.map_or(CheckpointSeq(1), |checkpoint| checkpoint.seq.next()),
    }
}

fn config(knobs: Knobs) -> AgentConfig {
    let (class, resources) = (HardwareClass::Gpu, Resources::default());
    AgentConfig {
        offer: Arc::new(Offer { class, capabilities: BTreeSet::new(), resources }),
        scheduler: SCHEDULER,
        store: Some(STORE),
        return_spread: Span::from_secs(2),
        seed: 42,
        knobs: Arc::new(knobs),
    }
}

impl Bench {
    fn with(config: AgentConfig) -> Self {
        let now = Time::ZERO + Span::from_secs(100);
        let mut bench = Self { agent: Agent::new(config), outbox: Outbox::new(), now };
        let given = bench.step(Input::Boot(Durable::empty()));
        assert!(given.messages.is_empty() && bench.agent.deadline().is_none(), "nobody is known yet");
        bench
    }

    /// An agent whose offer was answered; its first beat has left.
    fn new() -> Self {
        let mut bench = Self::with(config(Knobs::default()));
        assert_eq!(bench.request(AgentRequest::Began { incarnation: OWN }).kinds(), ["offer", "beat"]);
        assert_eq!(bench.tells(Message::Offered { incarnation: OWN }).ignored(), None);
        bench
    }

    /// An agent that runs attempts, each of a task without a checkpoint.
    fn running(attempts: &[u64]) -> Self {
        let mut bench = Self::new();
        for &attempt in attempts {
            assert_eq!(bench.assign(attempt, None).kinds(), ["started"]);
        }
        bench
    }

    fn step(&mut self, input: Input<Agent>) -> Given {
        let (mut effects, mut given) = (Effects::new(), Given::default());
        self.agent.step(self.now, input, &mut effects);
        self.agent.assert_invariants();
        assert!(self.agent.deadline().is_none_or(|due| due > self.now), "no work is left for this instant");
        let batch = self.outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => {
                let expected = if matches!(message, AgentMessage::Task(_)) { SCHEDULER } else { STORE };
                assert_eq!(to, expected, "{message:?}");
                given.messages.push(message);
            }
            Released::Reply(reply) => given.replies.push(reply),
            Released::Event { event, .. } => given.events.push(event),
        });
        assert!(batch.is_none(), "nothing is recorded");
        given
    }

    /// The scheduler tells something.
    fn tells(&mut self, message: Message) -> Given {
        self.step(Input::Receive { from: SCHEDULER, message: AgentMessage::Task(message) })
    }

    /// The store tells something.
    fn stores(&mut self, message: StoreMessage) -> Given {
        self.step(Input::Receive { from: STORE, message: AgentMessage::Store(message) })
    }

    fn request(&mut self, request: AgentRequest) -> Given {
        self.step(Input::Request(request))
    }

    fn call(&mut self, call: RuntimeCall) -> Given {
        self.request(AgentRequest::Runtime(call))
    }

    fn assign(&mut self, attempt: u64, restore: Option<Checkpoint>) -> Given {
        self.tells(Message::Assign { incarnation: OWN, attempt: AttemptId(attempt), work: Arc::new(work(restore)) })
    }

    fn done(&mut self, attempt: u64) -> Given {
        self.call(RuntimeCall::Done { attempt: AttemptId(attempt), result: [9].into() })
    }

    fn received(&mut self, attempt: u64, reception: Reception) -> Given {
        self.tells(Message::Received { attempt: AttemptId(attempt), reception })
    }

    fn save(&mut self, attempt: u64, progress_micros: u32) -> Given {
        self.call(RuntimeCall::Save { attempt: AttemptId(attempt), progress_micros, bytes: 10, digest: 5 })
    }

    fn complete(&mut self, attempt: u64, seq: u64) -> Given {
        let (attempt, seq) = (AttemptId(attempt), CheckpointSeq(seq));
        self.stores(StoreMessage::Complete { task: "t".into(), attempt, seq })
    }

    fn kept(&mut self, attempt: u64, seq: u64, reception: Reception) -> Given {
        self.tells(Message::Kept { attempt: AttemptId(attempt), seq: CheckpointSeq(seq), reception })
    }

    /// Lets time pass; the agent is woken whenever it wants to be.
    fn pass(&mut self, millis: u64) -> Given {
        let until = self.now + Span::from_millis(millis);
        let mut all = Given::default();
        while let Some(due) = self.agent.deadline().filter(|due| *due <= until) {
            self.now = due;
            let given = self.step(Input::Wake);
            all.messages.extend(given.messages);
            all.events.extend(given.events);
            all.replies.extend(given.replies);
        }
        self.now = until;
        all
    }

    /// The agent ignores this, for this reason, and is as before.
    #[track_caller]
    fn ignores(&mut self, message: Message, reason: Ignored) {
        let (said, mut before) = (alloc::format!("{message:?}"), self.agent.clone());
        before.scheduler.on_heard();
        let given = self.tells(message);
        assert_eq!(given.events, [Event::Ignored { reason, incarnation: self.agent.incarnation() }], "{said}");
        assert!(given.messages.is_empty() && given.replies.is_empty(), "{said}: {given:?}");
        assert!(self.agent == before, "{said}");
    }
}

fn saved(seq: u64, progress_micros: u32) -> Checkpoint {
    Checkpoint { attempt: AttemptId(3), seq: CheckpointSeq(seq), progress_micros, bytes: 10, digest: 5 }
}

const FENCED: Reception = Reception::Rejected(Ignored::Fenced);

#[test]
fn an_offer_is_repeated_until_it_is_answered_and_when_it_is_begged_for() {
    let mut bench = Bench::with(config(Knobs::default()));
    bench.request(AgentRequest::Began { incarnation: OWN });
    assert_eq!(bench.pass(1_100).count("offer"), 2);
    bench.ignores(Message::Offered { incarnation: Incarnation(6) }, Ignored::UnknownWorker);
    bench.tells(Message::Offered { incarnation: OWN });
    assert_eq!(bench.pass(10_000).count("offer"), 0);
    bench.ignores(Message::Offered { incarnation: OWN }, Ignored::StaleAnswer);
    bench.ignores(Message::Introduce { incarnation: Incarnation(6) }, Ignored::UnknownWorker);
    assert_eq!(bench.tells(Message::Introduce { incarnation: OWN }).kinds(), ["offer"]);
    assert_eq!(bench.tells(Message::Introduce { incarnation: OWN }).ignored(), Some(Ignored::UnderWay));
}

#[test]
fn beats_tell_how_the_host_is_and_what_runs() {
    let mut bench = Bench::running(&[4]);
    bench.call(RuntimeCall::Vitals(Vitals { cpu: 50_000, ..Vitals::default() }));
    bench.call(RuntimeCall::Progress { attempt: AttemptId(4), micros: 300_000 });
    let given = bench.pass(15_000);
    let beats: Vec<_> = given.messages.iter().collect();
    let AgentMessage::Task(Message::Beat { incarnation: OWN, seq: 2, vitals, running }) = beats[0] else {
        panic!("a beat: {beats:?}");
    };
    assert_eq!((vitals.cpu, &running[..]), (50_000, &[(AttemptId(4), 300_000)][..]));
    assert_eq!(given.count("beat"), 3, "one in each interval");
    bench.done(4);
    let given = bench.pass(5_000);
    let over = |message: &AgentMessage| match message {
        AgentMessage::Task(Message::Beat { running, .. }) => running.is_empty(),
        _ => true,
    };
    assert!(given.messages.iter().all(over), "what is over doesn't run: {given:?}");
}

#[test]
fn workers_that_began_together_do_not_beat_together() {
    let phases = (0..50).map(|seed| {
        let mut bench = Bench::with(AgentConfig { seed, ..config(Knobs::default()) });
        bench.request(AgentRequest::Began { incarnation: OWN });
        bench.tells(Message::Offered { incarnation: OWN });
        bench.agent.deadline().expect("it beats").since(bench.now)
    });
    let phases: BTreeSet<Span> = phases.collect();
    assert!(phases.len() == 50 && phases.iter().all(|phase| *phase <= Span::from_secs(5)), "{phases:?}");
}

#[test]
fn an_assignment_begins_once_and_is_answered_each_time() {
    let mut bench = Bench::new();
    let given = bench.assign(4, None);
    assert_eq!(given.events, [Event::Running { incarnation: OWN, task: "t".into(), attempt: AttemptId(4) }]);
    let run = RuntimeOrder::Run { attempt: AttemptId(4), work: Arc::new(work(None)), from_micros: 0 };
    assert_eq!((given.orders(), given.kinds()), (vec![run], vec!["started"]));
    let given = bench.assign(4, None);
    assert_eq!((given.ignored(), given.orders()), (Some(Ignored::Repeated), vec![]));
    assert_eq!(given.kinds(), ["started"]);
    let other = Message::Assign { incarnation: Incarnation(6), attempt: AttemptId(5), work: Arc::new(work(None)) };
    bench.ignores(other, Ignored::UnknownWorker);
}

#[test]
fn a_report_is_repeated_until_it_is_answered() {
    let mut bench = Bench::running(&[4]);
    let given = bench.done(4);
    let report = Report::Succeeded { result: [9].into() };
    let (task, attempt, progress_micros) = ("t".into(), AttemptId(4), 1_000_000);
    assert_eq!(given.events, [Event::Reported { incarnation: OWN, task, attempt, report, progress_micros }]);
    assert_eq!(given.kinds(), ["report"]);
    assert_eq!(bench.pass(1_100).count("report"), 2);
    let given = bench.assign(4, None);
    assert_eq!((given.ignored(), given.kinds()), (Some(Ignored::Repeated), vec!["report"]), "it says so at once");
    let given = bench.received(4, Reception::Accepted);
    assert_eq!(given.events, [Event::Answered { attempt, reception: Reception::Accepted }]);
    assert_eq!(bench.pass(1_100).count("report"), 0);
    bench.ignores(Message::Received { attempt, reception: Reception::Accepted }, Ignored::StaleAnswer);
    let again = Message::Assign { incarnation: OWN, attempt, work: Arc::new(work(None)) };
    bench.ignores(again, Ignored::Over);
    bench.ignores(Message::Stop { incarnation: OWN, attempt }, Ignored::Over);
}

#[test]
fn what_the_runtime_says_of_anything_but_a_running_attempt_is_ignored() {
    let mut bench = Bench::running(&[4, 5]);
    bench.done(5);
    bench.assign(6, Some(saved(1, 100)));
    for (attempt, reason) in [(3, Ignored::UnknownAttempt), (5, Ignored::Over), (6, Ignored::Malformed)] {
        let before = bench.agent.clone();
        let (id, text): (_, Text) = (AttemptId(attempt), "".into());
        assert_eq!(bench.done(attempt).ignored(), Some(reason));
        assert_eq!(bench.save(attempt, 1).ignored(), Some(reason));
        assert_eq!(bench.call(RuntimeCall::Progress { attempt: id, micros: 1 }).ignored(), Some(reason));
        assert_eq!(bench.call(RuntimeCall::Failed { attempt: id, kind: None, text }).ignored(), Some(reason));
        assert!(bench.agent == before, "attempt {attempt}");
    }
    let progress = |micros| RuntimeCall::Progress { attempt: AttemptId(4), micros };
    assert_eq!(bench.call(progress(1_000_001)).ignored(), Some(Ignored::Malformed));
    assert_eq!(bench.call(progress(1_000_000)).ignored(), None);
    assert_eq!(bench.call(progress(999_999)).ignored(), Some(Ignored::Stale));
}

#[test]
fn what_is_too_long_is_cut_or_fails_before_anybody_refuses_it() {
    let knobs = Knobs { text_bytes_max: 8, result_bytes_max: 4, ..Knobs::default() };
    let mut bench = Bench::with(config(knobs));
    bench.request(AgentRequest::Began { incarnation: OWN });
    for attempt in [1, 2, 3] {
        bench.assign(attempt, None);
    }
    let report = |given: &Given| match &given.events[..] {
        [Event::Reported { report, .. }] => report.clone(),
        other => panic!("one report: {other:?}"),
    };
    let given = bench.call(RuntimeCall::Done { attempt: AttemptId(1), result: [0; 4].into() });
    assert_eq!(report(&given), Report::Succeeded { result: [0; 4].into() });
    let given = bench.call(RuntimeCall::Done { attempt: AttemptId(2), result: [0; 5].into() });
    assert_eq!(report(&given), Report::Failed { kind: Some(FailureKind::Evaluation), text: "a result".into() });
    let given = bench.call(RuntimeCall::Failed { attempt: AttemptId(3), kind: None, text: "seven: é!".into() });
    assert_eq!(report(&given), Report::Failed { kind: None, text: "seven: ".into() });
}

#[test]
fn a_stop_halts_what_runs_also_when_it_comes_first() {
    let mut bench = Bench::running(&[4]);
    let stop = |attempt| Message::Stop { incarnation: OWN, attempt: AttemptId(attempt) };
    let given = bench.tells(stop(4));
    assert_eq!(given.events, [Event::Halted { task: "t".into(), attempt: AttemptId(4) }]);
    assert_eq!(given.orders(), [RuntimeOrder::Halt { attempt: AttemptId(4) }]);
    assert!(given.messages.is_empty(), "what is fenced has nothing to report");
    bench.ignores(stop(4), Ignored::Fenced);
    assert_eq!(bench.done(4).ignored(), Some(Ignored::UnknownAttempt));
    assert_eq!(bench.tells(stop(5)).ignored(), None, "its assignment is on its way");
    let late = Message::Assign { incarnation: OWN, attempt: AttemptId(5), work: Arc::new(work(None)) };
    bench.ignores(late, Ignored::Fenced);
    bench.assign(6, Some(saved(1, 100)));
    let given = bench.tells(stop(6));
    assert_eq!((given.event_kinds(), given.orders()), (vec!["halted"], vec![]), "the runtime never heard of it");
    bench.assign(7, None);
    bench.done(7);
    assert_eq!(bench.tells(stop(7)).ignored(), Some(Ignored::Over));
    assert_eq!(bench.pass(600).count("report"), 1, "what became of it is still to be answered");
    let old = Message::Stop { incarnation: Incarnation(6), attempt: AttemptId(8) };
    bench.ignores(old, Ignored::UnknownWorker);
}

#[test]
fn an_attempt_is_not_taken_while_the_table_is_full() {
    let mut bench = Bench::with(config(Knobs { leases_max: 2, ..Knobs::default() }));
    bench.request(AgentRequest::Began { incarnation: OWN });
    bench.assign(1, None);
    bench.assign(2, None);
    bench.done(2);
    let third = Message::Assign { incarnation: OWN, attempt: AttemptId(3), work: Arc::new(work(None)) };
    bench.ignores(third, Ignored::LimitReached);
    bench.received(2, Reception::Accepted);
    assert_eq!(bench.assign(3, None).kinds(), ["started"], "there is room now");
}

#[test]
fn the_end_of_an_incarnation_halts_what_runs_and_keeps_what_is_reported() {
    let mut bench = Bench::running(&[4, 5]);
    bench.done(5);
    let given = bench.request(AgentRequest::Ended);
    assert_eq!((given.event_kinds(), given.orders().len()), (vec!["halted"], 1));
    let given = bench.pass(10_000);
    assert!(given.count("report") > 3 && given.count("beat") == 0, "{:?}", given.kinds());
    bench.request(AgentRequest::Began { incarnation: Incarnation(8) });
    let old = Message::Assign { incarnation: OWN, attempt: AttemptId(6), work: Arc::new(work(None)) };
    assert_eq!(bench.tells(old).ignored(), Some(Ignored::UnknownWorker));
    let given = bench.pass(3_000);
    let reports = given.messages.iter().filter_map(|message| match message {
        AgentMessage::Task(Message::Report { incarnation, .. }) => Some(*incarnation),
        _ => None,
    });
    assert!(reports.clone().count() > 0 && reports.clone().all(|reporter| reporter == OWN), "as who it was");
    assert_eq!(bench.received(5, FENCED).event_kinds(), ["answered"]);
    assert_eq!(bench.pass(3_000).count("report"), 0);
}

#[test]
fn incarnations_only_grow() {
    let mut bench = Bench::running(&[4]);
    let began = |incarnation| AgentRequest::Began { incarnation: Incarnation(incarnation) };
    assert_eq!(bench.request(began(7)).ignored(), Some(Ignored::Stale));
    let given = bench.request(began(8));
    assert_eq!((given.event_kinds(), given.kinds()), (vec!["halted"], vec!["offer", "beat"]));
    assert_eq!(bench.agent.incarnation(), Some(Incarnation(8)));
    bench.request(AgentRequest::Ended);
    assert_eq!(bench.request(AgentRequest::Ended).ignored(), Some(Ignored::UnknownWorker));
    assert_eq!(bench.request(began(8)).ignored(), Some(Ignored::Stale));
}

#[test]
fn an_attempt_goes_on_from_what_the_store_holds() {
    let mut bench = Bench::new();
    let given = bench.assign(4, Some(saved(2, 400_000)));
    let fetch =
        StoreMessage::Fetch { task: "t".into(), attempt: AttemptId(3), seq: CheckpointSeq(2), reader: AttemptId(4) };
    assert_eq!(given.messages, [AgentMessage::Store(fetch)], "it has not begun");
    let again =
        Message::Assign { incarnation: OWN, attempt: AttemptId(4), work: Arc::new(work(Some(saved(2, 400_000)))) };
    bench.ignores(again, Ignored::UnderWay);
    assert_eq!(bench.pass(1_100).count("store_fetch"), 2);
    let fetched = |reader, checkpoint: Option<Checkpoint>| StoreMessage::Fetched {
        task: "t".into(),
        reader: AttemptId(reader),
        checkpoint: checkpoint.map(Box::new),
    };
    assert_eq!(bench.stores(fetched(5, None)).ignored(), Some(Ignored::StaleAnswer));
    let given = bench.stores(fetched(4, Some(saved(2, 400_000))));
    assert_eq!(given.event_kinds(), ["restored", "running"]);
    assert!(matches!(given.orders()[..], [RuntimeOrder::Run { from_micros: 400_000, .. }]));
    assert_eq!(given.kinds(), ["started"]);
    assert_eq!(bench.stores(fetched(4, None)).ignored(), Some(Ignored::StaleAnswer), "a copy of the answer");
    let begun = bench.save(4, 500_000);
    assert!(matches!(begun.events[..], [Event::SaveBegun { seq: CheckpointSeq(3), .. }]));
}

#[test]
fn an_attempt_fails_if_what_it_goes_on_from_is_not_there() {
    let failed = |given: &Given| match &given.events[..] {
        [Event::Reported { report: Report::Failed { kind, .. }, .. }] => *kind,
        other => panic!("one failure: {other:?}"),
    };
    for found in [None, Some(saved(2, 400_001)), Some(saved(1, 400_000))] {
        let mut bench = Bench::new();
        bench.assign(4, Some(saved(2, 400_000)));
        let given = bench.stores(StoreMessage::Fetched {
            task: "t".into(),
            reader: AttemptId(4),
            checkpoint: found.map(Box::new),
        });
        assert_eq!((failed(&given), given.kinds()), (Some(FailureKind::Unknown), vec!["report"]));
        assert!(given.orders().is_empty(), "the runtime never heard of it");
    }
    let mut bench = Bench::new();
    bench.assign(4, Some(saved(2, 400_000)));
    let given = bench.pass(60_000);
    assert_eq!(given.count("store_fetch"), FETCHES_MAX as usize - 1, "one has left before");
    assert!(given.events.iter().any(|event| matches!(
        event,
        Event::Reported { report: Report::Failed { kind: Some(FailureKind::Network), .. }, .. }
    )));
    let mut bench = Bench::with(AgentConfig { store: None, ..config(Knobs::default()) });
    bench.request(AgentRequest::Began { incarnation: OWN });
    assert_eq!(failed(&bench.assign(4, Some(saved(2, 400_000)))), Some(FailureKind::Network));
    bench.assign(5, None);
    assert_eq!(bench.save(5, 1).ignored(), Some(Ignored::NoStore));
}

#[test]
fn a_checkpoint_is_announced_once_it_is_complete_and_until_that_is_answered() {
    let mut bench = Bench::running(&[4]);
    let given = bench.save(4, 250_000);
    let (attempt, seq) = (AttemptId(4), CheckpointSeq(1));
    assert_eq!(given.events, [Event::SaveBegun { task: "t".into(), attempt, seq, progress_micros: 250_000 }]);
    assert_eq!(given.kinds(), ["store_put"; 3]);
    assert_eq!(bench.save(4, 260_000).ignored(), Some(Ignored::UnderWay));
    let given = bench.pass(1_100);
    assert_eq!((given.count("store_put"), given.count("saved")), (6, 0), "nobody hears of it yet");
    assert_eq!(bench.kept(4, 1, Reception::Accepted).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(bench.complete(4, 2).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(bench.complete(4, 1).kinds(), ["saved"]);
    assert_eq!(bench.complete(4, 1).ignored(), Some(Ignored::StaleAnswer));
    let given = bench.pass(1_100);
    assert_eq!((given.count("saved"), given.count("store_put")), (2, 0));
    assert_eq!(bench.kept(4, 2, Reception::Accepted).ignored(), Some(Ignored::StaleAnswer));
    let given = bench.kept(4, 1, Reception::AlreadyAccepted);
    assert_eq!(given.orders(), [RuntimeOrder::SaveEnded { attempt, seq, kept: true }]);
    assert_eq!(given.events, [Event::SaveEnded { task: "t".into(), attempt, seq, kept: true }]);
    assert_eq!(bench.pass(1_100).count("saved"), 0);
    assert!(matches!(bench.save(4, 300_000).events[..], [Event::SaveBegun { seq: CheckpointSeq(2), .. }]));
}

#[test]
fn a_save_that_does_not_count_ends_and_one_that_is_fenced_ends_its_attempt() {
    let attempt = AttemptId(4);
    for reason in [Ignored::Stale, Ignored::Malformed, Ignored::LimitReached] {
        let mut bench = Bench::running(&[4]);
        bench.save(4, 1);
        bench.complete(4, 1);
        let given = bench.kept(4, 1, Reception::Rejected(reason));
        assert_eq!(given.orders(), [RuntimeOrder::SaveEnded { attempt, seq: CheckpointSeq(1), kept: false }]);
        assert!(matches!(bench.save(4, 2).events[..], [Event::SaveBegun { seq: CheckpointSeq(2), .. }]));
    }
    for reason in [Ignored::Fenced, Ignored::UnknownAttempt, Ignored::WrongWorker, Ignored::UnknownTask] {
        let mut bench = Bench::running(&[4]);
        bench.save(4, 1);
        bench.complete(4, 1);
        let given = bench.kept(4, 1, Reception::Rejected(reason));
        assert_eq!((given.event_kinds(), given.orders()), (vec!["halted"], vec![RuntimeOrder::Halt { attempt }]));
    }
    let mut bench = Bench::running(&[4]);
    bench.save(4, 1);
    let (seq, reason) = (CheckpointSeq(1), StoreIgnored::Full);
    let given = bench.stores(StoreMessage::Refused { task: "t".into(), attempt, seq, reason });
    assert_eq!(given.orders(), [RuntimeOrder::SaveEnded { attempt, seq, kept: false }]);
    bench.save(4, 1_000);
    bench.complete(4, 2);
    let late = StoreMessage::Refused { task: "t".into(), attempt, seq: CheckpointSeq(2), reason };
    assert_eq!(bench.stores(late).ignored(), Some(Ignored::StaleAnswer), "a copy was refused, it is complete");
    assert_eq!(bench.save(4, 1_000_001).ignored(), Some(Ignored::UnderWay));
}

#[test]
fn a_save_ends_with_its_attempt() {
    let mut bench = Bench::running(&[4]);
    bench.save(4, 1);
    assert_eq!(bench.done(4).kinds(), ["report"]);
    assert_eq!(bench.pass(1_100).count("store_put"), 0);
    assert_eq!(bench.complete(4, 1).ignored(), Some(Ignored::StaleAnswer));
}

#[test]
fn the_store_forgets_what_nobody_goes_back_to() {
    let mut bench = Bench::with(config(Knobs { checkpoints_kept: 2, ..Knobs::default() }));
    bench.request(AgentRequest::Began { incarnation: OWN });
    bench.assign(4, Some(saved(5, 1)));
    bench.stores(StoreMessage::Fetched {
        task: "t".into(),
        reader: AttemptId(4),
        checkpoint: Some(Box::new(saved(5, 1))),
    });
    let mut deleted = Vec::new();
    for seq in 6..=8 {
        bench.save(4, seq as u32);
        bench.complete(4, seq);
        let given = bench.kept(4, seq, Reception::Accepted);
        deleted.extend(given.messages.iter().filter_map(|message| match message {
            AgentMessage::Store(StoreMessage::Delete { below, .. }) => Some((seq, below.0)),
            _ => None,
        }));
    }
    assert_eq!(deleted, [(7, 6), (8, 7)], "two are kept, the one that it went on from as long as it is one of them");
    assert_eq!(bench.pass(600).count("store_delete"), 1, "until it is answered");
    let answer = |below| StoreMessage::Deleted { task: "t".into(), below: CheckpointSeq(below) };
    assert_eq!(bench.stores(answer(6)).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(bench.stores(answer(7)).ignored(), None);
    assert_eq!(bench.pass(10_000).count("store_delete"), 0);
    bench.done(4);
    let given = bench.received(4, Reception::Accepted);
    assert_eq!(given.messages, [], "the scheduler says when the task has ended");
}

#[test]
fn that_a_task_has_ended_is_passed_on_as_often_as_it_is_said() {
    let mut bench = Bench::new();
    let (task, until) = (Text::from("t"), AttemptId(4));
    let clear = |incarnation| Message::Clear { incarnation, task: task.clone(), until };
    for _ in 0..2 {
        let passed = StoreMessage::Clear { task: task.clone(), until };
        assert_eq!(bench.tells(clear(OWN)).messages, [AgentMessage::Store(passed)]);
    }
    let answer = bench.stores(StoreMessage::Cleared { task: task.clone(), until });
    let cleared = |incarnation| AgentMessage::Task(Message::Cleared { incarnation, task: task.clone() });
    assert_eq!(answer.messages, [cleared(OWN)]);
    assert_eq!(bench.tells(clear(Incarnation(6))).ignored(), Some(Ignored::UnknownWorker));
    let mut without = Bench::with(AgentConfig { store: None, ..config(Knobs::default()) });
    without.request(AgentRequest::Began { incarnation: OWN });
    assert_eq!(without.tells(clear(OWN)).messages, [cleared(OWN)], "what is stored nowhere is nowhere");
}

#[test]
fn nothing_is_deleted_of_a_task_that_may_go_on() {
    for reception in [FENCED, Reception::Rejected(Ignored::UnknownAttempt)] {
        let mut bench = Bench::running(&[4]);
        bench.done(4);
        assert_eq!(bench.received(4, reception).kinds(), [""; 0]);
    }
    let mut bench = Bench::running(&[4]);
    bench.call(RuntimeCall::Failed { attempt: AttemptId(4), kind: None, text: "".into() });
    assert_eq!(bench.received(4, Reception::Accepted).kinds(), [""; 0]);
}

#[test]
fn who_leaves_takes_nothing_more_and_finishes_what_it_has() {
    let mut bench = Bench::running(&[4]);
    assert_eq!(bench.request(AgentRequest::Leave).kinds(), ["drain"]);
    assert_eq!(bench.request(AgentRequest::Leave).ignored(), Some(Ignored::Repeated));
    assert_eq!(bench.pass(1_100).count("drain"), 2);
    let given = bench.assign(5, None);
    let (task, attempt, progress_micros) = ("t".into(), AttemptId(5), 0);
    let report = Report::Returned;
    assert_eq!(given.events, [Event::Reported { incarnation: OWN, task, attempt, report, progress_micros }]);
    assert_eq!((given.kinds(), given.orders()), (vec!["report"], vec![]));
    bench.ignores(Message::Introduce { incarnation: OWN }, Ignored::Over);
    bench.received(5, Reception::Accepted);
    assert_eq!(bench.assign(4, None).kinds(), ["started"], "what runs goes on");
    bench.done(4);
    bench.received(4, Reception::Accepted);
    bench.ignores(Message::Drained { incarnation: Incarnation(6) }, Ignored::UnknownWorker);
    assert!(!bench.agent.has_left());
    let given = bench.tells(Message::Drained { incarnation: OWN });
    assert_eq!(given.replies, [AgentReply::Left]);
    bench.ignores(Message::Drained { incarnation: OWN }, Ignored::StaleAnswer);
    assert_eq!(bench.assign(6, None).kinds(), ["report"], "not even now");
    assert!(bench.request(AgentRequest::Ended).replies.is_empty(), "it has said so");
}

#[test]
fn who_has_nothing_to_leave_leaves_at_once() {
    let mut bench = Bench::with(config(Knobs::default()));
    assert_eq!(bench.request(AgentRequest::Leave).replies, [AgentReply::Left]);
    let mut bench = Bench::running(&[4]);
    bench.request(AgentRequest::Leave);
    let given = bench.request(AgentRequest::Ended);
    assert_eq!(given.replies, [AgentReply::Runtime(RuntimeOrder::Halt { attempt: AttemptId(4) }), AgentReply::Left]);
    assert!(bench.agent.has_left() && bench.agent.deadline().is_none());
    let mut bench = Bench::running(&[4]);
    bench.request(AgentRequest::Leave);
    let given = bench.tells(Message::Drained { incarnation: OWN });
    assert_eq!(given.replies.len(), 2, "what still runs was fenced");
}

#[test]
fn what_is_meant_for_others_is_ignored() {
    let mut bench = Bench::new();
    bench.ignores(Message::Cancel { task: "t".into() }, Ignored::WrongDirection);
    bench.ignores(Message::Drain { incarnation: OWN }, Ignored::WrongDirection);
    bench.ignores(Message::Drained { incarnation: OWN }, Ignored::StaleAnswer);
    let put = StoreMessage::Put { part: Box::new(crate::Part::new("t".into(), saved(1, 1), 0, 1)) };
    assert_eq!(bench.stores(put).ignored(), Some(Ignored::WrongDirection));
}

#[test]
fn who_lost_the_scheduler_asks_again_at_moments_of_its_own() {
    let reports = (0..50).map(|seed| {
        let mut bench =
            Bench::with(AgentConfig { seed, ..config(Knobs { beat: Span::from_secs(500), ..Knobs::default() }) });
        bench.request(AgentRequest::Began { incarnation: OWN });
        bench.tells(Message::Offered { incarnation: OWN });
        bench.assign(4, None);
        bench.done(4);
        bench.pass(60_000);
        bench.agent.duties[&AttemptId(4)].deadline().expect("it reports")
    });
    let reports: BTreeSet<Time> = reports.collect();
    assert!(reports.len() == 50, "{reports:?}");
}
