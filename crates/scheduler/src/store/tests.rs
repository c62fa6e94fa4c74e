//! What is stored is seen whole or not at all, whatever is lost in between.

use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;
use squall_machine::{Outbox, Released};

const WORKER: Address = Address(3);

fn checkpoint(attempt: u64, seq: u64) -> Checkpoint {
    let (attempt, seq) = (AttemptId(attempt), CheckpointSeq(seq));
    Checkpoint { attempt, seq, progress_micros: 500_000, bytes: 100, digest: 77 }
}

fn part(attempt: u64, seq: u64, index: u32) -> Part {
    Part::new("t".into(), checkpoint(attempt, seq), index, 3)
}

struct Bench {
    store: Store,
    outbox: Outbox<Store>,
    disk: Vec<StoreRecord>,
}

#[derive(Default, Debug, PartialEq)]
struct Given {
    messages: Vec<StoreMessage>,
    events: Vec<StoreEvent>,
}

impl Given {
    fn kinds(&self) -> Vec<&'static str> {
        use squall_machine::Kind;
        self.events.iter().map(Kind::kind_name).collect()
    }

    fn ignored(&self) -> Option<StoreIgnored> {
        self.events.iter().find_map(|event| match event {
            StoreEvent::Ignored { reason } => Some(*reason),
            _ => None,
        })
    }
}

fn sort(released: Released<Store>, given: &mut Given) {
    match released {
        Released::Message { to, message } => {
            assert_eq!(to, WORKER, "who asks is answered");
            given.messages.push(message);
        }
        Released::Reply(never) => match never {},
        Released::Event { event, .. } => given.events.push(event),
    }
}

impl Bench {
    fn boot(disk: Vec<StoreRecord>, knobs: StoreKnobs) -> (Self, Given) {
        let mut bench = Self { store: Store::new(Arc::new(knobs)), outbox: Outbox::new(), disk: Vec::new() };
        let given = bench.step(Input::Boot(Durable { snapshot: None, records: disk.clone(), torn_tail: false }));
        bench.disk = disk;
        (bench, given)
    }

    fn new() -> Self {
        Self::boot(Vec::new(), StoreKnobs::default()).0
    }

    fn step(&mut self, input: Input<Store>) -> Given {
        let (mut effects, mut given) = (Effects::new(), Given::default());
        self.store.step(Time::ZERO, input, &mut effects);
        self.store.assert_invariants();
        let batch = self.outbox.drain(Time::ZERO, &mut effects, |released| sort(released, &mut given));
        if let Some(batch) = batch {
            self.disk.extend(batch.records);
            self.outbox.confirm(batch.pledge.synced(), |released| sort(released, &mut given));
        }
        given
    }

    fn hear(&mut self, message: StoreMessage) -> Given {
        self.step(Input::Receive { from: WORKER, message })
    }

    fn put(&mut self, part: Part) -> Given {
        self.hear(StoreMessage::Put { part: Box::new(part) })
    }

    fn put_all(&mut self, attempt: u64, seq: u64) {
        for index in 0..3 {
            assert_eq!(self.put(part(attempt, seq, index)).ignored(), None, "part {index} of {attempt}.{seq}");
        }
    }

    fn fetch(&mut self, attempt: u64, seq: u64) -> Option<Checkpoint> {
        let (attempt, seq, reader) = (AttemptId(attempt), CheckpointSeq(seq), AttemptId(9));
        let given = self.hear(StoreMessage::Fetch { task: "t".into(), attempt, seq, reader });
        let [StoreMessage::Fetched { reader: AttemptId(9), checkpoint, .. }] = &given.messages[..] else {
            panic!("one answer: {given:?}");
        };
        let checkpoint = checkpoint.as_deref().copied();
        assert_eq!(given.events, [StoreEvent::Fetched { task: "t".into(), reader, checkpoint }]);
        checkpoint
    }
}

fn complete(attempt: u64, seq: u64) -> StoreMessage {
    StoreMessage::Complete { task: "t".into(), attempt: AttemptId(attempt), seq: CheckpointSeq(seq) }
}

