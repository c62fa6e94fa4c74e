//! FD1: each incarnation last accepted at t gets exactly one Failed, at the first tick or own input with
//! age >= timeout + grace by the coordinator's clock, unless it left, was superseded, or the coordinator stalled or
//! restarted.
//!
//! Source: spec 1.1. Judged by the coordinator's own clock: at the end of each tick nobody is overdue; nothing that an
//! overdue incarnation says counts; a declaration names the age that the accepted heartbeats show, and is the only one of
//! its incarnation; ticks don't stay away, and a stall isn't claimed without a gap. After a restart an incarnation is judged
//! once it is heard of again (see `ages`); what a restart forgets is CR1's.

use super::ages::{Ages, SharedAges};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::Incarnation;
use squall_machine::{Span, Time};
use std::collections::BTreeSet;

/// So many ticks may pass between two ticks: one, and less than another if something else was dealt with first. More than
/// two are a stall of the coordinator, which it has to notice.
const TICKS_MAX: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd1 {
    ages: SharedAges,
    ended: BTreeSet<Incarnation>,
    ticked: Option<Time>,
}

impl Fd1 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    fn on_failed(
        &self,
        entry: &Entry<'_, Cluster>,
        who: Incarnation,
        told: Span,
        decided: Time,
        findings: &mut Findings,
    ) {
        if self.ended.contains(&who) {
            let message = format!("incarnation {who} is declared failed again, after its end");
            return findings.violated("FD1", entry.at, [entry.id], message);
        }
        let ages = self.ages.look();
        let Some(row) = ages.rows.row(who).filter(|row| row.begun) else { return };
        let age = ages.age(row, decided);
        if age != told && (row.last.is_some() || ages.floor.is_some()) {
            let message = format!("incarnation {who} is declared failed at age {told}, but its age is {age}");
            findings.violated("FD1", entry.at, [entry.id], message);
        }
    }

    fn on_ticked(
        &mut self,
        entry: &Entry<'_, Cluster>,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        self.ticked = Some(decided);
        let knobs = scene.system.knobs();
        let mut ages = self.ages.look_mut();
        let mut over = Vec::new();
        for (who, row) in ages.rows.iter() {
            let limit = Ages::timeout(knobs, row.role) + knobs.grace;
            let age = ages.age(row, decided);
            if row.begun && age >= limit {
                over.push((who, row.sure, age, limit));
            }
        }
        for (who, sure, age, limit) in over {
            if sure {
                let message = format!("a tick is over, and incarnation {who} of age {age} >= {limit} isn't declared");
                findings.violated("FD1", entry.at, [entry.id], message);
            }
            // It may have ended without a word before the restart.
            ages.rows.remove(who);
        }
    }

    fn on_input(
        &self,
        entry: &Entry<'_, Cluster>,
        who: Incarnation,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        let knobs = scene.system.knobs();
        let ages = self.ages.look();
        if let Some((row, true)) = ages.overdue(knobs, who, decided) {
            let message =
                format!("incarnation {who} of age {} counts, although it has failed by then", ages.age(&row, decided));
            findings.violated("FD1", entry.at, [entry.id], message);
        }
        let ran = self.ticked.max(ages.floor);
        if ran.is_some_and(|ran| decided.since(ran) > knobs.tick * TICKS_MAX) {
            let message = "no failure tick for more than two ticks, and no stall was told".to_owned();
            findings.violated("FD1", entry.at, [entry.id], message);
        }
    }
}

impl Checker<Cluster> for Fd1 {
    fn property(&self) -> &'static str {
        "FD1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.ages.interest(interest);
        interest.events(&["ticked"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.ticked = None;
        }
        if let Some((decided, told)) = event(entry) {
            match told {
                Event::HeartbeatAccepted { incarnation, .. } | Event::Requested { incarnation, .. } => {
                    self.on_input(entry, *incarnation, decided, scene, findings);
                }
                Event::Failed { incarnation, age, .. } => {
                    self.on_failed(entry, *incarnation, *age, decided, findings);
                    self.ended.insert(*incarnation);
                }
                Event::Left { incarnation, .. } => {
                    self.ended.insert(*incarnation);
                }
                Event::Forgotten { incarnation, .. } => {
                    self.ended.remove(incarnation);
                }
                Event::Ticked {} => self.on_ticked(entry, decided, scene, findings),
                Event::Stalled { gap, restarted: false } if *gap <= scene.system.knobs().tick * TICKS_MAX => {
                    let message = format!("a stall is claimed for a gap of {gap}, not more than two ticks");
                    findings.violated("FD1", entry.at, [entry.id], message);
                }
                _ => {}
            }
        }
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, history};
    use super::*;

    fn alive() -> History<Fd1> {
        history(Fd1::default()).at(100).begin(0, 1).at(900).coordinator(Event::Ticked {}).at(1_000).beat(1, 2)
    }

    fn secs(count: u64) -> Span {
        Span::from_secs(count)
    }

    fn ticks(mut history: History<Fd1>, millis: impl IntoIterator<Item = u64>) -> History<Fd1> {
        for at in millis {
            history = history.at(at).coordinator(Event::Ticked {});
        }
        history
    }

    #[test]
    fn a_failure_is_declared_once_at_the_first_tick_that_can() {
        ticks(alive(), [2_000, 3_000, 4_000, 5_000, 5_999])
            .at(6_000)
            .fail(0, 1, 1, secs(5))
            .coordinator(Event::Ticked {})
            .holds();
        ticks(alive(), [6_000]).violated("isn't declared");
        ticks(alive(), [5_999]).at(6_000).fail(0, 1, 1, secs(5)).fail(0, 1, 2, secs(5)).violated("again");
        ticks(alive(), [5_999]).at(6_000).fail(0, 1, 1, secs(4)).violated("its age is 5s");
    }

    #[test]
    fn an_overdue_member_is_not_heard() {
        ticks(alive(), [2_000, 4_000, 5_500]).at(5_999).beat(1, 3).holds();
        ticks(alive(), [2_000, 4_000, 5_500]).at(6_000).beat(1, 3).violated("has failed by then");
    }

    #[test]
    fn ages_start_anew_after_a_stall_that_is_one() {
        let stall = |gap| Event::Stalled { gap, restarted: false };
        ticks(alive().at(9_000).coordinator(stall(secs(8))), [9_000, 13_999]).holds();
        ticks(alive().at(9_000).coordinator(stall(secs(8))), [9_000, 14_000]).violated("isn't declared");
        alive().at(3_000).coordinator(stall(secs(2))).violated("stall is claimed");
    }

    #[test]
    fn the_coordinator_has_to_tick_while_it_takes_input() {
        alive().at(2_900).beat(1, 3).holds();
        alive().at(2_901).beat(1, 3).violated("no failure tick");
    }

    #[test]
    fn after_a_restart_only_who_is_heard_of_is_judged() {
        use super::super::testing::C;
        let restarted = || {
            let stalled = Event::Stalled { gap: Span::ZERO, restarted: true };
            alive().at(2_000).down(C).at(3_000).up(C).coordinator(stalled)
        };
        ticks(restarted(), [8_000]).holds();
        ticks(restarted().at(3_500).beat(1, 9), [8_499]).holds();
        ticks(restarted().at(3_500).beat(1, 9), [8_500]).violated("isn't declared");
    }
}
