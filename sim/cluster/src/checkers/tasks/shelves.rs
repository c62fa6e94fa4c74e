//! CK3, at the store: an incomplete checkpoint is never restored.
//!
//! Source: spec 3.5 (visible when complete, never in part). By what the store tells: a checkpoint is stored once all its parts
//! are, only then it counts or is fetched, and what is deleted is what was to be. A store that dies may have stored more than
//! it told, so of what it began before nothing is known any more.

use super::told;
use crate::{Cluster, NodeKind};
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::Text;
use squall_scheduler::{AttemptId, CheckpointSeq, Event, StoreEvent};
use std::collections::{BTreeMap, BTreeSet};

/// One checkpoint at the store.
#[derive(Clone, Debug, Default)]
struct Save {
    parts: BTreeSet<u32>,
    count: u32,
}

/// All of one task.
#[derive(Clone, Debug, Default)]
struct Shelf {
    saves: BTreeMap<(CheckpointSeq, AttemptId), Save>,
    /// Whether there may be more than was told.
    unsure: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    shelves: BTreeMap<Text, Shelf>,
    /// Whether the store died before, so that there may be shelves that nobody was told of.
    died: bool,
    /// The tasks that were submitted since then: of them everything is known.
    known: BTreeSet<Text>,
}

impl Shelves {
    fn unsure(&self, task: &Text) -> bool {
        self.died && !self.known.contains(task)
    }

    fn whole(&self, task: &Text, key: (CheckpointSeq, AttemptId)) -> bool {
        let Some(shelf) = self.shelves.get(task) else { return self.unsure(task) };
        let whole = |save: &Save| save.count > 0 && save.parts.len() == save.count as usize;
        shelf.unsure || shelf.saves.get(&key).is_some_and(whole)
    }

    fn keep(&mut self, task: &Text, keep: impl Fn(CheckpointSeq, AttemptId) -> bool) {
        let Some(shelf) = self.shelves.get_mut(task) else { return };
        shelf.saves.retain(|(seq, attempt), _| keep(*seq, *attempt));
        if shelf.saves.is_empty() {
            self.shelves.remove(task);
        }
    }

    fn follow(&mut self, told: &StoreEvent, findings: &mut Findings) -> Option<String> {
        match told {
            StoreEvent::PartStored { task, checkpoint, index, count } => {
                let unsure = self.unsure(task);
                let shelf = self.shelves.entry(task.clone()).or_insert(Shelf { unsure, ..Shelf::default() });
                let save = shelf.saves.entry((checkpoint.seq, checkpoint.attempt)).or_default();
                save.count = *count;
                let again = !save.parts.insert(*index);
                again.then(|| format!("part {index} of checkpoint {} of {task} is stored twice", checkpoint.seq))
            }
            StoreEvent::Stored { task, checkpoint } => {
                let whole = self.whole(task, (checkpoint.seq, checkpoint.attempt));
                (!whole).then(|| format!("checkpoint {} of {task} is told to be whole, and isn't", checkpoint.seq))
            }
            StoreEvent::Fetched { task, checkpoint: Some(checkpoint), .. } => {
                findings.reached("checkpoint fetched");
                let whole = self.whole(task, (checkpoint.seq, checkpoint.attempt));
                (!whole).then(|| format!("checkpoint {} of {task} is fetched, and isn't whole", checkpoint.seq))
            }
            StoreEvent::Deleted { task, below, saves } => {
                let sure = self.shelves.get(task).map_or(!self.unsure(task), |shelf| !shelf.unsure);
                let keys = self.shelves.get(task).into_iter().flat_map(|shelf| shelf.saves.keys());
                let old = keys.filter(|(seq, _)| seq < below).count() as u32;
                self.keep(task, |seq, _| seq >= *below);
                (sure && old != *saves)
                    .then(|| format!("{saves} checkpoints of {task} below {below} are deleted; there were {old}"))
            }
            StoreEvent::Dropped { task, checkpoint } => {
                let dropped = (checkpoint.seq, checkpoint.attempt);
                self.keep(task, |seq, attempt| (seq, attempt) != dropped);
                None
            }
            StoreEvent::Cleared { task, until, .. } => {
                self.keep(task, |_, attempt| attempt > *until);
                None
            }
            StoreEvent::Fetched { checkpoint: None, .. } | StoreEvent::Torn { .. } | StoreEvent::Ignored { .. } => None,
        }
    }
}

