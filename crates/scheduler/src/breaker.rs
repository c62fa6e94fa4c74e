//! Circuit breakers: who fails too often is left alone for a while, then probed.

mod change;
mod health;
mod law;

pub use change::{BreakerCause, BreakerChange, BreakerStage};
pub use health::{average_health, overall_health};
pub use law::{BreakerKnobs, Factor};

use crate::{AttemptId, Blame, Generation, HardwareClass, TaskType};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text};

/// What a breaker watches.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerKey {
    /// The worker of this id, through all its incarnations.
    Worker(Text),
    /// A hardware class.
    Class(HardwareClass),
    /// A task type.
    Type(TaskType),
}

impl BreakerKey {
    /// How many keys aren't workers'.
    pub const SHARED: usize = HardwareClass::ALL.len() + TaskType::ALL.len();

    /// The kind of breakers that it belongs to.
    #[must_use]
    pub const fn kind(&self) -> Blame {
        match self {
            Self::Worker(_) => Blame::Worker,
            Self::Class(_) => Blame::Class,
            Self::Type(_) => Blame::Type,
        }
    }
}

impl fmt::Display for BreakerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(id) => write!(f, "worker {id}"),
            Self::Class(class) => write!(f, "class {class}"),
            Self::Type(task_type) => write!(f, "type {task_type}"),
        }
    }
}

/// How a permit ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// The attempt succeeded.
    Success,
    /// It failed, and this key is to blame.
    Failure,
    /// It says nothing about this key: cancelled, ignored, drained, or another key is to blame.
    Released,
}

/// What the passing of time did.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct BreakerDue {
    /// The change to `HalfOpen`, if it was time.
    pub change: Option<BreakerChange>,
    /// Probes that outlived their permits, in order. They are settled as released; what they report later counts nothing.
    pub expired: Vec<AttemptId>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum State {
    /// `failures` in a row.
    Closed {
        failures: u32,
    },
    Open {
        until: Span,
    },
    /// `successes` since it is; unsettled `probes`, and until when their permits live.
    HalfOpen {
        successes: u32,
        probes: BTreeMap<AttemptId, Span>,
    },
}

