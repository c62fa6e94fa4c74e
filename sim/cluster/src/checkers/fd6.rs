//! FD6: all readers give the same answer for the same age.
//!
//! Source: spec 1.1 (one predicate). The status view has to say of each member what its age says: alive below the timeout,
//! suspected from there to the end of the grace, overdue after it; and after each tick exactly those have been told to be
//! suspected whose age says so. The other readers are judged where they decide: a
//! failure by FD1 and FD2, a quorum by QU1 and QU2, and a refusal because nobody of the previous quorum is alive here.

use super::ages::{Ages, SharedAges};
use super::{Event, event};
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Incarnation, Knobs, MemberState, Refusal};
use squall_machine::{Span, Time};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd6 {
    ages: SharedAges,
    previous: Vec<Incarnation>,
    suspected: BTreeSet<Incarnation>,
}

impl Fd6 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    fn on_ticked(&self, decided: Time, knobs: &Knobs) -> Option<String> {
        if knobs.grace == Span::ZERO && self.suspected.is_empty() {
            // Who isn't alive has failed.
            return None;
        }
        let ages = self.ages.look();
        let sure = ages.rows.iter().filter(|(_, row)| row.begun && row.sure);
        for (who, row) in sure {
            let (age, timeout) = (ages.age(row, decided), Ages::timeout(knobs, row.role));
            let told = self.suspected.contains(&who);
            if told != (age >= timeout) && age < timeout + knobs.grace {
                let is = if told { "still suspected" } else { "not suspected" };
                return Some(format!("a tick is over, and incarnation {who} of age {age} is {is}"));
            }
        }
        None
    }
}

impl Checker<Cluster> for Fd6 {
    fn property(&self) -> &'static str {
        "FD6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.ages.interest(interest);
        interest.events(&["formed", "refused", "suspected", "cleared", "failed", "left", "ticked"]);
        interest.truth(&["up"]);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((_, Event::Formed { quorum, .. })) => {
                self.previous = quorum.members.iter().map(|member| member.incarnation).collect();
            }
            Some((decided, Event::Refused { incarnation, refusal: Refusal::NothingToShrink, .. })) => {
                let knobs = scene.system.knobs();
                let ages = self.ages.look();
                let sure = |who: &&Incarnation| ages.rows.row(**who).is_some_and(|row| row.sure);
                let mut alive = self.previous.iter().filter(sure);
                if let Some(who) = alive.find(|who| ages.alive(knobs, **who, decided) == Some(true)) {
                    let message = format!(
                        "incarnation {incarnation} is refused for want of live members of the last quorum, but {who} is alive"
                    );
                    findings.violated("FD6", entry.at, [entry.id], message);
                }
            }
            Some((_, Event::Suspected { incarnation, .. })) => {
                self.suspected.insert(*incarnation);
            }
            Some((
                _,
                Event::Cleared { incarnation, .. }
                | Event::Failed { incarnation, .. }
                | Event::Left { incarnation, .. },
            )) => {
                self.suspected.remove(incarnation);
            }
            Some((decided, Event::Ticked {})) => {
                if let Some(problem) = self.on_ticked(decided, scene.system.knobs()) {
                    findings.violated("FD6", entry.at, [entry.id], problem);
                }
            }
            Some(_) => {}
            None => {
                if let Fact::Truth(Truth::Up { .. }) = entry.fact
                    && entry.node == scene.system.coordinator()
                {
                    self.suspected.clear();
                }
            }
        }
        self.ages.follow(entry, scene);
    }

    fn on_view(&mut self, _: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Coordinator(status, _) = view else { return };
        let knobs = scene.system.knobs();
        for member in &status.members {
            let timeout = Ages::timeout(knobs, member.role);
            let expected = if member.age < timeout {
                MemberState::Alive
            } else if member.age < timeout + knobs.grace {
                MemberState::Suspected
            } else {
                MemberState::Overdue
            };
            if member.state != expected {
                let none: [EntryId; 0] = [];
                let message = format!("{} of age {} is shown as {:?}", member.id, member.age, member.state);
                findings.violated("FD6", scene.now, none, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, coordinator_view, history, history_with, live, quorum, status};
    use super::*;
    use squall_coordinator::Number;

    #[test]
    fn the_view_says_what_the_age_says() {
        let shown = |age, state| {
            let mut status = status();
            status.members.push(squall_coordinator::MemberStatus { state, ..live(0, 1, age) });
            history(Fd6::default()).view(C, &coordinator_view(status))
        };
        let timeout = Span::from_secs(5);
        shown(timeout.minus(Span::from_nanos(1)), MemberState::Alive).holds();
        shown(timeout, MemberState::Overdue).holds();
        shown(timeout, MemberState::Alive).violated("of age 5s is shown as Alive");
        shown(Span::from_secs(1), MemberState::Suspected).violated("shown as Suspected");
    }

    #[test]
    fn after_a_tick_those_are_suspected_whose_age_says_so() {
        let incarnation = Incarnation(1);
        let suspected = Event::Suspected { member: "r0".into(), incarnation };
        let cleared = Event::Cleared { member: "r0".into(), incarnation };
        let start = || {
            let settings =
                crate::Settings { grace: Some(squall::scenario::Duration(Span::from_secs(2))), ..Default::default() };
            history_with(Fd6::default(), settings).begin(0, 1)
        };
        let ticks = |history: History<Fd6>| history.coordinator(Event::Ticked {});
        ticks(start().at(4_999)).holds();
        ticks(start().at(5_000)).violated("is not suspected");
        let over = || ticks(start().at(5_000).coordinator(suspected.clone()));
        over().holds();
        ticks(over().at(6_000).beat(1, 2).coordinator(cleared)).holds();
        ticks(over().at(6_000).beat(1, 2)).violated("is still suspected");
    }

    #[test]
    fn nobody_is_refused_while_a_previous_member_lives() {
        let (incarnation, number) = (Incarnation(2), Number(1));
        let refused = Event::Refused { incarnation, number, refusal: Refusal::NothingToShrink };
        let start = || history(Fd6::default()).begin(0, 1).form(quorum(1, 1, &[(0, 1, 1)]), 1, false);
        start().at(4_999).coordinator(refused.clone()).violated("but 1 is alive");
        start().at(5_000).coordinator(refused).holds();
    }
}