#[test]
fn a_checkpoint_is_visible_and_acknowledged_with_its_last_part() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut bench = Bench::new();
        for index in &order[..2] {
            let given = bench.put(part(4, 1, *index));
            assert_eq!((given.kinds(), given.messages), (vec!["part_stored"], vec![]), "{order:?}");
            assert_eq!(bench.fetch(4, 1), None, "{order:?}");
        }
        let given = bench.put(part(4, 1, order[2]));
        assert_eq!((given.kinds(), given.messages), (vec!["part_stored", "save_stored"], vec![complete(4, 1)]));
        assert_eq!(bench.fetch(4, 1), Some(checkpoint(4, 1)));
        assert_eq!((bench.fetch(5, 1), bench.fetch(4, 2)), (None, None), "another attempt's, another number");
    }
}

#[test]
fn repeats_are_acknowledged_and_change_nothing() {
    let mut bench = Bench::new();
    bench.put(part(4, 1, 0));
    let given = bench.put(part(4, 1, 0));
    assert_eq!((given.ignored(), given.messages), (Some(StoreIgnored::Repeated), vec![]), "not complete");
    bench.put(part(4, 1, 1));
    bench.put(part(4, 1, 2));
    let (disk, before) = (bench.disk.clone(), bench.store.clone());
    for index in 0..3 {
        let given = bench.put(part(4, 1, index));
        assert_eq!((given.ignored(), given.messages), (Some(StoreIgnored::Repeated), vec![complete(4, 1)]));
    }
    assert_eq!((bench.disk, bench.store), (disk, before));
}

#[test]
fn no_word_of_a_checkpoint_leaves_before_its_last_part_is_synced() {
    let mut bench = Bench::new();
    bench.put(part(4, 1, 0));
    bench.put(part(4, 1, 1));
    let mut effects = Effects::new();
    let mut said = Vec::new();
    let put = StoreMessage::Put { part: Box::new(part(4, 1, 2)) };
    bench.store.step(Time::ZERO, Input::Receive { from: WORKER, message: put }, &mut effects);
    let batch = bench.outbox.drain(Time::ZERO, &mut effects, |released| said.push(released));
    let (seq, reader) = (CheckpointSeq(1), AttemptId(9));
    let fetch = StoreMessage::Fetch { task: "t".into(), attempt: AttemptId(4), seq, reader };
    bench.store.step(Time::ZERO, Input::Receive { from: WORKER, message: fetch }, &mut effects);
    assert!(bench.outbox.drain(Time::ZERO, &mut effects, |released| said.push(released)).is_none());
    assert!(said.is_empty(), "said before it is durable: {said:?}");
    let mut given = Given::default();
    bench.outbox.confirm(batch.expect("a record").pledge.synced(), |released| sort(released, &mut given));
    assert_eq!(given.messages.len(), 2);
}

