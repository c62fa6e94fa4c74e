//! One peer on a bench: its tests say what the others say, and look at what it does.

use super::*;
use crate::communicator::tests::{group, named, value};
use crate::event::{Inactivity, Start};
use crate::{Ballot, Communicator, Incarnation, InvalidValue, Rank, Stamp, Value, Vow};
use alloc::collections::BTreeSet;
use alloc::vec;
use squall_machine::{Released, Span};

/// Rank 0 to 4 of generation 1, at the addresses of their ranks.
fn founders() -> Communicator {
    let members = (0..5u64).map(|rank| Member { address: Address(rank), ..named(NAMES[rank as usize], rank + 1) });
    Communicator { generation: Generation(1), members: members.collect() }
}

const NAMES: [&str; 5] = ["m0", "m1", "m2", "m3", "m4"];

struct Bench {
    peer: Peer,
    outbox: squall_machine::Outbox<Peer>,
    now: Time,
}

/// What one or more steps gave.
#[derive(Default, Debug)]
struct Given {
    messages: Vec<(Address, Message)>,
    events: Vec<Event>,
    replies: Vec<PeerReply>,
}

impl Given {
    fn ignored(&self) -> Option<Ignored> {
        self.events.iter().find_map(|event| if let Event::Ignored { reason } = event { Some(*reason) } else { None })
    }

    fn has(&self, kind: &str) -> bool {
        use squall_machine::Kind;
        self.events.iter().any(|event| event.kind_name() == kind)
    }

    fn sent(&self, kind: &str) -> Vec<u64> {
        use squall_machine::Kind;
        self.messages.iter().filter(|(_, message)| message.kind_name() == kind).map(|(to, _)| to.0).collect()
    }
}

impl Bench {
    fn with(rank: u64, policy: Policy, knobs: Knobs) -> Self {
        let group = founders();
        let config = PeerConfig {
            member: group.members[rank as usize].clone(),
            founders: Some(group.members),
            contacts: (0..5).map(Address).collect(),
            policy,
            seed: 7,
            knobs: Arc::new(knobs),
        };
        let now = Time::ZERO + Span::from_secs(9);
        let mut bench = Self { peer: Peer::new(config), outbox: squall_machine::Outbox::new(), now };
        let given = bench.step(Input::Boot(Durable::empty()));
        assert_eq!(given.sent("ping").len(), 4, "everybody is greeted");
        bench
    }

    fn new(rank: u64) -> Self {
        Self::with(rank, Policy::Automatic, Knobs::default())
    }

    fn step(&mut self, input: Input<Peer>) -> Given {
        let (mut effects, mut given) = (Effects::new(), Given::default());
        self.peer.step(self.now, input, &mut effects);
        self.peer.assert_invariants();
        let batch = self.outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => given.messages.push((to, message)),
            Released::Reply(reply) => given.replies.push(reply),
            Released::Event { event, .. } => given.events.push(event),
        });
        assert!(batch.is_none(), "nothing is recorded");
        given
    }

    fn hears(&mut self, message: Message) -> Given {
        let from = message.stamp().map_or(9, |stamp| u64::from(stamp.rank.0));
        self.step(Input::Receive { from: Address(from), message })
    }

    /// Time passes; these ranks answer every ping and appeal at once.
    fn pass(&mut self, millis: u64, answering: &[u32]) -> Given {
        let until = self.now + Span::from_millis(millis);
        let mut all = Given::default();
        while let Some(due) = self.peer.deadline().filter(|due| *due <= until) {
            self.now = due;
            let given = self.step(Input::Wake);
            for (to, message) in &given.messages {
                if let Message::Ping { seq, .. } | Message::Appeal { seq, .. } = message
                    && answering.contains(&(to.0 as u32))
                {
                    let pong = Message::Pong { stamp: self.stamp(to.0 as u32), seq: *seq };
                    all.events.extend(self.hears(pong).events);
                }
            }
            all.messages.extend(given.messages);
            all.events.extend(given.events);
            all.replies.extend(given.replies);
        }
        self.now = until;
        all
    }

    /// A rank of the generation where the peer is.
    fn stamp(&self, rank: u32) -> Stamp {
        let seat = self.peer.seat.as_ref().expect("a member");
        Stamp { rank: Rank(rank), ..seat.stamp() }
    }

    /// The peer ignores this, for this reason, and is as before.
    #[track_caller]
    fn ignores(&mut self, message: Message, reason: Ignored) {
        let before = self.peer.clone();
        let given = self.hears(message);
        assert_eq!(given.ignored(), Some(reason));
        assert_eq!(given.events.len(), 1, "nothing else happens: {:?}", given.events);
        assert_eq!(self.peer, before, "nothing changes");
    }
}

