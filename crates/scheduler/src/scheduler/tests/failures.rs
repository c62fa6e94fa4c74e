//! Retries, ladders, losses, limits.

use super::*;
use crate::Strategy;

/// The waits and strategies of a task that fails again and again.
fn requeued(rig: &Rig) -> Option<(Span, Option<Strategy>)> {
    rig.events.iter().find_map(|event| match event {
        Event::Requeued { delay, strategy, .. } => Some((*delay, *strategy)),
        _ => None,
    })
}

#[test]
fn failures_wait_by_the_law_and_climb_one_ladder() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.worker(2);
    let mut lease = rig.start("a").expect("there is room");
    let mut waits = Vec::new();
    for _ in 0..3 {
        rig.fail("a", lease, FailureKind::Unknown);
        let (delay, strategy) = requeued(&rig).expect("it has retries left");
        waits.push((delay, strategy));
        rig.pass(delay.minus(Span::from_nanos(1)));
        assert!(rig.assigned().is_none(), "not before its time");
        rig.pass(Span::from_nanos(1));
        let next = rig.assigned().expect("its time has come");
        if strategy == Some(Strategy::OtherWorker) {
            assert_ne!(next.1, lease.1);
        }
        lease = next;
    }
    let steps = [Strategy::DelayedRetry, Strategy::OtherWorker, Strategy::OtherWorker];
    let delays = [5, 10, 20].map(Span::from_secs);
    assert_eq!(waits, delays.into_iter().zip(steps.map(Some)).collect::<Vec<_>>());
    rig.fail("a", lease, FailureKind::Unknown);
    assert_eq!(rig.outcome("a"), Some(Outcome::Failed(Verdict::Escalated(FailureKind::Unknown))));
}

#[test]
fn the_ladder_of_too_little_memory_degrades_what_may_be() {
    let mut rig = Rig::new(|knobs| knobs.max_retries = 4);
    rig.worker(1);
    rig.worker_with(2, HardwareClass::Gpu, HOST);
    let degradable = Degradable { batch: true, precision: true, fallback_class: Some(HardwareClass::Cpu) };
    rig.submit(TaskSpec { class: "gpu".into(), kind: TaskType::GpuTraining, degradable, ..task("a") });
    let mut lease = rig.assigned().expect("there is room");
    let mut shapes = Vec::new();
    for _ in 0..3 {
        rig.fail("a", lease, FailureKind::OutOfMemory);
        rig.pass(SECOND * 30);
        lease = rig.assigned().expect("it runs again");
        let shape = rig.scheduler.snapshot().tasks["a"].shape;
        assert_eq!(rig.scheduler.work(&"a".into()).shape, shape, "its worker is told");
        shapes.push((shape.class, shape.precision, shape.batch_size));
    }
    let (gpu, cpu) = (HardwareClass::Gpu, HardwareClass::Cpu);
    assert_eq!(shapes, [(gpu, Precision::Fp32, 4), (gpu, Precision::Fp16, 4), (cpu, Precision::Fp16, 4)]);
    assert_eq!(lease.1, Incarnation(1));
}

#[test]
fn a_task_fails_at_its_fourth_lost_worker() {
    let mut rig = Rig::new(|knobs| knobs.worker_breaker.threshold = 99);
    let mut held = rig.worker(1);
    rig.start("a").expect("there is room");
    for number in 2..=4 {
        rig.call(Call::Ended { incarnation: held, departure: Departure::Crashed });
        assert_eq!(rig.outcome("a"), None);
        held = rig.worker(number);
        assert_eq!(rig.assigned().map(|(_, incarnation)| incarnation), Some(held), "it goes on at once");
    }
    rig.call(Call::Ended { incarnation: held, departure: Departure::Disconnected });
    assert_eq!(rig.outcome("a"), Some(Outcome::Failed(Verdict::Poison)));
    assert_eq!(rig.scheduler.snapshot().tasks["a"].failures, 0, "a loss is no failure");
}

