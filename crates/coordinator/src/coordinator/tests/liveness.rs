//! Registration, heartbeats, departures, failures, the observer's own gaps.

use super::*;

const TIMEOUT: Span = Span::from_secs(5);
const NANO: Span = Span::from_nanos(1);

fn heartbeat(incarnation: Incarnation, seq: u64) -> Message {
    Message::Heartbeat { incarnation, seq, wall: Wall::default() }
}

#[test]
fn a_member_is_alive_below_its_timeout_and_has_failed_at_it_for_every_reader() {
    for (age, alive) in [(TIMEOUT.minus(NANO), true), (TIMEOUT, false), (TIMEOUT + NANO, false)] {
        // The ticks lie elsewhere, so that the member's own input is the first to notice.
        let mut rig = Rig::new(|knobs| knobs.tick = Span::from_millis(2_700));
        let r0 = rig.join("r0", Role::Replica);
        rig.pass(age);
        assert_eq!(rig.coordinator.alive(r0, rig.now), alive, "at {age}");
        let answer = rig.beat(r0);
        assert_eq!(rig.failures().is_empty(), alive, "at {age}");
        match alive {
            true => assert!(matches!(answer[..], [(_, Message::HeartbeatAck { seq: 2, .. })]), "{answer:?}"),
            false => {
                assert!(matches!(answer[..], [(_, Message::Failed { cause: Cause::Timeout, .. })]), "{answer:?}");
                assert_eq!(rig.ignored(), [Ignored::FailedIncarnation]);
            }
        }
    }
}

#[test]
fn a_tick_at_exactly_the_timeout_declares_and_one_before_it_does_not() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    let w0 = rig.join("w0", Role::Worker);
    rig.pass(TIMEOUT.minus(NANO));
    assert_eq!(rig.failures(), []);
    rig.pass(NANO);
    assert_eq!(rig.failures(), [(r0, Cause::Timeout)]);
    assert!(rig.drain().contains(&(r0.0, Message::Failed { incarnation: r0, cause: Cause::Timeout })), "it is told");
    assert!(rig.coordinator.alive(w0, rig.now), "workers have a timeout of their own");
    rig.pass(Span::from_secs(25));
    assert_eq!(rig.failures(), [(w0, Cause::Timeout)]);
}

#[test]
fn within_the_grace_a_member_is_suspected_and_a_heartbeat_clears_it() {
    let mut rig = Rig::new(|knobs| knobs.grace = Span::from_secs(3));
    let r0 = rig.join("r0", Role::Replica);
    rig.pass(TIMEOUT);
    assert!(rig.events.contains(&Event::Suspected { member: "r0".into(), incarnation: r0 }));
    assert!(!rig.coordinator.alive(r0, rig.now), "suspected is not alive");
    assert_eq!(rig.status().cursor, Cursor(0), "a suspicion is no notice");
    rig.beat(r0);
    assert!(rig.events.contains(&Event::Cleared { member: "r0".into(), incarnation: r0 }));
    assert!(rig.coordinator.alive(r0, rig.now));
    rig.pass(Span::from_secs(8).minus(NANO));
    assert_eq!(rig.failures(), []);
    rig.pass(NANO);
    assert_eq!(rig.failures(), [(r0, Cause::Timeout)]);
}

#[test]
fn only_a_higher_number_of_a_heartbeat_counts() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    rig.say(9, heartbeat(r0, 7));
    rig.pass(Span::from_secs(3));
    for seq in [7, 6, 0] {
        assert_eq!(rig.say(9, heartbeat(r0, seq)), [], "a stale heartbeat is not answered");
        assert_eq!(rig.ignored(), [Ignored::StaleSeq]);
    }
    rig.pass(Span::from_secs(2));
    assert_eq!(rig.failures(), [(r0, Cause::Timeout)], "stale heartbeats are no sign of life");
}

#[test]
fn who_dies_returns_and_dies_again_between_two_ticks_is_noticed_twice() {
    let mut rig = Rig::new(|knobs| knobs.tick = Span::from_secs(7));
    let first = rig.join("r3", Role::Replica);
    rig.pass(Span::from_millis(5_500));
    rig.beat(first);
    assert_eq!(rig.failures(), [(first, Cause::Timeout)]);
    let second = rig.join("r3", Role::Replica);
    assert!(first < second);
    rig.pass(Span::from_secs(9));
    assert_eq!(rig.failures(), [(second, Cause::Timeout)]);
    assert_eq!(rig.status().cursor, Cursor(3), "failed, returned, failed");
}

