//! CB10: Open with demand is probed within its time + tick; rejected demand never prolongs it.
//!
//! Source: spec 3.3. A breaker is half open within a tick of its time, whoever asked in between; that demand then gets its
//! probe is SC13's. And a probe that is never settled gives way to the next after max(60 s, 3 tau). Looked at with each tick
//! of a coordinator that runs undisturbed.

use super::books::SharedBooks;
use super::breakers::{Stage, nanos};
use crate::Cluster;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::event;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_machine::{Span, Time};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb10 {
    books: SharedBooks,
    calm: Calm,
}

impl Cb10 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, calm: Calm::default() }
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
        books.breakers.models.iter().find_map(|(key, model)| {
            let until = model.until.filter(|_| model.stage == Stage::Open)?;
            let late = at - until;
            (late > nanos(bound)).then(|| format!("{key} should have been half open {late} ns ago"))
        })
    }
}

impl Checker<Cluster> for Cb10 {
    fn property(&self) -> &'static str {
        "CB10"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
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
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::C;
    use super::super::testing::{changed, tasks, worker_key};
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
}
