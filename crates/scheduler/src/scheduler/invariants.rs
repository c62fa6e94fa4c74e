//! Relations between the scheduler's fields that hold between any two steps.

use super::Scheduler;
use crate::{BreakerStage, TaskState};

impl Scheduler {
    pub(super) fn check(&self) {
        self.queue.assert_invariants();
        self.check_tasks();
        self.check_workers();
        for (key, breaker) in &self.breakers {
            breaker.assert_invariants();
            let restless = breaker.stage() != BreakerStage::Closed;
            assert_eq!(restless, self.restless.contains(key), "{key} is known to have something to do");
        }
        assert_eq!(self.unanswered.len(), self.answer_due.len(), "both know what is unanswered");
        let open = self.durable.submitted - self.durable.ended;
        let queued = self.queue.len() + self.delayed.len();
        assert_eq!(open as usize, queued + self.limits.len(), "submitted = queued + delayed + leased + terminal");
    }

    fn check_tasks(&self) {
        let (mut leased, mut terminal, mut waiting) = (0, 0, 0);
        for (id, task) in &self.durable.tasks {
            task.checkpoints.assert_invariants();
            match &task.state {
                TaskState::Waiting { .. } => waiting += 1,
                TaskState::Terminal { .. } => terminal += 1,
                TaskState::Leased(lease) => {
                    leased += 1;
                    let worker = &self.workers[&lease.incarnation];
                    assert_eq!(worker.leases.get(&lease.attempt), Some(id), "the worker holds what is leased to it");
                    assert_eq!(worker.id, lease.worker, "the lease names its worker");
                }
            }
        }
        let held: usize = self.workers.values().map(|worker| worker.leases.len()).sum();
        assert_eq!(leased, held, "each lease is one worker's");
        assert_eq!(leased, self.limits.len(), "each lease has its limit");
        assert_eq!(waiting, self.queue.len() + self.delayed.len(), "what waits is queued or delayed");
        assert_eq!(terminal, self.durable.terminal.len(), "what has ended is in order");
        assert!(terminal <= self.knobs.terminal_kept as usize, "what has ended is bounded");
    }

    fn check_workers(&self) {
        assert_eq!(self.workers.len(), self.durable.workers.len(), "every worker is durable");
        for (incarnation, worker) in &self.workers {
            worker.account.assert_invariants();
            let reserved: alloc::vec::Vec<_> = worker.account.leases().map(|(attempt, _)| attempt).collect();
            assert!(worker.leases.keys().eq(reserved.iter()), "{incarnation}: what is leased is what is set aside");
        }
    }
}
