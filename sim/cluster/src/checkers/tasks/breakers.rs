//! A breaker of each key as it should be, by the permits that were taken and settled.
//!
//! Source: spec 3.3, written down once more: nothing here is the core's own arithmetic.

use super::books::Moment;
use super::tuning::Tuning;
use squall_machine::{Span, Time};
use squall_scheduler::{
    AttemptId, BreakerCause, BreakerKey, BreakerKnobs, BreakerStage, Event, Generation, Knobs, Lease, Settlement,
    TaskType,
};
use std::collections::BTreeMap;

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Closed,
    Open,
    HalfOpen,
}

impl From<BreakerStage> for Stage {
    fn from(stage: BreakerStage) -> Self {
        match stage {
            BreakerStage::Closed => Self::Closed,
            BreakerStage::Open { .. } => Self::Open,
            BreakerStage::HalfOpen => Self::HalfOpen,
        }
    }
}

/// One breaker.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) stage: Stage,
    pub(super) generation: Generation,
    pub(super) times_opened: u32,
    /// Failures in a row while closed.
    pub(super) failures: u32,
    /// Successes since it is half open.
    pub(super) successes: u32,
    /// Unsettled probes of this generation.
    pub(super) probes: BTreeMap<AttemptId, Moment>,
    /// Open: when it is time to probe, as the law has it.
    pub(super) until: Option<Moment>,
    /// What has to become of it at once.
    pub(super) due: Option<BreakerCause>,
    /// When it last changed.
    pub(super) changed: Time,
}

/// A permit that was taken and not given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit {
    pub(super) generation: Generation,
    pub(super) probe: bool,
    pub(super) taken: Moment,
}

/// All breakers and permits.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    pub(super) models: BTreeMap<BreakerKey, Model>,
    pub(super) permits: BTreeMap<(AttemptId, BreakerKey), Permit>,
    /// The breaker that has to change before anything else is told.
    pub(super) due: Option<BreakerKey>,
}

/// How long a breaker is open when it opens for the `n`-th time in a row: each time longer by its factor, in whole
/// milliseconds rounded down each time, and then no longer than its limit.
pub(super) fn open_millis(n: u32, knobs: &BreakerKnobs) -> u128 {
    let (numerator, denominator) = knobs.factor.parts();
    let limit = u128::from(knobs.max_open.as_nanos()) / 1_000_000;
    let mut millis = u128::from(knobs.first_open.as_nanos()) / 1_000_000;
    // Beyond the limit it makes no difference how far.
    for _ in 1..n.min(100_000) {
        if millis >= limit {
            break;
        }
        millis = millis * u128::from(numerator) / u128::from(denominator);
    }
    millis.min(limit)
}

/// The three breakers that an attempt passes.
pub(super) fn keys(
    worker: &squall_machine::Text,
    class: squall_scheduler::HardwareClass,
    kind: TaskType,
) -> [BreakerKey; 3] {
    [BreakerKey::Worker(worker.clone()), BreakerKey::Class(class), BreakerKey::Type(kind)]
}

impl Default for Model {
    fn default() -> Self {
        Self {
            stage: Stage::Closed,
            generation: Generation(0),
            times_opened: 0,
            failures: 0,
            successes: 0,
            probes: BTreeMap::new(),
            until: None,
            due: None,
            changed: Time::ZERO,
        }
    }
}

impl Model {
    /// Whether a settlement of this generation says something about the breaker.
    pub(super) fn counts(&self, generation: Generation, settlement: Settlement) -> bool {
        generation == self.generation && settlement != Settlement::Released
    }

    fn settle(&mut self, settlement: Settlement, knobs: &BreakerKnobs) {
        match (self.stage, settlement) {
            (_, Settlement::Released) | (Stage::Open, _) => {}
            (Stage::Closed, Settlement::Success) => self.failures = 0,
            (Stage::Closed, Settlement::Failure) => {
                self.failures += 1;
                if self.failures >= knobs.threshold {
                    self.due = Some(BreakerCause::Threshold);
                }
            }
            (Stage::HalfOpen, Settlement::Success) => {
                self.successes += 1;
                if self.successes >= knobs.successes_to_close {
                    self.due = Some(BreakerCause::ProbesSucceeded);
                }
            }
            (Stage::HalfOpen, Settlement::Failure) => self.due = Some(BreakerCause::ProbeFailed),
        }
    }

