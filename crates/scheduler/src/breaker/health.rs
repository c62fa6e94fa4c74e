//! How well all breakers are, in one figure.

use super::{Breaker, BreakerStage};

/// `max(0, 100 - 100 * (open + 0.4 * half_open) / total)`, rounded down; 100 where there are no breakers.
#[must_use]
pub fn overall_health<'a>(breakers: impl IntoIterator<Item = &'a Breaker>) -> u32 {
    // In tenths of a breaker.
    let (mut lost, mut total) = (0u64, 0u64);
    for breaker in breakers {
        total += 10;
        lost += match breaker.stage() {
            BreakerStage::Closed => 0,
            BreakerStage::Open { .. } => 10,
            BreakerStage::HalfOpen => 4,
        };
    }
    ((total - lost) * 100).checked_div(total).map_or(100, |health| health as u32)
}

/// The mean of the breakers' own [health](Breaker::health), rounded down; 100 where there are none.
#[must_use]
pub fn average_health<'a>(breakers: impl IntoIterator<Item = &'a Breaker>) -> u32 {
    let (mut sum, mut count) = (0u64, 0u64);
    for breaker in breakers {
        sum += u64::from(breaker.health());
        count += 1;
    }
    sum.checked_div(count).map_or(100, |health| health as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerKnobs, Generation};
    use alloc::vec::Vec;
    use squall_machine::Span;

    fn breakers(open: usize, half_open: usize, closed: usize) -> Vec<Breaker> {
        let restored = |stage, count| {
            let times_opened = u32::from(stage != BreakerStage::Closed);
            let breaker = Breaker::restored(BreakerKnobs::WORKER, stage, Generation(3), times_opened);
            core::iter::repeat_n(breaker, count)
        };
        restored(BreakerStage::Open { until: Span::ZERO }, open)
            .chain(restored(BreakerStage::HalfOpen, half_open))
            .chain(restored(BreakerStage::Closed, closed))
            .collect()
    }

    #[test]
    fn overall_health_counts_open_whole_and_half_open_by_two_fifths() {
        for (open, half_open, closed, overall, average) in [
            (0, 0, 0, 100, 100),
            (0, 0, 7, 100, 100),
            (2, 1, 12, 84, 85),
            (1, 0, 2, 66, 72),
            (0, 1, 2, 86, 80),
            (0, 1, 0, 60, 40),
            (5, 0, 0, 0, 18),
            (1, 1, 0, 30, 29),
        ] {
            let breakers = breakers(open, half_open, closed);
            assert_eq!(overall_health(&breakers), overall, "{open} open, {half_open} half-open, {closed} closed");
            assert_eq!(average_health(&breakers), average, "{open} open, {half_open} half-open, {closed} closed");
        }
    }
}
