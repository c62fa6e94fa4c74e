//! SC8: terminal is final.
//!
//! Source: spec 3.1. Nothing happens to a task that has ended, and no client learns another outcome than the one it has.

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{Event, Outcome};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc8 {
    /// What clients were told of tasks that ended without a word.
    learned: BTreeMap<Text, Outcome>,
}

impl Sc8 {
    fn learn(&mut self, task: &Text, outcome: &Outcome, books: &Books) -> Option<String> {
        let other = match &books.tasks.get(task)?.place {
            Place::Ended(Some(ended)) => ended.clone(),
            Place::Ended(None) => self.learned.entry(task.clone()).or_insert_with(|| outcome.clone()).clone(),
            Place::Waiting { .. } | Place::Leased(_) | Place::Between => {
                return Some(format!("a client learns that {task} has ended, which it has not"));
            }
        };
        (other != *outcome).then(|| format!("a client learns that {task} ended as {outcome:?}, but it was {other:?}"))
    }
}

impl Judge for Sc8 {
    const PROPERTY: &'static str = "SC8";
    const EVENTS: &'static [&'static str] = &[
        "assigned",
        "report_accepted",
        "fenced",
        "requeued",
        "terminal",
        "completed",
        "started",
        "learned",
        "task_forgotten",
    ];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let task = match told.event {
            Event::Learned { task, outcome } => return self.learn(task, outcome, books),
            Event::TaskForgotten { task } => {
                self.learned.remove(task);
                return None;
            }
            Event::Assigned { task, .. }
            | Event::Accepted { task, .. }
            | Event::Fenced { task, .. }
            | Event::Requeued { task, .. }
            | Event::Terminal { task, .. }
            | Event::Completed { task, .. }
            | Event::Started { task, .. } => task,
            _ => return None,
        };
        let ended = matches!(books.tasks.get(task)?.place, Place::Ended(_));
        ended.then(|| format!("{task} has ended, and goes on"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{assigned, success, tasks, terminal};
    use super::*;

    #[test]
    fn what_has_ended_does_not_go_on() {
        let start = || tasks(Judged::<Sc8>::default()).submit("t", 1).assign("t", 1).succeed("t", 1);
        start().tells(assigned("t", 2)).violated("t has ended, and goes on");
        start().tells(terminal("t", Outcome::Cancelled, 0, 0)).violated("t has ended, and goes on");
    }

    #[test]
    fn clients_learn_how_it_ended() {
        let learned = |outcome| Event::Learned { task: "t".into(), outcome };
        let running = || tasks(Judged::<Sc8>::default()).submit("t", 1).assign("t", 1);
        running().client(learned(success(1))).violated("which it has not");
        running().succeed("t", 1).client(learned(success(1))).holds();
        running().succeed("t", 1).client(learned(Outcome::Cancelled)).violated("ended as Cancelled");
    }
}
