//! Requests, formations, resets, withdrawals, evictions, takeovers.

use super::*;
use crate::{QuorumId, Refusal};

const JOIN: Span = Span::from_secs(60);

/// Replicas r0, r1, ... that are in a quorum.
fn formed(count: usize, set: impl FnOnce(&mut Knobs)) -> (Rig, Vec<Incarnation>) {
    let mut rig = Rig::new(set);
    let ids: Vec<String> = (0..count).map(|index| format!("r{index}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let all = rig.replicas(&ids);
    for &who in &all {
        rig.ask(who, 1);
    }
    assert!(rig.formed().is_some_and(|quorum| quorum.members.len() == count), "{:?}", rig.events);
    (rig, all)
}

fn waiting(rig: &Rig) -> String {
    rig.status().waiting.to_string()
}

#[test]
fn all_healthy_replicas_form_at_once_sorted_by_id() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["b", "c", "a"]);
    rig.ask(all[0], 1);
    assert_eq!(waiting(&rig), "1 of 3 healthy replicas ask, more than half are needed; missing: a, c");
    rig.ask(all[1], 1);
    assert_eq!(waiting(&rig), "2 of 3 healthy replicas ask, for at most 60s the rest is awaited: a");
    let sent = rig.ask(all[2], 1);
    let quorum = rig.formed().expect("all are there");
    assert_eq!(members(&quorum), [3, 1, 2]);
    assert_eq!((quorum.id, quorum.formation, rig.epoch()), (QuorumId(1), Epoch(1), Epoch(2)));
    assert_eq!(sent.len(), 3);
    for (to, message) in sent {
        let Message::Formed { incarnation, number: Number(1), heartbeat: 1, quorum: told } = message else {
            panic!("{message:?}");
        };
        assert_eq!((incarnation.0, told), (to, quorum.clone()));
    }
    assert_eq!(waiting(&rig), "");
}

#[test]
fn a_majority_forms_when_the_first_has_waited_long_enough() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1", "r2"]);
    rig.ask(all[0], 1);
    rig.ask(all[1], 1);
    rig.pass_with(&all, JOIN.minus(SECOND));
    assert_eq!(rig.formed(), None);
    rig.pass_with(&all, SECOND * 2);
    assert_eq!(members(&rig.formed().expect("the time is up")), [1, 2]);
}

#[test]
fn half_of_the_healthy_never_form_and_min_replicas_holds() {
    let mut rig = Rig::new(|knobs| knobs.min_replicas = 3);
    let all = rig.replicas(&["r0", "r1", "r2", "r3"]);
    rig.ask(all[0], 1);
    rig.ask(all[1], 1);
    assert_eq!(waiting(&rig), "2 healthy replicas ask, at least 3 are needed");
    rig.pass_with(&all, JOIN * 2);
    assert_eq!(rig.formed(), None);
    rig.pass_with(&all[..2], SECOND * 10);
    assert_eq!(rig.formed(), None, "two healthy ones are all, but too few");
}

#[test]
fn the_whole_previous_quorum_waits_for_nobody() {
    let (mut rig, all) = formed(2, |_| {});
    let joiners = rig.replicas(&["r2", "r3", "r4"]);
    rig.ask(joiners[1], 1);
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    let quorum = rig.formed().expect("the previous quorum is there");
    assert_eq!(members(&quorum), [1, 2, joiners[1].0], "who asks comes along");
    assert!(rig.events.iter().any(|event| matches!(event, Event::Formed { fast: true, healthy: 5, .. })));
    assert_eq!(quorum.id, QuorumId(2));
}

