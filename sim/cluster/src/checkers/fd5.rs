//! FD5: after each tick heartbeats and failures are disjoint; each known member has one status; nothing stays overdue.
//!
//! Source: spec 1.1 and 1.2. From what the coordinator shows of itself about once a second, between ticks: no member is
//! both live and among the current failures, no id is live twice, no incarnation is both live and ended, every current
//! failure has ended by failure, only the live ask, and nobody is overdue for longer than it takes to the next tick (two, if
//! the coordinator was busy) while it runs.

use super::ages::Ages;
use super::calm::Calm;
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Scene};
use squall_coordinator::{End, Status};
use squall_machine::Text;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd5 {
    calm: Calm,
    /// The ids of the live members as they were shown last, in order, and as a set: they are the same for minutes.
    shown: Vec<Text>,
    ids: BTreeSet<Text>,
}

impl Fd5 {
    fn learn(&mut self, status: &Status) {
        if !status.members.iter().map(|member| &member.id).eq(&self.shown) {
            self.shown = status.members.iter().map(|member| member.id.clone()).collect();
            self.ids = self.shown.iter().cloned().collect();
        }
    }

    fn problem(&self, status: &Status, scene: &Scene<'_, Cluster>) -> Option<String> {
        let live: BTreeSet<_> = status.members.iter().map(|member| member.incarnation).collect();
        if live.len() != status.members.len() || self.ids.len() != status.members.len() {
            return Some("an id or an incarnation is live twice".to_owned());
        }
        let ended: BTreeMap<_, _> = status.ended.iter().map(|(who, _, end)| (*who, *end)).collect();
        if let Some(who) = ended.keys().find(|who| live.contains(who)) {
            return Some(format!("incarnation {who} is live, and ended"));
        }
        for failure in &status.failures {
            if self.ids.contains(&failure.member) {
                return Some(format!("{} is live, and among the failures", failure.member));
            }
            if ended.get(&failure.incarnation) != Some(&End::Failed(failure.cause)) {
                return Some(format!("the failure of {} isn't one of an ended incarnation", failure.member));
            }
        }
        if let Some(open) = status.open.iter().find(|open| !live.contains(&open.incarnation)) {
            return Some(format!("incarnation {} asks, and isn't live", open.incarnation));
        }
        let knobs = scene.system.knobs();
        let coordinator = scene.system.coordinator();
        if !self.calm.runs(coordinator) || scene.now.since(self.calm.last(coordinator)) < knobs.tick * 3 {
            return None;
        }
        let late = status
            .members
            .iter()
            .find(|member| member.age >= Ages::timeout(knobs, member.role) + knobs.grace + knobs.tick * 2);
        late.map(|member| format!("{} of age {} is live, long after its timeout", member.id, member.age))
    }
}

impl Checker<Cluster> for Fd5 {
    fn property(&self) -> &'static str {
        "FD5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Calm::interest(interest);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, _: &mut Findings) {
        self.calm.follow(entry, scene);
    }

    fn on_view(&mut self, _: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Coordinator(status, _) = view else { return };
        self.learn(status);
        if let Some(problem) = self.problem(status, scene) {
            let none: [EntryId; 0] = [];
            findings.violated("FD5", scene.now, none, format!("the coordinator shows: {problem}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, coordinator_view, history, live, status};
    use super::*;
    use squall_coordinator::{Cause, Cursor, Failure, Incarnation};
    use squall_machine::Span;

    fn check(change: impl FnOnce(&mut Status)) -> super::super::testing::History<Fd5> {
        let mut status = status();
        status.members.push(live(0, 1, Span::from_secs(1)));
        change(&mut status);
        history(Fd5::default()).at(60_000).view(C, &coordinator_view(status))
    }

    #[test]
    fn every_member_has_one_status() {
        let failure = |member: &str, incarnation| Failure {
            member: member.into(),
            incarnation: Incarnation(incarnation),
            cause: Cause::Timeout,
            cursor: Cursor(1),
        };
        let end = |index: u64| (Incarnation(index), "r1".into(), End::Failed(Cause::Timeout));
        check(|_| {}).holds();
        check(|status| status.members.push(live(0, 2, Span::ZERO))).violated("live twice");
        check(|status| status.failures.push(failure("r0", 1))).violated("among the failures");
        check(|status| status.failures.push(failure("r1", 2))).violated("isn't one of an ended");
        check(|status| status.ended.push(end(1))).violated("is live, and ended");
        check(|status| {
            status.failures.push(failure("r1", 2));
            status.ended.push(end(2));
        })
        .holds();
        check(|status| status.members.push(live(1, 2, Span::from_secs(7)))).violated("long after its timeout");
    }
}
