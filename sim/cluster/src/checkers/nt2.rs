//! NT2: none missed: a session that is up and connected long enough has each Failed either notified or in a resynced
//! snapshot.
//!
//! Source: spec 1.2. Judged at every tick of the coordinator, for each subscriber that has run undisturbed, with whole links
//! to an undisturbed coordinator, for as long as polls, re-sends and windows can take: it has to have covered every notice
//! that is older than that. At the end of the fault phase links are whole, so the liveness phase judges every subscriber of
//! the core, and lasts until all have covered everything. Also: who comes back after a failure that is not forgotten, is
//! told to have returned.

use super::calm::{Calm, delay_max, sync_max};
use super::clock::longest;
use super::stream::{Stands, Stream};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Phase, Scene, Truth};
use squall_coordinator::Incarnation;
use squall_machine::{Span, Text, Time};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt2 {
    stream: Stream,
    stands: Stands,
    calm: Calm,
    /// Subscribers that were told to end their session.
    closed: BTreeSet<NodeId>,
    failures: BTreeMap<Text, Incarnation>,
}

impl Nt2 {
    /// How many notices a subscriber lacks, and since when it had the chance to take the first of them; `None` if it is
    /// disturbed.
    fn lacks(&self, node: NodeId, scene: &Scene<'_, Cluster>) -> Option<(u64, Time)> {
        let calm = self.calm.pair_since(node, scene).filter(|_| !self.closed.contains(&node))?;
        let taken = self.stands.nodes.get(&node).and_then(|stand| stand.taken());
        let Some(taken) = taken else { return Some((1, calm)) };
        let lacks = self.stream.newest.0.saturating_sub(taken.0);
        let told = self.stream.at(taken.next()).map_or(Time::ZERO, |told| told.at);
        Some((lacks, calm.max(told)))
    }

    fn bound(lacks: u64, scene: &Scene<'_, Cluster>) -> Option<Span> {
        let knobs = scene.system.knobs();
        let delay = match scene.phase {
            Phase::WarmUp | Phase::Faults => delay_max(scene.plan)?,
            Phase::Stabilisation | Phase::Liveness => scene.plan.network.delay.longest(),
        };
        let trip = (delay + sync_max(scene.plan) * 2) * 2;
        let windows = lacks / u64::from(knobs.subscriber_queue) + 2;
        let bound = knobs.poll * 3 + knobs.tick * 3 + trip * 4 + (trip + knobs.resend) * windows;
        Some(longest(bound, knobs.drift_ppm_max))
    }

    fn subscribers<'a>(scene: &'a Scene<'_, Cluster>) -> impl Iterator<Item = NodeId> + 'a {
        (0..scene.nodes.len() as u32).map(NodeId).filter(|&node| scene.system.subscribes(node))
    }

    fn judge(&self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let count = Self::subscribers(scene).count();
        if count * 2 > scene.system.knobs().sessions_max as usize {
            return;
        }
        for node in Self::subscribers(scene) {
            let Some((lacks, since)) = self.lacks(node, scene).filter(|(lacks, _)| *lacks > 0) else { continue };
            if Self::bound(lacks, scene).is_some_and(|bound| entry.at.since(since) > bound) {
                let taken = self.stands.nodes.get(&node).and_then(|stand| stand.taken());
                let message = format!(
                    "{} lacks notices up to {}, has {taken:?}, and nothing disturbs it since {since}",
                    scene.system.name(node),
                    self.stream.newest
                );
                findings.violated("NT2", entry.at, [entry.id], message);
            }
        }
    }

    fn on_event(&mut self, entry: &Entry<'_, Cluster>, told: &Event, findings: &mut Findings) {
        match told {
            Event::Failed { member, incarnation, .. } => {
                self.failures.insert(member.clone(), *incarnation);
            }
            Event::Began { member, incarnation, returned, .. } => {
                let failed = self.failures.remove(member).is_some();
                if failed && returned.is_none() && !self.stream.restarted {
                    let message =
                        format!("{member} begins {incarnation} after a failure, and its return isn't notified");
                    findings.violated("NT2", entry.at, [entry.id], message);
                }
            }
            Event::Forgotten { member, incarnation } if self.failures.get(member) == Some(incarnation) => {
                self.failures.remove(member);
            }
            Event::Stopped { .. } => {
                self.closed.insert(entry.node);
            }
            _ => {}
        }
    }
}

impl Checker<Cluster> for Nt2 {
    fn property(&self) -> &'static str {
        "NT2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Stream::interest(interest);
        Stands::interest(interest);
        Calm::interest(interest);
        interest.truth(&["request"]);
        interest.events(&["ticked", "forgotten", "stopped"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(truth) = entry.fact {
            self.calm.follow(entry, scene);
            match truth {
                Truth::Up { .. } => {
                    self.closed.remove(&entry.node);
                }
                Truth::Request { name: "drain" | "leave" } => {
                    self.closed.insert(entry.node);
                }
                _ => {}
            }
        }
        // What is wrong with the numbering is NT5's.
        let _ = self.stream.follow(entry, scene);
        self.stands.follow(entry);
        match event(entry) {
            Some((_, Event::Ticked {})) => self.judge(entry, scene, findings),
            Some((_, told)) => self.on_event(entry, told, findings),
            None => {}
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        Self::subscribers(scene).all(|node| self.lacks(node, scene).is_none_or(|(lacks, _)| lacks == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, S, history, notified, resynced};
    use super::*;

    fn start() -> History<Nt2> {
        history(Nt2::default()).at(500).begin(0, 1).event(S, resynced(0, &[]))
    }

    #[test]
    fn a_connected_subscriber_has_every_notice_in_time() {
        let failed = || start().at(1_000).fail(0, 1, 1, Span::ZERO);
        failed().at(1_500).event(S, notified(1, 0, 1)).at(30_000).coordinator(Event::Ticked {}).holds();
        failed().at(1_500).event(S, resynced(1, &[])).at(30_000).coordinator(Event::Ticked {}).holds();
        failed().at(3_000).coordinator(Event::Ticked {}).holds();
        failed().at(30_000).coordinator(Event::Ticked {}).violated("lacks notices up to 1");
        history(Nt2::default()).at(30_000).coordinator(Event::Ticked {}).violated("s0 lacks");
    }

    #[test]
    fn a_disturbed_one_is_given_time() {
        let failed = || start().at(1_000).fail(0, 1, 1, Span::ZERO).truth(S, Truth::Pause);
        failed().at(30_000).coordinator(Event::Ticked {}).holds();
        failed().at(29_000).truth(S, Truth::Resume).at(30_000).coordinator(Event::Ticked {}).holds();
        let cut = Truth::Link { fault: 0, begins: true };
        start().at(1_000).truth(S, cut).fail(0, 1, 1, Span::ZERO).at(30_000).coordinator(Event::Ticked {}).holds();
    }

    #[test]
    fn a_return_is_notified() {
        start().fail(0, 1, 1, Span::ZERO).begin(0, 2).violated("return isn't notified");
    }
}