#[test]
fn the_number_grows_only_with_the_members_or_a_failed_commit() {
    let (mut rig, all) = formed(2, |_| {});
    let rounds: [(u64, u64, &str, u64); 4] = [(2, 0, "m", 2), (3, 0, "m", 2), (4, 1, "m", 3), (5, 0, "n", 4)];
    for (number, commit_failures, address, id) in rounds {
        for &who in &all {
            rig.ask_with(who, number, rig.epoch(), |ask| {
                ask.address = address.into();
                ask.commit_failures = commit_failures;
            });
        }
        assert_eq!(rig.formed().expect("both ask").id, QuorumId(id), "request {number}");
    }
    rig.restart();
    rig.beat(all[0]);
    rig.beat(all[1]);
    for &who in &all {
        rig.ask_with(who, 6, rig.epoch(), |ask| ask.address = "n".into());
    }
    assert_eq!(rig.formed().expect("both ask").id, QuorumId(4), "the same members after a restart");
}

#[test]
fn a_replicas_failure_starts_over_and_tells_everyone_who_waits() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1", "r2"]);
    rig.ask(all[0], 1);
    rig.ask(all[1], 1);
    rig.pass_with(&all[..2], Span::from_secs(6));
    let reset = |who: Incarnation| {
        (Address(who.0), Message::Reset { incarnation: who, epoch: Epoch(2), failed: ["r2".into()].into() })
    };
    assert!(rig.sent.contains(&reset(all[0])) && rig.sent.contains(&reset(all[1])), "{:?}", rig.sent);
    assert_eq!(rig.status().open, []);
    let late = rig.ask_with(all[0], 1, Epoch(1), |_| {});
    assert_eq!(late, [(1, reset(all[0]).1)], "a lost reset hangs nobody");
    assert_eq!(rig.ignored(), [Ignored::StaleEpoch]);
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    assert_eq!(members(&rig.formed().expect("all who are left ask")), [1, 2]);
}

#[test]
fn a_workers_failure_and_a_departure_reset_nothing() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1", "r2"]);
    let worker = rig.join("w0", Role::Worker);
    rig.ask(all[0], 1);
    rig.pass_with(&all, Span::from_secs(31));
    assert_eq!(rig.failures(), [(worker, Cause::Timeout)]);
    rig.ask(all[1], 1);
    rig.say(3, Message::Leave { incarnation: all[2] });
    assert_eq!(members(&rig.formed().expect("the last to be awaited has left")), [1, 2]);
    assert_eq!(rig.epoch(), Epoch(2));
}

#[test]
fn a_request_withdrawn_is_over_also_if_it_arrives_later() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1"]);
    rig.ask(all[0], 1);
    let withdraw = Message::Withdraw { incarnation: all[0], through: Number(2) };
    let withdrawn = [(1, Message::Withdrawn { incarnation: all[0], through: Number(2) })];
    assert_eq!(rig.say(1, withdraw.clone()), withdrawn);
    assert_eq!(rig.status().open, []);
    assert_eq!(rig.say(1, withdraw), withdrawn, "as often as it is asked");
    assert_eq!(rig.ask(all[0], 2), withdrawn);
    assert_eq!(rig.ignored(), [Ignored::WithdrawnRequest]);
    rig.ask(all[1], 1);
    assert_eq!(rig.formed(), None, "no phantom");
    rig.ask(all[0], 3);
    assert!(rig.formed().is_some());
}

#[test]
fn a_withdrawal_through_the_open_request_ends_it_and_one_below_does_not() {
    for (through, open) in [(4, 1), (5, 0), (6, 0)] {
        let mut rig = Rig::new(|knobs| knobs.min_replicas = 2);
        let r0 = rig.join("r0", Role::Replica);
        rig.ask(r0, 5);
        rig.say(1, Message::Withdraw { incarnation: r0, through: Number(through) });
        assert_eq!(rig.status().open.len(), open, "through {through}");
    }
}

#[test]
fn its_own_silence_counts_as_nobodys_waiting() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1", "r2"]);
    rig.ask(all[0], 1);
    rig.ask(all[1], 1);
    rig.now += JOIN;
    rig.events.clear();
    rig.step(Input::Wake);
    assert_eq!(rig.formed(), None);
}

