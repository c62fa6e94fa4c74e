//! Submission, assignment, reports, fences, cancelling, draining.

use super::*;

#[test]
fn a_task_is_admitted_assigned_and_done_once() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    assert_eq!(lease, (AttemptId(1), w1));
    assert_eq!(rig.sent_kinds(), [(CLIENT, "admitted"), (1, "assign")]);
    rig.say(1, Message::Started { incarnation: w1, task: "a".into(), attempt: lease.0 });
    assert_eq!(rig.kinds(), ["started"]);
    assert_eq!(rig.succeed("a", lease), Reception::Accepted);
    assert_eq!(rig.outcome("a"), Some(Outcome::Succeeded { attempt: lease.0, result: Arc::from([1]) }));
    assert_eq!(rig.succeed("a", lease), Reception::AlreadyAccepted);
    assert_eq!(rig.kinds(), ["report_rejected"], "a repeat changes nothing");
}

#[test]
fn submitting_again_changes_nothing_and_another_task_of_that_name_is_refused() {
    let mut rig = Rig::new(|_| {});
    rig.submit(task("a"));
    rig.submit(task("a"));
    assert_eq!((rig.sent_kinds(), rig.ignored()), ([(CLIENT, "admitted")].into(), [Ignored::Repeated].into()));
    rig.submit(TaskSpec { priority: 1, ..task("a") });
    assert_eq!(rig.sent, [(Address(CLIENT), refused("a", TaskRefusal::IdTaken))]);
    assert_eq!(rig.scheduler.counts().submitted, 1);
}

fn refused(id: &str, refusal: TaskRefusal) -> Message {
    Message::Declined { task: id.into(), refusal }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut rig = Rig::new(|knobs| (knobs.payload_bytes_max, knobs.queued_max) = (4, 1));
    let none = Resources::default();
    for (spec, refusal) in [
        (TaskSpec { class: "abacus".into(), ..task("a") }, TaskRefusal::UnknownClass),
        (TaskSpec { resources: none, ..task("a") }, TaskRefusal::Malformed),
        (TaskSpec { batch_size: 0, ..task("a") }, TaskRefusal::Malformed),
        (TaskSpec { deadline: Some(Span::MAX), ..task("a") }, TaskRefusal::Malformed),
        (TaskSpec { run_limit: Some(Span::ZERO), ..task("a") }, TaskRefusal::Malformed),
        (TaskSpec { slack_millis: Some(1_499), ..task("a") }, TaskRefusal::Malformed),
        (TaskSpec { payload: Arc::from([0; 5]), ..task("a") }, TaskRefusal::TooLong),
    ] {
        rig.submit(spec);
        assert_eq!(rig.sent, [(Address(CLIENT), refused("a", refusal))]);
    }
    rig.submit(task("a"));
    rig.submit(task("b"));
    assert_eq!(rig.sent, [(Address(CLIENT), refused("b", TaskRefusal::QueueFull))]);
    assert_eq!(rig.scheduler.counts().known, 1);
}

#[test]
fn an_assignment_is_repeated_until_it_is_answered_and_stays_one_attempt() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.pass(SECOND);
    assert_eq!(rig.sent_kinds(), [(1, "assign"), (1, "assign")]);
    assert!(rig.assigned().is_none());
    rig.say(1, Message::Started { incarnation: w1, task: "a".into(), attempt: lease.0 });
    rig.pass(SECOND);
    assert_eq!(rig.sent_kinds(), []);
    rig.say(1, Message::Started { incarnation: w1, task: "a".into(), attempt: lease.0 });
    assert_eq!(rig.ignored(), [Ignored::Repeated]);
}

#[test]
fn a_report_that_overtakes_the_acknowledgement_counts() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    assert_eq!(rig.succeed("a", lease), Reception::Accepted);
    assert_eq!(rig.kinds()[..2], ["started", "report_accepted"]);
    rig.say(1, Message::Started { incarnation: lease.1, task: "a".into(), attempt: lease.0 });
    assert_eq!(rig.ignored(), [Ignored::Repeated]);
    rig.pass(SECOND);
    assert_eq!(rig.sent_kinds(), [], "nobody is asked about it again");
}

#[test]
fn a_lost_workers_tasks_go_on_elsewhere_and_its_reports_count_nothing() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    let w2 = rig.worker(2);
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Disconnected });
    let next = rig.assigned().expect("the other one has room");
    assert_eq!(next, (AttemptId(2), w2));
    let before = rig.scheduler.clone();
    let reception = rig.report("a", lease, Report::Succeeded { result: Arc::from([]) });
    assert_eq!(reception, Reception::Rejected(Ignored::Fenced));
    assert_eq!(rig.scheduler, before, "no side effect");
    assert_eq!(rig.succeed("a", next), Reception::Accepted);
}

