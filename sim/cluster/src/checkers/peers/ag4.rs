//! AG4: termination: a quorum connected and no fault after t0 => each of it installs or, if excluded, fences itself within
//! 2 peer_timeout + (f + 1) capped round deadlines + 4 L; nobody ends in a fatal error.
//!
//! Source: spec 2. t0 is when the core was healed. Judged only if the core can go on: a quorum of the newest generation that one
//! of it installed is in it, and of each that may follow from what was accepted in that generation. Then, after the bound, every
//! process of the core that was a member is Active, or has fenced itself since; one that was fenced is judged by LV2.

use super::fold::{Fold, termination_bound};
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, NodeSet, Phase, Scene};
use squall_recovery::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag4 {
    fold: Fold,
    /// Who was a member when the core was healed, and hasn't fenced itself since.
    members: NodeSet,
    reported: bool,
}

impl Ag4 {
    /// The first member of the core that neither works nor has learnt of its exclusion.
    fn stuck(&self) -> Option<NodeId> {
        let (_, true) = self.fold.healed? else { return None };
        self.members.iter().find(|node| !self.fold.seat(*node).is_some_and(|seat| seat.active))
    }
}

impl Checker<Cluster> for Ag4 {
    fn property(&self) -> &'static str {
        "AG4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Fold::interest(interest);
        interest.events(&["recovery_failed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let healed = self.fold.healed;
        self.fold.follow(entry, scene);
        if healed.is_none() && self.fold.healed.is_some() {
            self.members = scene.core.iter().filter(|node| self.fold.seat(*node).is_some()).collect();
            if self.fold.healed.is_some_and(|(_, possible)| !possible) {
                findings.reached("no quorum is left");
            }
        }
        match recovery(entry) {
            Some(Event::SelfFenced { .. }) => self.members.remove(entry.node),
            Some(Event::RecoveryFailed { .. }) if scene.system.policy() != crate::Policy::Abort => {
                findings.violated("AG4", entry.at, [entry.id], "a peer ends in a fatal error, which isn't its policy");
            }
            _ => {}
        }
        let Some((healed, true)) = self.fold.healed else { return };
        let bound = termination_bound(scene.system, scene.plan.network.delay.longest());
        if entry.at.since(healed) > bound
            && !self.reported
            && let Some(node) = self.stuck()
        {
            self.reported = true;
            let message =
                format!("{} is of a quorum that was healed {bound} ago, and doesn't work", scene.system.name(node));
            findings.violated("AG4", entry.at, [entry.id], message);
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        // A run that comes to its end in the liveness phase has had the time for all of it.
        let late = self.fold.healed.is_some_and(|(healed, _)| {
            scene.now.since(healed) >= termination_bound(scene.system, scene.plan.network.delay.longest())
        });
        if let Some(node) = self.stuck().filter(|_| late && !self.reported && scene.phase == Phase::Liveness) {
            let none: [EntryId; 0] = [];
            let message = format!("{} is of a quorum that was healed, and doesn't work", scene.system.name(node));
            findings.violated("AG4", scene.now, none, message);
        }
    }

    fn settled(&self, _: &Scene<'_, Cluster>) -> bool {
        self.stuck().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, accepted, active, peers, suspects};
    use super::*;
    use squall_recovery::{Generation, Incarnation};

    fn healed() -> super::super::super::testing::History<Ag4> {
        let start = peers(Ag4::default()).found();
        let start = (0..4).fold(start, |history, rank| history.event(R[rank], active(1, rank as u32)));
        start.at(10_000).event(R[3], suspects(1, 4)).liveness()
    }

    #[test]
    fn a_quorum_that_is_healed_comes_to_an_end() {
        let works = || (0..5).fold(healed(), |history, rank| history.event(R[rank], active(1, rank as u32)));
        works().at(400_000).end().holds();
        healed().at(400_000).end().violated("r4 is of a quorum");
        let four =
            || healed().event(R[4], Event::SelfFenced { generation: Generation(2), incarnation: Incarnation(5) });
        four().at(400_000).end().holds();
        healed().at(400_000).event(R[0], suspects(1, 4)).violated("r4 is of a quorum");
    }

    #[test]
    fn only_a_quorum_has_to_come_to_an_end() {
        let start = || (0..3).fold(peers(Ag4::default()).found(), |history, rank| history.down(R[rank]));
        start().liveness().at(400_000).end().holds();
        let half = peers(Ag4::default()).found().event(R[0], accepted(1, (1, 0), &[3, 4])).down(R[0]).down(R[1]);
        half.liveness().at(400_000).end().holds();
    }

    #[test]
    fn nobody_ends_in_a_fatal_error() {
        let failed = Event::RecoveryFailed { generation: Generation(1), suspects: [].into() };
        peers(Ag4::default()).found().event(R[0], failed).violated("isn't its policy");
    }
}
