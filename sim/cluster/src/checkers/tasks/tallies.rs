//! What attempts, probes and the steps of ladders came to, and what that changes where self-healing is on.
//!
//! Source: spec 3.3, and the law that the scheduler's documentation tells, written down once more.

use super::tuning::Tuning;
use squall_machine::{Ratio, Span};
use squall_scheduler::{
    Adaptable, AdaptationReason, Adapted, Blame, BreakerKey, Knobs, Ladder, Setting, Strategy, Tally, TaskType,
};
use std::collections::BTreeMap;

/// Since the last change of what they are about, or the last judgement.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    results: BTreeMap<Blame, Tally>,
    probes: BTreeMap<Blame, Tally>,
    steps: BTreeMap<(Ladder, Strategy), Tally>,
}

/// Between what a setting may move, in failures or nanoseconds.
fn bounds(what: Adaptable, knobs: &Knobs) -> Option<(u128, u128)> {
    let (kind, counts) = match what {
        Adaptable::Threshold(kind) => (kind, true),
        Adaptable::FirstOpen(kind) => (kind, false),
        Adaptable::Order(_) => return None,
    };
    let set = knobs.adaptation.bounds.get(&kind);
    let breaker = knobs.breaker(&any_key(kind));
    if counts {
        let threshold = u128::from(breaker.threshold);
        let around = (threshold - threshold / 2, threshold * 2);
        return Some(set.map_or(around, |set| (set.threshold_min.into(), set.threshold_max.into())));
    }
    let millis = u128::from(breaker.first_open.as_nanos()) / 1_000_000;
    let longest = u128::from(breaker.max_open.as_nanos());
    let around = ((millis - millis / 2) * 1_000_000, (u128::from(breaker.first_open.as_nanos()) * 2).min(longest));
    Some(set.map_or(around, |set| (set.first_open_min.as_nanos().into(), set.first_open_max.as_nanos().into())))
}

/// A key of this kind: all of them have the same settings.
fn any_key(kind: Blame) -> BreakerKey {
    match kind {
        Blame::Worker => BreakerKey::Worker("".into()),
        Blame::Class => BreakerKey::Class(squall_scheduler::HardwareClass::Cpu),
        Blame::Type => BreakerKey::Type(TaskType::CpuLight),
    }
}

/// Whether a value is inside its bounds; an order has to have the steps of its ladder.
pub(super) fn inside(what: Adaptable, value: &Setting, knobs: &Knobs) -> bool {
    let within = |figure: u128| bounds(what, knobs).is_some_and(|(low, high)| low <= figure && figure <= high);
    match (what, value) {
        (Adaptable::Threshold(_), Setting::Count(count)) => within(u128::from(*count)),
        (Adaptable::FirstOpen(_), Setting::Length(length)) => within(u128::from(length.as_nanos())),
        (Adaptable::Order(ladder), Setting::Order(order)) => {
            let (mut ours, mut theirs) = (super::ladders::steps(ladder).to_vec(), order.clone());
            ours.sort_unstable();
            theirs.sort_unstable();
            ours == theirs
        }
        _ => false,
    }
}

/// Whether the share of successes lies below (-1), at (0) or above (1) a share.
fn compared(tally: Tally, share: Ratio) -> i8 {
    let all = u128::from(tally.successes + tally.failures);
    let (ours, theirs) =
        (u128::from(tally.successes) * u128::from(share.denominator()), u128::from(share.numerator()) * all);
    ours.cmp(&theirs) as i8
}

fn add(tally: &mut Tally, success: bool) -> u64 {
    if success {
        tally.successes += 1
    } else {
        tally.failures += 1
    }
    tally.successes + tally.failures
}

impl Tallies {
    /// A breaker heard a success or a failure: what changes.
    pub(super) fn on_result(
        &mut self,
        kind: Blame,
        probe: bool,
        success: bool,
        tuning: &Tuning,
        knobs: &Knobs,
    ) -> Option<Adapted> {
        let tallies = if probe { &mut self.probes } else { &mut self.results };
        let tally = tallies.entry(kind).or_default();
        if add(tally, success) < u64::from(knobs.adaptation.sample) {
            return None;
        }
        let tally = tallies.remove(&kind)?;
        let reason = if compared(tally, knobs.adaptation.poor) < 0 {
            AdaptationReason::ResultsPoor(tally)
        } else if compared(tally, knobs.adaptation.good) > 0 {
            AdaptationReason::ResultsGood(tally)
        } else {
            return None;
        };
        let poor = compared(tally, knobs.adaptation.poor) < 0;
        let breaker = tuning.breaker(&any_key(kind), knobs);
        let (what, from, to) = if probe {
            let what = Adaptable::FirstOpen(kind);
            let (low, high) = bounds(what, knobs)?;
            let millis = u128::from(breaker.first_open.as_nanos()) / 1_000_000;
            let moved = if poor { millis + millis / 4 } else { millis - millis / 5 } * 1_000_000;
            let to = if poor { moved.min(high) } else { moved.max(low) };
            let to = Span::from_nanos(u64::try_from(to).unwrap_or(u64::MAX));
            (what, Setting::Length(breaker.first_open), Setting::Length(to))
        } else {
            let what = Adaptable::Threshold(kind);
            let (low, high) = bounds(what, knobs)?;
            let count = u128::from(breaker.threshold);
            let to = if poor { (count - 1).max(low) } else { (count + 1).min(high) };
            (what, Setting::Count(breaker.threshold), Setting::Count(u32::try_from(to).unwrap_or(u32::MAX)))
        };
        (from != to).then_some(Adapted { what, from, to, reason })
    }

    /// An attempt that followed a step succeeded or failed: what changes.
    pub(super) fn on_step(
        &mut self,
        (ladder, done): (Ladder, Strategy),
        success: bool,
        tuning: &Tuning,
        knobs: &Knobs,
    ) -> Option<Adapted> {
        let order = tuning.steps(ladder);
        if !order.contains(&done) {
            return None;
        }
        let sample = u64::from(knobs.adaptation.sample);
        let tally = self.steps.entry((ladder, done)).or_default();
        if add(tally, success) >= sample * 2 {
            *tally = Tally { successes: tally.successes / 2, failures: tally.failures / 2 };
        }
        let of = |step: Strategy| self.steps.get(&(ladder, step)).copied().unwrap_or_default();
        let place = (1..order.len()).find(|&place| {
            let (earlier, later) = (of(order[place - 1]), of(order[place]));
            let (n, m) = (earlier.successes + earlier.failures, later.successes + later.failures);
            if n < sample || m < sample {
                return false;
            }
            // Beyond the margin: later / m - earlier / n > margin, without fractions.
            let margin = knobs.adaptation.margin;
            let (n, m, scale) = (i128::from(n), i128::from(m), i128::from(margin.denominator()));
            let ahead = i128::from(later.successes) * n - i128::from(earlier.successes) * m;
            ahead * scale > i128::from(margin.numerator()) * n * m
        })?;
        let mut to = order.clone();
        to.swap(place - 1, place);
        let reason = AdaptationReason::DoesBetter { earlier: of(order[place - 1]), later: of(order[place]) };
        for step in [order[place - 1], order[place]] {
            self.steps.remove(&(ladder, step));
        }
        Some(Adapted { what: Adaptable::Order(ladder), from: Setting::Order(order), to: Setting::Order(to), reason })
    }
}
