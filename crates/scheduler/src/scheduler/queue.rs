//! The tasks whose time has come, in the order in which they are looked at.
//!
//! Tasks that need the same are kept together: if the first of them can't be placed, none of them can, so a look at the
//! queue costs as much as there are different needs, not as there are tasks.

use crate::{HardwareClass, Obstacle, Resources, Slack, Task, TaskType};
use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;
use squall_machine::Text;

/// Priority first, then what was assigned before, then the order of submission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Place {
    priority: Reverse<u8>,
    fresh: bool,
    number: u64,
}

/// What decides whether, and where, a task can be placed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Need {
    pub(super) class: HardwareClass,
    pub(super) kind: TaskType,
    pub(super) resources: Resources,
    pub(super) capabilities: BTreeSet<Text>,
    pub(super) avoid: Option<Text>,
    /// Whether its start counts as a retry.
    pub(super) retry: bool,
    pub(super) slack: Slack,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Line {
    tasks: BTreeMap<Place, Text>,
    /// Why its first task couldn't be placed when it was last looked at.
    obstacle: Option<Obstacle>,
    /// Whether nothing has happened since that could help.
    blocked: bool,
}

/// All that wait.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Queue {
    lines: BTreeMap<Need, Line>,
    /// The first task of each line that isn't blocked.
    heads: BTreeMap<Place, Need>,
    length: usize,
}

impl Need {
    pub(super) fn of(task: &Task) -> Self {
        Self {
            class: task.shape.class,
            kind: task.spec.kind,
            resources: task.spec.resources,
            capabilities: task.spec.capabilities.clone(),
            avoid: task.avoid.clone(),
            retry: task.failures > 0,
            slack: task.slack(),
        }
    }
}

impl Place {
    /// # Panics
    /// If the task has a lease, or has ended.
    fn of(task: &Task) -> Self {
        let crate::TaskState::Waiting { requeued, .. } = task.state else { panic!("{} doesn't wait", task.spec.id) };
        Self { priority: Reverse(task.spec.priority), fresh: !requeued, number: task.number }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn insert(&mut self, task: &Task) {
        let (need, place) = (Need::of(task), Place::of(task));
        let line = self.lines.entry(need.clone()).or_default();
        if !line.blocked
            && let Some((first, _)) = line.tasks.first_key_value()
        {
            self.heads.remove(first);
        }
        let older = line.tasks.insert(place, task.spec.id.clone());
        assert!(older.is_none(), "two tasks in one place");
        self.length += 1;
        self.show(&need);
    }

    /// Takes a task out; it must be as it was when it came in.
    pub(super) fn remove(&mut self, task: &Task) {
        let (need, place) = (Need::of(task), Place::of(task));
        let line = self.lines.get_mut(&need).expect("a task that waits has its line");
        self.heads.remove(&place);
        assert!(line.tasks.remove(&place).is_some(), "{} isn't in the queue", task.spec.id);
        self.length -= 1;
        if line.tasks.is_empty() {
            self.lines.remove(&need);
        } else {
            self.show(&need);
        }
    }

    /// The task to look at next.
    pub(super) fn first(&self) -> Option<(&Need, &Text)> {
        let (place, need) = self.heads.first_key_value()?;
        Some((need, &self.lines[need].tasks[place]))
    }

    /// The first task of a line couldn't be placed. Returns whether that is for another reason than last time.
    pub(super) fn block(&mut self, need: &Need, obstacle: &Obstacle) -> bool {
        let line = self.lines.get_mut(need).expect("only what waits can be blocked");
        line.blocked = true;
        if let Some((first, _)) = line.tasks.first_key_value() {
            self.heads.remove(first);
        }
        let news = line.obstacle.as_ref() != Some(obstacle);
        if news {
            line.obstacle = Some(obstacle.clone());
        }
        news
    }

    /// Something happened that could help anybody.
    pub(super) fn unblock(&mut self) {
        for (need, line) in &mut self.lines {
            if core::mem::take(&mut line.blocked)
                && let Some((&first, _)) = line.tasks.first_key_value()
            {
                self.heads.insert(first, need.clone());
            }
        }
    }

    /// Whether anybody waits for something to happen.
    pub(super) fn is_blocked(&self) -> bool {
        self.length > 0 && self.heads.len() < self.lines.len()
    }

    /// Why a task wasn't placed, if it was looked at.
    pub(super) fn obstacle(&self, task: &Task) -> Option<&Obstacle> {
        self.lines.get(&Need::of(task))?.obstacle.as_ref()
    }

    /// All tasks that wait.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Text> {
        self.lines.values().flat_map(|line| line.tasks.values())
    }

    pub(super) fn assert_invariants(&self) {
        let length: usize = self.lines.values().map(|line| line.tasks.len()).sum();
        assert_eq!(length, self.length, "the queue's length");
        let open = self.lines.values().filter(|line| !line.blocked).count();
        assert_eq!(open, self.heads.len(), "each line that isn't blocked shows its first task");
    }

    fn show(&mut self, need: &Need) {
        let line = &self.lines[need];
        if let (false, Some((&first, _))) = (line.blocked, line.tasks.first_key_value()) {
            self.heads.insert(first, need.clone());
        }
    }
}
