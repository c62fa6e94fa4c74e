//! Scenario files as tests, one per file and seed: `squall::suite::main::<MySystem>("scenarios")`.

use crate::cli::scenario_files;
use crate::report::{entry_lines, failure_lines};
use crate::scenario::Status;
use crate::sweep::{Seeds, Task, run_and_judge};
use crate::{Scenario, System};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How many seeds of each file are tests, unless the file has fewer, or the variable `SQUALL_SEEDS` says so.
const SEEDS: u64 = 4;
/// The most tests per file.
const SEEDS_MAX: u64 = 100_000;

/// Runs the scenarios of a folder as tests, with the usual arguments of a test binary. The folder is looked for here and in
/// the folders above.
#[must_use]
pub fn main<S: System>(folder: &str) -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials::<S>(folder)).exit_code()
}

/// The tests of the scenarios of a folder: each file by itself, and each with its first seeds. A file that expects a
/// violation is one test, because only one seed has to show it.
#[must_use]
pub fn trials<S: System>(folder: &str) -> Vec<Trial> {
    let Some(folder) = find(folder) else {
        let text = format!("no folder `{folder}` here or above");
        return vec![Trial::test("scenarios", move || Err(Failed::from(text)))];
    };
    let files = match scenario_files(&folder) {
        Ok(files) => files,
        Err(error) => return vec![Trial::test("scenarios", move || Err(Failed::from(error.to_string())))],
    };
    files.iter().flat_map(|file| file_trials::<S>(file)).collect()
}

/// The folder, here or in one above.
fn find(folder: &str) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().map(|above| above.join(folder)).find(|path| path.is_dir())
}

fn file_trials<S: System>(file: &Path) -> Vec<Trial> {
    let scenario = match Scenario::<S>::load(file) {
        Ok(scenario) => Arc::new(scenario),
        Err(diagnosis) => {
            let name = format!("{}::file", file.display());
            return vec![Trial::test(name, move || Err(Failed::from(diagnosis.to_string())))];
        }
    };
    let name = scenario.name.clone();
    if let Some(property) = scenario.violates {
        let count = scenario.seeds;
        let found = move || violation_is_found(&scenario, count);
        return vec![Trial::test(format!("{name}::violates_{property}"), found)];
    }
    let seeds = match &scenario.regress {
        Some(regress) => regress.seed.0..regress.seed.0.saturating_add(1),
        None => 0..seeds().unwrap_or(SEEDS.min(scenario.seeds)),
    };
    let trial = |seed| {
        let scenario = Arc::clone(&scenario);
        Trial::test(format!("{name}::seed_{seed}"), move || seed_holds(&scenario, seed))
    };
    seeds.map(trial).collect()
}

/// What the user wants.
#[expect(clippy::disallowed_methods, reason = "a test binary has no flags of its own")]
fn seeds() -> Option<u64> {
    std::env::var("SQUALL_SEEDS").ok()?.parse().ok().map(|seeds: u64| seeds.clamp(1, SEEDS_MAX))
}

fn seed_holds<S: System>(scenario: &Scenario<S>, seed: u64) -> Result<(), Failed> {
    let never = AtomicBool::new(false);
    let ran = run_and_judge(scenario, seed, &never);
    if ran.status == Status::Pass {
        return Ok(());
    }
    let wanted: BTreeSet<_> = ran.outcome.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
    let evidence = entry_lines(scenario, seed, &wanted, &never);
    let task = Task { scenario, seeds: Seeds::one(seed) };
    let styled = failure_lines(&task, &ran, "squall", &evidence);
    Err(Failed::from(anstream::adapter::strip_str(&styled).to_string()))
}

/// Looks for a seed that shows the violation, until one does. Any other violation fails.
fn violation_is_found<S: System>(scenario: &Scenario<S>, count: u64) -> Result<(), Failed> {
    let never = AtomicBool::new(false);
    for seed in 0..count {
        match run_and_judge(scenario, seed, &never).status {
            Status::Pass => return Ok(()),
            Status::NotSeen => {}
            _ => return seed_holds(scenario, seed),
        }
    }
    let (path, property) = (scenario.path.display(), scenario.violates.unwrap_or_default());
    Err(Failed::from(format!(
        "no seed of 0..{count} violated {property}\n   Reproduce: squall run {path} --seeds 0..{count}"
    )))
}
