//! CB6: opens and closes exactly at the thresholds; any failed probe reopens.
//!
//! Source: spec 3.3. What counted is counted here once more; a breaker changes when that says so, before anything else is
//! told, and at no other time but when its time has come or an operator asks for it.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{BreakerCause, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb6;

impl Judge for Cb6 {
    const PROPERTY: &'static str = "CB6";
    const EVENTS: &'static [&'static str] =
        &["breaker_changed", "settled", "permitted", "requeued", "terminal", "assigned"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        if !told.scheduler {
            return None;
        }
        let breakers = &books.breakers;
        if let Event::BreakerChanged { key, change } = told.event {
            let due = breakers.due.as_ref().and_then(|due| Some((due, breakers.model(due).due?)));
            return match change.cause {
                BreakerCause::Elapsed | BreakerCause::Reset => {
                    due.map(|(due, cause)| format!("the breaker of {due} doesn't change by {cause:?}"))
                }
                cause => (due != Some((key, cause)))
                    .then(|| format!("the breaker of {key} changes by {cause:?}, but {due:?} is due")),
            };
        }
        let due = breakers.due.as_ref()?;
        Some(format!("the breaker of {due} doesn't change by {:?}", breakers.model(due).due))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::judge::Judged;
    use super::super::testing::{adapted, changed, permitted, settled, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};
    use squall_scheduler::Settlement::{self, Failure, Success};
    use squall_scheduler::{Adaptable, Blame, Setting};

    const OPEN: squall_scheduler::BreakerStage = Open { until: Span::from_secs(60) };

    fn result(
        history: History<Judged<Cb6>>,
        attempt: u64,
        generation: u64,
        settlement: Settlement,
    ) -> History<Judged<Cb6>> {
        history.tells(permitted(worker_key(), attempt, generation, generation > 0)).tells(settled(
            worker_key(),
            attempt,
            generation,
            settlement,
            true,
        ))
    }

    fn results(settlements: &[Settlement]) -> History<Judged<Cb6>> {
        (1..).zip(settlements).fold(tasks(Judged::<Cb6>::default()), |history, (attempt, settlement)| {
            result(history, attempt, 0, *settlement)
        })
    }

    #[test]
    fn a_breaker_opens_at_its_threshold() {
        let opens = || changed(worker_key(), Closed, OPEN, (1, 1), BreakerCause::Threshold);
        results(&[Failure; 5]).tells(opens()).holds();
        results(&[Failure; 4]).tells(opens()).violated("changes by Threshold, but None is due");
        results(&[Failure, Failure, Failure, Failure, Success, Failure]).tells(opens()).violated("but None is due");
        results(&[Failure; 5])
            .tells(permitted(worker_key(), 9, 0, false))
            .violated("doesn't change by Some(Threshold)");
    }

    #[test]
    fn a_threshold_that_adapted_counts_from_then_on() {
        let lower = adapted(Adaptable::Threshold(Blame::Worker), Setting::Count(5), Setting::Count(4));
        let opens = changed(worker_key(), Closed, OPEN, (1, 1), BreakerCause::Threshold);
        result(results(&[Failure; 3]).tells(lower.clone()), 9, 0, Failure).tells(opens).holds();
        let late = result(results(&[Failure; 4]).tells(lower), 9, 0, Failure);
        late.tells(permitted(worker_key(), 10, 0, false)).violated("doesn't change by Some(Threshold)");
    }

    #[test]
    fn a_half_open_one_closes_or_reopens() {
        let half = || {
            results(&[Failure; 5])
                .tells(changed(worker_key(), Closed, OPEN, (1, 1), BreakerCause::Threshold))
                .tells(changed(worker_key(), OPEN, HalfOpen, (2, 1), BreakerCause::Elapsed))
        };
        let closes = || changed(worker_key(), HalfOpen, Closed, (3, 0), BreakerCause::ProbesSucceeded);
        let reopens = || changed(worker_key(), HalfOpen, OPEN, (3, 2), BreakerCause::ProbeFailed);
        let probed = |count: u64| (1..=count).fold(half(), |history, probe| result(history, 10 + probe, 2, Success));
        probed(3).tells(closes()).holds();
        probed(2).tells(closes()).violated("but None is due");
        result(probed(2), 20, 2, Failure).tells(reopens()).holds();
        probed(2).tells(reopens()).violated("but None is due");
    }
}
