//! CK6: at least one complete checkpoint is kept while the task lives.
//!
//! Source: spec 3.5 (keep 5). The oldest go first, none that is needed goes, and no more are kept than are to be. What the index
//! keeps is kept by the store, too: of a task that has not ended, nothing is deleted there but what the index has let go.

use super::books::{Books, Place, SharedBooks};
use super::told;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene};
use squall_machine::Text;
use squall_scheduler::{CheckpointSeq, Event, Knobs, StoreEvent};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck6 {
    books: SharedBooks,
}

impl Ck6 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books }
    }

    fn indexed(told: &Event, books: &Books, knobs: &Knobs, findings: &mut Findings) -> Option<String> {
        let Event::Completed { task, checkpoint, pruned, .. } = told else { return None };
        let known = books.tasks.get(task)?.checkpoints.iter().map(|known| known.seq).chain([checkpoint.seq]);
        let known: Vec<_> = known.collect();
        let keep = knobs.checkpoints_kept.max(1) as usize;
        let (gone, _) = known.split_at(known.len().saturating_sub(keep));
        if !gone.is_empty() {
            findings.reached("old checkpoints pruned");
        }
        (gone != pruned).then(|| format!("of {known:?} of {task}, {keep} are to be kept, but {pruned:?} go"))
    }

    fn deleted(task: &Text, below: CheckpointSeq, books: &Books) -> Option<String> {
        let row = books.tasks.get(task).filter(|row| !matches!(row.place, Place::Ended(_)))?;
        let oldest = row.checkpoints.front()?.seq;
        (oldest < below).then(|| format!("the store deletes what {task} has below {below}, and {oldest} is kept"))
    }
}

impl Checker<Cluster> for Ck6 {
    fn property(&self) -> &'static str {
        "CK6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.events(&["completed", "saves_deleted"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let books = self.books.look();
        let problem = match entry.fact {
            Fact::Event { event: crate::Event::Store(StoreEvent::Deleted { task, below, .. }), .. } => {
                Self::deleted(task, *below, &books)
            }
            _ => {
                told(entry).and_then(|(_, told)| Self::indexed(told, &books, scene.system.scheduler_knobs(), findings))
            }
        };
        drop(books);
        if let Some(problem) = problem {
            findings.violated("CK6", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{History, R};
    use super::super::testing::{checkpoint, completed, tasks};
    use super::*;

    fn five() -> History<Ck6> {
        (1..=5).fold(tasks(Ck6::default()).submit("t", 1).assign("t", 1), |history, seq| {
            history.tells(completed("t", checkpoint(1, seq), &[]))
        })
    }

    #[test]
    fn the_newest_five_are_kept() {
        let sixth = |pruned: &[u64]| five().tells(completed("t", checkpoint(1, 6), pruned));
        sixth(&[1]).tells(completed("t", checkpoint(1, 7), &[2])).holds();
        sixth(&[]).violated("5 are to be kept, but [] go");
        sixth(&[6]).violated("but [CheckpointSeq(6)] go");
        sixth(&[1, 2]).violated("are to be kept");
    }

    #[test]
    fn the_store_keeps_what_the_index_keeps() {
        let deletes = |history: History<Ck6>, below| {
            let below = CheckpointSeq(below);
            history.event(R[0], StoreEvent::Deleted { task: "t".into(), below, saves: 1 })
        };
        let six = || five().tells(completed("t", checkpoint(1, 6), &[1]));
        deletes(six(), 2).holds();
        deletes(six(), 3).violated("the store deletes what t has below 3, and 2 is kept");
        deletes(six().succeed("t", 1), 9).holds();
    }
}
