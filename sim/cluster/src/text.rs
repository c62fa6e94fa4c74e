//! How lengths of time and shares are written in a scenario file.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use squall_machine::{Random, Ratio, Span};
use std::borrow::Cow;
use std::str::FromStr;

/// A length of time as people write it: `"7s"`, `"1m 30s"`, `"999ms 999us"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length(pub Span);

/// A range of lengths, both ends included: `"100ms..2s"`; one length alone is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LengthRange {
    /// The shortest.
    pub low: Span,
    /// The longest.
    pub high: Span,
}

/// A share: `"5%"`, `"0.25%"`, or a fraction `"1/3"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share(pub Ratio);

impl LengthRange {
    /// The range from `low` to `high` milliseconds.
    #[must_use]
    pub const fn millis(low: u64, high: u64) -> Self {
        Self { low: Span::from_millis(low), high: Span::from_millis(high) }
    }

    /// A length out of the range, each alike.
    pub fn draw(self, random: &mut Random) -> Span {
        random.span(self.low, self.high)
    }
}

fn length(text: &str) -> Result<Span, String> {
    let duration = humantime::parse_duration(text.trim()).map_err(|problem| {
        format!("{text:?} is no length of time ({problem}); write it like \"1500ms\" or \"1m 30s\"")
    })?;
    u64::try_from(duration.as_nanos()).map(Span::from_nanos).map_err(|_| format!("{text:?} is longer than 584 years"))
}

fn length_range(text: &str) -> Result<LengthRange, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let range = LengthRange { low: length(low)?, high: length(high)? };
    if range.low > range.high {
        return Err(format!("{text:?} is empty: the first length has to be the shorter one"));
    }
    Ok(range)
}

fn share(text: &str) -> Result<Share, String> {
    let malformed = || format!("{text:?} is no share from 0% to 100%; write it like \"5%\", \"0.25%\" or \"1/3\"");
    let ratio = if let Some((numerator, denominator)) = text.split_once('/') {
        let number = |part: &str| part.trim().parse::<u32>().ok();
        number(numerator)
            .zip(number(denominator))
            .and_then(|(numerator, denominator)| Ratio::new(numerator, denominator))
    } else {
        let percent = text.trim().strip_suffix('%').ok_or_else(malformed)?.trim();
        let (whole, rest) = percent.split_once('.').unwrap_or((percent, ""));
        let digits = whole.chars().chain(rest.chars());
        if rest.len() > 4 || whole.is_empty() || digits.clone().any(|digit| !digit.is_ascii_digit()) {
            return Err(malformed());
        }
        let millionths = format!("{whole}{rest:0<4}").parse::<u32>().ok();
        millionths.and_then(|millionths| Ratio::new(millionths, 1_000_000))
    };
    ratio.map(Share).ok_or_else(malformed)
}

macro_rules! written_as_text {
    ($type:ident, $parse:expr, $description:literal) => {
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                $parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}

written_as_text!(Length, |text: &str| length(text).map(Length), "A length of time, such as \"7s\" or \"1m 30s\".");
written_as_text!(LengthRange, length_range, "A length of time or a range of them, such as \"100ms..2s\".");
written_as_text!(Share, share, "A share, such as \"5%\", \"0.25%\" or \"1/3\".");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(length("7s"), Ok(Span::from_secs(7)));
        assert_eq!(length("1s 1ns"), Ok(Span::from_nanos(1_000_000_001)));
        assert_eq!(length_range("100ms..2s"), Ok(LengthRange::millis(100, 2_000)));
        assert_eq!(length_range("5ms"), Ok(LengthRange::millis(5, 5)));
        for wrong in ["7", "soon", "2s..1s", "..", "1s.."] {
            assert!(length_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares() {
        for (text, numerator, denominator) in
            [("5%", 50_000, 1_000_000), ("0.25%", 2_500, 1_000_000), ("100%", 1_000_000, 1_000_000), ("1/3", 1, 3)]
        {
            assert_eq!(share(text).map(|share| Some(share.0)), Ok(Ratio::new(numerator, denominator)), "{text}");
        }
        for wrong in ["5", "101%", "-1%", "0.00001%", "%", "2/1", "1/0", ".5%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