#[test]
fn an_answered_number_stays_answered_after_a_restart() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    rig.ask(r0, 5);
    rig.restart();
    rig.beat(r0);
    assert_eq!(rig.ask(r0, 4), []);
    assert_eq!(rig.ignored(), [Ignored::StaleRequest]);
    rig.ask(r0, 6);
    assert!(rig.formed().is_some());
}

#[test]
fn only_the_newest_formation_can_be_stopped() {
    let (mut rig, all) = formed(2, |_| {});
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    rig.say(1, Message::EvictAck { incarnation: all[0], formation: Epoch(1) });
    assert_eq!(rig.ignored(), [Ignored::StaleEviction]);
    assert_eq!(rig.status().holders, all);
}

#[test]
fn who_may_be_active_is_not_forgotten_before_its_lease_has_run_out() {
    let (mut rig, all) = formed(2, |knobs| {
        knobs.replica_timeout = Span::from_secs(2);
        knobs.forget_after = Span::from_nanos(1);
    });
    rig.pass_with(&all[..1], SECOND * 4);
    assert_eq!(rig.status().ended.len(), 1);
    rig.ask(all[0], 2);
    assert_eq!(rig.formed(), None);
    rig.pass_with(&all[..1], SECOND * 2);
    assert!(rig.formed().is_some());
    assert_eq!(rig.status().ended, []);
}

#[test]
fn an_answer_is_repeated_while_it_is_the_newest_also_after_a_restart() {
    let (mut rig, all) = formed(2, |_| {});
    rig.beat(all[0]);
    let again = rig.ask_with(all[0], 1, Epoch(1), |_| {});
    assert!(matches!(again[..], [(1, Message::Formed { number: Number(1), heartbeat: 1, .. })]), "{again:?}");
    rig.restart();
    rig.beat(all[0]);
    let again = rig.ask_with(all[0], 1, Epoch(1), |_| {});
    assert!(matches!(again[..], [(1, Message::Formed { number: Number(1), heartbeat: 0, .. })]), "{again:?}");
    rig.beat(all[1]);
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    assert!(rig.formed().is_some());
}

#[test]
fn a_late_copy_of_an_older_request_resets_nobody_who_got_a_newer_one_answered() {
    let (mut rig, all) = formed(2, |_| {});
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    assert!(rig.formed().is_some());
    for _ in 0..2 {
        assert_eq!(rig.ask_with(all[0], 1, Epoch(1), |_| {}), [], "its sender is active in what request 2 got");
        assert_eq!(rig.ignored(), [Ignored::StaleRequest]);
        rig.restart();
        rig.beat(all[0]);
    }
}

#[test]
fn old_and_repeated_requests_are_named() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1"]);
    rig.ask(all[0], 5);
    assert_eq!(rig.ask(all[0], 5), []);
    assert_eq!(rig.ignored(), [Ignored::RepeatedRequest]);
    assert_eq!(rig.ask(all[0], 4), []);
    assert_eq!(rig.ignored(), [Ignored::StaleRequest]);
    rig.ask(all[0], 6);
    assert_eq!(rig.status().open[0].number, Number(6), "the newest request counts");
    let grant = rig.register("r2", 9, Role::Replica);
    assert_eq!(rig.ask(grant, 1), []);
    assert_eq!(rig.ignored(), [Ignored::UnclaimedGrant]);
}

#[test]
fn shrink_only_leaves_out_whoever_was_not_in_the_previous_quorum() {
    let (mut rig, all) = formed(2, |_| {});
    let joiner = rig.join("r2", Role::Replica);
    rig.ask(joiner, 1);
    rig.ask_with(all[0], 2, rig.epoch(), |ask| ask.shrink_only = true);
    let sent = rig.ask(all[1], 2);
    assert_eq!(members(&rig.formed().expect("the previous quorum is there")), [1, 2]);
    let reset = Message::Reset { incarnation: joiner, epoch: Epoch(3), failed: [].into() };
    assert!(sent.contains(&(joiner.0, reset)), "who is left out asks again");
}

