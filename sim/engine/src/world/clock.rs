//! One node's clocks: a monotonic one that may drift, and a calendar that may lie.

use crate::ClockChange;
use squall_machine::{Time, Wall};

const MILLION: u128 = 1_000_000;

/// The clocks of one node. Piecewise linear: since `anchor` (simulated time) the monotonic clock has gone on from `local` at
/// its present rate.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor: Time,
    local: u64,
    drift_ppm: i32,
    frozen: bool,
    wall_offset: i64,
    strobe: i64,
    strobe_up: bool,
}

/// What the calendar of a node without any offset shows at the start of a run: 2026-01-01 UTC.
const WALL_EPOCH: i64 = 1_767_225_600_000_000_000;

impl Clock {
    pub(super) fn new(drift_ppm: i32, wall_offset: i64) -> Self {
        Self { anchor: Time::ZERO, local: 0, drift_ppm, frozen: false, wall_offset, strobe: 0, strobe_up: false }
    }

    /// A process starts: its monotonic clock begins anew at `origin`.
    pub(super) fn restart(&mut self, now: Time, origin: u64) {
        self.anchor = now;
        self.local = origin;
    }

    /// What the monotonic clock shows at `now`, rounded down.
    #[must_use]
    pub fn local(&self, now: Time) -> Time {
        let passed = now.since(self.anchor).as_nanos();
        if self.frozen {
            return Time::from_nanos(self.local);
        }
        if self.drift_ppm == 0 {
            return Time::from_nanos(self.local + passed);
        }
        Time::from_nanos(self.local + (u128::from(passed) * self.rate() / MILLION) as u64)
    }

    /// The first moment at which the monotonic clock shows at least `local`; `None` while it is frozen.
    #[must_use]
    pub fn when(&self, local: Time) -> Option<Time> {
        if self.frozen {
            return None;
        }
        let wait = local.as_nanos().saturating_sub(self.local);
        if self.drift_ppm == 0 {
            return Some(Time::from_nanos(self.anchor.as_nanos().saturating_add(wait)));
        }
        let passed = (u128::from(wait) * MILLION).div_ceil(self.rate());
        Some(Time::from_nanos(self.anchor.as_nanos().saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))))
    }

    /// What the calendar shows at `now`.
    pub fn wall(&mut self, now: Time) -> Wall {
        self.strobe_up = !self.strobe_up;
        let strobe = if self.strobe_up { self.strobe } else { 0 };
        let true_time = WALL_EPOCH.saturating_add_unsigned(now.as_nanos());
        Wall(true_time.saturating_add(self.wall_offset).saturating_add(strobe))
    }

    pub(super) fn change(&mut self, now: Time, change: ClockChange) {
        self.local = self.local(now).as_nanos();
        self.anchor = now;
        match change {
            ClockChange::Drift(ppm) => self.drift_ppm = ppm,
            ClockChange::WallStep(nanos) => self.wall_offset = self.wall_offset.saturating_add(nanos),
            ClockChange::WallStrobe(nanos) => self.strobe = nanos,
            ClockChange::MonotonicStep(span) => self.local += span.as_nanos(),
            ClockChange::Freeze => self.frozen = true,
        }
    }

    /// Undoes a change that lasts: drift, strobing, freezing. A step stays.
    pub(super) fn calm(&mut self, now: Time, change: ClockChange, natural_drift_ppm: i32) {
        self.local = self.local(now).as_nanos();
        self.anchor = now;
        match change {
            ClockChange::Drift(_) => self.drift_ppm = natural_drift_ppm,
            ClockChange::WallStrobe(_) => self.strobe = 0,
            ClockChange::Freeze => self.frozen = false,
            ClockChange::WallStep(_) | ClockChange::MonotonicStep(_) => {}
        }
    }

    pub(super) fn drift_ppm(&self) -> i32 {
        self.drift_ppm
    }

    pub(super) fn wall_offset(&self) -> i64 {
        self.wall_offset
    }

    pub(super) fn frozen(&self) -> bool {
        self.frozen
    }

    /// Millionths of a nanosecond per nanosecond; positive, since drift is validated to lie above -100 %.
    fn rate(&self) -> u128 {
        (1_000_000 + i64::from(self.drift_ppm)).max(1) as u128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Span;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::from_secs(secs)
    }

    #[test]
    fn drift_makes_a_clock_fast_or_slow_from_now_on() {
        let mut clock = Clock::new(0, 0);
        clock.change(at(10), ClockChange::Drift(1_000));
        assert_eq!(clock.local(at(20)), at(20) + Span::from_millis(10));
        clock.calm(at(20), ClockChange::Drift(1_000), 0);
        assert_eq!(clock.local(at(30)), at(30) + Span::from_millis(10));
    }

    #[test]
    fn a_deadline_is_reached_at_the_first_moment_that_shows_it() {
        for drift in [-1_000, -1, 0, 1, 999] {
            let clock = Clock::new(drift, 0);
            for nanos in [1, 7, 999_999_999, 12_345_678_901] {
                let when = clock.when(Time::from_nanos(nanos)).expect("not frozen");
                assert!(clock.local(when) >= Time::from_nanos(nanos), "{drift} {nanos}");
                let before = Time::from_nanos(when.as_nanos() - 1);
                assert!(clock.local(before) < Time::from_nanos(nanos), "{drift} {nanos}");
            }
        }
    }

    #[test]
    fn a_frozen_clock_stands_until_it_runs_on() {
        let mut clock = Clock::new(0, 0);
        clock.change(at(5), ClockChange::Freeze);
        assert_eq!(clock.local(at(9)), at(5));
        assert_eq!(clock.when(at(6)), None);
        clock.calm(at(9), ClockChange::Freeze, 0);
        assert_eq!(clock.local(at(10)), at(6));
    }

    #[test]
    fn the_calendar_steps_and_strobes_while_the_monotonic_clock_goes_on() {
        let mut clock = Clock::new(0, 0);
        let before = clock.wall(at(1));
        clock.change(at(1), ClockChange::WallStep(-3_600_000_000_000));
        assert_eq!(clock.wall(at(1)).0, before.0 - 3_600_000_000_000);
        assert_eq!(clock.local(at(2)), at(2));
        clock.change(at(2), ClockChange::WallStrobe(500));
        assert_eq!((clock.wall(at(2)).0 - clock.wall(at(2)).0).abs(), 500);
    }
}
