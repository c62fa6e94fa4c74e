//! CK4: loss per failure <= one interval + one save in flight.
//!
//! Source: spec 3.5. What an attempt had done when it ended, as far as its worker told, beside the checkpoint that the next
//! attempt goes on from; both as time of work. A save is in flight from its begin until its worker knows what became of it:
//! until then no other one begins, so the save that counts may be late by the time it was in flight itself, and the one
//! that was in flight at the end is lost with it. A save that the store or the scheduler refused puts its interval back,
//! once; the worker may not take for refused, or for kept, what isn't.

use super::books::{Books, SharedBooks};
use super::told;
use crate::Cluster;
use crate::tasks::Script;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{AttemptId, CheckpointSeq, Event, Message, StoreMessage};
use std::collections::{BTreeMap, BTreeSet};

/// A share of a task that is lost to rounding, in millionths.
const ROUNDED: u32 = 2;

/// One save.
#[derive(Clone, Copy, Debug)]
struct Save {
    seq: CheckpointSeq,
    micros: u32,
    begun: Time,
    /// When its worker learned what became of it, and whether it counts.
    ended: Option<(Time, bool)>,
}

/// The newest attempt of a task.
#[derive(Clone, Debug)]
struct Run {
    attempt: AttemptId,
    /// The most that it had done, in millionths, as far as its worker told.
    done: u32,
    /// When it ended.
    ended: Option<Time>,
    /// Its saves since the newest but one that counts.
    saves: Vec<Save>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck4 {
    books: SharedBooks,
    runs: BTreeMap<Text, Run>,
    /// The tasks of attempts that hold them.
    tasks: BTreeMap<AttemptId, Text>,
    /// What the store or the scheduler refused.
    refused: BTreeSet<(AttemptId, CheckpointSeq)>,
}

impl Ck4 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    /// The attempt, while it holds its task.
    fn run(&mut self, attempt: AttemptId) -> Option<&mut Run> {
        let run = self.runs.get_mut(self.tasks.get(&attempt)?)?;
        (run.attempt == attempt && run.ended.is_none()).then_some(run)
    }

    fn refuse(&mut self, attempt: AttemptId, seq: CheckpointSeq) {
        if self.tasks.contains_key(&attempt) {
            self.refused.insert((attempt, seq));
        }
    }

    fn follow(&mut self, at: Time, told: &Event) -> Option<String> {
        match told {
            Event::SaveBegun { attempt, seq, progress_micros, .. } => {
                let run = self.run(*attempt)?;
                run.done = run.done.max(*progress_micros);
                let before = run.saves.last().copied();
                let kept = |save: &Save| save.ended.is_some_and(|(_, kept)| kept);
                if let Some(newest) = run.saves.iter().rposition(kept) {
                    run.saves.drain(..newest);
                }
                run.saves.push(Save { seq: *seq, micros: *progress_micros, begun: at, ended: None });
                let open = before.filter(|save| save.ended.is_none())?;
                Some(format!("attempt {attempt} begins save {seq} while save {} is in flight", open.seq))
            }
            Event::SaveEnded { attempt, seq, kept, .. } => {
                let refused = self.refused.contains(&(*attempt, *seq));
                let counts = self.counts(*attempt, *seq);
                let run = self.run(*attempt)?;
                let save = run.saves.last_mut().filter(|save| save.seq == *seq)?;
                save.ended = Some((at, *kept));
                match kept {
                    true => (!counts).then(|| format!("attempt {attempt} takes save {seq} for kept, and it isn't")),
                    false => (!refused).then(|| format!("attempt {attempt} gives up save {seq}, which nobody refused")),
                }
            }
            Event::SaveRejected { attempt, seq, repeated: false, .. } => {
                self.refuse(*attempt, *seq);
                None
            }
            Event::Reported { attempt, progress_micros, .. } => {
                let run = self.run(*attempt)?;
                run.done = run.done.max(*progress_micros);
                None
            }
            Event::Accepted { attempt, .. } | Event::Fenced { attempt, .. } => {
                if let Some(run) = self.run(*attempt) {
                    run.ended = Some(at);
                }
                self.tasks.remove(attempt);
                self.refused.retain(|(refused, _)| refused != attempt);
                None
            }
            Event::Terminal { task, .. } => {
                self.runs.remove(task);
                None
            }
            _ => None,
        }
    }