#[test]
fn shrink_only_from_outside_is_refused_once_nobody_of_the_previous_quorum_is_alive() {
    let (mut rig, all) = formed(1, |_| {});
    let outside = rig.join("r1", Role::Replica);
    rig.ask_with(outside, 1, rig.epoch(), |ask| ask.shrink_only = true);
    assert_eq!(waiting(&rig), "0 healthy replicas ask, at least 1 are needed; 1 more are left out by shrink_only");
    let sent = rig.say(1, Message::Leave { incarnation: all[0] });
    let refused = (2, Message::Refused { incarnation: outside, number: Number(1), refusal: Refusal::NothingToShrink });
    assert!(sent.contains(&refused), "{sent:?}");
    assert_eq!(rig.ask(outside, 1), [refused], "the same answer again");
    rig.ask(outside, 2);
    assert_eq!(members(&rig.formed().expect("without shrink_only it may")), [2]);
}

#[test]
fn requests_that_can_never_be_met_are_refused() {
    let mut rig = Rig::new(|_| {});
    let r0 = rig.join("r0", Role::Replica);
    let w0 = rig.join("w0", Role::Worker);
    let refused = |incarnation: Incarnation, number: u64, refusal| {
        [(incarnation.0, Message::Refused { incarnation, number: Number(number), refusal })]
    };
    assert_eq!(rig.ask(w0, 1), refused(w0, 1, Refusal::NotAReplica));
    let malformed: [fn(&mut Ask); 3] = [
        |ask| ask.world_size = 0,
        |ask| ask.address = "a".repeat(1_025).into(),
        |ask| ask.data = "d".repeat(65_537).into(),
    ];
    for (set, number) in malformed.into_iter().zip(1..) {
        assert_eq!(rig.ask_with(r0, number, Epoch(1), set), refused(r0, number, Refusal::Malformed));
    }
    assert_eq!(rig.status().open, []);
}

#[test]
fn who_may_still_be_active_is_asked_to_stop_before_others_form_without_it() {
    let (mut rig, all) = formed(3, |_| {});
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    rig.pass_with(&all, JOIN.minus(SECOND));
    assert!(!rig.sent.iter().any(|(_, message)| matches!(message, Message::Evict { .. })), "it may still come");
    rig.pass_with(&all, SECOND * 5);
    let evict = (Address(3), Message::Evict { incarnation: all[2], formation: Epoch(1) });
    assert!(rig.sent.iter().filter(|&sent| *sent == evict).count() >= 3, "until it is confirmed: {:?}", rig.sent);
    assert_eq!(rig.formed(), None);
    assert_eq!(waiting(&rig), "some may still be active in formation 1, and were asked to stop: r2");
    let ack = Message::EvictAck { incarnation: all[2], formation: Epoch(1) };
    rig.say(3, ack.clone());
    assert_eq!(members(&rig.formed().expect("nobody is left behind")), [1, 2]);
    rig.say(3, ack);
    assert_eq!(rig.ignored(), [Ignored::StaleEviction]);
    assert!(matches!(rig.ask_with(all[2], 1, Epoch(1), |_| {})[..], [(3, Message::Reset { .. })]));
}

#[test]
fn who_was_evicted_does_not_get_that_formation_again_also_after_a_restart() {
    let (mut rig, all) = formed(2, |_| {});
    rig.say(2, Message::EvictAck { incarnation: all[1], formation: Epoch(1) });
    for _ in 0..2 {
        let answer = rig.ask_with(all[1], 1, Epoch(1), |_| {});
        assert!(matches!(answer[..], [(2, Message::Reset { .. })]), "{answer:?}");
        rig.restart();
        rig.beat(all[1]);
    }
}

