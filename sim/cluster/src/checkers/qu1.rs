//! QU1: each member of Formed had an open request of the current epoch and was alive.
//!
//! Source: spec 1.3 and 0. A request counts only if its member asked it, under this number and not in an older epoch. At
//! Formed, by the coordinator's own clock: every member's request still counts under the number and epoch of the formation,
//! what is handed on is what was asked, and the member is alive by the one predicate. Besides, by ground truth: a request
//! whose client gave up is not in it, once the coordinator has to have heard of that; and it counts no longer than its
//! member goes on saying so.

use super::ages::SharedAges;
use super::requests::Requests;
use super::withdrawals::Withdrawals;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Findings, Interest, Scene};
use squall_coordinator::{Epoch, Incarnation, Number, Participant, Quorum};
use squall_machine::Time;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu1 {
    ages: SharedAges,
    requests: Requests,
    withdrawals: Withdrawals,
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
        let phantom = self.withdrawals.phantom(who, number, scene)?;
        Some((phantom.to_owned(), told))
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
        Withdrawals::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
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
            Some((_, Event::Reset { failed, .. })) if !failed.is_empty() => {
                findings.reached("formation reset by a failure");
            }
            _ => {}
        }
        self.ages.follow(entry, scene);
        self.requests.follow(entry, scene);
        self.withdrawals.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, R, history, quorum};
    use super::*;
    use squall::Truth;
    use squall_coordinator::Message;
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
    fn what_was_given_up_is_withdrawn_until_it_is_answered() {
        let gave_up =
            || start().drops_some().event(R[0], Event::GaveUp { incarnation: Incarnation(1), through: Number(1) });
        let formed = || quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        let withdraw = || Message::Withdraw { incarnation: Incarnation(1), through: Number(1) };
        let leave = || Message::Leave { incarnation: Incarnation(1) };
        // A member that takes the coordinator for lost says so again after 500 ms and up to 2 s more.
        gave_up().at(3_490).form(formed(), 2, false).holds();
        gave_up().at(3_600).form(formed(), 2, false).violated("stopped to say so");
        for again in [withdraw(), leave()] {
            let told = || gave_up().at(3_400).sends_from(R[0], C, again.clone()).beat(1, 2).beat(2, 2);
            told().at(5_800).form(formed(), 2, false).holds();
            told().at(6_000).form(formed(), 2, false).violated("stopped to say so");
        }
        gave_up().truth(R[0], Truth::Pause).truth(R[0], Truth::Resume).at(3_600).form(formed(), 2, false).holds();
    }

    #[test]
    fn what_was_given_up_long_ago_is_over() {
        let gave_up = Event::GaveUp { incarnation: Incarnation(1), through: Number(1) };
        let formed = quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        start().event(R[0], gave_up.clone()).at(1_010).form(formed.clone(), 2, false).holds();
        start().event(R[0], gave_up).at(2_000).form(formed, 2, false).violated("gave its request up");
    }
}
