//! CR1, the other half: nothing acknowledged is lost, because nothing is said before it is durable.
//!
//! Source: spec 3.7 (disk before network). An event enters the history once everything recorded before it is durable, and a
//! coordinator tells the history what it decided before it tells anybody else. So whatever it says about a decision has to
//! be in the history already: a grant, an end, a formation, an epoch, what a notice is about. (How notices are numbered is
//! NT1's and NT5's.) That shows a promise made too early in any run, also in one without the crash that would break it.
//! Judged until the first restart: after it, something may have been durable without having been told.

use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::{Cause, Change, Epoch, Incarnation, Message};
use std::collections::BTreeMap;

/// How an incarnation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Failed(Cause),
    Left,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Promises {
    granted: Incarnation,
    ended: BTreeMap<Incarnation, End>,
    epoch: Epoch,
    formation: Epoch,
    restarted: bool,
}

impl Promises {
    fn follow(&mut self, told: &Event) {
        match told {
            Event::Granted { incarnation, .. } => self.granted = self.granted.max(*incarnation),
            Event::Failed { incarnation, cause, .. } => {
                self.ended.insert(*incarnation, End::Failed(*cause));
            }
            Event::Left { incarnation, .. } => {
                self.ended.insert(*incarnation, End::Left);
            }
            Event::Forgotten { incarnation, .. } => {
                self.ended.remove(incarnation);
            }
            Event::Reset { epoch, .. } => self.epoch = self.epoch.max(*epoch),
            Event::Formed { quorum, .. } => {
                self.formation = self.formation.max(quorum.formation);
                self.epoch = self.epoch.max(quorum.formation.next());
            }
            _ => {}
        }
    }

    /// What the message says that isn't durable.
    fn too_early(&self, message: &Message) -> Option<String> {
        match message {
            Message::Granted { incarnation, .. } => {
                (*incarnation > self.granted).then(|| format!("the grant of incarnation {incarnation}"))
            }
            Message::Failed { incarnation, cause } => (self.ended.get(incarnation) != Some(&End::Failed(*cause)))
                .then(|| format!("the failure of incarnation {incarnation}")),
            Message::Superseded { incarnation } => (self.ended.get(incarnation)
                != Some(&End::Failed(Cause::Superseded)))
            .then(|| format!("the end of incarnation {incarnation}")),
            Message::Left { incarnation } => (self.ended.get(incarnation) != Some(&End::Left))
                .then(|| format!("the departure of incarnation {incarnation}")),
            Message::Formed { quorum, .. } => {
                (quorum.formation > self.formation).then(|| format!("formation {}", quorum.formation))
            }
            Message::Reset { epoch, .. } => (*epoch > self.epoch.max(Epoch(1))).then(|| format!("epoch {epoch}")),
            Message::Notification { notice, .. } => {
                let known = match notice.change {
                    Change::Failed(_) => self.ended.contains_key(&notice.incarnation),
                    Change::Returned => notice.incarnation <= self.granted,
                };
                (!known).then(|| format!("notice {}", notice.cursor))
            }
            Message::Snapshot { failures, .. } => failures
                .iter()
                .find(|failure| !self.ended.contains_key(&failure.incarnation))
                .map(|failure| format!("the failure of incarnation {}", failure.incarnation)),
            _ => None,
        }
    }
}

impl Checker<Cluster> for Promises {
    fn property(&self) -> &'static str {
        "CR1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["granted", "failed", "left", "forgotten", "reset", "formed"]);
        interest.sent(&["granted", "failed", "superseded", "left", "formed", "reset", "notification", "snapshot"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if entry.node != scene.system.coordinator() {
            return;
        }
        match entry.fact {
            Fact::Truth(Truth::Up { life, .. }) => self.restarted |= *life > 1,
            Fact::Sent { message: crate::Message::Coordinator(message), .. } if !self.restarted => {
                if let Some(what) = self.too_early(message) {
                    let message = format!("{what} is sent before it is durable");
                    findings.violated("CR1", entry.at, [entry.id], message);
                }
            }
            _ => {
                if let Some((_, told)) = event(entry) {
                    self.follow(told);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, history, quorum};
    use super::*;
    use squall_coordinator::{BootId, Cursor, Notice, Number, Session};
    use squall_machine::Span;
    use std::sync::Arc;

    fn start() -> History<Promises> {
        history(Promises::default()).begin(0, 1).at(6_000).fail(0, 1, 1, Span::from_secs(5))
    }

    fn granted(incarnation: u64) -> Message {
        Message::Granted { boot: BootId(1), incarnation: Incarnation(incarnation), epoch: Epoch(1) }
    }

    #[test]
    fn what_is_said_is_durable() {
        let failed = |who| Message::Failed { incarnation: Incarnation(who), cause: Cause::Timeout };
        let reset = |epoch| Message::Reset { incarnation: Incarnation(1), epoch: Epoch(epoch), failed: Arc::from([]) };
        start().sends(granted(1)).sends(failed(1)).sends(reset(1)).holds();
        start().sends(granted(2)).violated("the grant of incarnation 2 is sent before it is durable");
        start().sends(failed(2)).violated("the failure of incarnation 2");
        start().sends(reset(2)).violated("epoch 2");
        let notice = |who| {
            let (session, change) = (Session(7), Change::Failed(Cause::Timeout));
            let notice = Notice { cursor: Cursor(1), member: "r0".into(), incarnation: Incarnation(who), change };
            Message::Notification { session, notice }
        };
        start().sends(notice(1)).holds();
        start().sends(notice(2)).violated("notice 1");
        let left = Message::Left { incarnation: Incarnation(1) };
        start().sends(left).violated("the departure of incarnation 1");
        let formed = |formation| {
            let quorum = quorum(1, formation, &[(0, 1, 1)]);
            Message::Formed { incarnation: Incarnation(1), number: Number(1), heartbeat: 0, quorum }
        };
        let formation = || start().form(quorum(1, 1, &[(0, 1, 1)]), 1, false);
        formation().sends(formed(1)).sends(reset(2)).holds();
        formation().sends(formed(2)).violated("formation 2");
    }

    #[test]
    fn after_a_restart_something_may_be_durable_without_a_word() {
        start().down(C).up(C).sends(granted(2)).holds();
    }
}
