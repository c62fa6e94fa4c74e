//! What the scheduler has done, in numbers.

use crate::{End, FailureKind, Incarnation, Outcome, Verdict};
use alloc::collections::BTreeMap;
use serde::Serialize;
use squall_machine::{Span, Text};

/// How long something took, of many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Lengths {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    #[serde(rename = "sum_ns")]
    pub sum: Span,
    /// The longest.
    #[serde(rename = "max_ns")]
    pub max: Span,
}

impl Lengths {
    fn add(&mut self, length: Span) {
        *self = Self { count: self.count + 1, sum: self.sum + length, max: self.max.max(length) };
    }
}

/// How many tasks ended, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Outcomes {
    /// An attempt succeeded.
    pub succeeded: u64,
    /// Their retries were used up.
    pub escalated: u64,
    /// They lost more workers than a task may lose.
    pub poison: u64,
    /// Their deadline passed.
    pub deadline: u64,
    /// A client cancelled them.
    pub cancelled: u64,
}

/// What became of one worker, in all its incarnations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct WorkerStatistics {
    /// How long it was there: from its offer, or from the start of the scheduler, to the end of its incarnation.
    #[serde(rename = "uptime_ns")]
    pub uptime: Span,
    /// How many attempts succeeded there.
    pub succeeded: u64,
    /// How many failed there.
    pub failed: u64,
    /// How many were lost with it.
    pub lost: u64,
}

/// What one life of the scheduler has done so far. All counts begin with it: a restart keeps tasks, not statistics. Moments
/// and lengths are uptime of the scheduler, so the time between two lives is in none of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize)]
pub struct Statistics {
    /// The uptime of all lives before.
    #[serde(rename = "since_ns")]
    pub since: Span,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Attempts that were assigned.
    pub starts: u64,
    /// Those of them whose task had failed before.
    pub retries: u64,
    /// Attempts that failed, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Attempts that were lost with their worker, by kind.
    pub losses: BTreeMap<FailureKind, u64>,
    /// Attempts that were given back, or whose worker left by plan.
    pub drains: u64,
    /// Attempts that were fenced so that their task goes on elsewhere.
    pub migrations: u64,
    /// Tasks that ended.
    pub outcomes: Outcomes,
    /// From a failure or loss to the next assignment of the same task.
    pub restarts: Lengths,
    /// From the first failure or loss of a task to its success.
    pub recoveries: Lengths,
    /// The workers, by id: at most as many as there may be.
    pub workers: BTreeMap<Text, WorkerStatistics>,
    /// Workers that are gone and had to make room, together.
    pub others: WorkerStatistics,
}

/// Since when a task has been in trouble.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Trouble {
    first: Span,
    /// The newest failure or loss that no assignment has followed.
    newest: Option<Span>,
}

/// What statistics are made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Counters {
    statistics: Statistics,
    workers_max: usize,
    /// Tasks that failed or lost a worker, and haven't ended.
    troubled: BTreeMap<Text, Trouble>,
    /// Workers that are there, and since when.
    present: BTreeMap<Incarnation, (Text, Span)>,
}

impl Counters {
    pub(crate) fn new(workers_max: u32) -> Self {
        let (statistics, troubled, present) = (Statistics::default(), BTreeMap::new(), BTreeMap::new());
        Self { statistics, workers_max: workers_max as usize, troubled, present }
    }

    /// A life begins.
    pub(crate) fn on_boot(&mut self, at: Span) {
        self.statistics.since = at;
    }

    pub(crate) fn on_submit(&mut self) {
        self.statistics.submitted += 1;
    }

    pub(crate) fn on_start(&mut self, at: Span, task: &Text, retry: bool) {
        self.statistics.starts += 1;
        self.statistics.retries += u64::from(retry);
        if let Some(since) = self.troubled.get_mut(task).and_then(|trouble| trouble.newest.take()) {
            self.statistics.restarts.add(at.minus(since));
        }
    }

