//! The history of a run: flat, append-only. Truth comes from the harness alone, events from the machines.

use crate::{EntryId, NodeId, NodeSet, System};
use serde::Serialize;
use squall_machine::{Machine, Span, Time};

/// The message type of a system.
pub type MessageOf<S> = <<S as System>::Node as Machine>::Message;
/// The event type of a system.
pub type EventOf<S> = <<S as System>::Node as Machine>::Event;

/// One entry of the history.
#[derive(Debug)]
pub struct Entry<'a, S: System> {
    /// Its number: entries are numbered without gaps from 1.
    pub id: EntryId,
    /// When, in simulated time since the start of the run.
    pub at: Time,
    /// Where; for messages the receiver when delivered, else the sender.
    pub node: NodeId,
    /// The entry that led to it: of an event or a sending, what its step reacted to; of a delivery, the sending.
    pub cause: EntryId,
    /// What.
    pub fact: Fact<'a, S>,
}

/// What an entry tells.
#[derive(Debug)]
pub enum Fact<'a, S: System> {
    /// Ground truth of the harness.
    Truth(&'a Truth),
    /// A message left.
    Sent {
        /// Where it goes.
        hop: Hop,
        /// What it says.
        message: &'a MessageOf<S>,
    },
    /// A message is handed to its receiver.
    Delivered {
        /// Where it came from.
        hop: Hop,
        /// What it says.
        message: &'a MessageOf<S>,
    },
    /// A message will not arrive, or not this copy of it.
    Dropped {
        /// Where it would have gone.
        hop: Hop,
        /// Why.
        reason: DropReason,
    },
    /// A machine decided something, and everything it recorded before is durable.
    Event {
        /// When it was decided, on the node's own monotonic clock. Not later than the entry.
        decided: Time,
        /// What.
        event: &'a EventOf<S>,
    },
}

/// A message's way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct Hop {
    /// The entry of its sending.
    pub sent: EntryId,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// Index in the names of the message kinds.
    pub kind: usize,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The link was cut.
    Cut,
    /// The link lost it.
    Loss,
    /// A bit flipped, and the decoder noticed.
    Corrupt,
    /// A fault singled it out.
    Scripted,
    /// Nobody runs there.
    Down,
    /// Its receiver moved to another address.
    Moved,
    /// Too many waited for a paused or slow process.
    Overflow,
    /// The call or stream that carried it ended before it was heard. Only where processes have a transport of their own.
    Undelivered,
}

impl DropReason {
    /// All reasons, in order.
    pub const ALL: [Self; 8] = [
        Self::Cut,
        Self::Loss,
        Self::Corrupt,
        Self::Scripted,
        Self::Down,
        Self::Moved,
        Self::Overflow,
        Self::Undelivered,
    ];

    /// The reason as a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Loss => "loss",
            Self::Corrupt => "corrupt",
            Self::Scripted => "scripted",
            Self::Down => "down",
            Self::Moved => "moved",
            Self::Overflow => "overflow",
            Self::Undelivered => "undelivered",
        }
    }
}

/// Ground truth: what the harness did. Machines don't know it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Truth {
    /// A phase of the run begins.
    Phase {
        /// Which.
        phase: Phase,
        /// From stabilisation on: the nodes that are healed and fully linked. All others are stopped or isolated.
        core: NodeSet,
    },
    /// A process started.
    Up {
        /// Which life of the node, from 1.
        life: u32,
        /// How many durable records it found, those in its snapshot not counted.
        records: u32,
        /// Whether a torn record was found and dropped.
        torn_tail: bool,
        /// Whether its disk was wiped or replaced by an older state before.
        disk_lost: bool,
    },
    /// A process died, or could not start.
    Down {
        /// How many unsynced records were lost with it.
        lost: u32,
        /// Why.
        cause: DownCause,
    },
    /// A process stopped running for a while.
    Pause,
    /// It runs again.
    Resume,
    /// Steps take this long from now on; zero: none at all.
    Slow {
        /// How long.
        step: Span,
    },
    /// A local client asked something.
    Request {
        /// What.
        name: &'static str,
    },
    /// A link fault begins or ends.
    Link {
        /// Index of the fault in the plan.
        fault: u32,
        /// Whether it begins.
        begins: bool,
    },
    /// A clock changed.
    Clock {
        /// Drift of the monotonic clock in millionths.
        drift_ppm: i32,
        /// How far the calendar is off, in nanoseconds.
        wall_offset: i64,
        /// Whether the monotonic clock stands still.
        frozen: bool,
        /// Whether it just jumped ahead.
        stepped: bool,
    },
    /// A disk changed.
    Disk {
        /// Its state from now on.
        state: DiskState,
    },
}

/// The kinds of truth, for [`Interest::truth`](crate::Interest::truth).
impl Truth {
    /// Names of the kinds, in order.
    pub const NAMES: [&'static str; 10] =
        ["phase", "up", "down", "pause", "resume", "slow", "request", "link", "clock", "disk"];

    /// The index of this one's kind in [`NAMES`](Truth::NAMES).
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::Phase { .. } => 0,
            Self::Up { .. } => 1,
            Self::Down { .. } => 2,
            Self::Pause => 3,
            Self::Resume => 4,
            Self::Slow { .. } => 5,
            Self::Request { .. } => 6,
            Self::Link { .. } => 7,
            Self::Clock { .. } => 8,
            Self::Disk { .. } => 9,
        }
    }
}

/// Why a process is down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DownCause {
    /// A fault killed it.
    Crash,
    /// It ended itself.
    Abort,
    /// A synced record could not be read at its start.
    Unreadable,
    /// It is outside the core that is healed at the end.
    Frozen,
}

/// The state of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DiskState {
    /// Syncs take a time drawn from the quality in force.
    Working,
    /// Writes wait for space.
    Full,
    /// Writes never answer.
    Stuck,
}

/// The phases of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// No generated fault yet.
    WarmUp,
    /// Faults strike; safety is judged after every step.
    Faults,
    /// A core is healed and fully linked, everybody else is stopped or isolated.
    Stabilisation,
    /// Liveness is judged within bounds.
    Liveness,
}
