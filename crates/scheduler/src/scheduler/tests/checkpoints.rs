//! Saves and moves.

use super::*;
use crate::{Checkpoint, CheckpointSeq, Move};
use alloc::boxed::Box;

fn checkpoint(attempt: AttemptId, seq: u64) -> Checkpoint {
    Checkpoint { attempt, seq: CheckpointSeq(seq), progress_micros: seq as u32 * 1_000, bytes: 10, digest: seq }
}

fn save(rig: &mut Rig, (attempt, incarnation): (AttemptId, Incarnation), seq: u64) -> Reception {
    let checkpoint = checkpoint(attempt, seq);
    rig.say(incarnation.0, Message::Saved { incarnation, task: "a".into(), checkpoint: Box::new(checkpoint) });
    let kept = rig.sent.iter().find_map(|(_, message)| match message {
        Message::Kept { reception, .. } => Some(*reception),
        _ => None,
    });
    kept.expect("every save is answered")
}

fn saving() -> TaskSpec {
    TaskSpec { checkpoint_interval: Some(SECOND), ..task("a") }
}

#[test]
fn the_next_attempt_goes_on_from_the_newest_checkpoint_of_an_attempt_that_held_the_task() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    rig.submit(saving());
    let lease = rig.assigned().expect("there is room");
    for seq in 1..=7 {
        assert_eq!(save(&mut rig, lease, seq), Reception::Accepted);
    }
    assert_eq!(save(&mut rig, lease, 7), Reception::AlreadyAccepted);
    assert_eq!(save(&mut rig, lease, 1), Reception::Rejected(Ignored::Stale));
    assert_eq!(rig.scheduler.snapshot().tasks["a"].checkpoints.kept().count(), 5);
    rig.worker(2);
    rig.call(Call::Ended { incarnation: w1, departure: Departure::Disconnected });
    let restored = rig.events.iter().find_map(|event| match event {
        Event::Assigned { restore, .. } => restore.as_deref().copied(),
        _ => None,
    });
    assert_eq!(restored, Some(checkpoint(lease.0, 7)));
    assert_eq!(save(&mut rig, lease, 8), Reception::Rejected(Ignored::Fenced), "a zombie's");
}

fn moves(rig: &Rig) -> Vec<Move> {
    let step = |event: &Event| match event {
        Event::Migration { step, .. } => Some(*step),
        _ => None,
    };
    rig.events.iter().filter_map(step).collect()
}

#[test]
fn a_migration_fences_the_source_before_the_target_gets_the_task() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.submit(saving());
    let source = rig.assigned().expect("there is room");
    rig.call(Call::Migrate { task: "a".into() });
    assert_eq!(moves(&rig), [Move::Aborted], "there is nobody else");
    assert_eq!(rig.scheduler.status(rig.now).open[0].lease, Some(source));
    let w2 = rig.worker(2);
    rig.call(Call::Migrate { task: "a".into() });
    assert_eq!(moves(&rig), [Move::Started, Move::Fenced]);
    let target = rig.assigned().expect("the target");
    assert_eq!(target.1, w2);
    assert_eq!(rig.succeed("a", source), Reception::Rejected(Ignored::Fenced));
    rig.say(2, Message::Started { incarnation: w2, task: "a".into(), attempt: target.0 });
    assert_eq!(moves(&rig), [Move::Committed]);
    let task = &rig.scheduler.snapshot().tasks["a"];
    assert_eq!((task.failures, task.losses), (0, 0), "charged to nobody");
}

#[test]
fn a_target_that_dies_before_it_runs_leaves_one_owner() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    rig.submit(saving());
    let w2 = rig.worker(2);
    rig.call(Call::Migrate { task: "a".into() });
    rig.call(Call::Ended { incarnation: w2, departure: Departure::Disconnected });
    assert_eq!(moves(&rig), [Move::Aborted]);
    assert_eq!(rig.assigned().map(|(_, incarnation)| incarnation), Some(Incarnation(1)));
}

#[test]
fn a_draining_worker_hands_over_what_saves_its_progress() {
    let mut rig = Rig::new(|_| {});
    let w1 = rig.worker(1);
    rig.submit(saving());
    rig.start("stays");
    rig.worker(2);
    rig.say(1, Message::Drain { incarnation: w1 });
    assert_eq!(moves(&rig), [Move::Started, Move::Fenced]);
    assert_eq!(rig.scheduler.status(rig.now).workers[0].leases.len(), 1, "the other one is finished here");
}

fn clears(rig: &Rig) -> Vec<(u64, AttemptId)> {
    let clear = |(to, message): &(Address, Message)| match message {
        Message::Clear { until, .. } => Some((to.0, *until)),
        _ => None,
    };
    rig.sent.iter().filter_map(clear).collect()
}

#[test]
fn the_store_is_told_of_every_end_until_it_has_heard() {
    for outcome in ["succeeds", "fails", "is cancelled"] {
        let mut rig = Rig::new(|knobs| knobs.max_retries = 0);
        let w1 = rig.worker(1);
        rig.submit(saving());
        let lease = rig.assigned().expect("there is room");
        assert_eq!(save(&mut rig, lease, 1), Reception::Accepted);
        match outcome {
            "succeeds" => assert_eq!(rig.succeed("a", lease), Reception::Accepted),
            "fails" => assert_eq!(rig.fail("a", lease, FailureKind::Unknown), Reception::Accepted),
            _ => rig.say(9, Message::Cancel { task: "a".into() }),
        }
        assert_eq!(clears(&rig), [(1, lease.0)], "{outcome}");
        rig.pass(SECOND);
        assert_eq!(clears(&rig), []);
        let w2 = rig.worker(2);
        rig.pass(SECOND);
        assert_eq!(clears(&rig), [(2, lease.0)], "another worker may reach it");
        rig.restart();
        for (number, incarnation) in [(1, w1), (2, w2)] {
            rig.call(Call::Began { worker: worker(number), incarnation });
            let offer = Arc::new(Offer { class: HardwareClass::Cpu, capabilities: BTreeSet::new(), resources: HOST });
            rig.say(number, Message::Offer { incarnation, offer });
        }
        rig.pass(SECOND * 2);
        assert_eq!(clears(&rig).len(), 1, "a restart forgets nothing");
        rig.say(1, Message::Cleared { incarnation: w1, task: "a".into() });
        assert!(rig.kinds().contains(&"task_cleared") && !rig.scheduler.snapshot().tasks["a"].saves);
        rig.say(1, Message::Cleared { incarnation: w1, task: "a".into() });
        assert_eq!(rig.ignored(), [Ignored::StaleAnswer]);
        rig.pass(SECOND * 60);
        assert_eq!(clears(&rig), []);
    }
}

#[test]
fn what_never_saved_leaves_nothing_behind() {
    let mut rig = Rig::new(|_| {});
    rig.worker(1);
    let lease = rig.start("a").expect("there is room");
    rig.succeed("a", lease);
    rig.pass(SECOND * 60);
    assert_eq!(clears(&rig), []);
}
