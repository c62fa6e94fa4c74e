//! One test per rule of a subscription.

use crate::Record;
use crate::rig::{Given, Rig, config};
use alloc::vec::Vec;
use squall_coordinator::{
    BootId, Cause, Change, Cursor, Epoch, Event, Ignored, Incarnation, Message, Notice, Role, Session,
};
use squall_machine::Span;

fn subscriber(disk: Vec<Record>) -> (Rig, Session, Given) {
    let (rig, given) = Rig::boot(config(Role::Worker, true), disk);
    let session = rig.member.status(rig.now).session.expect("it subscribes");
    (rig, session, given)
}

/// A subscriber that took a snapshot up to cursor 4.
fn cut() -> (Rig, Session) {
    let (mut rig, session, _) = subscriber(Vec::new());
    assert_eq!(snapshot(&mut rig, session, 4).ignored(), None);
    (rig, session)
}

fn snapshot(rig: &mut Rig, session: Session, cursor: u64) -> Given {
    rig.hear(Message::Snapshot { session, cursor: Cursor(cursor), lagged: None, failures: [].into() })
}

fn notify(rig: &mut Rig, session: Session, cursor: u64) -> Given {
    let change = Change::Failed(Cause::Timeout);
    let notice = Notice { cursor: Cursor(cursor), member: "r9".into(), incarnation: Incarnation(cursor), change };
    rig.hear(Message::Notification { session, notice })
}

fn subscribes(given: &Given) -> Vec<Option<u64>> {
    let after = |message: &Message| match message {
        Message::Subscribe { after, .. } => Some(after.map(|cursor| cursor.0)),
        _ => None,
    };
    given.messages.iter().filter_map(after).collect()
}

fn taken(rig: &Rig) -> Option<u64> {
    rig.member.status(rig.now).taken.map(|cursor| cursor.0)
}

#[test]
fn a_fresh_disk_opens_a_session_and_asks_for_a_snapshot() {
    let (rig, session, given) = subscriber(Vec::new());
    assert_eq!(given.records, [Record::Opened { session }]);
    assert_eq!(given.events, [Event::SessionOpened { session }]);
    assert_eq!(subscribes(&given), [None]);
    assert_eq!(taken(&rig), None);
}

#[test]
fn takes_the_next_cursor_only_and_records_it_first() {
    let (mut rig, session) = cut();
    let given = notify(&mut rig, session, 5);
    assert_eq!(given.records, [Record::Taken { cursor: Cursor(5) }]);
    assert_eq!(given.event_kinds(), ["notified"]);
    assert_eq!(notify(&mut rig, session, 5).ignored(), Some(Ignored::OutOfOrder), "a duplicate");
    assert_eq!(notify(&mut rig, Session(1), 6).ignored(), Some(Ignored::StaleSession));
    assert_eq!(taken(&rig), Some(5));
}

#[test]
fn what_overtakes_the_next_one_waits_for_it() {
    let (mut rig, session) = cut();
    for early in [7, 6, 9] {
        let given = notify(&mut rig, session, early);
        assert_eq!((given.ignored(), given.records, given.events), (None, Vec::new(), Vec::new()), "{early}");
    }
    assert_eq!(notify(&mut rig, session, 7).ignored(), Some(Ignored::OutOfOrder), "a duplicate");
    let given = notify(&mut rig, session, 5);
    assert_eq!(given.records, [5, 6, 7].map(|cursor| Record::Taken { cursor: Cursor(cursor) }));
    assert_eq!(given.event_kinds(), ["notified", "notified", "notified"]);
    let given = snapshot(&mut rig, session, 8);
    assert_eq!(given.event_kinds(), ["resynced", "notified"], "9 is the next one after the cut");
    for covered in [11, 12] {
        notify(&mut rig, session, covered);
    }
    assert_eq!(snapshot(&mut rig, session, 12).event_kinds(), ["resynced"], "nothing that a cut covers follows it");
    assert_eq!(taken(&rig), Some(12));
}

#[test]
fn what_waits_for_its_turn_is_bounded() {
    let (mut rig, session) = cut();
    let room = u64::from(squall_coordinator::Knobs::default().subscriber_queue);
    for early in 0..room {
        assert_eq!(notify(&mut rig, session, 6 + early).ignored(), None);
    }
    assert_eq!(notify(&mut rig, session, 6 + room).ignored(), Some(Ignored::OutOfOrder), "no room");
    assert_eq!(notify(&mut rig, session, 5).event_kinds().len() as u64, room + 1);
    assert_eq!(taken(&rig), Some(5 + room));
}

