//! QU1: each member of Formed had an open request of the current epoch and was alive.
//!
//! Source: spec 1.3 and 0. A request counts only if its member asked it, under this number and not in an older epoch. At
//! Formed, by the coordinator's own clock: every member's request still counts under the number and epoch of the formation,
//! what is handed on is what was asked, and the member is alive by the one predicate. Besides, by ground truth: a request
//! whose client gave up long enough ago, undisturbed, is not in it.

use super::ages::SharedAges;
use super::calm::{Calm, delay_max, sync_max};
use super::clock::longest;
use super::requests::Requests;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene};
use squall_coordinator::{Epoch, Incarnation, Number, Participant, Quorum};
use squall_machine::Time;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu1 {
    ages: SharedAges,
    requests: Requests,
    calm: Calm,
    /// The last request that each gave up, when, and where its process runs.
    gave_up: BTreeMap<Incarnation, (Number, Time, NodeId)>,
}

impl Qu1 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    fn request_problem(&self, who: Incarnation, number: Number, epoch: Epoch) -> Option<String> {
        if let Some(current) = self.requests.epoch.filter(|current| *current != epoch) {
            return Some(format!("counts in epoch {epoch}, but the current one is {current}"));
        }
        match self.requests.asked(who, number) {
            Some(asked) if asked.epoch < epoch => {
                Some(format!("counts in epoch {epoch}, but it was asked in {}", asked.epoch))
            }
            None if !self.requests.may_have_asked(who, number) => Some("counts, but was never asked".to_owned()),
            Some(_) | None => None,
        }
    }

    /// What is wrong with a member of a formation, and the entry that shows it.
    fn member_problem(
        &self,
        member: &Participant,
        formation: Epoch,
        decided: Time,
        scene: &Scene<'_, Cluster>,
    ) -> Option<(String, Option<EntryId>)> {
        let who = member.incarnation;
        let Some(open) = self.requests.open.get(&who) else {
            return Some(("has no open request".to_owned(), None));
        };
        let (number, told) = (member.number, Some(open.told));
        if (open.number, open.epoch) != (number, formation) {
            let message = format!(
                "is in by request {number}, but {} of epoch {} is open in formation {formation}",
                open.number, open.epoch
            );
            return Some((message, told));
        }
        let ages = self.ages.look();
        if ages.alive(scene.system.knobs(), who, decided) == Some(false)
            || ages.rows.row(who).is_none() && !ages.restarted
        {
            return Some(("isn't alive".to_owned(), told));
        }
        let ask = &member.ask;
        let shown = (ask.step, ask.shrink_only, ask.commit_failures);
        let asked = self.requests.asked(who, number);
        let asked = asked.map(|asked| (asked.step, asked.shrink_only, asked.commit_failures));
        if asked.is_some_and(|asked| asked != shown) {
            return Some((format!("asked {asked:?}, but {shown:?} is handed on"), told));
        }
        self.phantom(member, scene).then(|| ("gave its request up long ago".to_owned(), told))
    }

    /// Whether the client gave this request up, and nothing kept the coordinator from hearing of it.
    fn phantom(&self, member: &Participant, scene: &Scene<'_, Cluster>) -> bool {
        let Some(&(through, at, node)) = self.gave_up.get(&member.incarnation) else { return false };
        let Some(delay) = delay_max(scene.plan) else { return false };
        let knobs = scene.system.knobs();
        let bound = longest((delay + sync_max(scene.plan) * 2) * 2 + knobs.resend, knobs.drift_ppm_max);
        let calm = self.calm.pair_since(node, scene).is_some_and(|calm| calm < at);
        member.number <= through && calm && scene.now.since(at) > bound
    }

    fn on_formed(
        &self,
        entry: &Entry<'_, Cluster>,
        quorum: &Quorum,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        for member in quorum.members.iter() {
            if let Some((problem, told)) = self.member_problem(member, quorum.formation, decided, scene) {
                let message = format!(
                    "{} (incarnation {}) of formation {} {problem}",
                    member.id, member.incarnation, quorum.formation
                );
                findings.violated("QU1", entry.at, told.into_iter().chain([entry.id]), message);
            }
        }
    }
}

