//! The settings that adapt, as they are in force by what was told.

use super::ladders;
use squall_scheduler::{Adaptable, BreakerKey, BreakerKnobs, Event, Knobs, Ladder, Setting, Strategy};
use std::collections::BTreeMap;

/// Settings that have changed, and how often.
pub(super) type Changed = BTreeMap<Adaptable, (Setting, u64)>;

/// What isn't here is as configured.
#[derive(Debug, Default)]
pub(super) struct Tuning {
    pub(super) changed: Changed,
    /// What this life of the scheduler has found so far.
    pub(super) found: Changed,
}

impl Tuning {
    /// The settings of a breaker.
    pub(super) fn breaker(&self, key: &BreakerKey, knobs: &Knobs) -> BreakerKnobs {
        let mut breaker = *knobs.breaker(key);
        if let Some((Setting::Count(count), _)) = self.changed.get(&Adaptable::Threshold(key.kind())) {
            breaker.threshold = *count;
        }
        if let Some((Setting::Length(length), _)) = self.changed.get(&Adaptable::FirstOpen(key.kind())) {
            breaker.first_open = *length;
        }
        breaker
    }

    /// The steps of a ladder.
    pub(super) fn steps(&self, ladder: Ladder) -> Vec<Strategy> {
        match self.changed.get(&Adaptable::Order(ladder)) {
            Some((Setting::Order(order), _)) => order.clone(),
            Some(_) | None => ladders::steps(ladder).to_vec(),
        }
    }

    /// Takes in what the scheduler tells.
    pub(super) fn follow(&mut self, told: &Event) {
        match told {
            Event::Adapted { change, number } => {
                self.changed.insert(change.what, (change.to.clone(), *number));
            }
            Event::SettingRecalled { what, value, changes } => {
                self.found.insert(*what, (value.clone(), *changes));
            }
            Event::Recovered { .. } => self.changed = std::mem::take(&mut self.found),
            _ => {}
        }
    }
}
