//! Durable records in one append-only file.
//!
//! ```text
//! file   = header frame*
//! header = magic (8) version (4) kind length (1) kind
//! frame  = tag (1) length (4) crc (4) payload        crc over tag, length and payload
//! ```
//!
//! Numbers are little-endian, payloads are postcard. A frame is a snapshot or a group of records that were synced together. A
//! snapshot is only ever the first frame, because compaction writes a new file beside the old one and renames it.
//!
//! Only the last group can be torn by a crash, since the one before it was synced when it was written. So a frame that can't be
//! read is cut off and reported if nothing sound follows it: nothing was promised on it. If something does, a synced record is
//! damaged, and nothing is touched.

use crate::edges::{Disk, DiskError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_machine::{Batch, Durable, Machine, Synced};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"squall\r\n";
/// The version of the format that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The largest group of records and the largest snapshot, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 30;
const FRAME_HEADER_BYTES: usize = 9;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Tag {
    Group = 1,
    Snapshot = 2,
}

/// The disk of a node: one file, locked for as long as the process has it open.
///
/// `kind` names what the records mean (`coordinator/1`): a file of another kind is refused.
#[derive(Debug)]
pub struct FileDisk<M> {
    path: PathBuf,
    kind: &'static str,
    /// `None` before it was loaded, and after a failure that leaves open what it holds.
    log: Option<Log>,
    machine: PhantomData<fn() -> M>,
}

/// The open file, positioned at its end. All its work blocks.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    kind: &'static str,
    file: File,
    /// Held for as long as this lives. A file of its own, because compaction replaces the other one.
    _lock: File,
}

impl<M> FileDisk<M> {
    /// The disk at a path; nothing is opened yet.
    ///
    /// # Panics
    /// If `kind` is longer than 255 bytes.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, kind: &'static str) -> Self {
        assert!(u8::try_from(kind.len()).is_ok(), "a kind has a length of one byte");
        Self { path: path.into(), kind, log: None, machine: PhantomData }
    }
}

impl<M> Disk<M> for FileDisk<M>
where
    M: Machine<Record: Serialize + DeserializeOwned + Send, Snapshot: Serialize + DeserializeOwned + Send> + 'static,
{
    async fn load(&mut self) -> Result<Durable<M>, DiskError> {
        assert!(self.log.is_none(), "a disk is loaded once");
        let (path, kind) = (self.path.clone(), self.kind);
        let (log, durable) = blocking(move || Log::load::<M>(path, kind)).await?;
        self.log = Some(log);
        Ok(durable)
    }

    async fn write(&mut self, group: Vec<Batch<M>>) -> Result<Synced, DiskError> {
        let mut records = Vec::new();
        let mut last = None;
        for batch in group {
            records.extend(batch.records);
            last = Some(batch.pledge);
        }
        let pledge = last.expect("a group isn't empty");
        let bytes = frame(Tag::Group, &records)?;
        let mut log = self.log.take().expect("it was loaded, and has not failed");
        let log = blocking(move || log.append(&bytes).map(|()| log)).await?;
        self.log = Some(log);
        Ok(pledge.synced())
    }

    async fn compact(&mut self, snapshot: M::Snapshot) -> Result<(), DiskError> {
        let mut log = self.log.take().expect("it was loaded, and has not failed");
        let log = blocking(move || log.replace(&snapshot).map(|()| log)).await?;
        self.log = Some(log);
        Ok(())
    }
}

/// Runs what blocks beside the event loop.
#[cfg(not(madsim))]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shut down cancels it, and then nobody waits.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The simulated runtime has one thread, and its time stands still while that works.
#[cfg(madsim)]
async fn blocking<T>(work: impl FnOnce() -> T) -> T {
    work()
}

