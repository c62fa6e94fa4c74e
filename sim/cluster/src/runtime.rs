//! A stand-in for the runtime at a worker: it does what the agent tells it, over simulated time, and fails as its tasks'
//! scripts say.
//!
//! Work is done in pieces. A piece counts when the process takes it up after its time, and the next one begins then: a
//! process that is paused or slow makes no progress meanwhile.

use crate::tasks::{Fate, Script, Tasks, words};
use squall_machine::{Span, Time};
use squall_scheduler::{AttemptId, RuntimeCall, RuntimeOrder, Vitals, Work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Into how many pieces a task's work is divided, besides those that end with a checkpoint or its fate.
const PIECES: u64 = 4;
/// How long the runtime takes to start again.
const RESTART: Span = Span::from_secs(1);
/// How hot an accelerator is that has a problem, in thousandths of a degree.
const HOT: u32 = 91_000;
/// How large a checkpoint is.
const CHECKPOINT_BYTES: u64 = 1 << 20;

/// The runtime of one worker, in one life of its process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Runtime {
    tasks: Arc<Tasks>,
    jobs: BTreeMap<AttemptId, Job>,
    sick: bool,
    /// Whether the agent is yet to hear how the host is, within the same step.
    vitals_due: bool,
    /// Whether a task has killed the process.
    dead: bool,
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Job {
    work: Arc<Work>,
    script: Script,
    fate: Fate,
    /// How long all of it takes here.
    whole: Span,
    /// How much of that is done.
    done: Span,
    /// How much is done when its fate comes.
    end: Span,
    /// The piece that is being worked on.
    piece: Span,
    /// When that is done; `None`: never.
    next: Option<Time>,
    /// How much is done when the next checkpoint is due. (it saves any)
    save_at: Option<Span>,
    saving: bool,
}

impl Runtime {
    pub(crate) fn new(tasks: Arc<Tasks>) -> Self {
        Self { tasks, jobs: BTreeMap::new(), sick: false, vitals_due: false, dead: false }
    }

    /// Whether a task has killed the process.
    pub(crate) fn dead(&self) -> bool {
        self.dead
    }

    /// What it works on.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.jobs.keys().copied()
    }

    /// From now on what runs here fails as the workload says of sick workers, or as it does anywhere.
    pub(crate) fn on_sick(&mut self, sick: bool) {
        self.sick = sick;
        self.vitals_due = true;
    }

    /// The worker has stopped.
    pub(crate) fn on_stopped(&mut self) {
        self.jobs.clear();
    }

    /// The agent wants something.
    pub(crate) fn on_order(&mut self, now: Time, order: RuntimeOrder) {
        match order {
            RuntimeOrder::Run { attempt, work, from_micros } => self.on_run(now, attempt, work, from_micros),
            RuntimeOrder::Halt { attempt } => drop(self.jobs.remove(&attempt)),
            RuntimeOrder::SaveEnded { attempt, .. } => {
                if let Some(job) = self.jobs.get_mut(&attempt) {
                    job.saving = false;
                }
            }
        }
    }

    fn on_run(&mut self, now: Time, attempt: AttemptId, work: Arc<Work>, from_micros: u32) {
        let Some(script) = Script::decode(&work.payload) else { unreachable!("clients write scripts") };
        let sick = self.sick.then_some(&self.tasks.sick);
        let fate = script.fate(attempt, &self.tasks, sick);
        let slower = sick.and_then(|sick| sick.slow).unwrap_or(1);
        let whole = (script.duration * u64::from(slower)).max(Span::from_nanos(1));
        let done = share(whole, from_micros);
        let end = match fate {
            Fate::Succeeds => whole,
            Fate::Fails { micros, .. } | Fate::Hangs { micros } | Fate::Kills { micros } => {
                done + share(whole.minus(done), micros)
            }
        };
        let save_at = work.checkpoint_interval.map(|interval| done + interval);
        let begin = if work.restart_runtime { now + RESTART } else { now };
        let mut job =
            Job { work, script, fate, whole, done, end, piece: Span::ZERO, next: None, save_at, saving: false };
        job.plan(begin);
        self.jobs.insert(attempt, job);
    }

    /// When it next does something by itself.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.jobs.values().filter_map(|job| job.next).min()
    }

    /// What is due. Each piece of work takes time, so calling again at the same moment comes to an end.
    pub(crate) fn on_due(&mut self, now: Time, calls: &mut Vec<RuntimeCall>) {
        if std::mem::take(&mut self.vitals_due) {
            let hot = self.sick && self.tasks.sick.hot;
            calls.push(RuntimeCall::Vitals(Vitals { gpu_temperature: if hot { HOT } else { 0 }, ..Vitals::default() }));
        }
        let due = self.jobs.iter().filter(|(_, job)| job.next.is_some_and(|next| next <= now));
        let due: Vec<AttemptId> = due.map(|(attempt, _)| *attempt).collect();
        for attempt in due {
            let Some(job) = self.jobs.get_mut(&attempt) else { continue };
            job.done += job.piece;
            if job.done < job.end {
                job.go_on(now, attempt, calls);
                continue;
            }
            match job.fate {
                Fate::Succeeds => {
                    let result = Arc::from(job.script.seed.to_le_bytes());
                    calls.push(RuntimeCall::Done { attempt, result });
                    self.jobs.remove(&attempt);
                }
                Fate::Fails { kind, told, .. } => {
                    let text = words(kind).into();
                    calls.push(RuntimeCall::Failed { attempt, kind: told.then_some(kind), text });
                    self.jobs.remove(&attempt);
                }
                Fate::Hangs { .. } => job.next = None,
                Fate::Kills { .. } => {
                    // Nobody hears any more of what else was due.
                    self.dead = true;
                    return;
                }
            }
        }
    }
}

impl Job {
    /// A piece is done, and it isn't the last one.
    fn go_on(&mut self, now: Time, attempt: AttemptId, calls: &mut Vec<RuntimeCall>) {
        let micros = self.micros();
        if self.save_at.is_some_and(|at| at <= self.done) {
            // While one is being saved, the next one waits for the end of a piece.
            if !self.saving {
                self.saving = true;
                let digest = self.script.seed ^ u64::from(micros);
                let bytes = CHECKPOINT_BYTES;
                calls.push(RuntimeCall::Save { attempt, progress_micros: micros, bytes, digest });
            }
            self.save_at = self.work.checkpoint_interval.map(|interval| self.done + interval);
        } else {
            calls.push(RuntimeCall::Progress { attempt, micros });
        }
        self.plan(now);
    }

    /// The next piece begins.
    fn plan(&mut self, now: Time) {
        let until_save = self.save_at.map(|at| at.minus(self.done)).filter(|span| *span > Span::ZERO);
        let ends = [Some(self.whole / PIECES), Some(self.end.minus(self.done)), until_save];
        self.piece = ends.into_iter().flatten().min().unwrap_or(Span::ZERO).max(Span::from_nanos(1));
        self.next = Some(now + self.piece);
    }

    /// How much is done, in millionths.
    fn micros(&self) -> u32 {
        let done = u128::from(self.done.as_nanos()) * 1_000_000 / u128::from(self.whole.as_nanos());
        done.min(1_000_000) as u32
    }
}

/// So many millionths of a span.
fn share(whole: Span, micros: u32) -> Span {
    Span::from_nanos((u128::from(whole.as_nanos()) * u128::from(micros) / 1_000_000) as u64)
}
