//! The starts of late, and how many of them were retries (spec 3.7).

use super::books::Moment;
use super::breakers::nanos;
use squall_scheduler::RetryBudgetKnobs;
use std::collections::VecDeque;

/// Starts as the scheduler tells them, as long as they matter.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// When, and whether it was a retry.
    starts: VecDeque<(Moment, bool)>,
}

impl Starts {
    pub(super) fn on_start(&mut self, at: Moment, retry: bool) {
        self.starts.push_back((at, retry));
    }

    /// Whether one more retry had room in the budget all the time from `since` to `at`, also for who counts in hundredths of
    /// the window.
    pub(super) fn had_room(&mut self, (since, at): (Moment, Moment), budget: &RetryBudgetKnobs) -> bool {
        let (window, step) = (nanos(budget.window), nanos(budget.window) / 100);
        while self.starts.front().is_some_and(|(start, _)| *start < since - window - step) {
            self.starts.pop_front();
        }
        let retries = 1 + self.starts.iter().filter(|(_, retry)| *retry).count() as u64;
        let sure = |start: Moment| start > at - window + step && start <= since;
        let starts = 1 + self.starts.iter().filter(|(start, _)| sure(*start)).count() as u64;
        let (part, whole) = (u64::from(budget.share.numerator()), u64::from(budget.share.denominator()));
        retries <= u64::from(budget.floor) || retries * whole <= starts * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Span;

    #[test]
    fn room_is_what_was_there_all_the_time() {
        let budget = RetryBudgetKnobs { floor: 1, ..RetryBudgetKnobs::default() };
        let second = |secs: u64| nanos(Span::from_secs(secs));
        let mut starts = Starts::default();
        assert!(starts.had_room((second(1), second(2)), &budget), "the first is always allowed");
        starts.on_start(second(3), true);
        assert!(!starts.had_room((second(4), second(5)), &budget));
        for _ in 0..9 {
            starts.on_start(second(6), false);
        }
        assert!(starts.had_room((second(7), second(8)), &budget), "two of eleven");
        assert!(!starts.had_room((second(5), second(8)), &budget), "not from the beginning");
        assert!(starts.had_room((second(14), second(15)), &budget), "the retry has left the window");
    }
}