impl Log {
    fn load<M>(path: PathBuf, kind: &'static str) -> Result<(Self, Durable<M>), DiskError>
    where
        M: Machine<Record: DeserializeOwned, Snapshot: DeserializeOwned>,
    {
        let lock = lock(&path)?;
        if !path.exists() {
            // Beside and renamed, so that no crash leaves half a header.
            create(&path, kind, &[])?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|source| DiskError::Io { doing: "open", path: path.clone(), source })?;
        let mut log = Self { path, kind, file, _lock: lock };
        let mut bytes = Vec::new();
        log.file.read_to_end(&mut bytes).map_err(|source| log.failed("read", source))?;
        let start = log.header(&bytes)?;
        let (durable, end) = log.replay::<M>(&bytes, start)?;
        if end < bytes.len() {
            log.file.set_len(end as u64).map_err(|source| log.failed("cut the torn end off", source))?;
            log.file.sync_all().map_err(|source| log.failed("sync", source))?;
        }
        log.file.seek(SeekFrom::Start(end as u64)).map_err(|source| log.failed("seek in", source))?;
        Ok((log, durable))
    }

    /// Checks the header; returns where the frames begin.
    fn header(&self, bytes: &[u8]) -> Result<usize, DiskError> {
        let path = || self.path.clone();
        let not_ours = || DiskError::NotOurs { path: self.path.clone() };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(not_ours)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(not_ours)?;
        let found = u32::from_le_bytes(*version);
        if found != FORMAT_VERSION {
            return Err(DiskError::OtherVersion { path: path(), found, ours: FORMAT_VERSION });
        }
        let (&length, rest) = rest.split_first().ok_or_else(not_ours)?;
        let kind = rest.get(..usize::from(length)).ok_or_else(not_ours)?;
        if kind != self.kind.as_bytes() {
            let found = String::from_utf8_lossy(kind).into_owned();
            return Err(DiskError::OtherKind { path: path(), found, ours: self.kind });
        }
        Ok(bytes.len() - rest.len() + kind.len())
    }

    /// Reads all frames; returns where the last good one ends.
    fn replay<M>(&self, bytes: &[u8], start: usize) -> Result<(Durable<M>, usize), DiskError>
    where
        M: Machine<Record: DeserializeOwned, Snapshot: DeserializeOwned>,
    {
        let mut durable = Durable::empty();
        let mut at = start;
        while at < bytes.len() {
            let Some((tag, payload)) = frame_at(bytes, at) else {
                if (at + 1..bytes.len()).any(|later| frame_at(bytes, later).is_some()) {
                    return Err(self.damaged(at, "its checksum is wrong"));
                }
                durable.torn_tail = true;
                break;
            };
            match tag {
                Tag::Group => {
                    let records = postcard::from_bytes::<Vec<M::Record>>(payload);
                    durable
                        .records
                        .extend(records.map_err(|_| self.damaged(at, "it holds no records of this version"))?);
                }
                Tag::Snapshot if at == start => {
                    let snapshot = postcard::from_bytes(payload);
                    durable.snapshot =
                        Some(snapshot.map_err(|_| self.damaged(at, "it is no snapshot of this version"))?);
                }
                Tag::Snapshot => return Err(self.damaged(at, "a snapshot after records")),
            }
            at += FRAME_HEADER_BYTES + payload.len();
        }
        Ok((durable, at))
    }

    fn append(&mut self, frames: &[u8]) -> Result<(), DiskError> {
        self.file.write_all(frames).map_err(|source| self.failed("write to", source))?;
        self.file.sync_data().map_err(|source| self.failed("sync", source))
    }

    fn replace(&mut self, snapshot: &impl Serialize) -> Result<(), DiskError> {
        let bytes = frame(Tag::Snapshot, snapshot)?;
        self.file = create(&self.path, self.kind, &bytes)?;
        Ok(())
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> DiskError {
        DiskError::Io { doing, path: self.path.clone(), source }
    }

    fn damaged(&self, at: usize, problem: &'static str) -> DiskError {
        DiskError::Damaged { path: self.path.clone(), offset: at as u64, problem }
    }
}

/// Keeps other processes away from the file, until it is dropped.
fn lock(path: &Path) -> Result<File, DiskError> {
    let lock = beside(path, ".lock");
    let failed = |doing, source| DiskError::Io { doing, path: lock.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock);
    let file = file.map_err(|source| failed("create", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", source)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A new file with these frames at this path, atomically, positioned at its end. Whatever was there is replaced.
fn create(path: &Path, kind: &'static str, frames: &[u8]) -> Result<File, DiskError> {
    let new = beside(path, ".new");
    let failed = |doing, source| DiskError::Io { doing, path: new.clone(), source };
    let mut file = File::create(&new).map_err(|source| failed("create", source))?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + kind.len() + 5 + frames.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.push(u8::try_from(kind.len()).expect("checked when the disk was made"));
    bytes.extend_from_slice(kind.as_bytes());
    bytes.extend_from_slice(frames);
    file.write_all(&bytes).map_err(|source| failed("write to", source))?;
    file.sync_all().map_err(|source| failed("sync", source))?;
    std::fs::rename(&new, path).map_err(|source| failed("rename", source))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| DiskError::Io {
        doing: "sync the folder",
        path: folder.into(),
        source,
    })?;
    Ok(file)
}

fn frame(tag: Tag, value: &impl Serialize) -> Result<Vec<u8>, DiskError> {
    let payload = postcard::to_stdvec(value).expect("records and snapshots are plain data");
    let length = u32::try_from(payload.len()).ok().filter(|&length| length as usize <= FRAME_BYTES_MAX);
    let length = length.ok_or(DiskError::TooLarge { bytes: payload.len() })?;
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    bytes.push(tag as u8);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(tag, length, &payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// The frame that begins at a place, if a whole and sound one does.
fn frame_at(bytes: &[u8], at: usize) -> Option<(Tag, &[u8])> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let [tag, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let tag = [Tag::Group, Tag::Snapshot].into_iter().find(|known| *known as u8 == tag)?;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let payload = rest.get(..length as usize)?;
    (checksum(tag, length, payload) == u32::from_le_bytes([c0, c1, c2, c3])).then_some((tag, payload))
}

fn checksum(tag: Tag, length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[tag as u8]);
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(all(test, not(madsim)))]
mod tests;
