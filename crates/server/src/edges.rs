//! The edges of the shell: what it needs of a world. Production implements them with tokio, gRPC and files; a simulation with
//! its own clock, faults and disks.

use squall_machine::{Address, Batch, Durable, Machine, Synced, Time, Wall};
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// A process's own clock.
pub trait Clock: Send + 'static {
    /// What the monotonic clock shows. Never goes back within one life of a process.
    fn now(&self) -> Time;

    /// What the calendar shows. For display only.
    fn wall(&self) -> Wall;

    /// Ends once [`now`](Clock::now) shows `deadline` or later; at once if it already does.
    fn sleep_until(&self, deadline: Time) -> impl Future<Output = ()> + Send;
}

/// Where a node's records are durable.
///
/// A driver has at most one of these calls under way, and drops it unfinished only when the process ends.
pub trait Disk<M: Machine>: Send + 'static {
    /// What the disk holds. Called once, before anything else.
    ///
    /// # Errors
    /// If it can't be read, or isn't this machine's.
    fn load(&mut self) -> impl Future<Output = Result<Durable<M>, DiskError>> + Send;

    /// Makes a group of batches durable, in order, with one sync. The receipt of the last one covers all; only a disk makes
    /// receipts. The group isn't empty.
    ///
    /// # Errors
    /// If any of it may not be durable. The process stops; what is on the disk counts when it starts again.
    fn write(&mut self, group: Vec<Batch<M>>) -> impl Future<Output = Result<Synced, DiskError>> + Send;

    /// Replaces everything so far by a snapshot, atomically: a crash leaves either.
    ///
    /// # Errors
    /// If it may not have been replaced.
    fn compact(&mut self, snapshot: M::Snapshot) -> impl Future<Output = Result<(), DiskError>> + Send;
}

/// What goes wrong with a disk, where, and what to do about it.
#[derive(Debug)]
pub enum DiskError {
    /// The operating system refused.
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it didn't work.
        source: std::io::Error,
    },
    /// Another process has the file open. Stop that one, or give this one another file.
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file is something else. Give the process another path.
    NotOurs {
        /// Which file.
        path: PathBuf,
    },
    /// The file was written by another version. Use that one, or convert the file.
    OtherVersion {
        /// Which file.
        path: PathBuf,
        /// The version of its format.
        found: u32,
        /// The version that this program reads.
        ours: u32,
    },
    /// The file holds the state of another kind of node. Give the process its own file.
    OtherKind {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What this node would keep there.
        ours: &'static str,
    },
    /// A record that was synced can't be read, so the state after it is lost. Restore the file from a copy.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the record begins, in bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A group of records or a snapshot is larger than a file may hold. It was not written.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// A simulated disk fails, for the reason that it was given.
    Simulated(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => write!(f, "can't {doing} {}: {source}", path.display()),
            Self::InUse { path } => write!(
                f,
                "{} is in use by another process: stop that one, or give this one another path",
                path.display()
            ),
            Self::NotOurs { path } => {
                write!(f, "{} is no squall data file: give this process another path", path.display())
            }
            Self::OtherVersion { path, found, ours } => write!(
                f,
                "{} has format version {found}, this program reads version {ours}: use a matching version",
                path.display()
            ),
            Self::OtherKind { path, found, ours } => write!(
                f,
                "{} holds the state of a {found:?}, not of a {ours:?}: give this process its own file",
                path.display()
            ),
            Self::Damaged { path, offset, problem } => write!(
                f,
                "{} is damaged at byte {offset}: {problem}; records after it were synced: restore the file from a copy",
                path.display()
            ),
            Self::TooLarge { bytes } => write!(f, "a write of {bytes} bytes is larger than a data file may hold"),
            Self::Simulated(reason) => write!(f, "the simulated disk fails: {reason}"),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse { .. }
            | Self::NotOurs { .. }
            | Self::OtherVersion { .. }
            | Self::OtherKind { .. }
            | Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::Simulated(_) => None,
        }
    }
}