#[test]
fn another_workers_attempt_is_not_ones_own() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let w2 = rig.worker(2);
    let (attempt, _) = rig.start("a").expect("there is room");
    assert_eq!(rig.succeed("a", (attempt, w2)), Reception::Rejected(Ignored::WrongWorker));
    assert_eq!(rig.succeed("b", (attempt, w2)), Reception::Rejected(Ignored::UnknownTask));
    assert_eq!(rig.succeed("a", (AttemptId(9), w2)), Reception::Rejected(Ignored::UnknownAttempt));
    assert_eq!(rig.outcome("a"), None);
}

#[test]
fn a_beat_without_an_assignment_on_its_way_takes_nothing_back_and_a_fenced_one_in_it_is_stopped() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    let beat = |seq, running: &[(AttemptId, u32)]| Message::Beat {
        incarnation: w1,
        seq,
        vitals: Vitals::default(),
        running: Arc::from(running),
    };
    rig.say(1, beat(1, &[]));
    assert_eq!((rig.kinds(), rig.sent_kinds()), ([].into(), [].into()));
    rig.say(1, beat(1, &[]));
    assert_eq!(rig.ignored(), [Ignored::Stale]);
    rig.say(1, beat(2, &[(lease.0, 10), (AttemptId(77), 0)]));
    assert_eq!(rig.sent, [(Address(1), Message::Stop { incarnation: w1, attempt: AttemptId(77) })]);
}

#[test]
fn cancelling_is_final() {
    let mut rig = Rig::new(|_| {});
    rig.say(CLIENT, Message::Cancel { task: "a".into() });
    assert_eq!(rig.sent, [(Address(CLIENT), cancelled("a", Standing::Unknown))]);
    rig.submit(task("a"));
    for _ in 0..2 {
        rig.say(CLIENT, Message::Cancel { task: "a".into() });
        assert_eq!(rig.sent, [(Address(CLIENT), cancelled("a", Standing::Ended(Outcome::Cancelled)))]);
    }
    let w1 = rig.worker(1);
    assert!(rig.assigned().is_none());
    let lease = rig.start("b").expect("there is room");
    rig.say(CLIENT, Message::Cancel { task: "b".into() });
    assert!(rig.sent_kinds().contains(&(1, "stop")));
    assert_eq!(rig.succeed("b", lease), Reception::Rejected(Ignored::Fenced));
    assert_eq!(rig.outcome("b"), Some(Outcome::Cancelled));
    assert!(rig.scheduler.status(rig.now).workers[0].leases.is_empty(), "{w1} is free again");
}

fn cancelled(id: &str, standing: Standing) -> Message {
    Message::CancelAnswer { task: id.into(), standing }
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs() {
    let mut rig = Rig::new(|_| {});
    let soon = |id| TaskSpec { deadline: Some(SECOND * 10), ..task(id) };
    rig.submit(TaskSpec { class: "tpu".into(), ..soon("a") });
    rig.worker(1);
    rig.submit(soon("b"));
    let lease = rig.assigned().expect("there is room");
    rig.pass(SECOND * 10);
    for id in ["a", "b"] {
        assert_eq!(rig.outcome(id), Some(Outcome::Failed(Verdict::Deadline)), "{id}");
    }
    assert_eq!(rig.succeed("b", lease), Reception::Rejected(Ignored::Fenced));
}

#[test]
fn a_draining_worker_gets_nothing_and_leaves_when_it_holds_nothing() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.say(1, Message::Drain { incarnation: w1 });
    assert_eq!(rig.sent_kinds(), []);
    assert!(rig.start("b").is_none());
    rig.succeed("a", lease);
    assert!(rig.sent_kinds().contains(&(1, "drained")));
    rig.say(1, Message::Drain { incarnation: w1 });
    assert_eq!(rig.sent_kinds(), [(1, "drained")], "the answer was lost");
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Left });
    assert!(rig.scheduler.status(rig.now).workers.is_empty());
}

#[test]
fn what_a_leaving_worker_gives_back_is_charged_to_nobody() {
    let mut rig = Rig::new(|_| {});
    for round in 0..10 {
        let incarnation = rig.worker(1 + round);
        let lease = if round == 0 { rig.start("a") } else { rig.assigned() }.expect("there is room");
        if round % 2 == 0 {
            assert_eq!(rig.report("a", lease, Report::Returned), Reception::Accepted);
            rig.say(incarnation.0, Message::Drain { incarnation });
        }
        rig.call(Call::Ended { incarnation, departure: Departure::Left });
    }
    assert_eq!(rig.outcome("a"), None);
    let task = &rig.scheduler.snapshot().tasks["a"];
    assert_eq!((task.failures, task.losses), (0, 0));
}