    /// Whether the scheduler counts this checkpoint, or a newer one of the same attempt.
    fn counts(&self, attempt: AttemptId, seq: CheckpointSeq) -> bool {
        let books = self.books.look();
        let row = self.tasks.get(&attempt).and_then(|task| books.tasks.get(task));
        // A zombie may hear what was true when it was said.
        row.is_none_or(|row| row.checkpoints.iter().any(|kept| kept.attempt == attempt && kept.seq >= seq))
    }

    /// A task is assigned anew.
    fn loss(&self, told: &Event, books: &Books, scene: &Scene<'_, Cluster>, findings: &mut Findings) -> Option<String> {
        let Event::Assigned { task, restore, .. } = told else { return None };
        let (run, row) = (self.runs.get(task)?, books.tasks.get(task)?);
        let (interval, ended) = (row.spec.checkpoint_interval?, run.ended?);
        let restored = restore.as_deref().map_or(0, |checkpoint| checkpoint.progress_micros);
        let whole = Script::decode(&row.spec.payload)?.duration;
        let work =
            |micros: u32| Span::from_nanos((u128::from(whole.as_nanos()) * u128::from(micros) / 1_000_000) as u64);
        let lost = work(run.done.saturating_sub(restored));
        let mut allowed = interval;
        for save in run.saves.iter().filter(|save| save.micros >= restored) {
            let (until, kept) = save.ended.unwrap_or((ended, true));
            allowed += until.since(save.begun);
            if !kept {
                findings.reached("save refused");
                allowed += interval;
            }
        }
        if lost > Span::ZERO && restored > 0 {
            findings.reached("work lost since a checkpoint");
        }
        // A clock may be fast by as much as leases allow for.
        let drift = allowed / (500_000 / u64::from(scene.system.knobs().drift_ppm_max.max(1)));
        let attempt = run.attempt;
        (lost > allowed + drift + work(ROUNDED))
            .then(|| format!("{lost} of the work of attempt {attempt} of {task} is lost, where {allowed} may be"))
    }

    fn assign(&mut self, told: &Event) {
        let Event::Assigned { task, attempt, restore, .. } = told else { return };
        let done = restore.as_deref().map_or(0, |checkpoint| checkpoint.progress_micros);
        let run = Run { attempt: *attempt, done, ended: None, saves: Vec::new() };
        self.runs.insert(task.clone(), run);
        self.tasks.insert(*attempt, task.clone());
    }
}