#[test]
fn a_late_registration_of_a_dead_process_changes_nothing() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    let before = rig.status();
    let late = rig.register("r0", 99, Role::Replica);
    assert!(late > r0);
    let after = rig.status();
    assert_eq!((before.members, before.cursor, before.epoch), (after.members, after.cursor, after.epoch));
    assert_eq!(rig.register("r0", 99, Role::Replica), late, "the same process is granted the same");
    rig.pass_with(&[r0], Span::from_secs(6));
    assert!(rig.events.contains(&Event::Forgotten { member: "r0".into(), incarnation: late }), "nobody claimed it");
    assert_eq!(rig.say(1, heartbeat(late, 1)), [(1, Message::Unknown { incarnation: late })]);
    assert!(rig.register("r0", 99, Role::Replica) > late, "no number is used twice");
}

#[test]
fn a_newer_process_supersedes_an_older_one_with_its_first_heartbeat() {
    let mut rig = Rig::new(|_| {});
    let old = rig.join("r0", Role::Replica);
    let lost = rig.register("r0", 50, Role::Replica);
    let new = rig.register("r0", 51, Role::Replica);
    assert!(rig.coordinator.alive(old, rig.now), "a grant ends nothing");
    let sent = rig.beat(new);
    assert_eq!(rig.failures(), [(old, Cause::Superseded)]);
    assert!(sent.contains(&(old.0, Message::Superseded { incarnation: old })));
    let began = Event::Began { member: "r0".into(), incarnation: new, role: Role::Replica, returned: Some(Cursor(2)) };
    assert!(rig.events.contains(&began), "{:?}", rig.events);
    assert_eq!(rig.say(7, heartbeat(old, 9)), [(7, Message::Superseded { incarnation: old })]);
    assert_eq!(rig.ignored(), [Ignored::SupersededIncarnation]);
    assert_eq!(rig.say(7, heartbeat(lost, 1)), [(7, Message::Unknown { incarnation: lost })], "an older grant is void");
    assert_eq!(rig.status().failures, [], "it is back");
}

#[test]
fn who_is_overdue_already_has_failed_by_silence_not_by_its_successor() {
    let mut rig = Rig::new(|knobs| knobs.tick = Span::from_millis(2_700));
    let old = rig.join("r0", Role::Replica);
    let new = rig.register("r0", 50, Role::Replica);
    rig.pass(TIMEOUT);
    rig.beat(new);
    assert_eq!(rig.failures(), [(old, Cause::Timeout)]);
}

#[test]
fn a_live_process_that_registers_again_keeps_its_incarnation_also_after_a_restart() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.register("r0", 5, Role::Replica);
    rig.beat(r0);
    assert_eq!(rig.register("r0", 5, Role::Replica), r0);
    rig.restart();
    assert_eq!(rig.register("r0", 5, Role::Replica), r0);
    assert_eq!(rig.disk.iter().filter(|record| matches!(record, Record::Granted { .. })).count(), 1);
}

#[test]
fn who_leaves_has_not_failed_and_is_answered_again() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    for _ in 0..2 {
        assert_eq!(rig.say(3, Message::Leave { incarnation: r0 }), [(3, Message::Left { incarnation: r0 })]);
    }
    assert_eq!(rig.ignored(), [Ignored::LeftIncarnation]);
    assert_eq!(rig.say(3, heartbeat(r0, 9)), [(3, Message::Left { incarnation: r0 })]);
    assert_eq!((rig.status().cursor, rig.status().epoch), (Cursor(0), Epoch(1)), "nobody is charged");
    rig.pass(Span::from_secs(3_600));
    assert!(rig.events.contains(&Event::Forgotten { member: "r0".into(), incarnation: r0 }));
    assert_eq!(rig.say(3, Message::Leave { incarnation: r0 }), [(3, Message::Unknown { incarnation: r0 })]);
}

#[test]
fn a_grant_given_back_is_not_begun_by_a_heartbeat_on_its_way() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.register("r0", 1, Role::Replica);
    rig.say(3, Message::Leave { incarnation: r0 });
    assert_eq!(rig.say(3, heartbeat(r0, 1)), [(3, Message::Left { incarnation: r0 })]);
    assert_eq!(rig.status().members, []);
}

