//! Many runs at once: every seed of every scenario, in parallel, with results in order whatever the number of threads.

use crate::scenario::{Seed, Status};
use crate::{Fingerprint, Goodput, Outcome, RunOptions, Scenario, System, Verdict};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use xxhash_rust::xxh3::xxh3_128;

/// How many failing runs of a scenario are kept in full; the others are counted.
const FAILURES_KEPT: usize = 50;
/// The most seeds of one sweep.
const SEEDS_MAX: u64 = 1 << 40;

/// Consecutive seeds: `7`, `0x7`, `0..1000` (without its end).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many; at least 1.
    pub count: u64,
}

impl Seeds {
    /// Only this one.
    #[must_use]
    pub const fn one(seed: u64) -> Self {
        Self { first: seed, count: 1 }
    }
}

impl Seeds {
    /// The seeds as a range, also if it is only one.
    #[must_use]
    pub fn range(&self) -> String {
        format!("{}..{}", self.first, self.first.saturating_add(self.count))
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((first, end)) = text.split_once("..") else { return Ok(Self::one(text.parse::<Seed>()?.0)) };
        let (first, end) = (first.parse::<Seed>()?.0, end.parse::<Seed>()?.0);
        match end.checked_sub(first) {
            None | Some(0) => Err(format!("`{text}` holds no seed: its end is not part of it")),
            Some(count) if count > SEEDS_MAX => Err(format!("`{text}` holds more than {SEEDS_MAX} seeds")),
            Some(count) => Ok(Self { first, count }),
        }
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 1 { self.first.fmt(f) } else { f.write_str(&self.range()) }
    }
}

/// A scenario and the seeds to run it with.
#[derive(Debug)]
pub struct Task<'a, S: System> {
    /// The scenario.
    pub scenario: &'a Scenario<S>,
    /// The seeds.
    pub seeds: Seeds,
}

/// How to sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions<'a> {
    /// How many runs at once; at least 1.
    pub jobs: usize,
    /// Ends the sweep after so many failing runs.
    pub fail_max: Option<u64>,
    /// Ends the sweep when set; what was done is kept.
    pub stop: &'a AtomicBool,
}

/// One run of a sweep.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What it shows.
    pub status: Status,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took in real time, in nanoseconds. For display only.
    pub wall_ns: u64,
    /// What else is to be said about it.
    pub remark: Option<String>,
}

/// What the runs of one scenario add up to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many runs there were.
    pub runs: u64,
    /// How many of them passed.
    pub passed: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were inconclusive.
    pub inconclusive: u64,
    /// The first of those, and what ended it.
    pub undecided: Option<(u64, String)>,
    /// How many messages were sent.
    pub messages: u64,
    /// How many steps the machines took.
    pub steps: u64,
    /// How much simulated time passed, in nanoseconds.
    pub sim_ns: u64,
    /// How much real time the runs took together, in nanoseconds.
    pub wall_ns: u64,
    /// The fingerprints of all runs, folded in the order of their seeds.
    pub fingerprint: Fingerprint,
    /// How often each fault of the plan had an effect.
    pub strikes: Vec<u64>,
    /// How many runs reached each rare state.
    pub probes: BTreeMap<&'static str, u64>,
    /// What got done, summed up; `None` if the file doesn't ask.
    pub goodput: Option<Goodput>,
    /// The failing runs, in order; the first fifty.
    pub failures: Vec<Ran>,
    /// How many runs went on to their end.
    pub whole: u64,
    worst: Option<Status>,
}

impl Tally {
    fn add(&mut self, ran: &Ran) {
        let outcome = &ran.outcome;
        self.runs += 1;
        self.passed += u64::from(ran.status == Status::Pass);
        self.failed += u64::from(ran.status.is_failure());
        if ran.status == Status::Inconclusive {
            self.inconclusive += 1;
            let first = || (outcome.seed, ran.remark.clone().unwrap_or_else(|| "for no known reason".to_owned()));
            self.undecided.get_or_insert_with(first);
        }
        self.whole += u64::from(outcome.verdict == Verdict::Pass);
        self.messages += outcome.messages.sent;
        self.steps += outcome.steps;
        self.sim_ns = self.sim_ns.saturating_add(outcome.sim_ns);
        self.wall_ns = self.wall_ns.saturating_add(ran.wall_ns);
        let mut folded = [0; 32];
        folded[..16].copy_from_slice(&self.fingerprint.0.to_le_bytes());
        folded[16..].copy_from_slice(&outcome.fingerprint.0.to_le_bytes());
        self.fingerprint = Fingerprint(xxh3_128(&folded));
        if self.strikes.len() < outcome.strikes.len() {
            self.strikes.resize(outcome.strikes.len(), 0);
        }
        for (sum, strikes) in self.strikes.iter_mut().zip(&outcome.strikes) {
            *sum += strikes;
        }
        if let Some(Goodput { done, calm }) = outcome.goodput {
            let sum = self.goodput.get_or_insert_default();
            (sum.done, sum.calm) = (sum.done.saturating_add(done), sum.calm.saturating_add(calm));
        }
        for probe in outcome.probes.keys() {
            *self.probes.entry(probe).or_default() += 1;
        }
        if ran.status.is_failure() && self.failures.len() < FAILURES_KEPT {
            self.failures.push(ran.clone());
        }
        self.worst = self.worst.max(Some(ran.status));
    }

