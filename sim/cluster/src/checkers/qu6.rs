//! QU6: no Formed holds an incarnation after its end.
//!
//! Source: spec 1.3. Judged against every Failed and Left that was told before; incarnations that are forgotten never begin
//! again (FD4).

use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Scene};
use squall_coordinator::Incarnation;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu6 {
    ended: BTreeMap<Incarnation, EntryId>,
}

impl Checker<Cluster> for Qu6 {
    fn property(&self) -> &'static str {
        "QU6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.events(&["failed", "left", "forgotten", "formed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((_, Event::Failed { incarnation, .. } | Event::Left { incarnation, .. })) => {
                self.ended.insert(*incarnation, entry.id);
            }
            Some((_, Event::Forgotten { incarnation, .. })) => {
                self.ended.remove(incarnation);
            }
            Some((_, Event::Formed { quorum, .. })) => {
                for member in quorum.members.iter() {
                    if let Some(end) = self.ended.get(&member.incarnation) {
                        let (formation, who) = (quorum.formation, member.incarnation);
                        let message =
                            format!("formation {formation} holds incarnation {who} of {}, which ended", member.id);
                        findings.violated("QU6", entry.at, [*end, entry.id], message);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{history, quorum};
    use super::*;
    use squall_machine::Span;

    #[test]
    fn the_dead_are_in_no_quorum() {
        let start = || history(Qu6::default()).begin(0, 1).begin(1, 2).fail(0, 1, 1, Span::ZERO);
        start().form(quorum(1, 1, &[(1, 2, 1)]), 1, false).holds();
        start().form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]), 1, false).violated("which ended");
    }
}
