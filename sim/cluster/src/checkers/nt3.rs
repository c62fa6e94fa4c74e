//! NT3: no notification without its Failed or Began; none that a later cut superseded.
//!
//! Source: spec 1.2. What a subscriber takes has to be, in every field, what the coordinator told at that place of the
//! stream; and its place lies after the last snapshot of its session. Only after a restart of the coordinator a notice may
//! exist that was durable but never told: then all subscribers have to agree on it.

use super::stream::{Stands, Stream};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_coordinator::{Notice, Session};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt3 {
    stream: Stream,
    stands: Stands,
}

impl Nt3 {
    fn on_notified(&mut self, entry: &Entry<'_, Cluster>, session: Session, notice: &Notice, findings: &mut Findings) {
        let cursor = notice.cursor;
        let problem = match self.stream.at(cursor) {
            Some(told) if told.notice == *notice => None,
            Some(told) => Some(format!("at {cursor} {notice:?} is taken, but {:?} was told", told.notice)),
            None if self.stream.may_hold(cursor) => {
                self.stream.adopt(notice.clone(), entry.at);
                None
            }
            None => Some(format!("notice {cursor} is taken, but nothing was told there")),
        };
        let stand = self.stands.of(entry.node, session);
        let cut = stand.and_then(|stand| stand.cut).filter(|cut| cursor <= *cut);
        let stray = stand.is_none() && !self.stands.may_open_silently();
        let problem = problem
            .or_else(|| cut.map(|cut| format!("notice {cursor} is taken after a snapshot that covers up to {cut}")))
            .or_else(|| stray.then(|| format!("notice {cursor} is taken in a session that was never opened")));
        if let Some(problem) = problem {
            findings.violated("NT3", entry.at, [entry.id], problem);
        }
    }
}

impl Checker<Cluster> for Nt3 {
    fn property(&self) -> &'static str {
        "NT3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Stream::interest(interest);
        Stands::interest(interest);
        interest.events(&["lagged"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        // What is wrong with the numbering is NT5's.
        let _ = self.stream.follow(entry, scene);
        match event(entry) {
            Some((_, Event::Notified { session, notice })) => self.on_notified(entry, *session, notice, findings),
            Some((_, Event::Began { returned: Some(_), .. })) => findings.reached("member returned"),
            Some((_, Event::Lagged { .. })) => findings.reached("subscriber lagged"),
            _ => {}
        }
        self.stands.follow(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, S, history, notified, opened, resynced};
    use super::*;
    use squall_machine::Span;

    #[test]
    fn what_is_taken_was_told() {
        let start = || history(Nt3::default()).event(S, opened()).begin(0, 1).fail(0, 1, 1, Span::ZERO);
        start().event(S, notified(1, 0, 1)).holds();
        start().event(S, notified(1, 1, 1)).violated("was told");
        start().event(S, notified(2, 0, 1)).violated("nothing was told there");
        start().down(C).up(C).event(S, notified(2, 1, 2)).event(S, notified(2, 2, 3)).violated("was told");
    }

    #[test]
    fn nothing_follows_that_a_cut_covers() {
        let start = || history(Nt3::default()).event(S, opened()).begin(0, 1).fail(0, 1, 1, Span::ZERO);
        start().event(S, resynced(1, &[])).event(S, notified(1, 0, 1)).violated("covers up to 1");
    }
}
