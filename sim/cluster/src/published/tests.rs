//! One process of the exhibit on a bench: where it is right, where it fails, and that bad input is ignored by name.

use super::*;
use squall_machine::{Address, Durable, Outbox, Released};
use squall_recovery::{Ballot, CommunicatorId, Decision, Incarnation, Value, Vow};

struct Bench {
    now: Time,
    machine: Published,
    outbox: Outbox<Published>,
    sent: Vec<(Address, Message)>,
    told: Vec<Event>,
}

fn member(rank: u64) -> Member {
    Member { id: format!("r{rank}").into(), incarnation: Incarnation(rank + 1), address: Address(rank) }
}

impl Bench {
    /// One of three.
    fn of_three(rank: u64) -> Self {
        let config = PublishedConfig {
            member: member(rank),
            founders: Some((0..3).map(member).collect()),
            step: (Span::from_secs(100), Span::from_secs(100)),
            seed: rank,
            knobs: Arc::new(Knobs::default()),
        };
        let machine = Published::new(config);
        let mut bench = Self { now: Time::ZERO, machine, outbox: Outbox::new(), sent: Vec::new(), told: Vec::new() };
        bench.step(Input::Boot(Durable::empty()));
        bench
    }

    fn step(&mut self, input: Input<Published>) {
        let mut effects = Effects::new();
        self.machine.step(self.now, input, &mut effects);
        self.machine.assert_invariants();
        let (sent, told) = (&mut self.sent, &mut self.told);
        let batch = self.outbox.drain(self.now, &mut effects, |released| match released {
            Released::Message { to, message } => sent.push((to, message)),
            Released::Reply(never) => match never {},
            Released::Event { event: PeerNodeEvent::Recovery(event), .. } => told.push(event),
            Released::Event { event: PeerNodeEvent::Work(_), .. } => {}
        });
        assert!(batch.is_none(), "nothing is recorded");
    }

    fn hear(&mut self, from: u64, message: Message) {
        self.step(Input::Receive { from: Address(from), message });
    }

    /// Time goes by while these ranks, named as in the first group, are heard.
    fn run(&mut self, secs: u64, alive: &[u64]) {
        for tick in 0..secs * 10 {
            self.now += Span::from_millis(100);
            self.step(Input::Wake);
            for rank in alive {
                let stamp = stamp(1, *rank as u32);
                self.hear(*rank, Message::Ping { stamp, seq: tick });
            }
        }
    }

    fn ignored(&mut self, message: Message) -> Option<Ignored> {
        let before = self.machine.clone();
        self.told.clear();
        self.hear(1, message);
        assert_eq!(self.machine, before, "nothing changes");
        match self.told.as_slice() {
            [Event::Ignored { reason }] => Some(*reason),
            _ => None,
        }
    }
}

fn stamp(generation: u64, rank: u32) -> Stamp {
    Stamp { generation: Generation(generation), communicator: CommunicatorId(0), rank: Rank(rank) }
}

fn ranks(of: &[u32]) -> Arc<[Rank]> {
    of.iter().copied().map(Rank).collect()
}

const BALLOT: Ballot = Ballot { round: 1, leader: Rank(0) };

fn vote(generation: u64, rank: u32, dead: &[u32]) -> Message {
    let vow = Arc::new(Vow { suspects: ranks(dead), joiners: [].into(), accepted: None });
    Message::Promise { stamp: stamp(generation, rank), ballot: BALLOT, vow }
}

fn decision(dead: &[u32]) -> Message {
    let (value, voters) = (Value { dead: ranks(dead), joined: [].into() }, Arc::default());
    let communicator = CommunicatorId(0);
    Message::Decision {
        decision: Arc::new(Decision { generation: Generation(1), communicator, ballot: BALLOT, value, voters }),
    }
}

fn installed(told: &[Event]) -> Vec<(u64, usize)> {
    let sizes = told.iter().filter_map(|event| match event {
        Event::Installed { group, .. } => Some((group.generation.0, group.members.len())),
        _ => None,
    });
    sizes.collect()
}

fn failed(told: &[Event]) -> bool {
    told.iter().any(|event| matches!(event, Event::RecoveryFailed { .. }))
}

#[test]
fn a_leader_collects_tells_and_rebuilds() {
    let mut bench = Bench::of_three(0);
    bench.run(3, &[1]);
    assert_eq!(installed(&bench.told), [(1, 3)]);
    bench.hear(1, vote(1, 1, &[2]));
    let (to, last) = bench.sent.last().expect("it tells the survivor");
    assert!(*to == Address(1) && matches!(last, Message::Decision { decision } if *decision.value.dead == [Rank(2)]));
    assert_eq!(installed(&bench.told), [(1, 3)], "not before the survivor has it");
    bench.hear(1, Message::Accept { stamp: stamp(1, 1), ballot: BALLOT });
    assert_eq!(installed(&bench.told), [(1, 3), (2, 2)]);
    assert!(!failed(&bench.told));
}

#[test]
fn a_follower_votes_and_does_as_it_is_told() {
    let mut bench = Bench::of_three(1);
    bench.run(3, &[0]);
    assert!(bench.sent.iter().any(|(to, message)| *to == Address(0)
        && matches!(message, Message::Promise { vow, .. } if *vow.suspects == [Rank(2)])));
    bench.hear(0, decision(&[2]));
    assert!(matches!(bench.sent.last(), Some((Address(0), Message::Accept { .. }))));
    assert_eq!(installed(&bench.told), [(1, 3), (2, 2)]);
}

#[test]
fn whoever_waits_in_vain_stops_for_good() {
    for rank in [0, 1] {
        let mut bench = Bench::of_three(rank);
        bench.run(9, &[1 - rank]);
        assert!(failed(&bench.told), "rank {rank}");
        assert_eq!(bench.machine.deadline(), None);
        assert_eq!(bench.ignored(vote(1, 1, &[2])), Some(Ignored::Stopped));
    }
}

#[test]
fn the_watch_fires_again_in_ranks_that_have_moved() {
    let mut bench = Bench::of_three(2);
    bench.run(3, &[1]);
    bench.hear(1, decision(&[0]));
    assert_eq!(installed(&bench.told), [(1, 3), (2, 2)]);
    bench.run(6, &[1]);
    let evicts = |event: &Event| matches!(event, Event::Proposed { generation: Generation(2), value, .. } if *value.dead == [Rank(0)]);
    assert!(bench.told.iter().any(evicts), "r1 has rank 0 now, and is well: {:?}", bench.told);
    assert_eq!(installed(&bench.told), [(1, 3), (2, 2), (3, 1)]);
}

#[test]
fn bad_input_is_ignored_by_name() {
    let mut bench = Bench::of_three(0);
    bench.run(1, &[1, 2]);
    let forged = stamp(7, 9);
    for (message, reason) in [
        (decision(&[2]), Ignored::StaleAnswer),
        (Message::Accept { stamp: stamp(1, 1), ballot: BALLOT }, Ignored::StaleAnswer),
        (Message::Collect { stamp: forged, ballot: BALLOT }, Ignored::StaleAnswer),
        (Message::Pong { stamp: forged, seq: 1 }, Ignored::StaleAnswer),
        (vote(1, 3, &[2]), Ignored::ImpossibleRank),
    ] {
        assert_eq!(bench.ignored(message.clone()), Some(reason), "{message:?}");
    }
    bench.told.clear();
    bench.hear(77, Message::Ping { stamp: stamp(1, 1), seq: 1 });
    assert!(matches!(bench.told[..], [Event::Ignored { reason: Ignored::ImpossibleRank }]));
}
