//! RB2, for checkpoints: all maps and queues bounded.
//!
//! Source: spec 3.5 (keep 5, while the task lives). What the store holds of a task that has ended stays for ever unless somebody
//! tells it, and the store may be out of reach when the task ends. So at the end of the liveness phase, in which a worker
//! reaches both, nothing is left of what ended before. What is there is known by what the store tells.

use super::told;
use crate::{Cluster, NodeKind};
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, Phase, Scene, Truth};
use squall_machine::{Text, Time};
use squall_scheduler::{AttemptId, CheckpointSeq, Event, StoreEvent};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rb2 {
    /// What the store holds.
    shelves: BTreeMap<Text, BTreeSet<(CheckpointSeq, AttemptId)>>,
    ended: BTreeSet<Text>,
    judged: Option<Time>,
}

impl Rb2 {
    fn follow(&mut self, told: &StoreEvent) {
        match told {
            StoreEvent::PartStored { task, checkpoint, .. } => {
                self.shelves.entry(task.clone()).or_default().insert((checkpoint.seq, checkpoint.attempt));
            }
            StoreEvent::Dropped { task, checkpoint } => {
                self.keep(task, |seq, attempt| (seq, attempt) != (checkpoint.seq, checkpoint.attempt));
            }
            StoreEvent::Deleted { task, below, .. } => self.keep(task, |seq, _| seq >= *below),
            StoreEvent::Cleared { task, until, .. } => self.keep(task, |_, attempt| attempt > *until),
            StoreEvent::Stored { .. }
            | StoreEvent::Torn { .. }
            | StoreEvent::Fetched { .. }
            | StoreEvent::Ignored { .. } => {}
        }
    }

    fn keep(&mut self, task: &Text, keep: impl Fn(CheckpointSeq, AttemptId) -> bool) {
        let Some(shelf) = self.shelves.get_mut(task) else { return };
        shelf.retain(|(seq, attempt)| keep(*seq, *attempt));
        if shelf.is_empty() {
            self.shelves.remove(task);
            // Nothing comes of it any more, but for a zombie's save, which would be seen.
        }
    }

    fn left(&self) -> impl Iterator<Item = &Text> {
        self.shelves.keys().filter(|task| self.ended.contains(*task))
    }
}

impl Checker<Cluster> for Rb2 {
    fn property(&self) -> &'static str {
        "RB2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "phase"]);
        interest.events(&["terminal", "task_submitted", "tasks_recovered"]);
        interest.events(&["part_stored", "save_dropped", "saves_deleted", "saves_cleared"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match told(entry) {
            Some((_, Event::Terminal { task, .. })) => {
                if self.shelves.contains_key(task) {
                    findings.reached("a task ends and leaves checkpoints");
                }
                self.ended.insert(task.clone());
            }
            // Another task may have the same id.
            Some((_, Event::Submitted { spec, .. })) => drop(self.ended.remove(&spec.id)),
            _ => {}
        }
        match &entry.fact {
            Fact::Event { event: crate::Event::Store(told), .. } => self.follow(told),
            Fact::Truth(Truth::Up { disk_lost: true, .. }) => match scene.system.kind(entry.node) {
                NodeKind::Store => self.shelves.clear(),
                NodeKind::Coordinator => self.ended.clear(),
                _ => {}
            },
            Fact::Truth(Truth::Phase { phase: Phase::Liveness, .. }) => self.judged = Some(entry.at),
            _ => {}
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let (delay, sync) = (scene.plan.network.delay.longest(), scene.plan.disk.sync_max);
        let bound = crate::convergence::bound(scene.system, delay, sync);
        if self.judged.is_none_or(|since| since + bound > scene.now) {
            return;
        }
        let mut left = self.left();
        if let Some(task) = left.next() {
            let (none, others): ([EntryId; 0], usize) = ([], left.count());
            let message = format!("{task} has ended, and so have {others} others of which the store holds something");
            findings.violated("RB2", scene.now, none, message);
        }
    }

    fn settled(&self, _: &Scene<'_, Cluster>) -> bool {
        self.left().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{History, R};
    use super::super::testing::{checkpoint, tasks};
    use super::*;

    fn stored(history: History<Rb2>, attempt: u64, seq: u64) -> History<Rb2> {
        let (task, checkpoint) = ("t".into(), checkpoint(attempt, seq));
        history.event(R[0], StoreEvent::PartStored { task, checkpoint, index: 0, count: 3 })
    }

    fn cleared(history: History<Rb2>, until: u64) -> History<Rb2> {
        history.event(R[0], StoreEvent::Cleared { task: "t".into(), until: AttemptId(until), saves: 1 })
    }

    #[test]
    fn nothing_is_left_of_what_has_ended() {
        let run = || stored(tasks(Rb2::default()).submit("t", 1).assign("t", 1), 1, 1).liveness();
        let end = |history: History<Rb2>| history.at(10_000_000).end();
        end(run()).holds();
        end(run().succeed("t", 1)).violated("t has ended, and so have 0 others of which the store holds something");
        end(cleared(run().succeed("t", 1), 1)).holds();
        end(stored(cleared(run().succeed("t", 1), 1), 1, 2)).violated("t has ended");
        run().succeed("t", 1).end().holds();
    }
}
