//! What has to hold whatever happens, judged from what left the processes.

use squall_coordinator::{Change, Cursor, Event, Incarnation, Quorum, Session};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) formed: Vec<Quorum>,
    granted: BTreeSet<Incarnation>,
    joined: BTreeSet<Incarnation>,
    failed: BTreeSet<Incarnation>,
    numbered: Cursor,
    taken: BTreeMap<Session, Cursor>,
    notified: BTreeSet<(Session, Incarnation)>,
    active: BTreeMap<Incarnation, u64>,
}

impl Judge {
    pub(crate) fn newest(&self) -> Option<&Quorum> {
        self.formed.last()
    }

    pub(crate) fn see(&mut self, event: &Event) {
        match event {
            Event::Granted { incarnation, .. } => {
                assert!(self.granted.insert(*incarnation), "incarnation {incarnation} was granted twice");
            }
            Event::Joined { incarnation, .. } => {
                assert!(self.joined.insert(*incarnation), "incarnation {incarnation} was used by two processes");
            }
            Event::Failed { incarnation, cursor, .. } => {
                assert!(self.failed.insert(*incarnation), "incarnation {incarnation} failed twice");
                self.number(*cursor);
            }
            Event::Began { returned: Some(cursor), .. } => self.number(*cursor),
            Event::Formed { quorum, .. } => self.form(quorum),
            Event::Received { incarnation, number, quorum } => {
                assert!(self.formed.contains(quorum), "a quorum that was never formed was received");
                let member = quorum.members.iter().find(|member| member.incarnation == *incarnation);
                assert_eq!(member.map(|member| member.number), Some(*number));
            }
            Event::Active { incarnation, formation, .. } => {
                let before = self.active.insert(*incarnation, formation.0);
                assert!(before.is_none_or(|before| before < formation.0), "{incarnation} went back to {formation}");
            }
            Event::Notified { session, notice } => {
                let before = self.taken.insert(*session, notice.cursor);
                assert_eq!(before.map(Cursor::next), Some(notice.cursor), "a gap between cuts");
                if let Change::Failed(_) = notice.change {
                    assert!(self.failed.contains(&notice.incarnation), "a failure that never was");
                    assert!(self.notified.insert((*session, notice.incarnation)), "notified twice");
                }
            }
            Event::Resynced { session, cursor, failures, .. } => {
                let before = self.taken.insert(*session, *cursor);
                assert!(before.is_none_or(|before| before < *cursor), "a cut goes forward");
                assert!(failures.iter().all(|failure| self.failed.contains(&failure.incarnation)));
            }
            _ => {}
        }
    }

    fn number(&mut self, cursor: Cursor) {
        assert_eq!(cursor, self.numbered.next(), "the numbering of notices has no gap");
        self.numbered = cursor;
    }

    fn form(&mut self, quorum: &Quorum) {
        let list = |quorum: &Quorum| -> Vec<_> {
            quorum.members.iter().map(|member| (member.id.clone(), member.incarnation)).collect()
        };
        if let Some(before) = self.formed.last() {
            assert!(before.formation < quorum.formation, "each formation has its epoch");
            assert!(before.id <= quorum.id, "quorum ids never go back");
            assert!(before.id != quorum.id || list(before) == list(quorum), "equal ids, equal members");
        }
        self.formed.push(quorum.clone());
    }
}
