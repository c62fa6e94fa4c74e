//! One test per rule of the quorum client and its lease.

use crate::rig::Rig;
use alloc::vec::Vec;
use squall_coordinator::{Epoch, Event, Ignored, Inactivity, Incarnation, Message, Number, Participant, Refusal};
use squall_machine::{Machine, Span, Time};

const LAPSE: Span = Span::from_secs(4);

fn just_before(time: Time) -> Time {
    Time::from_nanos(time.as_nanos() - 1)
}

#[test]
fn a_request_is_numbered_and_sent_again_until_it_is_answered() {
    let mut rig = Rig::replica();
    assert_eq!(rig.ask().asked(), Some((1, 1)));
    let again = rig.pass(Span::from_secs(1));
    let repeats: Vec<&Message> =
        again.messages.iter().filter(|message| matches!(message, Message::Ask { .. })).collect();
    assert_eq!(repeats.len(), 2, "every 500 ms");
    assert!(repeats.iter().all(|message| matches!(message, Message::Ask { number: Number(1), .. })));
    assert!(!again.event_kinds().contains(&"asked"), "a repetition is no new request");
    rig.form(1, 1, 1);
    assert_eq!(rig.pass(Span::from_secs(1)).asked(), None);
}

#[test]
fn only_the_answer_to_the_open_request_of_this_incarnation_counts() {
    let mut rig = Rig::replica();
    assert_eq!(rig.form(1, 3, 1).ignored(), Some(Ignored::StaleAnswer), "nothing is open");
    rig.ask();
    assert_eq!(rig.form(2, 3, 1).ignored(), Some(Ignored::StaleAnswer), "another number");
    let given = rig.form(1, 3, 1);
    assert_eq!(given.event_kinds(), ["received", "active", "rank_answered"]);
    assert_eq!(rig.form(1, 3, 1).ignored(), Some(Ignored::StaleAnswer), "a duplicate");
    assert_eq!(rig.formation(), Some(3));
}

#[test]
fn receipt_alone_starts_no_lease() {
    let mut rig = Rig::replica();
    rig.ask();
    let given = rig.form(1, 3, 0);
    assert_eq!(given.event_kinds(), ["received", "asked"], "counts as lapsed at once");
    assert_eq!((rig.formation(), rig.open()), (None, Some(2)));
    assert!(given.replies.is_empty(), "the ranks go on waiting");
    assert_eq!(given.asked(), None, "not before another heartbeat could be accepted");
    assert_eq!(rig.pass(Span::from_millis(100)).asked(), Some((2, 4)));
}

#[test]
fn an_answer_that_names_an_old_heartbeat_starts_no_lease() {
    for (age, active) in [(Span::from_nanos(LAPSE.as_nanos() - 1), true), (LAPSE, false)] {
        let mut rig = Rig::replica();
        let sent = rig.now;
        rig.ask();
        rig.pass(age);
        assert_eq!(rig.now, sent + age);
        rig.form(1, 3, 1);
        assert_eq!(rig.formation().is_some(), active, "heartbeat 1 was sent {age} ago");
    }
}

#[test]
fn the_lease_runs_from_the_sending_of_the_acknowledged_heartbeat_to_the_nanosecond() {
    let mut rig = Rig::active();
    let until = rig.now + LAPSE;
    assert_eq!(rig.member.status(rig.now).lease_until, Some(until));
    assert!(rig.pass(Span::from_secs(3)).inactive().is_none());
    rig.pass(Span::from_nanos(just_before(until).as_nanos() - rig.now.as_nanos()));
    assert_eq!(rig.formation(), Some(3));
    assert!(rig.member.deadline() <= Some(until), "it wakes for it");
    let given = rig.pass(Span::from_nanos(1));
    assert_eq!(given.inactive(), Some((3, Inactivity::Lapsed)));
    assert_eq!(rig.formation(), None);
}

#[test]
fn the_lease_is_judged_before_the_input_of_the_same_step() {
    let mut rig = Rig::active();
    rig.now += LAPSE;
    let given = rig.ack(1, 4, 3);
    assert_eq!(given.inactive(), Some((3, Inactivity::Lapsed)), "a late acknowledgement saves nothing");
}

#[test]
fn acknowledgements_that_name_the_formation_renew_the_lease_also_those_before_the_answer() {
    let mut rig = Rig::active();
    rig.pass(Span::from_secs(2));
    let kept = rig.member.status(rig.now).lease_until;
    rig.ack(10, 4, 2);
    assert_eq!(rig.member.status(rig.now).lease_until, kept, "an older formation's renews nothing");
    rig.ack(10, 4, 3);
    assert!(rig.member.status(rig.now).lease_until > kept);
    let renewed = rig.member.status(rig.now).lease_until;
    rig.ack(5, 4, 3);
    assert_eq!(rig.member.status(rig.now).lease_until, renewed, "an overtaken one takes nothing back");

    let mut rig = Rig::replica();
    rig.ask();
    rig.pass(Span::from_secs(2));
    rig.ack(12, 4, 3);
    rig.form(1, 3, 0);
    assert_eq!(rig.formation(), Some(3), "the acknowledgement overtook the answer");
}

