//! LV3: enough healthy replicas asking => a quorum reaches them; no waiter hangs.
//!
//! Source: properties, liveness. Judged at the end of the liveness phase: no replica of the core has waited for a quorum,
//! without its client giving up, since before the phase began. The core is chosen so that its training replicas are
//! enough; only where they are told to rest, waiting may be right.

use super::waiters::Waiters;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Scene};
use squall_machine::Time;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv3 {
    waiters: Waiters,
}

impl Lv3 {
    /// Those who wait since before the phase began.
    fn hanging(&self, scene: &Scene<'_, Cluster>) -> Vec<(NodeId, Time)> {
        let Some(judged) = self.waiters.judged.filter(|_| Waiters::judges(scene)) else { return Vec::new() };
        let core = || self.waiters.core(scene);
        let training = core().filter(|&(node, replica)| Waiters::trains(node, replica, scene)).count();
        let (all, min) = (core().count(), scene.system.knobs().min_replicas as usize);
        if training < min.max(1) || training * 2 <= all {
            return Vec::new();
        }
        core().filter_map(|(node, replica)| Some((node, replica.asking.filter(|asking| *asking <= judged)?))).collect()
    }
}

impl Checker<Cluster> for Lv3 {
    fn property(&self) -> &'static str {
        "LV3"
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
        for (node, since) in self.hanging(scene) {
            let none: [EntryId; 0] = [];
            let message = format!("{} waits for a quorum since {since}, and enough ask", scene.system.name(node));
            findings.violated("LV3", scene.now, none, message);
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        self.hanging(scene).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, active, history};
    use super::*;
    use squall::Truth;

    #[test]
    fn who_asks_is_answered() {
        let start = || history(Lv3::default()).at(500).ask(0, 1, 1, 1).at(1_000).liveness().at(2_000);
        start().event(R[0], active(1, 1)).at(900_000).end().holds();
        start().at(900_000).end().violated("r0 waits for a quorum since 500ms");
        start().at(10_000).end().holds();
        let rest = Truth::Request { name: "rest" };
        start().truth(R[1], rest.clone()).truth(R[2], rest).at(900_000).end().holds();
    }
}
