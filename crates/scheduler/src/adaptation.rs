//! Self-healing: settings follow what is observed, in small steps, inside bounds, and each step tells its reason.
//!
//! Three things adapt. The *threshold* of a kind of breakers follows the results of attempts while those breakers are closed:
//! where most succeed, failures are noise, and it takes more of them in a row; where many fail, fewer. It moves by one at a
//! time. The *first time to be open* follows the results of probes: where they fail, it was too short and becomes a quarter
//! longer; where they succeed, a fifth shorter. The *order of a ladder* follows the results of its steps: one that does clearly
//! better than the one before it changes places with it.
//!
//! What is observed is counted for a whole kind of breakers, or a ladder, and judged once there is a sample of it; then the
//! count begins anew. Counts are not durable, changes are: a restart goes on with them, and it takes a sample to change them.

mod settings;

pub use settings::{Adaptable, AdaptationReason, Adapted, Setting, Settings, Tally};

use crate::{Blame, BreakerKnobs, Ladder, Strategy};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use squall_machine::{Ratio, Span};

/// Between what the settings of one kind of breakers may move, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct BreakerBounds {
    /// The lowest threshold.
    pub threshold_min: u32,
    /// The highest threshold.
    pub threshold_max: u32,
    /// The shortest first time to be open.
    pub first_open_min: Span,
    /// The longest first time to be open.
    pub first_open_max: Span,
}

impl BreakerBounds {
    /// From half of what is set, rounded up, to twice as much; times at most up to the longest time to be open.
    #[must_use]
    pub fn around(knobs: &BreakerKnobs) -> Self {
        Self {
            threshold_min: knobs.threshold.div_ceil(2),
            threshold_max: knobs.threshold.saturating_mul(2),
            first_open_min: Span::from_millis(knobs.first_open.as_millis().div_ceil(2)),
            first_open_max: (knobs.first_open * 2).min(knobs.max_open),
        }
    }

    /// Whether these settings lie inside.
    #[must_use]
    pub fn contain(&self, knobs: &BreakerKnobs) -> bool {
        (self.threshold_min..=self.threshold_max).contains(&knobs.threshold)
            && (self.first_open_min..=self.first_open_max).contains(&knobs.first_open)
            && self.first_open_max <= knobs.max_open
    }
}

/// How settings adapt, where they do.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AdaptationKnobs {
    /// How many results it takes to judge; at least 1.
    pub sample: u32,
    /// Below this share of successes results are poor.
    pub poor: Ratio,
    /// Above this share of successes results are good.
    pub good: Ratio,
    /// By more than so much a later step's share of successes must be higher than that of the step before it.
    pub margin: Ratio,
    /// Between what the settings of a kind of breakers may move; of a kind that isn't here, [around](BreakerBounds::around)
    /// what is configured.
    pub bounds: BTreeMap<Blame, BreakerBounds>,
}

const fn share(numerator: u32, denominator: u32) -> Ratio {
    match Ratio::new(numerator, denominator) {
        Some(ratio) => ratio,
        None => panic!("a share is at most one"),
    }
}

impl Default for AdaptationKnobs {
    /// Judging by 50 results, poor below 50 %, good above 90 %, 10 % better to change places, bounds around what is configured.
    fn default() -> Self {
        Self { sample: 50, poor: share(1, 2), good: share(9, 10), margin: share(1, 10), bounds: BTreeMap::new() }
    }
}

impl AdaptationKnobs {
    /// Between what the settings of this kind of breakers may move.
    #[must_use]
    pub fn bounds(&self, kind: Blame, configured: &Settings) -> BreakerBounds {
        self.bounds.get(&kind).copied().unwrap_or_else(|| BreakerBounds::around(configured.breaker(kind)))
    }

