//! Time as machines see it: integers, nanoseconds, no wall clock in any decision.

use core::fmt;
use core::ops::{Add, AddAssign, Div, Mul};
use serde::{Deserialize, Serialize};

/// A moment on one process's own monotonic clock, in nanoseconds since an origin that means nothing.
///
/// Comparable only with other moments of the same life of the same process; never durable, never on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Time(u64);

/// A length of time, in nanoseconds: 0 to about 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Span(u64);

/// What a calendar clock says, in nanoseconds since 1970. For display only: it steps, it goes back, it lies, and no
/// decision may depend on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Wall(pub i64);

impl Time {
    /// The earliest moment there is.
    pub const ZERO: Self = Self(0);
    /// The latest moment there is; as a deadline it means never.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it isn't after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Span> for Time {
    type Output = Self;

    /// Ends at [`Time::MAX`], so that adding an endless span means never.
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than anything.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `micros` microseconds; ends at [`Span::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// `millis` milliseconds; ends at [`Span::MAX`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// `secs` seconds; ends at [`Span::MAX`].
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// The length in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The length in whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span without `other`; zero if `other` is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Span {
    type Output = Self;

    fn mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Div<u64> for Span {
    type Output = Self;

    /// # Panics
    /// If `divisor` is zero.
    fn div(self, divisor: u64) -> Self {
        Self(self.0 / divisor)
    }
}

impl fmt::Display for Span {
    /// The largest unit that needs at most nine decimals: `1.5s`, `100ms`, `5s`, `999.999999ms`, `7ns`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str, usize); 3] = [(1_000_000_000, "s", 9), (1_000_000, "ms", 6), (1_000, "us", 3)];
        for (nanos, unit, digits) in UNITS {
            if self.0 >= nanos {
                let (whole, mut rest, mut digits) = (self.0 / nanos, self.0 % nanos, digits);
                if rest == 0 {
                    return write!(f, "{whole}{unit}");
                }
                while rest % 10 == 0 {
                    rest /= 10;
                    digits -= 1;
                }
                return write!(f, "{whole}.{rest:0digits$}{unit}");
            }
        }
        write!(f, "{}ns", self.0)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn spans_read_as_people_write_them() {
        for (nanos, text) in [
            (0, "0ns"),
            (7, "7ns"),
            (1_500, "1.5us"),
            (100_000_000, "100ms"),
            (999_999_999, "999.999999ms"),
            (5_000_000_000, "5s"),
            (1_000_000_001, "1.000000001s"),
            (90_500_000_000, "90.5s"),
        ] {
            assert_eq!(Span::from_nanos(nanos).to_string(), text);
        }
    }

    #[test]
    fn time_ends_at_its_limits_instead_of_wrapping() {
        assert_eq!(Time::from_nanos(5) + Span::MAX, Time::MAX);
        assert_eq!(Time::from_nanos(5).since(Time::from_nanos(9)), Span::ZERO);
        assert_eq!(Span::from_secs(u64::MAX), Span::MAX);
    }
}
