//! Whose client gave up, and whether the coordinator must have heard of it by now.

use super::calm::{Calm, delay_max, sync_max};
use super::clock::longest;
use super::{Event, event};
use crate::Cluster;
use squall::{Entry, Fact, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Incarnation, Message, Number};
use squall_machine::Time;
use std::collections::BTreeMap;

/// The last request that a client gave up, and all before it.
#[derive(Clone, Copy, Debug)]
struct GaveUp {
    through: Number,
    at: Time,
    /// Where its process runs.
    node: NodeId,
    /// When the coordinator was last told, whether it heard or not; `at` before the first time.
    told: Time,
}

/// Every withdrawal of an incarnation that hasn't ended.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    calm: Calm,
    gave_up: BTreeMap<Incarnation, GaveUp>,
}

impl Withdrawals {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        Calm::interest(interest);
        interest.events(&["gave_up", "failed", "left"]);
        interest.sent(&["withdraw", "leave"]);
    }

    /// Why this request, if it counts now, should not: its client gave it up, nothing kept the coordinator from hearing of
    /// it, and there was time enough; or its process, though undisturbed, has stopped to say so.
    pub(super) fn phantom(&self, who: Incarnation, number: Number, scene: &Scene<'_, Cluster>) -> Option<&'static str> {
        let gave_up = self.gave_up.get(&who).filter(|gave_up| number <= gave_up.through)?;
        if self.should_be_known(gave_up, scene) {
            return Some("gave its request up long ago");
        }
        self.fell_silent(gave_up, scene).then_some("gave its request up, and stopped to say so before it was heard")
    }

    fn should_be_known(&self, gave_up: &GaveUp, scene: &Scene<'_, Cluster>) -> bool {
        let Some(delay) = delay_max(scene.plan) else { return false };
        let knobs = scene.system.knobs();
        let bound = longest((delay + sync_max(scene.plan) * 2) * 2 + knobs.resend, knobs.drift_ppm_max);
        let calm = self.calm.pair_since(gave_up.node, scene).is_some_and(|calm| calm < gave_up.at);
        calm && scene.now.since(gave_up.at) > bound
    }

    /// Whatever the network does: a request that counts was not answered as withdrawn, so it has to be withdrawn again, at
    /// the latest after the longest pause that a member makes which takes the coordinator for lost.
    fn fell_silent(&self, gave_up: &GaveUp, scene: &Scene<'_, Cluster>) -> bool {
        let knobs = scene.system.knobs();
        let bound = longest(knobs.resend + knobs.return_spread + sync_max(scene.plan) * 2, knobs.drift_ppm_max);
        let calm = self.calm.own_since(gave_up.node).is_some_and(|calm| calm < gave_up.at);
        calm && scene.now.since(gave_up.told) > bound
    }

    /// Takes an entry in, after it was judged.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        self.calm.follow(entry, scene);
        let (at, node) = (entry.at, entry.node);
        match entry.fact {
            // Whatever was asked before is of an epoch that is over.
            Fact::Truth(Truth::Up { .. }) if node == scene.system.coordinator() => self.gave_up.clear(),
            // Who leaves withdraws nothing besides: its requests end with it.
            Fact::Sent {
                message:
                    crate::Message::Coordinator(Message::Withdraw { incarnation, .. } | Message::Leave { incarnation, .. }),
                ..
            } => {
                if let Some(gave_up) = self.gave_up.get_mut(incarnation) {
                    gave_up.told = at;
                }
            }
            Fact::Truth(_) | Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. } | Fact::Event { .. } => {
            }
        }
        match event(entry) {
            Some((_, Event::GaveUp { incarnation, through })) => {
                self.gave_up.insert(*incarnation, GaveUp { through: *through, at, node, told: at });
            }
            Some((_, Event::Failed { incarnation, .. } | Event::Left { incarnation, .. })) => {
                self.gave_up.remove(incarnation);
            }
            _ => {}
        }
    }
}
