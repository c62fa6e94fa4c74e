//! What has ended needs no checkpoints: the store is told, through a worker, until it has answered.
//!
//! The scheduler doesn't know the store; its workers do. Which of them passes the word on doesn't matter, so another one is
//! asked each time. That a task is yet to be cleared is durable with its end.

use super::{Out, Scheduler, ignore};
use crate::{AttemptId, Event, Ignored, Incarnation, Message, Record, Task, TaskState};
use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound::{Excluded, Unbounded};
use squall_machine::{Span, Text};

/// How many clears leave at one moment; the others wait for the next.
const AT_ONCE: usize = 64;

/// After how many times `resend` a clear that nobody answered leaves again: the worker and the store have to hear of it.
const RESENDS: u64 = 4;

/// The tasks that have ended, and of which the store may hold something.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Clears {
    /// When each is asked for next, and the newest attempt that there was.
    tasks: BTreeMap<Text, (Span, AttemptId)>,
    due: BTreeSet<(Span, Text)>,
    /// Who was asked last.
    asked: Incarnation,
}

impl Clears {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn deadline(&self) -> Option<Span> {
        self.due.first().map(|(at, _)| *at)
    }

    fn insert(&mut self, at: Span, task: Text, until: AttemptId) {
        self.remove(&task);
        self.due.insert((at, task.clone()));
        self.tasks.insert(task, (at, until));
    }

    fn remove(&mut self, task: &Text) -> bool {
        let Some((at, _)) = self.tasks.remove(task) else { return false };
        self.due.remove(&(at, task.clone()))
    }

    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.tasks.len(), self.due.len(), "each clear is asked for at some time");
    }
}

impl Scheduler {
    /// A task has ended, now or in an earlier life.
    pub(super) fn await_clear(&mut self, at: Span, id: &Text) {
        let Task { state, saves, past, .. } = &self.durable.tasks[id];
        assert!(matches!(state, TaskState::Terminal { .. }), "{id} has not ended");
        let Some(newest) = past.back().filter(|_| *saves) else { return };
        // Beyond that the store keeps what it has.
        if self.clears.len() < self.knobs.terminal_kept as usize {
            self.clears.insert(at, id.clone(), newest.attempt);
        }
    }

    /// Asks for what is due.
    pub(super) fn clear_store(&mut self, at: Span, effects: &mut Out) {
        for _ in 0..AT_ONCE {
            let Some((_, task)) = self.clears.due.first().filter(|(due, _)| *due <= at).cloned() else { return };
            let (_, until) = self.clears.tasks[&task];
            self.clears.insert(at + self.knobs.resend * RESENDS, task.clone(), until);
            let after = self.workers.range((Excluded(self.clears.asked), Unbounded));
            let mut workers = after.chain(&self.workers).filter_map(|(who, worker)| Some((*who, worker.address?)));
            if let Some((incarnation, to)) = workers.next() {
                self.clears.asked = incarnation;
                effects.send(to, Message::Clear { incarnation, task, until });
            }
        }
    }

    /// The store holds nothing of a task any more.
    pub(super) fn on_cleared(&mut self, incarnation: Incarnation, task: Text, effects: &mut Out) {
        if !self.clears.remove(&task) {
            return ignore(Ignored::StaleAnswer, Some(incarnation), effects);
        }
        let known = self.durable.tasks.get(&task);
        // A task that was forgotten meanwhile may be there again, as another one.
        if known.is_some_and(|task| task.saves && matches!(task.state, TaskState::Terminal { .. })) {
            self.commit(Record::Cleared { task: task.clone() }, effects);
        }
        effects.event(Event::Cleared { task });
    }
}
