//! AG8: after stabilisation all name the same leader.
//!
//! Source: spec 2 (leader = lowest rank that is not suspected). From the views of the core at the end of the liveness phase, if the
//! core can go on: all are in one generation and take the same rank for the leader.

use super::fold::{Fold, termination_bound};
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Phase, Scene};
use squall_recovery::{Generation, Rank};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag8 {
    fold: Fold,
    leaders: BTreeMap<NodeId, (Generation, Rank)>,
}

impl Ag8 {
    /// Two of the core who name different ones.
    fn divided(&self, scene: &Scene<'_, Cluster>) -> Option<(NodeId, NodeId)> {
        let (_, true) = self.fold.healed? else { return None };
        let mut named = self.leaders.iter().filter(|(node, _)| scene.core.contains(**node));
        let (first, leader) = named.next()?;
        named.find(|(_, other)| *other != leader).map(|(other, _)| (*first, *other))
    }
}

impl Checker<Cluster> for Ag8 {
    fn property(&self) -> &'static str {
        "AG8"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Fold::interest(interest);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, _: &mut Findings) {
        self.fold.follow(entry, scene);
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
        let over = self.fold.healed.is_some_and(|(healed, _)| scene.now.since(healed) >= bound);
        if scene.phase != Phase::Liveness || !over {
            return;
        }
        if let Some((one, other)) = self.divided(scene) {
            let none: [EntryId; 0] = [];
            let (one, other) = (scene.system.name(one), scene.system.name(other));
            let message = format!("{one} and {other} are of the core, but name different leaders or generations");
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
