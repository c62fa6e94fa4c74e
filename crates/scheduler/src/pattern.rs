//! Failures that repeat in one group: of one kind, on one hardware class, or at one worker.

use crate::{FailureKind, HardwareClass};
use alloc::collections::{BTreeMap, VecDeque};
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text};

/// When failures are a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PatternKnobs {
    /// So many failures of one group are a pattern; at least 1.
    pub failures: u32,
    /// For how long a failure counts.
    pub window: Span,
    /// The most workers whose failures are remembered; at least 1. The one whose last failure is the oldest goes first.
    pub workers_max: u32,
}

impl Default for PatternKnobs {
    fn default() -> Self {
        Self { failures: 3, window: Span::from_secs(3_600), workers_max: 4_096 }
    }
}

/// When failures of one group happened, in order: no more than it takes to make a pattern.
type Moments = VecDeque<Span>;

/// The recent failures of every group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Patterns {
    knobs: PatternKnobs,
    kinds: BTreeMap<FailureKind, Moments>,
    classes: BTreeMap<HardwareClass, Moments>,
    workers: BTreeMap<Text, Moments>,
}

impl Patterns {
    /// No failures yet.
    ///
    /// # Panics
    /// If a knob is zero.
    #[must_use]
    pub fn new(knobs: PatternKnobs) -> Self {
        assert!(knobs.failures > 0 && knobs.workers_max > 0, "a pattern has failures, and belongs to somebody");
        Self { knobs, kinds: BTreeMap::new(), classes: BTreeMap::new(), workers: BTreeMap::new() }
    }

    /// Whether, at `at`, one of these three groups has had a pattern of failures within the window. A failure that begins
    /// its walk now belongs to later ones: ask before it is counted itself.
    #[must_use]
    pub fn is_pattern(&self, at: Span, kind: FailureKind, class: HardwareClass, worker: &str) -> bool {
        [self.kinds.get(&kind), self.classes.get(&class), self.workers.get(worker)]
            .into_iter()
            .flatten()
            .any(|moments| self.repeats(moments, at))
    }

    /// Whether the last so many failures all happened within the window that ends at `at`.
    fn repeats(&self, moments: &Moments, at: Span) -> bool {
        let counts = |moment: &&Span| **moment <= at && **moment + self.knobs.window > at;
        moments.iter().filter(counts).count() >= self.knobs.failures as usize
    }

