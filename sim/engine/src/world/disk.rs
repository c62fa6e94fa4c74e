//! One node's disk, at the level of records: writes wait for a sync, syncs are grouped, a crash loses what wasn't synced
//! from some record on.

use crate::{DiskQuality, DiskState, EntryId, RestartDisk};
use squall_machine::{Batch, Durable, Machine, Pledge, Random, Ratio, Span, Synced};
use std::collections::VecDeque;

/// What a process wrote in one step.
#[derive(Debug)]
struct Write<M: Machine> {
    records: Vec<M::Record>,
    pledge: Pledge,
    cause: EntryId,
}

#[derive(Debug)]
pub(super) struct Disk<M: Machine> {
    snapshot: Option<M::Snapshot>,
    records: Vec<M::Record>,
    torn_tail: bool,
    unsynced: VecDeque<Write<M>>,
    /// How many of the unsynced writes the running sync covers; none while no sync runs.
    syncing: usize,
    /// Distinguishes the running sync from those that a crash or a stuck disk cut short.
    sync: u64,
    state: DiskState,
    tear_next: bool,
    unreadable: bool,
}

/// What a crash did to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Loss {
    pub(super) lost: u32,
    pub(super) torn: bool,
}

const HALF: Option<Ratio> = Ratio::new(1, 2);

impl<M: Machine> Disk<M> {
    pub(super) fn new() -> Self {
        Self {
            snapshot: None,
            records: Vec::new(),
            torn_tail: false,
            unsynced: VecDeque::new(),
            syncing: 0,
            sync: 0,
            state: DiskState::Working,
            tear_next: false,
            unreadable: false,
        }
    }

    pub(super) fn write(&mut self, batch: Batch<M>, cause: EntryId) {
        self.unsynced.push_back(Write { records: batch.records, pledge: batch.pledge, cause });
    }

    /// Begins a sync of everything written so far, unless one runs, nothing is written, or the disk doesn't take writes.
    /// Returns its number and how long it takes.
    pub(super) fn begin_sync(&mut self, quality: DiskQuality, random: &mut Random) -> Option<(u64, Span)> {
        if self.syncing > 0 || self.unsynced.is_empty() || self.state != DiskState::Working {
            return None;
        }
        self.syncing = self.unsynced.len();
        self.sync += 1;
        Some((self.sync, random.span(quality.sync_min, quality.sync_max)))
    }

    /// The sync of this number is over. Returns the receipt, and what had led to the last of its writes; `None` if it was cut
    /// short.
    pub(super) fn end_sync(&mut self, sync: u64) -> Option<(Synced, EntryId)> {
        if sync != self.sync || self.syncing == 0 || self.state != DiskState::Working {
            return None;
        }
        let mut last = None;
        for write in self.unsynced.drain(..self.syncing) {
            self.records.extend(write.records);
            // The receipt for a write covers all before it.
            last = Some((write.pledge, write.cause));
        }
        self.syncing = 0;
        last.map(|(pledge, cause)| (pledge.synced(), cause))
    }

    /// Whether it is time to replace the log by a snapshot: it is long, and nothing is unsynced, so that the machine's own
    /// snapshot says what the disk holds.
    pub(super) fn wants_snapshot(&self, quality: DiskQuality) -> bool {
        self.unsynced.is_empty() && self.records.len() >= quality.snapshot_every as usize
    }

    pub(super) fn compact(&mut self, snapshot: M::Snapshot) {
        self.snapshot = Some(snapshot);
        self.records.clear();
    }

    /// The process died. Unsynced records survive up to a drawn point, in order; the one after it may be torn.
    pub(super) fn crash(&mut self, random: &mut Random) -> Loss {
        let unsynced: Vec<M::Record> = self.unsynced.drain(..).flat_map(|write| write.records).collect();
        self.syncing = 0;
        let total = unsynced.len();
        if total == 0 {
            return Loss { lost: 0, torn: false };
        }
        let kept = if self.tear_next { random.below(total as u64) } else { random.range(0, total as u64) } as usize;
        let torn = kept < total && (self.tear_next || HALF.is_some_and(|half| random.chance(half)));
        self.records.extend(unsynced.into_iter().take(kept));
        self.torn_tail = torn;
        self.tear_next &= !torn;
        Loss { lost: (total - kept) as u32, torn }
    }

    /// What a starting process finds; `None` if a record cannot be read.
    pub(super) fn read(&mut self) -> Option<Durable<M>> {
        if self.unreadable && !(self.records.is_empty() && self.snapshot.is_none()) {
            return None;
        }
        let torn_tail = std::mem::take(&mut self.torn_tail);
        Some(Durable { snapshot: self.snapshot.clone(), records: self.records.clone(), torn_tail })
    }

    /// Replaces what is synced. Returns whether anything was lost.
    pub(super) fn replace(&mut self, by: RestartDisk, random: &mut Random) -> bool {
        let held = !(self.records.is_empty() && self.snapshot.is_none());
        match by {
            RestartDisk::Same => false,
            RestartDisk::Wiped => {
                self.snapshot = None;
                self.records.clear();
                self.unreadable = false;
                held
            }
            RestartDisk::Older => {
                if self.records.is_empty() {
                    self.snapshot = None;
                } else {
                    self.records.truncate(random.below(self.records.len() as u64) as usize);
                }
                held
            }
        }
    }

