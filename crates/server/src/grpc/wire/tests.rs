use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use prost::Message as _;
use squall_machine::Kind;

const CALLER: u64 = 7;

fn texts() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-z/:0-9]{0,12}", Just("größer".to_owned())].prop_map(Text::from)
}

fn asks() -> impl Strategy<Value = Arc<Ask>> {
    (texts(), texts(), any::<(u64, u32, bool, u64)>(), texts()).prop_map(
        |(address, store_address, (step, world_size, shrink_only, commit_failures), data)| {
            Arc::new(Ask { address, store_address, step, world_size, shrink_only, commit_failures, data })
        },
    )
}

fn causes() -> impl Strategy<Value = Cause> {
    prop_oneof![Just(Cause::Timeout), Just(Cause::Superseded)]
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![causes().prop_map(Change::Failed), Just(Change::Returned)]
}

fn participants() -> impl Strategy<Value = Participant> {
    (texts(), any::<(u64, u64)>(), asks()).prop_map(|(id, (incarnation, number), ask)| Participant {
        id,
        incarnation: Incarnation(incarnation),
        number: Number(number),
        ask,
    })
}

fn failures() -> impl Strategy<Value = Failure> {
    (texts(), any::<(u64, u64)>(), causes()).prop_map(|(member, (incarnation, cursor), cause)| Failure {
        member,
        incarnation: Incarnation(incarnation),
        cause,
        cursor: Cursor(cursor),
    })
}

fn requests() -> impl Strategy<Value = Message> {
    let numbers = || any::<(u64, u64, u64)>();
    prop_oneof![
        (texts(), texts(), any::<(u64, bool, u32, u32, u32)>()).prop_map(
            |(id, address, (boot, replica, cpu_millis, memory_mib, gpus))| Message::Register {
                id,
                boot: BootId(boot),
                role: if replica { Role::Replica } else { Role::Worker },
                address,
                capacity: Capacity { cpu_millis, memory_mib, gpus },
            }
        ),
        any::<(u64, u64, i64)>().prop_map(|(incarnation, seq, wall)| Message::Heartbeat {
            incarnation: Incarnation(incarnation),
            seq,
            wall: Wall(wall)
        }),
        any::<u64>().prop_map(|incarnation| Message::Leave { incarnation: Incarnation(incarnation) }),
        (numbers(), asks()).prop_map(|((incarnation, number, epoch), ask)| Message::Ask {
            incarnation: Incarnation(incarnation),
            number: Number(number),
            epoch: Epoch(epoch),
            ask
        }),
        numbers().prop_map(|(incarnation, through, _)| Message::Withdraw {
            incarnation: Incarnation(incarnation),
            through: Number(through)
        }),
        numbers().prop_map(|(incarnation, formation, _)| Message::EvictAck {
            incarnation: Incarnation(incarnation),
            formation: Epoch(formation)
        }),
        any::<(u64, Option<u64>)>()
            .prop_map(|(session, after)| Message::Subscribe { session: Session(session), after: after.map(Cursor) }),
        any::<u64>().prop_map(|session| Message::Unsubscribe { session: Session(session) }),
    ]
}

fn answers() -> impl Strategy<Value = Message> {
    let numbers = || any::<(u64, u64, u64)>();
    let members = || prop::collection::vec(participants(), 0..4);
    prop_oneof![
        numbers().prop_map(|(boot, incarnation, epoch)| Message::Granted {
            boot: BootId(boot),
            incarnation: Incarnation(incarnation),
            epoch: Epoch(epoch)
        }),
        (numbers(), any::<(Option<u64>, u64)>()).prop_map(|((incarnation, seq, epoch), (formation, cursor))| {
            Message::HeartbeatAck {
                incarnation: Incarnation(incarnation),
                seq,
                epoch: Epoch(epoch),
                formation: formation.map(Epoch),
                cursor: Cursor(cursor),
            }
        }),
        any::<u64>().prop_map(|incarnation| Message::Left { incarnation: Incarnation(incarnation) }),
        any::<u64>().prop_map(|incarnation| Message::Unknown { incarnation: Incarnation(incarnation) }),
        (any::<u64>(), causes())
            .prop_map(|(incarnation, cause)| Message::Failed { incarnation: Incarnation(incarnation), cause }),
        any::<u64>().prop_map(|incarnation| Message::Superseded { incarnation: Incarnation(incarnation) }),
        (numbers(), any::<(u64, u64)>(), members()).prop_map(
            |((incarnation, number, heartbeat), (id, formation), members)| Message::Formed {
                incarnation: Incarnation(incarnation),
                number: Number(number),
                heartbeat,
                quorum: Quorum { id: QuorumId(id), formation: Epoch(formation), members: members.into() },
            }
        ),
        (numbers(), prop::collection::vec(texts(), 0..4)).prop_map(|((incarnation, epoch, _), failed)| {
            Message::Reset { incarnation: Incarnation(incarnation), epoch: Epoch(epoch), failed: failed.into() }
        }),
        (numbers(), prop_oneof![Just(Refusal::NothingToShrink), Just(Refusal::NotAReplica), Just(Refusal::Malformed)])
            .prop_map(|((incarnation, number, _), refusal)| Message::Refused {
                incarnation: Incarnation(incarnation),
                number: Number(number),
                refusal
            }),
        numbers().prop_map(|(incarnation, through, _)| Message::Withdrawn {
            incarnation: Incarnation(incarnation),
            through: Number(through)
        }),
        numbers().prop_map(|(incarnation, formation, _)| Message::Evict {
            incarnation: Incarnation(incarnation),
            formation: Epoch(formation)
        }),
        (numbers(), texts(), changes()).prop_map(|((session, cursor, incarnation), member, change)| {
            let notice = Notice { cursor: Cursor(cursor), member, incarnation: Incarnation(incarnation), change };
            Message::Notification { session: Session(session), notice }
        }),
        (any::<(u64, u64, Option<u64>)>(), prop::collection::vec(failures(), 0..4)).prop_map(
            |((session, cursor, lagged), failures)| Message::Snapshot {
                session: Session(session),
                cursor: Cursor(cursor),
                lagged,
                failures: failures.into()
            }
        ),
    ]
}

