//! FD3: incarnations are granted once and never reused; evidence of an ended or older one changes nothing.
//!
//! Source: spec 1.1. Judged from grants, which have to rise over the whole run; from joins, which have to be of a grant and
//! by one process, which is not older than its grant; and from everything that counts at the coordinator (heartbeats, requests, withdrawals, departures), which
//! has to come from an incarnation that has begun and not ended, heartbeats with rising numbers within one life of the
//! coordinator. After a restart a grant or a beginning may be durable without having been told.

use super::table::Table;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{BootId, Incarnation};
use squall_machine::Text;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Granted,
    Begun,
    Ended,
}

#[derive(Debug)]
struct Row {
    stage: Stage,
    member: Text,
    boot: BootId,
    joined: bool,
    /// The last accepted heartbeat of this life of the coordinator.
    seq: u64,
    told: EntryId,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd3 {
    rows: Table<Row>,
    newest: Incarnation,
    restarted: bool,
    /// The start of the process that runs at each node.
    started: BTreeMap<NodeId, EntryId>,
}

impl Fd3 {
    fn granted(
        &mut self,
        entry: &Entry<'_, Cluster>,
        (member, who, boot): (&Text, Incarnation, BootId),
        findings: &mut Findings,
    ) {
        let known = self.rows.row(who);
        let again = known.is_some_and(|row| (&row.member, row.boot) == (member, boot) && row.stage != Stage::Ended);
        if who <= self.newest && !again {
            let earlier = known.map(|row| row.told);
            let message =
                format!("incarnation {who} is granted to {member}, not above the newest one, {}", self.newest);
            findings.violated("FD3", entry.at, earlier.into_iter().chain([entry.id]), message);
        }
        self.newest = self.newest.max(who);
        if !again {
            let row =
                Row { stage: Stage::Granted, member: member.clone(), boot, joined: false, seq: 0, told: entry.id };
            self.rows.insert(who, row);
        }
    }

    fn joined(
        &mut self,
        entry: &Entry<'_, Cluster>,
        (member, who, boot): (&Text, Incarnation, BootId),
        findings: &mut Findings,
    ) {
        let message = match self.rows.row_mut(who) {
            Some(row) if (&row.member, row.boot) != (member, boot) => {
                format!("{member} uses incarnation {who}, which is {}'s", row.member)
            }
            Some(row) if self.started.get(&entry.node).is_some_and(|started| row.told < *started) => {
                format!("{member} uses incarnation {who}, which was granted to a process before this one")
            }
            Some(row) if row.joined => format!("{member} begins to use incarnation {who} twice"),
            Some(row) => {
                row.joined = true;
                return;
            }
            None if self.restarted => {
                let (member, stage) = (member.clone(), Stage::Granted);
                self.rows.insert(who, Row { stage, member, boot, joined: true, seq: 0, told: entry.id });
                self.newest = self.newest.max(who);
                return;
            }
            // Its grant was forgotten while the answer was on its way. It will not count.
            None if who <= self.newest => return,
            None => format!("{member} uses incarnation {who}, which was never granted"),
        };
        findings.violated("FD3", entry.at, [entry.id], message);
    }

    /// Something of this incarnation counts.
    fn counts(&mut self, entry: &Entry<'_, Cluster>, who: Incarnation, what: &str, findings: &mut Findings) {
        let restarted = self.restarted;
        let stage = match self.rows.row_mut(who) {
            Some(row) if row.stage == Stage::Begun => return,
            Some(row) if row.stage == Stage::Granted && restarted => {
                row.stage = Stage::Begun;
                return;
            }
            Some(row) => row.stage,
            None if restarted => return,
            None => Stage::Granted,
        };
        let problem = if stage == Stage::Ended { "has ended" } else { "has not begun" };
        let message = format!("{what} of incarnation {who} counts, which {problem}");
        findings.violated("FD3", entry.at, [entry.id], message);
    }

