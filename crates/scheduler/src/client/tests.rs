//! A client on a bench: its tests say what the scheduler says.

use super::*;
use crate::{AttemptId, Degradable, Precision, Resources, TaskType, Verdict};
use alloc::format;
use alloc::vec;
use proptest::prelude::*;
use squall_machine::{Durable, Kind, Outbox, Released};

const SCHEDULER: Address = Address(1);

struct Bench {
    client: TaskClient,
    now: Time,
}

#[derive(Default, Debug)]
struct Given {
    messages: Vec<Message>,
    events: Vec<Event>,
    replies: Vec<ClientReply>,
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

    fn count(&self, kind: &str) -> usize {
        self.kinds().iter().filter(|sent| **sent == kind).count()
    }
}

fn spec(id: &str) -> Arc<TaskSpec> {
    Arc::new(TaskSpec {
        id: id.into(),
        kind: TaskType::Mixed,
        class: "cpu".into(),
        resources: Resources { cpu_millis: 1, ..Resources::default() },
        capabilities: BTreeSet::new(),
        priority: 0,
        payload: [].into(),
        max_retries: None,
        deadline: None,
        run_limit: None,
        checkpoint_interval: None,
        batch_size: 1,
        precision: Precision::Fp32,
        degradable: Degradable::default(),
        slack_millis: None,
    })
}

fn config() -> ClientConfig {
    ClientConfig {
        scheduler: SCHEDULER,
        poll: Span::from_secs(2),
        open_max: 3,
        return_spread: Span::from_secs(2),
        seed: 42,
        knobs: Arc::new(Knobs::default()),
    }
}

impl Bench {
    fn new(config: ClientConfig) -> Self {
        let mut bench = Self { client: TaskClient::new(config), now: Time::ZERO + Span::from_secs(100) };
        bench.step(Input::Boot(Durable::empty()));
        assert_eq!(bench.client.deadline(), None, "nothing is asked yet");
        bench
    }

    /// A client whose task `t` is admitted.
    fn admitted() -> Self {
        let mut bench = Self::new(config());
        assert_eq!(bench.submit("t").kinds(), ["submit"]);
        bench.hear(Message::Admitted { task: "t".into() });
        bench
    }

    fn step(&mut self, input: Input<TaskClient>) -> Given {
        let (mut effects, mut given) = (Effects::new(), Given::default());
        self.client.step(self.now, input, &mut effects);
        self.client.assert_invariants();
        assert!(self.client.deadline().is_none_or(|due| due > self.now), "no work is left for this instant");
        let batch = Outbox::new().drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => {
                assert_eq!(to, SCHEDULER, "clients speak to the scheduler only");
                given.messages.push(message);
            }
            Released::Reply(reply) => given.replies.push(reply),
            Released::Event { event, .. } => given.events.push(event),
        });
        assert!(batch.is_none(), "nothing is recorded");
        given
    }

    fn hear(&mut self, message: Message) -> Given {
        self.step(Input::Receive { from: SCHEDULER, message })
    }

    fn submit(&mut self, id: &str) -> Given {
        self.step(Input::Request(ClientRequest::Submit(spec(id))))
    }

    fn cancel(&mut self, id: &str) -> Given {
        self.step(Input::Request(ClientRequest::Cancel(id.into())))
    }

    fn standings(&mut self, standing: Standing) -> Given {
        self.hear(Message::Standings { tasks: [("t".into(), standing)].into() })
    }

    fn cancel_answer(&mut self, standing: Standing) -> Given {
        self.hear(Message::CancelAnswer { task: "t".into(), standing })
    }

    fn pass(&mut self, millis: u64) -> Given {
        let until = self.now + Span::from_millis(millis);
        let mut all = Given::default();
        while let Some(due) = self.client.deadline().filter(|due| *due <= until) {
            self.now = due;
            let given = self.step(Input::Wake);
            all.messages.extend(given.messages);
            all.events.extend(given.events);
            all.replies.extend(given.replies);
        }
        self.now = until;
        all
    }
}

