//! A node's own clock, as far as the history shows it.

use crate::Cluster;
use squall::{Entry, Fact, NodeId, Scene, Truth};
use squall_machine::{Span, Time};

/// Relates one node's monotonic clock to simulated time. What was decided at a local time is published then or later, so
/// each event bounds the difference from one side; the tightest bound wins. Exact as soon as one event was published at the
/// moment of its decision.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalClock {
    /// Local time at `anchor` is at least this; `None` before the first event of a life.
    local: Option<i128>,
    anchor: Time,
    drift_ppm: i32,
}

impl LocalClock {
    /// The earliest local time that the node's clock can show at `at`, which may lie before the last event.
    pub(super) fn earliest(&self, at: Time) -> Option<i128> {
        let elapsed = i128::from(at.as_nanos()) - i128::from(self.anchor.as_nanos());
        Some(self.local? + elapsed + elapsed * i128::from(self.drift_ppm) / 1_000_000)
    }

    /// How long after `at`, by this clock, something was decided at the least if negative, at the most otherwise.
    pub(super) fn since(&self, decided: Time, at: Time) -> Option<i128> {
        Some(i128::from(decided.as_nanos()) - self.earliest(at)?)
    }

    /// Takes in an entry of this node: an event, or a truth that concerns its clock.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>) {
        match entry.fact {
            Fact::Event { decided, .. } => {
                let local = i128::from(decided.as_nanos());
                if self.earliest(entry.at).is_none_or(|earliest| local > earliest) {
                    (self.local, self.anchor) = (Some(local), entry.at);
                }
            }
            Fact::Truth(Truth::Up { .. }) => self.local = None,
            Fact::Truth(Truth::Clock { drift_ppm, .. }) => {
                self.local = self.earliest(entry.at);
                (self.anchor, self.drift_ppm) = (entry.at, *drift_ppm);
            }
            _ => {}
        }
    }

    /// As [`follow`](Self::follow), for a clock whose drift is read from the scene.
    pub(super) fn follow_node(&mut self, node: NodeId, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if entry.node == node {
            if self.local.is_none() {
                self.drift_ppm = scene.nodes[node.index()].drift_ppm;
            }
            self.follow(entry);
        }
    }
}

/// The longest that a span of true time can be on a clock within the limits of drift.
pub(super) fn longest(span: Span, drift_ppm_max: u32) -> Span {
    span + span * u64::from(drift_ppm_max) / 1_000_000 + Span::from_micros(1)
}