    /// An attempt ended.
    pub(crate) fn on_end(&mut self, at: Span, task: &Text, worker: &Text, end: &End) {
        match end {
            End::Succeeded => self.worker(worker).succeeded += 1,
            End::Failed(kind) => {
                *self.statistics.failures.entry(*kind).or_default() += 1;
                self.worker(worker).failed += 1;
                self.trouble(at, task);
            }
            End::Lost(kind) => {
                *self.statistics.losses.entry(*kind).or_default() += 1;
                self.worker(worker).lost += 1;
                self.trouble(at, task);
            }
            End::Drained => self.statistics.drains += 1,
            End::Migrated => self.statistics.migrations += 1,
            End::Cancelled | End::Expired => {}
        }
    }

    /// A task ended.
    pub(crate) fn on_outcome(&mut self, at: Span, task: &Text, outcome: &Outcome) {
        let trouble = self.troubled.remove(task);
        let outcomes = &mut self.statistics.outcomes;
        match outcome {
            Outcome::Succeeded { .. } => {
                outcomes.succeeded += 1;
                if let Some(trouble) = trouble {
                    self.statistics.recoveries.add(at.minus(trouble.first));
                }
            }
            Outcome::Failed(Verdict::Escalated(_)) => outcomes.escalated += 1,
            Outcome::Failed(Verdict::Poison) => outcomes.poison += 1,
            Outcome::Failed(Verdict::Deadline) => outcomes.deadline += 1,
            Outcome::Cancelled => outcomes.cancelled += 1,
        }
    }

    /// A worker is there.
    pub(crate) fn on_worker(&mut self, at: Span, incarnation: Incarnation, worker: &Text) {
        self.present.insert(incarnation, (worker.clone(), at));
        self.worker(worker);
    }

    /// A worker is gone.
    pub(crate) fn on_worker_gone(&mut self, at: Span, incarnation: Incarnation) {
        if let Some((worker, since)) = self.present.remove(&incarnation) {
            let row = self.worker(&worker);
            row.uptime += at.minus(since);
        }
    }

    /// All of it, as it is at this moment.
    pub(crate) fn at(&self, at: Span) -> Statistics {
        let mut statistics = self.statistics.clone();
        for (worker, since) in self.present.values() {
            let row = statistics.workers.entry(worker.clone()).or_default();
            row.uptime += at.minus(*since);
        }
        statistics
    }

    fn trouble(&mut self, at: Span, task: &Text) {
        let trouble = self.troubled.entry(task.clone()).or_insert(Trouble { first: at, newest: None });
        trouble.newest = Some(at);
    }

    /// The row of a worker. For a new one that there is no room for, one that is gone joins the others.
    fn worker(&mut self, worker: &Text) -> &mut WorkerStatistics {
        let Statistics { workers, others, .. } = &mut self.statistics;
        if workers.len() >= self.workers_max && !workers.contains_key(worker) {
            let present = |id: &Text| self.present.values().any(|(present, _)| present == id);
            if let Some(gone) = workers.keys().find(|id| !present(id)).cloned()
                && let Some(row) = workers.remove(&gone)
            {
                others.uptime += row.uptime;
                others.succeeded += row.succeeded;
                others.failed += row.failed;
                others.lost += row.lost;
            }
        }
        workers.entry(worker.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_workers_that_are_gone_make_room() {
        let mut counters = Counters::new(2);
        for number in 1..=4u64 {
            let (worker, at) = (format!("w{number}").into(), Span::from_secs(number));
            counters.on_worker(at, Incarnation(number), &worker);
            counters.on_end(at, &"t".into(), &worker, &End::Succeeded);
            if number < 4 {
                counters.on_worker_gone(at + Span::from_millis(500), Incarnation(number));
            }
        }
        let statistics = counters.at(Span::from_secs(10));
        let row = |millis, succeeded| WorkerStatistics {
            uptime: Span::from_millis(millis),
            succeeded,
            ..WorkerStatistics::default()
        };
        assert_eq!(statistics.workers, [("w3".into(), row(500, 1)), ("w4".into(), row(6_000, 1))].into());
        assert_eq!(statistics.others, row(1_000, 2));
    }
}
