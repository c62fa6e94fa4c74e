//! SC17: nobody is given what somebody before it could have had: priority, then requeued before new, then submission.
//!
//! Source: spec 3.1 (order); an id of our own. Judged at each assignment, of the tasks whose turn comes before. One that needs
//! the same and has never failed stands in the same line, so it is first, always. One that needs something else would have
//! got this worker if that could take it and nothing had changed about either for two ticks: the scheduler looks at all that
//! waits once per tick. A retry may be held back by the retry budget, and isn't judged; a move has its own worker.

use super::books::{Place, Row, SharedBooks};
use super::fit::may;
use super::told;
use crate::Cluster;
use crate::checkers::ages::SharedAges;
use crate::checkers::calm::{Calm, sync_max};
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{BreakerKey, Event, Incarnation};

/// How many of those before it are looked at for each assignment.
const TASKS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc17 {
    books: SharedBooks,
    ages: SharedAges,
    calm: Calm,
}

/// Whether both stand in one line.
fn alike(one: &Row, other: &Row) -> bool {
    let (a, b) = (&one.spec, &other.spec);
    one.failures == 0
        && other.failures == 0
        && one.shape.class == other.shape.class
        && (a.kind, a.resources, a.slack_millis) == (b.kind, b.resources, b.slack_millis)
        && a.capabilities == b.capabilities
}

impl Sc17 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages, calm: Calm::default() }
    }

    fn passed(
        &self,
        (now, decided): (Time, Time),
        (task, worker): (&Text, Incarnation),
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) -> Option<String> {
        let knobs = scene.system.scheduler_knobs();
        let (books, ages) = (self.books.look(), self.ages.look());
        let (row, turn) = (books.tasks.get(task)?, books.line.turn(task)?);
        if row.moves {
            return None;
        }
        let at = books.moment(decided);
        let bound = knobs.tick * 2 + sync_max(scene.plan) + Span::from_millis(1);
        let calm = self.calm.own_since(scene.system.coordinator());
        let long = |since: Time| since + bound < now;
        let host = books.hosts.get(&worker);
        for other in books.line.before(turn).take(TASKS_MAX) {
            let Some(first) = books.tasks.get(other) else { continue };
            let Place::Waiting { since, not_before } = first.place else { continue };
            if not_before > at || first.failures > 0 || first.moves {
                continue;
            }
            if alike(first, row) {
                return Some(format!("{task} is assigned before {other}, whose turn it is"));
            }
            let shared = [BreakerKey::Class(first.shape.class), BreakerKey::Type(first.spec.kind)];
            let free = shared.iter().all(|key| {
                let model = books.breakers.model(key);
                model.permits(key, knobs) && long(model.changed)
            });
            let fits = host.is_some_and(|host| may((&books, &ages), (worker, host), first, (decided, bound), scene));
            if calm.is_some_and(long) && long(since) && free && fits {
                return Some(format!("{task} is given a worker that {other}, whose turn it is, could have had"));
            }
            findings.reached("a task overtakes one that needs something else");
        }
        None
    }
}

impl Checker<Cluster> for Sc17 {
    fn property(&self) -> &'static str {
        "SC17"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        self.ages.interest(interest);
        Calm::interest(interest);
        interest.events(&["assigned"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.calm.follow(entry, scene);
        if let Some((decided, Event::Assigned { task, incarnation, .. })) = told(entry)
            && let Some(problem) = self.passed((entry.at, decided), (task, *incarnation), scene, findings)
        {
            findings.violated("SC17", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{spec, tasks};
    use super::*;
    use squall_scheduler::{Resources, TaskSpec};
    use std::sync::Arc;

    fn submit(history: History<Sc17>, spec: TaskSpec, number: u64) -> History<Sc17> {
        history.tells(Event::Submitted { spec: Arc::new(spec), number })
    }

    #[test]
    fn first_come_first_served() {
        let start = || tasks(Sc17::default()).at(1_000).submit("t", 1).submit("u", 2);
        start().assign("t", 1).assign("u", 2).holds();
        start().assign("u", 1).violated("u is assigned before t, whose turn it is");
        let urgent = || submit(start(), TaskSpec { priority: 1, ..spec("v") }, 3);
        urgent().assign("v", 1).assign("t", 2).holds();
        urgent().assign("t", 1).violated("t is assigned before v");
    }

    #[test]
    fn what_ran_before_comes_before_what_is_new() {
        let start = || tasks(Sc17::default()).at(1_000).submit("t", 1).submit("u", 2).submit("v", 3);
        let lost = || start().assign("t", 1).assign("u", 2).lose("u", 2, 1).worker(11).offered(11);
        lost().assign("u", 3).assign("v", 4).holds();
        lost().assign("v", 3).violated("v is assigned before u");
    }

    #[test]
    fn another_need_is_no_excuse_for_long() {
        let large = Resources { cpu_millis: 2_000, ..super::super::testing::NEED };
        let start = || submit(tasks(Sc17::default()).at(1_000), TaskSpec { resources: large, ..spec("t") }, 1);
        start().submit("u", 2).assign("u", 1).holds();
        let later = || start().at(2_000).submit("u", 2);
        later().assign("u", 1).violated("u is given a worker that t, whose turn it is, could have had");
        let huge = Resources { cpu_millis: 5_000, ..super::super::testing::NEED };
        let big = submit(tasks(Sc17::default()).at(1_000), TaskSpec { resources: huge, ..spec("t") }, 1);
        big.at(2_000).submit("u", 2).assign("u", 1).holds();
    }
}
