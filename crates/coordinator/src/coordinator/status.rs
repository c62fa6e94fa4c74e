//! The coordinator's state as plain data, for people and checkers.

use super::notices::Phase;
use super::record::{End, Stage};
use super::{Coordinator, rules};
use crate::{Capacity, Cursor, Epoch, Failure, Incarnation, Number, Quorum, Role, Session};
use alloc::vec::Vec;
use squall_machine::{Span, Text, Time};

/// Everything there is to see at one moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Status {
    /// Every incarnation that has begun and not ended, in order.
    pub members: Vec<MemberStatus>,
    /// The current failures, by id.
    pub failures: Vec<Failure>,
    /// Every incarnation that has ended and is remembered, in order.
    pub ended: Vec<(Incarnation, Text, End)>,
    /// The requests that wait, by incarnation.
    pub open: Vec<OpenRequest>,
    /// Where the formation of quorums stands.
    pub epoch: Epoch,
    /// The newest quorum.
    pub quorum: Option<Quorum>,
    /// The members of the newest quorum's formation that may still be Active in it, by incarnation.
    pub holders: Vec<Incarnation>,
    /// The newest notice.
    pub cursor: Cursor,
    /// Who listens.
    pub sessions: Vec<SessionStatus>,
    /// Why no quorum forms; empty when nobody asks.
    pub waiting: Text,
    /// How much is kept.
    pub sizes: Sizes,
}

/// A live member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberStatus {
    /// Its id.
    pub id: Text,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// What it is for.
    pub role: Role,
    /// Where it is reached.
    pub address: Text,
    /// What it can hold.
    pub capacity: Capacity,
    /// What the clock says about it.
    pub state: MemberState,
    /// How long ago its last heartbeat was accepted.
    pub age: Span,
}

/// What the clock says about a member that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemberState {
    /// Heard of less than its timeout ago.
    Alive,
    /// Silent for its timeout; not yet for the grace after it.
    Suspected,
    /// It has failed, and the next tick or its own next word declares it.
    Overdue,
}

/// A request that waits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct OpenRequest {
    /// Who asks.
    pub incarnation: Incarnation,
    /// The request's number.
    pub number: Number,
    /// For how long.
    pub waited: Span,
}

/// A subscriber's session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionStatus {
    /// Which.
    pub session: Session,
    /// The last notice that it confirmed.
    pub acked: Cursor,
    /// How many notices it was sent and has not confirmed.
    pub queued: u64,
    /// How many notices wait until it confirms some.
    pub behind: u64,
    /// Whether it fell behind and gets a snapshot next.
    pub lagging: bool,
}

/// The sizes of everything that grows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sizes {
    /// Incarnations that are granted and unclaimed.
    pub grants: usize,
    /// Incarnations that are live.
    pub live: usize,
    /// Incarnations that have ended and are remembered. The three together are at most `members_max`.
    pub ended: usize,
    /// Members whose failure is current.
    pub failures: usize,
    /// Notices kept; at most `notices_kept`.
    pub notices: usize,
    /// Sessions; at most `sessions_max`.
    pub sessions: usize,
    /// Open requests; at most one per live replica.
    pub open: usize,
    /// Live incarnations whose earlier requests are remembered.
    pub settled: usize,
    /// Members of the newest formation that may be Active in it.
    pub holders: usize,
}

impl Coordinator {
    /// The coordinator's state as plain data.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let members = self.live.keys().map(|&incarnation| self.member_status(incarnation, now));
        let ended = self.durable.members.iter().filter_map(|(&incarnation, member)| match member.stage {
            Stage::Ended(end) => Some((incarnation, member.id.clone(), end)),
            Stage::Granted | Stage::Begun => None,
        });
        let open = self.open.iter().map(|(&incarnation, open)| OpenRequest {
            incarnation,
            number: open.number,
            waited: now.since(open.since),
        });
        let sessions = self.sessions.iter().map(|(&session, listener)| SessionStatus {
            session,
            acked: listener.acked,
            queued: listener.sent.0 - listener.acked.0,
            behind: self.durable.cursor.0 - listener.sent.0,
            lagging: listener.phase == Phase::Lagging,
        });
        Status {
            members: members.collect(),
            failures: self.durable.failures.values().cloned().collect(),
            ended: ended.collect(),
            open: open.collect(),
            epoch: self.durable.epoch,
            quorum: self.durable.formed.clone(),
            holders: self.durable.holders.iter().copied().collect(),
            cursor: self.durable.cursor,
            sessions: sessions.collect(),
            waiting: alloc::format!("{}", self.waiting).into(),
            sizes: self.sizes(),
        }
    }

    fn member_status(&self, incarnation: Incarnation, now: Time) -> MemberStatus {
        let member = &self.durable.members[&incarnation];
        let live = &self.live[&incarnation];
        let age = now.since(live.heard);
        let state = if rules::alive(age, live.timeout) {
            MemberState::Alive
        } else if rules::overdue(age, live.timeout, self.knobs.grace) {
            MemberState::Overdue
        } else {
            MemberState::Suspected
        };
        let (id, address) = (member.id.clone(), member.address.clone());
        MemberStatus { id, incarnation, role: member.role, address, capacity: member.capacity, state, age }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            grants: self.grants.len(),
            live: self.live.len(),
            ended: self.ended.len(),
            failures: self.durable.failures.len(),
            notices: self.durable.notices.len(),
            sessions: self.sessions.len(),
            open: self.open.len(),
            settled: self.settled.len(),
            holders: self.durable.holders.len(),
        }
    }
}
