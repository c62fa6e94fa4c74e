//! The vote of the local ranks on one step.

use crate::QuorumId;
use alloc::collections::BTreeMap;
use squall_machine::{Span, Time};

/// One vote: open until it is decided, then kept, so that who votes late hears the same decision.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Vote {
    pub(super) step: u64,
    pub(super) quorum_id: QuorumId,
    opened: Time,
    /// Who voted, and the token of the call that waits for the decision. At most one per local rank.
    pub(super) ballots: BTreeMap<u32, u64>,
    pub(super) decision: Option<bool>,
}

impl Vote {
    pub(super) fn open(step: u64, quorum_id: QuorumId, now: Time) -> Self {
        Self { step, quorum_id, opened: now, ballots: BTreeMap::new(), decision: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.decision.is_none()
    }

    /// When an open vote ends as false.
    pub(super) fn deadline(&self, timeout: Span) -> Option<Time> {
        self.is_open().then_some(self.opened + timeout)
    }

    /// Whether the time of an open vote is over.
    pub(super) fn is_overdue(&self, now: Time, timeout: Span) -> bool {
        self.is_open() && now.since(self.opened) >= timeout
    }
}
