//! One test per rule of a member's stay.

use crate::rig::{Rig, config};
use crate::{MemberPhase, MemberReply, MemberRequest};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use squall_coordinator::{BootId, Cause, Epoch, Event, Ignored, Inactivity, Incarnation, Message, Role};
use squall_machine::{Machine, Span, Wall};

fn registers(messages: &[Message]) -> usize {
    messages.iter().filter(|message| matches!(message, Message::Register { .. })).count()
}

fn sequence(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| if let Message::Heartbeat { seq, .. } = message { Some(*seq) } else { None })
        .collect()
}

#[test]
fn registers_again_until_it_is_granted_then_beats_at_once() {
    let (mut rig, given) = Rig::boot(config(Role::Replica, false), Vec::new());
    assert_eq!(given.kinds(), ["register"]);
    let again = rig.pass(Span::from_secs(1));
    assert_eq!(registers(&again.messages), 2);
    assert!(
        again.messages.iter().all(|message| matches!(message, Message::Register { boot, .. } if *boot == rig.boot))
    );
    let stranger = Message::Granted { boot: BootId(1), incarnation: Incarnation(4), epoch: Epoch(1) };
    assert_eq!(rig.hear(stranger).ignored(), Some(Ignored::StaleAnswer), "another process's grant");
    let granted = rig.grant(5, 1);
    assert_eq!(granted.messages, [Message::Heartbeat { incarnation: Incarnation(5), seq: 1, wall: Wall(77) }]);
    assert_eq!(granted.event_kinds(), ["joined"]);
    assert_eq!(rig.grant(5, 1).ignored(), Some(Ignored::StaleAnswer), "a duplicate");
    assert_eq!(registers(&rig.pass(Span::from_secs(2)).messages), 0);
}

#[test]
fn beats_every_interval_of_its_role_in_a_phase_of_its_own() {
    for (role, interval) in [(Role::Replica, Span::from_millis(100)), (Role::Worker, Span::from_secs(5))] {
        let mut phases = BTreeSet::new();
        for seed in 0..20 {
            let (mut rig, _) = Rig::boot(crate::MemberConfig { seed, ..config(role, false) }, Vec::new());
            rig.grant(5, 1);
            let due = rig.member.deadline().expect("the next heartbeat");
            assert!(due > rig.now && due <= rig.now + interval);
            phases.insert(due);
            assert_eq!(sequence(&rig.pass(interval * 10).messages), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        }
        assert!(phases.len() > 15, "{phases:?}");
    }
}

#[test]
fn a_process_that_was_paused_beats_once_not_for_all_it_missed() {
    let mut rig = Rig::replica();
    rig.now += Span::from_secs(30);
    assert_eq!(sequence(&rig.pass(Span::ZERO).messages), [2]);
    assert_eq!(sequence(&rig.pass(Span::from_secs(1)).messages).len(), 10);
}

#[test]
fn who_is_unknown_or_failed_comes_back_as_a_new_incarnation_within_the_spread() {
    let spread = Span::from_secs(2);
    for seed in 0..20 {
        for end in [
            Message::Unknown { incarnation: Incarnation(5) },
            Message::Failed { incarnation: Incarnation(5), cause: Cause::Timeout },
        ] {
            let (mut rig, _) = Rig::boot(crate::MemberConfig { seed, ..config(Role::Replica, false) }, Vec::new());
            rig.grant(5, 1);
            rig.hear(end.clone());
            let due = rig.member.deadline().expect("the registration");
            assert!(due <= rig.now + spread);
            rig.pass(spread);
            assert_eq!(rig.grant(5, 1).ignored(), Some(Ignored::StaleAnswer), "an ended incarnation never comes back");
            assert_eq!(sequence(&rig.grant(6, 1).messages), [1], "numbered anew");
            assert_eq!(rig.hear(end.clone()).ignored(), Some(Ignored::StaleAnswer), "about the one before");
        }
    }
}

#[test]
fn an_end_also_ends_the_work() {
    let mut rig = Rig::active();
    let given = rig.hear(Message::Failed { incarnation: Incarnation(5), cause: Cause::Timeout });
    assert_eq!(given.inactive(), Some((3, Inactivity::Ended)));
}

#[test]
fn who_is_superseded_stops_with_an_error() {
    let mut rig = Rig::active();
    rig.ask();
    let given = rig.hear(Message::Superseded { incarnation: Incarnation(5) });
    assert_eq!(given.event_kinds(), ["rank_answered", "stopped"]);
    assert_eq!(given.replies.last(), Some(&MemberReply::Stopped { superseded: true }));
    assert_eq!(rig.member.deadline(), None);
    let status = rig.member.status(rig.now);
    assert_eq!((status.phase, status.superseded), (MemberPhase::Stopped, true));
    assert_eq!(rig.grant(6, 1).ignored(), Some(Ignored::Stopped));
}

#[test]
fn leaving_is_said_until_it_is_confirmed_and_nothing_is_active_meanwhile() {
    let mut rig = Rig::active();
    let given = rig.request(MemberRequest::Leave);
    assert_eq!(given.inactive(), Some((3, Inactivity::Left)));
    assert_eq!(given.kinds(), ["leave"]);
    assert!(rig.pass(Span::from_millis(500)).kinds().contains(&"leave"));
    assert_eq!(rig.request(MemberRequest::Leave).ignored(), Some(Ignored::Stopped));
    let given = rig.hear(Message::Left { incarnation: Incarnation(5) });
    let stopped = Event::Stopped { member: "r1".into(), incarnation: Some(Incarnation(5)), superseded: false };
    assert_eq!(given.events, [stopped]);
    assert_eq!(rig.pass(Span::from_secs(9)).messages, []);
}

#[test]
fn who_leaves_does_not_come_back_when_its_incarnation_has_failed_meanwhile() {
    let mut rig = Rig::replica();
    rig.request(MemberRequest::Leave);
    rig.hear(Message::Failed { incarnation: Incarnation(5), cause: Cause::Timeout });
    assert_eq!(rig.member.status(rig.now).phase, MemberPhase::Stopped);
    let (mut rig, _) = Rig::boot(config(Role::Worker, false), Vec::new());
    let given = rig.request(MemberRequest::Leave);
    assert_eq!(given.event_kinds(), ["stopped"], "there is nothing to leave");
    assert_eq!(given.messages, []);
}

#[test]
fn a_departure_that_was_not_asked_for_is_ignored() {
    let mut rig = Rig::replica();
    assert_eq!(rig.hear(Message::Left { incarnation: Incarnation(5) }).ignored(), Some(Ignored::StaleAnswer));
    let register = Message::Leave { incarnation: Incarnation(5) };
    assert_eq!(rig.hear(register).ignored(), Some(Ignored::WrongDirection));
}