/// The breaker of one key.
///
/// Who assigns asks [`permits`](Self::permits) of all keys concerned and then [takes](Self::take) from all or from none; a
/// permit is the generation that taking gives, and is settled exactly once. Outside `HalfOpen` permits aren't counted, so
/// the breaker doesn't remember them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Breaker {
    knobs: BreakerKnobs,
    state: State,
    generation: Generation,
    times_opened: u32,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(knobs: BreakerKnobs) -> Self {
        Self { knobs, state: State::Closed { failures: 0 }, generation: Generation(0), times_opened: 0 }
    }

    /// A breaker as its last durable change left it. Counts begin anew. Probes that are still on their way have to be
    /// [taken](Self::take) again under the generation they had; who doesn't know of any takes none.
    ///
    /// # Panics
    /// If it has been opened since it was last closed, and is closed, or the reverse.
    #[must_use]
    pub fn restored(knobs: BreakerKnobs, stage: BreakerStage, generation: Generation, times_opened: u32) -> Self {
        let state = match stage {
            BreakerStage::Closed => State::Closed { failures: 0 },
            BreakerStage::Open { until } => State::Open { until },
            BreakerStage::HalfOpen => State::HalfOpen { successes: 0, probes: BTreeMap::new() },
        };
        let breaker = Self { knobs, state, generation, times_opened };
        breaker.assert_invariants();
        breaker
    }

    /// Changes its settings from now on: the next result is judged by them, a time to be open that runs stays.
    ///
    /// # Panics
    /// If the number of probes changes: there may be as many on their way as before.
    pub fn adjust(&mut self, knobs: BreakerKnobs) {
        assert_eq!(knobs.probes, self.knobs.probes, "the number of probes is not adjustable");
        self.knobs = knobs;
    }

    /// Its settings.
    #[must_use]
    pub const fn knobs(&self) -> &BreakerKnobs {
        &self.knobs
    }

    /// Where it stands.
    #[must_use]
    pub const fn stage(&self) -> BreakerStage {
        match &self.state {
            State::Closed { .. } => BreakerStage::Closed,
            State::Open { until } => BreakerStage::Open { until: *until },
            State::HalfOpen { .. } => BreakerStage::HalfOpen,
        }
    }

    /// How often it has changed.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// How often it has opened since it was last closed.
    #[must_use]
    pub const fn times_opened(&self) -> u32 {
        self.times_opened
    }

    /// Whether it would give a permit now. Looking changes nothing, and time alone doesn't either: an open breaker permits
    /// nothing until [`on_due`](Self::on_due) was told that its time has come.
    #[must_use]
    pub fn permits(&self) -> bool {
        match &self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { probes, .. } => probes.len() < self.knobs.probes as usize,
        }
    }

    /// Takes a permit for `attempt`, which lives until `expires` at most if this is a probe.
    ///
    /// # Panics
    /// If it [gives none](Self::permits), or the attempt holds one.
    pub fn take(&mut self, attempt: AttemptId, expires: Span) -> Generation {
        assert!(self.permits(), "a permit is taken only where one is given");
        if let State::HalfOpen { probes, .. } = &mut self.state {
            let before = probes.insert(attempt, expires);
            assert!(before.is_none(), "attempt {attempt} took two permits");
        }
        self.generation
    }

    /// When [`on_due`](Self::on_due) can next change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Span> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(*until),
            State::HalfOpen { probes, .. } => probes.values().min().copied(),
        }
    }

    /// It is `at`: a breaker that was open long enough is half-open; permits of probes that are overdue come back.
    pub fn on_due(&mut self, at: Span) -> BreakerDue {
        let mut due = BreakerDue::default();
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { until } if *until <= at => {
                let half_open = State::HalfOpen { successes: 0, probes: BTreeMap::new() };
                due.change = Some(self.transition_to(half_open, BreakerCause::Elapsed));
            }
            State::Open { .. } => {}
            State::HalfOpen { probes, .. } => {
                due.expired =
                    probes.iter().filter(|(_, expires)| **expires <= at).map(|(attempt, _)| *attempt).collect();
                probes.retain(|_, expires| *expires > at);
            }
        }
        due
    }

    /// The permit that `attempt` took in `generation` ends at `at`. One of an older generation only comes back, and so does
    /// one that had expired: it counts nothing.
    ///
    /// # Panics
    /// If no such permit was ever given: the generation is still to come, or is one in which the breaker was open.
    pub fn settle(
        &mut self,
        at: Span,
        attempt: AttemptId,
        generation: Generation,
        settlement: Settlement,
    ) -> Option<BreakerChange> {
        assert!(generation <= self.generation, "a permit of generation {generation} is yet to be given");
        if generation < self.generation {
            return None;
        }
        match &mut self.state {
            State::Closed { failures } => match settlement {
                Settlement::Success => *failures = 0,
                Settlement::Failure => {
                    *failures += 1;
                    if *failures >= self.knobs.threshold {
                        return Some(self.open(at, BreakerCause::Threshold));
                    }
                }
                Settlement::Released => {}
            },
            State::Open { .. } => panic!("an open breaker gave a permit in generation {generation}"),
            State::HalfOpen { successes, probes } => {
                probes.remove(&attempt)?;
                match settlement {
                    Settlement::Success => {
                        *successes += 1;
                        if *successes >= self.knobs.successes_to_close {
                            return Some(self.close(BreakerCause::ProbesSucceeded));
                        }
                    }
                    Settlement::Failure => return Some(self.open(at, BreakerCause::ProbeFailed)),
                    Settlement::Released => {}
                }
            }
        }
        None
    }

    /// Closes it, whatever it was, because an operator wants it. Results of older permits count nothing any more.
    pub fn reset(&mut self) -> BreakerChange {
        self.close(BreakerCause::Reset)
    }

    /// How well it is, 0 to 100.
    #[must_use]
    pub fn health(&self) -> u32 {
        match &self.state {
            State::Open { .. } => 20u32.saturating_sub(self.times_opened.saturating_mul(2)),
            State::HalfOpen { successes, .. } => successes.saturating_mul(10).saturating_add(40).min(60),
            State::Closed { failures } => 100u32.saturating_sub(failures.saturating_mul(10)).max(70),
        }
    }

    /// Checks the relations between its fields.
    ///
    /// # Panics
    /// If one doesn't hold.
    pub fn assert_invariants(&self) {
        let closed = matches!(self.state, State::Closed { .. });
        assert_eq!(closed, self.times_opened == 0, "openings are counted until it closes");
        assert!(closed || self.generation > Generation(0), "nobody is born open");
        if let State::HalfOpen { probes, .. } = &self.state {
            assert!(probes.len() <= self.knobs.probes as usize, "no more probes than permits");
        }
    }

    fn open(&mut self, at: Span, cause: BreakerCause) -> BreakerChange {
        self.times_opened = self.times_opened.saturating_add(1);
        let until = at + self.knobs.opening_time(self.times_opened);
        self.transition_to(State::Open { until }, cause)
    }

    fn close(&mut self, cause: BreakerCause) -> BreakerChange {
        self.times_opened = 0;
        self.transition_to(State::Closed { failures: 0 }, cause)
    }

    /// The only writer of the state, but for counts within it.
    fn transition_to(&mut self, state: State, cause: BreakerCause) -> BreakerChange {
        let from = self.stage();
        self.state = state;
        self.generation = self.generation.next();
        BreakerChange { from, to: self.stage(), generation: self.generation, times_opened: self.times_opened, cause }
    }
}

#[cfg(test)]
mod tests;