    /// What the sweep shows about its scenario, and why if that isn't told by a run.
    #[must_use]
    pub fn conclude<S: System>(&self, task: &Task<'_, S>) -> (Status, Option<String>) {
        let (scenario, worst) = (task.scenario, self.worst.unwrap_or(Status::Interrupted));
        if worst > Status::Interrupted {
            let undecided = self.undecided.as_ref().filter(|_| worst == Status::Inconclusive);
            return (worst, undecided.map(|(seed, why)| format!("seed {seed}: {why}")));
        }
        if self.runs < task.seeds.count {
            return (Status::Interrupted, Some(format!("{} of {} seeds were run", self.runs, task.seeds.count)));
        }
        if let (Some(wanted), 0) = (scenario.violates, self.passed) {
            return (Status::Violated, Some(format!("no seed of {} violated {wanted}, as expected", task.seeds)));
        }
        // A short sweep says little about rates, and a run that ended early nothing.
        let missed = scenario.must_strike.iter().find(|&&fault| self.strikes.get(fault).copied().unwrap_or(0) == 0);
        match missed {
            Some(fault) if self.whole > 0 && self.runs >= scenario.seeds => {
                let number = fault + 1;
                (Status::Vacuous, Some(format!("HN1: fault {number} of the file never struck in {} runs", self.runs)))
            }
            Some(_) | None => (Status::Pass, None),
        }
    }
}

/// Is told of results, in the order of tasks and seeds.
pub trait Observer {
    /// A run is over.
    fn on_run(&mut self, task: usize, ran: &Ran);
    /// All runs of a task are over, or the sweep ends early.
    fn on_task(&mut self, task: usize, tally: &Tally);
}

/// Runs all seeds of all tasks, and tells the observer in order.
///
/// What the observer is told doesn't depend on the number of threads. Each failing run is run once more at once; if its
/// history differs, it is reported as not deterministic.
pub fn sweep<S: System>(tasks: &[Task<'_, S>], options: SweepOptions<'_>, observer: &mut dyn Observer) {
    let mut starts = Vec::with_capacity(tasks.len());
    let mut total: u64 = 0;
    for task in tasks {
        starts.push(total);
        total = total.saturating_add(task.seeds.count);
    }
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let shared = Shared { tasks, starts: &starts, total, next: &next, user: options.stop, enough: &enough };
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..options.jobs.max(1).min(usize::try_from(total).unwrap_or(usize::MAX)) {
            let sender = sender.clone();
            scope.spawn(move || work(shared, &sender));
        }
        drop(sender);
        gather(shared, &receiver, options.fail_max, observer);
    });
}

/// What the threads of a sweep share.
#[derive(Debug)]
struct Shared<'a, S: System> {
    tasks: &'a [Task<'a, S>],
    starts: &'a [u64],
    total: u64,
    next: &'a AtomicU64,
    /// The user wants it to end.
    user: &'a AtomicBool,
    /// Enough runs have failed.
    enough: &'a AtomicBool,
}

impl<S: System> Clone for Shared<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: System> Copy for Shared<'_, S> {}

impl<S: System> Shared<'_, S> {
    fn over(&self) -> bool {
        self.user.load(Ordering::Relaxed) || self.enough.load(Ordering::Relaxed)
    }

    /// The task and seed of a piece of work.
    fn piece(&self, index: u64) -> (usize, u64) {
        let task = self.starts.partition_point(|&start| start <= index) - 1;
        (task, self.tasks[task].seeds.first + (index - self.starts[task]))
    }
}

