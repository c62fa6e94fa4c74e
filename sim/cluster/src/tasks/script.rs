//! What one task does wherever it runs: drawn by its client, carried in its payload.

use super::{Sick, Tasks, failure};
use squall_machine::{Random, Ratio, Span};
use squall_scheduler::{AttemptId, FailureKind};
use std::sync::Arc;

/// A task's part in the play. What should differ between its attempts is drawn from `seed` and the attempt's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Script {
    /// For what is drawn anew in each attempt.
    pub(crate) seed: u64,
    /// Of which kind it is: an index into the mix.
    pub(crate) kind: u16,
    /// How long it runs on a healthy worker.
    pub(crate) duration: Span,
    /// How likely an attempt fails.
    pub(crate) fails: Ratio,
    /// Whether its workers die of it.
    pub(crate) poison: bool,
    /// Whether it never ends by itself.
    pub(crate) hangs: bool,
}

/// What becomes of one attempt by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Fate {
    /// It succeeds.
    Succeeds,
    /// It fails once `micros` millionths of what is left are done; `told` says whether it names the kind itself.
    Fails { micros: u32, kind: FailureKind, told: bool },
    /// It stops to make progress there.
    Hangs { micros: u32 },
    /// Its worker dies of it there.
    Kills { micros: u32 },
}

/// How long a payload is.
const BYTES: usize = 8 + 2 + 8 + 4 + 4 + 2;

impl Script {
    pub(crate) fn encode(&self) -> Arc<[u8]> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.duration.as_nanos().to_le_bytes());
        bytes.extend(self.fails.numerator().to_le_bytes());
        bytes.extend(self.fails.denominator().to_le_bytes());
        bytes.extend([u8::from(self.poison), u8::from(self.hangs)]);
        bytes.into()
    }

    /// `None` if no client wrote this.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (seed, rest) = bytes.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (duration, rest) = rest.split_first_chunk::<8>()?;
        let (numerator, rest) = rest.split_first_chunk::<4>()?;
        let (denominator, rest) = rest.split_first_chunk::<4>()?;
        let &[poison, hangs] = rest else { return None };
        Some(Self {
            seed: u64::from_le_bytes(*seed),
            kind: u16::from_le_bytes(*kind),
            duration: Span::from_nanos(u64::from_le_bytes(*duration)),
            fails: Ratio::new(u32::from_le_bytes(*numerator), u32::from_le_bytes(*denominator))?,
            poison: poison == 1,
            hangs: hangs == 1,
        })
    }

    /// What becomes of an attempt, on a sick worker or a healthy one.
    pub(crate) fn fate(&self, attempt: AttemptId, tasks: &Tasks, sick: Option<&Sick>) -> Fate {
        let mut random = Random::numbered(self.seed, "attempt", attempt.0);
        let Some(mix) = tasks.mix.get(usize::from(self.kind)) else { return Fate::Succeeds };
        let micros = random.below(1_000_000) as u32;
        let told = random.below(2) == 0;
        let kind = failure(&mix.failures, FailureKind::Evaluation, &mut random);
        let crashes = random.chance(mix.crashes.ratio());
        let hangs = random.chance(mix.hangs.ratio()) || self.hangs;
        let fails = random.chance(self.fails);
        // All of a healthy worker's draws come first: sickness adds to them and changes none.
        let sick_kind = sick.map(|sick| failure(&sick.failures, FailureKind::Hardware, &mut random));
        let sick_hangs = sick.is_some_and(|sick| random.chance(sick.hangs.ratio()));
        let sick_fails = sick.is_some_and(|sick| random.chance(sick.fails.ratio()));
        match (self.poison || crashes, sick_kind.filter(|_| sick_fails), hangs || sick_hangs) {
            (true, _, _) => Fate::Kills { micros },
            (false, Some(kind), _) => Fate::Fails { micros, kind, told },
            (false, None, true) => Fate::Hangs { micros },
            (false, None, false) if fails => Fate::Fails { micros, kind, told },
            (false, None, false) => Fate::Succeeds,
        }
    }
}

/// What a runtime says about a failure of this kind, so that the scheduler can read it out.
pub(crate) const fn words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::WorkerCrash => "process crashed with signal 11",
        FailureKind::WorkerDisconnected => "worker unreachable",
        FailureKind::Timeout => "step timed out after 30 s",
        FailureKind::Network => "connection reset by peer",
        FailureKind::OutOfMemory => "CUDA: out of memory",
        FailureKind::Hardware => "uncorrectable ECC error",
        FailureKind::Browser => "the browser tab was closed",
        FailureKind::Evaluation => "assertion failed: loss is finite",
        FailureKind::Unknown => "zoom level is odd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Mix;

    fn script() -> Script {
        let fails = Ratio::new(1, 2).expect("a ratio");
        Script { seed: 7, kind: 0, duration: Span::from_secs(9), fails, poison: false, hangs: false }
    }

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        for (poison, hangs) in [(false, false), (true, false), (false, true)] {
            let script = Script { poison, hangs, ..script() };
            assert_eq!(Script::decode(&script.encode()), Some(script));
        }
        let bytes = script().encode();
        assert_eq!(Script::decode(&bytes[1..]), None);
        assert_eq!(Script::decode(&[]), None);
    }

    #[test]
    fn every_kind_is_read_out_of_its_words() {
        for &kind in FailureKind::ALL {
            assert_eq!(squall_scheduler::classify(words(kind)), kind);
        }
    }

    #[test]
    fn an_attempt_has_one_fate_and_attempts_have_different_ones() {
        let tasks = Tasks { mix: vec![Mix::default()], ..Tasks::default() };
        let fate = |attempt: u64| script().fate(AttemptId(attempt), &tasks, None);
        let failed = (0..1_000).filter(|&attempt| matches!(fate(attempt), Fate::Fails { .. })).count();
        assert!((400..600).contains(&failed), "{failed}");
        assert!((0..100).all(|attempt| fate(attempt) == fate(attempt)));
        let poison = Script { poison: true, ..script() };
        assert!((0..100).all(|attempt| matches!(poison.fate(AttemptId(attempt), &tasks, None), Fate::Kills { .. })));
    }

    #[test]
    fn sickness_adds_failures_and_takes_none_away() {
        let tasks = Tasks { mix: vec![Mix::default()], ..Tasks::default() };
        let sick = Sick { fails: "50%".parse().expect("a share"), ..Sick::default() };
        let fails = |attempt: u64, sick: Option<&Sick>| {
            matches!(script().fate(AttemptId(attempt), &tasks, sick), Fate::Fails { .. })
        };
        assert!((0..1_000).all(|attempt| !fails(attempt, None) || fails(attempt, Some(&sick))));
        let failed = (0..1_000).filter(|&attempt| fails(attempt, Some(&sick))).count();
        assert!((650..850).contains(&failed), "{failed}");
    }
}
