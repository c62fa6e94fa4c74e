//! SC13: no eligible queued task beside an eligible idle worker for more than 2 scheduler ticks.
//!
//! Source: spec 3.1 (scheduler tick 100 ms, and after every input that frees or offers something). Looked at with each tick of
//! the coordinator, while it runs undisturbed: a task whose time came, and a worker about which nothing changed, two ticks
//! ago and more. A retry that the retry budget may hold back isn't judged.

use super::books::{Place, SharedBooks};
use super::fit::may;
use crate::Cluster;
use crate::checkers::ages::SharedAges;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::event;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_machine::{Span, Time};
use squall_scheduler::BreakerKey;

/// How many tasks are looked at with each tick.
const TASKS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc13 {
    books: SharedBooks,
    ages: SharedAges,
    calm: Calm,
}

impl Sc13 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages, calm: Calm::default() }
    }

    fn idle(&self, now: Time, decided: Time, scene: &Scene<'_, Cluster>) -> Option<String> {
        let knobs = scene.system.scheduler_knobs();
        // What was decided two ticks ago has entered the history a sync later.
        let bound = knobs.tick * 2 + sync_max(scene.plan) + Span::from_millis(1);
        let calm = self.calm.own_since(scene.system.coordinator())?;
        let long = |since: Time| since + bound < now;
        if !long(calm) {
            return None;
        }
        let (books, ages) = (self.books.look(), self.ages.look());
        let queued = books.waiting().filter(|(_, row)| {
            matches!(row.place, Place::Waiting { since, .. } if long(since)) && row.failures == 0 && !row.moves
        });
        for (id, row) in queued.take(TASKS_MAX) {
            let shared = [BreakerKey::Class(row.shape.class), BreakerKey::Type(row.spec.kind)];
            let free = shared.iter().all(|key| {
                let model = books.breakers.model(key);
                model.permits(key, knobs) && long(model.changed)
            });
            if !free {
                continue;
            }
            let idle = books.hosts.iter().find(|(who, host)| {
                let key = BreakerKey::Worker(host.id.clone());
                long(host.changed)
                    && long(books.breakers.model(&key).changed)
                    && may((&books, &ages), (**who, host), row, (decided, bound), scene)
            });
            if let Some((_, host)) = idle {
                return Some(format!("{id} waits beside {}, which could take it: {:?}", host.id, row.obstacle));
            }
        }
        None
    }
}

impl Checker<Cluster> for Sc13 {
    fn property(&self) -> &'static str {
        "SC13"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        self.ages.interest(interest);
        Calm::interest(interest);
        interest.events(&["ticked"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.calm.follow(entry, scene);
        if let Some((decided, squall_coordinator::Event::Ticked {})) = event(entry)
            && let Some(problem) = self.idle(entry.at, decided, scene)
        {
            findings.violated("SC13", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{I, tasks};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::Event;

    #[test]
    fn nobody_waits_beside_an_idle_worker() {
        let start = || tasks(Sc13::default()).at(1_000).submit("t", 1);
        let ticks = |history: History<Sc13>, at| history.at(at).coordinator(Ticked {});
        ticks(start(), 1_200).holds();
        ticks(start(), 2_000).violated("t waits beside w0, which could take it");
        ticks(start().assign("t", 1), 2_000).holds();
        ticks(start().tells(Event::Draining { incarnation: I }), 2_000).holds();
        ticks(start(), 31_000).holds();
    }
}
