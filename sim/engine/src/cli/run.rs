//! `run`: a sweep, told to people or programs, and kept on disk.

use crate::artifacts::Artifacts;
use crate::cli::NOTHING;
use crate::cli::args::RunArguments;
use crate::cli::select::scenarios_on;
use crate::cli::ui::Ui;
use crate::report::{
    Causes, TraceOptions, account_lines, counted, entry_lines, failure_lines, grouped, run_line, summary_line,
    task_line, trace, wall, word,
};
use crate::scenario::Status;
use crate::sweep::{Observer, Ran, Seeds, Stopwatch, SweepOptions, Tally, Task, sweep};
use crate::{Engine, Scenario, System};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many failing runs of a scenario are told in full.
const TOLD_IN_FULL: u64 = 3;
/// How many more are told in one line each.
const TOLD_IN_SHORT: u64 = 10;
/// Of how many failing runs of a sweep traces are kept.
const TRACES_KEPT: usize = 5;
/// How many of the last entries of a run a kept trace holds, besides those that led to the violation.
const TRACE_TAIL: usize = 5_000;

/// What a sweep adds up to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many scenarios were run.
    pub scenarios: u64,
    /// How many of them showed what they should.
    pub scenarios_passed: u64,
    /// How many runs there were.
    pub runs: u64,
    /// How many of them passed.
    pub passed: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many of them were inconclusive.
    pub inconclusive: u64,
    /// How many messages were sent.
    pub messages: u64,
    /// How many steps the machines took.
    pub steps: u64,
    /// How much simulated time passed, in nanoseconds.
    pub sim_ns: u64,
    /// How much real time passed, in nanoseconds.
    pub wall_ns: u64,
}

pub(crate) fn run<S: System>(arguments: &RunArguments, engine: Engine<S>, ui: &mut Ui, stop: &AtomicBool) -> u8 {
    let scenarios = match scenarios_on(&arguments.paths, engine, ui) {
        Ok(scenarios) => scenarios,
        Err(code) => return code,
    };
    let seeds = arguments.seeds.or(arguments.seed.map(|seed| Seeds::one(seed.0)));
    let tasks: Vec<Task<'_, S>> =
        scenarios.iter().map(|scenario| Task { scenario, seeds: pick(scenario, seeds) }).collect();
    if tasks.is_empty() {
        return NOTHING;
    }
    let artifacts = Artifacts::create(&arguments.out);
    if let Err(error) = &artifacts {
        ui.note(format_args!("note: results are not kept: {}: {error}", arguments.out.display()));
    }
    let options =
        SweepOptions { jobs: arguments.jobs.map_or_else(cores, usize::from), fail_max: arguments.max_fail, stop };
    let mut reporter = Reporter::new(&tasks, arguments.json, artifacts.ok(), ui, stop);
    sweep(&tasks, options, &mut reporter);
    let worst = reporter.finish();
    if stop.load(Ordering::Relaxed) { Status::Interrupted.exit_code() } else { worst.exit_code() }
}

/// The seeds of a scenario: as asked for, else that of its bug, else as many as it wants.
fn pick<S: System>(scenario: &Scenario<S>, asked: Option<Seeds>) -> Seeds {
    let own = || match &scenario.regress {
        Some(regress) => Seeds::one(regress.seed.0),
        None => Seeds { first: 0, count: scenario.seeds },
    };
    asked.unwrap_or_else(own)
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

struct Reporter<'a, S: System> {
    tasks: &'a [Task<'a, S>],
    json: bool,
    artifacts: Option<Artifacts>,
    ui: &'a mut Ui,
    stop: &'a AtomicBool,
    progress: ProgressBar,
    watch: Stopwatch,
    width: usize,
    totals: Totals,
    worst: Status,
    told: u64,
    traces: usize,
    rows: Vec<Value>,
    /// What the nodes had done at the end of the run, if there is only one.
    accounts: Vec<String>,
}

