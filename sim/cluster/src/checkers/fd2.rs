//! FD2: no Failed by timeout while its age is below timeout + grace; with timeout > (k + 1) intervals + L, k lost heartbeats
//! in a row cause none.
//!
//! Source: spec 1.1. The first half is judged by the coordinator's own clock. Of the second, the case k = 0 is judged by
//! ground truth: a process that has run undisturbed since its last accepted heartbeat, over links that lose nothing, to a
//! coordinator that was left in peace, isn't declared. (How many heartbeats were lost in a row is known only message by
//! message, and those are too many to look at.)

use super::ages::{Ages, SharedAges};
use super::calm::{Calm, delay_max};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Cause, Incarnation, Role};
use squall_machine::{Span, Time};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd2 {
    ages: SharedAges,
    calm: Calm,
    /// The incarnation that each process uses, and where each one runs.
    uses: BTreeMap<NodeId, Incarnation>,
    runs: BTreeMap<Incarnation, NodeId>,
}

impl Fd2 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    fn on_timeout(
        &self,
        entry: &Entry<'_, Cluster>,
        (who, told): (Incarnation, Span),
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        let ages = self.ages.look();
        let Some(row) = ages.rows.row(who).filter(|row| row.begun) else { return };
        let knobs = scene.system.knobs();
        let limit = Ages::timeout(knobs, row.role) + knobs.grace;
        let silent = row.last.map(|last| decided.since(last));
        if let Some(age) = silent.into_iter().chain([told]).find(|&age| age < limit) {
            let message = format!("incarnation {who} is declared failed at age {age}, before {limit}");
            return findings.violated("FD2", entry.at, [entry.id], message);
        }
        let interval = match row.role {
            Role::Replica => knobs.replica_heartbeat,
            Role::Worker => knobs.worker_heartbeat,
        };
        let Some(&node) = self.runs.get(&who) else { return };
        let arrives = delay_max(scene.plan).is_some_and(|delay| limit > interval * 2 + delay);
        let calm = self.calm.pair_since(node, scene).is_some_and(|since| since < row.seen);
        if row.last.is_some() && arrives && calm {
            let name = scene.system.name(node);
            let message =
                format!("incarnation {who} is declared failed, but {name} and its links were never disturbed");
            findings.violated("FD2", entry.at, [entry.id], message);
        }
    }

    fn on_joined(&mut self, node: NodeId, who: Incarnation) {
        if let Some(older) = self.uses.insert(node, who) {
            self.runs.remove(&older);
        }
        self.runs.insert(who, node);
    }

    fn gone(&mut self, node: NodeId) {
        if let Some(who) = self.uses.remove(&node) {
            self.runs.remove(&who);
        }
    }
}

impl Checker<Cluster> for Fd2 {
    fn property(&self) -> &'static str {
        "FD2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.ages.interest(interest);
        Calm::interest(interest);
        interest.events(&["failed", "suspected", "joined", "stopped"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((decided, Event::Failed { incarnation, cause: Cause::Timeout, age, .. })) => {
                self.on_timeout(entry, (*incarnation, *age), decided, scene, findings);
            }
            Some((decided, Event::Suspected { incarnation, .. })) => {
                if self.ages.look().alive(scene.system.knobs(), *incarnation, decided) == Some(true) {
                    let message = format!("incarnation {incarnation} is suspected before its timeout");
                    findings.violated("FD2", entry.at, [entry.id], message);
                }
            }
            Some((_, Event::Joined { incarnation, .. })) => self.on_joined(entry.node, *incarnation),
            Some((_, Event::Stopped { .. })) => self.gone(entry.node),
            Some(_) => {}
            None => {
                if let Fact::Truth(Truth::Down { .. } | Truth::Up { .. }) = entry.fact {
                    self.gone(entry.node);
                }
                self.calm.follow(entry, scene);
            }
        }
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, history};
    use super::*;

    fn alive() -> History<Fd2> {
        history(Fd2::default()).at(100).begin(0, 1).at(1_000).beat(1, 2)
    }

    #[test]
    fn who_died_fails_at_its_timeout() {
        alive().down(R[0]).at(6_000).fail(0, 1, 1, Span::from_secs(5)).holds();
        alive().down(R[0]).at(5_999).fail(0, 1, 1, Span::from_secs(5)).violated("at age 4.999s, before 5s");
        alive().down(R[0]).at(6_000).fail(0, 1, 1, Span::from_secs(4)).violated("at age 4s");
    }

    #[test]
    fn who_was_left_in_peace_does_not_fail() {
        alive().at(6_500).fail(0, 1, 1, Span::from_millis(5_500)).violated("never disturbed");
        let link = |begins| Truth::Link { fault: 0, begins };
        alive().at(1_500).truth(R[0], link(true)).at(6_500).fail(0, 1, 1, Span::from_millis(5_500)).holds();
        alive().at(2_000).truth(R[0], Truth::Pause).at(6_500).fail(0, 1, 1, Span::from_millis(5_500)).holds();
    }

    #[test]
    fn suspicion_waits_for_the_timeout_too() {
        let suspected = Event::Suspected { member: "r0".into(), incarnation: Incarnation(1) };
        alive().at(6_000).coordinator(suspected.clone()).holds();
        alive().at(5_999).coordinator(suspected).violated("before its timeout");
    }
}
