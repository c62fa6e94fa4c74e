//! SC19: a worker is given what its task is: its payload, its kind, what it may occupy, how often it saves, as its ladder has
//! shaped it by now.
//!
//! Source: spec 3.1 and 3.2 (what a step of a ladder makes of a task); an id of our own. Judged where an assignment leaves, also
//! when it is repeated. From which checkpoint an attempt goes on is CK1's and CK3's matter.

use super::books::{Row, SharedBooks};
use super::told;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene};
use squall_machine::Text;
use squall_scheduler::{Event, Message, Strategy, Work};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc19 {
    books: SharedBooks,
    /// The tasks whose last step was to begin with a new runtime.
    restarts: BTreeSet<Text>,
}

impl Sc19 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    fn follow(&mut self, told: &Event) {
        match told {
            // A task that lost its worker goes on as it was.
            Event::Requeued { task, strategy: Some(strategy), .. } => {
                self.put(task, *strategy == Strategy::RestartRuntime)
            }
            Event::TaskRecalled { task } => self.put(&task.spec.id, task.restart_runtime),
            Event::Terminal { task, .. } => self.put(task, false),
            _ => {}
        }
    }

    fn put(&mut self, task: &Text, restarts: bool) {
        if restarts {
            self.restarts.insert(task.clone());
        } else {
            self.restarts.remove(task);
        }
    }

    /// What isn't the task's.
    fn problem(&self, work: &Work, row: &Row) -> Option<&'static str> {
        let spec = &row.spec;
        if work.payload != spec.payload {
            return Some("another payload");
        }
        if (work.kind, work.resources, work.checkpoint_interval)
            != (spec.kind, spec.resources, spec.checkpoint_interval)
        {
            return Some("another kind, other resources or another interval between checkpoints");
        }
        if work.shape != row.shape {
            return Some("another shape");
        }
        (work.restart_runtime != self.restarts.contains(&work.task)).then_some("another word about its runtime")
    }
}

impl Checker<Cluster> for Sc19 {
    fn property(&self) -> &'static str {
        "SC19"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.events(&["requeued", "task_recalled", "terminal"]);
        interest.sent(&["assign"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Sent { message: crate::Message::Task(Message::Assign { attempt, work, .. }), .. } = entry.fact {
            let books = self.books.look();
            // An attempt that ended before its assignment could leave is fenced, and its worker is told so, too.
            let held = books.attempts.get(attempt);
            let problem = held.and_then(|held| match books.tasks.get(&work.task) {
                Some(row) if held.task == work.task => self.problem(work, row),
                Some(_) | None => Some("another task"),
            });
            if let Some(problem) = problem {
                let message = format!("attempt {attempt} of {} is given {problem}", work.task);
                findings.violated("SC19", entry.at, [entry.id], message);
            }
        } else if let Some((_, told)) = told(entry) {
            self.follow(told);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, W};
    use super::super::testing::{I, NEED, SHAPE, tasks};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{AttemptId, CheckpointSeq, TaskType};
    use std::sync::Arc;

    fn work() -> Work {
        Work {
            task: "t".into(),
            kind: TaskType::CpuLight,
            shape: SHAPE,
            resources: NEED,
            payload: Arc::from([]),
            checkpoint_interval: None,
            restart_runtime: false,
            restore: None,
            next_seq: CheckpointSeq(1),
        }
    }

    fn start() -> History<Sc19> {
        tasks(Sc19::default()).submit("t", 1).submit("u", 2).assign("t", 1)
    }

    fn given(history: History<Sc19>, attempt: u64, work: Work) -> History<Sc19> {
        let (attempt, work) = (AttemptId(attempt), Arc::new(work));
        history.sends_from(C, W, Message::Assign { incarnation: I, attempt, work })
    }

    #[test]
    fn what_is_given_is_what_was_submitted() {
        given(start(), 1, work()).holds();
        given(start(), 1, Work { payload: Arc::from([1]), ..work() })
            .violated("attempt 1 of t is given another payload");
        given(start(), 1, Work { task: "u".into(), ..work() }).violated("is given another task");
        given(start(), 1, Work { kind: TaskType::CpuHeavy, ..work() }).violated("is given another kind");
        let often = Work { checkpoint_interval: Some(Span::from_secs(1)), ..work() };
        given(start(), 1, often).violated("another interval between checkpoints");
        let shape = squall_scheduler::Shape { batch_size: 4, ..SHAPE };
        given(start(), 1, Work { shape, ..work() }).violated("is given another shape");
        given(start().lose("t", 1, 1), 1, Work { shape, ..work() }).holds();
    }

    #[test]
    fn a_runtime_is_restarted_when_the_ladder_says_so() {
        let next = |strategy| {
            let failed = start().fail_once("t", 1, 1, Span::from_secs(1), strategy);
            failed.assign("t", 2)
        };
        let restarts = || Work { restart_runtime: true, ..work() };
        given(next(Strategy::RestartRuntime), 2, restarts()).holds();
        given(next(Strategy::RestartRuntime), 2, work()).violated("is given another word about its runtime");
        given(next(Strategy::DelayedRetry), 2, restarts()).violated("is given another word about its runtime");
        let lost = next(Strategy::RestartRuntime).lose("t", 2, 1).worker(10).offered(10).assign("t", 3);
        given(lost, 3, restarts()).holds();
    }
}