/// What a transport hands to its driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming<T> {
    /// A message arrived.
    Message {
        /// Where an answer would reach the sender.
        from: Address,
        /// What it says.
        message: T,
    },
    /// A message is known not to have been answered on its way. It may have arrived all the same.
    Undelivered {
        /// Where it was to go.
        to: Address,
        /// What it says.
        message: T,
        /// What is known.
        reason: Undelivered,
    },
}

/// What a transport knows about a message that it could not deliver, or doesn't know to have delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Undelivered {
    /// The call failed: no connection, or the other side refused it.
    CallFailed,
    /// The call's deadline passed.
    Deadline,
    /// A newer message of its kind took its place.
    Replaced,
    /// Nobody listens at that address any more.
    Gone,
    /// The queue towards that address is full.
    QueueFull,
    /// The message isn't one that goes to such an address.
    WrongDirection,
}

/// How messages travel: unreliably.
pub trait Transport<T>: Send + 'static {
    /// Sends a message. Never blocks: queues are bounded, and what doesn't fit comes back as [`Incoming::Undelivered`].
    fn send(&mut self, to: Address, message: T);

    /// The next thing that arrived. Cancel-safe: dropping the future loses nothing.
    fn receive(&mut self) -> impl Future<Output = Incoming<T>> + Send;
}

/// Where a node's history goes.
pub trait Journal<M: Machine>: Send + 'static {
    /// What the machine decided at `decided`, on its own clock. It is durable by now.
    fn event(&mut self, decided: Time, event: M::Event);

    /// What the shell has to say, at `at` on the same clock.
    fn note(&mut self, at: Time, note: Note<M>);
}

/// What happens in the shell itself and decides nothing.
#[derive(Debug)]
pub enum Note<M: Machine> {
    /// The disk was read, the machine boots next.
    Loaded {
        /// How many records were found after the snapshot.
        records: usize,
        /// Whether a torn record was dropped.
        torn_tail: bool,
    },
    /// A group of records became durable.
    Synced {
        /// How many records.
        records: usize,
    },
    /// The disk was compacted to a snapshot.
    Compacted,
    /// A message is not known to have arrived.
    Undelivered {
        /// Where it was to go.
        to: Address,
        /// What it says.
        message: M::Message,
        /// What is known.
        reason: Undelivered,
    },
    /// The local client has left its replies unread, so the queue to it was closed.
    RepliesClosed,
}

/// A journal that keeps nothing; what happens is in the logs all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoJournal;

impl<M: Machine> Journal<M> for NoJournal {
    fn event(&mut self, _decided: Time, _event: M::Event) {}

    fn note(&mut self, _at: Time, _note: Note<M>) {}
}

/// The driver's end of the queues to and from local clients.
#[derive(Debug)]
pub struct Local<M: Machine> {
    pub(crate) requests: mpsc::Receiver<M::Request>,
    pub(crate) replies: mpsc::Sender<M::Reply>,
}

/// The local clients' end. Replies come in order and without gaps: when `replies` is left unread until it is full, it is
/// closed instead of losing one, and its reader sees the end.
#[derive(Debug)]
pub struct LocalClient<M: Machine> {
    /// Takes requests; waits or refuses when the driver is behind.
    pub requests: mpsc::Sender<M::Request>,
    /// Gives replies.
    pub replies: mpsc::Receiver<M::Reply>,
}

impl<M: Machine> Local<M> {
    /// A pair of queues that hold up to `capacity` requests and as many replies.
    ///
    /// # Panics
    /// If `capacity` is 0.
    #[must_use]
    pub fn queues(capacity: usize) -> (Self, LocalClient<M>) {
        let (requests_in, requests) = mpsc::channel(capacity);
        let (replies, replies_out) = mpsc::channel(capacity);
        (Self { requests, replies }, LocalClient { requests: requests_in, replies: replies_out })
    }

    /// For a node that has no local clients.
    #[must_use]
    pub fn none() -> Self {
        Self::queues(1).0
    }
}