impl Checker<Cluster> for Qu1 {
    fn property(&self) -> &'static str {
        "QU1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.ages.interest(interest);
        Requests::interest(interest);
        Calm::interest(interest);
        interest.events(&["gave_up"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(_) = entry.fact {
            self.calm.follow(entry, scene);
        }
        match event(entry) {
            Some((_, Event::HeartbeatAccepted { .. })) => return self.ages.follow(entry, scene),
            Some((decided, Event::Formed { quorum, .. })) => {
                self.on_formed(entry, quorum, decided, scene, findings);
            }
            Some((_, Event::Requested { member, incarnation, number, epoch })) => {
                if let Some(problem) = self.request_problem(*incarnation, *number, *epoch) {
                    let message = format!("request {number} of {member} (incarnation {incarnation}) {problem}");
                    findings.violated("QU1", entry.at, [entry.id], message);
                }
            }
            Some((_, Event::GaveUp { incarnation, through })) => {
                self.gave_up.insert(*incarnation, (*through, entry.at, entry.node));
            }
            Some((_, Event::Failed { incarnation, .. } | Event::Left { incarnation, .. })) => {
                self.gave_up.remove(incarnation);
            }
            Some((_, Event::Reset { failed, .. })) if !failed.is_empty() => {
                findings.reached("formation reset by a failure");
            }
            _ => {}
        }
        self.ages.follow(entry, scene);
        self.requests.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, history, quorum};
    use super::*;
    use squall_machine::Text;
    use std::sync::Arc;

    fn start() -> History<Qu1> {
        history(Qu1::default()).at(100).begin(0, 1).begin(1, 2).at(1_000).ask(0, 1, 1, 1).ask(1, 2, 1, 1)
    }

    #[test]
    fn members_have_an_open_request_of_this_epoch_and_live() {
        let both = || quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        start().form(both(), 2, false).holds();
        start().form(both(), 2, false).form(quorum(1, 2, &[(0, 1, 1)]), 2, true).violated("has no open request");
        start().form(quorum(1, 1, &[(0, 1, 2)]), 2, false).violated("but 1 of epoch 1 is open");
        let withdrawn = Event::Withdrawn { incarnation: Incarnation(1), through: Number(1) };
        start().coordinator(withdrawn).form(both(), 2, false).violated("has no open request");
        let reset = Event::Reset { epoch: Epoch(2), failed: Arc::from([Text::from("r2")]) };
        start().coordinator(reset).ask(0, 1, 2, 2).form(quorum(1, 2, &[(0, 1, 2)]), 2, false).holds();
        start().at(3_000).beat(2, 2).at(5_100).form(both(), 2, false).violated("isn't alive");
    }

    #[test]
    fn a_request_was_asked_in_the_current_epoch() {
        let reset = || Event::Reset { epoch: Epoch(2), failed: Arc::from([]) };
        let requested = |number, epoch| Event::Requested {
            member: "r0".into(),
            incarnation: Incarnation(1),
            number: Number(number),
            epoch: Epoch(epoch),
        };
        start().coordinator(reset()).coordinator(requested(1, 2)).violated("but it was asked in 1");
        start().coordinator(requested(9, 1)).violated("never asked");
        start().coordinator(reset()).coordinator(requested(1, 1)).violated("the current one is 2");
    }

    #[test]
    fn what_was_given_up_long_ago_is_over() {
        let gave_up = Event::GaveUp { incarnation: Incarnation(1), through: Number(1) };
        let formed = quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        start().event(R[0], gave_up.clone()).at(1_010).form(formed.clone(), 2, false).holds();
        start().event(R[0], gave_up).at(2_000).form(formed, 2, false).violated("gave its request up");
    }
}