fn ballot(round: u64, leader: u32) -> Ballot {
    Ballot { round, leader: Rank(leader) }
}

fn vow(suspects: &[u32], accepted: Option<(Ballot, Value)>) -> Arc<Vow> {
    Arc::new(Vow { suspects: suspects.iter().copied().map(Rank).collect(), joiners: [].into(), accepted })
}

fn decision(group: &Communicator, dead: &[u32], voters: &[u32]) -> Message {
    Message::Decision {
        decision: Arc::new(Decision {
            generation: group.generation,
            communicator: group.id(),
            ballot: ballot(1, 0),
            value: value(dead, &[]),
            voters: Arc::new(voters.iter().copied().map(Rank).collect::<BTreeSet<Rank>>()),
        }),
    }
}

#[test]
fn work_starts_when_everybody_was_heard() {
    let mut bench = Bench::new(0);
    assert!(!bench.pass(100, &[]).has("group_active"));
    for rank in 1..5 {
        let given = bench.hears(Message::Ping { stamp: bench.stamp(rank), seq: 1 });
        assert_eq!(given.has("group_active"), rank == 4);
    }
    assert_eq!(bench.peer.active().map(|(_, _, rank)| rank), Some(Rank(0)));
}

#[test]
fn silence_is_suspected_after_the_timeout_and_forgiven_with_an_answer() {
    let mut bench = Bench::new(0);
    let quiet = bench.pass(1_900, &[1, 3, 4]);
    assert!(!quiet.has("peer_suspected"), "{:?}", quiet.events);
    let given = bench.pass(300, &[1, 3, 4]);
    assert!(given.has("peer_suspected") && given.has("round_started"), "rank 0 leads");
    let seq = bench.peer.seat.as_ref().map_or(0, |seat| seat.seq);
    let given = bench.hears(Message::Pong { stamp: bench.stamp(2), seq });
    assert!(given.has("peer_cleared"));
    bench.ignores(Message::Pong { stamp: bench.stamp(2), seq }, Ignored::StalePong);
    bench.ignores(Message::Pong { stamp: bench.stamp(2), seq: seq + 9 }, Ignored::StalePong);
}

#[test]
fn its_own_gap_kills_nobody() {
    let mut bench = Bench::new(0);
    bench.now += Span::from_secs(60);
    let given = bench.step(Input::Wake);
    assert!(given.has("peer_stalled") && !given.has("peer_suspected"), "{:?}", given.events);
}

#[test]
fn a_round_goes_from_promises_to_the_decision() {
    let mut bench = Bench::new(0);
    let given = bench.hears(Message::Appeal { stamp: bench.stamp(4), seq: 1 });
    assert_eq!((given.sent("pong"), given.sent("collect")), (vec![4], vec![1, 2, 3, 4]));
    let started = Event::RoundStarted { generation: Generation(1), ballot: ballot(1, 0), start: Start::Told };
    assert!(given.events.contains(&started));
    let inactive = Event::GroupInactive { generation: Generation(1), cause: Inactivity::Promise };
    assert!(given.events.contains(&inactive));
    for rank in 1..4 {
        let promise = Message::Promise { stamp: bench.stamp(rank), ballot: ballot(1, 0), vow: vow(&[], None) };
        assert!(bench.hears(promise).sent("propose").is_empty(), "rank 4 is awaited");
    }
    let given = bench.pass(2_300, &[1, 2, 3]);
    assert!(given.has("peer_suspected"), "the leader watches whom it awaits");
    assert!(given.events.iter().any(|event| matches!(event, Event::RoundStarted { start: Start::Suspicion, .. })));
    for rank in 1..4 {
        let promise = Message::Promise { stamp: bench.stamp(rank), ballot: ballot(2, 0), vow: vow(&[4], None) };
        assert_eq!(bench.hears(promise).sent("propose").len(), if rank == 3 { 4 } else { 0 });
    }
    assert!(!bench.hears(Message::Accept { stamp: bench.stamp(1), ballot: ballot(2, 0) }).has("decided"));
    let given = bench.hears(Message::Accept { stamp: bench.stamp(2), ballot: ballot(2, 0) });
    assert_eq!(given.sent("decision"), [1, 2, 3, 4]);
    let seat = bench.peer.seat.as_ref().expect("a member");
    assert_eq!((seat.group.generation, seat.group.size()), (Generation(2), 4));
}

