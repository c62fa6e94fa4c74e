use super::*;
use squall_coordinator::{Cursor, Session};
use squall_machine::{Effects, Input, Outbox, Time};
use squall_node::{Bookmark, ObserverNode, Record};

type Outcome = Result<Durable<ObserverNode>, DiskError>;

const KIND: &str = "observer/1";

/// A machine whose records are told by what it is sent: only its types matter here.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Writer;

impl Machine for Writer {
    type Message = Record;
    type Request = ();
    type Reply = ();
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = ();

    fn step(&mut self, _: Time, _: Input<Self>, _: &mut Effects<Self>) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
    fn snapshot(&self) -> Option<Bookmark> {
        None
    }
    fn assert_invariants(&self) {}
}

fn taken(cursor: u64) -> Record {
    Record::Taken { cursor: Cursor(cursor) }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

fn load(path: &Path) -> Outcome {
    run(FileDisk::<ObserverNode>::new(path, KIND).load())
}

/// Writes groups of records, each with one sync.
fn write(path: &Path, groups: &[&[Record]]) {
    run(async {
        let mut disk = FileDisk::<Writer>::new(path, KIND);
        disk.load().await.expect("a good file");
        let mut outbox = Outbox::new();
        for group in groups {
            let mut effects = Effects::new();
            group.iter().for_each(|record| effects.record(*record));
            let batch = outbox.drain(Time::ZERO, &mut effects, |_| {}).expect("records");
            let synced = disk.write(vec![batch]).await.expect("a good disk");
            outbox.confirm(synced, |_| {});
        }
    });
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.log");
    (folder, path)
}

#[test]
fn what_was_synced_is_there_again() {
    let (_folder, path) = folder();
    assert_eq!(load(&path).expect("a new file"), Durable::empty());
    write(&path, &[&[taken(1), taken(2)], &[taken(3)]]);
    write(&path, &[&[taken(4)]]);
    let durable = load(&path).expect("a good file");
    assert_eq!(durable.records, [taken(1), taken(2), taken(3), taken(4)]);
    assert!(!durable.torn_tail && durable.snapshot.is_none());
}

#[test]
fn a_snapshot_takes_the_place_of_everything_before_it() {
    let (_folder, path) = folder();
    write(&path, &[&[taken(1)]]);
    let bookmark = Some(Bookmark { session: Session(7), taken: Some(Cursor(1)) });
    run(async {
        let mut disk = FileDisk::<Writer>::new(&path, KIND);
        disk.load().await.expect("a good file");
        disk.compact(bookmark).await.expect("a good disk");
        assert!(matches!(FileDisk::<Writer>::new(&path, KIND).load().await, Err(DiskError::InUse { .. })));
    });
    write(&path, &[&[taken(2)]]);
    let durable = load(&path).expect("a good file");
    assert_eq!((durable.snapshot, durable.records), (Some(bookmark), vec![taken(2)]));
}

#[test]
fn a_file_that_is_cut_anywhere_keeps_every_whole_group_and_can_be_written_again() {
    let (_folder, path) = folder();
    write(&path, &[&[taken(1)], &[taken(2), taken(3)], &[taken(4)]]);
    let whole = std::fs::read(&path).expect("the file");
    let header = MAGIC.len() + 5 + KIND.len();
    let mut ends = vec![header];
    while ends[ends.len() - 1] < whole.len() {
        let at = ends[ends.len() - 1];
        ends.push(at + FRAME_HEADER_BYTES + frame_at(&whole, at).expect("a frame").1.len());
    }
    assert_eq!(ends.len(), 4);
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).expect("a file");
        if cut < header {
            assert!(matches!(load(&path), Err(DiskError::NotOurs { .. })), "cut at {cut}");
            continue;
        }
        let durable = load(&path).expect("a torn end is no damage");
        let groups = ends.iter().filter(|&&end| end <= cut).count() - 1;
        assert_eq!(durable.records.len(), [0, 1, 3][groups], "cut at {cut}");
        assert_eq!(durable.torn_tail, !ends.contains(&cut), "cut at {cut}");
        write(&path, &[&[taken(9)]]);
        let again = load(&path).expect("a good file");
        assert_eq!((again.records.last(), again.torn_tail), (Some(&taken(9)), false), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let (_folder, path) = folder();
    write(&path, &[&[taken(1)], &[taken(2), taken(3)], &[taken(4)]]);
    let whole = std::fs::read(&path).expect("the file");
    let last = whole.len() - (FRAME_HEADER_BYTES + postcard::to_stdvec(&[taken(4)].to_vec()).expect("bytes").len());
    let header = MAGIC.len() + 5 + KIND.len();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).expect("a file");
            let outcome = load(&path);
            let place = format!("bit {bit} of byte {at}: {outcome:?}");
            match outcome {
                // The end of the file can't be told from a write that was torn.
                Ok(durable) => {
                    assert!(at >= last && durable.torn_tail && durable.records.len() == 3, "{place}");
                }
                Err(DiskError::Damaged { offset, .. }) => {
                    assert!((header..last).contains(&at) && offset <= at as u64, "{place}");
                    assert_eq!(std::fs::read(&path).expect("the file"), bytes, "a damaged file is left alone");
                }
                Err(DiskError::NotOurs { .. } | DiskError::OtherVersion { .. } | DiskError::OtherKind { .. }) => {
                    assert!(at < header, "{place}");
                }
                Err(_) => panic!("{place}"),
            }
        }
    }
}

#[test]
fn files_of_others_are_refused_by_name_and_left_alone() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"a diary").expect("a file");
    let error = load(&path).expect_err("no data file");
    assert!(error.to_string().contains("is no squall data file"), "{error}");
    let mut other = MAGIC.to_vec();
    other.extend_from_slice(&9u32.to_le_bytes());
    std::fs::write(&path, &other).expect("a file");
    let error = load(&path).expect_err("another version");
    assert!(error.to_string().contains("version 9") && error.to_string().contains("version 1"), "{error}");
    std::fs::remove_file(&path).expect("the file");
    write(&path, &[&[taken(1)]]);
    let error = run(FileDisk::<ObserverNode>::new(&path, "coordinator/1").load()).expect_err("another kind");
    assert!(error.to_string().contains("\"observer/1\""), "{error}");
    assert_eq!(load(&path).expect("still good").records, [taken(1)]);
}

#[test]
fn one_process_at_a_time() {
    let (_folder, path) = folder();
    run(async {
        let mut first = FileDisk::<Writer>::new(&path, KIND);
        first.load().await.expect("a new file");
        let second = FileDisk::<Writer>::new(&path, KIND).load().await;
        assert!(matches!(second, Err(DiskError::InUse { .. })), "{second:?}");
        drop(first);
        FileDisk::<Writer>::new(&path, KIND).load().await.expect("it is free again");
    });
}
