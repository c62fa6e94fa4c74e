//! SC1: conservation: submitted = queued + delayed + leased + terminal after every event; a lease on an ended incarnation is a
//! violation.
//!
//! Source: spec 3.1. Every task is in one place at a time, by what is told of it, and goes from one to the next as it may; an
//! attempt that ends says in the same step what becomes of its task. About once a second the scheduler is asked for its own
//! counts, and they are those of the history as soon as everything is told that was decided before.

use super::books::{Books, Place, SharedBooks};
use super::told;
use crate::{Cluster, ClusterView, Tally};
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene};
use squall_machine::{Text, Time};
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc1 {
    books: SharedBooks,
    /// A task whose attempt has ended, and when.
    between: Option<(Text, Time)>,
    /// What the scheduler counted, while something that it decided before may be untold.
    tally: Option<Tally>,
}

impl Sc1 {
    /// The one that keeps these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    /// Whether a task may go on from where it is.
    fn move_problem(books: &Books, told: &Event) -> Option<String> {
        let place = |task: &Text| books.tasks.get(task).map(|row| row.place.clone());
        let (task, legal) = match told {
            Event::Submitted { spec, number } => {
                if let Some(place) = place(&spec.id) {
                    return Some(format!("{} is submitted, but it is there: {place:?}", spec.id));
                }
                let next = books.submitted + 1;
                return (*number != next).then(|| format!("{} is submission {number}, not {next}", spec.id));
            }
            Event::Assigned { task, .. } => (task, matches!(place(task), Some(Place::Waiting { .. }))),
            Event::Accepted { task, attempt, .. } | Event::Fenced { task, attempt, .. } => {
                (task, place(task) == Some(Place::Leased(*attempt)))
            }
            Event::Requeued { task, .. } => (task, place(task) == Some(Place::Between)),
            Event::Terminal { task, .. } => (task, matches!(place(task), Some(Place::Between | Place::Waiting { .. }))),
            Event::TaskForgotten { task } => (task, matches!(place(task), Some(Place::Ended(_)))),
            _ => return None,
        };
        (!legal).then(|| format!("{task} can't go on so from {:?}", place(task)))
    }

    /// Everything is told that was decided before this moment of the coordinator's clock.
    fn tally_problem(&mut self, decided: Time) -> Option<String> {
        let Tally { at, counts } = self.tally.take_if(|tally| tally.at <= decided)?;
        if at == decided {
            // It may have been counted before or after this.
            return None;
        }
        let books = self.books.look();
        let (waiting, leased) = (books.line.len() as u64, books.attempts.len() as u64);
        let told = [books.submitted, waiting, leased, books.ended];
        let counted = [counts.submitted, counts.queued + counts.delayed, counts.leased, counts.terminal];
        (told != counted).then(|| {
            format!("submitted, waiting, leased and ended tasks are {told:?}, and the scheduler counts {counted:?}")
        })
    }

    fn between_problem(&mut self, told: &Event, decided: Time) -> Option<String> {
        match told {
            Event::Accepted { task, .. } | Event::Fenced { task, .. } => {
                let other = self.between.replace((task.clone(), decided));
                other.map(|(task, _)| format!("the attempt of {task} has ended, and nothing becomes of it"))
            }
            Event::Requeued { task, .. } | Event::Terminal { task, .. } => {
                self.between.take_if(|(between, _)| between == task);
                None
            }
            _ => {
                let (task, _) = self.between.take_if(|(_, since)| *since != decided)?;
                Some(format!("the attempt of {task} has ended, and nothing becomes of it"))
            }
        }
    }
}