fn lost() -> Outcome {
    Outcome::Failed(Verdict::Poison)
}

fn task() -> Text {
    "t".into()
}

#[test]
fn a_submission_is_repeated_until_it_is_answered() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.submit("t").messages, [Message::Submit { spec: spec("t") }]);
    assert_eq!(bench.pass(1_100).count("submit"), 2);
    assert_eq!(bench.submit("t").ignored(), Some(Ignored::Repeated));
    let given = bench.hear(Message::Admitted { task: task() });
    assert_eq!(given.events, [Event::Acknowledged { task: task() }]);
    assert_eq!(given.replies, [ClientReply::Admitted { task: task() }]);
    assert_eq!(bench.pass(10_000).count("submit"), 0);
    assert_eq!(bench.hear(Message::Admitted { task: task() }).ignored(), Some(Ignored::StaleAnswer));
    let late = Message::Declined { task: task(), refusal: TaskRefusal::QueueFull };
    assert_eq!(bench.hear(late).ignored(), Some(Ignored::StaleAnswer), "an older copy was refused");
}

#[test]
fn a_refused_task_is_left_to_its_user() {
    let mut bench = Bench::new(config());
    bench.submit("t");
    let refusal = TaskRefusal::QueueFull;
    let given = bench.hear(Message::Declined { task: task(), refusal });
    assert_eq!(given.events, [Event::Denied { task: task(), refusal }]);
    assert_eq!(given.replies, [ClientReply::Declined { task: task(), refusal }]);
    assert!(bench.client.deadline().is_none() && bench.client.open() == 0);
    assert_eq!(bench.submit("t").kinds(), ["submit"]);
}

#[test]
fn requests_that_cannot_be_taken_are_refused_on_the_spot() {
    let mut bench = Bench::new(config());
    let refused = |given: Given, refusal, reason| {
        assert!(matches!(given.replies[..], [ClientReply::Refused { refusal: told, .. }] if told == refusal));
        assert_eq!((given.ignored(), given.messages), (Some(reason), vec![]));
    };
    refused(bench.submit(""), ClientRefusal::BadId, Ignored::TooLong);
    refused(bench.cancel(&"x".repeat(1_025)), ClientRefusal::BadId, Ignored::TooLong);
    for id in ["a", "b", "c"] {
        bench.submit(id);
    }
    refused(bench.submit("d"), ClientRefusal::TooManyOpen, Ignored::LimitReached);
    refused(bench.cancel("d"), ClientRefusal::TooManyOpen, Ignored::LimitReached);
    let other = Arc::new(TaskSpec { priority: 9, ..TaskSpec::clone(&spec("a")) });
    refused(bench.step(Input::Request(ClientRequest::Submit(other))), ClientRefusal::IdTaken, Ignored::UnderWay);
    bench.hear(Message::Admitted { task: "a".into() });
    refused(bench.submit("a"), ClientRefusal::IdTaken, Ignored::UnderWay);
}

#[test]
fn admitted_tasks_are_followed_until_they_end() {
    let mut bench = Bench::admitted();
    let given = bench.pass(10_000);
    assert!((4..=5).contains(&given.count("poll")), "every two seconds: {:?}", given.kinds());
    for standing in [Standing::Waiting, Standing::Running { attempt: AttemptId(1) }] {
        assert_eq!(bench.standings(standing).event_kinds(), [""; 0]);
    }
    let given = bench.standings(Standing::Ended(lost()));
    assert_eq!(given.events, [Event::Learned { task: task(), outcome: lost() }]);
    assert_eq!(given.replies, [ClientReply::Ended { task: task(), outcome: lost() }]);
    assert_eq!(bench.client.deadline(), None, "there is nothing left to ask");
    assert_eq!(bench.standings(Standing::Ended(lost())).ignored(), Some(Ignored::StaleAnswer));
}