#[test]
fn asking_again_ends_the_work_in_the_old_formation_first() {
    let mut rig = Rig::active();
    let given = rig.ask();
    assert_eq!(given.inactive(), Some((3, Inactivity::Asked)));
    assert_eq!(given.event_kinds(), ["rank_asked", "inactive", "asked"]);
    assert_eq!(given.asked(), Some((2, 4)), "in the epoch after the formation");
}

#[test]
fn a_reset_makes_it_ask_anew_without_anybodys_help() {
    let mut rig = Rig::replica();
    rig.ask();
    let given = rig.reset(5, 2);
    assert_eq!(given.asked(), Some((2, 2)), "a new number in the new epoch");
    assert!(given.replies.is_empty());
    assert_eq!(rig.reset(5, 2).ignored(), Some(Ignored::StaleAnswer), "a duplicate");
    assert_eq!(rig.reset(4, 3).ignored(), Some(Ignored::StaleAnswer), "another incarnation's");
    assert_eq!(rig.form(1, 1, 1).ignored(), Some(Ignored::StaleAnswer), "the first request is over");
    rig.form(2, 2, 1);
    assert_eq!(rig.formation(), Some(2));
}

#[test]
fn a_reset_ends_what_is_older_than_its_epoch_only() {
    let mut rig = Rig::active();
    assert_eq!(rig.reset(5, 3).ignored(), Some(Ignored::StaleFormation));
    assert_eq!(rig.formation(), Some(3));
    assert_eq!(rig.reset(5, 4).inactive(), Some((3, Inactivity::Reset)));
    assert_eq!(rig.open(), None, "nobody local wants a quorum");
}

#[test]
fn an_eviction_is_acknowledged_each_time_and_ends_the_work_in_it_and_before() {
    let mut rig = Rig::active();
    let given = rig.evict(5, 2);
    assert_eq!((given.kinds(), given.inactive()), (["evict_ack"].to_vec(), None), "an older formation");
    let given = rig.evict(5, 3);
    assert_eq!(given.inactive(), Some((3, Inactivity::Evicted)));
    let again = rig.evict(5, 3);
    assert_eq!(again.messages, [Message::EvictAck { incarnation: Incarnation(5), formation: Epoch(3) }]);
    assert_eq!(rig.evict(4, 3).kinds(), ["evict_ack"], "an incarnation given up works nowhere");
    assert_eq!(rig.evict(6, 3).ignored(), Some(Ignored::StaleAnswer), "not one of this process");
}

#[test]
fn who_acknowledged_an_eviction_never_becomes_active_in_that_formation() {
    let mut rig = Rig::replica();
    rig.ask();
    rig.evict(5, 3);
    let given = rig.form(1, 3, 1);
    assert_eq!(given.ignored(), Some(Ignored::StaleFormation));
    assert_eq!((rig.formation(), rig.open()), (None, Some(2)), "it asks anew");
}

#[test]
fn hearing_of_a_newer_formation_ends_the_older_one_and_bars_its_answer() {
    let mut rig = Rig::active();
    assert_eq!(rig.ack(1, 5, 4).inactive(), Some((3, Inactivity::Newer)));
    let mut rig = Rig::replica();
    rig.ask();
    rig.ack(1, 5, 4);
    assert_eq!(rig.form(1, 3, 1).ignored(), Some(Ignored::StaleFormation));
    assert_eq!(rig.formation(), None);
}

