//! LV2, for peers: a core member is in the group that works.
//!
//! Source: properties, liveness. At the end of the liveness phase, if the core can go on: every process of the core is Active in
//! one and the same generation, whose members are exactly the core; who was excluded or restarted has been admitted again.

use super::fold::Fold;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Phase, Scene};
use squall_recovery::Generation;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv2 {
    fold: Fold,
}

impl Lv2 {
    /// What is missing.
    fn problem(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let (_, true) = self.fold.healed? else { return None };
        let mut working: Option<Generation> = None;
        for node in scene.core.iter() {
            let name = scene.system.name(node);
            let Some(seat) = self.fold.seat(node) else { return Some(format!("{name} is no member")) };
            if !seat.active {
                return Some(format!("{name} doesn't work"));
            }
            if *working.get_or_insert(seat.generation) != seat.generation {
                return Some(format!("{name} works in another generation"));
            }
        }
        let group = self.fold.said.get(&working?).and_then(|said| said.group.as_ref())?;
        let (members, core) = (group.members.len(), scene.core.len());
        (members != core).then(|| format!("{members} members make a group, but {core} processes are left"))
    }
}

impl Checker<Cluster> for Lv2 {
    fn property(&self) -> &'static str {
        "LV2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Fold::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, _: &mut Findings) {
        self.fold.follow(entry, scene);
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if scene.phase != Phase::Liveness {
            return;
        }
        if let Some(problem) = self.problem(scene) {
            let none: [EntryId; 0] = [];
            findings.violated("LV2", scene.now, none, format!("the core was healed, but {problem}"));
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        self.problem(scene).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, active, installed, peers};
    use super::*;

    #[test]
    fn the_core_works_together() {
        let healed = || peers(Lv2::default()).found().liveness();
        let works =
            |count: usize| (0..count).fold(healed(), |history, rank| history.event(R[rank], active(1, rank as u32)));
        works(5).end().holds();
        works(4).end().violated("r4 doesn't work");
        works(5).down(R[4]).up(R[4]).end().violated("r4 is no member");
        let other = works(5).event(R[4], installed(2, 4, &[0, 1, 2, 3, 4], Some(4))).event(R[4], active(2, 4));
        other.end().violated("r4 works in another");
    }

    #[test]
    fn only_a_core_that_can_go_on_has_to() {
        let start = (0..3).fold(peers(Lv2::default()).found(), |history, rank| history.down(R[rank]));
        start.liveness().end().holds();
    }
}
