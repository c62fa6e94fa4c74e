//! QU5: no instant with an incarnation Active in an older formation while a newer one that leaves it out exists (within the
//! clock budget).
//!
//! Source: spec 1.3 (nobody works in two groups). Judged from both sides.
//!
//! At the replicas: when a formation is published that leaves out an incarnation which is Active in an older one, and when
//! an incarnation becomes Active although it was left out. A process that is down works nowhere. One that is paused or slow
//! doesn't notice that its lease runs out; it works until then by its own clock, which the coordinator's side covers; but
//! with its first step after a pause it has to stop. Events of a replica with a disk (who subscribes) may be held back by a
//! sync, so for those the moment of the decision counts, put on true time by `clock`.
//!
//! Besides, nobody works without a lease: a replica that was left in peace is not Active when its last accepted heartbeat is
//! longer ago than `lapse` can be on any clock, whether or not a newer formation exists by then. A heartbeat is accepted
//! after it was sent, so this gives the replica more time than it has.
//!
//! At the coordinator: a formation may leave out a member of the one before only if that has left, has confirmed an
//! eviction, or no heartbeat of it was accepted for `takeover` (counted anew after a restart of the coordinator, before
//! which a confirmation may have become durable without a word).

use super::calm::{Calm, sync_max};
use super::clock::{LocalClock, longest};
use super::holders::Holders;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Epoch, Inactivity, Incarnation, Quorum};
use squall_machine::{Span, Time};
use std::collections::{BTreeMap, BTreeSet};

/// How many formations are remembered.
const KEPT: usize = 256;
/// How late something may be told that was decided in time, if a disk or a step of the world lies between.
const SLACK: Span = Span::from_millis(1);
/// After this long silence an unfinished case is decided.
const PATIENCE: Span = Span::from_secs(2);

#[derive(Clone, Copy, Debug)]
struct Working {
    incarnation: Incarnation,
    formation: Epoch,
    told: EntryId,
}

/// Somebody works in an older formation, as far as was told.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    node: NodeId,
    working: Working,
    newer: Epoch,
    since: Time,
    told: EntryId,
}

#[derive(Debug)]
struct Formation {
    members: BTreeSet<Incarnation>,
    at: Time,
    told: EntryId,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu5 {
    calm: Calm,
    clocks: BTreeMap<NodeId, LocalClock>,
    formations: BTreeMap<Epoch, Formation>,
    working: BTreeMap<NodeId, Working>,
    suspects: Vec<Suspect>,
    holders: Holders,
}

impl Qu5 {
    fn report(suspect: &Suspect, at: Time, last: EntryId, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let Suspect { node, working, newer, since, told } = *suspect;
        let message = format!(
            "{} (incarnation {}) is Active in formation {} after {since}, although formation {newer} leaves it out",
            scene.system.name(node),
            working.incarnation,
            working.formation
        );
        findings.violated("QU5", at, [working.told, told, last], message);
    }

    /// Left out of which newer formation.
    fn left_out(&self, working: Working) -> Option<(Epoch, &Formation)> {
        let newer = self.formations.range(working.formation.next()..);
        newer
            .map(|(epoch, formation)| (*epoch, formation))
            .find(|(_, formation)| !formation.members.contains(&working.incarnation))
    }

    fn on_formation(
        &mut self,
        entry: &Entry<'_, Cluster>,
        quorum: &Quorum,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        let members: BTreeSet<Incarnation> = quorum.members.iter().map(|member| member.incarnation).collect();
        for (&node, &working) in &self.working {
            if working.formation >= quorum.formation || members.contains(&working.incarnation) {
                continue;
            }
            // Who was slow just now may still be busy with its last step.
            if !self.calm.runs(node) || entry.at.since(self.calm.last(node)) < PATIENCE {
                continue;
            }
            let suspect = Suspect { node, working, newer: quorum.formation, since: entry.at, told: entry.id };
            if scene.system.subscribes(node) {
                self.suspects.push(suspect);
            } else {
                Self::report(&suspect, entry.at, entry.id, scene, findings);
            }
        }
        self.formations.insert(quorum.formation, Formation { members, at: entry.at, told: entry.id });
        if self.formations.len() > KEPT {
            self.formations.pop_first();
        }
    }

    fn on_active(
        &mut self,
        entry: &Entry<'_, Cluster>,
        decided: Time,
        working: Working,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        self.working.insert(entry.node, working);
        let Some((newer, formation)) = self.left_out(working) else {
            return self.judge_lease((entry.node, working), entry.id, scene, findings);
        };
        let (since, told) = (formation.at, formation.told);
        if self.later(entry.node, decided, since) {
            let suspect = Suspect { node: entry.node, working, newer, since, told };
            Self::report(&suspect, entry.at, entry.id, scene, findings);
        }
    }

    /// Whether something was decided at `node` after `at` for sure.
    fn later(&self, node: NodeId, decided: Time, at: Time) -> bool {
        let after = self.clocks.get(&node).and_then(|clock| clock.since_at_least(decided, at));
        after.is_some_and(|after| after > i128::from(SLACK.as_nanos()))
    }

