//! FD7: no Failed by timeout within a full timeout after the coordinator's own gap > 2 ticks or restart.
//!
//! Source: spec 1.1 (observer stall) and 3.7. Judged twice: by what the coordinator says about itself (Stalled), and by
//! ground truth, so that a coordinator that doesn't notice its own gap is caught: a pause of more than two ticks, or a
//! start. Truth is put on the coordinator's clock with `clock`; of the moments that this allows, the earliest counts.

use super::ages::Ages;
use super::clock::{LocalClock, longest};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::{Cause, Incarnation, Role};
use squall_machine::{Span, Time};

/// A drifting clock is read in whole nanoseconds, at either end of a span and at every change of the clock between.
const ROUNDING: i128 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd7 {
    clock: LocalClock,
    /// When the coordinator last said that all ages start anew.
    told: Option<Time>,
    paused: Option<Time>,
    /// When it last began to run after a gap, in simulated time.
    ran: Option<Time>,
}

impl Fd7 {
    fn on_truth(&mut self, entry: &Entry<'_, Cluster>, truth: &Truth, scene: &Scene<'_, Cluster>) {
        let knobs = scene.system.knobs();
        match truth {
            Truth::Up { life, .. } => {
                self.told = None;
                self.paused = None;
                self.ran = (*life > 1).then_some(entry.at);
            }
            Truth::Pause => self.paused = Some(entry.at),
            Truth::Resume => {
                let gap = self.paused.take().map_or(Span::ZERO, |paused| entry.at.since(paused));
                if gap > longest(knobs.tick * 2, knobs.drift_ppm_max) {
                    self.ran = Some(entry.at);
                }
            }
            _ => {}
        }
    }

    fn on_timeout(
        &self,
        entry: &Entry<'_, Cluster>,
        (who, role): (Incarnation, Role),
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        let timeout = Ages::timeout(scene.system.knobs(), role);
        if let Some(after) = self.told.map(|told| decided.since(told)).filter(|after| *after < timeout) {
            let message = format!("incarnation {who} is declared failed {after} after all ages began anew");
            return findings.violated("FD7", entry.at, [entry.id], message);
        }
        // A declaration from before the gap has a local time before it.
        let after = self.ran.and_then(|ran| self.clock.since_at_most(decided, ran)).filter(|after| *after >= 0);
        if let Some(after) = after.filter(|after| *after + ROUNDING < i128::from(timeout.as_nanos())) {
            let after = Span::from_nanos(after as u64);
            let message = format!("incarnation {who} is declared failed {after} after the coordinator ran again");
            findings.violated("FD7", entry.at, [entry.id], message);
        }
    }
}

impl Checker<Cluster> for Fd7 {
    fn property(&self) -> &'static str {
        "FD7"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "pause", "resume"]);
        interest.events(&["stalled", "ticked", "failed", "began"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let coordinator = scene.system.coordinator();
        if entry.node != coordinator {
            return;
        }
        self.clock.follow(entry, scene);
        match event(entry) {
            Some((decided, Event::Stalled { restarted, .. })) => {
                self.told = Some(decided);
                findings.reached(if *restarted { "coordinator restarted" } else { "coordinator stalled" });
            }
            Some((decided, Event::Failed { incarnation, role, cause: Cause::Timeout, .. })) => {
                self.on_timeout(entry, (*incarnation, *role), decided, scene, findings);
            }
            Some(_) => {}
            None => {
                if let Fact::Truth(truth) = entry.fact {
                    self.on_truth(entry, truth, scene);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, history};
    use super::*;

    fn start() -> History<Fd7> {
        history(Fd7::default()).at(100).begin(0, 1).at(1_000).coordinator(Event::Ticked {})
    }

    #[test]
    fn nobody_fails_within_a_timeout_after_a_stall() {
        let stalled = || start().at(9_000).coordinator(Event::Stalled { gap: Span::from_secs(8), restarted: false });
        stalled().at(14_000).fail(0, 1, 1, Span::from_secs(5)).holds();
        stalled().at(13_999).fail(0, 1, 1, Span::from_secs(5)).violated("4.999s after all ages began anew");
    }

    #[test]
    fn a_coordinator_that_does_not_notice_its_pause_is_caught() {
        let paused = |until| start().truth(C, Truth::Pause).at(until).truth(C, Truth::Resume);
        paused(9_000).fail(0, 1, 1, Span::from_secs(8)).violated("after the coordinator ran again");
        paused(2_900).at(5_200).fail(0, 1, 1, Span::from_secs(5)).holds();
    }

    #[test]
    fn a_declaration_from_before_the_pause_may_be_told_after_it() {
        let paused = start().at(6_000).truth(C, Truth::Pause).at(9_000).truth(C, Truth::Resume);
        paused.event_after(C, 3_000, super::super::testing::failed(0, 1, 1, Span::from_secs(5))).holds();
    }

    #[test]
    fn nobody_fails_within_a_timeout_after_a_restart() {
        let restarted = || start().down(C).at(2_000).up(C).coordinator(Event::Ticked {});
        restarted().at(6_990).fail(0, 1, 1, Span::from_secs(5)).violated("ran again");
        restarted().at(7_000).fail(0, 1, 1, Span::from_secs(5)).holds();
    }
}