#[test]
fn the_task_of_the_last_worker_waits_for_the_next() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    rig.start("a");
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Left });
    assert_eq!(rig.scheduler.counts().queued, 1);
    assert!(rig.scheduler.waits_for().contains("no worker"), "{}", rig.scheduler.waits_for());
    let w2 = rig.worker(2);
    assert_eq!(rig.assigned().map(|(_, incarnation)| incarnation), Some(w2));
}

#[test]
fn an_attempt_that_hangs_has_failed_at_its_limit() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.submit(TaskSpec { run_limit: Some(SECOND * 9), ..task("a") });
    let lease = rig.assigned().expect("there is room");
    rig.pass((SECOND * 9).minus(Span::from_nanos(1)));
    assert!(!rig.kinds().contains(&"fenced"));
    rig.pass(Span::from_nanos(1));
    assert!(rig.kinds().contains(&"fenced") && rig.sent_kinds().contains(&(1, "stop")));
    assert_eq!(requeued(&rig), Some((rig.knobs.tick, Some(Strategy::RetryAtOnce))));
    assert_eq!(rig.succeed("a", lease), Reception::Rejected(Ignored::Fenced));
}

#[test]
fn retries_keep_to_their_budget_and_new_tasks_do_not() {
    let mut rig = Rig::new(|knobs| {
        knobs.retry_budget.floor = 2;
        knobs.type_breaker.threshold = 999;
    });
    rig.worker_with(1, HardwareClass::Cpu, Resources { cpu_millis: 99_000, memory_mib: 999_999, ..HOST });
    let ids: Vec<_> = (0..6).map(|number| format!("t{number}")).collect();
    let leases: Vec<_> = ids.iter().map(|id| rig.start(id).expect("there is room")).collect();
    for (id, lease) in ids.iter().zip(leases) {
        rig.fail(id, lease, FailureKind::Network);
    }
    rig.pass(SECOND);
    let retries = rig.kinds().iter().filter(|kind| **kind == "assigned").count();
    assert_eq!(retries, 2);
    assert!(rig.scheduler.waits_for().contains("retries"), "{}", rig.scheduler.waits_for());
    assert!(rig.start("new").is_some());
    rig.pass(SECOND * 21);
    let retries = rig.kinds().iter().filter(|kind| **kind == "assigned").count();
    assert_eq!(retries, 4);
}

#[test]
fn a_wait_goes_on_after_a_restart() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.fail("a", lease, FailureKind::Unknown);
    rig.pass(SECOND * 2);
    rig.restart();
    rig.call(Call::Began { worker: worker(1), incarnation: w1 });
    let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources: HOST });
    rig.say(1, Message::Offer { incarnation: w1, offer });
    // The clock is written every 10 s, so what was waited is waited again, and never less than was promised.
    rig.pass((SECOND * 5).minus(Span::from_nanos(1)));
    assert!(rig.assigned().is_none());
    rig.pass(Span::from_nanos(1));
    assert!(rig.assigned().is_some());
}

#[test]
fn a_move_takes_no_room_from_retries() {
    let mut rig = Rig::new(|knobs| {
        knobs.retry_budget.floor = 2;
        knobs.retry.base = SECOND;
    });
    rig.worker(1);
    rig.worker(2);
    let lease = rig.start("a").expect("there is room");
    rig.fail("a", lease, FailureKind::Network);
    rig.pass(SECOND);
    assert!(rig.assigned().is_some(), "the first retry");
    rig.call(Call::Migrate { task: "a".into() });
    let moved = rig.assigned().expect("there is room elsewhere");
    rig.fail("a", moved, FailureKind::Evaluation);
    rig.pass(SECOND * 4);
    assert!(rig.assigned().is_some(), "the second one, within the same window");
}

#[test]
fn a_move_of_a_task_that_has_failed_is_no_retry() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.worker(2);
    let lease = rig.start("a").expect("there is room");
    rig.fail("a", lease, FailureKind::Unknown);
    rig.pass(Span::from_secs(5));
    assert!(rig.assigned().is_some(), "its time has come");
    rig.call(Call::Migrate { task: "a".into() });
    assert!(rig.assigned().is_some(), "there is room elsewhere");
    let statistics = rig.scheduler.statistics(rig.now);
    assert_eq!((statistics.starts, statistics.retries, statistics.migrations), (3, 1, 1));
}
