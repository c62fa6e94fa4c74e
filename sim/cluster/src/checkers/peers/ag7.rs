//! AG7: ballots promised by a member never go back; it accepts none below its promise.
//!
//! Source: spec 2. Per process and generation: each Promised is above the one before, and each Accepted is at the ballot that
//! was promised last, or above.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_recovery::{Ballot, Event};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag7 {
    promised: BTreeMap<NodeId, (Ballot, EntryId)>,
}

impl Checker<Cluster> for Ag7 {
    fn property(&self) -> &'static str {
        "AG7"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["installed", "promised", "accepted"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.promised.remove(&entry.node);
        }
        match recovery(entry) {
            Some(Event::Installed { .. }) => {
                self.promised.remove(&entry.node);
            }
            Some(Event::Promised { ballot, .. }) => {
                let before = self.promised.insert(entry.node, (*ballot, entry.id));
                if let Some((before, told)) = before.filter(|(before, _)| before >= ballot) {
                    let message = format!("ballot {ballot} is promised after {before}");
                    findings.violated("AG7", entry.at, [told, entry.id], message);
                }
            }
            Some(Event::Accepted { ballot, .. }) => {
                let promised = self.promised.insert(entry.node, (*ballot, entry.id));
                if let Some((promised, told)) = promised.filter(|(promised, _)| promised > ballot) {
                    let message = format!("ballot {ballot} is accepted below the promise of {promised}");
                    findings.violated("AG7", entry.at, [told, entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, installed, peers, promised};
    use super::*;

    #[test]
    fn promises_rise_and_bind() {
        let start = || peers(Ag7::default()).found().event(R[1], promised(1, (2, 0)));
        start().event(R[1], promised(1, (2, 1))).event(R[1], accepted(1, (2, 1), &[4])).holds();
        start().event(R[1], promised(1, (2, 0))).violated("promised after 2.0");
        start().event(R[1], promised(1, (1, 4))).violated("promised after 2.0");
        start().event(R[1], accepted(1, (1, 4), &[])).violated("below the promise of 2.0");
        start().event(R[1], accepted(1, (3, 4), &[])).event(R[1], promised(1, (3, 0))).violated("promised after 3.4");
        start().event(R[1], installed(2, 1, &[0, 1, 2, 3], Some(1))).event(R[1], promised(2, (1, 0))).holds();
        start().event(R[2], promised(1, (1, 0))).holds();
    }
}
