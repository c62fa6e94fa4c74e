//! AC1: 0 <= allocated <= total and allocated = sum of current leases, before clamping.
//!
//! Source: spec 3.4 (resources are reserved at assignment). What is reserved is summed by the events; it never exceeds what the
//! worker offered, and once an assignment is told, its lease and its reservation are the same.

use super::books::{Books, amounts};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, Event, Incarnation, Resources};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ac1 {
    reserved: BTreeMap<AttemptId, (Incarnation, Resources)>,
    sums: BTreeMap<Incarnation, [i128; 4]>,
}

impl Ac1 {
    fn add(&mut self, incarnation: Incarnation, resources: &Resources, sign: i128) -> [i128; 4] {
        let sum = self.sums.entry(incarnation).or_default();
        sum.iter_mut().zip(amounts(resources)).for_each(|(sum, amount)| *sum += sign * i128::from(amount));
        let after = *sum;
        if after == [0; 4] {
            self.sums.remove(&incarnation);
        }
        after
    }
}

impl Judge for Ac1 {
    const PROPERTY: &'static str = "AC1";
    const EVENTS: &'static [&'static str] = &["reserved", "released", "assigned"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Reserved { attempt, incarnation, resources } => {
                self.reserved.insert(*attempt, (*incarnation, *resources));
                let sum = self.add(*incarnation, resources, 1);
                let total = amounts(&books.hosts.get(incarnation)?.offer.resources);
                let over = sum.iter().zip(total).any(|(sum, total)| *sum > i128::from(total));
                over.then(|| format!("{sum:?} of {total:?} is set aside at incarnation {incarnation}"))
            }
            Event::Released { attempt, incarnation, resources } => {
                self.reserved.remove(attempt);
                let sum = self.add(*incarnation, resources, -1);
                let under = sum.iter().any(|sum| *sum < 0);
                under.then(|| format!("{sum:?} is set aside at incarnation {incarnation}"))
            }
            Event::Assigned { attempt, incarnation, resources, .. } => {
                let held = self.reserved.get(attempt).copied();
                (held != Some((*incarnation, *resources))).then(|| {
                    format!("attempt {attempt} holds {resources:?} at {incarnation}, but {held:?} is set aside for it")
                })
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{I, NEED, assigned, tasks};
    use super::*;

    fn reserved(attempt: u64, resources: Resources) -> Event {
        Event::Reserved { attempt: AttemptId(attempt), incarnation: I, resources }
    }

    #[test]
    fn what_is_set_aside_is_there_and_leased() {
        let start = || tasks(Judged::<Ac1>::default()).submit("t", 1);
        start().assign("t", 1).succeed("t", 1).holds();
        start().assign("t", 1).released(1).released(1).violated("-1000, -1024, 0, 0] is set aside");
        let double = Resources { cpu_millis: 4_001, ..NEED };
        start().tells(reserved(1, double)).violated("[4001, 1024, 0, 0] of [4000, 4096, 0, 0]");
        start().tells(assigned("t", 1)).violated("but None is set aside for it");
    }
}