#[test]
fn a_promise_binds() {
    let mut bench = Bench::new(3);
    let collect =
        |bench: &Bench, leader, round| Message::Collect { stamp: bench.stamp(leader), ballot: ballot(round, leader) };
    assert_eq!(bench.hears(collect(&bench, 1, 3)).sent("promise"), [1]);
    assert_eq!(bench.hears(collect(&bench, 1, 3)).sent("promise"), [1], "a repeated question is answered again");
    let given = bench.hears(collect(&bench, 0, 3));
    assert_eq!((given.sent("outbid"), given.ignored()), (vec![0], Some(Ignored::StaleBallot)));
    let propose = |bench: &Bench, leader, round, dead: &[u32]| Message::Propose {
        stamp: bench.stamp(leader),
        ballot: ballot(round, leader),
        value: Box::new(value(dead, &[])),
    };
    assert_eq!(bench.hears(propose(&bench, 0, 3, &[4])).ignored(), Some(Ignored::StaleBallot));
    assert_eq!(bench.hears(propose(&bench, 1, 3, &[4])).sent("accept"), [1]);
    assert_eq!(bench.hears(propose(&bench, 1, 3, &[4])).sent("accept"), [1]);
    bench.ignores(propose(&bench, 1, 3, &[2]), Ignored::ConflictingValue);
    bench.ignores(propose(&bench, 1, 3, &[0, 1, 2]), Ignored::ImpossibleValue(InvalidValue::TooFewLeft));
    bench.ignores(propose(&bench, 1, 3, &[0, 1, 2, 3, 4]), Ignored::ImpossibleValue(InvalidValue::TooFewLeft));
    bench.ignores(propose(&bench, 1, 3, &[9]), Ignored::ImpossibleValue(InvalidValue::Dead));
    let given = bench.hears(collect(&bench, 2, 3));
    let Some((_, Message::Promise { vow, .. })) = given.messages.first() else { panic!("{given:?}") };
    assert_eq!(vow.accepted, Some((ballot(3, 1), value(&[4], &[]))), "the next leader is told");
}

#[test]
fn bad_input_is_ignored_by_name() {
    let mut bench = Bench::new(2);
    bench.hears(Message::Ping { stamp: bench.stamp(0), seq: 1 });
    let (own, other) = (bench.stamp(2), bench.stamp(0));
    let ping = |stamp| Message::Ping { stamp, seq: 1 };
    bench.ignores(ping(own), Ignored::ImpossibleRank);
    bench.ignores(ping(Stamp { rank: Rank(5), ..own }), Ignored::ImpossibleRank);
    bench.ignores(ping(Stamp { rank: Rank(u32::MAX), ..own }), Ignored::ImpossibleRank);
    bench.ignores(ping(Stamp { communicator: crate::CommunicatorId(1), ..other }), Ignored::WrongCommunicator);
    let collect = |ballot| Message::Collect { stamp: other, ballot };
    bench.ignores(collect(ballot(1, 1)), Ignored::ForgedLeader);
    bench.ignores(collect(ballot(0, 0)), Ignored::ImpossibleBallot);
    bench.ignores(collect(ballot(u64::MAX, 0)), Ignored::ImpossibleBallot);
    let promise = |vow| Message::Promise { stamp: other, ballot: ballot(1, 2), vow };
    bench.ignores(promise(vow(&[], None)), Ignored::StaleAnswer);
    bench.ignores(promise(vow(&[7], None)), Ignored::ImpossibleVow);
    bench.ignores(promise(vow(&[3, 1], None)), Ignored::ImpossibleVow);
    bench.ignores(promise(vow(&[], Some((ballot(1, 2), value(&[], &[]))))), Ignored::ImpossibleBallot);
    bench.ignores(Message::Accept { stamp: other, ballot: ballot(1, 2) }, Ignored::StaleAnswer);
    let outbid = Message::Outbid { stamp: other, ballot: ballot(1, 2), promised: ballot(2, 0) };
    bench.ignores(outbid, Ignored::StaleAnswer);
    bench.ignores(decision(&founders(), &[4], &[0, 1]), Ignored::NoQuorum);
    bench.ignores(decision(&founders(), &[4], &[0, 1, 9]), Ignored::NoQuorum);
    bench.ignores(
        decision(&founders(), &[0, 1, 2, 3, 4], &[0, 1, 3]),
        Ignored::ImpossibleValue(InvalidValue::TooFewLeft),
    );
    let foreign = Communicator { generation: Generation(1), ..group(5) };
    bench.ignores(decision(&foreign, &[4], &[0, 1, 2]), Ignored::WrongCommunicator);
    let welcome = |communicator| Message::Welcome { communicator: Arc::new(communicator) };
    bench.ignores(welcome(founders()), Ignored::StaleNews);
    bench.ignores(welcome(Communicator { members: [].into(), ..founders() }), Ignored::ImpossibleCommunicator);
    let join = |id: &str, generation| Message::Join { member: named(id, 99), generation: Generation(generation) };
    bench.ignores(join("", 1), Ignored::BadId);
    bench.ignores(join(&"x".repeat(2_000), 1), Ignored::BadId);
    bench.ignores(join("new", 2), Ignored::EarlyGeneration);
    bench.ignores(Message::Invite { generation: Generation(7) }, Ignored::StaleNews);
    bench.ignores(Message::CatchUp { stamp: other }, Ignored::StaleNews);
}