/// Through the bytes and back, as the other side sees it.
fn over_the_wire<T: prost::Message + Default + Decode>(request: &T) -> (u64, Message) {
    let bytes = request.encode_to_vec();
    assert!(bytes.len() <= REQUEST_BYTES_MAX);
    <T as prost::Message>::decode(bytes.as_slice()).expect("what was encoded").decode().expect("what was a message")
}

fn there_and_back(message: &Message) -> Message {
    let (caller, back) = match encode(CALLER, message) {
        Frame::Request(Request::Register(request)) => over_the_wire(&request),
        Frame::Request(Request::Heartbeat(request)) => over_the_wire(&request),
        Frame::Request(Request::Leave(request)) => over_the_wire(&request),
        Frame::Request(Request::Quorum(request)) => over_the_wire(&request),
        Frame::Request(Request::Withdraw(request)) => over_the_wire(&request),
        Frame::Request(Request::ConfirmEviction(request)) => over_the_wire(&request),
        Frame::Request(Request::Subscribe(request)) => over_the_wire(&request),
        Frame::Request(Request::Unsubscribe(request)) => over_the_wire(&request),
        Frame::Answer(answer) => {
            let bytes = answer.encode_to_vec();
            let answer = pb::Answer::decode(bytes.as_slice()).expect("what was encoded");
            (CALLER, decode_answer(answer).expect("what was a message"))
        }
    };
    assert_eq!(caller, CALLER);
    back
}

proptest! {
    #[test]
    fn every_message_comes_out_as_it_went_in(message in prop_oneof![requests(), answers()]) {
        prop_assert_eq!(there_and_back(&message), message);
    }
}

#[test]
fn the_strategies_above_draw_every_kind_of_message() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let strategy = prop_oneof![requests(), answers()];
        kinds.insert(strategy.new_tree(&mut runner).expect("a value").current().kind_name());
    }
    assert_eq!(kinds.len(), Message::NAMES.len(), "{kinds:?}");
}

#[test]
fn what_is_malformed_is_refused_by_the_name_of_its_field() {
    let good = || pb::RegisterRequest {
        caller: CALLER,
        id: "r0".into(),
        boot: 1,
        role: pb::Role::Replica.into(),
        address: "a".into(),
        capacity: Some(pb::Capacity::default()),
    };
    assert!(good().decode().is_ok());
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let too_long = Problem::TooLarge { size: TEXT_BYTES_MAX + 1, max: TEXT_BYTES_MAX };
    for (request, field, problem) in [
        (pb::RegisterRequest { caller: 0, ..good() }, "caller", Problem::Missing),
        (pb::RegisterRequest { role: 0, ..good() }, "role", Problem::Unknown(0)),
        (pb::RegisterRequest { role: 9, ..good() }, "role", Problem::Unknown(9)),
        (pb::RegisterRequest { capacity: None, ..good() }, "capacity", Problem::Missing),
        (pb::RegisterRequest { id: long.clone(), ..good() }, "id", too_long),
        (pb::RegisterRequest { address: long, ..good() }, "address", too_long),
    ] {
        assert_eq!(request.decode(), Err(Malformed { field, problem }));
    }
    let quorum = pb::QuorumRequest { caller: CALLER, ..pb::QuorumRequest::default() };
    assert_eq!(quorum.decode(), Err(missing("ask")));
    assert_eq!(decode_answer(pb::Answer { kind: None }), Err(missing("answer.kind")));
}

#[test]
fn trouble_has_the_status_that_the_protocol_promises() {
    let status = |problem| tonic::Status::from(Malformed { field: "ask.data", problem });
    assert_eq!(status(Problem::Missing).code(), tonic::Code::InvalidArgument);
    assert_eq!(status(Problem::Unknown(3)).code(), tonic::Code::InvalidArgument);
    let large = status(Problem::TooLarge { size: 9, max: 8 });
    assert_eq!(large.code(), tonic::Code::ResourceExhausted);
    assert_eq!(large.message(), "ask.data: size 9, at most 8");
}
