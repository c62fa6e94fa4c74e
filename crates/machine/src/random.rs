//! Seeded randomness: value-stable, one stream per purpose.

use crate::Span;
use core::hash::{Hash, Hasher};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A seeded generator for one purpose (xoshiro256++, Blackman and Vigna 2019).
///
/// Streams of one seed with different labels are independent, so drawing more from one never shifts another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Random(Xoshiro256PlusPlus);

/// A share as a fraction of integers, at most one: `Ratio::new(3, 10)` is 30 %.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ratio {
    numerator: u32,
    denominator: u32,
}

impl Default for Ratio {
    /// Never.
    fn default() -> Self {
        Self::ZERO
    }
}

impl Ratio {
    /// Never.
    pub const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// The fraction `numerator / denominator`; `None` unless it lies in 0 to 1 and the denominator isn't 0.
    #[must_use]
    pub const fn new(numerator: u32, denominator: u32) -> Option<Self> {
        if denominator == 0 || numerator > denominator { None } else { Some(Self { numerator, denominator }) }
    }

    /// The upper part of the fraction.
    #[must_use]
    pub const fn numerator(self) -> u32 {
        self.numerator
    }

    /// The lower part of the fraction; not 0.
    #[must_use]
    pub const fn denominator(self) -> u32 {
        self.denominator
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.numerator == 0
    }
}

impl Random {
    /// The stream called `label` of the run with this seed.
    #[must_use]
    pub fn new(seed: u64, label: &str) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(xxh3_64_with_seed(label.as_bytes(), seed)))
    }

    /// The stream called `label` that belongs to the `index`-th of many (nodes, faults).
    #[must_use]
    pub fn numbered(seed: u64, label: &str, index: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(xxh3_64_with_seed(&index.to_le_bytes(), Self::new(seed, label).next())))
    }

    /// 64 fresh bits.
    #[expect(clippy::should_implement_trait, reason = "an endless stream that never answers None is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..limit` (multiply and shift with rejection, Lemire 2019).
    ///
    /// # Panics
    /// If `limit` is zero: there is nothing to choose from.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "below(0) has no answer");
        let mut product = u128::from(self.next()) * u128::from(limit);
        if (product as u64) < limit {
            let threshold = limit.wrapping_neg() % limit;
            while (product as u64) < threshold {
                product = u128::from(self.next()) * u128::from(limit);
            }
        }
        (product >> 64) as u64
    }

    /// Uniform in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "range({low}, {high}) is empty");
        match (high - low).checked_add(1) {
            Some(width) => low + self.below(width),
            None => self.next(),
        }
    }

    /// Uniform in `low..=high`.
    ///
    /// # Panics
    /// If `low > high`.
    pub fn span(&mut self, low: Span, high: Span) -> Span {
        Span::from_nanos(self.range(low.as_nanos(), high.as_nanos()))
    }

    /// True with probability `ratio`.
    pub fn chance(&mut self, ratio: Ratio) -> bool {
        self.below(u64::from(ratio.denominator)) < u64::from(ratio.numerator)
    }

    /// One of `items`, uniformly; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }

    /// Puts `items` into a uniformly random order (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// Exponentially distributed with this mean, by inversion; computed with a software logarithm, so that every platform
    /// draws the same.
    pub fn exponential(&mut self, mean: Span) -> Span {
        // 53 bits, shifted by one half so that the logarithm is finite.
        let uniform = ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        Span::from_nanos((-libm::log(uniform) * mean.as_nanos() as f64) as u64)
    }
}

impl Hash for Random {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The generator doesn't show its state; its next outputs tell states apart as well.
        let mut ahead = self.clone();
        for _ in 0..2 {
            state.write_u64(ahead.next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn stream() -> Random {
        Random::new(7, "golden")
    }

    #[test]
    fn values_never_change_between_versions() {
        let mut random = stream();
        let drawn: Vec<u64> = (0..4).map(|_| random.next()).collect();
        assert_eq!(drawn, GOLDEN_NEXT);
        let mut random = stream();
        let drawn: Vec<u64> = (0..8).map(|_| random.below(10)).collect();
        assert_eq!(drawn, GOLDEN_BELOW);
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        stream().shuffle(&mut items);
        assert_eq!(items, GOLDEN_SHUFFLE);
        assert_eq!(stream().exponential(Span::from_secs(1)).as_nanos(), GOLDEN_EXPONENTIAL);
        assert_eq!(Random::numbered(7, "golden", 3).next(), GOLDEN_NUMBERED);
    }

    const GOLDEN_NEXT: [u64; 4] =
        [15_370_413_922_065_796_004, 1_678_915_181_989_234_426, 4_390_813_611_987_803_742, 3_229_177_133_716_592_779];
    const GOLDEN_BELOW: [u64; 8] = [8, 0, 2, 1, 8, 1, 3, 3];
    const GOLDEN_SHUFFLE: [u64; 8] = [5, 2, 4, 3, 7, 1, 0, 6];
    const GOLDEN_EXPONENTIAL: u64 = 182_443_394;
    const GOLDEN_NUMBERED: u64 = 3_236_069_423_606_604_744;

    #[test]
    fn labels_and_numbers_make_different_streams() {
        let mut firsts: Vec<u64> = ["a", "b", "c"].iter().map(|label| Random::new(1, label).next()).collect();
        firsts.extend((0..3).map(|index| Random::numbered(1, "a", index).next()));
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 6);
    }

    #[test]
    fn draws_stay_in_their_ranges_and_reach_the_ends() {
        let mut random = stream();
        let mut seen = [0u32; 3];
        for _ in 0..3_000 {
            seen[random.range(5, 7) as usize - 5] += 1;
        }
        assert!(seen.iter().all(|&count| (900..1_100).contains(&count)), "{seen:?}");
        assert_eq!(random.range(9, 9), 9);
        random.range(0, u64::MAX);
    }

    #[test]
    fn chances_are_exact_at_both_ends() {
        let mut random = stream();
        let always = Ratio::new(1, 1).expect("one");
        assert!((0..1_000).all(|_| random.chance(always) && !random.chance(Ratio::ZERO)));
        let third = Ratio::new(1, 3).expect("a third");
        let hits = (0..3_000).filter(|_| random.chance(third)).count();
        assert!((900..1_100).contains(&hits), "{hits}");
        assert!(Ratio::new(2, 1).is_none() && Ratio::new(0, 0).is_none());
    }

    #[test]
    fn exponential_draws_have_their_mean() {
        let mut random = stream();
        let sum: u64 = (0..20_000).map(|_| random.exponential(Span::from_millis(10)).as_nanos()).sum();
        let mean = sum / 20_000;
        assert!((9_700_000..10_300_000).contains(&mean), "{mean}");
    }
}
