//! CB10: Open with demand is probed within its time + tick; rejected demand never prolongs it.
//!
//! Source: spec 3.3. A breaker is half open within a tick of its time, whoever asked in between. Where it is half open and has
//! a permit to give, demand that nothing else holds back is its probe within two ticks, as SC13 has it; and a probe that is
//! never settled gives way to the next after max(60 s, 3 tau). Looked at with each tick of a coordinator that runs
//! undisturbed.

use super::books::SharedBooks;
use super::breakers::{Stage, nanos};
use super::fit::spare;
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
pub(super) struct Cb10 {
    books: SharedBooks,
    ages: SharedAges,
    calm: Calm,
}

impl Cb10 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages, calm: Calm::default() }
    }

    fn late(&self, now: Time, decided: Time, scene: &Scene<'_, Cluster>) -> Option<String> {
        let knobs = scene.system.scheduler_knobs();
        let bound = knobs.tick + sync_max(scene.plan) + Span::from_millis(1);
        let calm = self.calm.own_since(scene.system.coordinator())?;
        if calm + bound >= now {
            return None;
        }
        let books = self.books.look();
        let at = books.moment(decided);
        let late = books.breakers.models.iter().find_map(|(key, model)| {
            let until = model.until.filter(|_| model.stage == Stage::Open)?;
            let late = at - until;
            (late > nanos(bound)).then(|| format!("{key} should have been half open {late} ns ago"))
        });
        late.or_else(|| self.unprobed(now, decided, scene))
    }

    /// A breaker that waits for a probe beside a task that could be it.
    fn unprobed(&self, now: Time, decided: Time, scene: &Scene<'_, Cluster>) -> Option<String> {
        let knobs = scene.system.scheduler_knobs();
        let bound = knobs.tick * 2 + sync_max(scene.plan) + Span::from_millis(1);
        let calm = self.calm.own_since(scene.system.coordinator())?;
        let (books, ages) = (self.books.look(), self.ages.look());
        let wants = |key: &BreakerKey| {
            let model = books.breakers.models.get(key);
            model.is_some_and(|model| model.stage == Stage::HalfOpen && model.permits(key, knobs))
        };
        if calm + bound >= now || !books.breakers.models.keys().any(wants) {
            return None;
        }
        for id in books.line.after(None).map(|(_, id)| id).take(TASKS_MAX) {
            let Some(row) = books.tasks.get(id).filter(|row| row.failures == 0) else { continue };
            let Some(host) = spare((&books, &ages), row, (now, decided, bound), scene) else { continue };
            let worker = BreakerKey::Worker(host.id.clone());
            let keys = [worker, BreakerKey::Class(row.shape.class), BreakerKey::Type(row.spec.kind)];
            if let Some(key) = keys.iter().find(|key| wants(key)) {
                return Some(format!("{key} waits for a probe, and {id} could be it at {}", host.id));
            }
        }
        None
    }
}

impl Checker<Cluster> for Cb10 {
    fn property(&self) -> &'static str {
        "CB10"
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
            && let Some(problem) = self.late(entry.at, decided, scene)
        {
            findings.violated("CB10", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::C;
    use super::super::testing::{I, changed, permitted, tasks, worker_key};
    use super::*;
    use squall::Truth;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::BreakerCause;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};

    #[test]
    fn what_is_open_is_half_open_in_time() {
        let open = Open { until: Span::from_secs(61) };
        let start = || {
            let opened = tasks(Cb10::default()).at(1_000);
            opened.tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold))
        };
        start().at(61_050).coordinator(Ticked {}).holds();
        start().at(62_000).coordinator(Ticked {}).violated("worker w0 should have been half open");
        let half = || start().at(61_000).tells(changed(worker_key(), open, HalfOpen, (2, 1), BreakerCause::Elapsed));
        half().at(62_000).coordinator(Ticked {}).holds();
        let paused = start().truth(C, Truth::Pause).at(62_000).truth(C, Truth::Resume);
        paused.at(62_050).coordinator(Ticked {}).holds();
    }

    #[test]
    fn demand_is_the_probe() {
        let open = Open { until: Span::from_secs(61) };
        let half = || {
            let opened = tasks(Cb10::default()).at(1_000);
            let opened =
                opened.tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold)).submit("t", 1);
            let heard = squall_coordinator::Event::HeartbeatAccepted {
                incarnation: squall_coordinator::Incarnation(I.0),
                seq: 2,
            };
            let half = changed(worker_key(), open, HalfOpen, (2, 1), BreakerCause::Elapsed);
            opened.at(55_000).coordinator(heard).at(61_000).tells(half)
        };
        half().at(61_100).coordinator(Ticked {}).holds();
        half().at(62_000).coordinator(Ticked {}).violated("worker w0 waits for a probe, and t could be it");
        half().tells(permitted(worker_key(), 1, 2, true)).at(62_000).coordinator(Ticked {}).holds();
    }
}
