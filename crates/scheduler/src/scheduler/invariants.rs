//! Relations between the scheduler's fields that hold between any two steps.

use super::Scheduler;
use crate::{Adaptation, BreakerStage, TaskState};

/// How many of the tasks that have ended are looked at.
const ENDED_CHECKED: usize = 64;

impl Scheduler {
    pub(super) fn check(&self) {
        self.queue.assert_invariants();
        self.clears.assert_invariants();
        self.check_tasks();
        self.check_workers();
        for (key, breaker) in &self.breakers {
            breaker.assert_invariants();
            let restless = breaker.stage() != BreakerStage::Closed;
            assert_eq!(restless, self.restless.contains(key), "{key} is known to have something to do");
            assert_eq!(*breaker.knobs(), self.breaker_knobs(key), "{key} goes by the settings in force");
        }
        self.check_settings();
        assert_eq!(self.unanswered.len(), self.answer_due.len(), "both know what is unanswered");
        let open = self.durable.submitted - self.durable.ended;
        let queued = self.queue.len() + self.delayed.len();
        assert_eq!(open as usize, queued + self.limits.len(), "submitted = queued + delayed + leased + terminal");
    }

    fn check_settings(&self) {
        let in_force = self.adaptation.as_ref().map(Adaptation::settings);
        for (&what, state) in &self.durable.adapted {
            assert_eq!(
                in_force.map(|settings| settings.value(what)).as_ref(),
                Some(&state.value),
                "{what:?} is durable"
            );
        }
        if let Some(adaptation) = &self.adaptation {
            adaptation.assert_invariants();
        }
    }

    /// Looks at every task that has not ended. Those that have are many, and nothing changes about them any more: of them the
    /// newest are looked at, and all are counted.
    fn check_tasks(&self) {
        let tasks = &self.durable.tasks;
        for (_, attempt, id) in &self.limits {
            let task = &tasks[id];
            let TaskState::Leased(lease) = &task.state else { panic!("{id} has a limit, and no lease") };
            assert_eq!(lease.attempt, *attempt, "the limit of {id} is that of its attempt");
            let worker = &self.workers[&lease.incarnation];
            assert_eq!(worker.leases.get(attempt), Some(id), "the worker holds what is leased to it");
            assert_eq!(worker.id, lease.worker, "the lease names its worker");
            task.checkpoints.assert_invariants();
        }
        for id in self.queue.tasks().chain(self.delayed.iter().map(|(_, id)| id)) {
            let task = &tasks[id];
            assert!(matches!(task.state, TaskState::Waiting { .. }), "what is queued or delayed waits, but not {id}");
            task.checkpoints.assert_invariants();
        }
        for id in self.durable.terminal.iter().rev().take(ENDED_CHECKED) {
            assert!(matches!(tasks[id].state, TaskState::Terminal { .. }), "{id} is among what has ended, and hasn't");
        }
        let (leased, ended) = (self.limits.len(), self.durable.terminal.len());
        let held: usize = self.workers.values().map(|worker| worker.leases.len()).sum();
        assert_eq!(leased, held, "each lease is one worker's");
        assert_eq!(tasks.len(), leased + self.queue.len() + self.delayed.len() + ended, "every task is in one place");
        assert!(ended <= self.knobs.terminal_kept as usize, "what has ended is bounded");
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
