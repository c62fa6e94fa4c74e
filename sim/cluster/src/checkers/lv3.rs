//! LV3: enough healthy replicas asking => a quorum reaches them; no waiter hangs.
//!
//! Source: spec 1.3 and properties, liveness. Judged twice. At the end of each tick, by the coordinator's own clock: if the
//! candidates could form a quorum by every rule, and nobody of the one before holds them up, it has formed; and if only such
//! holders are awaited, and for longer than `join_timeout`, those that are live have been asked to stop. And at the end of
//! the liveness phase: no replica of the core has waited for a quorum, without its client giving up, since before the phase
//! began. The core is chosen so that its training replicas are enough; only where they are told to rest, waiting may be
//! right.

use super::ages::SharedAges;
use super::candidates::Candidates;
use super::holders::Holders;
use super::waiters::Waiters;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::Incarnation;
use squall_machine::Time;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv3 {
    waiters: Waiters,
    ages: SharedAges,
    candidates: Candidates,
    holders: Holders,
    /// When each incarnation was last asked to stop.
    evicting: BTreeMap<Incarnation, Time>,
}

impl Lv3 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    /// Whether these can form a quorum by every rule, the coordinator's knowledge of who is healthy aside.
    fn enough(&self, list: &BTreeSet<Incarnation>, now: Time, scene: &Scene<'_, Cluster>) -> bool {
        let knobs = scene.system.knobs();
        if list.is_empty() || list.len() < knobs.min_replicas as usize {
            return false;
        }
        if self.candidates.previous.as_ref().is_some_and(|previous| previous.is_subset(list)) {
            return true;
        }
        let (size, (_, healthy)) = (list.len() as u32, Candidates::healthy(&self.ages.look(), knobs, now));
        let waited = self.candidates.waited(list.iter().copied(), now);
        size * 2 > healthy && (size == healthy || waited >= knobs.join_timeout)
    }

    /// What should have happened by the end of this tick.
    fn overdue(&self, now: Time, scene: &Scene<'_, Cluster>) -> Option<String> {
        if self.candidates.requests.open.is_empty() || self.candidates.doubt {
            return None;
        }
        let knobs = scene.system.knobs();
        let list = self.candidates.list(&self.ages.look(), knobs, now);
        if !self.enough(&list, now, scene) {
            return None;
        }
        let ages = self.ages.look();
        // After its own gap the coordinator may count silence from there.
        let since_gap = ages.floor.map(|floor| now.since(floor));
        let holds = |who: &Incarnation| {
            let silence = self.holders.silence(*who, now).into_iter().chain(since_gap).min();
            !list.contains(who) && silence.is_some_and(|silence| silence < knobs.takeover)
        };
        let holders: Vec<Incarnation> = self.holders.all().filter(holds).collect();
        if holders.is_empty() {
            return Some(format!("incarnations {list:?} ask and are enough, and nobody holds them up"));
        }
        if self.candidates.waited(list.iter().copied(), now) < knobs.join_timeout + knobs.tick * 2 {
            return None;
        }
        let asked = |who: &Incarnation| self.evicting.get(who).is_some_and(|at| now.since(*at) <= knobs.tick * 2);
        let live = |who: &Incarnation| ages.rows.row(*who).is_some_and(|row| row.sure);
        let unasked = holders.into_iter().find(|who| live(who) && !asked(who))?;
        Some(format!("incarnation {unasked} holds up {list:?} after join_timeout, and isn't asked to stop"))
    }

    fn on_event(
        &mut self,
        entry: &Entry<'_, Cluster>,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        told: &Event,
        findings: &mut Findings,
    ) {
        match told {
            Event::Ticked {} => {
                if let Some(problem) = self.overdue(decided, scene) {
                    findings.violated("LV3", entry.at, [entry.id], format!("a tick is over: {problem}"));
                }
            }
            Event::EvictSent { incarnation, .. } => {
                self.evicting.insert(*incarnation, decided);
            }
            Event::Formed { .. } => self.evicting.clear(),
            _ => {}
        }
        if entry.node == scene.system.coordinator() {
            self.holders.follow(decided, told);
        }
    }

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
        self.ages.interest(interest);
        Candidates::interest(interest);
        interest.events(&["heartbeat_accepted", "ticked", "evict_sent", "evicted"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Some((decided, Event::HeartbeatAccepted { incarnation, .. })) = event(entry) {
            self.holders.heard(*incarnation, decided, entry.at);
            return self.ages.follow(entry, scene);
        }
        if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.holders.restart();
            self.evicting.clear();
        }
        if let Some((decided, told)) = event(entry) {
            self.on_event(entry, decided, scene, told, findings);
        }
        self.candidates.follow(entry, scene);
        self.ages.follow(entry, scene);
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
    use super::super::testing::{History, R, active, history, quorum};
    use super::*;
    use squall_coordinator::Epoch;

    #[test]
    fn a_quorum_forms_as_soon_as_it_can() {
        let ticked = |history: History<Lv3>| history.coordinator(Event::Ticked {});
        let three = || history(Lv3::default()).at(100).begin(0, 1).begin(1, 2).begin(2, 3).at(1_000);
        ticked(three().ask(0, 1, 1, 1).ask(1, 2, 1, 1)).holds();
        ticked(three().ask(0, 1, 1, 1).ask(1, 2, 1, 1).ask(2, 3, 1, 1)).violated("nobody holds them up");
        let beats = |history: History<Lv3>, until: u64| {
            (2..=until).fold(history, |history, second| {
                history.at(second * 1_000).beat(1, second).beat(2, second).beat(3, second)
            })
        };
        let two = || three().ask(0, 1, 1, 1).ask(1, 2, 1, 1);
        ticked(beats(two(), 60)).holds();
        ticked(beats(two(), 61)).violated("are enough");
        let all = || three().form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]), 3, false);
        let held = || all().ask(0, 1, 2, 2).ask(1, 2, 2, 2);
        ticked(beats(held(), 62)).holds();
        ticked(beats(held(), 63)).violated("isn't asked to stop");
        let evict = Event::EvictSent { incarnation: Incarnation(3), formation: Epoch(1) };
        ticked(beats(held(), 62).coordinator(evict).at(63_000).beat(1, 63).beat(2, 63).beat(3, 63)).holds();
    }

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
