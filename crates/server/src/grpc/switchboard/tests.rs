use super::*;
use squall_coordinator::{Change, Cursor, Notice};
use std::sync::Arc;

const WHO: Incarnation = Incarnation(4);
const CALLER: u64 = 9;

fn quorum(number: u64) -> Expects {
    Expects::Quorum { incarnation: WHO, number: Number(number), epoch: Epoch(3) }
}

fn beat(seq: u64) -> Expects {
    Expects::HeartbeatAck { incarnation: WHO, seq }
}

fn refused(number: u64) -> Message {
    let refusal = squall_coordinator::Refusal::Malformed;
    Message::Refused { incarnation: WHO, number: Number(number), refusal }
}

fn reset(epoch: u64) -> Message {
    Message::Reset { incarnation: WHO, epoch: Epoch(epoch), failed: Arc::from([]) }
}

fn acknowledged(seq: u64) -> Message {
    Message::HeartbeatAck { incarnation: WHO, seq, epoch: Epoch(3), formation: None, cursor: Cursor(0) }
}

fn notification(session: u64, cursor: u64) -> Message {
    let notice = Notice { cursor: Cursor(cursor), member: "r0".into(), incarnation: WHO, change: Change::Returned };
    Message::Notification { session: Session(session), notice }
}

#[test]
fn only_what_a_call_waits_for_is_its_answer() {
    let withdrawal = Expects::Withdrawal { incarnation: WHO, through: Number(2) };
    let withdrawn = |through| Message::Withdrawn { incarnation: WHO, through: Number(through) };
    let unknown = |incarnation| Message::Unknown { incarnation: Incarnation(incarnation) };
    for (expects, message, answered) in [
        (quorum(2), refused(2), true),
        (quorum(2), refused(1), false),
        (quorum(2), reset(4), true),
        (quorum(2), reset(3), false),
        (quorum(2), withdrawn(2), true),
        (quorum(3), withdrawn(2), false),
        (withdrawal, withdrawn(2), true),
        (withdrawal, withdrawn(1), false),
        (beat(5), acknowledged(5), true),
        (beat(5), acknowledged(4), false),
        (beat(5), reset(4), false),
        (beat(5), unknown(4), true),
        (beat(5), unknown(5), false),
        (Expects::Grant { boot: BootId(1) }, unknown(4), false),
    ] {
        assert_eq!(expects.is_answered_by(&message), answered, "{expects:?} {message:?}");
    }
}

#[test]
fn an_answer_finds_its_call_even_if_it_is_addressed_to_another() {
    let mut board = Switchboard::default();
    let (_, mut quorum_answer) = board.open_call(CALLER, quorum(1)).expect("room");
    let (beaten, mut beat_answer) = board.open_call(CALLER, beat(7)).expect("room");
    assert_eq!(board.route(beaten, refused(1)), Ok(()));
    assert_eq!(quorum_answer.try_recv(), Ok(refused(1)));
    assert!(beat_answer.try_recv().is_err(), "it waits for something else");
    assert_eq!(board.route(beaten, acknowledged(7)), Ok(()));
    assert_eq!(beat_answer.try_recv(), Ok(acknowledged(7)));
}

#[test]
fn what_no_call_waits_for_goes_to_whoever_attends_and_else_comes_back() {
    let mut board = Switchboard::default();
    let (of, answer) = board.open_call(CALLER, beat(1)).expect("room");
    assert_eq!(board.route(of, reset(9)), Err((reset(9), Undelivered::Gone)));
    let mut attended = board.attend(CALLER).expect("room");
    assert_eq!(board.route(of, reset(9)), Ok(()));
    assert_eq!(attended.try_recv(), Ok(reset(9)));
    drop(answer);
    assert_eq!(board.route(of, acknowledged(1)), Ok(()), "its call is gone, so it goes the other way");
    assert_eq!(attended.try_recv(), Ok(acknowledged(1)));
    for _ in 0..STREAM_MESSAGES_MAX {
        assert_eq!(board.route(of, reset(9)), Ok(()));
    }
    assert_eq!(board.route(of, reset(9)), Err((reset(9), Undelivered::QueueFull)));
    drop(attended);
    assert_eq!(board.route(of, reset(9)), Err((reset(9), Undelivered::Gone)));
    let request = Message::Leave { incarnation: WHO };
    assert_eq!(board.route(of, request.clone()), Err((request, Undelivered::WrongDirection)));
}

