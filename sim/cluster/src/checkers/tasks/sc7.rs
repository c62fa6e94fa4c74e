//! SC7: k-th delay within jitter of min(cap, base * factor^(k-1)), > 0; no start before it.
//!
//! Source: spec 3.2. A retry at once waits one tick; what was no failure (a lost worker, a drain, a move) waits for nothing.

use super::books::{Books, Moment, Place};
use super::breakers::nanos;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{Event, Knobs, Strategy};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc7;

/// The shortest and the longest delay before retry `k`.
fn bounds(k: u32, knobs: &Knobs) -> (Moment, Moment) {
    let law = &knobs.retry;
    let (cap, factor) = (nanos(law.cap), Moment::from(law.factor));
    let mut delay = nanos(law.base);
    // Beyond the cap it makes no difference how far.
    for _ in 1..k.min(200) {
        delay = if delay >= cap { cap } else { delay * factor };
    }
    let delay = delay.min(cap);
    let spread = delay * Moment::from(law.jitter.numerator()) / Moment::from(law.jitter.denominator());
    ((delay - spread).max(1), delay + spread)
}

impl Judge for Sc7 {
    const PROPERTY: &'static str = "SC7";
    const EVENTS: &'static [&'static str] = &["requeued", "assigned"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Requeued { task, delay, failures, strategy, .. } => {
                let (shortest, longest) = match strategy {
                    None => (0, 0),
                    Some(Strategy::RetryAtOnce) => (nanos(told.knobs.tick), nanos(told.knobs.tick)),
                    Some(_) => bounds(*failures, told.knobs),
                };
                let fits = (shortest..=longest).contains(&nanos(*delay));
                (!fits).then(|| format!("{task} waits {delay} after failure {failures}, by {strategy:?}"))
            }
            Event::Assigned { task, attempt, .. } => {
                let Place::Waiting { not_before, .. } = books.tasks.get(task)?.place else { return None };
                let early = not_before - told.at;
                (early > 0).then(|| format!("attempt {attempt} of {task} begins {early} ns before its time"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{fenced, requeued, tasks};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::End;

    #[test]
    fn delays_follow_the_law() {
        let start = || tasks(Judged::<Sc7>::default()).submit("t", 1).assign("t", 1);
        let waits = |millis, failures, strategy| {
            start().tells(requeued("t", Span::from_millis(millis), (failures, 0), Some(strategy)))
        };
        for (millis, failures) in [(4_000, 1), (6_000, 1), (8_000, 2), (24_000, 3), (48_000, 5), (72_000, u32::MAX)] {
            waits(millis, failures, Strategy::DelayedRetry).holds();
        }
        for (millis, failures) in [(3_999, 1), (6_001, 1), (7_999, 2), (72_001, 9), (0, 99)] {
            waits(millis, failures, Strategy::OtherWorker).violated("after failure");
        }
        waits(100, 1, Strategy::RetryAtOnce).holds();
        waits(99, 1, Strategy::RetryAtOnce).violated("after failure 1, by Some(RetryAtOnce)");
        let drained = || start().tells(fenced("t", 1, End::Drained));
        drained().tells(requeued("t", Span::ZERO, (0, 0), None)).holds();
        drained().tells(requeued("t", Span::from_secs(1), (0, 0), None)).violated("t waits");
    }

    #[test]
    fn nobody_starts_too_early() {
        let start = || {
            let ran = tasks(Judged::<Sc7>::default()).submit("t", 1).assign("t", 1).at(1_000);
            ran.fail_once("t", 1, 1, Span::from_secs(5), Strategy::DelayedRetry)
        };
        start().at(6_000).assign("t", 2).holds();
        start().at(5_999).assign("t", 2).violated("before its time");
    }
}
