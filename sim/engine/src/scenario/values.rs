//! Values as people write them in scenario files: durations, ranges of them, shares, seeds.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use squall_machine::{Ratio, Span};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A length of time with its unit: `"10s"`, `"1.5s"`, `"1m30s"`, `"200us"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Duration(pub Span);

/// A length of time, or a range from which each run draws one: `"10s"`, `"10s..12s"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Durations {
    /// The shortest.
    pub low: Span,
    /// The longest.
    pub high: Span,
}

/// A length of time with a sign, in nanoseconds: `"31s"`, `"-1h"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shift(pub i64);

/// A share: `"30%"`, `"0.5%"`, `"3/10"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Share {
    numerator: u32,
    denominator: u32,
}

/// A seed: a number, or text when it is too large for one or reads better in hexadecimal, `"0x1f"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seed(pub u64);

/// An amount of memory: `"512MiB"`, `"2GiB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Memory(pub u64);

impl Share {
    /// The share as a fraction.
    #[must_use]
    pub fn ratio(self) -> Ratio {
        Ratio::new(self.numerator, self.denominator).unwrap_or(Ratio::ZERO)
    }
}

/// The units, each with its nanoseconds. The standard text form of a [`Span`] uses the first four.
const UNITS: [(&str, u64); 12] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("µs", 1_000),
    ("sec", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Nanoseconds of a text such as `1m30.5s`. Exact: what a nanosecond can't hold is refused, not rounded.
fn nanos(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("this is empty; a duration looks like \"10s\" or \"1m30s\"".to_owned());
    }
    if rest.starts_with('-') {
        return Err("a duration can't be negative here".to_owned());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        if number.is_empty() {
            return Err(format!("`{text}` is no duration; it looks like \"10s\" or \"1m30s\""));
        }
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanos = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos).ok_or_else(|| {
            if unit.is_empty() {
                format!("`{text}` needs a unit: \"{number}s\", \"{number}ms\", ..")
            } else {
                format!("`{unit}` is no unit of time; there are ns, us, ms, s, m, h, d, w")
            }
        })?;
        let part = scaled(number, nanos).ok_or_else(|| {
            format!("`{text}` can't be held in nanoseconds (0 to about 584 years, nothing below 1ns)")
        })?;
        total = total.checked_add(part).ok_or_else(|| format!("`{text}` is longer than 584 years"))?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// A decimal number times a power of ten or a unit, if that is a whole number.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 18 {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit);
    let tenths = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) };
    if fraction % tenths != 0 {
        return None;
    }
    u64::try_from(whole.checked_add(fraction / tenths)?).ok()
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(Span::from_nanos(nanos(text)?)))
    }
}

impl FromStr for Durations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (nanos(low)?, nanos(high.strip_prefix('=').unwrap_or(high))?),
            None => (nanos(text)?, nanos(text)?),
        };
        if low > high {
            return Err(format!("the range `{text}` is empty: its end comes before its start"));
        }
        Ok(Self { low: Span::from_nanos(low), high: Span::from_nanos(high) })
    }
}

impl FromStr for Shift {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let length = nanos(text.strip_prefix(['-', '+']).unwrap_or(text))?;
        let length = i64::try_from(length).map_err(|_| format!("`{text}` is more than 292 years"))?;
        Ok(Self(if text.starts_with('-') { -length } else { length }))
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share; it looks like \"30%\" or \"3/10\", from 0 to 1");
        let trimmed = text.trim();
        let (numerator, denominator) = if let Some(percent) = trimmed.strip_suffix('%') {
            let percent = percent.trim_end();
            let decimals = percent.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let scale = u32::try_from(decimals).ok().filter(|&d| d <= 7).ok_or_else(wrong)?;
            let scale = 10u64.pow(scale);
            (scaled(percent, scale).ok_or_else(wrong)?, 100 * scale)
        } else {
            let (numerator, denominator) = trimmed.split_once('/').ok_or_else(wrong)?;
            let whole = |part: &str| part.trim().parse::<u64>().map_err(|_| wrong());
            (whole(numerator)?, whole(denominator)?)
        };
        let narrow = |part: u64| u32::try_from(part).map_err(|_| wrong());
        let (numerator, denominator) = (narrow(numerator)?, narrow(denominator)?);
        Ratio::new(numerator, denominator).ok_or_else(wrong)?;
        Ok(Self { numerator, denominator })
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.trim().replace('_', "");
        match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => plain.parse(),
        }
        .map(Self)
        .map_err(|_| format!("`{text}` is no seed: a whole number from 0 to 2^64 - 1, or hexadecimal after 0x"))
    }
}