    fn on_inactive(
        &mut self,
        entry: &Entry<'_, Cluster>,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        if let Some(working) = self.working.remove(&entry.node) {
            self.judge_lease((entry.node, working), entry.id, scene, findings);
        }
        let (mine, others) = self.suspects.iter().partition(|suspect| suspect.node == entry.node);
        self.suspects = others;
        let mine: Vec<Suspect> = mine;
        if let Some(suspect) = mine.iter().find(|suspect| self.later(suspect.node, decided, suspect.since)) {
            Self::report(suspect, entry.at, entry.id, scene, findings);
        }
    }

    /// Decides what was left open for long enough.
    fn on_time(&mut self, at: Time, last: EntryId, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let calm = &self.calm;
        self.suspects.retain(|suspect| {
            let rested = suspect.since.max(calm.last(suspect.node));
            if !calm.runs(suspect.node) || calm.since(suspect.node).is_none() || at.since(rested) < PATIENCE {
                return true;
            }
            Self::report(suspect, at, last, scene, findings);
            false
        });
    }

    /// For how long an incarnation that works at `node` can't have had a lease, if that is sure.
    fn unleased(&self, node: NodeId, who: Incarnation, scene: &Scene<'_, Cluster>) -> Option<Span> {
        // What was accepted just before the coordinator was disturbed may not have been told.
        let disturbed = self.calm.own_since(scene.system.coordinator())?;
        let from = self.holders.seen(who).map_or(disturbed, |seen| seen.max(disturbed));
        let knobs = scene.system.knobs();
        let lapse = longest(knobs.lapse, knobs.drift_ppm_max) + sync_max(scene.plan) * 2 + SLACK;
        let peace = self.calm.own_since(node).is_some_and(|since| since <= from);
        let silence = scene.now.since(from);
        (peace && silence > lapse).then_some(silence)
    }

    fn judge_lease(
        &self,
        (node, working): (NodeId, Working),
        last: EntryId,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        let Working { incarnation, formation, told } = working;
        if let Some(silence) = self.unleased(node, incarnation, scene) {
            let message = format!(
                "{} (incarnation {incarnation}) is Active in formation {formation}, though its last accepted heartbeat is \
                 {silence} ago",
                scene.system.name(node)
            );
            findings.violated("QU5", scene.now, [told, last], message);
        }
    }

    /// The coordinator's side.
    fn on_coordinator(
        &mut self,
        entry: &Entry<'_, Cluster>,
        decided: Time,
        told: &Event,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        match told {
            Event::Formed { quorum, .. } => {
                let takeover = scene.system.knobs().takeover;
                for (who, silence) in self.holders.left_out(quorum, decided) {
                    if silence.is_none_or(|silence| silence >= takeover) {
                        findings.reached("quorum after takeover");
                        continue;
                    }
                    let silence = silence.unwrap_or_default();
                    let message = format!(
                        "formation {} leaves out incarnation {who}, heard of {silence} ago, without its word",
                        quorum.formation
                    );
                    findings.violated("QU5", entry.at, [entry.id], message);
                }
                self.on_formation(entry, quorum, scene, findings);
            }
            Event::Evicted { .. } => findings.reached("member evicted"),
            Event::Ticked {} => {
                self.on_time(entry.at, entry.id, scene, findings);
                for (&node, &working) in &self.working {
                    self.judge_lease((node, working), entry.id, scene, findings);
                }
            }
            _ => {}
        }
        self.holders.follow(decided, told);
    }

    fn on_truth(&mut self, entry: &Entry<'_, Cluster>, truth: &Truth, scene: &Scene<'_, Cluster>) {
        self.calm.follow(entry, scene);
        match truth {
            Truth::Up { .. } if entry.node == scene.system.coordinator() => self.holders.restart(),
            Truth::Up { .. } | Truth::Down { .. } => {
                self.working.remove(&entry.node);
                self.suspects.retain(|suspect| suspect.node != entry.node);
            }
            Truth::Resume => {
                let Some(&working) = self.working.get(&entry.node) else { return };
                let Some((newer, formation)) = self.left_out(working) else { return };
                let told = formation.told;
                if !self.calm.runs(entry.node) || self.calm.last(entry.node) > entry.at {
                    return;
                }
                self.suspects.push(Suspect { node: entry.node, working, newer, since: entry.at, told });
            }
            _ => {}
        }
    }
}

