//! RB2: all maps and queues bounded.
//!
//! Source: spec 1.2 ("all maps are bounded"), design (everything that grows has a named limit). From what nodes show of
//! themselves about once a second: every size is within its knob, or within the size of what it belongs to. And who ended is
//! forgotten: at no tick its end is longer ago than `forget_after` and the wait for its lease.

use super::{Event, event};
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Findings, Interest, NodeId, Scene};
use squall_coordinator::Incarnation;
use squall_machine::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The most heartbeats whose sending a member may remember, whatever the knobs.
const HEARTBEATS_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rb2 {
    /// The incarnations that ended, by when that was decided or the coordinator restarted since.
    ended: BTreeSet<(Time, Incarnation)>,
    when: BTreeMap<Incarnation, Time>,
    ticked: Time,
}

impl Rb2 {
    fn ends(&mut self, who: Incarnation, at: Time) {
        self.forget(who);
        self.when.insert(who, at);
        self.ended.insert((at, who));
    }

    fn forget(&mut self, who: Incarnation) {
        if let Some(at) = self.when.remove(&who) {
            self.ended.remove(&(at, who));
        }
    }
}

fn over(name: &str, size: usize, limit: usize) -> Option<String> {
    (size > limit).then(|| format!("{name}: {size}, at most {limit}"))
}

fn problem(node: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>) -> Option<String> {
    let knobs = scene.system.knobs();
    match view {
        ClusterView::Coordinator(status, _) => {
            let sizes = status.sizes;
            let members = status.quorum.as_ref().map_or(0, |quorum| quorum.members.len());
            let checks = [
                ("incarnations", sizes.grants + sizes.live + sizes.ended, knobs.members_max as usize),
                ("failures", sizes.failures, sizes.ended),
                ("notices", sizes.notices, knobs.notices_kept as usize),
                ("sessions", sizes.sessions, knobs.sessions_max as usize),
                ("open requests", sizes.open, sizes.live),
                ("settled requests", sizes.settled, sizes.live),
                ("holders", sizes.holders, members),
            ];
            checks.into_iter().find_map(|(name, size, limit)| over(name, size, limit))
        }
        ClusterView::Member(status) => {
            let ranks = scene.system.world_size(node).max(1) as usize;
            over("heartbeats", status.heartbeats_kept, HEARTBEATS_MAX)
                .or_else(|| over("waiting ranks", status.waiting_ranks as usize, ranks))
        }
        ClusterView::Observer(_) | ClusterView::Peer(_) | ClusterView::Store | ClusterView::Client { .. } => None,
    }
}

impl Checker<Cluster> for Rb2 {
    fn property(&self) -> &'static str {
        "RB2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.events(&["failed", "left", "forgotten", "stalled", "ticked"]);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let Some((decided, told)) = event(entry) else { return };
        match told {
            Event::Failed { incarnation, .. } | Event::Left { incarnation, .. } => self.ends(*incarnation, decided),
            Event::Forgotten { incarnation, .. } => self.forget(*incarnation),
            Event::Stalled { restarted: true, .. } => {
                let due = scene.system.knobs().forget_after.minus(scene.system.knobs().tick * 3);
                for (&who, &ended) in &self.when.clone() {
                    // Who was about to be forgotten may be so without a word.
                    match self.ticked.since(ended) < due {
                        true => self.ends(who, decided),
                        false => self.forget(who),
                    }
                }
            }
            Event::Ticked {} => {
                self.ticked = decided;
                let Some(&(ended, who)) = self.ended.first() else { return };
                let knobs = scene.system.knobs();
                // Who may still be Active isn't forgotten before `takeover`.
                let (age, limit) = (decided.since(ended), knobs.forget_after + knobs.takeover + knobs.tick * 2);
                if age > limit {
                    self.forget(who);
                    let message = format!("incarnation {who} ended {age} ago, and isn't forgotten");
                    findings.violated("RB2", entry.at, [entry.id], message);
                }
            }
            _ => {}
        }
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Some(problem) = problem(node, view, scene) {
            let none: [EntryId; 0] = [];
            let message = format!("{} keeps too much: {problem}", scene.system.name(node));
            findings.violated("RB2", scene.now, none, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, coordinator_view, history, status};
    use super::*;

    #[test]
    fn sizes_stay_within_their_limits() {
        let sized = |change: fn(&mut squall_coordinator::Sizes)| {
            let mut status = status();
            status.sizes.live = 3;
            change(&mut status.sizes);
            history(Rb2::default()).view(C, &coordinator_view(status))
        };
        sized(|sizes| sizes.open = 3).holds();
        sized(|sizes| sizes.open = 4).violated("open requests: 4, at most 3");
        sized(|sizes| sizes.ended = 20_000).violated("incarnations: 20003, at most 20000");
        sized(|sizes| sizes.failures = 1).violated("failures: 1, at most 0");
    }

    #[test]
    fn who_ended_is_forgotten() {
        let ended = || history(Rb2::default()).begin(0, 1).fail(0, 1, 1, squall_machine::Span::ZERO);
        ended().at(3_607_000).coordinator(Event::Ticked {}).holds();
        ended().at(3_607_001).coordinator(Event::Ticked {}).violated("isn't forgotten");
        let forgotten = Event::Forgotten { member: "r0".into(), incarnation: Incarnation(1) };
        ended().at(3_600_000).coordinator(forgotten).at(3_700_000).coordinator(Event::Ticked {}).holds();
    }
}
