//! The settings that adapt, and how a change of them is told.

use crate::{Blame, BreakerKnobs, Ladder, Strategy};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};
use squall_machine::{Ratio, Span};

/// How often something succeeded and failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Successes.
    pub successes: u64,
    /// Failures.
    pub failures: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub const fn results(&self) -> u64 {
        self.successes + self.failures
    }

    pub(super) fn count(&mut self, success: bool) {
        *(if success { &mut self.successes } else { &mut self.failures }) += 1;
    }

    pub(super) fn halve(&mut self) {
        *self = Self { successes: self.successes / 2, failures: self.failures / 2 };
    }

    pub(super) fn is_below(&self, share: Ratio) -> bool {
        self.scaled(share) < self.scale(share)
    }

    pub(super) fn is_above(&self, share: Ratio) -> bool {
        self.scaled(share) > self.scale(share)
    }

    fn scaled(&self, share: Ratio) -> u128 {
        u128::from(self.successes) * u128::from(share.denominator())
    }

    fn scale(&self, share: Ratio) -> u128 {
        u128::from(self.results()) * u128::from(share.numerator())
    }

    /// Whether its share of successes is higher than the other one's by more than `margin`.
    pub(super) fn is_better(&self, other: &Self, margin: Ratio) -> bool {
        // s/n > s'/n' + a/b, times all denominators.
        let (ours, theirs) = (u128::from(self.results()), u128::from(other.results()));
        let denominator = u128::from(margin.denominator());
        u128::from(self.successes) * theirs * denominator
            > u128::from(other.successes) * ours * denominator + u128::from(margin.numerator()) * ours * theirs
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} succeeded", self.successes, self.results())
    }
}

/// What adapts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptable {
    /// How many failures in a row open a breaker of this kind.
    Threshold(Blame),
    /// How long a breaker of this kind is open the first time.
    FirstOpen(Blame),
    /// The order of the steps of this ladder.
    Order(Ladder),
}

/// A value of a setting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Of a threshold.
    Count(u32),
    /// Of a time.
    Length(Span),
    /// Of a ladder.
    Order(Vec<Strategy>),
}

/// Why a setting changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdaptationReason {
    /// Too few succeeded.
    ResultsPoor(Tally),
    /// Nearly all succeeded.
    ResultsGood(Tally),
    /// A step did clearly better than the one before it.
    DoesBetter {
        /// The step that came first until now.
        earlier: Tally,
        /// The step after it.
        later: Tally,
    },
    /// The process started again with a configuration under which the adapted value can't be: it is as configured again.
    Reconfigured,
}

impl fmt::Display for AdaptationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResultsPoor(tally) => write!(f, "poor results: {tally}"),
            Self::ResultsGood(tally) => write!(f, "good results: {tally}"),
            Self::DoesBetter { earlier, later } => {
                write!(f, "the later step does better: {later}, {earlier} of the earlier one")
            }
            Self::Reconfigured => f.write_str("as configured again"),
        }
    }
}

/// One change of a setting.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Adapted {
    /// What changed.
    pub what: Adaptable,
    /// What it was.
    pub from: Setting,
    /// What it is.
    pub to: Setting,
    /// Why.
    pub reason: AdaptationReason,
}

/// The settings that adapt, as they are in force.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Settings {
    worker: BreakerKnobs,
    class: BreakerKnobs,
    task_type: BreakerKnobs,
    /// Only of ladders whose order isn't the specification's.
    orders: BTreeMap<Ladder, Arc<[Strategy]>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(BreakerKnobs::WORKER, BreakerKnobs::CLASS, BreakerKnobs::TYPE)
    }
}

impl Settings {
    /// These breakers, and ladders in the order of the specification.
    #[must_use]
    pub const fn new(worker: BreakerKnobs, class: BreakerKnobs, task_type: BreakerKnobs) -> Self {
        Self { worker, class, task_type, orders: BTreeMap::new() }
    }

    /// The settings of breakers of this kind.
    #[must_use]
    pub const fn breaker(&self, kind: Blame) -> &BreakerKnobs {
        match kind {
            Blame::Worker => &self.worker,
            Blame::Class => &self.class,
            Blame::Type => &self.task_type,
        }
    }

    /// The same order, to be kept, unless it is the specification's.
    #[must_use]
    pub fn changed_order(&self, ladder: Ladder) -> Option<Arc<[Strategy]>> {
        self.orders.get(&ladder).cloned()
    }

    fn breaker_mut(&mut self, kind: Blame) -> &mut BreakerKnobs {
        match kind {
            Blame::Worker => &mut self.worker,
            Blame::Class => &mut self.class,
            Blame::Type => &mut self.task_type,
        }
    }

    /// The steps of a ladder, in order. A task keeps those that were in force at its first failure.
    #[must_use]
    pub fn order(&self, ladder: Ladder) -> &[Strategy] {
        self.orders.get(&ladder).map_or(ladder.steps(), |order| order)
    }

    /// What a setting is.
    #[must_use]
    pub fn value(&self, what: Adaptable) -> Setting {
        match what {
            Adaptable::Threshold(kind) => Setting::Count(self.breaker(kind).threshold),
            Adaptable::FirstOpen(kind) => Setting::Length(self.breaker(kind).first_open),
            Adaptable::Order(ladder) => Setting::Order(self.order(ladder).to_vec()),
        }
    }

    /// Changes what `adapted` tells.
    ///
    /// # Panics
    /// If the setting isn't what it is told to have been: a change was lost.
    pub fn apply(&mut self, adapted: &Adapted) {
        assert_eq!(self.value(adapted.what), adapted.from, "{:?} was something else", adapted.what);
        self.set(adapted.what, &adapted.to);
    }

    /// # Panics
    /// If the value is of another kind of settings.
    pub(super) fn set(&mut self, what: Adaptable, value: &Setting) {
        match (what, value) {
            (Adaptable::Threshold(kind), Setting::Count(count)) => self.breaker_mut(kind).threshold = *count,
            (Adaptable::FirstOpen(kind), Setting::Length(length)) => self.breaker_mut(kind).first_open = *length,
            (Adaptable::Order(ladder), Setting::Order(order)) if order == ladder.steps() => {
                self.orders.remove(&ladder);
            }
            (Adaptable::Order(ladder), Setting::Order(order)) => {
                self.orders.insert(ladder, Arc::from(order.as_slice()));
            }
            (Adaptable::Threshold(_) | Adaptable::FirstOpen(_) | Adaptable::Order(_), _) => {
                panic!("{value:?} is no value of {what:?}")
            }
        }
    }
}
