//! Statistics, counted once more: from what the scheduler told, and from which workers it was told are gone.

use super::*;
use crate::{End, Lengths, Statistics, TaskState};
use alloc::collections::BTreeMap;

/// What one life of a scheduler has told.
#[derive(Default)]
pub(super) struct Recount {
    counted: Statistics,
    /// The worker of each attempt that was told of.
    runs: BTreeMap<AttemptId, Text>,
    /// When the attempts of a task that hasn't ended failed or were lost.
    mishaps: BTreeMap<Text, Vec<Span>>,
    /// Mishaps that a new attempt has followed.
    mended: BTreeMap<Text, usize>,
    present: BTreeMap<Incarnation, (Text, Span)>,
    /// The task whose next attempt is a move, and no retry.
    moved: Option<Text>,
}

fn add(lengths: &mut Lengths, length: Span) {
    lengths.count += 1;
    lengths.sum += length;
    lengths.max = lengths.max.max(length);
}

impl Recount {
    /// A life that begins at this uptime.
    pub(super) fn since(at: Span) -> Self {
        Self { counted: Statistics { since: at, ..Statistics::default() }, ..Self::default() }
    }

    pub(super) fn gone(&mut self, at: Span, incarnation: Incarnation) {
        let Some((worker, since)) = self.present.remove(&incarnation) else { return };
        let row = self.counted.workers.entry(worker).or_default();
        row.uptime += at.minus(since);
    }

    pub(super) fn follow(&mut self, at: Span, event: &Event) {
        let counted = &mut self.counted;
        match event {
            Event::WorkerRecalled { worker, incarnation, .. } | Event::Offered { worker, incarnation, .. } => {
                counted.workers.entry(worker.clone()).or_default();
                self.present.insert(*incarnation, (worker.clone(), at));
            }
            Event::TaskRecalled { task } => {
                if let TaskState::Leased(lease) = &task.state {
                    self.runs.insert(lease.attempt, lease.worker.clone());
                }
            }
            Event::Submitted { .. } => counted.submitted += 1,
            Event::Migration { task, step: crate::Move::Fenced, .. } => self.moved = Some(task.clone()),
            Event::Assigned { task, attempt, worker, failures, .. } => {
                counted.starts += 1;
                let moved = self.moved.take_if(|moved| moved == task).is_some();
                counted.retries += u64::from(*failures > 0 && !moved);
                self.runs.insert(*attempt, worker.clone());
                let mishaps = self.mishaps.get(task).map_or(&[][..], Vec::as_slice);
                let mended = self.mended.insert(task.clone(), mishaps.len()).unwrap_or(0);
                if let (Some(newest), true) = (mishaps.last(), mishaps.len() > mended) {
                    add(&mut counted.restarts, at.minus(*newest));
                }
            }
            Event::Accepted { task, attempt, end, .. } | Event::Fenced { task, attempt, end, .. } => {
                let row = counted.workers.entry(self.runs[attempt].clone()).or_default();
                match end {
                    End::Succeeded => row.succeeded += 1,
                    End::Failed(kind) => {
                        row.failed += 1;
                        *counted.failures.entry(*kind).or_default() += 1;
                    }
                    End::Lost(kind) => {
                        row.lost += 1;
                        *counted.losses.entry(*kind).or_default() += 1;
                    }
                    End::Drained => counted.drains += 1,
                    End::Migrated => counted.migrations += 1,
                    End::Cancelled | End::Expired => {}
                }
                if matches!(end, End::Failed(_) | End::Lost(_)) {
                    self.mishaps.entry(task.clone()).or_default().push(at);
                }
            }
            Event::Terminal { task, outcome, .. } => {
                let first = self.mishaps.remove(task).and_then(|mishaps| mishaps.first().copied());
                self.mended.remove(task);
                let outcomes = &mut counted.outcomes;
                match outcome {
                    Outcome::Succeeded { .. } => {
                        outcomes.succeeded += 1;
                        first.into_iter().for_each(|first| add(&mut counted.recoveries, at.minus(first)));
                    }
                    Outcome::Failed(Verdict::Escalated(_)) => outcomes.escalated += 1,
                    Outcome::Failed(Verdict::Poison) => outcomes.poison += 1,
                    Outcome::Failed(Verdict::Deadline) => outcomes.deadline += 1,
                    Outcome::Cancelled => outcomes.cancelled += 1,
                }
            }
            _ => {}
        }
    }

    pub(super) fn at(&self, at: Span) -> Statistics {
        let mut counted = self.counted.clone();
        for (worker, since) in self.present.values() {
            let row = counted.workers.entry(worker.clone()).or_default();
            row.uptime += at.minus(*since);
        }
        counted
    }
}

#[test]
fn a_life_in_numbers() {
    let mut rig = Rig::new(|_| {});
    let one = rig.worker(1);
    let first = rig.start("t").expect("there is room");
    rig.fail("t", first, FailureKind::Evaluation);
    rig.pass(SECOND * 8);
    let second = rig.assigned().expect("its time has come");
    rig.call(Call::Ended { incarnation: one, departure: Departure::Crashed });
    rig.pass(SECOND * 2);
    rig.worker(2);
    let (third, two) = rig.assigned().expect("there is another worker");
    assert!(third > second.0);
    rig.pass(SECOND);
    rig.succeed("t", (third, two));
    let statistics = rig.scheduler.statistics(rig.now);
    let secs = |secs: u64| SECOND * secs;
    assert_eq!((statistics.submitted, statistics.starts, statistics.retries), (1, 3, 2));
    assert_eq!(statistics.failures, [(FailureKind::Evaluation, 1)].into());
    assert_eq!(statistics.losses, [(FailureKind::WorkerCrash, 1)].into());
    assert_eq!(statistics.outcomes.succeeded, 1);
    assert_eq!(statistics.restarts, Lengths { count: 2, sum: secs(7), max: secs(5) });
    assert_eq!(statistics.recoveries, Lengths { count: 1, sum: secs(11), max: secs(11) });
    let row = |id: &str| statistics.workers[id];
    assert_eq!((row("w1").uptime, row("w1").failed, row("w1").lost), (secs(8), 1, 1));
    assert_eq!((row("w2").uptime, row("w2").succeeded), (SECOND, 1));
    rig.restart();
    let anew = rig.scheduler.statistics(rig.now);
    assert_eq!((anew.submitted, anew.starts, anew.outcomes.succeeded), (0, 0, 0), "tasks are kept, statistics aren't");
    assert_eq!(anew.workers.keys().map(|id| &**id).collect::<Vec<_>>(), ["w2"]);
}
