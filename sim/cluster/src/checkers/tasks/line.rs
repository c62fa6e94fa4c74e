//! The tasks that wait, in the order in which they come: priority, then requeued before new, then submission (spec 3.1).

use squall_machine::Text;
use squall_scheduler::Event;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A task's place among all that wait.
pub(super) type Turn = (Reverse<u8>, bool, u64);

/// All that wait, whether their time has come or not.
#[derive(Debug, Default)]
pub(super) struct Line {
    turns: BTreeMap<Turn, Text>,
    by_task: BTreeMap<Text, Turn>,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whose turn comes when.
    pub(super) fn turn(&self, task: &Text) -> Option<Turn> {
        self.by_task.get(task).copied()
    }

    /// Those whose turn comes before this one, first things first.
    pub(super) fn before(&self, turn: Turn) -> impl Iterator<Item = &Text> {
        self.turns.range(..turn).map(|(_, task)| task)
    }

    /// Those after the turn that was looked at last, and then those up to it: each of them once.
    pub(super) fn after(&self, last: Option<Turn>) -> impl Iterator<Item = (Turn, &Text)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let begin = last.map_or(Unbounded, Excluded);
        let rest = last.map(|last| self.turns.range((Unbounded, Included(last))));
        let all = self.turns.range((begin, Unbounded)).chain(rest.into_iter().flatten());
        all.map(|(turn, task)| (*turn, task))
    }

    pub(super) fn enter(&mut self, task: &Text, (priority, number): (u8, u64), requeued: bool) {
        let turn = (Reverse(priority), !requeued, number);
        self.leave(task);
        self.turns.insert(turn, task.clone());
        self.by_task.insert(task.clone(), turn);
    }

    fn leave(&mut self, task: &Text) {
        if let Some(turn) = self.by_task.remove(task) {
            self.turns.remove(&turn);
        }
    }

    /// Takes in what is told, where the task is known by its priority and number.
    pub(super) fn follow(&mut self, told: &Event, known: Option<(u8, u64)>) {
        match told {
            Event::Submitted { spec, number } => self.enter(&spec.id, (spec.priority, *number), false),
            Event::Requeued { task, .. } => {
                if let Some(known) = known {
                    self.enter(task, known, true);
                }
            }
            Event::Assigned { task, .. } | Event::Terminal { task, .. } => self.leave(task),
            _ => {}
        }
    }
}
