//! Self-healing: what is observed changes settings, and every change is told, kept and followed.

use super::*;
use crate::{Adaptable, AdaptationReason, Adapted, Blame, BreakerBounds, Setting, Strategy, Tally};

/// Judges by four results.
fn healing(knobs: &mut Knobs) {
    knobs.self_healing = true;
    knobs.adaptation.sample = 4;
    knobs.patterns.failures = 1_000;
}

/// Tasks that aren't retried fail, one after the other.
fn fail_each(rig: &mut Rig, ids: core::ops::Range<u32>) -> Vec<Event> {
    let mut events = Vec::new();
    for id in ids {
        let id = format!("f{id}");
        rig.submit(TaskSpec { max_retries: Some(0), ..task(&id) });
        let lease = rig.assigned().expect("there is room");
        rig.fail(&id, lease, FailureKind::Evaluation);
        events.append(&mut rig.events);
    }
    events
}

fn changes(events: &[Event]) -> Vec<(Adapted, u64)> {
    let change = |event: &Event| match event {
        Event::Adapted { change, number } => Some((Adapted::clone(change), *number)),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

fn opens(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::BreakerChanged { .. }))
}

fn threshold(from: u32, to: u32) -> Adapted {
    Adapted {
        what: Adaptable::Threshold(Blame::Type),
        from: Setting::Count(from),
        to: Setting::Count(to),
        reason: AdaptationReason::ResultsPoor(Tally { successes: 0, failures: 4 }),
    }
}

#[test]
fn nothing_adapts_unless_it_is_on() {
    let mut rig = Rig::new(|knobs| {
        healing(knobs);
        knobs.self_healing = false;
    });
    rig.worker(1);
    let events = fail_each(&mut rig, 0..9);
    assert_eq!(changes(&events), []);
    assert!(!opens(&events), "the tenth failure in a row opens it");
    assert!(opens(&fail_each(&mut rig, 9..10)));
    assert!(rig.scheduler.snapshot().adapted.is_empty());
}

#[test]
fn a_threshold_adapts_and_breakers_go_by_it() {
    let mut rig = Rig::new(healing);
    rig.worker(1);
    assert_eq!(changes(&fail_each(&mut rig, 0..3)), []);
    assert_eq!(changes(&fail_each(&mut rig, 3..4)), [(threshold(10, 9), 1)]);
    let events = fail_each(&mut rig, 4..8);
    assert_eq!(changes(&events), [(threshold(9, 8), 2)]);
    assert!(!opens(&events), "the eighth result was judged by nine");
    assert!(opens(&fail_each(&mut rig, 8..9)));
}

#[test]
fn a_restart_goes_on_with_what_adapted_and_counts_anew() {
    let mut rig = Rig::new(healing);
    rig.worker(1);
    fail_each(&mut rig, 0..7);
    rig.restart();
    let recalled: Vec<&Event> =
        rig.events.iter().filter(|event| matches!(event, Event::SettingRecalled { .. })).collect();
    let what = Adaptable::Threshold(Blame::Type);
    assert_eq!(recalled, [&Event::SettingRecalled { what, value: Setting::Count(9), changes: 1 }]);
    rig.worker(2);
    assert_eq!(changes(&fail_each(&mut rig, 7..10)), [], "three before the restart and three after it are no sample");
    assert_eq!(changes(&fail_each(&mut rig, 10..11)), [(threshold(9, 8), 2)]);
}

#[test]
fn what_the_configuration_no_longer_allows_is_as_configured_again() {
    let reconfigured = |set: fn(&mut Knobs), to: u32| {
        let mut rig = Rig::new(healing);
        rig.worker(1);
        fail_each(&mut rig, 0..8);
        let mut knobs = Knobs::clone(&rig.knobs);
        set(&mut knobs);
        rig.knobs = Arc::new(knobs);
        rig.restart();
        let reason = AdaptationReason::Reconfigured;
        let change = Adapted { to: Setting::Count(to), reason, ..threshold(8, to) };
        assert_eq!(changes(&rig.events), [(change, 3)]);
        assert!(rig.scheduler.snapshot().adapted.is_empty());
        rig.restart();
        assert_eq!(changes(&rig.events), [], "it is said once");
        rig
    };
    reconfigured(|knobs| knobs.type_breaker.threshold = 20, 20);
    let bounds = |knobs: &mut Knobs| {
        let bounds = BreakerBounds { threshold_min: 9, ..BreakerBounds::around(&knobs.type_breaker) };
        knobs.adaptation.bounds.insert(Blame::Type, bounds);
    };
    reconfigured(bounds, 10);
    let mut off = reconfigured(|knobs| knobs.self_healing = false, 10);
    off.worker(2);
    assert!(!opens(&fail_each(&mut off, 8..17)));
    assert!(opens(&fail_each(&mut off, 17..18)));
}

/// What is done about a failure, and the attempt that follows.
fn fail_on(rig: &mut Rig, id: &str, lease: (AttemptId, Incarnation)) -> (Strategy, (AttemptId, Incarnation)) {
    rig.fail(id, lease, FailureKind::Network);
    let requeued = rig.events.iter().find_map(|event| match event {
        Event::Requeued { strategy, .. } => *strategy,
        _ => None,
    });
    rig.pass(SECOND * 60);
    (requeued.expect("it is tried again"), rig.assigned().expect("its time has come"))
}

#[test]
fn a_ladder_adapts_and_a_task_keeps_the_one_it_began_with() {
    use Strategy::{DelayedRetry, OtherWorker, RetryAtOnce};
    let mut rig = Rig::new(|knobs| {
        healing(knobs);
        knobs.adaptation.sample = 2;
        knobs.type_breaker.threshold = 100;
    });
    rig.worker(1);
    let early = rig.start("early").expect("there is room");
    let (strategy, early) = fail_on(&mut rig, "early", early);
    assert_eq!(strategy, RetryAtOnce);
    let mut told = Vec::new();
    for id in ["a", "b"] {
        let first = rig.start(id).expect("there is room");
        let (_, second) = fail_on(&mut rig, id, first);
        let (strategy, third) = fail_on(&mut rig, id, second);
        assert_eq!(strategy, DelayedRetry);
        rig.succeed(id, third);
        told.append(&mut changes(&rig.events).into_iter().map(|(change, _)| change).collect());
    }
    let steps = |successes, failures| Tally { successes, failures };
    told.retain(|change| matches!(change.what, Adaptable::Order(_)));
    let change = Adapted {
        what: Adaptable::Order(crate::Ladder::Network),
        from: Setting::Order(Vec::from([RetryAtOnce, DelayedRetry, OtherWorker])),
        to: Setting::Order(Vec::from([DelayedRetry, RetryAtOnce, OtherWorker])),
        reason: AdaptationReason::DoesBetter { earlier: steps(0, 2), later: steps(2, 0) },
    };
    assert_eq!(told, [change]);
    let late = rig.start("late").expect("there is room");
    assert_eq!(fail_on(&mut rig, "late", late).0, DelayedRetry, "it begins with what does better");
    rig.restart();
    rig.worker(1);
    let (strategy, _) = fail_on(&mut rig, "early", early);
    assert_eq!(strategy, DelayedRetry, "the second step of the order it began with");
    let kept = rig.scheduler.snapshot().tasks["early"].climb.clone().expect("it climbs");
    assert_eq!((kept.steps(), kept.step), (&[RetryAtOnce, DelayedRetry, OtherWorker][..], 1));
}
