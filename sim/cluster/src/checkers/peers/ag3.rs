//! AG3: at most one decision per (member, generation).
//!
//! Source: spec 2. A member is an incarnation: a process that fenced itself, or was restarted, is another one.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Event, Generation};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag3 {
    decided: BTreeMap<NodeId, BTreeMap<Generation, EntryId>>,
}

impl Checker<Cluster> for Ag3 {
    fn property(&self) -> &'static str {
        "AG3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["decided", "self_fenced"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.decided.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::SelfFenced { .. }) => {
                self.decided.remove(&entry.node);
            }
            Some(Event::Decided { generation, .. }) => {
                let known = self.decided.entry(entry.node).or_default().insert(*generation, entry.id);
                if let Some(told) = known {
                    let message = format!("generation {generation} is decided twice at one member");
                    findings.violated("AG3", entry.at, [told, entry.id], message);
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
    use squall_recovery::Incarnation;

    #[test]
    fn a_member_decides_each_generation_once() {
        let one = |generation| decided(generation, (1, 0), &[4], &[0, 1, 2]);
        let start = || peers(Ag3::default()).found().event(R[0], one(1));
        start().event(R[1], one(1)).event(R[0], one(2)).holds();
        start().event(R[0], one(1)).violated("decided twice");
        let fenced = Event::SelfFenced { generation: Generation(2), incarnation: Incarnation(1) };
        start().event(R[0], fenced).event(R[0], one(1)).holds();
        start().down(R[0]).up(R[0]).event(R[0], one(1)).holds();
    }
}
