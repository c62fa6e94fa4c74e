//! QU7: after a replica's Failed only requests of the new epoch count.
//!
//! Source: spec 1.3. Every member of a formation has asked after the last replica's failure: its request began to count after
//! it, and was made in an epoch that is newer than the one in which the failure fell. And formation starts over for nothing
//! else: every reset names the replicas that failed since the last one, or follows a restart.

use super::requests::Requests;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Scene};
use squall_coordinator::{Epoch, Incarnation, Role};
use squall_machine::Text;
use std::collections::{BTreeMap, BTreeSet};

/// The last failure of a replica, and the epoch in which it fell, if that was known.
#[derive(Clone, Copy, Debug)]
struct Failure {
    told: EntryId,
    epoch: Option<Epoch>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu7 {
    requests: Requests,
    /// When each request began to count, whatever ended it since.
    counted: BTreeMap<Incarnation, EntryId>,
    failure: Option<Failure>,
    /// The replicas that failed since formation last started over.
    failed: BTreeSet<Text>,
    /// The coordinator restarted, and formation has not started over yet.
    restarting: bool,
}

impl Qu7 {
    fn on_reset(&mut self, entry: &Entry<'_, Cluster>, failed: &[Text], findings: &mut Findings) {
        let restarting = std::mem::take(&mut self.restarting);
        let known = std::mem::take(&mut self.failed);
        let stranger = failed.iter().find(|member| !known.contains(*member));
        let problem = match stranger {
            Some(stranger) => Some(format!("because of {stranger}, which is no replica that has just failed")),
            None if failed.is_empty() && !restarting => Some("for no reason".to_owned()),
            None => None,
        };
        if let Some(problem) = problem {
            findings.violated("QU7", entry.at, [entry.id], format!("formation starts over {problem}"));
        }
    }

    fn on_formed(&self, entry: &Entry<'_, Cluster>, quorum: &squall_coordinator::Quorum, findings: &mut Findings) {
        let Some(failure) = self.failure else { return };
        let formation = quorum.formation;
        for member in quorum.members.iter() {
            let who = member.incarnation;
            let old = self.counted.get(&who).is_some_and(|told| *told < failure.told);
            let asked = self.requests.asked(who, member.number).map(|asked| asked.epoch);
            let stale = asked.zip(failure.epoch).is_some_and(|(asked, failed)| asked <= failed);
            if old || stale || failure.epoch.is_some_and(|failed| formation <= failed) {
                let message = format!(
                    "formation {formation} holds {} (incarnation {who}) by a request from before a replica's failure",
                    member.id
                );
                findings.violated("QU7", entry.at, [failure.told, entry.id], message);
            }
        }
    }
}

impl Checker<Cluster> for Qu7 {
    fn property(&self) -> &'static str {
        "QU7"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Requests::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((_, Event::Requested { incarnation, .. })) => {
                self.counted.insert(*incarnation, entry.id);
            }
            Some((_, Event::Stalled { restarted: true, .. })) => self.restarting = true,
            Some((_, Event::Reset { failed, .. })) => self.on_reset(entry, failed, findings),
            Some((_, Event::Failed { member, incarnation, role, .. })) => {
                if *role == Role::Replica {
                    self.failed.insert(member.clone());
                    let newest = self.failure.and_then(|failure| failure.epoch);
                    self.failure = Some(Failure { told: entry.id, epoch: self.requests.epoch.or(newest) });
                }
                self.counted.remove(incarnation);
            }
            Some((_, Event::Left { incarnation, .. })) => {
                self.counted.remove(incarnation);
            }
            Some((_, Event::Formed { quorum, .. })) => self.on_formed(entry, quorum, findings),
            _ => {}
        }
        self.requests.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, history, quorum};
    use super::*;
    use squall_machine::Span;

    fn start() -> History<Qu7> {
        history(Qu7::default()).begin(0, 1).begin(1, 2).ask(0, 1, 1, 1).fail(1, 2, 1, Span::ZERO)
    }

    fn reset(epoch: u64, failed: &[&str]) -> Event {
        Event::Reset { epoch: Epoch(epoch), failed: failed.iter().map(|member| Text::from(*member)).collect() }
    }

    #[test]
    fn formation_starts_over_for_a_failure_or_a_restart_only() {
        start().coordinator(reset(2, &["r1"])).holds();
        start().coordinator(reset(2, &["r0"])).violated("because of r0");
        start().coordinator(reset(2, &[])).violated("for no reason");
        let restarted = Event::Stalled { gap: Span::ZERO, restarted: true };
        start().coordinator(restarted).coordinator(reset(2, &[])).holds();
    }

    #[test]
    fn a_failure_ends_every_older_request() {
        let reset = reset(2, &["r1"]);
        let again = || start().coordinator(reset.clone()).ask(0, 1, 2, 2);
        again().form(quorum(1, 2, &[(0, 1, 2)]), 1, false).holds();
        start().form(quorum(1, 1, &[(0, 1, 1)]), 1, false).violated("from before a replica's failure");
        start().coordinator(reset.clone()).form(quorum(1, 2, &[(0, 1, 1)]), 1, false).violated("from before");
    }
}
