//! SC13: no eligible queued task beside an eligible idle worker for more than 2 scheduler ticks.
//!
//! Source: spec 3.1 (scheduler tick 100 ms, and after every input that frees or offers something). Looked at with each tick of
//! the coordinator, while it runs undisturbed: a task whose time came, and a worker about which nothing changed, two ticks
//! ago and more. A retry is judged where the retry budget had room for it in all that time. So many tasks are looked at with
//! each tick, and the next ones with the next: whoever waits on comes round.

use super::books::SharedBooks;
use super::breakers::nanos;
use super::fit::spare;
use super::line::Turn;
use super::starts::Starts;
use super::told;
use crate::Cluster;
use crate::checkers::ages::SharedAges;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::event;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::{Span, Time};
use squall_scheduler::Event;

/// How many tasks are looked at with each tick.
const TASKS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc13 {
    books: SharedBooks,
    ages: SharedAges,
    calm: Calm,
    starts: Starts,
    /// Who was looked at last.
    looked: Option<Turn>,
}

impl Sc13 {
    /// One that goes by these books and ages.
    pub(super) fn with(books: SharedBooks, ages: SharedAges) -> Self {
        Self { books, ages, ..Self::default() }
    }

    fn idle(
        &mut self,
        now: Time,
        decided: Time,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) -> Option<String> {
        let knobs = scene.system.scheduler_knobs();
        // What was decided two ticks ago has entered the history a sync later.
        let bound = knobs.tick * 2 + sync_max(scene.plan) + Span::from_millis(1);
        let calm = self.calm.own_since(scene.system.coordinator())?;
        if calm + bound >= now {
            return None;
        }
        let (books, ages) = (self.books.look(), self.ages.look());
        let at = books.moment(decided);
        let room = self.starts.had_room((at - nanos(bound), at), &knobs.retry_budget);
        let mut last = self.looked;
        let mut problem = None;
        for (turn, id) in books.line.after(self.looked).take(TASKS_MAX) {
            last = Some(turn);
            let Some(row) = books.tasks.get(id) else { continue };
            if row.failures > 0 {
                if !room {
                    continue;
                }
                findings.reached("a retry that nothing holds back is judged");
            }
            if let Some(host) = spare((&books, &ages), row, (now, decided, bound), scene) {
                problem = Some(format!("{id} waits beside {}, which could take it: {:?}", host.id, row.obstacle));
                break;
            }
        }
        drop((books, ages));
        self.looked = last;
        problem
    }

    fn count(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if let Some((decided, Event::Assigned { task, failures, .. })) = told(entry) {
            let books = self.books.look();
            let moves = books.tasks.get(task).is_some_and(|row| row.moves);
            let at = books.moment(decided);
            drop(books);
            self.starts.on_start(at, *failures > 0 && !moves);
        } else if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.starts = Starts::default();
        }
    }
}

impl Checker<Cluster> for Sc13 {
    fn property(&self) -> &'static str {
        "SC13"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        self.ages.interest(interest);
        Calm::interest(interest);
        interest.events(&["ticked", "assigned"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.calm.follow(entry, scene);
        if let Some((decided, squall_coordinator::Event::Ticked {})) = event(entry)
            && let Some(problem) = self.idle(entry.at, decided, scene, findings)
        {
            findings.violated("SC13", entry.at, [entry.id], problem);
        }
        self.count(entry, scene);
        self.books.follow(entry, scene);
        self.ages.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, W};
    use super::super::testing::{I, offer, tasks};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::{AttemptId, Event};

    #[test]
    fn nobody_waits_beside_an_idle_worker() {
        let start = || tasks(Sc13::default()).at(1_000).submit("t", 1);
        let ticks = |history: History<Sc13>, at| history.at(at).coordinator(Ticked {});
        ticks(start(), 1_200).holds();
        ticks(start(), 2_000).violated("t waits beside w0, which could take it");
        ticks(start().assign("t", 1), 2_000).holds();
        ticks(start().tells(Event::Draining { incarnation: I }), 2_000).holds();
        ticks(start(), 31_000).holds();
    }

    #[test]
    fn a_retry_that_has_room_is_no_exception() {
        let failed = || {
            let ran = tasks(Sc13::default()).at(1_000).submit("t", 1).assign("t", 1).at(1_100);
            ran.fail_once("t", 1, 1, Span::from_secs(1), squall_scheduler::Strategy::DelayedRetry)
        };
        let ticks = |history: History<Sc13>, at| history.at(at).coordinator(Ticked {});
        ticks(failed(), 2_200).holds();
        ticks(failed(), 3_000).violated("t waits beside w0, which could take it");
    }

    #[test]
    fn a_worker_is_idle_once_the_scheduler_knows_where_it_is() {
        let recalled = || {
            let (worker, offer) = ("w0".into(), offer());
            let recovered = Event::Recovered { uptime: Span::ZERO, attempt: AttemptId(0), submitted: 0, ended: 0 };
            let restarted = tasks(Sc13::default()).at(1_000).down(C).up(C).worker(10);
            restarted.tells(Event::WorkerRecalled { worker, incarnation: I, offer }).tells(recovered).submit("t", 1)
        };
        let ticks = |history: History<Sc13>| history.at(3_000).coordinator(Ticked {});
        ticks(recalled()).holds();
        // It says twice that it has started something, and that is no address.
        let twice = Event::Ignored { reason: squall_scheduler::Ignored::Repeated, incarnation: Some(I) };
        ticks(recalled().tells(twice)).holds();
        let answer = squall_scheduler::Message::Offered { incarnation: I };
        ticks(recalled().sends_from(C, W, crate::Message::Task(answer))).violated("t waits beside w0");
    }

    #[test]
    fn every_one_comes_round() {
        let huge = squall_scheduler::Resources { cpu_millis: 9_000, ..super::super::testing::NEED };
        let mut history = tasks(Sc13::default()).at(1_000);
        for number in 1..=100 {
            let spec =
                squall_scheduler::TaskSpec { resources: huge, ..super::super::testing::spec(&format!("t{number}")) };
            history = history.tells(Event::Submitted { spec: std::sync::Arc::new(spec), number });
        }
        let history = history.submit("u", 101).at(2_000).coordinator(Ticked {});
        history.at(3_000).coordinator(Ticked {}).violated("u waits beside w0");
    }
}
