//! The ladders of strategies, as the specification lists them (3.2), and how a task walks along one.

use squall_scheduler::{Degradable, FailureKind, HardwareClass, Ladder, Precision, Shape, Strategy};

use Strategy::{DelayedRetry, OtherClass, OtherWorker, ReducedBatch, ReducedPrecision, RestartRuntime, RetryAtOnce};

/// The ladder that a first failure picks.
pub(super) fn picked(kind: FailureKind, class: HardwareClass) -> Ladder {
    match (kind, class) {
        (FailureKind::OutOfMemory, _) => Ladder::OutOfMemory,
        (FailureKind::Hardware, _) => Ladder::Hardware,
        (FailureKind::Browser, _) => Ladder::Browser,
        (FailureKind::Network | FailureKind::Timeout, _) => Ladder::Network,
        (_, HardwareClass::Cpu) => Ladder::Cpu,
        (_, HardwareClass::Gpu) => Ladder::Gpu,
        (_, HardwareClass::Tpu) => Ladder::Tpu,
        (_, HardwareClass::Npu) => Ladder::Npu,
        (_, HardwareClass::Webgpu) => Ladder::Webgpu,
        (_, HardwareClass::Webnn) => Ladder::Webnn,
    }
}

/// Its steps.
pub(super) fn steps(ladder: Ladder) -> &'static [Strategy] {
    match ladder {
        Ladder::OutOfMemory => &[ReducedBatch, ReducedPrecision, OtherClass],
        Ladder::Hardware => &[OtherWorker, DelayedRetry, OtherClass],
        Ladder::Browser => &[RestartRuntime, OtherWorker, OtherClass],
        Ladder::Network => &[RetryAtOnce, DelayedRetry, OtherWorker],
        Ladder::Cpu => &[DelayedRetry, OtherWorker, ReducedBatch],
        Ladder::Gpu => &[DelayedRetry, OtherWorker, ReducedPrecision, ReducedBatch, OtherClass],
        Ladder::Tpu => &[DelayedRetry, OtherWorker, ReducedBatch, OtherClass],
        Ladder::Npu => &[DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
        Ladder::Webgpu => &[RestartRuntime, DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
        Ladder::Webnn => &[RestartRuntime, DelayedRetry, OtherWorker, OtherClass],
    }
}

/// What a task is like after a strategy; `None`: it doesn't allow it, or nothing is left to change.
fn changed(strategy: Strategy, shape: Shape, allowed: Degradable) -> Option<Shape> {
    match strategy {
        ReducedBatch => {
            (allowed.batch && shape.batch_size >= 2).then_some(Shape { batch_size: shape.batch_size / 2, ..shape })
        }
        ReducedPrecision => {
            let precision = match shape.precision {
                Precision::Fp32 => Precision::Fp16,
                Precision::Bf16 | Precision::Fp16 => Precision::Int8,
                Precision::Int8 => return None,
            };
            allowed.precision.then_some(Shape { precision, ..shape })
        }
        OtherClass => match allowed.fallback_class {
            Some(class) if class != shape.class => Some(Shape { class, ..shape }),
            Some(_) | None => None,
        },
        RetryAtOnce | DelayedRetry | OtherWorker | RestartRuntime => Some(shape),
        Strategy::Escalate => None,
    }
}

/// The step from place `from` on: its place, what is done, and what the task is like then.
pub(super) fn step(steps: &[Strategy], from: usize, shape: Shape, allowed: Degradable) -> (usize, Strategy, Shape) {
    let mut last = None;
    for (place, &strategy) in steps.iter().enumerate() {
        let Some(shape) = changed(strategy, shape, allowed) else { continue };
        if place >= from {
            return (place, strategy, shape);
        }
        // After the end the last possible step repeats.
        last = Some((place, strategy, shape));
    }
    last.unwrap_or((from, DelayedRetry, shape))
}