impl Checker<Cluster> for Shelves {
    fn property(&self) -> &'static str {
        "CK3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["task_submitted", "task_forgotten", "completed"]);
        interest.events(&["part_stored", "save_stored", "save_fetched", "save_dropped"]);
        interest.events(&["saves_deleted", "saves_cleared"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let mut problem = None;
        match told(entry) {
            Some((_, Event::Submitted { spec, .. })) => drop(self.known.insert(spec.id.clone())),
            Some((_, Event::TaskForgotten { task })) => drop(self.known.remove(task)),
            Some((_, Event::Completed { task, checkpoint, .. })) => {
                let whole = self.whole(task, (checkpoint.seq, checkpoint.attempt));
                problem = (!whole).then(|| format!("checkpoint {} of {task} counts, and isn't whole", checkpoint.seq));
            }
            _ => {}
        }
        match &entry.fact {
            Fact::Event { event: crate::Event::Store(told), .. } => problem = self.follow(told, findings),
            Fact::Truth(Truth::Up { life: 2.., .. }) if scene.system.kind(entry.node) == NodeKind::Store => {
                self.died = true;
                self.shelves.clear();
                self.known.clear();
            }
            _ => {}
        }
        if let Some(problem) = problem {
            findings.violated("CK3", entry.at, [entry.id], problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{History, R};
    use super::super::testing::{checkpoint, completed, tasks};
    use super::*;

    fn store(history: History<Shelves>, told: StoreEvent) -> History<Shelves> {
        history.event(R[0], told)
    }

    fn parts(seq: u64, indices: &[u32]) -> History<Shelves> {
        put(tasks(Shelves::default()).submit("t", 1).assign("t", 1), seq, indices)
    }

    fn put(history: History<Shelves>, seq: u64, indices: &[u32]) -> History<Shelves> {
        let part = |index| StoreEvent::PartStored { task: "t".into(), checkpoint: checkpoint(1, seq), index, count: 3 };
        indices.iter().fold(history, |history, &index| store(history, part(index)))
    }

    #[test]
    fn what_is_not_whole_does_not_show() {
        let stored = StoreEvent::Stored { task: "t".into(), checkpoint: checkpoint(1, 1) };
        let reader = AttemptId(2);
        let fetched = || StoreEvent::Fetched { task: "t".into(), reader, checkpoint: Some(checkpoint(1, 1)) };
        let whole = || store(parts(1, &[0, 2, 1]), stored.clone());
        store(whole().tells(completed("t", checkpoint(1, 1), &[])), fetched()).holds();
        store(parts(1, &[0, 1]), stored.clone()).violated("checkpoint 1 of t is told to be whole, and isn't");
        store(parts(1, &[0, 1]), fetched()).violated("checkpoint 1 of t is fetched, and isn't whole");
        parts(1, &[0, 1]).tells(completed("t", checkpoint(1, 1), &[])).violated("counts, and isn't whole");
        parts(1, &[0, 0]).violated("part 0 of checkpoint 1 of t is stored twice");
    }

    #[test]
    fn what_is_deleted_is_what_was_to_be() {
        let three = || put(put(parts(1, &[0, 1, 2]), 2, &[0]), 3, &[0, 1, 2]);
        let deleted = |saves| StoreEvent::Deleted { task: "t".into(), below: CheckpointSeq(3), saves };
        store(three(), deleted(2)).holds();
        store(three(), deleted(3)).violated("3 checkpoints of t below 3 are deleted; there were 2");
        let fetched =
            StoreEvent::Fetched { task: "t".into(), reader: AttemptId(2), checkpoint: Some(checkpoint(1, 1)) };
        store(store(three(), deleted(2)), fetched).violated("checkpoint 1 of t is fetched, and isn't whole");
    }
}
