//! How the scheduler is, as plain data.

use super::Scheduler;
use crate::{
    AttemptId, BreakerKey, BreakerStage, Generation, HardwareClass, Incarnation, Issue, Obstacle, Outcome, Resources,
    Statistics, TaskState, average_health, overall_health,
};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use squall_machine::{Span, Text, Time};

/// How many tasks are in which state, and how many things are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TaskCounts {
    /// Ever submitted.
    pub submitted: u64,
    /// Their time has come, and no worker has been found.
    pub queued: u64,
    /// Their time has not come.
    pub delayed: u64,
    /// An attempt holds them.
    pub leased: u64,
    /// They have ended, forgotten ones included.
    pub terminal: u64,
    /// Not forgotten.
    pub known: u64,
}

/// One task that has not ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TaskStatus {
    /// Its id.
    pub task: Text,
    /// Which attempt holds it, and on which incarnation.
    pub lease: Option<(AttemptId, Incarnation)>,
    /// How long it still waits by itself.
    pub delay: Option<Span>,
    /// Why it isn't placed, if it was looked at.
    pub obstacle: Option<Obstacle>,
}

/// One worker that offers itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WorkerStatus {
    /// Its id.
    pub worker: Text,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its class of hardware.
    pub class: HardwareClass,
    /// What it has.
    pub total: Resources,
    /// What is set aside.
    pub reserved: Resources,
    /// What it holds.
    pub leases: Vec<AttemptId>,
    /// Whether it gets no more work because it asked for that.
    pub draining: bool,
    /// What is wrong with its host.
    pub issues: Vec<Issue>,
}

/// One breaker that was ever used.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BreakerStatus {
    /// Which.
    pub key: BreakerKey,
    /// Where it stands.
    pub stage: BreakerStage,
    /// Its generation.
    pub generation: Generation,
    /// How well it is, 0 to 100.
    pub health: u32,
}

/// How the scheduler is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SchedulerStatus {
    /// Its uptime, in all its lives.
    pub uptime: Span,
    /// Its tasks, in numbers.
    pub counts: TaskCounts,
    /// The tasks that have not ended.
    pub open: Vec<TaskStatus>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The breakers.
    pub breakers: Vec<BreakerStatus>,
    /// Of all breakers together, 0 to 100.
    pub health: u32,
    /// The mean of all breakers, 0 to 100.
    pub health_mean: u32,
}

impl Scheduler {
    /// How it is. Takes time in proportion to what is open.
    #[must_use]
    pub fn status(&self, now: Time) -> SchedulerStatus {
        let at = self.uptime(now);
        SchedulerStatus {
            uptime: at,
            counts: self.counts(),
            open: self.open(at),
            workers: self.worker_statuses(),
            breakers: self.breaker_statuses(),
            health: overall_health(self.breakers.values()),
            health_mean: average_health(self.breakers.values()),
        }
    }

    /// What this life of it has done so far. Takes time in proportion to the number of workers.
    #[must_use]
    pub fn statistics(&self, now: Time) -> Statistics {
        self.counters.at(self.uptime(now))
    }

    /// How many tasks are where.
    #[must_use]
    pub fn counts(&self) -> TaskCounts {
        TaskCounts {
            submitted: self.durable.submitted,
            queued: self.queue.len() as u64,
            delayed: self.delayed.len() as u64,
            leased: self.limits.len() as u64,
            terminal: self.durable.ended,
            known: self.durable.tasks.len() as u64,
        }
    }

    /// How a task ended; `None` if it hasn't, or isn't known.
    #[must_use]
    pub fn outcome(&self, task: &str) -> Option<&Outcome> {
        match &self.durable.tasks.get(task)?.state {
            TaskState::Terminal { outcome, .. } => Some(outcome),
            TaskState::Waiting { .. } | TaskState::Leased(_) => None,
        }
    }

    /// What the scheduler waits for, as text; empty if nothing waits.
    #[must_use]
    pub fn waits_for(&self) -> String {
        let waiting = self.queue.tasks().next().map(|id| (id, self.queue.obstacle(&self.durable.tasks[id])));
        match waiting {
            Some((id, Some(obstacle))) => alloc::format!("{} tasks wait; {id}: {obstacle}", self.queue.len()),
            Some((id, None)) => alloc::format!("{} tasks wait; {id} is next", self.queue.len()),
            None if !self.delayed.is_empty() => alloc::format!("{} tasks wait for their time", self.delayed.len()),
            None => String::new(),
        }
    }

    fn open(&self, at: Span) -> Vec<TaskStatus> {
        let mut open = Vec::new();
        for (id, task) in &self.durable.tasks {
            let task = match &task.state {
                TaskState::Terminal { .. } => continue,
                TaskState::Leased(lease) => TaskStatus {
                    task: id.clone(),
                    lease: Some((lease.attempt, lease.incarnation)),
                    delay: None,
                    obstacle: None,
                },
                TaskState::Waiting { not_before, .. } => {
                    let delay = Some(not_before.minus(at)).filter(|delay| *delay > Span::ZERO);
                    TaskStatus { task: id.clone(), lease: None, delay, obstacle: self.queue.obstacle(task).cloned() }
                }
            };
            open.push(task);
        }
        open
    }

    fn worker_statuses(&self) -> Vec<WorkerStatus> {
        let status = |(&incarnation, worker): (&Incarnation, &super::Worker)| WorkerStatus {
            worker: worker.id.clone(),
            incarnation,
            class: worker.offer.class,
            total: worker.account.total(),
            reserved: worker.account.reserved(),
            leases: worker.leases.keys().copied().collect(),
            draining: worker.draining.is_some(),
            issues: worker.issues.clone(),
        };
        self.workers.iter().map(status).collect()
    }

    fn breaker_statuses(&self) -> Vec<BreakerStatus> {
        let status = |(key, breaker): (&BreakerKey, &crate::Breaker)| BreakerStatus {
            key: key.clone(),
            stage: breaker.stage(),
            generation: breaker.generation(),
            health: breaker.health(),
        };
        self.breakers.iter().map(status).collect()
    }
}

impl core::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoWorker => f.write_str("no worker of its class, with its capabilities, is alive"),
            Self::TooBig => f.write_str("no worker has so much, even when idle"),
            Self::Busy => f.write_str("all that could do it are occupied"),
            Self::Unfit => f.write_str("those that could do it are draining or unhealthy"),
            Self::Breakers(keys) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                write!(f, "breakers are open: {}", keys.join(", "))
            }
            Self::RetryBudget => f.write_str("so many retries as may start have started"),
        }
    }
}
