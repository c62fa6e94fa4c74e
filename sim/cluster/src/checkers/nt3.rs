//! NT3: no notification without its Failed or Began; none that a later cut superseded.
//!
//! Source: spec 1.2. What a subscriber takes has to be, in every field, what the coordinator told at that place of the
//! stream; and its place lies after the last snapshot of its session. Only after a restart of the coordinator a notice may
//! exist that was durable but never told: then all subscribers have to agree on it. A session that was declared lagging has to
//! be cut: until its snapshot it may only take what had been on its way, at most a queue's length.

use super::stream::{Stands, Stream};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::{Cursor, Notice, Session};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt3 {
    stream: Stream,
    stands: Stands,
    /// Sessions that wait for their cut, with the last notice that may have been sent to them before.
    lagging: BTreeMap<Session, Cursor>,
}

impl Nt3 {
    /// Follows which sessions wait for a cut. The coordinator forgets its sessions when it dies.
    fn follow_lag(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.lagging.clear();
        }
        match event(entry) {
            Some((_, Event::Lagged { session, after, .. })) => {
                let queue = u64::from(scene.system.knobs().subscriber_queue);
                self.lagging.insert(*session, Cursor(after.0.saturating_add(queue)));
            }
            Some((_, Event::Resynced { session, .. } | Event::Unsubscribed { session })) => {
                self.lagging.remove(session);
            }
            _ => {}
        }
    }

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
        let uncut = self.lagging.get(&session).is_some_and(|last| cursor > *last);
        let problem = problem
            .or_else(|| {
                uncut.then(|| format!("notice {cursor} is taken by a session that fell behind and was not cut"))
            })
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
        interest.truth(&["up"]);
        interest.events(&["lagged", "unsubscribed", "resynced"]);
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
        self.follow_lag(entry, scene);
        self.stands.follow(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, S, SESSION, history, notified, opened, resynced};
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
    fn who_fell_behind_is_cut() {
        let queue = u64::from(squall_coordinator::Knobs::default().subscriber_queue);
        let lagged = |after: u64| Event::Lagged { session: SESSION, after: Cursor(after), newest: Cursor(after + 9) };
        let start = || history(Nt3::default()).event(S, opened()).begin(0, 1).fail(0, 1, 1, Span::ZERO);
        // What had been on its way may still arrive.
        start().event(C, lagged(0)).event(S, notified(1, 0, 1)).holds();
        let far = |cut: bool| {
            let mut history = start();
            for cursor in 2..=queue + 1 {
                history = history.begin(0, cursor).fail(0, cursor, cursor, Span::ZERO);
            }
            history = history.event(C, lagged(0));
            let history = if cut { history.event(S, resynced(queue, &[])) } else { history };
            history.event(S, notified(queue + 1, 0, queue + 1))
        };
        far(true).holds();
        far(false).violated("was not cut");
    }

    #[test]
    fn nothing_follows_that_a_cut_covers() {
        let start = || history(Nt3::default()).event(S, opened()).begin(0, 1).fail(0, 1, 1, Span::ZERO);
        start().event(S, resynced(1, &[])).event(S, notified(1, 0, 1)).violated("covers up to 1");
    }
}
