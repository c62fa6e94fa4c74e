//! Subscriptions: snapshot and stream, windows, lag, resumption.

use super::*;
use crate::{Change, Failure};
use alloc::vec;

const SESSION: Session = Session(40);

fn subscribe(rig: &mut Rig, after: Option<u64>) -> Vec<String> {
    let sent = rig.say(8, Message::Subscribe { session: SESSION, after: after.map(Cursor) });
    shown(&sent)
}

/// What a subscriber gets, in short: `2 failed r0`, or `cut 3 lagged 2: r0 r1`.
fn shown(sent: &[(u64, Message)]) -> Vec<String> {
    let lines = sent.iter().filter_map(|(to, message)| match message {
        Message::Notification { session, notice } => {
            assert_eq!((*to, *session), (8, SESSION));
            let change = match notice.change {
                Change::Failed(_) => "failed",
                Change::Returned => "returned",
            };
            Some(format!("{} {change} {}", notice.cursor, notice.member))
        }
        Message::Snapshot { session, cursor, lagged, failures } => {
            assert_eq!((*to, *session), (8, SESSION));
            let lagged = lagged.map_or(String::new(), |missed| format!(" lagged {missed}"));
            let names: String = failures.iter().map(|failure: &Failure| format!(" {}", failure.member)).collect();
            Some(format!("cut {cursor}{lagged}:{names}"))
        }
        _ => None,
    });
    lines.collect()
}

/// Fails this many workers, each named for its place in the stream.
fn fail(rig: &mut Rig, count: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..count {
        let id = format!("w{}", rig.status().cursor.next());
        rig.join(&id, Role::Worker);
        rig.pass(Span::from_millis(30_500));
        lines.extend(shown(&rig.drain()));
    }
    lines
}

fn small_queue() -> Rig {
    Rig::new(|knobs| {
        knobs.subscriber_queue = 2;
        knobs.notices_kept = 4;
        knobs.session_ttl = Span::from_secs(100_000);
    })
}

#[test]
fn nobody_listening_is_no_reason_to_forget() {
    let mut rig = Rig::new(|_| {});
    assert_eq!(fail(&mut rig, 2), [""; 0]);
    assert_eq!(subscribe(&mut rig, None), ["cut 2: w1 w2"]);
    assert_eq!(subscribe(&mut rig, Some(2)), [""; 0]);
    assert_eq!(fail(&mut rig, 1), ["3 failed w3"]);
}

#[test]
fn who_returns_is_noticed_in_the_same_stream() {
    let mut rig = Rig::new(|_| {});
    subscribe(&mut rig, None);
    subscribe(&mut rig, Some(0));
    fail(&mut rig, 1);
    rig.register("w1", 70, Role::Worker);
    let sent = rig.beat(Incarnation(2));
    assert_eq!(shown(&sent), ["2 returned w1"]);
    let ack = sent.iter().find_map(|(_, message)| match message {
        Message::HeartbeatAck { cursor, .. } => Some(*cursor),
        _ => None,
    });
    assert_eq!(ack, Some(Cursor(2)), "acknowledgements carry the newest cursor");
}

#[test]
fn a_lost_notice_is_sent_again_and_a_stale_confirmation_is_ignored() {
    let mut rig = Rig::new(|knobs| knobs.session_ttl = Span::from_secs(1_000));
    subscribe(&mut rig, None);
    subscribe(&mut rig, Some(0));
    fail(&mut rig, 3);
    assert_eq!(subscribe(&mut rig, Some(1)), [""; 0], "the rest may be on its way");
    assert_eq!(subscribe(&mut rig, Some(1)), ["2 failed w2", "3 failed w3"]);
    assert_eq!(subscribe(&mut rig, Some(0)), [""; 0]);
    assert_eq!(rig.ignored(), [Ignored::OutOfOrder]);
    assert_eq!(subscribe(&mut rig, None), [""; 0]);
    assert_eq!(rig.ignored(), [Ignored::OutOfOrder]);
}

#[test]
fn a_lost_snapshot_is_sent_anew_and_nothing_older_than_a_cut_follows() {
    let mut rig = Rig::new(|_| {});
    assert_eq!(subscribe(&mut rig, None), ["cut 0:"]);
    assert_eq!(fail(&mut rig, 1), ["1 failed w1"]);
    assert_eq!(subscribe(&mut rig, None), ["cut 1: w1"]);
    assert_eq!(subscribe(&mut rig, Some(0)), ["cut 1 lagged 1: w1"], "it took the first cut, the second is lost");
    assert_eq!(subscribe(&mut rig, Some(1)), [""; 0]);
}