#[test]
fn an_admitted_task_that_nobody_knows_is_missing() {
    let mut bench = Bench::admitted();
    let given = bench.standings(Standing::Unknown);
    assert_eq!(given.events, [Event::Missing { task: task() }]);
    assert_eq!(given.replies, [ClientReply::Missing { task: task() }]);
    let mut bench = Bench::new(config());
    bench.submit("t");
    let given = bench.standings(Standing::Unknown);
    assert_eq!(given.ignored(), Some(Ignored::StaleAnswer), "it isn't promised yet");
}

#[test]
fn many_tasks_are_asked_about_in_several_questions() {
    let knobs = Arc::new(Knobs { poll_max: 2, ..Knobs::default() });
    let mut bench = Bench::new(ClientConfig { knobs, ..config() });
    for id in ["a", "b", "c"] {
        bench.submit(id);
        bench.hear(Message::Admitted { task: id.into() });
    }
    let given = bench.pass(2_000);
    let asked = given.messages.iter().map(|message| match message {
        Message::Poll { tasks } => tasks.to_vec(),
        other => panic!("only questions: {other:?}"),
    });
    assert_eq!(asked.collect::<Vec<_>>(), [vec![Text::from("a"), "b".into()], vec!["c".into()]]);
    let many: Vec<(Text, Standing)> = ["a", "b", "c"].iter().map(|id| ((*id).into(), Standing::Waiting)).collect();
    assert_eq!(bench.hear(Message::Standings { tasks: many.into() }).ignored(), Some(Ignored::TooLong));
}

#[test]
fn a_cancellation_is_repeated_until_it_is_answered() {
    let mut bench = Bench::admitted();
    assert_eq!(bench.cancel("t").kinds(), ["cancel"]);
    assert_eq!(bench.cancel("t").ignored(), Some(Ignored::Repeated));
    assert!(bench.pass(1_100).count("cancel") == 2);
    assert_eq!(bench.cancel_answer(Standing::Waiting).ignored(), Some(Ignored::Malformed));
    let standing = Standing::Ended(Outcome::Cancelled);
    let given = bench.cancel_answer(standing.clone());
    let learned = Event::Learned { task: task(), outcome: Outcome::Cancelled };
    assert_eq!(given.events, [Event::CancelAnswered { task: task(), standing: standing.clone() }, learned]);
    assert_eq!(given.replies[0], ClientReply::Cancelled { task: task(), standing: standing.clone() });
    assert_eq!(bench.client.deadline(), None);
    assert_eq!(bench.cancel_answer(standing).ignored(), Some(Ignored::StaleAnswer));
}