#[test]
fn who_is_excluded_fences_itself_and_comes_back_as_somebody_new() {
    let mut bench = Bench::new(4);
    let before = bench.peer.member().incarnation;
    let given = bench.hears(decision(&founders(), &[4], &[0, 1, 2]));
    assert!(given.has("decided") && given.has("self_fenced") && given.has("joining"), "{:?}", given.events);
    assert_ne!(bench.peer.member().incarnation, before);
    assert_eq!(bench.pass(10, &[]).sent("join").len(), 3);
    let first = bench.peer.member().incarnation;
    bench.hears(Message::Invite { generation: Generation(2) });
    assert_eq!(bench.peer.member().incarnation, first);
    bench.hears(Message::Invite { generation: Generation(3) });
    assert_ne!(bench.peer.member().incarnation, first, "what was asked before may have been granted and revoked");
    bench.ignores(Message::Invite { generation: Generation(3) }, Ignored::StaleNews);
}

#[test]
fn what_is_known_is_told_to_whoever_is_behind() {
    let mut bench = Bench::new(0);
    let old = bench.stamp(4);
    bench.hears(decision(&founders(), &[4], &[0, 1, 2]));
    let given = bench.hears(Message::Ping { stamp: old, seq: 1 });
    assert_eq!((given.sent("decision"), given.ignored()), (vec![4], Some(Ignored::StaleGeneration)));
    bench.ignores(decision(&founders(), &[3], &[0, 1, 2]), Ignored::StaleNews);
}

#[test]
fn a_message_of_a_later_generation_waits() {
    let mut bench = Bench::with(0, Policy::Automatic, Knobs { early_max: 1, ..Knobs::default() });
    let next = founders().successor(&value(&[4], &[]));
    let stamp = Stamp { generation: next.generation, communicator: next.id(), rank: Rank(3) };
    let given = bench.hears(Message::Ping { stamp, seq: 5 });
    assert!(given.has("fell_behind") && given.ignored().is_none());
    assert_eq!(given.sent("catch_up"), [3]);
    assert_eq!(bench.hears(Message::Ping { stamp, seq: 6 }).ignored(), Some(Ignored::EarlyGeneration), "one is kept");
    let given = bench.hears(decision(&founders(), &[4], &[0, 1, 2]));
    assert_eq!(given.sent("pong"), [3], "what was kept counts now");
}

#[test]
fn joiners_are_invited_remembered_and_welcome() {
    let mut bench = Bench::new(1);
    let join = |generation| Message::Join { member: named("new", 99), generation: Generation(generation) };
    assert_eq!(bench.hears(join(0)).sent("invite"), [99]);
    let given = bench.hears(join(1));
    assert!(given.has("joiner_known"));
    assert_eq!(given.sent("join"), [0], "the leader is told");
    let member = Message::Join { member: founders().members[3].clone(), generation: Generation(0) };
    assert_eq!(bench.hears(member).sent("welcome"), [3]);
    let mut small = Bench::with(1, Policy::Automatic, Knobs { joiners_max: 1, ..Knobs::default() });
    small.hears(join(1));
    let other = Message::Join { member: named("other", 98), generation: Generation(1) };
    small.ignores(other, Ignored::LimitReached);
}

