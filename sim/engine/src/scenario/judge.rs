//! What a run means for its scenario, and what a sweep means.

use crate::scenario::expect::{EXPECT, STALE};
use crate::{Outcome, Scenario, System, Verdict};
use serde::Serialize;

/// What a run, or a sweep of runs, shows about its scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything held, or what was to be violated was.
    Pass,
    /// A run of a scenario that expects a violation showed none. Another seed has to.
    NotSeen,
    /// The user interrupted.
    Interrupted,
    /// A budget ran out before the end: never counted as a pass.
    Inconclusive,
    /// A run no longer reaches the marks of the bug that its file reproduces.
    Stale,
    /// A fault had no effect, so nothing is shown.
    Vacuous,
    /// A property was violated that shouldn't be, or the one that should be wasn't.
    Violated,
    /// The same seed gave two histories.
    NotDeterministic,
    /// The engine itself failed.
    Bug,
}

impl Status {
    /// The status as a word of at most twelve letters, for the first column.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::NotSeen => "NOT SEEN",
            Self::Interrupted => "INTERRUPTED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Stale => "STALE",
            Self::Vacuous => "VACUOUS",
            Self::Violated => "FAIL",
            Self::NotDeterministic => "NOT THE SAME",
            Self::Bug => "BUG",
        }
    }

    /// Whether a run with this status is worth keeping, replaying and reading.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Stale | Self::Vacuous | Self::Violated | Self::NotDeterministic | Self::Bug)
    }

    /// The exit code of a command whose worst run this is.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::NotSeen | Self::Stale | Self::Vacuous | Self::Violated => 100,
            Self::Inconclusive => 102,
            Self::NotDeterministic => 103,
            Self::Interrupted => 130,
            Self::Bug => 70,
        }
    }
}

impl<S: System> Scenario<S> {
    /// What a run shows about this scenario.
    #[must_use]
    pub fn judge(&self, outcome: &Outcome) -> Status {
        // A violation ends its run early, so whatever was still to be seen can't count beside it.
        let mut real = outcome.violations.iter().map(|violation| violation.property).filter(|id| !is_expectation(id));
        let first = real.next().or_else(|| outcome.violations.first().map(|violation| violation.property));
        match (outcome.verdict, self.violates) {
            (Verdict::Pass, None) => Status::Pass,
            (Verdict::Pass, Some(_)) => Status::NotSeen,
            (Verdict::Vacuous, _) => Status::Vacuous,
            (Verdict::Inconclusive, _) => Status::Inconclusive,
            (Verdict::Violated, None) if first == Some(STALE) => Status::Stale,
            (Verdict::Violated, None) => Status::Violated,
            (Verdict::Violated, Some(wanted)) => {
                if first == Some(wanted) && real.all(|id| id == wanted) {
                    Status::Pass
                } else {
                    Status::Violated
                }
            }
        }
    }
}

fn is_expectation(id: &&str) -> bool {
    [EXPECT, STALE].contains(id)
}