#[test]
fn a_cancellation_never_overtakes_the_submission() {
    let mut bench = Bench::new(config());
    bench.submit("t");
    assert_eq!(bench.cancel("t").kinds(), [""; 0]);
    assert_eq!(bench.cancel_answer(Standing::Unknown).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(bench.pass(1_100).count("cancel"), 0);
    assert_eq!(bench.hear(Message::Admitted { task: task() }).kinds(), ["cancel"]);
    let mut bench = Bench::new(config());
    bench.submit("t");
    bench.cancel("t");
    let given = bench.hear(Message::Declined { task: task(), refusal: TaskRefusal::QueueFull });
    assert_eq!(given.replies[1], ClientReply::Cancelled { task: task(), standing: Standing::Unknown });
    assert_eq!((given.kinds(), bench.client.open()), (vec![], 0), "what was never taken needs no cancelling");
}

#[test]
fn a_cancellation_is_answered_also_if_the_task_ends_first() {
    let mut bench = Bench::admitted();
    bench.cancel("t");
    let given = bench.standings(Standing::Ended(lost()));
    assert_eq!(given.event_kinds(), ["learned"]);
    assert!(bench.pass(600).count("cancel") == 1, "its user waits for an answer");
    let given = bench.cancel_answer(Standing::Ended(lost()));
    assert_eq!((given.event_kinds(), bench.client.open()), (vec!["cancel_answered"], 0), "its end was told");
}

#[test]
fn a_task_of_somebody_else_can_be_cancelled() {
    let mut bench = Bench::new(config());
    assert_eq!(bench.cancel("t").kinds(), ["cancel"]);
    let given = bench.cancel_answer(Standing::Unknown);
    assert_eq!((given.event_kinds(), bench.client.open()), (vec!["cancel_answered"], 0));
    bench.cancel("t");
    assert_eq!(bench.submit("t").kinds(), ["submit"]);
    assert_eq!(bench.cancel_answer(Standing::Unknown).ignored(), Some(Ignored::StaleAnswer), "of before");
    assert_eq!(bench.hear(Message::Admitted { task: task() }).kinds(), ["cancel"]);
    assert_eq!(bench.cancel_answer(Standing::Unknown).ignored(), Some(Ignored::StaleAnswer), "of before, too");
    bench.standings(Standing::Unknown);
    assert_eq!(bench.cancel_answer(Standing::Unknown).event_kinds(), ["cancel_answered"], "it is missing");
}

#[test]
fn what_is_meant_for_others_is_ignored() {
    let mut bench = Bench::admitted();
    let received = Message::Received { attempt: AttemptId(1), reception: crate::Reception::Accepted };
    assert_eq!(bench.hear(received).ignored(), Some(Ignored::WrongDirection));
    assert_eq!(bench.hear(Message::Poll { tasks: [task()].into() }).ignored(), Some(Ignored::WrongDirection));
}

/// What the naive scheduler of the play knows of a task.
#[derive(Clone, Debug, Default)]
struct Known {
    admitted: bool,
    outcome: Option<Outcome>,
}

#[derive(Clone, Debug)]
enum Op {
    Submit { task: usize },
    Cancel { task: usize },
    End { task: usize },
    Deliver { pick: usize },
    Lose { pick: usize },
    Copy { pick: usize },
    Pass { millis: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (task, pick) = (0..4_usize, 0..16_usize);
    let op = prop_oneof![
        3 => task.clone().prop_map(|task| Op::Submit { task }),
        2 => task.clone().prop_map(|task| Op::Cancel { task }),
        2 => task.prop_map(|task| Op::End { task }),
        12 => pick.clone().prop_map(|pick| Op::Deliver { pick }),
        2 => pick.clone().prop_map(|pick| Op::Lose { pick }),
        3 => pick.prop_map(|pick| Op::Copy { pick }),
        4 => (1..3_000_u64).prop_map(|millis| Op::Pass { millis }),
    ];
    proptest::collection::vec(op, 0..120)
}

/// A client and a naive scheduler that refuses the first copy of every second task.
struct Play {
    bench: Bench,
    known: [Known; 4],
    refused: [bool; 4],
    /// In flight: to the client, or else to the scheduler.
    flights: Vec<(bool, Message)>,
    /// What the user was told, and waits for.
    told: Vec<ClientReply>,
    submits: usize,
    cancels: usize,
}

fn name(task: usize) -> Text {
    format!("t{task}").into()
}

impl Play {
    fn note(&mut self, given: Given) {
        self.told.extend(given.replies);
        self.flights.extend(given.messages.into_iter().map(|message| (false, message)));
    }

    fn standing(&self, task: usize) -> Standing {
        match &self.known[task] {
            Known { admitted: false, .. } => Standing::Unknown,
            Known { outcome: Some(outcome), .. } => Standing::Ended(outcome.clone()),
            Known { outcome: None, .. } => Standing::Waiting,
        }
    }

    fn deliver(&mut self, (to_client, message): (bool, Message)) {
        if to_client {
            let given = self.bench.hear(message);
            return self.note(given);
        }
        let number = |task: &Text| (0..4).find(|number| name(*number) == *task).expect("one of four");
        let answer = match message {
            Message::Submit { spec } => {
                let task = number(&spec.id);
                if task % 2 == 1 && !core::mem::replace(&mut self.refused[task], true) {
                    Message::Declined { task: name(task), refusal: TaskRefusal::QueueFull }
                } else {
                    self.known[task].admitted = true;
                    Message::Admitted { task: name(task) }
                }
            }
            Message::Cancel { task } => {
                let known = &mut self.known[number(&task)];
                if known.admitted && known.outcome.is_none() {
                    known.outcome = Some(Outcome::Cancelled);
                }
                Message::CancelAnswer { standing: self.standing(number(&task)), task }
            }
            Message::Poll { tasks } => {
                let tasks = tasks.iter().map(|task| (task.clone(), self.standing(number(task))));
                Message::Standings { tasks: tasks.collect() }
            }
            other => panic!("not for a scheduler: {other:?}"),
        };
        self.flights.push((true, answer));
    }

    fn play(&mut self, op: Op) {
        let in_flight = self.flights.len();
        match op {
            Op::Submit { task } => {
                let given = self.bench.submit(&name(task));
                self.submits += usize::from(given.ignored() != Some(Ignored::Repeated));
                self.note(given);
            }
            Op::Cancel { task } => {
                let given = self.bench.cancel(&name(task));
                self.cancels += usize::from(given.ignored() != Some(Ignored::Repeated));
                self.note(given);
            }
            Op::End { task } => {
                if self.known[task].admitted && self.known[task].outcome.is_none() {
                    self.known[task].outcome = Some(lost());
                }
            }
            Op::Deliver { pick } if in_flight > 0 => {
                let flight = self.flights.remove(pick % in_flight);
                self.deliver(flight);
            }
            Op::Lose { pick } if in_flight > 0 => {
                self.flights.remove(pick % in_flight);
            }
            Op::Copy { pick } if in_flight > 0 => self.flights.push(self.flights[pick % in_flight].clone()),
            Op::Deliver { .. } | Op::Lose { .. } | Op::Copy { .. } => {}
            Op::Pass { millis } => {
                let given = self.bench.pass(millis);
                self.note(given);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every request of the user is answered once, and each admission is followed by the outcome that the scheduler knows.
    #[test]
    fn each_request_is_answered_once_and_each_end_is_told(ops in ops()) {
        let mut play = Play {
            bench: Bench::new(config()),
            known: Default::default(),
            refused: [false; 4],
            flights: Vec::new(),
            told: Vec::new(),
            submits: 0,
            cancels: 0,
        };
        for op in ops {
            play.play(op);
        }
        for _ in 0..20 {
            for flight in core::mem::take(&mut play.flights) {
                play.deliver(flight);
            }
            (0..4).for_each(|task| play.play(Op::End { task }));
            let given = play.bench.pass(1_000);
            play.note(given);
        }
        prop_assert_eq!(play.bench.client.open(), 0);
        let count = |matches: fn(&ClientReply) -> bool| play.told.iter().filter(|reply| matches(reply)).count();
        let refused = count(|reply| matches!(reply, ClientReply::Refused { .. }));
        let admitted = count(|reply| matches!(reply, ClientReply::Admitted { .. }));
        let declined = count(|reply| matches!(reply, ClientReply::Declined { .. }));
        let cancelled = count(|reply| matches!(reply, ClientReply::Cancelled { .. }));
        let ended = count(|reply| matches!(reply, ClientReply::Ended { .. }));
        prop_assert_eq!(admitted + declined + cancelled + refused, play.submits + play.cancels);
        prop_assert_eq!(admitted, ended);
        for reply in &play.told {
            match reply {
                ClientReply::Ended { task, outcome } => {
                    let known = (0..4).find(|number| name(*number) == *task).map(|number| &play.known[number]);
                    prop_assert_eq!(known.and_then(|known| known.outcome.as_ref()), Some(outcome));
                }
                ClientReply::Missing { .. } => prop_assert!(false, "nothing that was admitted is forgotten"),
                ClientReply::Admitted { .. }
                | ClientReply::Declined { .. }
                | ClientReply::Refused { .. }
                | ClientReply::Cancelled { .. } => {}
            }
        }
    }
}
