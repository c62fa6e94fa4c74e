//! SC5: assigned => the worker was alive by the one predicate, not suspected, not draining, healthy.
//!
//! Source: spec 1.1 (one predicate) and 3.4. Ages come from the heartbeats that the coordinator accepted; who is suspected
//! isn't alive by the same predicate.

use super::books::SharedBooks;
use super::told;
use crate::Cluster;
use crate::checkers::ages::SharedAges;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_machine::Time;
use squall_scheduler::{Event, Incarnation};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc5 {
    books: SharedBooks,
    ages: SharedAges,
}

impl Sc5 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages }
    }

    fn problem(&self, who: Incarnation, decided: Time, scene: &Scene<'_, Cluster>) -> Option<&'static str> {
        let (books, ages) = (self.books.look(), self.ages.look());
        let Some(host) = books.hosts.get(&who) else { return Some("offers nothing") };
        if host.draining {
            return Some("is draining");
        }
        if host.unhealthy {
            return Some("is unhealthy");
        }
        match ages.alive(scene.system.knobs(), squall_coordinator::Incarnation(who.0), decided) {
            Some(true) => None,
            Some(false) => Some("isn't alive"),
            // It may have begun without a word.
            None if ages.restarted => None,
            None => Some("has not begun, or has ended"),
        }
    }
}

impl Checker<Cluster> for Sc5 {
    fn property(&self) -> &'static str {
        "SC5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        self.ages.interest(interest);
        interest.events(&["assigned"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Some((decided, Event::Assigned { task, worker, incarnation, .. })) = told(entry)
            && let Some(problem) = self.problem(*incarnation, decided, scene)
        {
            let message = format!("{task} is assigned to {worker} (incarnation {incarnation}), which {problem}");
            findings.violated("SC5", entry.at, [entry.id], message);
        }
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{I, tasks};
    use super::*;
    use squall_scheduler::Issue;

    #[test]
    fn only_who_is_alive_and_well_gets_work() {
        let start = || tasks(Sc5::default()).submit("t", 1);
        start().at(30_099).assign("t", 1).holds();
        start().at(30_100).assign("t", 1).violated("which isn't alive");
        start().dies().assign("t", 1).violated("which offers nothing");
        start().tells(Event::Draining { incarnation: I }).assign("t", 1).violated("which is draining");
        let sick = |issues: Vec<Issue>| Event::Health { incarnation: I, issues };
        let issue = Issue { vital: squall_scheduler::Vital::Cpu, figure: 96, limit: 95 };
        start().tells(sick(vec![issue])).assign("t", 1).violated("which is unhealthy");
        start().tells(sick(vec![issue])).tells(sick(Vec::new())).assign("t", 1).holds();
    }
}
