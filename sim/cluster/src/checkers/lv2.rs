//! LV2: a core member is in a quorum within 2 D + takeover + join_timeout + return spread + 2 ticks + 4 L.
//!
//! Source: properties, liveness. Judged at the end of the liveness phase, which lasts as long as the bound (with the slack
//! that the workload needs, see `convergence`): each replica of the core that trains has been Active since the core was
//! healed, and each member of the core has an incarnation and hears from the coordinator, as its view shows. The phase ends
//! early once that is so.

use super::waiters::Waiters;
use crate::{Cluster, ClusterView, NodeKind};
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, NodeSet, Scene};
use squall_node::MemberPhase;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv2 {
    waiters: Waiters,
    /// Who is a member by its last view, and in contact.
    members: NodeSet,
}

impl Lv2 {
    /// The replicas that are in no quorum.
    fn outside(&self, scene: &Scene<'_, Cluster>) -> Vec<NodeId> {
        let Some(judged) = self.waiters.judged.filter(|_| Waiters::judges(scene)) else { return Vec::new() };
        let training = self.waiters.core(scene).filter(|&(node, replica)| Waiters::trains(node, replica, scene));
        // Who still works in a quorum from before has to get the next one, too: the bound allows for its longest step.
        let outside = training.filter(|(_, replica)| replica.received.is_none_or(|at| at < judged));
        outside.map(|(node, _)| node).collect()
    }

    /// The members of the core that aren't.
    fn strangers(&self, scene: &Scene<'_, Cluster>) -> Vec<NodeId> {
        let is_member = |node: &NodeId| matches!(scene.system.kind(*node), NodeKind::Replica | NodeKind::Worker);
        let core = scene.core.iter().filter(is_member).filter(|&node| !self.waiters.of(node).stopped);
        core.filter(|&node| !self.members.contains(node)).collect()
    }
}

impl Checker<Cluster> for Lv2 {
    fn property(&self) -> &'static str {
        "LV2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Waiters::interest(interest);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, _: &mut Findings) {
        self.waiters.follow(entry);
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, _: &Scene<'_, Cluster>, _: &mut Findings) {
        let ClusterView::Member(status) = view else { return };
        if status.phase == MemberPhase::Member && !status.contact_lost {
            self.members.insert(node);
        } else {
            self.members.remove(node);
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if !self.waiters.over(scene) {
            return;
        }
        for node in self.outside(scene) {
            let none: [EntryId; 0] = [];
            let name = scene.system.name(node);
            let message = format!("{name} is of the core and trains, but got no quorum since the core was healed");
            findings.violated("LV2", scene.now, none, message);
        }
        for node in self.strangers(scene) {
            let none: [EntryId; 0] = [];
            let message = format!("{} is of the core, but is no member in contact", scene.system.name(node));
            findings.violated("LV2", scene.now, none, message);
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        self.outside(scene).is_empty() && self.strangers(scene).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, W, history, member_status, quorum, received};
    use super::*;
    use squall::Truth;
    use squall_node::MemberStatus;

    fn member(phase: MemberPhase) -> ClusterView {
        ClusterView::Member(MemberStatus { phase, ..member_status() })
    }

    /// The replicas from `first` on receive a quorum, and all members are in contact.
    fn everybody(first: usize) -> History<Lv2> {
        let all = quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        let start = history(Lv2::default()).at(1_000).liveness().at(2_000);
        let healed =
            (first..3).fold(start, |history, index| history.event(R[index], received(index as u64 + 1, all.clone())));
        let members = R.into_iter().chain([W]);
        members.fold(healed, |history, node| history.view(node, &member(MemberPhase::Member)))
    }

    #[test]
    fn all_of_the_core_get_a_quorum() {
        everybody(0).at(900_000).end().holds();
        everybody(1).at(900_000).end().violated("r0 is of the core and trains");
        everybody(1).at(5_000).end().holds();
        everybody(1).truth(R[0], Truth::Request { name: "rest" }).at(900_000).end().holds();
    }

    #[test]
    fn all_of_the_core_are_members() {
        let registering = || everybody(0).view(W, &member(MemberPhase::Registering)).at(900_000);
        registering().end().violated("w0 is of the core, but is no member");
        registering().truth(W, Truth::Request { name: "drain" }).end().holds();
    }
}
