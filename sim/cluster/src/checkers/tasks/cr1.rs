//! CR1, for tasks: coordinator restart: nothing acknowledged is lost, nothing done twice, no id reused.
//!
//! Source: spec 3.7. What was told was durable, so a process that starts again finds at least that: every task that was open
//! is open or has ended meanwhile, none that ended is open, and no count goes back. Nobody hears that something counts before
//! it is durable. A client whose task was acknowledged is
//! never told that there is no such task, unless it was forgotten after its end.

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, BreakerKey, BreakerState, Event, Reception, Task, TaskState};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cr1;

impl Cr1 {
    /// What of an open task that was found can't be.
    fn found_problem(task: &Task, books: &Books) -> Option<String> {
        let id = &task.spec.id;
        let Some(row) = books.tasks.get(id) else {
            let known = task.number <= books.submitted;
            return known.then(|| format!("{id} is found as submission {}, which was another task", task.number));
        };
        if matches!(row.place, Place::Ended(Some(_))) {
            return Some(format!("{id} had ended, and is found open"));
        }
        if task.number != row.number {
            return Some(format!("{id} was submission {}, and is found as {}", row.number, task.number));
        }
        if (task.failures, task.losses) < (row.failures, row.losses) {
            let (failures, losses) = (row.failures, row.losses);
            return Some(format!("{id} had {failures} failures and {losses} losses, and is found with fewer"));
        }
        if let (Some(newest), kept) = (row.checkpoints.back(), task.checkpoints.newest())
            && kept.is_none_or(|kept| kept.seq < newest.seq)
        {
            return Some(format!("{id} had checkpoint {}, and is found with {kept:?}", newest.seq));
        }
        match (&row.place, &task.state) {
            (Place::Leased(held), TaskState::Leased(lease)) => (lease.attempt < *held)
                .then(|| format!("{id} was held by attempt {held}, and is found held by {}", lease.attempt)),
            (Place::Waiting { .. } | Place::Between, TaskState::Leased(lease)) => (lease.attempt <= books.newest)
                .then(|| format!("{id} was held by nobody, and is found held by attempt {}", lease.attempt)),
            _ => None,
        }
    }

    fn breaker_problem(key: &BreakerKey, state: &BreakerState, books: &Books) -> Option<String> {
        let known = books.breakers.models.get(key)?;
        let same = known.generation == state.generation;
        let lost = state.generation < known.generation
            || same && (known.stage, known.times_opened) != (state.stage.into(), state.times_opened);
        lost.then(|| format!("the breaker of {key} was {:?} in generation {}", known.stage, known.generation))
    }

    fn recovered_problem(books: &Books, submitted: u64, ended: u64, attempt: AttemptId) -> Option<String> {
        if submitted < books.submitted || ended < books.ended || attempt < books.newest {
            return Some(format!(
                "{submitted} tasks, {ended} ended, attempt {attempt} are found, but there were {}, {} and {}",
                books.submitted, books.ended, books.newest
            ));
        }
        let open = books.found.tasks.len() as u64;
        if submitted - ended.min(submitted) != open {
            return Some(format!("{submitted} tasks were submitted and {ended} ended, but {open} are found open"));
        }
        let missing = books.open().filter(|(id, _)| !books.found.tasks.contains_key(*id));
        let (mut missing, may) = (missing.map(|(id, _)| id), ended - books.ended);
        let lost = missing.nth(usize::try_from(may).unwrap_or(usize::MAX))?;
        Some(format!("{lost} was open, and isn't found; only {may} tasks have ended without a word"))
    }
}

