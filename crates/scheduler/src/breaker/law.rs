//! When a breaker opens, for how long, and when it closes.

use serde::{Deserialize, Serialize};
use squall_machine::Span;

/// A fraction that is at least one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Factor {
    numerator: u32,
    denominator: u32,
}

impl Factor {
    /// The fraction `numerator / denominator`; `None` if it is below one or the denominator is 0.
    #[must_use]
    pub const fn new(numerator: u32, denominator: u32) -> Option<Self> {
        if denominator == 0 || numerator < denominator { None } else { Some(Self { numerator, denominator }) }
    }

    /// Numerator and denominator.
    #[must_use]
    pub const fn parts(self) -> (u32, u32) {
        (self.numerator, self.denominator)
    }

    /// `whole` times this, rounded down.
    const fn times(self, whole: u64) -> u128 {
        whole as u128 * self.numerator as u128 / self.denominator as u128
    }
}

/// The settings of one kind of breakers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BreakerKnobs {
    /// So many failures in a row open it.
    pub threshold: u32,
    /// How long it is open the first time, in whole milliseconds.
    pub first_open: Span,
    /// What each further opening in a row multiplies that by.
    pub factor: Factor,
    /// The longest time that it is open.
    pub max_open: Span,
    /// So many probes have to succeed before it closes.
    pub successes_to_close: u32,
    /// How many probes may be on their way at once.
    pub probes: u32,
}

const fn factor(numerator: u32, denominator: u32) -> Factor {
    match Factor::new(numerator, denominator) {
        Some(factor) => factor,
        None => panic!("a factor is at least one"),
    }
}

impl BreakerKnobs {
    /// The defaults for a worker.
    pub const WORKER: Self = Self {
        threshold: 5,
        first_open: Span::from_secs(60),
        factor: factor(2, 1),
        max_open: Span::from_secs(600),
        successes_to_close: 3,
        probes: 1,
    };

    /// The defaults for a hardware class.
    pub const CLASS: Self = Self {
        threshold: 3,
        first_open: Span::from_secs(120),
        factor: factor(3, 2),
        max_open: Span::from_secs(1_800),
        successes_to_close: 5,
        probes: 1,
    };

    /// The defaults for a task type.
    pub const TYPE: Self = Self {
        threshold: 10,
        first_open: Span::from_secs(300),
        factor: factor(6, 5),
        max_open: Span::from_secs(3_600),
        successes_to_close: 2,
        probes: 1,
    };

    /// Checks each setting.
    ///
    /// # Errors
    /// The name of the first one that can't be, and what would be right.
    pub const fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        if self.threshold == 0 {
            return Err(("threshold", "must be at least 1"));
        }
        if self.first_open.as_millis() == 0 {
            return Err(("first_open", "must be at least 1ms"));
        }
        if self.max_open.as_nanos() < self.first_open.as_nanos() {
            return Err(("max_open", "must not be shorter than first_open"));
        }
        if self.successes_to_close == 0 {
            return Err(("successes_to_close", "must be at least 1"));
        }
        if self.probes == 0 {
            return Err(("probes", "must be at least 1"));
        }
        Ok(())
    }

    /// How long it is open when it opens for the `n`-th time in a row: `min(max_open, first_open * factor^(n-1))` in whole
    /// milliseconds, rounded down after each multiplication, the limit last.
    ///
    /// # Panics
    /// If `n` is 0: openings are counted from 1.
    #[must_use]
    pub fn opening_time(&self, n: u32) -> Span {
        assert!(n > 0, "openings are counted from 1");
        let max = self.max_open.as_millis();
        let mut millis = self.first_open.as_millis();
        for _ in 1..n {
            let longer = self.factor.times(millis).min(u128::from(u64::MAX)) as u64;
            // A factor is at least one: from the limit on, or where rounding eats the growth, nothing changes any more.
            if millis >= max || longer == millis {
                break;
            }
            millis = longer;
        }
        Span::from_millis(millis.min(max))
    }
}

// The defaults are settings like any others.
const _: () = assert!(
    BreakerKnobs::WORKER.validate().is_ok()
        && BreakerKnobs::CLASS.validate().is_ok()
        && BreakerKnobs::TYPE.validate().is_ok()
);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn openings_last_as_specified() {
        let millis = |knobs: BreakerKnobs, most: u32| -> Vec<u64> {
            (1..=most).map(|n| knobs.opening_time(n).as_millis()).collect()
        };
        assert_eq!(millis(BreakerKnobs::WORKER, 6), [60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
        let class = [120_000, 180_000, 270_000, 405_000, 607_500, 911_250, 1_366_875, 1_800_000, 1_800_000];
        assert_eq!(millis(BreakerKnobs::CLASS, 9), class);
        let task_type = [
            300_000, 360_000, 432_000, 518_400, 622_080, 746_496, 895_795, 1_074_954, 1_289_944, 1_547_932, 1_857_518,
            2_229_021, 2_674_825, 3_209_790, 3_600_000, 3_600_000,
        ];
        assert_eq!(millis(BreakerKnobs::TYPE, 16), task_type, "rounded down after each multiplication");
    }

    #[test]
    fn no_number_of_openings_overflows() {
        for knobs in [BreakerKnobs::WORKER, BreakerKnobs::CLASS, BreakerKnobs::TYPE] {
            assert_eq!(knobs.opening_time(u32::MAX), knobs.max_open);
        }
        let steep = BreakerKnobs { factor: factor(u32::MAX, 1), max_open: Span::MAX, ..BreakerKnobs::WORKER };
        assert_eq!(steep.opening_time(u32::MAX).as_millis(), Span::MAX.as_millis());
        let flat = BreakerKnobs { factor: factor(1, 1), ..BreakerKnobs::WORKER };
        assert_eq!(flat.opening_time(u32::MAX), Span::from_secs(60));
        let tiny = BreakerKnobs { first_open: Span::from_millis(1), ..BreakerKnobs::CLASS };
        assert_eq!(tiny.opening_time(u32::MAX), Span::from_millis(1), "half a millisecond more is none");
        let short = BreakerKnobs { max_open: Span::from_secs(1), ..BreakerKnobs::WORKER };
        assert_eq!(short.opening_time(1), Span::from_secs(1), "the limit comes last, and always");
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert!(Factor::new(1, 2).is_none() && Factor::new(1, 0).is_none());
        type Change = fn(&mut BreakerKnobs);
        let cases: [(Change, &str); 5] = [
            (|knobs| knobs.threshold = 0, "threshold"),
            (|knobs| knobs.first_open = Span::from_nanos(999_999), "first_open"),
            (|knobs| knobs.max_open = Span::from_secs(59), "max_open"),
            (|knobs| knobs.successes_to_close = 0, "successes_to_close"),
            (|knobs| knobs.probes = 0, "probes"),
        ];
        for (change, knob) in cases {
            let mut knobs = BreakerKnobs::WORKER;
            change(&mut knobs);
            assert_eq!(knobs.validate().map_err(|(name, _)| name), Err(knob));
        }
    }
}
