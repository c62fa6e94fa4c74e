//! CB7: opening times follow the law and its cap; reset by a close.
//!
//! Source: spec 3.3. The law is computed here in integers of its own. The scheduler names the end of an opening in its own
//! time, whose origin the history learns from a restart, or from the first opening: all others have to agree with it.

use super::books::{Books, Moment};
use super::breakers::{Stage, nanos, open_millis};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{BreakerStage, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb7 {
    /// How far the scheduler's own time is ahead of the books', in this life.
    origin: Option<Moment>,
}

impl Judge for Cb7 {
    const PROPERTY: &'static str = "CB7";
    const EVENTS: &'static [&'static str] = &["breaker_changed", "tasks_recovered"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let Event::BreakerChanged { key, change } = told.event else {
            if let Event::Recovered { .. } = told.event {
                self.origin = Some(0);
            }
            return None;
        };
        let model = books.breakers.model(key);
        let times = match change.to {
            BreakerStage::Closed => 0,
            BreakerStage::HalfOpen => model.times_opened,
            BreakerStage::Open { .. } => model.times_opened.saturating_add(1),
        };
        if change.times_opened != times {
            return Some(format!("{key} has opened {times} times, not {}", change.times_opened));
        }
        match change.to {
            BreakerStage::Open { until } => {
                let millis = open_millis(times, &books.tuning.breaker(key, told.knobs));
                let lawful = told.at + Moment::try_from(millis).unwrap_or(Moment::MAX / 2) * 1_000_000;
                let origin = *self.origin.get_or_insert(nanos(until) - lawful);
                let off = nanos(until) - lawful - origin;
                (off != 0)
                    .then(|| format!("opening {times} of {key} lasts {millis} ms by the law; it is off by {off} ns"))
            }
            BreakerStage::HalfOpen => {
                let early = model.until? - told.at;
                (model.stage == Stage::Open && early > 0).then(|| format!("{key} is half open {early} ns too early"))
            }
            BreakerStage::Closed => None,
        }
    }

    fn restart(&mut self) {
        self.origin = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::judge::Judged;
    use super::super::testing::{adapted, changed, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};
    use squall_scheduler::{Adaptable, Blame, BreakerCause, Setting};

    fn open(secs: u64) -> BreakerStage {
        Open { until: Span::from_secs(secs) }
    }

    /// It opens at 1 s of the scheduler's time, for 60 s; at 61 s it is half open.
    fn start() -> History<Judged<Cb7>> {
        let opened = tasks(Judged::<Cb7>::default()).at(1_000);
        opened.tells(changed(worker_key(), Closed, open(61), (1, 1), BreakerCause::Threshold))
    }

    fn half(history: History<Judged<Cb7>>) -> History<Judged<Cb7>> {
        history.tells(changed(worker_key(), open(61), HalfOpen, (2, 1), BreakerCause::Elapsed))
    }

    #[test]
    fn openings_last_as_the_law_says() {
        let again = |secs| changed(worker_key(), HalfOpen, open(secs), (3, 2), BreakerCause::ProbeFailed);
        half(start().at(61_000)).at(70_000).tells(again(190)).holds();
        half(start().at(61_000)).at(70_000).tells(again(130)).violated("opening 2 of worker w0 lasts 120000 ms");
        half(start().at(60_999)).violated("half open 1000000 ns too early");
        let first = changed(worker_key(), HalfOpen, open(130), (3, 1), BreakerCause::ProbeFailed);
        half(start().at(61_000)).at(70_000).tells(first).violated("has opened 2 times, not 1");
    }

    #[test]
    fn a_close_begins_anew() {
        let closed = |times| changed(worker_key(), HalfOpen, Closed, (3, times), BreakerCause::ProbesSucceeded);
        half(start().at(61_000)).tells(closed(1)).violated("has opened 0 times, not 1");
        let opens = changed(worker_key(), Closed, open(130), (4, 1), BreakerCause::Threshold);
        half(start().at(61_000)).tells(closed(0)).at(70_000).tells(opens).holds();
    }

    #[test]
    fn a_first_time_that_adapted_counts_from_then_on() {
        let length = |secs| Setting::Length(Span::from_secs(secs));
        let longer = || adapted(Adaptable::FirstOpen(Blame::Worker), length(60), length(75));
        let again = |secs| changed(worker_key(), HalfOpen, open(secs), (3, 2), BreakerCause::ProbeFailed);
        half(start().tells(longer()).at(61_000)).at(70_000).tells(again(220)).holds();
        half(start().tells(longer()).at(61_000)).at(70_000).tells(again(190)).violated("lasts 150000 ms");
    }

    #[test]
    fn the_law_is_that_of_the_tables() {
        let times = |n| open_millis(n, &squall_scheduler::BreakerKnobs::TYPE);
        assert_eq!(
            [times(1), times(2), times(7), times(8), times(u32::MAX)],
            [300_000, 360_000, 895_795, 1_074_954, 3_600_000]
        );
    }
}