    /// Checks each setting, and that what adapts begins inside its bounds.
    ///
    /// # Errors
    /// The name of the first one that can't be, and what would be right.
    pub fn validate(&self, configured: &Settings) -> Result<(), (&'static str, &'static str)> {
        if self.sample == 0 {
            return Err(("sample", "must be at least 1"));
        }
        let poor = u64::from(self.poor.numerator()) * u64::from(self.good.denominator());
        if poor > u64::from(self.good.numerator()) * u64::from(self.poor.denominator()) {
            return Err(("poor", "must not be above good"));
        }
        for kind in Blame::ALL.iter().copied() {
            let bounds = self.bounds(kind, configured);
            if bounds.threshold_min == 0 || bounds.first_open_min.as_millis() == 0 {
                return Err(("bounds", "must be at least 1, and 1ms"));
            }
            if !bounds.contain(configured.breaker(kind)) {
                return Err(("bounds", "must contain what is configured, and end at max_open"));
            }
        }
        Ok(())
    }
}

/// What was observed, and the settings that follow it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Adaptation {
    knobs: AdaptationKnobs,
    /// Of every kind of breakers.
    bounds: BTreeMap<Blame, BreakerBounds>,
    settings: Settings,
    /// Since the last judgement, of closed breakers.
    results: BTreeMap<Blame, Tally>,
    /// Since the last judgement, of half-open breakers.
    probes: BTreeMap<Blame, Tally>,
    /// Of the steps of each ladder. Older results weigh less: at twice a sample all counts are halved.
    steps: BTreeMap<(Ladder, Strategy), Tally>,
}