impl<'a, S: System> Reporter<'a, S> {
    fn new(
        tasks: &'a [Task<'a, S>],
        json: bool,
        artifacts: Option<Artifacts>,
        ui: &'a mut Ui,
        stop: &'a AtomicBool,
    ) -> Self {
        let total = tasks.iter().map(|task| task.seeds.count).fold(0, u64::saturating_add);
        let progress = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos}/{human_len} runs  {elapsed}  {msg}") {
            progress.set_style(style);
        }
        let mut reporter = Self {
            tasks,
            json,
            artifacts,
            ui,
            stop,
            progress,
            watch: Stopwatch::start(),
            width: tasks.iter().map(|task| task.scenario.name.chars().count()).max().unwrap_or(0),
            totals: Totals::default(),
            worst: Status::Pass,
            told: 0,
            traces: 0,
            rows: Vec::new(),
            accounts: Vec::new(),
        };
        reporter.keep_summary("running");
        reporter
    }

    fn line(&mut self, text: &str) {
        self.progress.suspend(|| self.ui.line(format_args!("{text}")));
    }

    /// Keeps what is known so far; from the first refusal of the file system on nothing is kept.
    fn keep_summary(&mut self, state: &str) {
        let Some(artifacts) = &self.artifacts else { return };
        let mut summary = summary_line(&self.totals, self.worst);
        summary["state"] = json!(state);
        summary["scenarios"] = json!(self.rows);
        if let Err(error) = artifacts.summary(&summary) {
            self.ui.note(format_args!("note: results are no longer kept: {error}"));
            self.artifacts = None;
        }
    }

    fn keep_failure(&mut self, task: &Task<'_, S>, ran: &Ran) {
        let Some(artifacts) = &mut self.artifacts else { return };
        let trace = (self.traces < TRACES_KEPT).then(|| kept_trace(task.scenario, ran, self.stop));
        self.traces += 1;
        if let Err(error) = artifacts.failure(task.scenario, ran, trace.as_deref()) {
            self.ui.note(format_args!("note: results are no longer kept: {error}"));
            self.artifacts = None;
        }
    }

    /// Tells everything and says what came of it.
    fn finish(mut self) -> Status {
        self.totals.wall_ns = self.watch.nanos();
        self.progress.finish_and_clear();
        self.keep_summary("finished");
        if self.json {
            let summary = summary_line(&self.totals, self.worst);
            self.line(&summary.to_string());
            return self.worst;
        }
        let totals = self.totals.clone();
        let mut text = format!(
            "{} {} of {} in {}: {} passed, {} failed",
            word(self.worst),
            counted(totals.runs, "run"),
            counted(totals.scenarios, "scenario"),
            wall(totals.wall_ns),
            counted(totals.scenarios_passed, "scenario"),
            counted(totals.failed, "run"),
        );
        let left = self.tasks.len() as u64 - totals.scenarios;
        if left > 0 {
            text.push_str(&format!(", {} not run", counted(left, "scenario")));
        }
        if totals.inconclusive > 0 {
            text.push_str(&format!(", {} inconclusive", grouped(totals.inconclusive)));
        }
        text.push_str(&format!(" ({} messages, {} steps)", grouped(totals.messages), grouped(totals.steps)));
        self.line(&text);
        if let (true, Some(artifacts)) = (totals.failed > 0, &self.artifacts) {
            let text = format!("{:12} failures are kept in {}", "", artifacts.folder().display());
            self.line(&text);
        }
        self.worst
    }
}

impl<S: System> Observer for Reporter<'_, S> {
    fn on_run(&mut self, task: usize, ran: &Ran) {
        let task = &self.tasks[task];
        self.progress.inc(1);
        if self.json {
            let line = run_line(task.scenario, ran).to_string();
            self.line(&line);
        }
        if let ([Task { seeds: Seeds { count: 1, .. }, .. }], false) = (self.tasks, self.json) {
            self.accounts = account_lines(&ran.outcome.accounts);
        }
        if !ran.status.is_failure() {
            return;
        }
        self.keep_failure(task, ran);
        self.told += 1;
        if self.json || self.told > TOLD_IN_FULL + TOLD_IN_SHORT {
            return;
        }
        let text = if self.told <= TOLD_IN_FULL {
            let wanted: BTreeSet<_> =
                ran.outcome.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
            let evidence = entry_lines(task.scenario, ran.outcome.seed, &wanted, self.stop);
            failure_lines(task, ran, &self.ui.program, &evidence)
        } else {
            let ids: Vec<&str> = ran.outcome.violations.iter().map(|violation| violation.property).collect();
            format!("{} {}  seed {}  {}", word(ran.status), task.scenario.name, ran.outcome.seed, ids.join(" "))
        };
        self.line(&text);
    }

    fn on_task(&mut self, task: usize, tally: &Tally) {
        let task = &self.tasks[task];
        if tally.runs == 0 {
            return;
        }
        let (status, _) = tally.conclude(task);
        self.told = 0;
        self.worst = self.worst.max(status);
        let totals = &mut self.totals;
        totals.scenarios += 1;
        totals.scenarios_passed += u64::from(status == Status::Pass);
        totals.runs += tally.runs;
        totals.passed += tally.passed;
        totals.failed += tally.failed;
        totals.inconclusive += tally.inconclusive;
        totals.messages += tally.messages;
        totals.steps += tally.steps;
        totals.sim_ns = totals.sim_ns.saturating_add(tally.sim_ns);
        totals.wall_ns = self.watch.nanos();
        self.rows.push(json!({
            "scenario": task.scenario.name,
            "seeds": task.seeds.to_string(),
            "status": status,
            "runs": tally.runs,
            "failed": tally.failed,
            "fingerprint": tally.fingerprint.to_string(),
            "strikes": tally.strikes,
            "probes": tally.probes,
            "goodput": tally.goodput,
        }));
        self.keep_summary("running");
        if !self.json {
            let line = task_line(task, tally, self.width, &self.ui.program);
            self.line(&line);
            for line in std::mem::take(&mut self.accounts) {
                self.line(&line);
            }
        }
    }
}

/// The trace that is kept of a failing run: what led to it, then its end.
fn kept_trace<S: System>(scenario: &Scenario<S>, ran: &Ran, stop: &AtomicBool) -> Vec<u8> {
    let seed = ran.outcome.seed;
    let marked: BTreeSet<_> = ran.outcome.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
    let mut text = format!("{} seed {seed} fingerprint {}\n", scenario.name, ran.outcome.fingerprint).into_bytes();
    for violation in &ran.outcome.violations {
        text.extend(format!("{} at {}: {}\n", violation.property, violation.at, violation.message).bytes());
    }
    let (causes, _) = Causes::of(scenario, seed, stop);
    let only = causes.lead_to(marked.iter().copied());
    let led = TraceOptions { only: Some(only), marked: marked.clone(), ..TraceOptions::default() };
    let end = TraceOptions { limit: Some(TRACE_TAIL), marked, ..TraceOptions::default() };
    for (title, options) in [("what led to it", led), ("the end of the run", end)] {
        text.extend(format!("\n-- {title}\n").bytes());
        // Writing to memory doesn't fail.
        drop(trace(scenario, seed, &options, stop, &mut text));
    }
    text
}
