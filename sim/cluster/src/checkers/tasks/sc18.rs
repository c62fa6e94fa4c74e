//! SC18: an assignment reaches its worker, and so does its end: what the scheduler believes of an attempt and what its worker
//! does agree after a while.
//!
//! Source: spec 3.1 (a lost assignment or acknowledgement is an ordinary case; whoever runs a fenced attempt is told to
//! stop); an id of our own. Judged while both ends and all links are left in peace, for longer than a worker may take to
//! come back under a new incarnation and several repetitions after that. What waits for the store is left out.

use super::books::SharedBooks;
use super::told;
use crate::Cluster;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::{Names, event};
use squall::{Checker, Entry, Fact, Findings, Interest, Scene};
use squall_machine::{Span, Time};
use squall_scheduler::{AttemptId, Event, Message};
use std::collections::{BTreeMap, BTreeSet};

/// How many attempts that have ended are remembered.
const ENDED_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc18 {
    books: SharedBooks,
    calm: Calm,
    names: Names,
    /// Attempts of which nobody has heard that they began, and since when that could be known: since they were assigned, or
    /// recalled, or since their worker runs them.
    unheard: BTreeMap<AttemptId, Time>,
    /// Those that their workers run.
    running: BTreeSet<AttemptId>,
    /// When attempts ended by the scheduler's word.
    ended: BTreeMap<AttemptId, Time>,
}

fn bound(scene: &Scene<'_, Cluster>) -> Span {
    let (knobs, members) = (scene.system.scheduler_knobs(), scene.system.knobs());
    let travel = scene.plan.network.delay.longest() + sync_max(scene.plan);
    members.worker_timeout + members.return_spread + knobs.beat * 2 + knobs.resend * 10 + travel * 12
}

impl Sc18 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    fn follow(&mut self, at: Time, told: &Event) {
        match told {
            Event::Assigned { attempt, .. } => drop(self.unheard.insert(*attempt, at)),
            Event::Running { attempt, .. } => {
                self.running.insert(*attempt);
                self.unheard.entry(*attempt).and_modify(|since| *since = at);
            }
            Event::Started { attempt, .. } => drop(self.unheard.remove(attempt)),
            Event::Accepted { attempt, .. } | Event::Fenced { attempt, .. } => {
                self.unheard.remove(attempt);
                self.running.remove(attempt);
                self.ended.insert(*attempt, at);
                if self.ended.len() > ENDED_MAX {
                    self.ended.pop_first();
                }
            }
            Event::Recovered { .. } => {
                // All that is held is assigned once more.
                let found = self.books.look().found.attempts();
                self.running.retain(|attempt| found.contains(attempt));
                self.unheard = found.into_iter().map(|attempt| (attempt, at)).collect();
            }
            _ => {}
        }
    }

    /// An attempt that should have begun, or of which that should have been heard.
    fn unheard(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let (books, bound) = (self.books.look(), bound(scene));
        self.unheard.iter().find_map(|(attempt, since)| {
            let held = books.attempts.get(attempt)?;
            let runs = self.running.contains(attempt);
            if !runs && held.restore.is_some() {
                return None;
            }
            let calm = self.calm.pair_since(self.names.node(&held.worker)?, scene)?;
            let late = calm.max(*since) + bound < scene.now;
            let what = if runs { "runs, and the scheduler hasn't heard of it" } else { "doesn't run" };
            late.then(|| format!("attempt {attempt} of {} at {} {what}", held.task, held.worker))
        })
    }
}

impl Checker<Cluster> for Sc18 {
    fn property(&self) -> &'static str {
        "SC18"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        Calm::interest(interest);
        interest.events(&["assigned", "running", "started", "report_accepted", "fenced", "tasks_recovered", "ticked"]);
        interest.sent(&["beat"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.names.learn(scene);
        self.calm.follow(entry, scene);
        let mut problem = None;
        if let Some((_, told)) = told(entry) {
            self.follow(entry.at, told);
        } else if let Some((_, squall_coordinator::Event::Ticked {})) = event(entry) {
            problem = self.unheard(scene);
        } else if let Fact::Sent { message: crate::Message::Task(Message::Beat { running, .. }), .. } = entry.fact {
            problem = running.iter().find_map(|(attempt, _)| {
                let calm = self.calm.pair_since(entry.node, scene)?;
                let late = calm.max(*self.ended.get(attempt)?) + bound(scene) < scene.now;
                late.then(|| {
                    format!("attempt {attempt} has ended, and {} runs it still", scene.system.name(entry.node))
                })
            });
        }
        if let Some(problem) = problem {
            findings.violated("SC18", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, W};
    use super::super::testing::{I, fenced, tasks};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::End;
    use std::sync::Arc;

    const A: AttemptId = AttemptId(1);

    fn start() -> History<Sc18> {
        tasks(Sc18::default()).at(1_000).submit("t", 1).assign("t", 1)
    }

    fn runs(history: History<Sc18>) -> History<Sc18> {
        history.event(W, Event::Running { incarnation: I, task: "t".into(), attempt: A })
    }

    fn heard(history: History<Sc18>) -> History<Sc18> {
        history.tells(Event::Started { task: "t".into(), attempt: A })
    }

    fn ticks(history: History<Sc18>) -> History<Sc18> {
        history.at(100_000).coordinator(Ticked {})
    }

    #[test]
    fn what_is_assigned_begins_and_is_heard_of() {
        ticks(start()).violated("attempt 1 of t at w0 doesn't run");
        ticks(runs(start())).violated("attempt 1 of t at w0 runs, and the scheduler hasn't heard of it");
        ticks(heard(runs(start()))).holds();
        ticks(start().tells(fenced("t", 1, End::Cancelled))).holds();
        ticks(start().at(90_000).truth(W, squall::Truth::Pause)).holds();
        start().at(20_000).coordinator(Ticked {}).holds();
    }

    #[test]
    fn what_has_ended_stops() {
        let running: Arc<[(AttemptId, u32)]> = Arc::from([(A, 0)]);
        let beats = |history: History<Sc18>, at| {
            let beat = Message::Beat { incarnation: I, seq: 9, vitals: Default::default(), running: running.clone() };
            history.at(at).sends_from(W, C, beat)
        };
        let ended = || heard(runs(start())).tells(fenced("t", 1, End::Cancelled));
        beats(ended(), 2_000).holds();
        beats(ended(), 100_000).violated("attempt 1 has ended, and w0 runs it still");
        beats(heard(runs(start())), 100_000).holds();
    }
}
