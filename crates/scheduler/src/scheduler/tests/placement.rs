//! Who gets what.

use super::*;
use crate::Obstacle;

#[test]
fn round_robin_goes_by_id_and_survives_churn() {
    let mut rig = Rig::new(|_| {});
    for number in [3, 1, 2] {
        rig.worker(number);
    }
    let mut order: Vec<u64> = ["a", "b", "c", "d"].iter().map(|id| rig.start(id).expect("there is room").1.0).collect();
    rig.call(Call::Ended { incarnation: Incarnation(2), departure: Departure::Left });
    order.push(rig.start("e").expect("there is room").1.0);
    // The task of the one that left was placed first.
    assert_eq!(order, [1, 2, 3, 1, 1]);
}

#[test]
fn who_is_suspected_unhealthy_or_too_small_gets_nothing() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    rig.suspected.0.insert(w1);
    assert!(rig.start("a").is_none());
    assert_eq!(held(&rig), Some(Obstacle::NoWorker));
    rig.suspected.0.clear();
    rig.pass(rig.knobs.tick);
    assert!(rig.assigned().is_some(), "it is looked at again every tick");
    let hot = Vitals { gpu_temperature: 85_001, ..Vitals::default() };
    rig.say(1, Message::Beat { incarnation: w1, seq: 1, vitals: hot, running: Arc::from([]) });
    assert_eq!(rig.kinds(), ["health"]);
    assert!(rig.start("b").is_none());
    assert_eq!(held(&rig), Some(Obstacle::Unfit));
    let fine = Vitals { gpu_temperature: 85_000, ..Vitals::default() };
    rig.say(1, Message::Beat { incarnation: w1, seq: 2, vitals: fine, running: Arc::from([]) });
    assert!(rig.assigned().is_some());
    rig.submit(TaskSpec { resources: Resources { cpu_millis: 4_001, ..HOST }, ..task("c") });
    assert_eq!(held(&rig), Some(Obstacle::TooBig));
    rig.submit(TaskSpec { resources: Resources { cpu_millis: 4_000, ..task("d").resources }, ..task("d") });
    assert_eq!(held(&rig), Some(Obstacle::Busy));
}

fn held(rig: &Rig) -> Option<Obstacle> {
    rig.events.iter().find_map(|event| match event {
        Event::Held { obstacle, .. } => Some(obstacle.clone()),
        _ => None,
    })
}

#[test]
fn what_was_given_up_comes_before_what_is_older_and_never_ran() {
    let mut rig = Rig::new(|_| {});
    let half = Resources { cpu_millis: HOST.cpu_millis / 2, ..HOST };
    let w1 = rig.worker_with(1, HardwareClass::Cpu, half);
    rig.submit(TaskSpec { resources: HOST, ..task("old") });
    rig.submit(TaskSpec { resources: half, ..task("lost") });
    assert!(rig.assigned().is_some(), "the younger one fits");
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Disconnected });
    rig.worker(2);
    let placed = rig.events.iter().find_map(|event| match event {
        Event::Assigned { task, .. } => Some(task.clone()),
        _ => None,
    });
    assert_eq!(placed, Some("lost".into()));
}

#[test]
fn what_waits_for_its_time_is_queued_too() {
    let mut rig = Rig::new(|knobs| knobs.queued_max = 1);
    rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.fail("a", lease, FailureKind::Unknown);
    rig.submit(task("b"));
    let refused = Message::Declined { task: "b".into(), refusal: TaskRefusal::QueueFull };
    assert_eq!(rig.sent, [(Address(CLIENT), refused)]);
}

#[test]
fn priority_comes_first_then_what_was_given_up_then_age() {
    let mut rig = Rig::new(|_| {});
    let whole = |id, priority| TaskSpec { priority, resources: HOST, ..task(id) };
    let w1 = rig.worker(1);
    rig.submit(whole("lost", 0));
    rig.submit(whole("old", 0));
    rig.submit(whole("young", 0));
    rig.submit(whole("urgent", 9));
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Disconnected });
    let mut order = Vec::new();
    rig.worker(2);
    while let Some(Event::Assigned { task, attempt, incarnation, .. }) =
        rig.events.iter().find(|event| matches!(event, Event::Assigned { .. })).cloned()
    {
        order.push(task.clone());
        rig.succeed(&task, (attempt, incarnation));
    }
    assert_eq!(order.iter().map(|id| &**id).collect::<Vec<_>>(), ["urgent", "lost", "old", "young"]);
}

#[test]
fn what_fits_elsewhere_does_not_wait_behind_what_fits_nowhere() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.submit(TaskSpec { class: "tpu".into(), priority: 9, ..task("never") });
    assert!(rig.start("a").is_some());
}

#[test]
fn an_offer_counts_only_from_an_incarnation_that_has_begun() {
    let mut rig = Rig::new(|_| {});
    let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources: HOST });
    rig.say(1, Message::Offer { incarnation: Incarnation(1), offer: offer.clone() });
    assert_eq!((rig.ignored(), rig.sent_kinds()), ([Ignored::UnknownWorker].into(), [].into()));
    let w1 = rig.worker(1);
    rig.say(1, Message::Offer { incarnation: w1, offer });
    assert_eq!((rig.ignored(), rig.sent_kinds()), ([Ignored::Repeated].into(), [(1, "offered")].into()));
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Disconnected });
    rig.say(1, Message::Beat { incarnation: w1, seq: 1, vitals: Vitals::default(), running: Arc::from([]) });
    assert_eq!(rig.ignored(), [Ignored::UnknownWorker]);
}
