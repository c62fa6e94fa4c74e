//! What becomes of a breaker, as it is told and kept.

use crate::Generation;
use serde::{Deserialize, Serialize};
use squall_machine::Span;

/// Where a breaker stands, as far as it is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerStage {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open {
        /// When it is time to probe.
        until: Span,
    },
    /// Single probes pass.
    HalfOpen,
}

/// Why a breaker changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerCause {
    /// As many failures in a row as its threshold: Closed to Open.
    Threshold,
    /// Its time to be open has passed: Open to `HalfOpen`.
    Elapsed,
    /// A probe failed: `HalfOpen` to Open.
    ProbeFailed,
    /// Enough probes succeeded: `HalfOpen` to Closed.
    ProbesSucceeded,
    /// An operator asked for it: anything to Closed.
    Reset,
}

/// One change of a breaker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct BreakerChange {
    /// Where it stood.
    pub from: BreakerStage,
    /// Where it stands.
    pub to: BreakerStage,
    /// The new generation, one above the last.
    pub generation: Generation,
    /// How often it has opened since it was last closed.
    pub times_opened: u32,
    /// Why.
    pub cause: BreakerCause,
}
