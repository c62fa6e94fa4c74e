//! What came of a run.

use crate::{DropReason, Violation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A 128-bit rolling hash over the whole history: equal for equal scenario, seed and build.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a run showed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    #[default]
    Pass,
    /// A property was violated.
    Violated,
    /// A scripted fault had no effect, so the run shows nothing.
    Vacuous,
    /// A budget ran out before the end.
    Inconclusive,
}

impl Verdict {
    /// The verdict as a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Violated => "violated",
            Self::Vacuous => "vacuous",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What came of one run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The verdict, before any `[expect]` of the file is applied.
    pub verdict: Verdict,
    /// Hash over the history.
    pub fingerprint: Fingerprint,
    /// What was violated, in the order of discovery.
    pub violations: Vec<Violation>,
    /// How often each rare state was reached.
    pub probes: BTreeMap<&'static str, u64>,
    /// How often each fault of the plan had an effect.
    pub strikes: Vec<u64>,
    /// What became of the messages.
    pub messages: MessageCounts,
    /// How many entries the history has.
    pub entries: u64,
    /// How many steps the machines took.
    pub steps: u64,
    /// How much simulated time passed, in nanoseconds.
    pub sim_ns: u64,
    /// What got done, where the scenario file asks for it and the run passed up to there.
    pub goodput: Option<Goodput>,
    /// What the processes that ran at the end had done, by the name of their node.
    pub accounts: BTreeMap<String, serde_json::Value>,
    /// Why the run is inconclusive or vacuous, for people.
    pub remark: Option<String>,
}

/// How much got done: pieces of work up to the horizon, as `[expect.goodput]` of the scenario file counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Goodput {
    /// With all faults.
    pub done: u64,
    /// By the same seed without faults and hazards.
    pub calm: u64,
}

impl fmt::Display for Goodput {
    /// Both figures, and the share in per cent with one decimal, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, calm } = self;
        let tenths = (u128::from(*done) * 1_000).checked_div(u128::from(*calm)).unwrap_or(0);
        write!(f, "{}.{} %: {done} of {calm} without faults", tenths / 10, tenths % 10)
    }
}

/// What became of the messages of a run. They add up: `sent + duplicated = delivered + dropped + in_flight`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MessageCounts {
    /// How many the machines sent.
    pub sent: u64,
    /// How many more copies the network made.
    pub duplicated: u64,
    /// How many were handed to a machine.
    pub delivered: u64,
    /// How many were dropped, by reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// How many were still on their way or waiting at the end.
    pub in_flight: u64,
}

impl MessageCounts {
    /// Whether every message is accounted for.
    #[must_use]
    pub fn add_up(&self) -> bool {
        self.sent + self.duplicated == self.delivered + self.dropped.iter().sum::<u64>() + self.in_flight
    }
}
