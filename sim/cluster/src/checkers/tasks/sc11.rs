//! SC11: round robin: any n assignments over a stable eligible set of n hit each once; with churn nobody eligible is passed
//! over more than 2n times.
//!
//! Source: spec 3.4 (the next eligible id after the last one used, in id order). Judged with `round_robin` only, per class. Who
//! could have been given a task and wasn't is passed over; who couldn't, begins anew: for a worker that can take only now
//! and then one of the tasks there is no bound.

use super::books::SharedBooks;
use super::fit::may;
use super::told;
use crate::Cluster;
use crate::checkers::ages::SharedAges;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{Choice, Event, Incarnation, Placement};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc11 {
    books: SharedBooks,
    ages: SharedAges,
    /// How often each worker was passed over in a row.
    passed: BTreeMap<Incarnation, u64>,
}

impl Sc11 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages, passed: BTreeMap::new() }
    }

    fn on_assigned(
        &mut self,
        (task, chosen): (&Text, Incarnation),
        decided: Time,
        scene: &Scene<'_, Cluster>,
    ) -> Option<String> {
        let (books, ages) = (self.books.look(), self.ages.look());
        let row = books.tasks.get(task)?;
        let of_class = books.hosts.iter().filter(|(_, host)| host.offer.class == row.shape.class);
        let (fit, unfit): (Vec<_>, Vec<_>) = of_class.map(|(&who, host)| (who, host)).partition(|&(who, host)| {
            who == chosen || may((&books, &ages), (who, host), row, (decided, Span::ZERO), scene)
        });
        for (who, _) in unfit {
            self.passed.remove(&who);
        }
        let bound = fit.len() as u64 * 2;
        let mut problem = None;
        for (who, host) in fit {
            let passed = self.passed.entry(who).or_default();
            *passed = if who == chosen { 0 } else { *passed + 1 };
            if *passed > bound {
                problem = Some(format!("{} is passed over {passed} times; {} are eligible", host.id, bound / 2));
            }
        }
        self.passed.retain(|who, _| books.hosts.contains_key(who));
        problem
    }
}

impl Checker<Cluster> for Sc11 {
    fn property(&self) -> &'static str {
        "SC11"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        self.ages.interest(interest);
        interest.truth(&["up"]);
        interest.events(&["assigned"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let by_turn = scene.system.scheduler_knobs().placement == Placement::RoundRobin;
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.passed.clear();
        } else if let Some((decided, Event::Assigned { task, incarnation, choice, .. })) = told(entry)
            && let (true, Choice { placement: Placement::RoundRobin, .. }) = (by_turn, choice)
            // What moves, moves away from somebody.
            && !self.books.look().tasks.get(task).is_some_and(|row| row.moves || row.failures > 0)
            && let Some(problem) = self.on_assigned((task, *incarnation), decided, scene)
        {
            findings.violated("SC11", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}
