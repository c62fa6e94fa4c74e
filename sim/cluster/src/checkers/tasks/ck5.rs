//! CK5: migration order; an abort leaves exactly one owner.
//!
//! Source: spec 3.5: fence the source, assign the target with the checkpoint, commit. (That there is never more than one owner is
//! SC4's.) Aborted before the source is fenced, the source holds the task; later, the target did until then.

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{AttemptId, End, Event, Move};
use std::collections::BTreeMap;

/// How far a migration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Started,
    SourceEnded,
    Fenced,
    Assigned(AttemptId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck5 {
    /// By task, with the attempt at the source.
    moving: BTreeMap<Text, (AttemptId, Stage)>,
}

impl Ck5 {
    fn on_migration(
        &mut self,
        books: &Books,
        task: &Text,
        source: AttemptId,
        (target, step): (Option<AttemptId>, Move),
    ) -> bool {
        let place = books.tasks.get(task).map(|row| row.place.clone());
        let holds = |attempt| place == Some(Place::Leased(attempt));
        match step {
            Move::Started => {
                self.moving
                    .insert(task.clone(), (source, Stage::Started))
                    .is_none_or(|(_, stage)| matches!(stage, Stage::Assigned(_)))
                    && holds(source)
            }
            Move::Fenced => {
                self.moving.insert(task.clone(), (source, Stage::Fenced)) == Some((source, Stage::SourceEnded))
            }
            Move::Committed | Move::Aborted if target.is_some() => {
                let known = self.moving.remove(task);
                let told = target.map(|target| (source, Stage::Assigned(target)));
                known == told && target.is_some_and(holds)
            }
            Move::Aborted => !self.moving.contains_key(task) && holds(source),
            Move::Committed => false,
        }
    }
}

impl Judge for Ck5 {
    const PROPERTY: &'static str = "CK5";
    const EVENTS: &'static [&'static str] = &["migration", "fenced", "assigned", "terminal", "task_recalled"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        match told.event {
            Event::Migration { task, source, target, step } => {
                match step {
                    Move::Fenced => findings.reached("fence before commit"),
                    Move::Aborted => findings.reached("migration aborted"),
                    Move::Committed => findings.reached("migration committed"),
                    Move::Started => {}
                }
                let before = self.moving.get(task).copied();
                let lawful = self.on_migration(books, task, *source, (*target, *step));
                (!lawful).then(|| {
                    format!(
                        "the migration of {task} from {source} to {target:?}, at {before:?}, is told to be {step:?}"
                    )
                })
            }
            Event::Fenced { task, attempt, end, .. } => {
                let moved = *end == End::Migrated;
                match self.moving.get_mut(task) {
                    Some((source, stage @ Stage::Started)) if moved && source == attempt => {
                        *stage = Stage::SourceEnded;
                        None
                    }
                    _ => moved.then(|| format!("attempt {attempt} of {task} is fenced for a migration that isn't")),
                }
            }
            Event::Assigned { task, attempt, .. } => {
                if let Some((_, stage)) = self.moving.get_mut(task) {
                    let before = std::mem::replace(stage, Stage::Assigned(*attempt));
                    return (before != Stage::Fenced)
                        .then(|| format!("{task} is assigned in a migration at {before:?}"));
                }
                None
            }
            Event::Terminal { task, .. } => {
                self.moving.remove(task);
                None
            }
            Event::TaskRecalled { task } => {
                if let squall_scheduler::TaskState::Leased(lease) = &task.state
                    && let Some(source) = lease.migrated_from
                {
                    self.moving.insert(task.spec.id.clone(), (source, Stage::Assigned(lease.attempt)));
                }
                None
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        self.moving.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::judge::Judged;
    use super::super::testing::{fenced, requeued, tasks};
    use super::*;
    use squall_machine::Span;

    fn step(target: Option<u64>, step: Move) -> Event {
        let target = target.map(AttemptId);
        Event::Migration { task: "t".into(), source: AttemptId(1), target, step }
    }

    fn start() -> History<Judged<Ck5>> {
        tasks(Judged::<Ck5>::default()).submit("t", 1).assign("t", 1)
    }

    fn moved() -> History<Judged<Ck5>> {
        let fenced = start().tells(step(None, Move::Started)).tells(fenced("t", 1, End::Migrated));
        fenced.tells(requeued("t", Span::ZERO, (0, 0), None)).tells(step(None, Move::Fenced)).assign("t", 2)
    }

    #[test]
    fn fence_assign_commit() {
        moved().tells(step(Some(2), Move::Committed)).holds();
        moved().tells(step(Some(3), Move::Committed)).violated("is told to be Committed");
        start().tells(step(None, Move::Started)).assign("t", 2).violated("t is assigned in a migration at Started");
        start().tells(step(None, Move::Fenced)).violated("is told to be Fenced");
        start().tells(fenced("t", 1, End::Migrated)).violated("for a migration that isn't");
    }

    #[test]
    fn an_abort_leaves_one_owner() {
        start().tells(step(None, Move::Aborted)).holds();
        moved().tells(step(Some(2), Move::Aborted)).holds();
        moved().tells(step(Some(2), Move::Committed)).tells(step(Some(2), Move::Aborted)).violated("to be Aborted");
        let gone = start().succeed("t", 1).tells(step(None, Move::Aborted));
        gone.violated("is told to be Aborted");
    }
}