fn work<S: System>(shared: Shared<'_, S>, results: &Sender<(u64, Ran)>) {
    while !shared.over() {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= shared.total {
            return;
        }
        let (task, seed) = shared.piece(index);
        let ran = run_and_judge(shared.tasks[task].scenario, seed, shared.user);
        if results.send((index, ran)).is_err() {
            return;
        }
    }
}

/// Runs one seed; once more if it failed, to see whether it is deterministic.
#[must_use]
pub fn run_and_judge<S: System>(scenario: &Scenario<S>, seed: u64, stop: &AtomicBool) -> Ran {
    let watch = Stopwatch::start();
    let run = || {
        let options = RunOptions { stop: Some(stop), ..RunOptions::default() };
        catch_unwind(AssertUnwindSafe(|| scenario.run(seed, options)))
    };
    let outcome = match run() {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let outcome = Outcome { seed, verdict: Verdict::Inconclusive, ..Outcome::default() };
            let remark = Some(format!("the engine itself panicked: {text}"));
            return Ran { status: Status::Bug, outcome, wall_ns: watch.nanos(), remark };
        }
    };
    let (mut status, wall_ns, mut remark) = (scenario.judge(&outcome), watch.nanos(), outcome.remark.clone());
    if status.is_failure()
        && let Ok(again) = run()
        && (again.fingerprint, again.verdict) != (outcome.fingerprint, outcome.verdict)
        && !stop.load(Ordering::Relaxed)
    {
        status = Status::NotDeterministic;
        remark = Some(format!(
            "DT1: a second run of the same seed had fingerprint {} and verdict {}, not {} and {}",
            again.fingerprint,
            again.verdict.name(),
            outcome.fingerprint,
            outcome.verdict.name()
        ));
    }
    if stop.load(Ordering::Relaxed) && status == Status::Inconclusive {
        status = Status::Interrupted;
    }
    Ran { status, outcome, wall_ns, remark }
}

/// Brings results into order, adds them up, and tells the observer.
fn gather<S: System>(
    shared: Shared<'_, S>,
    results: &Receiver<(u64, Ran)>,
    fail_max: Option<u64>,
    observer: &mut dyn Observer,
) {
    let mut gathering = Gathering { task: 0, tally: Tally::default(), failed: 0 };
    let (mut early, mut expected) = (BTreeMap::new(), 0);
    for (index, ran) in results {
        early.insert(index, ran);
        while let Some(ran) = early.remove(&expected) {
            if shared.enough.load(Ordering::Relaxed) {
                break;
            }
            gathering.take(shared, expected, &ran, observer);
            expected += 1;
            if fail_max.is_some_and(|max| gathering.failed >= max) {
                shared.enough.store(true, Ordering::Relaxed);
            }
        }
    }
    // After an interruption there may be gaps; what was done beyond them still counts.
    if !shared.enough.load(Ordering::Relaxed) {
        for (index, ran) in early {
            gathering.take(shared, index, &ran, observer);
        }
    }
    gathering.advance(shared.tasks.len(), observer);
}

struct Gathering {
    task: usize,
    tally: Tally,
    failed: u64,
}

impl Gathering {
    fn take<S: System>(&mut self, shared: Shared<'_, S>, index: u64, ran: &Ran, observer: &mut dyn Observer) {
        if ran.status == Status::Interrupted {
            return;
        }
        let (task, _) = shared.piece(index);
        self.advance(task, observer);
        self.tally.add(ran);
        self.failed += u64::from(ran.status.is_failure());
        observer.on_run(task, ran);
    }

    /// Ends the tasks before this one.
    fn advance(&mut self, task: usize, observer: &mut dyn Observer) {
        while self.task < task {
            observer.on_task(self.task, &std::mem::take(&mut self.tally));
            self.task += 1;
        }
    }
}

/// Real time, for display only.
#[expect(clippy::disallowed_types, reason = "people want to know how long a run took; no decision depends on it")]
#[derive(Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

#[expect(clippy::disallowed_types, reason = "people want to know how long a run took; no decision depends on it")]
impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_or_a_range_without_its_end() {
        assert_eq!("7".parse(), Ok(Seeds { first: 7, count: 1 }));
        assert_eq!("0x10..0x20".parse(), Ok(Seeds { first: 16, count: 16 }));
        for wrong in ["", "..", "5..5", "6..5", "1..", "a", "-1..3", "0..0xffffffffffffffff"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
        assert_eq!("0xffffffffffffffff".parse::<Seeds>().map(|seeds| seeds.to_string()), Ok(u64::MAX.to_string()));
    }
}