#[test]
fn nothing_is_taken_before_the_first_snapshot() {
    let (mut rig, session, _) = subscriber(Vec::new());
    assert_eq!(notify(&mut rig, session, 1).ignored(), Some(Ignored::OutOfOrder));
    assert_eq!(taken(&rig), None);
}

#[test]
fn a_snapshot_is_a_cut_forward() {
    let (mut rig, session) = cut();
    assert_eq!(snapshot(&mut rig, session, 4).ignored(), Some(Ignored::OutOfOrder));
    assert_eq!(snapshot(&mut rig, session, 3).ignored(), Some(Ignored::OutOfOrder));
    let given = snapshot(&mut rig, session, 9);
    assert_eq!((given.records, given.events.len()), ([Record::Taken { cursor: Cursor(9) }].to_vec(), 1));
    assert_eq!(notify(&mut rig, session, 9).ignored(), Some(Ignored::OutOfOrder));
    assert_eq!(notify(&mut rig, session, 10).ignored(), None);
}

#[test]
fn says_what_it_took_soon_and_at_least_once_per_poll() {
    let (mut rig, session) = cut();
    assert_eq!(subscribes(&rig.pass(Span::from_millis(100))), [Some(4)]);
    for cursor in 5..=20 {
        notify(&mut rig, session, cursor);
    }
    assert_eq!(subscribes(&rig.pass(Span::from_millis(100))), [Some(20)], "once for all of them");
    let quiet = subscribes(&rig.pass(Span::from_secs(10)));
    assert!((10..=20).contains(&quiet.len()), "{quiet:?}");
}

#[test]
fn a_gap_or_a_newer_cursor_elsewhere_makes_it_speak_at_once_but_not_again_and_again() {
    let (mut rig, session) = cut();
    rig.pass(Span::from_millis(400));
    let quiet = |rig: &mut Rig| subscribes(&rig.pass(Span::ZERO)).is_empty();
    assert!(quiet(&mut rig));
    rig.pass(Span::from_millis(100));
    assert_eq!(subscribes(&notify(&mut rig, session, 9)), [Some(4)]);
    assert_eq!(subscribes(&notify(&mut rig, session, 10)), [], "within one round trip");
    let (incarnation, boot) = (Incarnation(5), rig.boot);
    rig.hear(Message::Granted { boot, incarnation, epoch: Epoch(1) });
    rig.pass(Span::from_millis(100));
    rig.pass(Span::from_millis(100));
    let ack = |cursor| Message::HeartbeatAck {
        incarnation,
        seq: 1,
        epoch: Epoch(1),
        formation: None,
        cursor: Cursor(cursor),
    };
    assert_eq!(subscribes(&rig.hear(ack(4))), [], "nothing is missing");
    assert_eq!(subscribes(&rig.hear(ack(5))), [Some(4)], "a lost last message is noticed");
}

#[test]
fn a_restart_resumes_the_session_and_a_wiped_disk_opens_another() {
    let (mut rig, session) = cut();
    notify(&mut rig, session, 5);
    let (resumed, same, given) = subscriber(rig.disk.clone());
    assert_eq!((same, taken(&resumed)), (session, Some(5)));
    assert_eq!(subscribes(&given), [Some(5)]);
    assert_eq!(given.records, []);
    let config = crate::MemberConfig { seed: 43, ..config(Role::Worker, true) };
    let (wiped, _) = Rig::boot(config, Vec::new());
    assert_ne!(wiped.member.status(wiped.now).session, Some(session));
    assert_ne!(wiped.boot, BootId(0));
}

#[test]
fn who_does_not_subscribe_has_no_session() {
    let (mut rig, _) = Rig::boot(config(Role::Worker, false), Vec::new());
    assert_eq!(notify(&mut rig, Session(1), 1).ignored(), Some(Ignored::StaleSession));
    assert_eq!(snapshot(&mut rig, Session(1), 1).ignored(), Some(Ignored::StaleSession));
}

#[test]
fn the_largest_cursor_is_taken_once() {
    let (mut rig, session) = cut();
    notify(&mut rig, session, u64::MAX);
    assert_eq!(snapshot(&mut rig, session, u64::MAX).ignored(), None);
    assert_eq!(taken(&rig), Some(u64::MAX));
    assert_eq!(notify(&mut rig, session, u64::MAX).ignored(), Some(Ignored::OutOfOrder));
}
