//! What a node shows of itself: plain data, for people and for checkers.

use alloc::string::String;
use squall_coordinator::{Cursor, Epoch, Incarnation, Number, QuorumId, Session};
use squall_machine::{Text, Time};

/// How far a member is with its registration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemberPhase {
    /// The process has not booted.
    Off,
    /// It asks for an incarnation.
    Registering,
    /// It has one and beats.
    Member,
    /// It has said that it leaves and waits for the answer.
    Leaving,
    /// It has left, or another process took over its id.
    Stopped,
}

/// The state of a member at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub id: Text,
    /// How far it is with its registration.
    pub phase: MemberPhase,
    /// Its incarnation, while it has one.
    pub incarnation: Option<Incarnation>,
    /// Whether it stopped because another process took over its id.
    pub superseded: bool,
    /// The formation in which it is Active, and its quorum id.
    pub active: Option<(Epoch, QuorumId)>,
    /// When it stops being Active unless another heartbeat is acknowledged, on its own clock.
    pub lease_until: Option<Time>,
    /// The formation epoch that it knows.
    pub epoch: Epoch,
    /// The number of its open request.
    pub open_request: Option<Number>,
    /// Local ranks that wait for a quorum.
    pub waiting_ranks: u32,
    /// Its subscriber session.
    pub session: Option<Session>,
    /// The last notification that it took.
    pub taken: Option<Cursor>,
    /// How many heartbeats it remembers. Bounded by `lapse` and a constant.
    pub heartbeats_kept: usize,
    /// Whether the coordinator has been silent for so long that it is taken for gone.
    pub contact_lost: bool,
    /// What it waits for, for people; empty if for nothing.
    pub waits_for: String,
}

/// The state of an observer at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObserverStatus {
    /// Its session, once it has booted.
    pub session: Option<Session>,
    /// The last notification that it took.
    pub taken: Option<Cursor>,
}
