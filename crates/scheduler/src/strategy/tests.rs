use super::*;
use Strategy::{DelayedRetry, OtherClass, OtherWorker, ReducedBatch, ReducedPrecision, RestartRuntime, RetryAtOnce};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

const ANYTHING: Degradable = Degradable { batch: true, precision: true, fallback_class: Some(HardwareClass::Cpu) };

fn shape(class: HardwareClass, precision: Precision, batch_size: u32) -> Shape {
    Shape { class, precision, batch_size }
}

/// The steps of so many failures in a row.
fn walk(steps: &[Strategy], start: u8, mut shape: Shape, degradable: Degradable, failures: usize) -> Vec<Step> {
    let mut from = start;
    let mut taken = Vec::new();
    for _ in 0..failures {
        let step = Step::next(steps, from, shape, degradable);
        (from, shape) = (step.index + 1, step.shape);
        taken.push(step);
    }
    taken
}

fn strategies(taken: &[Step]) -> Vec<Strategy> {
    taken.iter().map(|step| step.strategy).collect()
}

#[test]
fn ladders_are_those_of_the_specification_for_every_kind_and_class() {
    for kind in FailureKind::ALL.iter().copied() {
        for class in HardwareClass::ALL.iter().copied() {
            let by_class: &[Strategy] = match class {
                HardwareClass::Cpu => &[DelayedRetry, OtherWorker, ReducedBatch],
                HardwareClass::Gpu => &[DelayedRetry, OtherWorker, ReducedPrecision, ReducedBatch, OtherClass],
                HardwareClass::Tpu => &[DelayedRetry, OtherWorker, ReducedBatch, OtherClass],
                HardwareClass::Npu => &[DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
                HardwareClass::Webgpu => &[RestartRuntime, DelayedRetry, OtherWorker, ReducedPrecision, OtherClass],
                HardwareClass::Webnn => &[RestartRuntime, DelayedRetry, OtherWorker, OtherClass],
            };
            let expected: &[Strategy] = match kind.as_str() {
                "out_of_memory" => &[ReducedBatch, ReducedPrecision, OtherClass],
                "hardware" => &[OtherWorker, DelayedRetry, OtherClass],
                "browser" => &[RestartRuntime, OtherWorker, OtherClass],
                "network" | "timeout" => &[RetryAtOnce, DelayedRetry, OtherWorker],
                _ => by_class,
            };
            assert_eq!(Ladder::for_failure(kind, class).steps(), expected, "{kind:?} on {class}");
        }
    }
    let reached: BTreeSet<Ladder> = FailureKind::ALL
        .iter()
        .flat_map(|kind| HardwareClass::ALL.iter().map(|class| Ladder::for_failure(*kind, *class)))
        .collect();
    assert_eq!(reached, Ladder::ALL.iter().copied().collect(), "no ladder is out of reach");
}

#[test]
fn a_walk_takes_every_step_in_order_where_everything_is_allowed() {
    let gpu = shape(HardwareClass::Gpu, Precision::Fp32, 8);
    let taken = walk(Ladder::Gpu.steps(), 0, gpu, ANYTHING, 5);
    assert_eq!(strategies(&taken), Ladder::Gpu.steps());
    let indexes: Vec<u8> = taken.iter().map(|step| step.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    assert_eq!(taken[4].shape, shape(HardwareClass::Cpu, Precision::Fp16, 4));
}

#[test]
fn the_last_applicable_step_repeats() {
    // On the fallback class already, so the last step changes nothing any more; the one before does until it can't either.
    let gpu = shape(HardwareClass::Gpu, Precision::Fp32, 8);
    let taken = walk(Ladder::OutOfMemory.steps(), 0, gpu, ANYTHING, 8);
    let expected = [
        ReducedBatch,
        ReducedPrecision,
        OtherClass,
        ReducedPrecision,
        ReducedBatch,
        ReducedBatch,
        DelayedRetry,
        DelayedRetry,
    ];
    assert_eq!(strategies(&taken), expected);
    assert_eq!(taken[7].shape, shape(HardwareClass::Cpu, Precision::Int8, 1));

    let cpu = shape(HardwareClass::Cpu, Precision::Fp32, 5);
    let taken = walk(Ladder::Cpu.steps(), 0, cpu, ANYTHING, 6);
    let expected = [DelayedRetry, OtherWorker, ReducedBatch, ReducedBatch, OtherWorker, OtherWorker];
    assert_eq!(strategies(&taken), expected);
    let batches: Vec<u32> = taken.iter().map(|step| step.shape.batch_size).collect();
    assert_eq!(batches, [5, 5, 2, 1, 1, 1]);
}

#[test]
fn what_the_task_does_not_allow_is_skipped() {
    let gpu = shape(HardwareClass::Gpu, Precision::Bf16, 8);
    let nothing = Degradable::default();
    let taken = walk(Ladder::Gpu.steps(), 0, gpu, nothing, 4);
    assert_eq!(strategies(&taken), [DelayedRetry, OtherWorker, OtherWorker, OtherWorker]);
    assert!(taken.iter().all(|step| step.shape == gpu));

    let taken = walk(Ladder::OutOfMemory.steps(), 0, gpu, nothing, 3);
    assert_eq!(strategies(&taken), [DelayedRetry; 3], "nothing applies");

    let only_precision = Degradable { precision: true, ..nothing };
    let taken = walk(Ladder::OutOfMemory.steps(), 0, gpu, only_precision, 3);
    assert_eq!(strategies(&taken), [ReducedPrecision, DelayedRetry, DelayedRetry]);
    assert_eq!(taken[2].shape.precision, Precision::Int8);

    let only_class = Degradable { fallback_class: Some(HardwareClass::Tpu), ..nothing };
    let taken = walk(Ladder::Hardware.steps(), 0, gpu, only_class, 4);
    assert_eq!(strategies(&taken), [OtherWorker, DelayedRetry, OtherClass, DelayedRetry]);
    assert_eq!(taken[3].shape.class, HardwareClass::Tpu);
}

#[test]
fn a_pattern_starts_one_step_further() {
    for ladder in Ladder::ALL.iter().copied() {
        let taken = walk(ladder.steps(), 1, shape(HardwareClass::Gpu, Precision::Fp32, 64), ANYTHING, 2);
        assert_eq!(strategies(&taken), ladder.steps()[1..3], "{ladder:?}");
    }
}

#[test]
fn every_walk_is_total_and_only_reduces() {
    for ladder in Ladder::ALL.iter().copied() {
        for bits in 0..8u8 {
            for class in HardwareClass::ALL.iter().copied() {
                for precision in Precision::ALL.iter().copied() {
                    for batch_size in [0, 1, 2, 3, u32::MAX] {
                        let fallback_class = (bits & 4 != 0).then_some(HardwareClass::Cpu);
                        let degradable = Degradable { batch: bits & 1 != 0, precision: bits & 2 != 0, fallback_class };
                        let mut before = shape(class, precision, batch_size);
                        for step in walk(ladder.steps(), 0, before, degradable, 40) {
                            let after = step.shape;
                            assert!(after.batch_size <= before.batch_size && (after.batch_size > 0 || batch_size == 0));
                            let changed = after != before;
                            let changes = matches!(step.strategy, ReducedBatch | ReducedPrecision | OtherClass);
                            assert_eq!(changed, changes, "{ladder:?} {degradable:?} {step:?}");
                            before = after;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(
        Step::next(Ladder::Cpu.steps(), u8::MAX, shape(HardwareClass::Cpu, Precision::Int8, 1), ANYTHING).index,
        1
    );
    assert_eq!(Step::next(&[], 3, shape(HardwareClass::Cpu, Precision::Int8, 1), ANYTHING).strategy, DelayedRetry);
}
