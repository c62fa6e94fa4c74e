//! CR1: coordinator restart: nothing acknowledged is lost, nothing done twice, no id reused, subscribers resume, nobody
//! declared failed too early.
//!
//! Source: spec 3.7. What other checkers hold across restarts anyway isn't repeated here: incarnations (FD3), too early
//! declarations (FD7), the numbering of notices and what subscribers see (NT1 to NT5), quorum numbers (QU3). Judged here:
//! epochs never go back or repeat; a coordinator that finds something on its disk says that it restarted before anything
//! else; an incarnation that has begun, and not ended, is never answered as unknown; and one that died with its process
//! shortly before the coordinator did is declared after it is back.

use super::ages::Ages;
use super::calm::Calm;
use super::clock::longest;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Epoch, Ignored, Incarnation, Role};
use squall_machine::{Span, Time};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Row {
    role: Role,
    node: Option<NodeId>,
    /// When its process died, if it still hasn't come back.
    died: Option<Time>,
    /// It died shortly before the coordinator did: only time can end it.
    owed: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cr1 {
    calm: Calm,
    epoch: Option<(Epoch, EntryId)>,
    /// The incarnation that each process uses.
    uses: BTreeMap<NodeId, Incarnation>,
    live: BTreeMap<Incarnation, Row>,
    /// The coordinator started with something on its disk, and hasn't said so.
    unsaid: bool,
}

impl Cr1 {
    fn on_epoch(&mut self, entry: &Entry<'_, Cluster>, epoch: Epoch, what: &str, findings: &mut Findings) {
        if let Some((before, told)) = self.epoch.filter(|(before, _)| epoch <= *before) {
            let message = format!("{what} {epoch} follows epoch {before}");
            findings.violated("CR1", entry.at, [told, entry.id], message);
        }
        self.epoch = Some((epoch, entry.id));
    }

    fn on_truth(&mut self, entry: &Entry<'_, Cluster>, truth: &Truth, scene: &Scene<'_, Cluster>) {
        self.calm.follow(entry, scene);
        let coordinator = entry.node == scene.system.coordinator();
        match truth {
            Truth::Up { life, records, disk_lost, .. } if coordinator => {
                if *disk_lost {
                    // What the disk lost can't be known; that numbers are used again is FD3's.
                    self.live.clear();
                }
                // Without records there may be a snapshot, or nothing at all.
                self.unsaid = *life > 1 && *records > 0;
            }
            Truth::Down { .. } if coordinator => {
                for row in self.live.values_mut() {
                    // Less than half a timeout ago: it can't have been declared, not even without a word.
                    let timeout = Ages::timeout(scene.system.knobs(), row.role);
                    row.owed |= row.died.is_some_and(|died| entry.at.since(died) < timeout / 2);
                }
            }
            Truth::Up { .. } => {
                if let Some(who) = self.uses.remove(&entry.node) {
                    self.live.entry(who).and_modify(|row| (row.died, row.owed, row.node) = (None, false, None));
                }
            }
            Truth::Down { .. } => {
                if let Some(who) = self.uses.get(&entry.node) {
                    self.live.entry(*who).and_modify(|row| row.died = row.node.map(|_| entry.at));
                }
            }
            Truth::Request { name: "drain" | "leave" } => {
                // A departure may be durable without a word.
                if let Some(who) = self.uses.remove(&entry.node) {
                    self.live.entry(who).and_modify(|row| row.node = None);
                }
            }
            _ => {}
        }
    }

    fn on_ticked(&self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let knobs = scene.system.knobs();
        let Some(calm) = self.calm.since(scene.system.coordinator()) else { return };
        for (who, row) in self.live.iter().filter(|(_, row)| row.owed) {
            let bound = Ages::timeout(knobs, row.role) + knobs.grace + knobs.tick * 3;
            let slack = Span::from_secs(1);
            if entry.at.since(calm) > longest(bound, knobs.drift_ppm_max) + slack {
                let message = format!("incarnation {who} died before the coordinator did, and is never declared");
                findings.violated("CR1", entry.at, [entry.id], message);
            }
        }
    }

    fn say(&mut self, entry: &Entry<'_, Cluster>, findings: &mut Findings) {
        if std::mem::take(&mut self.unsaid) {
            let message = "the coordinator works again, but doesn't say that it restarted";
            findings.violated("CR1", entry.at, [entry.id], message);
        }
    }
}

impl Checker<Cluster> for Cr1 {
    fn property(&self) -> &'static str {
        "CR1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Calm::interest(interest);
        interest.truth(&["request"]);
        interest.events(&["joined", "began", "failed", "left", "stalled", "reset", "formed", "requested", "ignored"]);
        interest.events(&["ticked"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let Some((_, told)) = event(entry) else {
            if let Fact::Truth(truth) = entry.fact {
                self.on_truth(entry, truth, scene);
            }
            return;
        };
        match told {
            Event::Stalled { restarted: true, .. } => self.unsaid = false,
            Event::Joined { incarnation, .. } => {
                self.uses.insert(entry.node, *incarnation);
            }
            Event::Began { incarnation, role, .. } => {
                self.say(entry, findings);
                let node = self.uses.iter().find(|(_, who)| *who == incarnation).map(|(node, _)| *node);
                self.live.insert(*incarnation, Row { role: *role, node, died: None, owed: false });
            }
            Event::Failed { incarnation, .. } | Event::Left { incarnation, .. } => {
                self.live.remove(incarnation);
            }
            Event::Reset { epoch, .. } => self.on_epoch(entry, *epoch, "a reset to epoch", findings),
            Event::Formed { quorum, .. } => {
                self.say(entry, findings);
                let before = self.epoch;
                if before.is_some_and(|(epoch, _)| quorum.formation < epoch) {
                    self.on_epoch(entry, quorum.formation, "a formation in epoch", findings);
                }
                self.epoch = Some((quorum.formation.next(), entry.id));
            }
            Event::Requested { .. } => self.say(entry, findings),
            Event::Ticked {} => {
                self.say(entry, findings);
                self.on_ticked(entry, scene, findings);
            }
            Event::Ignored { reason: Ignored::UnknownIncarnation, incarnation: Some(who) }
                if entry.node == scene.system.coordinator() && self.live.contains_key(who) =>
            {
                let message = format!("incarnation {who} has begun and not ended, but the coordinator doesn't know it");
                findings.violated("CR1", entry.at, [entry.id], message);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, R, history};
    use super::*;
    use std::sync::Arc;

    fn reset(epoch: u64) -> Event {
        Event::Reset { epoch: Epoch(epoch), failed: Arc::from([]) }
    }

    fn restarted(history: History<Cr1>) -> History<Cr1> {
        let stalled = Event::Stalled { gap: Span::ZERO, restarted: true };
        let up = Truth::Up { life: 2, records: 9, torn_tail: false, disk_lost: false };
        history.down(C).truth(C, up).coordinator(stalled)
    }

    fn start() -> History<Cr1> {
        history(Cr1::default()).at(1_000).begin(0, 1).coordinator(reset(2))
    }

    #[test]
    fn epochs_go_on() {
        restarted(start()).coordinator(reset(3)).holds();
        restarted(start()).coordinator(reset(2)).violated("a reset to epoch 2 follows epoch 2");
        let old = super::super::testing::quorum(1, 1, &[(0, 1, 1)]);
        restarted(start()).form(old, 1, false).violated("a formation in epoch 1");
    }

    #[test]
    fn a_restart_is_told_first() {
        let up = Truth::Up { life: 2, records: 9, torn_tail: false, disk_lost: false };
        start().down(C).truth(C, up).coordinator(Event::Ticked {}).violated("doesn't say that it restarted");
    }

    #[test]
    fn nobody_is_forgotten() {
        let ignored = |who| Event::Ignored { reason: Ignored::UnknownIncarnation, incarnation: Some(Incarnation(who)) };
        restarted(start()).coordinator(ignored(1)).violated("doesn't know it");
        restarted(start()).coordinator(ignored(7)).holds();
        let dead = || restarted(start().down(R[0]));
        dead().at(7_000).fail(0, 1, 1, Span::from_secs(5)).at(30_000).coordinator(Event::Ticked {}).holds();
        dead().at(30_000).coordinator(Event::Ticked {}).violated("never declared");
        dead().up(R[0]).at(30_000).coordinator(Event::Ticked {}).holds();
    }
}