impl Judge for Cr1 {
    const PROPERTY: &'static str = "CR1";
    const EVENTS: &'static [&'static str] = &[
        "breaker_recalled",
        "task_recalled",
        "tasks_recovered",
        "assigned",
        "acknowledged",
        "missing",
        "task_submitted",
        "report_accepted",
        "answered",
    ];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        if books.disk_lost {
            // What the disk lost can't be known.
            return None;
        }
        match told.event {
            Event::BreakerRecalled { key, state } => Self::breaker_problem(key, state, books),
            Event::TaskRecalled { task } => Self::found_problem(task, books),
            Event::Recovered { submitted, ended, attempt, .. } => {
                Self::recovered_problem(books, *submitted, *ended, *attempt).or_else(|| {
                    let running = |task: &Task| matches!(task.state, TaskState::Leased(_));
                    if books.found.tasks.values().any(|task| running(task)) {
                        findings.reached("running attempt continued after a coordinator restart");
                    }
                    None
                })
            }
            Event::Submitted { .. } | Event::Accepted { .. } if books.silent => {
                Some("the scheduler works again, but doesn't say what it found".to_owned())
            }
            Event::Assigned { attempt, .. } => {
                let next = books.newest.next();
                (*attempt != next).then(|| format!("attempt {attempt} begins, but the next one is {next}"))
            }
            Event::Acknowledged { task } => (!books.tasks.contains_key(task) && books.forgotten == 0)
                .then(|| format!("{task} is acknowledged, but was not submitted")),
            // What is acknowledged was durable, and what is durable is told first.
            Event::Answered { attempt, reception: Reception::Accepted | Reception::AlreadyAccepted } => {
                let held = books.attempts.get(attempt)?;
                Some(format!("the report of attempt {attempt} is acknowledged, and {} is held by it still", held.task))
            }
            Event::Missing { task } => (books.tasks.contains_key(task) || books.forgotten == 0)
                .then(|| format!("the client of {task}, which was acknowledged, is told that there is no such task")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, W};
    use super::super::judge::Judged;
    use super::super::testing::{I, SHAPE, spec, tasks};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{CheckpointIndex, Generation, Lease, Permits};
    use std::collections::VecDeque;
    use std::sync::Arc;

    fn task(id: &str, number: u64, attempt: Option<u64>) -> Task {
        let lease = |attempt| Lease {
            attempt: AttemptId(attempt),
            worker: "w0".into(),
            incarnation: I,
            at: Span::ZERO,
            class: SHAPE.class,
            resources: super::super::testing::NEED,
            permits: Permits { worker: Generation(0), class: Generation(0), kind: Generation(0) },
            probe_until: Span::from_secs(60),
            migrated_from: None,
        };
        let waiting = TaskState::Waiting { not_before: Span::ZERO, requeued: false };
        Task {
            spec: Arc::new(spec(id)),
            digest: 0,
            number,
            submitted: Span::ZERO,
            state: attempt.map_or(waiting, |attempt| TaskState::Leased(lease(attempt))),
            shape: SHAPE,
            climb: None,
            attempts: 0,
            failures: 0,
            losses: 0,
            avoid: None,
            restart_runtime: false,
            checkpoints: CheckpointIndex::default(),
            saves: false,
            past: VecDeque::new(),
        }
    }

    fn found(history: History<Judged<Cr1>>, tasks: Vec<Task>, counts: (u64, u64, u64)) -> History<Judged<Cr1>> {
        let recalled = |history: History<_>, task| history.tells(Event::TaskRecalled { task: Arc::new(task) });
        let (submitted, ended, attempt) = counts;
        let (uptime, attempt) = (Span::from_secs(1), AttemptId(attempt));
        let recovered = Event::Recovered { uptime, attempt, submitted, ended };
        tasks.into_iter().fold(history.down(C).up(C), recalled).tells(recovered)
    }

    /// `t` runs as attempt 1, `u` waits.
    fn start() -> History<Judged<Cr1>> {
        tasks(Judged::<Cr1>::default()).submit("t", 1).submit("u", 2).assign("t", 1).at(1_000)
    }

    #[test]
    fn everything_is_found_again() {
        found(start(), vec![task("t", 1, Some(1)), task("u", 2, None)], (2, 0, 1)).assign("u", 2).holds();
        found(start(), vec![task("u", 2, None)], (2, 0, 1)).violated("but 1 are found open");
        found(start(), vec![task("u", 2, None)], (2, 1, 1)).holds();
        found(start(), vec![task("v", 3, None)], (3, 2, 1)).holds();
        found(start(), vec![task("u", 2, None), task("v", 3, None)], (3, 1, 1)).holds();
        found(start(), vec![task("t", 1, None)], (1, 0, 1)).violated("but there were 2, 0 and 1");
        found(start(), vec![task("t", 1, Some(2)), task("u", 2, Some(1))], (2, 0, 2)).violated("held by attempt 1");
        let done = start().succeed("t", 1);
        found(done, vec![task("t", 1, Some(1)), task("u", 2, None)], (3, 1, 1))
            .violated("had ended, and is found open");
        start().down(C).up(C).submit("v", 3).violated("doesn't say what it found");
        let early = tasks(Judged::<Cr1>::default()).down(C).up(C);
        early.submit("t", 1).submit("u", 2).holds();
    }

    #[test]
    fn attempts_are_numbered_on() {
        start().assign("u", 2).holds();
        start().assign("u", 1).violated("attempt 1 begins, but the next one is 2");
        let later = || found(start(), vec![task("t", 1, Some(1)), task("u", 2, None)], (2, 0, 5));
        later().assign("u", 6).holds();
        later().assign("u", 2).violated("but the next one is 6");
    }

    #[test]
    fn what_was_acknowledged_is_known() {
        let acknowledged = |task: &str| Event::Acknowledged { task: task.into() };
        let missing = || Event::Missing { task: "t".into() };
        start().client(acknowledged("t")).holds();
        start().client(acknowledged("v")).violated("but was not submitted");
        let answered = |reception| Event::Answered { attempt: AttemptId(1), reception };
        start().event(W, answered(Reception::Accepted)).violated("the report of attempt 1 is acknowledged");
        start().succeed("t", 1).event(W, answered(Reception::Accepted)).holds();
        let fenced = squall_scheduler::Ignored::Fenced;
        start().event(W, answered(Reception::Rejected(fenced))).holds();
        start().client(missing()).violated("is told that there is no such task");
        start().succeed("t", 1).tells(Event::TaskForgotten { task: "t".into() }).client(missing()).holds();
    }
}