#[test]
fn notifications_go_to_the_stream_of_their_session() {
    let mut board = Switchboard::default();
    let (of, mut first) = board.subscribe(CALLER, Session(1)).expect("room");
    assert_eq!(board.route(of, notification(2, 1)), Err((notification(2, 1), Undelivered::Gone)));
    assert_eq!(board.route(of, notification(1, 1)), Ok(()));
    assert_eq!(first.try_recv(), Ok(notification(1, 1)));
    let (_, mut second) = board.subscribe(CALLER, Session(1)).expect("room");
    assert_eq!(board.route(of, notification(1, 2)), Ok(()));
    assert_eq!(second.try_recv(), Ok(notification(1, 2)));
    assert_eq!(first.try_recv(), Err(mpsc::error::TryRecvError::Disconnected), "a newer stream ends the older");
}

#[test]
fn a_request_that_is_given_up_is_named_unless_somebody_still_asks_for_it_or_it_was_answered() {
    let given_up = |number| Some((WHO, Number(number)));
    let mut board = Switchboard::default();
    let (of, _answer) = board.open_call(CALLER, quorum(1)).expect("room");
    assert_eq!(board.close_call(of), given_up(1));
    assert_eq!(board.close_call(of), None, "once");

    let (older, mut ended) = board.open_call(CALLER, quorum(2)).expect("room");
    let (newer, _answer) = board.open_call(CALLER, quorum(2)).expect("room");
    assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed), "the newer call took its place");
    assert_eq!(board.close_call(older), None);
    assert_eq!(board.close_call(newer), given_up(2));

    let (late, _answer) = board.open_call(CALLER, quorum(5)).expect("room");
    let (early, _other) = board.open_call(CALLER, quorum(4)).expect("room");
    assert_eq!(board.close_call(early), None, "a later one is open");
    assert_eq!(board.close_call(late), given_up(5));

    let (of, _answer) = board.open_call(CALLER, quorum(6)).expect("room");
    assert_eq!(board.route(of, refused(6)), Ok(()));
    assert_eq!(board.close_call(of), None, "it was answered");
    let (again, _answer) = board.open_call(CALLER, quorum(6)).expect("room");
    assert_eq!(board.close_call(again), None, "and stays so");

    let (of, _answer) = board.open_call(CALLER, beat(1)).expect("room");
    assert_eq!(board.close_call(of), None, "it asked for no quorum");
}

#[test]
fn calls_and_callers_are_bounded() {
    let mut board = Switchboard::default();
    let (first, mut oldest) = board.open_call(CALLER, beat(0)).expect("room");
    let _held: Vec<_> =
        (1..=CALLS_PER_CALLER_MAX as u64).map(|seq| board.open_call(CALLER, beat(seq)).expect("room")).collect();
    assert_eq!(oldest.try_recv(), Err(oneshot::error::TryRecvError::Closed), "the oldest made room");
    assert_eq!(board.caller(first), Some(CALLER));

    let streams: Vec<_> =
        (0..SUBSCRIPTIONS_PER_CALLER_MAX as u64).map(|session| board.subscribe(1, Session(session))).collect();
    assert_eq!(board.subscribe(1, Session(99)).map(drop), Err(Full::Subscriptions));
    drop(streams);
    assert_eq!(board.subscribe(1, Session(99)).map(drop), Ok(()), "streams that ended count no more");

    for caller in 100..100 + CALLERS_MAX as u64 {
        board.open_call(caller, Expects::Nothing).map(drop).expect("idle callers make room");
    }
    assert_eq!(board.connections.len(), CALLERS_MAX);
    assert_eq!(board.caller(first), Some(CALLER), "it has open calls");
    assert_eq!(board.by_caller.get(&1), None, "it had none");
}