impl Checker<Cluster> for Sc1 {
    fn property(&self) -> &'static str {
        "SC1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.events(&["ticked"]);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if entry.node == scene.system.coordinator() {
            let mut problem = None;
            if let Fact::Event { decided, .. } = entry.fact {
                problem = self.tally_problem(decided);
            }
            let books = self.books.look();
            if let Fact::Event { decided, .. } = entry.fact
                && let Some((since, orphans)) = &books.orphans
                && *since != decided
                && let Some(attempt) = orphans.first()
            {
                problem = Some(format!("attempt {attempt} holds its task for an incarnation that has ended"));
            }
            drop(books);
            if let Some((decided, told)) = told(entry) {
                problem = problem.or_else(|| Self::move_problem(&self.books.look(), told));
                problem = problem.or_else(|| self.between_problem(told, decided));
            } else if let Fact::Truth(_) = entry.fact {
                (self.between, self.tally) = (None, None);
            }
            if let Some(problem) = problem {
                findings.violated("SC1", entry.at, [entry.id], problem);
            }
        }
        self.books.follow(entry, scene);
    }

    fn on_view(&mut self, _: NodeId, view: &ClusterView, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Coordinator(_, tally) = view else { return };
        if self.tally.is_none() && !self.books.look().silent {
            findings.reached("the scheduler's counts are compared");
            self.tally = Some(*tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, status};
    use super::super::testing::{accepted, assigned, fenced, lost, requeued, success, tasks, terminal};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{End, TaskCounts};

    #[test]
    fn a_task_is_in_one_place() {
        let start = || tasks(Sc1::default()).submit("t", 1);
        start().assign("t", 1).succeed("t", 1).submit("u", 2).holds();
        start().assign("t", 1).lose("t", 1, 1).holds();
        start().submit("t", 2).violated("t is submitted, but it is there");
        start().submit("u", 3).violated("u is submission 3, not 2");
        start().tells(assigned("u", 1)).violated("u can't go on so from None");
        start().tells(requeued("t", Span::ZERO, (0, 0), None)).violated("t can't go on so from Some(Waiting");
        start().assign("t", 1).tells(terminal("t", success(1), 0, 0)).violated("from Some(Leased");
        start().tells(Event::TaskForgotten { task: "t".into() }).violated("from Some(Waiting");
    }

    #[test]
    fn the_scheduler_counts_what_it_tells() {
        let view = |history: History<Sc1>, submitted, waiting, leased, terminal| {
            let (queued, delayed) = (waiting, 0);
            let counts = TaskCounts { submitted, queued, delayed, leased, terminal, known: submitted };
            let tally = Tally { at: Time::ZERO + Span::from_millis(1_000_200), counts };
            history.at(200).view(C, &ClusterView::Coordinator(status(), tally)).at(300)
        };
        let start =
            || tasks(Sc1::default()).submit("t", 1).submit("u", 2).submit("v", 3).assign("t", 1).succeed("t", 1);
        view(start().assign("u", 2), 3, 1, 1, 1).submit("w", 4).holds();
        view(start().assign("u", 2), 3, 0, 1, 1).submit("w", 4).violated("are [3, 1, 1, 1], and the scheduler counts");
        view(start(), 3, 1, 1, 1).submit("w", 4).violated("are [3, 2, 0, 1], and the scheduler counts [3, 1, 1, 1]");
        // What was decided before may be told later.
        let late = view(start(), 4, 3, 0, 1);
        let spec = std::sync::Arc::new(super::super::testing::spec("w"));
        late.event_after(C, 150, Event::Submitted { spec, number: 4 }).at(400).submit("x", 5).holds();
    }

    #[test]
    fn something_becomes_of_every_task() {
        let start = || tasks(Sc1::default()).submit("t", 1).submit("u", 2).assign("t", 1).assign("u", 2);
        let ended = || start().at(200).tells(accepted("t", 1, End::Succeeded));
        ended().tells(accepted("u", 2, End::Succeeded)).violated("the attempt of t has ended");
        ended().at(300).submit("v", 3).violated("the attempt of t has ended, and nothing becomes of it");
        ended().tells(terminal("t", success(1), 0, 0)).at(300).submit("v", 3).holds();
    }

    #[test]
    fn leases_end_with_their_incarnation() {
        let start = || tasks(Sc1::default()).submit("t", 1).submit("u", 2).assign("t", 1).assign("u", 2).at(200).dies();
        let gone = |history: History<Sc1>, task: &str, attempt| {
            history.tells(fenced(task, attempt, lost())).tells(requeued(task, Span::ZERO, (0, 1), None))
        };
        gone(gone(start(), "t", 1), "u", 2).at(300).submit("v", 3).holds();
        gone(start(), "t", 1)
            .at(300)
            .submit("v", 3)
            .violated("attempt 2 holds its task for an incarnation that has ended");
    }
}
