//! AG8: after stabilisation all name the same leader.
//!
//! Source: spec 2 (leader = lowest rank that is not suspected). From the views of the core at the end of the liveness phase, whether or
//! not a quorum is left: all that are in one generation take the same rank for the leader.

use super::fold::termination_bound;
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Phase, Scene, Truth};
use squall_machine::Time;
use squall_recovery::{Generation, Rank};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag8 {
    healed: Option<Time>,
    leaders: BTreeMap<NodeId, (Generation, Rank)>,
}

impl Ag8 {
    /// Two of the core who name different ones.
    fn divided(&self, scene: &Scene<'_, Cluster>) -> Option<(NodeId, NodeId)> {
        self.healed?;
        let mut named: BTreeMap<Generation, (NodeId, Rank)> = BTreeMap::new();
        for (&node, &(generation, leader)) in self.leaders.iter().filter(|(node, _)| scene.core.contains(**node)) {
            let (first, known) = *named.entry(generation).or_insert((node, leader));
            if known != leader {
                return Some((first, node));
            }
        }
        None
    }
}

impl Checker<Cluster> for Ag8 {
    fn property(&self) -> &'static str {
        "AG8"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["phase"]);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, _: &mut Findings) {
        if let Fact::Truth(Truth::Phase { phase: Phase::Liveness, .. }) = entry.fact {
            self.healed = Some(entry.at);
            // What was seen before is no answer to what is asked now.
            self.leaders.clear();
        }
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, _: &Scene<'_, Cluster>, _: &mut Findings) {
        let ClusterView::Peer(status) = view else { return };
        match (&status.group, status.leader) {
            (Some(group), Some(leader)) => drop(self.leaders.insert(node, (group.generation, leader))),
            _ => drop(self.leaders.remove(&node)),
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let bound = termination_bound(scene.system, scene.plan.network.delay.longest());
        let over = self.healed.is_some_and(|healed| scene.now.since(healed) >= bound);
        if scene.phase != Phase::Liveness || !over {
            return;
        }
        if let Some((one, other)) = self.divided(scene) {
            let none: [EntryId; 0] = [];
            let (one, other) = (scene.system.name(one), scene.system.name(other));
            let message = format!("{one} and {other} are of the core, but name different leaders");
            findings.violated("AG8", scene.now, none, message);
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        self.divided(scene).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, peers, status};
    use super::*;

    #[test]
    fn all_of_the_core_name_one_leader() {
        let named = |rank: u32| {
            let start = peers(Ag8::default()).found().liveness().at(400_000);
            let two = |history: super::super::super::testing::History<Ag8>, node, leader| {
                history.view(node, &status(1, Some(Rank(leader))))
            };
            two(two(start, R[0], 0), R[1], rank).end()
        };
        named(0).holds();
        named(1).violated("r0 and r1 are of the core");
    }
}