#[test]
fn who_confirms_nothing_gets_no_more_than_its_window_and_then_a_cut() {
    let mut rig = small_queue();
    subscribe(&mut rig, None);
    subscribe(&mut rig, Some(0));
    assert_eq!(fail(&mut rig, 2), ["1 failed w1", "2 failed w2"]);
    let status = rig.status().sessions.remove(0);
    assert_eq!((status.queued, status.behind, status.lagging), (2, 0, false), "a full window alone is no lag");
    assert_eq!(fail(&mut rig, 1), [""; 0]);
    rig.pass(SECOND);
    assert!(rig.status().sessions[0].lagging);
    assert_eq!(fail(&mut rig, 1), [""; 0]);
    assert_eq!(subscribe(&mut rig, Some(0)), ["cut 4 lagged 4: w1 w2 w3 w4"]);
    assert_eq!(subscribe(&mut rig, Some(4)), [""; 0]);
    assert_eq!(fail(&mut rig, 1), ["5 failed w5"]);
}

#[test]
fn a_confirmation_lets_what_waited_follow() {
    let mut rig = small_queue();
    subscribe(&mut rig, None);
    subscribe(&mut rig, Some(0));
    fail(&mut rig, 2);
    let w3 = rig.join("w3", Role::Worker);
    rig.say(1, register("w3", 90, Role::Worker));
    assert_eq!(shown(&rig.beat(w3.next())), [""; 0], "its window is full");
    assert_eq!(subscribe(&mut rig, Some(1)), ["3 failed w3"]);
    assert_eq!(subscribe(&mut rig, Some(3)), ["4 returned w3"]);
}

#[test]
fn who_is_slow_for_less_than_a_tick_does_not_lag() {
    for (silence, expected) in [(SECOND, vec!["3 failed c"]), (SECOND * 2, vec!["cut 3 lagged 2: a b c"])] {
        let mut rig = small_queue();
        subscribe(&mut rig, None);
        subscribe(&mut rig, Some(0));
        for id in ["a", "b", "c"] {
            rig.join(id, Role::Worker);
        }
        rig.pass(Span::from_secs(30));
        assert_eq!(shown(&rig.drain()), ["1 failed a", "2 failed b"]);
        rig.pass(silence);
        assert_eq!(subscribe(&mut rig, Some(1)), expected, "after {silence}");
    }
}

#[test]
fn sessions_resume_by_cursor_also_across_restarts() {
    let mut rig = small_queue();
    subscribe(&mut rig, None);
    subscribe(&mut rig, Some(0));
    fail(&mut rig, 2);
    rig.restart();
    assert_eq!(subscribe(&mut rig, Some(1)), ["2 failed w2"]);
    fail(&mut rig, 4);
    rig.restart();
    assert_eq!(subscribe(&mut rig, Some(1)), ["cut 6 lagged 5: w1 w2 w3 w4 w5 w6"], "2 is not kept any more");
    rig.restart();
    assert_eq!(subscribe(&mut rig, Some(2)), ["3 failed w3", "4 failed w4"], "3 still is");
}

#[test]
fn an_impossible_cursor_is_named_and_answered_with_a_cut() {
    let mut rig = Rig::new(|_| {});
    fail(&mut rig, 1);
    assert_eq!(subscribe(&mut rig, Some(2)), ["cut 1: w1"]);
    assert_eq!(rig.ignored(), [Ignored::ImpossibleCursor]);
    assert_eq!(subscribe(&mut rig, Some(9)), ["cut 1: w1"]);
    assert_eq!(rig.ignored(), [Ignored::ImpossibleCursor]);
}

#[test]
fn sessions_end_on_request_by_silence_and_at_their_limit() {
    let mut rig = Rig::new(|knobs| knobs.sessions_max = 1);
    subscribe(&mut rig, None);
    rig.say(8, Message::Subscribe { session: Session(41), after: None });
    assert_eq!(rig.ignored(), [Ignored::LimitReached]);
    rig.say(8, Message::Unsubscribe { session: SESSION });
    assert!(rig.events.contains(&Event::Unsubscribed { session: SESSION }));
    rig.say(8, Message::Unsubscribe { session: SESSION });
    assert_eq!(rig.ignored(), [Ignored::UnknownSession]);
    subscribe(&mut rig, None);
    rig.pass(Span::from_secs(60));
    assert!(rig.events.contains(&Event::Unsubscribed { session: SESSION }));
    assert_eq!(rig.status().sessions, []);
}
