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
    /// By task and attempt at the source. A target that has not run yet may be the source of the next one.
    moving: BTreeMap<(Text, AttemptId), Stage>,
    /// The workers from which tasks move that are between two.
    from: BTreeMap<Text, Text>,
}

impl Ck5 {
    /// The migrations of a task that are under way.
    fn of<'a>(&'a mut self, task: &'a Text) -> impl Iterator<Item = &'a mut Stage> + 'a {
        let first = (task.clone(), AttemptId(0));
        self.moving.range_mut(first..).take_while(move |((moving, _), _)| moving == task).map(|(_, stage)| stage)
    }

    fn on_migration(&mut self, books: &Books, key: (Text, AttemptId), target: Option<AttemptId>, step: Move) -> bool {
        let place = books.tasks.get(&key.0).map(|row| row.place.clone());
        let holds = |attempt| place == Some(Place::Leased(attempt));
        let source = key.1;
        match (step, target) {
            (Move::Started, _) => self.moving.insert(key, Stage::Started).is_none() && holds(source),
            (Move::Fenced, _) => self.moving.insert(key, Stage::Fenced) == Some(Stage::SourceEnded),
            (Move::Committed | Move::Aborted, Some(target)) => {
                self.moving.remove(&key) == Some(Stage::Assigned(target)) && holds(target)
            }
            (Move::Aborted, None) => !self.moving.contains_key(&key) && holds(source),
            (Move::Committed, None) => false,
        }
    }

    fn forget(&mut self, task: &Text) {
        self.from.remove(task);
        while let Some(key) = self.moving.range((task.clone(), AttemptId(0))..).map(|(key, _)| key.clone()).next()
            && key.0 == *task
        {
            self.moving.remove(&key);
        }
    }
}

impl Judge for Ck5 {
    const PROPERTY: &'static str = "CK5";
    const EVENTS: &'static [&'static str] =
        &["migration", "fenced", "assigned", "report_accepted", "terminal", "task_recalled"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        match told.event {
            Event::Migration { task, source, target, step } => {
                match step {
                    Move::Fenced => findings.reached("fence before commit"),
                    Move::Aborted => findings.reached("migration aborted"),
                    Move::Committed => findings.reached("migration committed"),
                    Move::Started => {}
                }
                if *step == Move::Started
                    && let Some(held) = books.attempts.get(source)
                {
                    self.from.insert(task.clone(), held.worker.clone());
                }
                let key = (task.clone(), *source);
                let before = self.moving.get(&key).copied();
                let lawful = self.on_migration(books, key, *target, *step);
                (!lawful).then(|| {
                    format!(
                        "the migration of {task} from {source} to {target:?}, at {before:?}, is told to be {step:?}"
                    )
                })
            }
            Event::Fenced { task, attempt, end, .. } => {
                let moved = *end == End::Migrated;
                match self.moving.get_mut(&(task.clone(), *attempt)) {
                    Some(stage @ Stage::Started) if moved => {
                        *stage = Stage::SourceEnded;
                        None
                    }
                    _ => moved.then(|| format!("attempt {attempt} of {task} is fenced for a migration that isn't")),
                }
            }
            Event::Accepted { task, attempt, .. } => {
                let under_way = self.of(task).any(|stage| *stage == Stage::Assigned(*attempt));
                under_way.then(|| format!("attempt {attempt} of {task} has ended, and its migration isn't committed"))
            }
            Event::Assigned { task, attempt, worker, .. } => {
                let from = self.from.remove(task);
                let stage = self.of(task).find(|stage| !matches!(stage, Stage::Assigned(_)))?;
                let before = std::mem::replace(stage, Stage::Assigned(*attempt));
                if before != Stage::Fenced {
                    return Some(format!("{task} is assigned in a migration at {before:?}"));
                }
                (from.as_ref() == Some(worker)).then(|| format!("{task} moves from {worker} to {worker}"))
            }
            Event::Terminal { task, .. } => {
                self.forget(task);
                None
            }
            Event::TaskRecalled { task } => {
                if let squall_scheduler::TaskState::Leased(lease) = &task.state
                    && let Some(source) = lease.migrated_from
                {
                    self.moving.insert((task.spec.id.clone(), source), Stage::Assigned(lease.attempt));
                }
                None
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        self.moving.clear();
        self.from.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::judge::Judged;
    use super::super::testing::{accepted, assigned, fenced, requeued, tasks};
    use super::*;
    use squall_machine::Span;

    fn step(target: Option<u64>, step: Move) -> Event {
        let target = target.map(AttemptId);
        Event::Migration { task: "t".into(), source: AttemptId(1), target, step }
    }

    fn elsewhere(attempt: u64) -> Event {
        let Event::Assigned { task, attempt, incarnation, resources, shape, kind, failures, restore, choice, .. } =
            assigned("t", attempt)
        else {
            unreachable!("it is an assignment")
        };
        let worker = format!("v{attempt}").into();
        Event::Assigned { task, attempt, worker, incarnation, resources, shape, kind, failures, restore, choice }
    }

    fn start() -> History<Judged<Ck5>> {
        tasks(Judged::<Ck5>::default()).submit("t", 1).assign("t", 1)
    }

    fn moved() -> History<Judged<Ck5>> {
        let fenced = start().tells(step(None, Move::Started)).tells(fenced("t", 1, End::Migrated));
        let fenced = fenced.tells(requeued("t", Span::ZERO, (0, 0), None)).tells(step(None, Move::Fenced));
        fenced.assign_event(elsewhere(2), 2)
    }

    #[test]
    fn fence_assign_commit() {
        moved().tells(step(Some(2), Move::Committed)).holds();
        moved().tells(step(Some(3), Move::Committed)).violated("is told to be Committed");
        moved().tells(accepted("t", 2, End::Succeeded)).violated("its migration isn't committed");
        let back = start().tells(step(None, Move::Started)).tells(fenced("t", 1, End::Migrated));
        let back = back.tells(requeued("t", Span::ZERO, (0, 0), None)).tells(step(None, Move::Fenced));
        back.assign("t", 2).violated("t moves from w0 to w0");
        start().tells(step(None, Move::Started)).assign("t", 2).violated("t is assigned in a migration at Started");
        start().tells(step(None, Move::Fenced)).violated("is told to be Fenced");
        start().tells(fenced("t", 1, End::Migrated)).violated("for a migration that isn't");
    }

    #[test]
    fn an_abort_leaves_one_owner() {
        start().tells(step(None, Move::Aborted)).holds();
        moved().tells(step(Some(2), Move::Aborted)).holds();
        moved().tells(step(Some(2), Move::Committed)).tells(step(Some(2), Move::Aborted)).violated("to be Aborted");
        let onward = |target: Option<u64>, step| Event::Migration {
            task: "t".into(),
            source: AttemptId(2),
            target: target.map(AttemptId),
            step,
        };
        // The target moves on before it has run.
        let again = || moved().tells(onward(None, Move::Started)).tells(step(Some(2), Move::Aborted));
        let fenced = again().tells(fenced("t", 2, End::Migrated)).tells(requeued("t", Span::ZERO, (0, 0), None));
        fenced
            .tells(onward(None, Move::Fenced))
            .assign_event(elsewhere(3), 3)
            .tells(onward(Some(3), Move::Committed))
            .holds();
        let gone = start().succeed("t", 1).tells(step(None, Move::Aborted));
        gone.violated("is told to be Aborted");
    }
}