    /// Whether it would let somebody pass.
    pub(super) fn permits(&self, key: &BreakerKey, knobs: &Knobs) -> bool {
        match self.stage {
            Stage::Closed => true,
            Stage::Open => false,
            Stage::HalfOpen => self.probes.len() < knobs.breaker(key).probes as usize,
        }
    }
}

impl Breakers {
    /// The breaker of a key; closed if it was never heard of.
    pub(super) fn model(&self, key: &BreakerKey) -> Model {
        self.models.get(key).cloned().unwrap_or_default()
    }

    /// What is kept of them when their process dies: what has happened, not how often something nearly did.
    pub(super) fn restart(&mut self) {
        (self.permits, self.due) = (BTreeMap::new(), None);
        for model in self.models.values_mut() {
            (model.failures, model.successes, model.due) = (0, 0, None);
            model.probes.clear();
        }
    }

    /// An attempt goes on in another life, and so do its permits.
    pub(super) fn recall(&mut self, lease: &Lease, kind: TaskType, uptime: Moment) {
        let generations = [lease.permits.worker, lease.permits.class, lease.permits.kind];
        for (key, generation) in keys(&lease.worker, lease.class, kind).into_iter().zip(generations) {
            let model = self.models.entry(key.clone()).or_default();
            let probe = model.stage == Stage::HalfOpen && model.generation == generation;
            if probe && Moment::from(lease.probe_until.as_nanos()) <= uptime {
                // Its time was over before.
                continue;
            }
            let taken = Moment::from(lease.at.as_nanos());
            if probe {
                model.probes.insert(lease.attempt, taken);
            }
            self.permits.insert((lease.attempt, key), Permit { generation, probe, taken });
        }
    }

    /// Takes in what the scheduler tells.
    pub(super) fn follow(&mut self, at: Moment, seen: Time, told: &Event, tuning: &Tuning, knobs: &Knobs) {
        match told {
            Event::Permitted { key, attempt, generation, .. } => {
                let model = self.models.entry(key.clone()).or_default();
                let probe = model.stage == Stage::HalfOpen;
                if probe {
                    model.probes.insert(*attempt, at);
                }
                let permit = Permit { generation: *generation, probe, taken: at };
                self.permits.insert((*attempt, key.clone()), permit);
            }
            Event::Settled { key, attempt, generation, settlement, .. } => {
                self.permits.remove(&(*attempt, key.clone()));
                let model = self.models.entry(key.clone()).or_default();
                // A permit that expired counts nothing, also if its attempt goes on.
                if model.generation == *generation
                    && (model.stage == Stage::Closed || model.probes.contains_key(attempt))
                {
                    model.settle(*settlement, &tuning.breaker(key, knobs));
                }
                model.probes.remove(attempt);
                model.changed = seen;
                self.due = model.due.map(|_| key.clone());
            }
            Event::BreakerChanged { key, change } => {
                self.due = None;
                let model = self.models.entry(key.clone()).or_default();
                let opened = matches!(change.to, BreakerStage::Open { .. });
                let millis = open_millis(change.times_opened, &tuning.breaker(key, knobs));
                *model = Model {
                    stage: change.to.into(),
                    generation: change.generation,
                    times_opened: change.times_opened,
                    until: opened.then(|| at + Moment::try_from(millis).unwrap_or(Moment::MAX / 2) * 1_000_000),
                    changed: seen,
                    ..Model::default()
                };
            }
            Event::BreakerRecalled { key, state } => {
                let until = match state.stage {
                    BreakerStage::Open { until } => Some(Moment::from(until.as_nanos())),
                    BreakerStage::Closed | BreakerStage::HalfOpen => None,
                };
                let model = Model {
                    stage: state.stage.into(),
                    generation: state.generation,
                    times_opened: state.times_opened,
                    until,
                    changed: seen,
                    ..Model::default()
                };
                self.models.insert(key.clone(), model);
            }
            _ => {}
        }
    }
}

/// A span as a number.
pub(super) fn nanos(span: Span) -> Moment {
    Moment::from(span.as_nanos())
}