#[test]
fn its_own_silence_kills_nobody() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    rig.now += Span::from_secs(15);
    rig.beat(r0);
    assert!(rig.events.contains(&Event::Stalled { gap: Span::from_secs(15), restarted: false }), "{:?}", rig.events);
    assert_eq!(rig.failures(), []);
    rig.now += Span::from_secs(15);
    rig.sent.clear();
    rig.events.clear();
    rig.step(Input::Wake);
    assert_eq!(rig.failures(), []);
    rig.pass(TIMEOUT.minus(NANO));
    assert_eq!(rig.failures(), [], "a full timeout after the gap");
    rig.pass(NANO);
    assert_eq!(rig.failures(), [(r0, Cause::Timeout)]);
}

#[test]
fn its_own_silence_forgets_no_grant() {
    let mut rig = Rig::new(|_| {});
    let grant = rig.register("r0", 1, Role::Replica);
    rig.now += Span::from_secs(15);
    rig.beat(grant);
    assert!(rig.coordinator.alive(grant, rig.now));
}

#[test]
fn a_gap_of_exactly_two_ticks_is_no_stall() {
    for (gap, stalled) in [(SECOND * 2, false), (SECOND * 2 + NANO, true)] {
        let mut rig = Rig::new(|_| {});
        rig.now += gap;
        rig.step(Input::Wake);
        let found = rig.events.iter().any(|event| matches!(event, Event::Stalled { .. }));
        assert_eq!(found, stalled, "after {gap}");
    }
}

#[test]
fn after_a_restart_everybody_has_a_full_timeout_and_a_new_epoch() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    rig.pass(Span::from_secs(4));
    rig.restart();
    assert_eq!(
        rig.events[..2],
        [Event::Stalled { gap: Span::ZERO, restarted: true }, Event::Reset { epoch: Epoch(2), failed: [].into() }]
    );
    rig.pass(TIMEOUT.minus(NANO));
    assert_eq!(rig.failures(), []);
    rig.pass(NANO);
    assert_eq!(rig.failures(), [(r0, Cause::Timeout)]);
}

#[test]
fn the_first_start_is_no_restart() {
    let rig = Rig::new(|_| {});
    assert_eq!((rig.events.len(), rig.epoch()), (0, Epoch(1)));
}

#[test]
fn the_process_around_it_is_told_how_members_come_and_go() {
    let mut rig = Rig::new(|_| {});
    let w0 = rig.join("w0", Role::Worker);
    let r0 = rig.join("r0", Role::Replica);
    let began = |member: &str, incarnation, role| Membership::Began { member: member.into(), incarnation, role };
    assert_eq!(rig.told, [began("w0", w0, Role::Worker), began("r0", r0, Role::Replica)]);
    rig.told.clear();
    rig.say(2, Message::Leave { incarnation: r0 });
    rig.pass(Span::from_secs(30));
    let ended = |incarnation, role, end| Membership::Ended { incarnation, role, end };
    let failed = End::Failed(Cause::Timeout);
    assert_eq!(rig.told, [ended(r0, Role::Replica, End::Left), ended(w0, Role::Worker, failed)]);
}

#[test]
fn who_speaks_to_another_part_of_the_process_is_judged_first() {
    for (age, told) in [(TIMEOUT.minus(NANO), 0), (TIMEOUT, 1)] {
        let mut rig = Rig::new(|knobs| knobs.tick = Span::from_millis(2_700));
        let r0 = rig.join("r0", Role::Replica);
        rig.pass(age);
        rig.told.clear();
        rig.step(Input::Request(Spoke { incarnation: r0 }));
        assert_eq!(rig.told.len(), told, "at {age}");
        assert_eq!(rig.coordinator.alive(r0, rig.now), told == 0, "at {age}");
    }
}

#[test]
fn limits_are_named() {
    let mut rig = Rig::new(|knobs| {
        knobs.members_max = 2;
        knobs.text_bytes_max = 4;
    });
    rig.replicas(&["r0", "r1"]);
    assert_eq!(rig.say(1, register("r2", 9, Role::Replica)), []);
    assert_eq!(rig.ignored(), [Ignored::LimitReached]);
    assert_eq!(rig.say(1, register("replica", 9, Role::Replica)), []);
    assert_eq!(rig.ignored(), [Ignored::TextTooLong]);
    assert_eq!(rig.say(1, Message::Unknown { incarnation: Incarnation(1) }), []);
    assert_eq!(rig.ignored(), [Ignored::WrongDirection]);
}
