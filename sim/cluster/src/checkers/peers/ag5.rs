//! AG5: an excluded live member is Inactive from its first suspicion or promise until it learns, then SelfFenced; it sends
//! nothing in the new generation.
//!
//! Source: spec 2 (no application work is started in between). Every StepStarted is judged, whoever is excluded later: its
//! process is Active in that communicator by its own word, and has neither suspected anybody nor promised or accepted anything
//! since it installed it. Every message in the name of a generation comes from somebody who installed it and nothing since.

use super::fold::Fold;
use super::{recovery, told};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene};
use squall_node::{PeerNodeEvent, PeerNodeMessage, WorkEvent};
use squall_recovery::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag5 {
    fold: Fold,
}

/// The messages that carry a stamp.
pub(super) const STAMPED: [&str; 9] =
    ["ping", "pong", "appeal", "collect", "promise", "outbid", "propose", "accept", "catch_up"];

impl Checker<Cluster> for Ag5 {
    fn property(&self) -> &'static str {
        "AG5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Fold::interest(interest);
        interest.events(&["step_started"]);
        interest.sent(&STAMPED);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Sent { message: crate::Message::Peer(PeerNodeMessage::Recovery(message)), .. } = entry.fact {
            let stamp = message.stamp();
            let seat = self.fold.seat(entry.node).map(|seat| seat.generation);
            if let Some(stamp) = stamp.filter(|stamp| Some(stamp.generation) != seat) {
                let generation = stamp.generation;
                let message = format!("a message speaks for generation {generation}, in which its sender isn't");
                findings.violated("AG5", entry.at, [entry.id], message);
            }
            return;
        }
        self.fold.follow(entry, scene);
        if let Some(PeerNodeEvent::Work(WorkEvent::StepStarted { generation, step, .. })) = told(entry) {
            let seat = self.fold.seat(entry.node).filter(|seat| seat.generation == *generation);
            let problem = match seat {
                None => "is not installed",
                Some(seat) if seat.troubled => "has a suspicion or a promise of its member",
                Some(seat) if !seat.active => "is not active",
                Some(_) => return,
            };
            let message = format!("step {step} is started in generation {generation}, which {problem}");
            findings.violated("AG5", entry.at, [entry.id], message);
        }
        if let Some(Event::SelfFenced { .. }) = recovery(entry) {
            findings.reached("self-fence");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, active, peers, ping, promised, step, suspects};
    use super::*;
    use squall_recovery::{Generation, Inactivity, Incarnation};

    #[test]
    fn work_is_started_only_without_suspicion_and_promise() {
        let start = || peers(Ag5::default()).found().event(R[0], active(1, 0));
        start().event(R[0], step(1, 1)).holds();
        start().event(R[1], step(1, 1)).violated("is not active");
        start().event(R[0], suspects(1, 4)).event(R[0], step(1, 2)).violated("suspicion or a promise");
        start().event(R[0], promised(1, (1, 0))).event(R[0], step(1, 2)).violated("suspicion or a promise");
        let inactive = Event::GroupInactive { generation: Generation(1), cause: Inactivity::Promise };
        start().event(R[0], inactive).event(R[0], step(1, 2)).violated("is not active");
        start().event(R[0], step(2, 1)).violated("is not installed");
    }

    #[test]
    fn who_is_excluded_is_silent_in_the_new_generation() {
        let start = || peers(Ag5::default()).found();
        start().sends_from(R[0], R[1], ping(1, 0)).holds();
        start().sends_from(R[0], R[1], ping(2, 0)).violated("speaks for generation 2");
        let fenced = Event::SelfFenced { generation: Generation(2), incarnation: Incarnation(1) };
        start().event(R[0], fenced).sends_from(R[0], R[1], ping(1, 0)).violated("speaks for generation 1");
    }
}