impl Adaptation {
    /// Nothing was observed yet, and nothing has changed.
    ///
    /// # Panics
    /// If the knobs [aren't valid](AdaptationKnobs::validate).
    #[must_use]
    pub fn new(knobs: AdaptationKnobs, configured: Settings) -> Self {
        assert_eq!(knobs.validate(&configured), Ok(()), "settings begin inside their bounds");
        let bounds = Blame::ALL.iter().map(|&kind| (kind, knobs.bounds(kind, &configured))).collect();
        let (results, probes, steps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { knobs, bounds, settings: configured, results, probes, steps }
    }

    /// Takes over a setting that an earlier life adapted; false if it isn't inside the bounds of this one.
    pub fn recall(&mut self, what: Adaptable, value: &Setting) -> bool {
        let lawful = match (what, value) {
            (Adaptable::Threshold(kind), Setting::Count(count)) => {
                let bounds = self.bounds[&kind];
                (bounds.threshold_min..=bounds.threshold_max).contains(count)
            }
            (Adaptable::FirstOpen(kind), Setting::Length(length)) => {
                let bounds = self.bounds[&kind];
                (bounds.first_open_min..=bounds.first_open_max).contains(length)
            }
            (Adaptable::Order(ladder), Setting::Order(order)) => sorted(order) == sorted(ladder.steps()),
            (Adaptable::Threshold(_) | Adaptable::FirstOpen(_) | Adaptable::Order(_), _) => false,
        };
        if lawful {
            self.settings.set(what, value);
            self.assert_invariants();
        }
        lawful
    }

    /// What is in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An attempt that a closed breaker of this kind let pass succeeded, or failed and this kind is to blame.
    pub fn on_result(&mut self, kind: Blame, success: bool) -> Option<Adapted> {
        let (success_share, tally) = self.judged(|adaptation| &mut adaptation.results, kind, success)?;
        let (bounds, from) = (self.bounds[&kind], self.settings.breaker(kind).threshold);
        let to = match success_share {
            Share::Poor => (from - 1).max(bounds.threshold_min),
            Share::Middling => from,
            Share::Good => from.saturating_add(1).min(bounds.threshold_max),
        };
        self.adapt(Adaptable::Threshold(kind), Setting::Count(from), Setting::Count(to), success_share.reason(tally)?)
    }

    /// A probe of a half-open breaker of this kind succeeded, or failed and this kind is to blame.
    pub fn on_probe(&mut self, kind: Blame, success: bool) -> Option<Adapted> {
        let (success_share, tally) = self.judged(|adaptation| &mut adaptation.probes, kind, success)?;
        let (bounds, from) = (self.bounds[&kind], self.settings.breaker(kind).first_open);
        let millis = from.as_millis();
        let to = match success_share {
            Share::Poor => Span::from_millis(millis + millis / 4).min(bounds.first_open_max),
            Share::Middling => from,
            Share::Good => Span::from_millis(millis - millis / 5).max(bounds.first_open_min),
        };
        self.adapt(Adaptable::FirstOpen(kind), Setting::Length(from), Setting::Length(to), success_share.reason(tally)?)
    }

    /// An attempt that followed a step of a ladder succeeded or failed.
    ///
    /// Where none of its steps was applicable, the task just waited, which says nothing about any of them.
    pub fn on_step(&mut self, ladder: Ladder, strategy: Strategy, success: bool) -> Option<Adapted> {
        if !ladder.steps().contains(&strategy) {
            return None;
        }
        let tally = self.steps.entry((ladder, strategy)).or_default();
        tally.count(success);
        if tally.results() >= u64::from(self.knobs.sample) * 2 {
            tally.halve();
        }
        let order = self.settings.order(ladder);
        let tally = |strategy: Strategy| self.steps.get(&(ladder, strategy)).copied().unwrap_or_default();
        let better = order.windows(2).position(|pair| {
            let (earlier, later) = (tally(pair[0]), tally(pair[1]));
            let known = earlier.results().min(later.results()) >= u64::from(self.knobs.sample);
            known && later.is_better(&earlier, self.knobs.margin)
        })?;
        let from = order.to_vec();
        let mut to = from.clone();
        to.swap(better, better + 1);
        let reason = AdaptationReason::DoesBetter { earlier: tally(from[better]), later: tally(from[better + 1]) };
        for strategy in [from[better], from[better + 1]] {
            self.steps.remove(&(ladder, strategy));
        }
        self.adapt(Adaptable::Order(ladder), Setting::Order(from), Setting::Order(to), reason)
    }

    /// Counts a result; when there are enough of them, how they are, and the count that begins anew.
    fn judged(
        &mut self,
        tallies: fn(&mut Self) -> &mut BTreeMap<Blame, Tally>,
        kind: Blame,
        success: bool,
    ) -> Option<(Share, Tally)> {
        let sample = u64::from(self.knobs.sample);
        let tally = tallies(self).entry(kind).or_default();
        tally.count(success);
        if tally.results() < sample {
            return None;
        }
        let tally = core::mem::take(tally);
        let success_share = if tally.is_below(self.knobs.poor) {
            Share::Poor
        } else if tally.is_above(self.knobs.good) {
            Share::Good
        } else {
            Share::Middling
        };
        Some((success_share, tally))
    }

    fn adapt(&mut self, what: Adaptable, from: Setting, to: Setting, reason: AdaptationReason) -> Option<Adapted> {
        if from == to {
            return None;
        }
        let adapted = Adapted { what, from, to, reason };
        self.settings.apply(&adapted);
        self.assert_invariants();
        Some(adapted)
    }

    /// Checks that the settings are inside their bounds, and that each order holds the steps of its ladder.
    ///
    /// # Panics
    /// If they aren't.
    pub fn assert_invariants(&self) {
        for (kind, bounds) in &self.bounds {
            assert!(bounds.contain(self.settings.breaker(*kind)), "settings stay inside their bounds");
        }
        for ladder in Ladder::ALL.iter().copied() {
            assert_eq!(sorted(self.settings.order(ladder)), sorted(ladder.steps()), "the same steps in some order");
        }
    }
}

fn sorted(steps: &[Strategy]) -> Vec<Strategy> {
    let mut steps: Vec<Strategy> = steps.to_vec();
    steps.sort_unstable();
    steps
}

/// How many of a sample succeeded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Poor,
    Middling,
    Good,
}

impl Share {
    fn reason(self, tally: Tally) -> Option<AdaptationReason> {
        match self {
            Self::Poor => Some(AdaptationReason::ResultsPoor(tally)),
            Self::Middling => None,
            Self::Good => Some(AdaptationReason::ResultsGood(tally)),
        }
    }
}

#[cfg(test)]
mod tests;