#[test]
fn an_interrupted_save_is_told_at_the_start_and_stays_invisible() {
    let mut bench = Bench::new();
    bench.put_all(4, 1);
    bench.put(part(4, 2, 0));
    bench.put(part(4, 2, 2));
    let (mut bench, given) = Bench::boot(bench.disk, StoreKnobs::default());
    let torn = StoreEvent::Torn { task: "t".into(), checkpoint: checkpoint(4, 2), parts: 2, count: 3 };
    assert_eq!(given.events, [torn]);
    assert_eq!((bench.fetch(4, 1), bench.fetch(4, 2)), (Some(checkpoint(4, 1)), None));
    assert_eq!(bench.put(part(4, 2, 1)).messages, [complete(4, 2)], "its worker lives and goes on");
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let knobs = StoreKnobs { bytes_max: 250, text_bytes_max: 4, tasks_max: 1, ..StoreKnobs::default() };
    let (mut bench, _) = Bench::boot(Vec::new(), knobs);
    bench.put_all(4, 1);
    let sealed = |change: fn(&mut Part)| {
        let mut part = part(4, 2, 0);
        change(&mut part);
        Part { seal: part.digest(), ..part }
    };
    let cases = [
        (sealed(|part| part.count = 0), StoreIgnored::Malformed),
        (sealed(|part| part.count = 65), StoreIgnored::Malformed),
        (sealed(|part| part.index = 3), StoreIgnored::Malformed),
        (sealed(|part| part.task = "".into()), StoreIgnored::Malformed),
        (sealed(|part| part.checkpoint.progress_micros = 1_000_001), StoreIgnored::Malformed),
        (sealed(|part| part.checkpoint.seq = CheckpointSeq(0)), StoreIgnored::Malformed),
        (sealed(|part| part.task = "tasks".into()), StoreIgnored::TooLong),
        (sealed(|part| part.task = "u".into()), StoreIgnored::Full),
        (sealed(|part| part.checkpoint.bytes = 151), StoreIgnored::Full),
        (sealed(|part| part.checkpoint.seq = CheckpointSeq(1)), StoreIgnored::Repeated),
    ];
    let (disk, before) = (bench.disk.clone(), bench.store.clone());
    for (part, reason) in cases {
        let said = format!("{part:?}");
        let given = bench.put(part);
        assert_eq!(given.ignored(), Some(reason), "{said}");
        assert_eq!(given.messages.len(), 1, "{said}");
        assert_eq!((&bench.disk, &bench.store), (&disk, &before), "{said}");
    }
    let other = |change: fn(&mut Part)| {
        let mut part = part(4, 1, 0);
        change(&mut part);
        Part { seal: part.digest(), ..part }
    };
    for part in [other(|part| part.checkpoint.digest = 78), other(|part| part.count = 4)] {
        assert_eq!(bench.put(part).ignored(), Some(StoreIgnored::Mismatch));
    }
    let mut corrupt = part(4, 1, 0);
    corrupt.checkpoint.digest ^= 1;
    let given = bench.put(corrupt);
    assert_eq!((given.ignored(), given.messages), (Some(StoreIgnored::Corrupt), vec![]));
    assert_eq!(bench.hear(complete(4, 1)).ignored(), Some(StoreIgnored::WrongDirection));
    assert_eq!(bench.fetch(4, 1), Some(checkpoint(4, 1)));
}

#[test]
fn the_oldest_incomplete_one_makes_room_and_a_complete_one_never_does() {
    let knobs = StoreKnobs { saves_max: 3, incomplete_max: 2, ..StoreKnobs::default() };
    let (mut bench, _) = Bench::boot(Vec::new(), knobs);
    bench.put(part(4, 9, 0));
    bench.put(part(4, 1, 0));
    let given = bench.put(part(4, 2, 0));
    assert_eq!(given.events[0], StoreEvent::Dropped { task: "t".into(), checkpoint: checkpoint(4, 9) });
    bench.put(part(4, 1, 1));
    bench.put(part(4, 1, 2));
    bench.put(part(4, 2, 1));
    bench.put(part(4, 2, 2));
    bench.put(part(5, 3, 0));
    assert_eq!(bench.put(part(6, 3, 0)).kinds(), ["save_dropped", "part_stored"], "so many as may be");
    bench.put(part(6, 3, 1));
    bench.put(part(6, 3, 2));
    let given = bench.put(part(6, 4, 0));
    assert_eq!(given.ignored(), Some(StoreIgnored::Full));
    assert!(matches!(given.messages[..], [StoreMessage::Refused { reason: StoreIgnored::Full, .. }]));
    for (attempt, seq) in [(4, 1), (4, 2), (6, 3)] {
        assert_eq!(bench.fetch(attempt, seq), Some(checkpoint(attempt, seq)));
    }
}

#[test]
fn deleting_is_answered_always_and_spares_what_is_newer() {
    let mut bench = Bench::new();
    bench.put_all(4, 1);
    bench.put(part(5, 2, 0));
    bench.put_all(6, 3);
    let delete = |below| StoreMessage::Delete { task: "t".into(), below: CheckpointSeq(below) };
    let given = bench.hear(delete(3));
    assert_eq!(given.events, [StoreEvent::Deleted { task: "t".into(), below: CheckpointSeq(3), saves: 2 }]);
    let deleted = StoreMessage::Deleted { task: "t".into(), below: CheckpointSeq(3) };
    assert_eq!(given.messages, core::slice::from_ref(&deleted));
    let given = bench.hear(delete(3));
    assert_eq!((given.ignored(), given.messages), (Some(StoreIgnored::NothingThere), vec![deleted]));
    assert_eq!((bench.fetch(4, 1), bench.fetch(6, 3)), (None, Some(checkpoint(6, 3))));
    bench.hear(delete(Checkpoint::SEQ_MAX.0));
    assert!(bench.store.snapshot().tasks.is_empty(), "a task without a checkpoint needs no room");
}

