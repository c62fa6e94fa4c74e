//! `replay`: runs failures again and compares.

use crate::artifacts::{FailureRecord, build, last_failures};
use crate::cli::args::ReplayArguments;
use crate::cli::ui::Ui;
use crate::cli::{BAD_INPUT, NOTHING};
use crate::report::{entry_lines, failure_lines, word};
use crate::scenario::Status;
use crate::sweep::{Ran, Seeds, Task, run_and_judge};
use crate::{Diagnosis, Engine, Scenario, System};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn replay<S: System>(arguments: &ReplayArguments, engine: Engine<S>, ui: &mut Ui, stop: &AtomicBool) -> u8 {
    let files = match &arguments.file {
        Some(file) => vec![file.clone()],
        None => match last_failures(&arguments.out) {
            Ok(files) if files.is_empty() => {
                ui.note(format_args!("the last sweep had no failures"));
                return NOTHING;
            }
            Ok(files) => files,
            Err(error) => {
                ui.error(format_args!("no results of a sweep in {}: {error}", arguments.out.display()));
                return NOTHING;
            }
        },
    };
    let (mut worst, mut diagnoses) = (Status::Pass, Vec::new());
    for file in files {
        if stop.load(Ordering::Relaxed) {
            worst = worst.max(Status::Interrupted);
            break;
        }
        match replay_one(&file, engine, ui, stop) {
            Ok(status) => worst = worst.max(status),
            Err(diagnosis) => diagnoses.push(diagnosis),
        }
    }
    if diagnoses.is_empty() {
        worst.exit_code()
    } else {
        ui.diagnoses(&diagnoses);
        BAD_INPUT
    }
}

/// What is known of a run that is to be replayed.
struct Known {
    scenario: PathBuf,
    seed: u64,
    fingerprint: Option<String>,
    /// Whether file and program are still the same, so that its history has to be.
    comparable: bool,
}

fn replay_one<S: System>(file: &Path, engine: Engine<S>, ui: &mut Ui, stop: &AtomicBool) -> Result<Status, Diagnosis> {
    let text = crate::scenario::read(file)?;
    // A record names its scenario; a scenario has a title instead.
    let is_record = text.lines().any(|line| line.starts_with("scenario = "));
    let (known, scenario) = if is_record {
        let record = FailureRecord::load(file)?;
        if record.engine != engine.name {
            let hint = format!("replay it with --engine {}", record.engine);
            let problem = format!("is a failure that the engine `{}` found", record.engine);
            return Err(Diagnosis::of_file(file, problem, Some(&hint)));
        }
        let scenario = Scenario::<S>::load(&record.scenario)?.on(engine)?;
        let comparable = record.digest == scenario.digest.to_string() && record.build == build();
        let fingerprint = Some(record.fingerprint);
        (Known { scenario: record.scenario, seed: record.seed.0, fingerprint, comparable }, scenario)
    } else {
        let scenario = Scenario::<S>::load(file)?.on(engine)?;
        let (seed, fingerprint) =
            scenario.regress.as_ref().map_or((0, None), |regress| (regress.seed.0, regress.fingerprint.clone()));
        (Known { scenario: file.to_owned(), seed, fingerprint, comparable: false }, scenario)
    };
    let ran = run_and_judge(&scenario, known.seed, stop);
    Ok(tell(&known, &scenario, ran, ui, stop))
}

fn tell<S: System>(known: &Known, scenario: &Scenario<S>, mut ran: Ran, ui: &mut Ui, stop: &AtomicBool) -> Status {
    let now = ran.outcome.fingerprint.to_string();
    let same = known.fingerprint.as_ref().is_none_or(|before| *before == now);
    if !same {
        let before = known.fingerprint.as_deref().unwrap_or_default();
        if known.comparable && ran.status != Status::Interrupted {
            ran.status = Status::NotDeterministic;
            ran.remark = Some(format!("DT1: same file, seed and program, but the fingerprint was {before}"));
        } else {
            ran.remark = Some(format!("the fingerprint was {before}; the file or the program has changed since"));
        }
    }
    let task = Task { scenario, seeds: Seeds::one(known.seed) };
    if ran.status.is_failure() {
        let wanted: BTreeSet<_> =
            ran.outcome.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
        let evidence = entry_lines(scenario, known.seed, &wanted, stop);
        ui.line(format_args!("{}", failure_lines(&task, &ran, &ui.program.clone(), &evidence)));
        if same && known.fingerprint.is_some() {
            ui.line(format_args!("{:12} reproduced: the same history, to the last bit", ""));
        }
    } else {
        let remark = ran.remark.clone().unwrap_or_default();
        let (word, file, seed) = (word(ran.status), known.scenario.display(), known.seed);
        ui.line(format_args!("{word} {file}  seed {seed}  {now}  {remark}"));
    }
    ran.status
}
