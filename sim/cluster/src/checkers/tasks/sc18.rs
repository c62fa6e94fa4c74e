//! SC18: an assignment reaches its worker, and so does its end: what the scheduler believes of an attempt and what its worker
//! does agree after a while.
//!
//! Source: spec 3.1 (a lost assignment or acknowledgement is an ordinary case; whoever runs a fenced attempt is told to
//! stop; a report is sent until it is answered, whatever has become of its attempt); an id of our own. Judged while both ends
//! and all links are left in peace, for longer than a worker may take to come back under a new incarnation and several
//! repetitions after that; the store as well, where an attempt waits for what it goes on from, or for its save to end.

use super::books::SharedBooks;
use super::told;
use crate::Cluster;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::{Names, event};
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::{Span, Time};
use squall_scheduler::{AttemptId, Event, Message};
use std::collections::{BTreeMap, BTreeSet};

/// What a worker says of an attempt until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Said {
    /// How it ended.
    Report,
    /// A checkpoint: to the store first, then to the scheduler.
    Save,
}

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
    /// What a worker has said of an attempt without an answer, and since when.
    said: BTreeMap<(NodeId, AttemptId, Said), Time>,
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

    fn follow(&mut self, node: NodeId, at: Time, told: &Event) {
        match told {
            Event::Assigned { attempt, .. } => drop(self.unheard.insert(*attempt, at)),
            Event::Running { attempt, .. } => {
                self.running.insert(*attempt);
                self.unheard.entry(*attempt).and_modify(|since| *since = at);
            }
            Event::SaveBegun { attempt, .. } => drop(self.said.insert((node, *attempt, Said::Save), at)),
            Event::SaveEnded { attempt, .. } | Event::Halted { attempt, .. } => {
                self.said.remove(&(node, *attempt, Said::Save));
            }
            Event::Reported { attempt, .. } => {
                self.said.remove(&(node, *attempt, Said::Save));
                self.said.insert((node, *attempt, Said::Report), at);
            }
            Event::Answered { attempt, .. } => drop(self.said.remove(&(node, *attempt, Said::Report))),
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

    /// A worker has stopped, or died: it hears no answer any more.
    fn forget(&mut self, node: NodeId) {
        self.said.retain(|(who, ..), _| *who != node);
    }

    /// Since when a worker, the scheduler and the store have been left in peace.
    fn three_since(&self, node: NodeId, scene: &Scene<'_, Cluster>) -> Option<Time> {
        let store = self.names.node("k0")?;
        Some(self.calm.pair_since(node, scene)?.max(self.calm.pair_since(store, scene)?))
    }

    /// A word of a worker that should have been answered.
    fn unanswered(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let bound = bound(scene);
        self.said.iter().find_map(|((node, attempt, said), since)| {
            if *since + bound >= scene.now {
                return None;
            }
            let (calm, what) = match said {
                Said::Report => (self.calm.pair_since(*node, scene)?, "has reported on"),
                Said::Save => (self.three_since(*node, scene)?, "saves a checkpoint of"),
            };
            let late = calm.max(*since) + bound < scene.now;
            late.then(|| format!("{} {what} attempt {attempt}, and isn't answered", scene.system.name(*node)))
        })
    }

    /// An attempt that should have begun, or of which that should have been heard.
    fn unheard(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let (books, bound) = (self.books.look(), bound(scene));
        self.unheard.iter().find_map(|(attempt, since)| {
            let held = books.attempts.get(attempt)?;
            let runs = self.running.contains(attempt);
            let node = self.names.node(&held.worker)?;
            let calm = match (runs, held.restore) {
                (false, Some(_)) => self.three_since(node, scene)?,
                (true, _) | (false, None) => self.calm.pair_since(node, scene)?,
            };
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
        interest.events(&["assigned", "running", "started", "report_accepted", "fenced"]);
        interest.events(&["save_begun", "save_ended", "halted", "reported", "answered", "tasks_recovered", "ticked"]);
        interest.events(&["stopped"]);
        interest.sent(&["beat"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.names.learn(scene);
        self.calm.follow(entry, scene);
        let mut problem = None;
        if let Some((_, told)) = told(entry) {
            self.follow(entry.node, entry.at, told);
        } else if let Some((_, squall_coordinator::Event::Ticked {})) = event(entry) {
            problem = self.unheard(scene).or_else(|| self.unanswered(scene));
        } else if let Some((_, squall_coordinator::Event::Stopped { .. })) = event(entry) {
            self.forget(entry.node);
        } else if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.forget(entry.node);
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
    use super::super::super::testing::{C, History, R, W, history_with_tasks};
    use super::super::testing::{I, assigned_with, checkpoint, completed, fenced, tasks};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::{CheckpointSeq, End};
    use std::sync::Arc;

    const A: AttemptId = AttemptId(1);
    /// The store's node.
    const K: NodeId = NodeId(6);

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
        ticks(start().at(90_000).truth(W, Truth::Pause)).holds();
        start().at(20_000).coordinator(Ticked {}).holds();
    }

    #[test]
    fn what_is_reported_is_answered() {
        let reports = || {
            let report = squall_scheduler::Report::Returned;
            let (task, progress_micros) = ("t".into(), 0);
            let reported = Event::Reported { incarnation: I, task, attempt: A, report, progress_micros };
            heard(runs(start())).at(2_000).event(W, reported)
        };
        ticks(reports()).violated("w0 has reported on attempt 1, and isn't answered");
        let fenced = reports().tells(fenced("t", 1, End::Cancelled));
        ticks(fenced).violated("w0 has reported on attempt 1, and isn't answered");
        let reception = squall_scheduler::Reception::Accepted;
        ticks(reports().event(W, Event::Answered { attempt: A, reception })).holds();
        ticks(reports().down(W).up(W)).holds();
        let stopped = |node, member: &str| {
            let (member, incarnation, superseded) = (member.into(), None, false);
            reports().event(node, squall_coordinator::Event::Stopped { member, incarnation, superseded })
        };
        ticks(stopped(W, "w0")).holds();
        ticks(stopped(R[0], "r0")).violated("isn't answered");
        ticks(reports().at(90_000).truth(W, Truth::Pause)).holds();
        reports().at(20_000).coordinator(Ticked {}).holds();
    }

    /// In a cluster with a store, `w0` is to run `t`.
    fn with_store() -> History<Sc18> {
        let history = history_with_tasks(Sc18::default(), crate::Settings::default());
        history.at(1_000).worker(10).offered(10).submit("t", 1).assign("t", 1)
    }

    #[test]
    fn a_save_ends() {
        let (attempt, seq) = (A, CheckpointSeq(1));
        let saves = || {
            let begun = Event::SaveBegun { task: "t".into(), attempt, seq, progress_micros: 9 };
            heard(runs(with_store())).event(W, begun)
        };
        ticks(saves()).violated("w0 saves a checkpoint of attempt 1, and isn't answered");
        ticks(saves().event(W, Event::SaveEnded { task: "t".into(), attempt, seq, kept: false })).holds();
        ticks(saves().event(W, Event::Halted { task: "t".into(), attempt })).holds();
        // A report takes the place of a save.
        let report = squall_scheduler::Report::Returned;
        let reported = Event::Reported { incarnation: I, task: "t".into(), attempt, report, progress_micros: 9 };
        let reception = squall_scheduler::Reception::Accepted;
        ticks(saves().event(W, reported).event(W, Event::Answered { attempt, reception })).holds();
        ticks(saves().at(90_000).truth(K, Truth::Pause)).holds();
    }

    #[test]
    fn what_is_restored_begins() {
        let restores = || {
            let saved = heard(runs(with_store())).tells(completed("t", checkpoint(1, 1), &[]));
            let lost = saved.lose("t", 1, 1).worker(10).offered(10);
            lost.assign_event(assigned_with("t", 2, 0, Some(checkpoint(1, 1))), 2)
        };
        ticks(restores()).violated("attempt 2 of t at w0 doesn't run");
        ticks(restores().at(90_000).truth(K, Truth::Pause)).holds();
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