    /// Changes the state. A sync that runs is cut short and has to begin again. Returns whether the state is another now.
    pub(super) fn transition_to(&mut self, state: DiskState) -> bool {
        let changed = self.state != state;
        self.state = state;
        self.syncing = 0;
        changed
    }

    pub(super) fn tear_next(&mut self) {
        self.tear_next = true;
    }

    pub(super) fn set_unreadable(&mut self, unreadable: bool) {
        self.unreadable = unreadable;
    }

    pub(super) fn state(&self) -> DiskState {
        self.state
    }

    pub(super) fn records(&self) -> usize {
        self.records.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::{Effects, Input, Outbox, Time};

    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct Scribe;

    impl Machine for Scribe {
        type Message = ();
        type Request = ();
        type Reply = ();
        type Record = u32;
        type Snapshot = ();
        type Event = ();

        fn step(&mut self, _: Time, _: Input<Self>, _: &mut Effects<Self>) {}
        fn deadline(&self) -> Option<Time> {
            None
        }
        fn snapshot(&self) {}
        fn assert_invariants(&self) {}
    }

    fn write(disk: &mut Disk<Scribe>, outbox: &mut Outbox<Scribe>, records: &[u32]) {
        let mut effects = Effects::new();
        records.iter().for_each(|&record| effects.record(record));
        disk.write(outbox.drain(Time::ZERO, &mut effects, |_| {}).expect("records"), EntryId(0));
    }

    fn held(disk: &mut Disk<Scribe>) -> Vec<u32> {
        disk.read().expect("readable").records
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let (mut disk, mut outbox, mut random) = (Disk::new(), Outbox::new(), Random::new(1, "disk"));
        write(&mut disk, &mut outbox, &[1]);
        write(&mut disk, &mut outbox, &[2]);
        let (sync, _) = disk.begin_sync(DiskQuality::default(), &mut random).expect("a sync");
        write(&mut disk, &mut outbox, &[3]);
        assert!(disk.begin_sync(DiskQuality::default(), &mut random).is_none(), "one at a time");
        assert!(disk.end_sync(sync).is_some());
        assert_eq!(held(&mut disk), [1, 2]);
        assert!(disk.end_sync(sync).is_none(), "a sync ends once");
    }

    #[test]
    fn a_crash_keeps_a_prefix_and_over_the_seeds_every_prefix() {
        let mut prefixes = [0; 4];
        let mut torn = 0;
        for seed in 0..400 {
            let (mut disk, mut outbox) = (Disk::new(), Outbox::new());
            write(&mut disk, &mut outbox, &[1, 2]);
            write(&mut disk, &mut outbox, &[3]);
            let loss = disk.crash(&mut Random::new(seed, "disk"));
            let kept = held(&mut disk);
            assert_eq!(kept, (1..=kept.len() as u32).collect::<Vec<_>>());
            assert_eq!(kept.len() + loss.lost as usize, 3);
            assert!(!loss.torn || loss.lost > 0, "only a lost record can be torn");
            prefixes[kept.len()] += 1;
            torn += u32::from(loss.torn);
        }
        assert!(prefixes.iter().all(|&count| count > 50), "{prefixes:?}");
        assert!(torn > 50, "{torn}");
    }

    #[test]
    fn a_stuck_disk_cuts_the_running_sync_short() {
        let (mut disk, mut outbox, mut random) = (Disk::new(), Outbox::new(), Random::new(1, "disk"));
        write(&mut disk, &mut outbox, &[1]);
        let (sync, _) = disk.begin_sync(DiskQuality::default(), &mut random).expect("a sync");
        disk.transition_to(DiskState::Stuck);
        assert!(disk.end_sync(sync).is_none());
        disk.transition_to(DiskState::Working);
        let (sync, _) = disk.begin_sync(DiskQuality::default(), &mut random).expect("it begins again");
        assert!(disk.end_sync(sync).is_some());
        assert_eq!(held(&mut disk), [1]);
    }

    #[test]
    fn replaced_disks_hold_less() {
        let (mut disk, mut outbox, mut random) = (Disk::new(), Outbox::new(), Random::new(1, "disk"));
        write(&mut disk, &mut outbox, &[1, 2, 3]);
        let (sync, _) = disk.begin_sync(DiskQuality::default(), &mut random).expect("a sync");
        assert!(disk.end_sync(sync).is_some());
        assert!(!disk.replace(RestartDisk::Same, &mut random));
        assert!(disk.replace(RestartDisk::Older, &mut random));
        assert!(held(&mut disk).len() < 3);
        disk.replace(RestartDisk::Wiped, &mut random);
        assert!(held(&mut disk).is_empty());
        disk.set_unreadable(true);
        assert!(disk.read().is_some(), "an empty disk has nothing that cannot be read");
    }
}
