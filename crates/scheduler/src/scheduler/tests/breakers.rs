//! Permits, blame, probes.

use super::*;
use crate::{BreakerStage, Settlement};

fn changes(rig: &Rig) -> Vec<(BreakerKey, BreakerStage)> {
    let change = |event: &Event| match event {
        Event::BreakerChanged { key, change } => Some((key.clone(), change.to)),
        _ => None,
    };
    rig.events.iter().filter_map(change).collect()
}

fn stage(rig: &Rig, key: &BreakerKey) -> BreakerStage {
    rig.scheduler.breakers.get(key).map_or(BreakerStage::Closed, crate::Breaker::stage)
}

/// Fails tasks until the type's breaker opens.
fn trip(rig: &mut Rig) -> BreakerKey {
    let key = BreakerKey::Type(TaskType::CpuLight);
    for number in 0..10 {
        assert_eq!(stage(rig, &key), BreakerStage::Closed);
        let id = format!("trip{number}");
        rig.submit(TaskSpec { max_retries: Some(0), ..task(&id) });
        let lease = rig.assigned().expect("there is room");
        rig.fail(&id, lease, FailureKind::Evaluation);
    }
    assert!(matches!(stage(rig, &key), BreakerStage::Open { .. }));
    key
}

#[test]
fn an_open_breaker_holds_everything_back_until_one_probe_may_go() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let key = trip(&mut rig);
    for number in 0..5 {
        assert_eq!(rig.start(&format!("q{number}")), None);
    }
    assert!(rig.scheduler.waits_for().contains("type cpu_light"), "{}", rig.scheduler.waits_for());
    rig.pass((SECOND * 300).minus(Span::from_nanos(1)));
    assert!(rig.assigned().is_none() && changes(&rig).is_empty(), "demand doesn't change its time");
    rig.pass(Span::from_nanos(1));
    assert_eq!(changes(&rig), [(key.clone(), BreakerStage::HalfOpen)]);
    let assigned = rig.kinds().iter().filter(|kind| **kind == "assigned").count();
    assert_eq!(assigned, 1, "one probe");
    let probe = rig.assigned().expect("it was made");
    rig.succeed("q0", probe);
    let second = rig.assigned().expect("after a success the next may go");
    rig.succeed("q1", second);
    assert!(changes(&rig).contains(&(key, BreakerStage::Closed)));
    assert_eq!(rig.scheduler.counts().queued, 0);
}

#[test]
fn a_probe_that_hangs_gives_its_permit_back_and_counts_nothing_later() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let key = trip(&mut rig);
    rig.start("q0");
    rig.start("q1");
    rig.pass(SECOND * 300);
    let hanging = rig.assigned().expect("a probe");
    rig.pass(SECOND * 60);
    let expired = rig.events.iter().any(|event| {
        matches!(event, Event::Settled { attempt, settlement: Settlement::Released, counted: false, .. } if *attempt == hanging.0)
    });
    assert!(expired && rig.assigned().is_some(), "the next probe goes");
    rig.fail("q0", hanging, FailureKind::Evaluation);
    assert_eq!(stage(&rig, &key), BreakerStage::HalfOpen, "its permit was another's");
    let settled = rig.kinds().iter().filter(|kind| **kind == "settled").count();
    assert_eq!(settled, 2, "the third was settled before");
}

#[test]
fn blame_falls_on_one_key_and_a_lost_worker_counts_once() {
    let mut rig = Rig::new(|knobs| {
        knobs.worker_breaker.threshold = 2;
        knobs.class_breaker.threshold = 1;
    });
    let w1 = rig.worker(1);
    rig.start("a");
    rig.start("b");
    rig.start("c");
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Crashed });
    assert_eq!(changes(&rig), [], "three attempts, one loss");
    let counted = rig.events.iter().filter(|event| matches!(event, Event::Settled { counted: true, .. })).count();
    assert_eq!(counted, 1);
    rig.worker(2);
    let lease = rig.start("d").expect("there is room");
    rig.fail("d", lease, FailureKind::Hardware);
    assert!(matches!(changes(&rig)[..], [(BreakerKey::Class(HardwareClass::Cpu), BreakerStage::Open { .. })]));
}

#[test]
fn a_half_open_breaker_and_its_probe_survive_a_restart() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    let key = trip(&mut rig);
    rig.start("q0");
    rig.start("q1");
    rig.pass(SECOND * 300);
    let probe = rig.assigned().expect("a probe");
    rig.restart();
    rig.call(Call::Began { worker: worker(1), incarnation: w1 });
    let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources: HOST });
    rig.say(1, Message::Offer { incarnation: w1, offer });
    assert!(rig.assigned().is_none(), "the probe still runs");
    assert_eq!(stage(&rig, &key), BreakerStage::HalfOpen);
    rig.fail("q0", probe, FailureKind::Evaluation);
    assert!(matches!(stage(&rig, &key), BreakerStage::Open { .. }));
    let open = rig.scheduler.breakers[&key].times_opened();
    assert_eq!(open, 2);
}

#[test]
fn an_operator_closes_a_breaker() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let key = trip(&mut rig);
    assert!(rig.start("q").is_none());
    rig.call(Call::ResetBreaker { key: key.clone() });
    assert_eq!(changes(&rig), [(key, BreakerStage::Closed)]);
    assert!(rig.assigned().is_some());
    rig.call(Call::ResetBreaker { key: BreakerKey::Worker("nobody".into()) });
    assert_eq!(rig.ignored(), [Ignored::Stale]);
}
