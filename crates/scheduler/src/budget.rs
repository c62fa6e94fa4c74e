//! How many of the starts may be retries, so that failures never feed a storm.

use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};
use squall_machine::{Ratio, Span};

/// What a [`RetryBudget`] allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RetryBudgetKnobs {
    /// Of all starts in a window, retries among them, at most this share are retries.
    pub share: Ratio,
    /// So many retries in a window are always allowed.
    pub floor: u32,
    /// How far back starts are counted.
    pub window: Span,
}

/// One fifth.
const SHARE: Ratio = match Ratio::new(1, 5) {
    Some(ratio) => ratio,
    None => Ratio::ZERO,
};

impl Default for RetryBudgetKnobs {
    fn default() -> Self {
        Self { share: SHARE, floor: 10, window: Span::from_secs(10) }
    }
}

/// Into how many buckets a window is divided: starts are counted per bucket, not remembered one by one.
const BUCKETS: u64 = 100;

/// The starts of the last window, and whether a retry may be one more.
///
/// At each retry, of all starts within the window that ends then, retries are at most the larger of `floor` and `share`.
/// Counting by buckets errs on that side only: a retry counts until its whole bucket has left the window, a start only
/// while its whole bucket is inside. So a retry may wait up to a bucket (1/100 of the window) longer than it had to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RetryBudget {
    knobs: RetryBudgetKnobs,
    /// In ascending order, without those that have left the window: at most 102.
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Bucket {
    number: u64,
    starts: u64,
    retries: u64,
}

impl RetryBudget {
    /// A budget under which nothing has started yet.
    ///
    /// # Panics
    /// If the window is shorter than 100 ns, a nanosecond for each bucket.
    #[must_use]
    pub fn new(knobs: RetryBudgetKnobs) -> Self {
        assert!(knobs.window.as_nanos() >= BUCKETS, "a window has at least a nanosecond per bucket");
        Self { knobs, buckets: VecDeque::new() }
    }

    /// How long a bucket is.
    fn width(&self) -> Span {
        Span::from_nanos(self.knobs.window.as_nanos() / BUCKETS)
    }

    /// When the last moment of this bucket has left the window.
    fn leaves(&self, bucket: &Bucket) -> Span {
        self.width() * (bucket.number + 1) + self.knobs.window
    }

    /// Whether a retry may start at `at`, no earlier than the newest start.
    #[must_use]
    pub fn may_retry(&self, at: Span) -> bool {
        // Both with the one that is asked for.
        let (mut starts, mut retries) = (1, 1);
        for bucket in &self.buckets {
            let begin = self.width() * bucket.number;
            starts += if begin + self.knobs.window > at { bucket.starts } else { 0 };
            retries += if self.leaves(bucket) > at { bucket.retries } else { 0 };
        }
        let share = self.knobs.share;
        let within_share =
            u128::from(retries) * u128::from(share.denominator()) <= u128::from(starts) * u128::from(share.numerator());
        retries <= u64::from(self.knobs.floor) || within_share
    }

    /// From when on a retry may start if nothing else starts before; `at` itself if it may at once, `None` if only other
    /// starts make room.
    #[must_use]
    pub fn next_at(&self, at: Span) -> Option<Span> {
        // The passing of time makes room only where retries leave the window.
        let leaving = self.buckets.iter().filter(|bucket| bucket.retries > 0).map(|bucket| self.leaves(bucket));
        core::iter::once(at).chain(leaving.filter(|moment| *moment > at)).find(|moment| self.may_retry(*moment))
    }

    /// An attempt starts at `at`; `retry` if it isn't the first one of its task.
    ///
    /// # Panics
    /// If a later start was counted before.
    pub fn on_start(&mut self, at: Span, retry: bool) {
        let number = at.as_nanos() / self.width().as_nanos();
        while self.buckets.front().is_some_and(|oldest| self.leaves(oldest) <= at) {
            self.buckets.pop_front();
        }
        if self.buckets.back().is_none_or(|newest| newest.number < number) {
            self.buckets.push_back(Bucket { number, starts: 0, retries: 0 });
        }
        let newest = self.buckets.back_mut().expect("there is a bucket for this moment");
        assert_eq!(newest.number, number, "starts are counted in order");
        newest.starts += 1;
        newest.retries += u64::from(retry);
        assert!(self.buckets.len() as u64 <= BUCKETS * 2, "what left the window is forgotten");
    }
}

#[cfg(test)]
mod tests;
