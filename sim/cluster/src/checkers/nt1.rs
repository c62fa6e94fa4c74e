//! NT1: at most one notification per incarnation and subscriber session.
//!
//! Source: spec 1.2. A session takes cursors that only rise (judged here), each cursor stands for one notice (NT3), and no
//! incarnation gets a second notice of its failure (judged here): so none is notified twice.

use super::stream::Stands;
use super::table::Table;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_coordinator::{Change, Cursor, Incarnation};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt1 {
    stands: Stands,
    failures: Table<Cursor>,
}

impl Nt1 {
    fn numbered(&mut self, entry: &Entry<'_, Cluster>, who: Incarnation, cursor: Cursor, findings: &mut Findings) {
        if let Some(other) = self.failures.insert(who, cursor).filter(|other| *other != cursor) {
            let message = format!("the failure of incarnation {who} is notice {cursor}, and {other} before");
            findings.violated("NT1", entry.at, [entry.id], message);
        }
    }
}

impl Checker<Cluster> for Nt1 {
    fn property(&self) -> &'static str {
        "NT1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Stands::interest(interest);
        interest.events(&["failed", "forgotten"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((_, Event::Failed { incarnation, cursor, .. })) => {
                self.numbered(entry, *incarnation, *cursor, findings);
            }
            Some((_, Event::Notified { session, notice })) => {
                if matches!(notice.change, Change::Failed(_)) {
                    self.numbered(entry, notice.incarnation, notice.cursor, findings);
                }
                let before = self.stands.of(entry.node, *session).and_then(|stand| stand.notified);
                if let Some(before) = before.filter(|before| notice.cursor <= *before) {
                    let message = format!("notice {} is taken again after {before}", notice.cursor);
                    findings.violated("NT1", entry.at, [entry.id], message);
                }
            }
            Some((_, Event::Forgotten { incarnation, .. })) => {
                self.failures.remove(*incarnation);
            }
            _ => {}
        }
        self.stands.follow(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{S, history, notified, resynced};
    use super::*;
    use squall_machine::Span;

    #[test]
    fn each_failure_is_notified_once() {
        let start = || history(Nt1::default()).begin(0, 1).event(S, resynced(0, &[])).fail(0, 1, 1, Span::ZERO);
        start().event(S, notified(1, 0, 1)).fail(1, 2, 2, Span::ZERO).event(S, notified(2, 1, 2)).holds();
        start().event(S, notified(1, 0, 1)).event(S, notified(1, 0, 1)).violated("taken again after 1");
        start().fail(0, 1, 2, Span::ZERO).violated("notice 2, and 1 before");
    }
}