#[test]
fn a_task_that_has_ended_is_cleared_and_stays_so() {
    let mut bench = Bench::new();
    bench.put_all(4, 1);
    bench.put(part(5, 2, 0));
    let (clear, until) = (StoreMessage::Clear { task: "t".into(), until: AttemptId(5) }, AttemptId(5));
    let cleared = StoreMessage::Cleared { task: "t".into(), until };
    let given = bench.hear(clear.clone());
    assert_eq!(given.events, [StoreEvent::Cleared { task: "t".into(), until, saves: 2 }]);
    assert_eq!(given.messages, core::slice::from_ref(&cleared));
    let written = bench.disk.len();
    let given = bench.hear(clear);
    assert_eq!((given.messages, bench.disk.len()), (vec![cleared], written), "said once more, and done once");
    let given = bench.put(part(5, 2, 1));
    assert_eq!(given.ignored(), Some(StoreIgnored::Over), "a zombie's");
    assert!(matches!(given.messages[..], [StoreMessage::Refused { reason: StoreIgnored::Over, .. }]));
    assert_eq!(bench.put(part(6, 1, 0)).kinds(), ["part_stored"], "another task may have the same id later");
    for task in 0..OVER_MAX {
        bench.hear(StoreMessage::Clear { task: format!("u{task}").into(), until });
    }
    bench.store.assert_invariants();
    assert_eq!(bench.put(part(5, 2, 0)).ignored(), None, "the oldest endings are forgotten");
}

#[derive(Clone, Debug)]
enum Op {
    Put { attempt: u64, seq: u64, index: u32 },
    Delete { below: u64 },
    Clear { until: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let put = (1..4_u64, 1..5_u64, 0..3_u32).prop_map(|(attempt, seq, index)| Op::Put { attempt, seq, index });
    let delete = (1..5_u64).prop_map(|below| Op::Delete { below });
    let op = prop_oneof![20 => put, 2 => delete, 1 => (1..4_u64).prop_map(|until| Op::Clear { until })];
    proptest::collection::vec(op, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A crash between any two records: what is visible then are the checkpoints of which every part was put and is on the
    /// disk, neither dropped nor deleted since.
    #[test]
    fn after_any_crash_exactly_the_complete_ones_are_visible(ops in ops()) {
        let mut bench = Bench::new();
        for op in ops {
            match op {
                Op::Put { attempt, seq, index } => bench.put(part(attempt, seq, index)),
                Op::Delete { below } => {
                    bench.hear(StoreMessage::Delete { task: "t".into(), below: CheckpointSeq(below) })
                }
                Op::Clear { until } => {
                    bench.hear(StoreMessage::Clear { task: "t".into(), until: AttemptId(until) })
                }
            };
        }
        for crash in 0..=bench.disk.len() {
            let mut parts: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
            for record in &bench.disk[..crash] {
                match record {
                    StoreRecord::Part(part) => {
                        let key = (part.checkpoint.seq.0, part.checkpoint.attempt.0);
                        parts.entry(key).or_default().push(part.index);
                    }
                    StoreRecord::Dropped { attempt, seq, .. } => {
                        parts.remove(&(seq.0, attempt.0));
                    }
                    StoreRecord::Deleted { below, .. } => parts.retain(|(seq, _), _| *seq >= below.0),
                    StoreRecord::Cleared { until, .. } => parts.retain(|(_, attempt), _| *attempt > until.0),
                }
            }
            let (store, _) = Bench::boot(bench.disk[..crash].to_vec(), StoreKnobs::default());
            for (seq, attempt) in (1..5).flat_map(|seq| (1..4).map(move |attempt| (seq, attempt))) {
                let whole = parts.get(&(seq, attempt)).is_some_and(|parts| parts.len() == 3);
                let visible = store.store.complete("t", AttemptId(attempt), CheckpointSeq(seq));
                prop_assert_eq!(visible, whole.then(|| checkpoint(attempt, seq)));
            }
        }
        let snapshot = bench.store.snapshot();
        let (again, _) = Bench::boot(bench.disk, StoreKnobs::default());
        prop_assert_eq!(again.store.snapshot(), snapshot);
    }
}