#[test]
fn a_caller_that_gives_up_withdraws_until_that_is_confirmed() {
    let mut rig = Rig::replica();
    rig.ask_with(Some(Span::from_millis(250)));
    let given = rig.pass(Span::from_millis(250));
    assert!(given.messages.contains(&Message::Withdraw { incarnation: Incarnation(5), through: Number(1) }));
    assert!(given.events.contains(&Event::GaveUp { incarnation: Incarnation(5), through: Number(1) }));
    assert_eq!(rig.form(1, 3, 1).ignored(), Some(Ignored::StaleAnswer), "too late");
    assert!(rig.pass(Span::from_millis(500)).kinds().contains(&"withdraw"), "sent again");
    let withdrawn = |through| Message::Withdrawn { incarnation: Incarnation(5), through: Number(through) };
    assert_eq!(rig.hear(withdrawn(0)).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(rig.hear(withdrawn(1)).ignored(), None);
    assert!(!rig.pass(Span::from_secs(1)).kinds().contains(&"withdraw"));
    assert_eq!(rig.ask().asked(), Some((2, 1)), "the next request is above it");
}

#[test]
fn a_refusal_reaches_the_ranks() {
    let mut rig = Rig::replica();
    rig.ask();
    let refused = |number| Message::Refused {
        incarnation: Incarnation(5),
        number: Number(number),
        refusal: Refusal::NothingToShrink,
    };
    assert_eq!(rig.hear(refused(2)).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(rig.hear(refused(1)).replies.len(), 1);
    assert_eq!(rig.open(), None);
}

#[test]
fn a_new_incarnation_asks_again_for_what_its_ranks_still_want() {
    let mut rig = Rig::replica();
    rig.ask();
    rig.hear(Message::Unknown { incarnation: Incarnation(5) });
    assert_eq!(rig.open(), None);
    let given = rig.grant(6, 8);
    assert_eq!(given.asked(), Some((1, 8)), "numbered from 1 again");
}

#[test]
fn the_memory_of_heartbeats_is_bounded_by_the_lapse() {
    let mut rig = Rig::active();
    rig.pass(Span::from_secs(60));
    assert!(rig.member.status(rig.now).heartbeats_kept <= 41);
}

#[test]
fn each_acknowledgement_renews_from_its_own_heartbeat_not_from_the_newest_sent() {
    let mut rig = Rig::active();
    rig.pass(Span::from_secs(2));
    let until = |rig: &Rig| rig.member.status(rig.now).lease_until.expect("it is Active");
    rig.ack(10, 4, 3);
    let tenth = until(&rig);
    rig.ack(20, 4, 3);
    assert_eq!(until(&rig).since(tenth), Span::from_secs(1), "ten intervals later");
    assert_eq!(rig.ack(99, 4, 3).ignored(), Some(Ignored::StaleAnswer), "one that was never sent");
}

#[test]
fn a_quorum_without_the_asker_is_no_answer() {
    let mut rig = Rig::replica();
    rig.ask();
    let mut message = None;
    if let Message::Formed { incarnation, number, heartbeat, mut quorum } = rig.formed(1, 3, 1) {
        let stranger = |member: &Participant| Participant { incarnation: Incarnation(6), ..member.clone() };
        quorum.members = quorum.members.iter().map(stranger).collect();
        message = Some(Message::Formed { incarnation, number, heartbeat, quorum });
    }
    assert_eq!(rig.hear(message.expect("an answer")).ignored(), Some(Ignored::StaleAnswer));
    assert_eq!(rig.open(), Some(1));
}

#[test]
fn a_quorum_in_which_the_manager_cannot_find_itself_starts_no_lease() {
    let mut rig = Rig::replica();
    rig.ask();
    let Message::Formed { incarnation, number, heartbeat, mut quorum } = rig.formed(1, 3, 1) else {
        panic!("an answer")
    };
    quorum.members = quorum.members.iter().map(|member| Participant { id: "r9".into(), ..member.clone() }).collect();
    let given = rig.hear(Message::Formed { incarnation, number, heartbeat, quorum });
    assert_eq!(given.ignored(), Some(Ignored::StaleAnswer));
    assert_eq!((rig.formation(), rig.open()), (None, Some(1)), "its ranks wait for a better answer");
}

#[test]
fn no_request_carries_an_epoch_that_only_an_acknowledgement_named() {
    let mut rig = Rig::replica();
    rig.ack(1, 9, 0);
    assert_eq!(rig.ask().asked(), Some((1, 1)), "epoch 9 may be lost in a crash, and begin again");
    assert_eq!(rig.reset(5, 2).asked(), Some((2, 2)), "an answer told the epoch");
}

#[test]
fn the_largest_numbers_are_numbers_like_any_other() {
    let mut rig = Rig::replica();
    rig.ask();
    rig.ack(1, u64::MAX, u64::MAX);
    rig.form(1, u64::MAX, 1);
    assert_eq!(rig.formation(), Some(u64::MAX));
    rig.evict(5, u64::MAX);
    rig.ask();
    rig.reset(5, u64::MAX);
    assert_eq!(rig.formation(), None);
}

#[test]
fn a_request_that_was_withdrawn_on_its_behalf_is_asked_anew() {
    let mut rig = Rig::replica();
    assert_eq!(rig.ask().asked(), Some((1, 1)));
    let given = rig.hear(Message::Withdrawn { incarnation: Incarnation(5), through: Number(1) });
    assert_eq!((given.ignored(), given.asked()), (None, Some((2, 1))));
    let copy = rig.hear(Message::Withdrawn { incarnation: Incarnation(5), through: Number(1) });
    assert_eq!(copy.ignored(), Some(Ignored::StaleAnswer), "a late copy ends nothing newer");
    assert_eq!(rig.open(), Some(2));
}