    /// Counts a failure that happened at `at`, no earlier than the one before.
    ///
    /// # Panics
    /// If a later one was counted before.
    pub fn on_failure(&mut self, at: Span, kind: FailureKind, class: HardwareClass, worker: &Text) {
        if !self.workers.contains_key(worker) && self.workers.len() >= self.knobs.workers_max as usize {
            let newest = |moments: &Moments| moments.back().copied();
            let oldest = self.workers.iter().min_by_key(|(_, moments)| newest(moments)).map(|(id, _)| id.clone());
            self.workers.remove(&oldest.expect("the limit is at least 1"));
        }
        let failures = self.knobs.failures as usize;
        for moments in [
            self.kinds.entry(kind).or_default(),
            self.classes.entry(class).or_default(),
            self.workers.entry(worker.clone()).or_default(),
        ] {
            assert!(moments.back().is_none_or(|newest| *newest <= at), "failures are counted in order");
            moments.push_back(at);
            moments.drain(..moments.len().saturating_sub(failures));
        }
        assert!(self.workers.len() <= self.knobs.workers_max as usize, "the limit holds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureKind::{Evaluation, Timeout, Unknown, WorkerCrash};
    use HardwareClass::{Cpu, Gpu, Npu, Tpu};
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn secs(secs: u64) -> Span {
        Span::from_secs(secs)
    }

    #[test]
    fn three_failures_of_any_one_group_are_a_pattern() {
        let mut patterns = Patterns::new(PatternKnobs::default());
        patterns.on_failure(secs(0), Timeout, Cpu, &"a".into());
        patterns.on_failure(secs(1), Timeout, Gpu, &"b".into());
        assert!(!patterns.is_pattern(secs(2), Timeout, Cpu, "a"), "two of the kind");
        patterns.on_failure(secs(2), Timeout, Tpu, &"c".into());
        assert!(patterns.is_pattern(secs(2), Timeout, Npu, "z"), "three of the kind");
        assert!(!patterns.is_pattern(secs(2), Unknown, Cpu, "a"), "one of the class, one at the worker");
        patterns.on_failure(secs(3), Unknown, Cpu, &"d".into());
        patterns.on_failure(secs(4), Evaluation, Cpu, &"e".into());
        assert!(patterns.is_pattern(secs(4), WorkerCrash, Cpu, "z"), "three of the class");
        patterns.on_failure(secs(5), Unknown, Npu, &"a".into());
        patterns.on_failure(secs(6), Evaluation, Gpu, &"a".into());
        assert!(patterns.is_pattern(secs(6), WorkerCrash, Npu, "a"), "three at the worker");
        assert!(!patterns.is_pattern(secs(6), WorkerCrash, Npu, "b"));
    }

    #[test]
    fn a_pattern_ends_when_its_oldest_failure_leaves_the_window() {
        let mut patterns = Patterns::new(PatternKnobs::default());
        for at in [0, 10, 20] {
            patterns.on_failure(secs(at), Timeout, Cpu, &"a".into());
        }
        assert!(!patterns.is_pattern(secs(19), Timeout, Cpu, "a"), "the third is yet to come");
        assert!(patterns.is_pattern(secs(3_599), Timeout, Cpu, "a"));
        assert!(!patterns.is_pattern(secs(3_600), Timeout, Cpu, "a"));
        patterns.on_failure(secs(3_605), Timeout, Cpu, &"a".into());
        assert!(patterns.is_pattern(secs(3_605), Timeout, Cpu, "a"), "10, 20 and 3605");
        assert_eq!(patterns.kinds[&Timeout], [secs(10), secs(20), secs(3_605)], "no more are kept");
    }

    #[test]
    fn the_worker_that_failed_longest_ago_is_forgotten_first() {
        let mut patterns = Patterns::new(PatternKnobs { workers_max: 2, failures: 1, ..PatternKnobs::default() });
        for (at, worker) in [(0, "a"), (1, "b"), (2, "a"), (3, "c")] {
            patterns.on_failure(secs(at), Timeout, Cpu, &worker.into());
        }
        let known = |worker: &str| patterns.is_pattern(secs(4), Unknown, Npu, worker);
        assert_eq!([known("a"), known("b"), known("c")], [true, false, true]);
    }

    proptest! {
        #[test]
        fn patterns_agree_with_a_list_of_all_failures(
            failures in prop::collection::vec((0..40u64, 0..9usize, 0..6usize, 0..5u32), 0..80),
        ) {
            let knobs = PatternKnobs { window: secs(60), ..PatternKnobs::default() };
            let mut patterns = Patterns::new(knobs);
            let mut list: Vec<(Span, FailureKind, HardwareClass, Text)> = Vec::new();
            let mut at = Span::ZERO;
            for (gap, kind, class, worker) in failures {
                at += secs(gap);
                let (kind, class) = (FailureKind::ALL[kind], HardwareClass::ALL[class]);
                let worker: Text = format!("w{worker}").into();
                let recent = || list.iter().filter(|failure| failure.0 + knobs.window > at);
                let expected = recent().filter(|failure| failure.1 == kind).count() >= 3
                    || recent().filter(|failure| failure.2 == class).count() >= 3
                    || recent().filter(|failure| failure.3 == worker).count() >= 3;
                prop_assert_eq!(patterns.is_pattern(at, kind, class, &worker), expected);
                patterns.on_failure(at, kind, class, &worker);
                list.push((at, kind, class, worker));
            }
        }
    }
}
