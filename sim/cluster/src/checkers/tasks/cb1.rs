//! CB1: only legal changes, one event each, generation + 1.
//!
//! Source: spec 3.3: Closed -> Open -> HalfOpen -> Closed | Open; besides, an operator's reset: any -> Closed.

use super::books::Books;
use super::breakers::Stage;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{BreakerCause, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb1;

impl Judge for Cb1 {
    const PROPERTY: &'static str = "CB1";
    const EVENTS: &'static [&'static str] = &["breaker_changed"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let Event::BreakerChanged { key, change } = told.event else { return None };
        let model = books.breakers.model(key);
        let (from, to): (Stage, Stage) = (change.from.into(), change.to.into());
        let legal = match change.cause {
            BreakerCause::Threshold => (from, to) == (Stage::Closed, Stage::Open),
            BreakerCause::Elapsed => (from, to) == (Stage::Open, Stage::HalfOpen),
            BreakerCause::ProbeFailed => (from, to) == (Stage::HalfOpen, Stage::Open),
            BreakerCause::ProbesSucceeded => (from, to) == (Stage::HalfOpen, Stage::Closed),
            BreakerCause::Reset => to == Stage::Closed,
        };
        let follows = from == model.stage && change.generation == model.generation.next();
        (!legal || !follows).then(|| {
            format!("the breaker of {key}, {:?} in generation {}, makes {change:?}", model.stage, model.generation)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{changed, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};

    #[test]
    fn changes_are_legal_and_numbered() {
        let open = Open { until: Span::from_secs(60) };
        let start = || {
            tasks(Judged::<Cb1>::default()).tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold))
        };
        let half = |generation| changed(worker_key(), open, HalfOpen, (generation, 1), BreakerCause::Elapsed);
        let closed = |from| changed(worker_key(), from, Closed, (3, 0), BreakerCause::ProbesSucceeded);
        start().tells(half(2)).tells(closed(HalfOpen)).holds();
        start().tells(half(3)).violated("makes BreakerChange");
        start().tells(half(2)).tells(closed(open)).violated("HalfOpen in generation 2");
        start().tells(changed(worker_key(), open, Closed, (2, 0), BreakerCause::ProbesSucceeded)).violated("Open in");
        start().tells(changed(worker_key(), open, Closed, (2, 0), BreakerCause::Reset)).holds();
    }
}