impl Checker<Cluster> for Ck4 {
    fn property(&self) -> &'static str {
        "CK4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.truth(&["up"]);
        interest.events(&["assigned", "report_accepted", "fenced", "terminal", "tasks_recovered"]);
        interest.events(&["save_begun", "save_ended", "save_rejected", "reported"]);
        interest.sent(&["beat", "store_refused"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let mut problem = None;
        if let Some((_, told)) = told(entry) {
            problem = self.follow(entry.at, told);
            problem = problem.or_else(|| self.loss(told, &self.books.look(), scene, findings));
            self.assign(told);
            if matches!(told, Event::Recovered { .. }) {
                // Attempts may have come and gone without a word.
                let found = self.books.look().found.attempts();
                self.tasks.retain(|attempt, _| found.contains(attempt));
                self.runs.retain(|_, run| found.contains(&run.attempt));
                self.refused.retain(|(attempt, _)| found.contains(attempt));
            }
        }
        match &entry.fact {
            Fact::Sent { message: crate::Message::Task(Message::Beat { running, .. }), .. } => {
                for (attempt, micros) in &**running {
                    if let Some(run) = self.run(*attempt) {
                        run.done = run.done.max(*micros);
                    }
                }
            }
            Fact::Sent { message: crate::Message::Store(StoreMessage::Refused { attempt, seq, .. }), .. } => {
                self.refuse(*attempt, *seq);
            }
            Fact::Truth(Truth::Up { disk_lost: true, .. }) => {
                // Whatever was on that disk may be lost.
                (self.runs, self.tasks) = (BTreeMap::new(), BTreeMap::new());
            }
            _ => {}
        }
        if let Some(problem) = problem {
            findings.violated("CK4", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, W};
    use super::super::testing::{I, assigned_with, completed, spec, tasks};
    use super::*;
    use squall_machine::Ratio;
    use squall_scheduler::{Checkpoint, TaskSpec};
    use std::sync::Arc;

    const A: AttemptId = AttemptId(1);

    /// A task of 100 s that saves every 10 s runs as attempt 1 from the first second on.
    fn start() -> History<Ck4> {
        let fails = Ratio::ZERO;
        let duration = Span::from_secs(100);
        let payload = Script { seed: 1, kind: 0, duration, fails, poison: false, hangs: false }.encode();
        let spec = TaskSpec { payload, checkpoint_interval: Some(Span::from_secs(10)), ..spec("t") };
        let submitted = tasks(Ck4::default()).tells(Event::Submitted { spec: Arc::new(spec), number: 1 });
        submitted.at(1_000).assign("t", 1)
    }

    fn point(seq: u64, secs: u32) -> Checkpoint {
        let seq = CheckpointSeq(seq);
        Checkpoint { attempt: A, seq, progress_micros: secs * 10_000, bytes: 1, digest: 1 }
    }

    fn begun(history: History<Ck4>, seq: u64, secs: u32) -> History<Ck4> {
        let (task, seq) = ("t".into(), CheckpointSeq(seq));
        let begun = Event::SaveBegun { task, attempt: A, seq, progress_micros: secs * 10_000 };
        history.at(1_000 + u64::from(secs) * 1_000).event(W, begun)
    }

    fn ended(history: History<Ck4>, seq: u64, kept: bool) -> History<Ck4> {
        history.event(W, Event::SaveEnded { task: "t".into(), attempt: A, seq: CheckpointSeq(seq), kept })
    }

    /// A save that counts at once.
    fn saved(history: History<Ck4>, seq: u64, secs: u32) -> History<Ck4> {
        ended(begun(history, seq, secs).tells(completed("t", point(seq, secs), &[])), seq, true)
    }

    /// The worker tells how far it is, is lost, and the task goes on from here.
    fn lost(history: History<Ck4>, secs: u32, restore: Option<Checkpoint>) -> History<Ck4> {
        let running = Arc::from([(A, secs * 10_000)]);
        let beat = Message::Beat { incarnation: I, seq: 9, vitals: Default::default(), running };
        let beaten = history.at(1_000 + u64::from(secs) * 1_000).sends_from(W, C, beat);
        beaten.lose("t", 1, 1).assign_event(assigned_with("t", 2, 0, restore), 2)
    }

    #[test]
    fn an_interval_may_be_lost() {
        lost(saved(start(), 1, 10), 20, Some(point(1, 10))).holds();
        lost(saved(start(), 1, 10), 21, Some(point(1, 10))).violated("11s of the work of attempt 1 of t is lost");
        lost(start(), 11, None).violated("11s of the work");
        lost(saved(saved(start(), 1, 10), 2, 20), 25, Some(point(1, 10))).violated("15s of the work");
    }

    #[test]
    fn a_save_in_flight_may_be_lost_besides() {
        lost(begun(saved(start(), 1, 10), 2, 20), 28, Some(point(1, 10))).holds();
        lost(begun(saved(start(), 1, 10), 2, 25), 28, Some(point(1, 10))).violated("18s of the work");
        let both = begun(begun(saved(start(), 1, 10), 2, 20), 3, 30);
        both.violated("begins save 3 while save 2 is in flight");
    }

    #[test]
    fn only_what_is_refused_is_given_up() {
        let refused = |history: History<Ck4>, seq| {
            let (task, attempt, seq) = ("t".into(), A, CheckpointSeq(seq));
            let reason = squall_scheduler::StoreIgnored::Full;
            history.sends_from(C, W, StoreMessage::Refused { task, attempt, seq, reason })
        };
        let once = || ended(refused(begun(saved(start(), 1, 10), 2, 20), 2), 2, false);
        lost(once(), 29, Some(point(1, 10))).holds();
        lost(once(), 31, Some(point(1, 10))).violated("21s of the work");
        ended(begun(start(), 1, 10), 1, false).violated("gives up save 1, which nobody refused");
        ended(begun(start(), 1, 10), 1, true).violated("takes save 1 for kept, and it isn't");
    }
}