#[test]
fn who_is_silent_is_taken_over_when_its_lease_has_run_out_by_any_clock() {
    // The timeout is longer than the takeover, so that silence alone, not failure, is what frees the others.
    let set = |knobs: &mut Knobs| {
        knobs.replica_timeout = Span::from_secs(300);
        knobs.join_timeout = SECOND;
    };
    let (mut rig, all) = formed(3, set);
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    rig.pass_with(&all[..2], Span::from_secs(5).minus(SECOND / 2));
    assert_eq!(rig.formed(), None);
    rig.pass_with(&all[..2], SECOND * 2);
    assert_eq!(members(&rig.formed().expect("it has lapsed")), [1, 2]);
    assert!(rig.coordinator.alive(all[2], rig.now), "it has not failed");
}

#[test]
fn who_is_heard_of_again_before_the_others_formed_holds_them_up_again() {
    let set = |knobs: &mut Knobs| {
        knobs.replica_timeout = Span::from_secs(300);
        knobs.join_timeout = SECOND;
    };
    let (mut rig, all) = formed(3, set);
    rig.pass_with(&all[..2], SECOND * 10);
    rig.beat(all[2]);
    rig.ask(all[0], 2);
    rig.ask(all[1], 2);
    rig.pass_with(&all[..2], SECOND * 4);
    assert_eq!(rig.formed(), None, "its lease may have begun anew");
    rig.pass_with(&all[..2], SECOND * 2);
    assert!(rig.formed().is_some());
}

#[test]
fn a_takeover_is_counted_anew_after_a_restart() {
    let (mut rig, all) = formed(2, |knobs| knobs.replica_timeout = Span::from_secs(4));
    rig.pass_with(&all[..1], Span::from_millis(4_500));
    assert_eq!(rig.failures(), [(all[1], Cause::Timeout)]);
    rig.restart();
    rig.beat(all[0]);
    rig.ask(all[0], 2);
    assert_eq!(waiting(&rig), "some may still be active in formation 1: r1");
    rig.pass_with(&all[..1], Span::from_secs(5).minus(SECOND));
    assert_eq!(rig.formed(), None);
    rig.pass_with(&all[..1], SECOND * 2);
    assert_eq!(members(&rig.formed().expect("it has lapsed")), [1]);
}

#[test]
fn a_superseded_process_holds_up_its_successor_until_it_has_lapsed() {
    let (mut rig, all) = formed(1, |_| {});
    let successor = rig.join("r0", Role::Replica);
    rig.ask(successor, 1);
    assert_eq!(rig.formed(), None);
    rig.pass_with(&[successor], SECOND * 6);
    assert!(!rig.sent.iter().any(|(_, message)| matches!(message, Message::Evict { .. })), "its time is not up");
    let quorum = rig.formed().expect("the old process has lapsed");
    assert_eq!((members(&quorum), quorum.id), (alloc::vec![successor.0], QuorumId(2)));
    assert!(rig.coordinator.member(all[0]).is_some());
}

#[test]
fn a_restart_ends_every_request() {
    let mut rig = Rig::new(|_| {});
    let all = rig.replicas(&["r0", "r1"]);
    rig.ask(all[0], 1);
    rig.restart();
    rig.beat(all[0]);
    rig.beat(all[1]);
    rig.ask(all[1], 1);
    assert_eq!(rig.formed(), None, "no phantom");
    assert!(matches!(rig.ask_with(all[0], 1, Epoch(1), |_| {})[..], [(1, Message::Reset { epoch: Epoch(2), .. })]));
}

#[test]
fn whoever_has_ended_is_told_so_whatever_it_asks() {
    let (mut rig, all) = formed(1, |_| {});
    rig.pass(Span::from_secs(6));
    let failed = [(1, Message::Failed { incarnation: all[0], cause: Cause::Timeout })];
    assert_eq!(rig.ask_with(all[0], 1, Epoch(1), |_| {}), failed);
    assert_eq!(rig.say(1, Message::Withdraw { incarnation: all[0], through: Number(1) }), failed);
    assert_eq!(rig.say(1, Message::Leave { incarnation: all[0] }), failed);
    let unknown = Incarnation(99);
    assert_eq!(rig.ask_with(unknown, 1, Epoch(1), |_| {}), [(99, Message::Unknown { incarnation: unknown })]);
}
