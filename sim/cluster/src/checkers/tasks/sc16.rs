//! SC16: retries stay within the retry budget.
//!
//! Source: spec 3.7: at most 20 % of the starts of any 10 s are retries, but so many are always allowed. A restart of the
//! coordinator counts anew; a move is no retry.

use super::books::{Books, Moment};
use super::breakers::nanos;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc16 {
    /// The starts of the last window, and which of them were retries.
    starts: VecDeque<(Moment, bool)>,
    retries: u64,
}

impl Judge for Sc16 {
    const PROPERTY: &'static str = "SC16";
    const EVENTS: &'static [&'static str] = &["assigned"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let Event::Assigned { task, failures, .. } = told.event else { return None };
        let budget = told.knobs.retry_budget;
        while let Some(&(at, retry)) = self.starts.front()
            && told.at - at >= nanos(budget.window)
        {
            self.starts.pop_front();
            self.retries -= u64::from(retry);
        }
        let moves = books.tasks.get(task).is_some_and(|row| row.moves);
        let retry = *failures > 0 && !moves;
        self.starts.push_back((told.at, retry));
        self.retries += u64::from(retry);
        let share = self.starts.len() as u64 * u64::from(budget.share.numerator());
        let allowed = (share / u64::from(budget.share.denominator())).max(u64::from(budget.floor));
        (retry && self.retries > allowed).then(|| {
            format!(
                "{} of {} starts within {} are retries; {allowed} may be",
                self.retries,
                self.starts.len(),
                budget.window
            )
        })
    }

    fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History};
    use super::super::judge::Judged;
    use super::super::testing::{assigned_with, tasks};
    use super::*;

    /// So many fresh starts, then so many retries.
    fn starts(fresh: u64, retries: u64) -> History<Judged<Sc16>> {
        (1..=fresh + retries).fold(tasks(Judged::<Sc16>::default()).at(1_000), |history, attempt| {
            history.tells(assigned_with("t", attempt, u32::from(attempt > fresh), None))
        })
    }

    #[test]
    fn retries_are_few() {
        starts(0, 10).holds();
        starts(0, 11).violated("11 of 11 starts within 10s are retries; 10 may be");
        starts(44, 11).holds();
        starts(43, 11).violated("11 of 54 starts");
        starts(0, 10).at(10_999).tells(assigned_with("t", 11, 1, None)).violated("11 of 11");
        starts(0, 10).at(11_000).tells(assigned_with("t", 11, 1, None)).holds();
        starts(0, 10).down(C).up(C).tells(assigned_with("t", 11, 1, None)).holds();
    }
}