/// The units of memory, the largest first.
const MEMORY_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = MEMORY_UNITS.iter().find(|(name, _)| *name == unit.trim());
        let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, (_, unit))| number.checked_mul(*unit));
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no amount of memory; it looks like \"512MiB\" (B, KiB, MiB, GiB)"))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = MEMORY_UNITS.iter().find(whole).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Durations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}..{}", self.low, self.high) }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", Span::from_nanos(self.0.unsigned_abs()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            100 => write!(f, "{}%", self.numerator),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a value from text, and says what is wrong where a bare number stands.
macro_rules! text_value {
    ($type:ident, $name:literal, $what:literal, $example:literal, $number:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " as text, such as \"", $example, "\""))
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_f64<E: Error>(self, number: f64) -> Result<$type, E> {
                        Err(E::custom(format!(concat!($what, " is text, such as \"", $example, "\", not the number {}"), number)))
                    }
                    fn visit_i64<E: Error>(self, number: i64) -> Result<$type, E> {
                        let number_value: fn(i128) -> Result<$type, String> = $number;
                        number_value(i128::from(number)).map_err(E::custom)
                    }
                    fn visit_u64<E: Error>(self, number: u64) -> Result<$type, E> {
                        let number_value: fn(i128) -> Result<$type, String> = $number;
                        number_value(i128::from(number)).map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": concat!($what, ", such as \"", $example, "\""), "examples": [$example] })
            }
        }
    };
}

text_value!(Duration, "Duration", "a duration", "10s", |number| Err(format!(
    "a duration needs a unit: \"{number}s\", \"{number}ms\", .."
)));
text_value!(Durations, "Durations", "a duration or a range of them", "10s..12s", |number| Err(format!(
    "a duration needs a unit: \"{number}s\", \"{number}ms\", .."
)));
text_value!(Shift, "Shift", "a duration with a sign", "-1h", |number| Err(format!(
    "a duration needs a unit: \"{number}s\", \"{number}ms\", .."
)));
text_value!(Share, "Share", "a share", "30%", |number| Err(format!(
    "a share is text: \"{number}%\", or a ratio such as \"{number}/100\""
)));
text_value!(Memory, "Memory", "an amount of memory", "512MiB", |number| Err(format!(
    "an amount of memory is text with a unit: \"{number}MiB\", \"{number}GiB\""
)));
text_value!(Seed, "Seed", "a seed", "0x7", |number| u64::try_from(number)
    .map(Seed)
    .map_err(|_| "a seed can't be negative".to_owned()));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, nanos) in [
            ("10s", 10_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("1h 2m", 3_720_000_000_000),
            ("0ns", 0),
            ("1.000000001s", 1_000_000_001),
            ("7 us", 7_000),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Duration(Span::from_nanos(nanos))), "{text}");
        }
        for text in [
            "",
            "10",
            "-3s",
            "s",
            "1.s",
            ".5s",
            "0.5ns",
            "18446744073709551615s1000ms",
            "10 parsecs",
            "1s,",
            "1e3s",
            "١s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["7ns", "1.5us", "999.999999ms", "90.5s"] {
            assert_eq!(text.parse::<Duration>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
        for text in ["10s", "10s..12.5s"] {
            assert_eq!(text.parse::<Durations>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("-3600s".parse::<Shift>().map(|d| d.to_string()), Ok("-3600s".to_owned()));
        for text in ["30%", "3/10", "0%", "100%"] {
            assert_eq!(text.parse::<Share>().map(|d| d.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn amounts_of_memory_have_units() {
        for (text, bytes) in [("0B", 0), ("1KiB", 1_024), ("512MiB", 512 << 20), ("3 GiB", 3 << 30)] {
            assert_eq!(text.parse(), Ok(Memory(bytes)), "{text}");
        }
        assert_eq!([Memory(1_536), Memory(2 << 30), Memory(7)].map(|m| m.to_string()), ["1536B", "2GiB", "7B"]);
        for text in ["", "512", "MiB", "-1MiB", "1.5GiB", "1MB", "99999999999GiB"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_shares_and_seeds_have_limits() {
        assert!("12s..10s".parse::<Durations>().is_err());
        assert_eq!("0.5%".parse::<Share>().map(Share::ratio).ok(), Ratio::new(5, 1_000));
        for text in ["101%", "3/2", "1/0", "30", "-1%", "%", "99999999999/99999999999", "0.000000001%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!("0xffff_ffff_ffff_ffff".parse(), Ok(Seed(u64::MAX)));
        for text in ["", "0x", "-1", "1.5", "0x1ffffffffffffffff"] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
        assert!("-300y".parse::<Shift>().is_err() && "-2562048h".parse::<Shift>().is_err());
    }
}
