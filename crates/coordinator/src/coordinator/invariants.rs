//! The relations between the coordinator's fields that hold between any two steps.

use super::Coordinator;
use super::notices::Phase;
use super::record::{End, Stage};
use crate::{Change, Role};

impl Coordinator {
    pub(super) fn check(&self) {
        self.check_members();
        self.check_failures();
        self.check_notices();
        self.check_formation();
    }

    fn check_members(&self) {
        let mut begun = None;
        // In the order of ids, so that two live incarnations of one id come one after the other.
        for (id, incarnation) in &self.names {
            assert!(*incarnation <= self.durable.incarnation, "{incarnation} was never granted");
            let member = &self.durable.members[incarnation];
            assert_eq!(member.id, *id, "{incarnation} is not found by its id");
            let (grant, live, ended) = (
                self.grants.contains_key(incarnation),
                self.live.contains_key(incarnation),
                self.ended.contains_key(incarnation),
            );
            let expected = match member.stage {
                Stage::Granted => (true, false, false),
                Stage::Begun => (false, true, false),
                Stage::Ended(_) => (false, false, true),
            };
            assert_eq!((grant, live, ended), expected, "{incarnation} is {:?}", member.stage);
            if member.stage == Stage::Begun {
                assert_ne!(begun.replace(id), Some(id), "{id} has two live incarnations");
                let current = self.replicas.get(id) == Some(incarnation);
                assert_eq!(current, member.role == Role::Replica, "{incarnation} is in the wrong list");
                assert!(!self.durable.failures.contains_key(id), "{id} is live and a failure");
            }
        }
        let known = self.durable.members.len();
        assert!(known <= self.knobs.members_max as usize, "too many members");
        assert_eq!(self.names.len(), known, "a member that no id leads to");
        assert_eq!(self.grants.len() + self.live.len() + self.ended.len(), known, "a member of no record");
        assert!(self.replicas.len() <= self.live.len(), "a replica that isn't live");
    }

    fn check_failures(&self) {
        for (id, failure) in &self.durable.failures {
            let member = &self.durable.members[&failure.incarnation];
            assert_eq!((id, member.stage), (&member.id, Stage::Ended(End::Failed(failure.cause))), "a false failure");
            assert!(failure.cursor <= self.durable.cursor, "a failure that was never noted");
        }
    }

    fn check_notices(&self) {
        let (kept, newest) = (self.durable.notices.len() as u64, self.durable.cursor);
        assert!(kept <= u64::from(self.knobs.notices_kept), "too many notices");
        assert_eq!(kept, newest.0.min(u64::from(self.knobs.notices_kept)), "a notice is missing");
        for (back, notice) in self.durable.notices.iter().rev().enumerate() {
            assert_eq!(notice.cursor.0 + back as u64, newest.0, "the numbering of notices has a gap");
            assert!(matches!(notice.change, Change::Failed(_) | Change::Returned));
        }
        assert!(self.sessions.len() <= self.knobs.sessions_max as usize, "too many sessions");
        for (session, listener) in &self.sessions {
            assert!(listener.acked <= listener.sent, "{session} confirmed what it wasn't sent");
            assert!(listener.sent <= newest, "{session} was sent what isn't");
            let queued = listener.sent.0 - listener.acked.0;
            let queue = u64::from(self.knobs.subscriber_queue);
            assert!(queued <= queue, "{session} was sent too much");
            let served = listener.sent == newest || queued == queue;
            assert!(served || listener.phase == Phase::Lagging, "{session} waits for nothing");
        }
    }

    fn check_formation(&self) {
        assert!(self.durable.formed.as_ref().is_none_or(|quorum| quorum.formation < self.durable.epoch));
        for incarnation in &self.durable.holders {
            assert!(self.durable.participant(*incarnation).is_some(), "{incarnation} holds a formation it isn't in");
            assert!(self.silence(*incarnation, self.last_tick).is_some(), "{incarnation} may be Active and is unknown");
        }
        for (incarnation, open) in &self.open {
            let settled = &self.settled[incarnation];
            assert_eq!(self.durable.members[incarnation].role, Role::Replica, "{incarnation} may not ask");
            assert!(open.number > settled.withdrawn.max(settled.answered), "{incarnation} waits for what is settled");
        }
        assert!(self.settled.keys().all(|incarnation| self.live.contains_key(incarnation)), "the dead ask nothing");
        assert!(self.open.len() <= self.replicas.len(), "more requests than replicas");
        if let Some(quorum) = &self.durable.formed {
            assert!(!quorum.members.is_empty(), "an empty quorum");
            assert!(quorum.members.is_sorted_by(|left, right| left.id < right.id), "an unsorted quorum");
        }
    }
}
