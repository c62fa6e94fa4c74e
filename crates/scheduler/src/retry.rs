//! How long a failed task waits before it is tried again.

use serde::{Deserialize, Serialize};
use squall_machine::{Random, Ratio, Span};

/// Exponential backoff with a cap, and jitter around it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RetryLaw {
    /// The delay before the first retry.
    pub base: Span,
    /// What each further retry multiplies it by.
    pub factor: u32,
    /// The longest delay, before jitter.
    pub cap: Span,
    /// How far a delay may lie from the law, to either side, as a share of it.
    pub jitter: Ratio,
}

/// One fifth.
const JITTER: Ratio = match Ratio::new(1, 5) {
    Some(ratio) => ratio,
    None => Ratio::ZERO,
};

impl Default for RetryLaw {
    fn default() -> Self {
        Self { base: Span::from_secs(5), factor: 2, cap: Span::from_secs(60), jitter: JITTER }
    }
}

impl RetryLaw {
    /// The delay before retry `k`, without jitter: `min(cap, base * factor^(k-1))`, and never zero.
    ///
    /// # Panics
    /// If `k` is 0: retries are counted from 1.
    #[must_use]
    pub fn exact(&self, k: u32) -> Span {
        assert!(k > 0, "retries are counted from 1");
        let factor = u64::from(self.factor).saturating_pow(k - 1);
        (self.base * factor).min(self.cap).max(Span::from_nanos(1))
    }

    /// The delay before retry `k`: uniform among all that lie within the jitter of the exact one; never zero.
    ///
    /// # Panics
    /// If `k` is 0.
    pub fn delay(&self, k: u32, random: &mut Random) -> Span {
        let exact = self.exact(k);
        let share = u128::from(exact.as_nanos()) * u128::from(self.jitter.numerator());
        // A ratio is at most one, so the spread is at most the delay itself.
        let spread = Span::from_nanos((share / u128::from(self.jitter.denominator())) as u64);
        random.span(exact.minus(spread).max(Span::from_nanos(1)), exact + spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let law = RetryLaw::default();
        for (k, secs) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (64, 60), (65, 60), (u32::MAX, 60)] {
            assert_eq!(law.exact(k), Span::from_secs(secs), "retry {k}");
        }
    }

    #[test]
    fn no_law_overflows_or_gives_zero() {
        let spans = [Span::ZERO, Span::from_nanos(1), Span::from_secs(5), Span::MAX];
        let mut random = Random::new(1, "retry");
        for base in spans {
            for cap in spans {
                for factor in [0, 1, 2, u32::MAX] {
                    for jitter in [Ratio::ZERO, JITTER, Ratio::new(1, 1).expect("all of it")] {
                        let law = RetryLaw { base, factor, cap, jitter };
                        for k in [1, 2, 63, 64, 65, u32::MAX] {
                            let exact = law.exact(k);
                            assert!(exact > Span::ZERO && exact <= cap.max(Span::from_nanos(1)), "{law:?} {k}");
                            assert!(law.delay(k, &mut random) > Span::ZERO, "{law:?} {k}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn jitter_reaches_both_ends_and_nothing_beyond() {
        // So short a delay that each length is drawn: 8 to 12 ns.
        let law = RetryLaw { base: Span::from_nanos(10), ..RetryLaw::default() };
        let mut random = Random::new(7, "retry");
        let mut seen = [0u32; 20];
        for _ in 0..5_000 {
            seen[law.delay(1, &mut random).as_nanos() as usize] += 1;
        }
        let drawn = |nanos: &usize| seen[*nanos] > 0;
        assert!((0..20).filter(drawn).eq(8..=12), "{seen:?}");
        assert!(seen[8..=12].iter().all(|count| (850..1_150).contains(count)), "uniform: {seen:?}");
    }

    #[test]
    fn jitter_lies_around_the_cap_and_can_be_off() {
        let law = RetryLaw::default();
        let mut random = Random::new(7, "retry");
        let (mut shortest, mut longest) = (Span::MAX, Span::ZERO);
        for _ in 0..1_000 {
            let delay = law.delay(9, &mut random);
            (shortest, longest) = (shortest.min(delay), longest.max(delay));
        }
        assert!(shortest >= Span::from_secs(48) && shortest < Span::from_secs(49), "{shortest}");
        assert!(longest <= Span::from_secs(72) && longest > Span::from_secs(71), "{longest}");
        let exact = RetryLaw { jitter: Ratio::ZERO, ..law };
        assert_eq!(exact.delay(3, &mut random), Span::from_secs(20));
    }
}
