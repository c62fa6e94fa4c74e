//! A node's own clock, as far as the history shows it.

use crate::Cluster;
use squall::{Entry, Fact, Scene, Truth};
use squall_machine::{Span, Time};

/// Relates one node's monotonic clock to simulated time. What was decided at a local time is published then or later, so
/// each event bounds the difference from one side; the tightest bound wins. Exact at an event that was published at the
/// moment of its decision, and off by the largest drift from there on.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalClock {
    /// Local time at `anchor` is at least this; `None` before the first event of a life.
    local: Option<i128>,
    anchor: Time,
    drift_ppm_max: u32,
}

impl LocalClock {
    /// How far the clock goes between the anchor and `at`, at the least and at the most.
    fn elapsed(&self, at: Time) -> (i128, i128) {
        let elapsed = i128::from(at.as_nanos()) - i128::from(self.anchor.as_nanos());
        let drift = (elapsed.abs() * i128::from(self.drift_ppm_max) + 999_999) / 1_000_000;
        (elapsed - drift, elapsed + drift)
    }

    /// How long after `at`, by this clock, something was decided at the most.
    pub(super) fn since_at_most(&self, decided: Time, at: Time) -> Option<i128> {
        Some(i128::from(decided.as_nanos()) - self.local? - self.elapsed(at).0)
    }

    /// How long after `at`, by this clock, something was decided at the least, if the anchor is exact.
    pub(super) fn since_at_least(&self, decided: Time, at: Time) -> Option<i128> {
        Some(i128::from(decided.as_nanos()) - self.local? - self.elapsed(at).1)
    }

    /// Takes in an entry of this node: an event, or a start.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        self.drift_ppm_max = scene.system.knobs().drift_ppm_max;
        match entry.fact {
            Fact::Event { decided, .. } => {
                let local = i128::from(decided.as_nanos());
                if self.local.is_none_or(|known| local >= known + self.elapsed(entry.at).0) {
                    (self.local, self.anchor) = (Some(local), entry.at);
                }
            }
            Fact::Truth(Truth::Up { .. }) => self.local = None,
            Fact::Truth(_) | Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. } => {}
        }
    }
}

/// The longest that a span of true time can be on a clock, or one on a clock in true time, within the limits of drift.
pub(super) fn longest(span: Span, drift_ppm_max: u32) -> Span {
    let drift = u64::from(drift_ppm_max);
    span + span * drift / (1_000_000 - drift) + Span::from_micros(1)
}