#[test]
fn policies() {
    let mut manual = Bench::with(0, Policy::Manual, Knobs::default());
    let session = Session(1);
    let given = manual.step(Input::Request(PeerRequest::Subscribe { session, after: None }));
    assert!(matches!(given.replies[..], [PeerReply::Snapshot { .. }]));
    let given = manual.pass(3_000, &[1, 3, 4]);
    assert!(given.has("group_inactive") && !given.has("round_started"));
    let told = given.replies.iter().any(|reply| {
        matches!(reply, PeerReply::Notice { notice: Notice { change: Change::Suspected { .. }, .. }, .. })
    });
    assert!(told, "the suspicion is told: {:?}", given.replies);
    assert!(manual.step(Input::Request(PeerRequest::Recover)).has("round_started"));
    let mut abort = Bench::with(0, Policy::Abort, Knobs::default());
    let given = abort.pass(3_000, &[1, 3, 4]);
    assert!(given.has("recovery_failed"));
    assert!(matches!(&given.replies[..], [PeerReply::Aborted { suspects }] if suspects.len() == 1));
    assert_eq!((abort.peer.deadline(), abort.peer.status().stage), (None, Stage::Stopped));
    let ping = Message::Ping { stamp: abort.stamp(1), seq: 1 };
    abort.ignores(ping, Ignored::Stopped);
}

#[test]
fn subscribers_lag_and_resume() {
    let knobs = Knobs { subscriber_queue: 2, notices_kept: 3, ..Knobs::default() };
    let mut bench = Bench::with(0, Policy::Automatic, knobs);
    let session = Session(5);
    let subscribe = |after| Input::Request(PeerRequest::Subscribe { session, after });
    let given = bench.step(subscribe(Some(Cursor(0))));
    assert_eq!(given.replies.len(), 1, "the first install");
    for leaver in (1..5u32).rev() {
        let group = bench.peer.seat.as_ref().map(|seat| seat.group.clone()).expect("a member");
        let voters: Vec<u32> = (0..leaver + 1).collect();
        bench.hears(decision(&group, &[leaver], &voters));
    }
    let given = bench.step(subscribe(Some(Cursor(2))));
    let [PeerReply::Notice { notice, .. }, PeerReply::Notice { .. }] = &given.replies[..] else { panic!("{given:?}") };
    assert_eq!(notice.cursor, Cursor(3));
    bench.ignores_request(PeerRequest::Subscribe { session, after: Some(Cursor(99)) }, Ignored::ImpossibleCursor);
    let given = bench.step(subscribe(Some(Cursor(1))));
    let [PeerReply::Snapshot { subscription, .. }] = &given.replies[..] else { panic!("{given:?}") };
    assert_eq!((subscription.lagged, subscription.cursor), (Some(4), Cursor(5)));
    assert_eq!(bench.step(Input::Request(PeerRequest::Unsubscribe { session })).ignored(), None);
    bench.ignores_request(PeerRequest::Unsubscribe { session }, Ignored::ImpossibleCursor);
    bench.ignores_request(PeerRequest::Recover, Ignored::NothingToRecover);
}

impl Bench {
    #[track_caller]
    fn ignores_request(&mut self, request: PeerRequest, reason: Ignored) {
        let before = self.peer.clone();
        assert_eq!(self.step(Input::Request(request)).ignored(), Some(reason));
        assert_eq!(self.peer, before, "nothing changes");
    }
}

/// In the quiet case what a member sends to watch is constant, and what it sends to agree is at most linear.
#[test]
fn watching_costs_the_same_in_groups_of_every_size() {
    for size in [8u64, 64, 1_024] {
        let members: Arc<[Member]> = (0..size)
            .map(|rank| Member {
                id: alloc::format!("m{rank:04}").into(),
                incarnation: Incarnation(rank + 1),
                address: Address(rank),
            })
            .collect();
        let config = PeerConfig {
            member: members[0].clone(),
            founders: Some(members),
            contacts: [].into(),
            policy: Policy::Automatic,
            seed: 1,
            knobs: Arc::new(Knobs::default()),
        };
        let outbox = squall_machine::Outbox::new();
        let mut bench = Bench { peer: Peer::new(config), outbox, now: Time::ZERO + Span::from_secs(1) };
        assert_eq!(bench.step(Input::Boot(Durable::empty())).sent("ping").len() as u64, size - 1, "a greeting to each");
        for rank in 1..size as u32 {
            bench.hears(Message::Ping { stamp: bench.stamp(rank), seq: 1 });
        }
        let given = bench.pass(1_000, &[1, 2, 3]);
        assert_eq!(given.sent("ping").len(), 15, "three each 200 ms, in a group of {size}");
        let given = bench.hears(Message::Appeal { stamp: bench.stamp(7), seq: 1 });
        assert_eq!(given.sent("collect").len() as u64, size - 1);
    }
}