#[test]
fn after_a_restart_the_attempt_goes_on_and_nothing_is_numbered_twice() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.submit(TaskSpec { class: "tpu".into(), ..task("b") });
    rig.restart();
    rig.call(Call::Began { worker: worker(1), incarnation: w1 });
    assert!(rig.assigned().is_none());
    assert_eq!(rig.start("c"), None, "nobody knows where the worker is reached");
    let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources: HOST });
    rig.say(1, Message::Offer { incarnation: w1, offer });
    rig.pass(SECOND);
    assert!(rig.sent_kinds().contains(&(1, "assign")), "perhaps it was never sent");
    assert_eq!(rig.assigned().map(|(attempt, _)| attempt), Some(AttemptId(2)));
    assert_eq!(rig.succeed("a", lease), Reception::Accepted);
    rig.restart();
    assert_eq!(rig.succeed("a", lease), Reception::AlreadyAccepted);
}

#[test]
fn what_has_ended_is_forgotten_oldest_first() {
    let mut rig = Rig::new(|knobs| knobs.terminal_kept = 2);
    rig.worker(1);
    for id in ["a", "b", "c"] {
        let lease = rig.start(id).expect("there is room");
        rig.succeed(id, lease);
    }
    assert_eq!((rig.outcome("a").is_none(), rig.outcome("b").is_some()), (true, true));
    let asked = [Text::from("a"), "c".into()];
    rig.say(CLIENT, Message::Poll { tasks: Arc::from(asked) });
    let [(_, Message::Standings { tasks })] = &rig.sent[..] else { panic!("{:?}", rig.sent) };
    assert!(matches!(tasks[..], [(_, Standing::Unknown), (_, Standing::Ended(Outcome::Succeeded { .. }))]));
}

#[test]
fn who_gives_work_back_gets_no_more() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    assert_eq!(rig.report("a", lease, Report::Returned), Reception::Accepted);
    assert!(rig.assigned().is_none() && rig.kinds().contains(&"draining"));
    rig.pass(SECOND);
    assert_eq!(rig.scheduler.counts().queued, 1);
}

#[test]
fn a_result_that_is_too_long_is_a_failure() {
    let mut rig = Rig::new(|knobs| (knobs.result_bytes_max, knobs.max_retries) = (4, 0));
    rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.report("a", lease, Report::Succeeded { result: Arc::from([0; 5]) });
    assert_eq!(rig.outcome("a"), Some(Outcome::Failed(Verdict::Escalated(FailureKind::Unknown))));
    let lease = rig.start("b").expect("there is room");
    assert_eq!(rig.report("b", lease, Report::Succeeded { result: Arc::from([0; 4]) }), Reception::Accepted);
    assert!(matches!(rig.outcome("b"), Some(Outcome::Succeeded { .. })));
}

#[test]
fn a_process_that_starts_again_tells_what_it_found() {
    let mut rig = Rig::new(|_| {});
    rig.restart();
    assert_eq!(rig.kinds(), Vec::<&str>::new(), "nothing");
    let w1 = rig.worker(1);
    let ended = rig.start("a").expect("there is room");
    rig.succeed("a", ended);
    let (attempt, _) = rig.start("b").expect("there is room");
    rig.submit(TaskSpec { class: "gpu".into(), ..task("c") });
    rig.restart();
    assert_eq!(
        rig.kinds(),
        ["worker_recalled", "task_recalled", "task_recalled", "tasks_recovered", "reserved", "held"]
    );
    let [Event::WorkerRecalled { incarnation, .. }, Event::TaskRecalled { task: b }, _, recovered, ..] =
        &rig.events[..]
    else {
        panic!("{:?}", rig.events)
    };
    assert_eq!(*incarnation, w1);
    assert!(matches!(&b.state, crate::TaskState::Leased(lease) if lease.attempt == attempt));
    assert!(
        matches!(recovered, Event::Recovered { submitted: 3, ended: 1, attempt: newest, .. } if *newest == attempt)
    );
}

#[test]
fn a_task_is_refused_under_its_whole_name_and_an_endless_name_is_not_repeated() {
    let mut rig = Rig::new(|knobs| (knobs.text_bytes_max, knobs.payload_bytes_max) = (100, 4));
    let long = "n".repeat(100);
    rig.submit(TaskSpec { payload: Arc::from([0; 5]), ..task(&long) });
    assert_eq!(rig.sent, [(Address(CLIENT), refused(&long, TaskRefusal::TooLong))]);
    rig.submit(task(&"n".repeat(101)));
    assert_eq!((rig.sent_kinds(), rig.ignored()), ([].into(), [Ignored::TooLong].into()));
}
