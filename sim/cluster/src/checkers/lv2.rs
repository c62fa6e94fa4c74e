//! LV2: a core member is in a quorum within 2 D + takeover + join_timeout + return spread + 2 ticks + 4 L.
//!
//! Source: properties, liveness. Judged at the end of the liveness phase, which lasts as long as the bound (with the slack
//! that the workload needs, see `convergence`): each replica of the core that trains has received a quorum since the phase
//! began. It ends early once all have.

use super::waiters::Waiters;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Scene};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv2 {
    waiters: Waiters,
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
}

impl Checker<Cluster> for Lv2 {
    fn property(&self) -> &'static str {
        "LV2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Waiters::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, _: &mut Findings) {
        self.waiters.follow(entry);
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
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        self.outside(scene).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, history, quorum, received};
    use super::*;
    use squall::Truth;

    fn everybody(first: usize) -> History<Lv2> {
        let all = quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        let start = history(Lv2::default()).at(1_000).liveness().at(2_000);
        (first..3).fold(start, |history, index| history.event(R[index], received(index as u64 + 1, all.clone())))
    }

    #[test]
    fn all_of_the_core_get_a_quorum() {
        everybody(0).at(900_000).end().holds();
        everybody(1).at(900_000).end().violated("r0 is of the core");
        everybody(1).at(5_000).end().holds();
        everybody(1).truth(R[0], Truth::Request { name: "rest" }).at(900_000).end().holds();
    }
}
