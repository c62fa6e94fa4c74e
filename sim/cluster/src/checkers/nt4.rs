//! NT4: cursors at a subscriber rise by one between cuts.
//!
//! Source: spec 1.2. Judged at each notification and snapshot that a session takes: a notification is the next one, after a
//! first snapshot. A subscriber that restarted may have recorded more than it told.

use super::stream::Stands;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Findings, Interest, Scene};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt4 {
    stands: Stands,
}

impl Checker<Cluster> for Nt4 {
    fn property(&self) -> &'static str {
        "NT4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Stands::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Some((_, Event::Notified { session, notice })) = event(entry) {
            let stand = self.stands.of(entry.node, *session);
            let resumed = stand.map_or(self.stands.may_open_silently(), |stand| stand.restarted);
            let taken = stand.and_then(|stand| stand.taken());
            if !resumed && taken.is_none_or(|taken| notice.cursor > taken.next()) {
                let message = format!("notice {} is taken after {taken:?}: a gap", notice.cursor);
                findings.violated("NT4", entry.at, [entry.id], message);
            }
            if resumed {
                findings.reached("subscriber resumed after its restart");
            }
        }
        self.stands.follow(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{S, history, notified, opened, resynced};
    use super::*;

    #[test]
    fn cursors_rise_by_one_between_cuts() {
        let start = || history(Nt4::default()).event(S, opened()).event(S, resynced(4, &[]));
        start().event(S, notified(5, 0, 1)).event(S, notified(6, 1, 2)).event(S, resynced(9, &[])).holds();
        start().event(S, notified(6, 0, 1)).violated("after Some(Cursor(4))");
        history(Nt4::default()).event(S, opened()).event(S, notified(1, 0, 1)).violated("after None");
        start().down(S).up(S).event(S, notified(7, 0, 1)).event(S, notified(9, 1, 2)).violated("after Some(Cursor(7))");
    }
}