impl Checker<Cluster> for Qu5 {
    fn property(&self) -> &'static str {
        "QU5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Calm::interest(interest);
        interest.events(&["heartbeat_accepted", "began", "left", "forgotten", "formed", "evict_sent", "evicted"]);
        interest.events(&["reset", "stalled", "ticked", "joined", "asked", "received", "active", "inactive"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let Some((decided, told)) = event(entry) else {
            if let Fact::Truth(truth) = entry.fact {
                self.on_truth(entry, truth, scene);
                if let Truth::Up { .. } = truth {
                    self.clocks.entry(entry.node).or_default().follow(entry, scene);
                }
            }
            return;
        };
        if let Event::HeartbeatAccepted { incarnation, .. } = told {
            return self.holders.heard(*incarnation, decided, entry.at);
        }
        if entry.node == scene.system.coordinator() {
            return self.on_coordinator(entry, decided, told, scene, findings);
        }
        self.clocks.entry(entry.node).or_default().follow(entry, scene);
        match told {
            Event::Received { quorum, .. } if !self.formations.contains_key(&quorum.formation) => {
                self.on_formation(entry, quorum, scene, findings);
            }
            Event::Active { incarnation, formation, .. } => {
                let working = Working { incarnation: *incarnation, formation: *formation, told: entry.id };
                self.on_active(entry, decided, working, scene, findings);
            }
            Event::Inactive { cause, .. } => {
                match cause {
                    Inactivity::Lapsed => findings.reached("lease lapsed"),
                    Inactivity::Newer => findings.reached("heard of a newer formation"),
                    _ => {}
                }
                self.on_inactive(entry, decided, scene, findings);
            }
            _ => {}
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.on_time(scene.now, EntryId(0), scene, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, R, history, quorum};
    use super::*;
    use squall_coordinator::QuorumId;

    fn active(incarnation: u64, formation: u64) -> Event {
        let (incarnation, formation) = (Incarnation(incarnation), Epoch(formation));
        Event::Active { incarnation, formation, quorum_id: QuorumId(1) }
    }

    fn inactive(incarnation: u64, formation: u64) -> Event {
        let (incarnation, formation) = (Incarnation(incarnation), Epoch(formation));
        Event::Inactive { incarnation, formation, cause: Inactivity::Lapsed }
    }

    /// r0 and r1 work in formation 1; r0 was last heard of at 3 s.
    fn start() -> History<Qu5> {
        let both = history(Qu5::default()).at(100).begin(0, 1).begin(1, 2);
        let formed = both.at(3_000).form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]), 2, false);
        formed.event(R[0], active(1, 1)).event(R[1], active(2, 1)).beat(1, 2)
    }

    fn alone(history: History<Qu5>) -> History<Qu5> {
        history.beat(2, 9).event(R[1], inactive(2, 1)).form(quorum(2, 2, &[(1, 2, 2)]), 2, false)
    }

    #[test]
    fn who_is_left_out_has_stopped_before() {
        alone(start().at(7_000).event(R[0], inactive(1, 1)).at(8_000)).holds();
        alone(start().at(8_000)).violated("is Active in formation 1");
        alone(start().at(7_500).down(R[0]).at(8_000)).holds();
    }

    #[test]
    fn nobody_works_without_a_lease() {
        let tick = |millis| start().at(millis).beat(2, 3).coordinator(Event::Ticked {});
        tick(7_009).holds();
        tick(7_010).violated("last accepted heartbeat is 4.01s ago");
        start().at(7_500).event(R[0], inactive(1, 1)).violated("is 4.5s ago");
        start().at(7_500).truth(C, Truth::Disk { state: squall::DiskState::Stuck }).event(R[0], inactive(1, 1)).holds();
        start()
            .at(5_000)
            .truth(R[0], Truth::Pause)
            .truth(R[0], Truth::Resume)
            .at(7_500)
            .event(R[0], inactive(1, 1))
            .holds();
    }

    #[test]
    fn the_coordinator_waits_for_takeover_or_a_word() {
        let stopped = || start().at(7_000).event(R[0], inactive(1, 1));
        alone(stopped().at(7_999)).violated("heard of 4.999s ago, without its word");
        let evicted = Event::Evicted { incarnation: Incarnation(1), formation: Epoch(1) };
        alone(stopped().coordinator(evicted)).holds();
        let left = Event::Left { member: "r0".into(), incarnation: Incarnation(1) };
        alone(stopped().coordinator(left)).holds();
        let stalled = Event::Stalled { gap: Span::ZERO, restarted: true };
        alone(stopped().down(C).up(C).coordinator(stalled).beat(1, 3).at(8_000)).violated("heard of 1s ago");
    }

    #[test]
    fn nobody_becomes_active_where_it_was_left_out() {
        let stopped = || alone(start().at(7_000).event(R[0], inactive(1, 1)).at(8_000));
        stopped().at(8_500).event(R[0], active(1, 1)).violated("formation 2 leaves it out");
        stopped().at(8_500).event(R[1], active(2, 2)).holds();
    }

    #[test]
    fn a_paused_process_stops_with_its_first_step() {
        let paused = || alone(start().at(3_500).truth(R[0], Truth::Pause).at(8_000));
        paused()
            .at(9_000)
            .truth(R[0], Truth::Resume)
            .event(R[0], inactive(1, 1))
            .at(20_000)
            .coordinator(Event::Ticked {})
            .holds();
        paused().at(9_000).truth(R[0], Truth::Resume).at(9_100).event(R[0], inactive(1, 1)).violated("is Active");
        paused().at(9_000).truth(R[0], Truth::Resume).at(12_000).coordinator(Event::Ticked {}).violated("is Active");
    }
}
