//! AG1: uniform agreement: equal generation => equal decided value, also at those that crash later.
//!
//! Source: spec 2 (one consensus decision per generation). Every Decided of a generation, by whomever, names one value.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Scene};
use squall_machine::Time;
use squall_recovery::{Event, Generation, Value};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag1 {
    decided: BTreeMap<Generation, (Value, EntryId, Time)>,
    /// Generations in which somebody worked.
    worked: BTreeSet<Generation>,
}

impl Checker<Cluster> for Ag1 {
    fn property(&self) -> &'static str {
        "AG1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.events(&["decided", "group_active"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match recovery(entry) {
            Some(Event::GroupActive { generation, .. }) => {
                self.worked.insert(*generation);
            }
            Some(Event::Decided { generation, value, learnt, .. }) => {
                let Some((known, told, at)) = self.decided.get(generation) else {
                    if value.dead.is_empty() && value.joined.is_empty() {
                        findings.reached("false alarm");
                    }
                    if !value.joined.is_empty() {
                        findings.reached("joiner admitted");
                    }
                    if !self.worked.contains(generation) && generation.0 > 1 {
                        findings.reached("two generations in a row");
                    }
                    self.decided.insert(*generation, (value.clone(), entry.id, entry.at));
                    return;
                };
                if *learnt && entry.at.since(*at) > scene.plan.network.delay.longest() * 2 {
                    findings.reached("decision learnt by a late reply");
                }
                if known != value {
                    let message = format!("generation {generation} is decided as {value:?}, and as {known:?} before");
                    findings.violated("AG1", entry.at, [*told, entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, decided, peers};
    use super::*;

    #[test]
    fn a_generation_is_decided_once_for_all() {
        let start = || peers(Ag1::default()).found().event(R[0], decided(1, (1, 0), &[4], &[0, 1, 2]));
        start().event(R[1], decided(1, (3, 1), &[4], &[1, 2, 3])).holds();
        start().event(R[1], decided(2, (1, 0), &[], &[0, 1, 2])).holds();
        start().down(R[0]).event(R[1], decided(1, (3, 1), &[3], &[1, 2, 3])).violated("decided as");
    }
}