    fn transition_to(&mut self, who: Incarnation, stage: Stage) {
        if let Some(row) = self.rows.row_mut(who) {
            row.stage = stage;
        }
    }
}

impl Checker<Cluster> for Fd3 {
    fn property(&self) -> &'static str {
        "FD3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["granted", "joined", "began", "heartbeat_accepted", "failed", "left", "forgotten"]);
        interest.events(&["requested", "withdrawn"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.started.insert(entry.node, entry.id);
        }
        if let Fact::Truth(Truth::Up { life, .. }) = entry.fact
            && entry.node == scene.system.coordinator()
            && *life > 1
        {
            self.restarted = true;
            self.rows.values_mut().for_each(|row| row.seq = 0);
        }
        let Some((_, told)) = event(entry) else { return };
        match told {
            Event::HeartbeatAccepted { incarnation, seq } => {
                self.counts(entry, *incarnation, "a heartbeat", findings);
                let Some(row) = self.rows.row_mut(*incarnation) else { return };
                if *seq <= row.seq {
                    let message = format!("heartbeat {seq} of incarnation {incarnation} counts after {}", row.seq);
                    findings.violated("FD3", entry.at, [entry.id], message);
                }
                row.seq = *seq;
            }
            Event::Granted { member, incarnation, boot } => {
                self.granted(entry, (member, *incarnation, *boot), findings);
            }
            Event::Joined { member, incarnation, boot } => self.joined(entry, (member, *incarnation, *boot), findings),
            Event::Began { incarnation, .. } => self.transition_to(*incarnation, Stage::Begun),
            Event::Requested { incarnation, .. } => self.counts(entry, *incarnation, "a request", findings),
            Event::Withdrawn { incarnation, .. } => self.counts(entry, *incarnation, "a withdrawal", findings),
            Event::Failed { incarnation, .. } | Event::Left { incarnation, .. } => {
                if self.rows.row(*incarnation).is_some_and(|row| row.stage == Stage::Ended) {
                    self.counts(entry, *incarnation, "another end", findings);
                }
                self.transition_to(*incarnation, Stage::Ended);
            }
            Event::Forgotten { incarnation, .. } => {
                self.rows.remove(*incarnation);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, R, history};
    use super::*;
    use squall_machine::Span;

    fn granted(member: &str, incarnation: u64, boot: u64) -> Event {
        Event::Granted { member: member.into(), incarnation: Incarnation(incarnation), boot: BootId(boot) }
    }

    #[test]
    fn numbers_rise_and_a_repeated_grant_is_the_same_one() {
        let start = || history(Fd3::default()).begin(0, 1);
        start().coordinator(granted("r0", 1, 1)).coordinator(granted("r1", 4, 9)).holds();
        start().coordinator(granted("r1", 1, 9)).violated("not above the newest");
        start().coordinator(granted("r0", 1, 2)).violated("not above the newest");
        let joined = Event::Joined { member: "r1".into(), incarnation: Incarnation(5), boot: BootId(9) };
        start().event(R[1], joined.clone()).violated("never granted");
        start().down(C).up(C).event(R[1], joined.clone()).holds();
        let granted_before = || start().coordinator(granted("r1", 5, 9));
        granted_before().event(R[1], joined.clone()).holds();
        granted_before().down(R[1]).up(R[1]).event(R[1], joined.clone()).violated("a process before this one");
        let forgotten = Event::Forgotten { member: "r1".into(), incarnation: Incarnation(5) };
        let late = start().coordinator(granted("r1", 5, 9)).coordinator(forgotten).event(R[1], joined);
        late.beat(5, 1).violated("has not begun");
    }

    #[test]
    fn only_who_has_begun_and_not_ended_counts() {
        let start = || history(Fd3::default()).begin(0, 1).beat(1, 2);
        start().beat(1, 5).ask(0, 1, 1, 1).holds();
        start().beat(1, 2).violated("heartbeat 2 of incarnation 1 counts after 2");
        start().down(C).up(C).beat(1, 1).holds();
        start().beat(2, 1).violated("has not begun");
        start().fail(0, 1, 1, Span::from_secs(5)).beat(1, 3).violated("has ended");
        start().fail(0, 1, 1, Span::from_secs(5)).ask(0, 1, 1, 1).violated("a request of incarnation 1");
    }
}
