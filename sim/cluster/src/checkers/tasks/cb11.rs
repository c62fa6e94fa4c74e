//! CB11: tasks held back only by breakers run, or end by their deadline.
//!
//! Source: spec 3.3 (all candidates open => the task waits, its reason visible, its deadline holds). Every task with a
//! deadline, whatever holds it back, ends by then: not later, looked at with each tick of a coordinator that runs undisturbed,
//! and not earlier by that reason. (That it runs once a breaker permits it is SC13's.)

use super::books::{Moment, Place, SharedBooks};
use super::breakers::nanos;
use super::told;
use crate::Cluster;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::event;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{BreakerKey, Event, Obstacle, Outcome, Verdict};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb11 {
    books: SharedBooks,
    calm: Calm,
    deadlines: BTreeSet<(Moment, Text)>,
}

impl Cb11 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    fn overdue(&mut self, now: Time, decided: Time, scene: &Scene<'_, Cluster>) -> Option<String> {
        let bound = scene.system.scheduler_knobs().tick + sync_max(scene.plan) + Span::from_millis(1);
        let books = self.books.look();
        let at = books.moment(decided);
        while let Some((deadline, task)) = self.deadlines.first() {
            let Some(row) = books.tasks.get(task).filter(|row| !matches!(row.place, Place::Ended(_))) else {
                self.deadlines.pop_first();
                continue;
            };
            let calm = self.calm.own_since(scene.system.coordinator())?;
            let late = at - deadline;
            return (calm + bound < now && late > nanos(bound))
                .then(|| format!("{task} should have ended {late} ns ago: {:?}", row.obstacle));
        }
        None
    }

    fn on_told(&mut self, told: &Event, decided: Time) -> Option<String> {
        let books = self.books.look();
        let at = books.moment(decided);
        match told {
            Event::Submitted { spec, .. } => {
                if let Some(deadline) = spec.deadline {
                    self.deadlines.insert((at + nanos(deadline), spec.id.clone()));
                }
                None
            }
            Event::Recovered { .. } => {
                let found = books.found.tasks.iter();
                let due = found.filter_map(|(id, task)| Some((task.submitted + task.spec.deadline?, id)));
                self.deadlines = due.map(|(due, id)| (nanos(due), id.clone())).collect();
                None
            }
            Event::Terminal { task, outcome: Outcome::Failed(Verdict::Deadline), .. } => {
                let Some(deadline) = books.tasks.get(task)?.deadline else {
                    return Some(format!("{task} ends by its deadline, and has none"));
                };
                let early = deadline - at;
                (early > 0).then(|| format!("{task} ends by its deadline, {early} ns before it"))
            }
            _ => None,
        }
    }
}

impl Checker<Cluster> for Cb11 {
    fn property(&self) -> &'static str {
        "CB11"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        Calm::interest(interest);
        interest.events(&["ticked", "task_submitted", "terminal", "tasks_recovered", "held"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.calm.follow(entry, scene);
        let problem = if let Some((decided, told)) = told(entry) {
            if let Event::Held { obstacle: Obstacle::Breakers(keys), .. } = told
                && keys.iter().all(|key| matches!(key, BreakerKey::Worker(_)))
            {
                findings.reached("all breakers of a task open");
            }
            self.on_told(told, decided)
        } else if let Some((decided, squall_coordinator::Event::Ticked {})) = event(entry) {
            self.overdue(entry.at, decided, scene)
        } else {
            None
        };
        if let Some(problem) = problem {
            findings.violated("CB11", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{spec, tasks, terminal};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::TaskSpec;
    use std::sync::Arc;

    fn start() -> History<Cb11> {
        let spec = TaskSpec { deadline: Some(Span::from_secs(10)), ..spec("t") };
        tasks(Cb11::default()).at(1_000).tells(Event::Submitted { spec: Arc::new(spec), number: 1 })
    }

    #[test]
    fn what_has_a_deadline_ends_by_then() {
        let ends = || terminal("t", Outcome::Failed(Verdict::Deadline), 0, 0);
        start().at(11_050).coordinator(Ticked {}).holds();
        start().at(12_000).coordinator(Ticked {}).violated("t should have ended");
        start().at(11_000).tells(ends()).at(12_000).coordinator(Ticked {}).holds();
        start().at(10_999).tells(ends()).violated("1000000 ns before it");
        tasks(Cb11::default()).submit("t", 1).tells(ends()).violated("and has none");
    }
}
