//! How a task is tried again: ladders of strategies, a step per failure.

use crate::named::named;
use crate::{FailureKind, HardwareClass, Precision};
use serde::{Deserialize, Serialize};

named! {
    /// What is done differently in the next attempt.
    Strategy, "strategy" {
        /// Nothing: as soon as there is room.
        RetryAtOnce => "retry_at_once",
        /// It waits.
        DelayedRetry => "delayed_retry",
        /// It runs on another worker, if there is one.
        OtherWorker => "other_worker",
        /// It runs on the class that the task may fall back to.
        OtherClass => "other_class",
        /// It computes in the next cheaper precision.
        ReducedPrecision => "reduced_precision",
        /// It works on half the batch.
        ReducedBatch => "reduced_batch",
        /// The worker's runtime (the browser) is restarted first.
        RestartRuntime => "restart_runtime",
        /// There is no further attempt: somebody has to look at it.
        Escalate => "escalate",
    }
}

/// What of a task strategies can change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// The class of hardware it runs on.
    pub class: HardwareClass,
    /// The precision it computes in.
    pub precision: Precision,
    /// How many samples it works on at once; from 1.
    pub batch_size: u32,
}

/// What a task allows strategies to change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Degradable {
    /// Its batch may be halved.
    pub batch: bool,
    /// Its precision may be reduced.
    pub precision: bool,
    /// The other class of hardware that it may run on.
    pub fallback_class: Option<HardwareClass>,
}

named! {
    /// A list of strategies. The first failure of a task picks its ladder, each failure takes a step.
    Ladder, "ladder" {
        /// After too little memory, on any class.
        OutOfMemory => "out_of_memory",
        /// After a failure of hardware, on any class.
        Hardware => "hardware",
        /// After a failure of a browser, on any class.
        Browser => "browser",
        /// After a failure of the network or a timeout, on any class.
        Network => "network",
        /// After anything else on processor cores.
        Cpu => "cpu",
        /// After anything else on graphics processors.
        Gpu => "gpu",
        /// After anything else on tensor processors.
        Tpu => "tpu",
        /// After anything else on neural processors.
        Npu => "npu",
        /// After anything else on graphics processors in a browser.
        Webgpu => "webgpu",
        /// After anything else on neural networks in a browser.
        Webnn => "webnn",
    }
}

impl Ladder {
    /// The ladder of a task whose first failure was of this kind, on this class.
    #[must_use]
    pub const fn for_failure(kind: FailureKind, class: HardwareClass) -> Self {
        match kind {
            FailureKind::OutOfMemory => Self::OutOfMemory,
            FailureKind::Hardware => Self::Hardware,
            FailureKind::Browser => Self::Browser,
            FailureKind::Network | FailureKind::Timeout => Self::Network,
            FailureKind::WorkerCrash
            | FailureKind::WorkerDisconnected
            | FailureKind::Evaluation
            | FailureKind::Unknown => match class {
                HardwareClass::Cpu => Self::Cpu,
                HardwareClass::Gpu => Self::Gpu,
                HardwareClass::Tpu => Self::Tpu,
                HardwareClass::Npu => Self::Npu,
                HardwareClass::Webgpu => Self::Webgpu,
                HardwareClass::Webnn => Self::Webnn,
            },
        }
    }

    /// Its steps in the order of the specification; self-healing may reorder them for tasks that haven't failed yet.
    #[must_use]
    pub const fn steps(self) -> &'static [Strategy] {
        use Strategy::{
            DelayedRetry, OtherClass, OtherWorker, ReducedBatch, ReducedPrecision, RestartRuntime, RetryAtOnce,
        };
        match self {
            Self::OutOfMemory => &[ReducedBatch, ReducedPrecision, OtherClass],
            Self::Hardware => &[OtherWorker, DelayedRetry, OtherClass],
            Self::Browser => &[RestartRuntime, OtherWorker, OtherClass],
            Self::Network => &[RetryAtOnce, DelayedRetry, OtherWorker],
            Self::Cpu => &[DelayedRetry, OtherWorker, ReducedBatch],
            Self::Gpu => &[DelayedRetry, OtherWorker, ReducedPrecision, ReducedBatch, OtherClass],
            Self::Tpu => &[DelayedRetry, OtherWorker, ReducedBatch, OtherClass],
            Self::Npu => &[DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
            Self::Webgpu => &[RestartRuntime, DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
            Self::Webnn => &[RestartRuntime, DelayedRetry, OtherWorker, OtherClass],
        }
    }
}

/// One step of a walk along a ladder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its place in the list of steps, from 0. The next failure looks from the place after it.
    pub index: u8,
    /// What is done.
    pub strategy: Strategy,
    /// What the task is like from now on.
    pub shape: Shape,
}

impl Step {
    /// The next step along `steps`, looking from place `from`: 0 at the first failure, or 1 if there is a pattern; later
    /// the place after the step before.
    ///
    /// Steps that the task doesn't allow, or that change nothing any more, are skipped. After the last step the last
    /// applicable one repeats; where none is, the task waits and is tried as it is.
    ///
    /// # Panics
    /// If there are more than 254 steps.
    #[must_use]
    pub fn next(steps: &[Strategy], from: u8, shape: Shape, degradable: Degradable) -> Self {
        let step = |index: usize| {
            let strategy = steps[index];
            Some(Self { index: index as u8, strategy, shape: apply(strategy, shape, degradable)? })
        };
        assert!(steps.len() < usize::from(u8::MAX), "places are numbered in one byte");
        let ahead = (usize::from(from)..steps.len()).find_map(step);
        let behind = || (0..steps.len().min(usize::from(from))).rev().find_map(step);
        let waits = Self { index: from, strategy: Strategy::DelayedRetry, shape };
        ahead.or_else(behind).unwrap_or(waits)
    }
}

/// What the task is like after a strategy; `None` if the strategy isn't applicable.
fn apply(strategy: Strategy, shape: Shape, degradable: Degradable) -> Option<Shape> {
    match strategy {
        Strategy::RetryAtOnce | Strategy::DelayedRetry | Strategy::OtherWorker | Strategy::RestartRuntime => {
            Some(shape)
        }
        Strategy::OtherClass => {
            let class = degradable.fallback_class.filter(|class| *class != shape.class)?;
            Some(Shape { class, ..shape })
        }
        Strategy::ReducedPrecision if degradable.precision => {
            shape.precision.reduced().map(|precision| Shape { precision, ..shape })
        }
        Strategy::ReducedBatch if degradable.batch && shape.batch_size > 1 => {
            Some(Shape { batch_size: shape.batch_size / 2, ..shape })
        }
        Strategy::ReducedPrecision | Strategy::ReducedBatch | Strategy::Escalate => None,
    }
}

#[cfg(test)]
mod tests;
