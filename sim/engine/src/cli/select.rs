//! From paths to scenarios.

use crate::cli::ui::Ui;
use crate::cli::{BAD_INPUT, NOTHING};
use crate::{Diagnosis, Engine, Scenario, System};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// How deep folders are searched: links may lead in circles.
const DEPTH_MAX: usize = 16;

/// The scenario files of a path: itself, or all below it, in order. Hidden ones are left out.
///
/// # Errors
/// If the path, or a folder below it, can't be read.
pub(crate) fn scenario_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if fs::metadata(path)?.is_dir() {
        walk(path, 0, &mut files)?;
    } else {
        files.push(path.to_owned());
    }
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH_MAX {
                walk(&path, depth + 1, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

/// The scenarios of all paths on an engine, or the exit code and what is wrong with each file. Those below folders that the
/// engine can't express are told and left out; one that is named itself has to be one that it can.
pub(crate) fn scenarios_on<S: System>(
    paths: &[PathBuf],
    engine: Engine<S>,
    ui: &mut Ui,
) -> Result<Vec<Scenario<S>>, u8> {
    let (mut scenarios, mut refused) = (Vec::new(), Vec::new());
    for scenario in self::scenarios::<S>(paths, ui)? {
        let (name, named) = (scenario.name.clone(), paths.contains(&scenario.path));
        match scenario.on(engine) {
            Ok(scenario) => scenarios.push(scenario),
            Err(diagnosis) if named => refused.push(diagnosis),
            Err(diagnosis) => ui.line(format_args!("{:>12} {name}  {}", "REFUSED", diagnosis.summary())),
        }
    }
    if refused.is_empty() {
        return Ok(scenarios);
    }
    ui.diagnoses(&refused);
    Err(BAD_INPUT)
}

/// The scenarios of all paths, or the exit code and what is wrong with each file.
pub(crate) fn scenarios<S: System>(paths: &[PathBuf], ui: &mut Ui) -> Result<Vec<Scenario<S>>, u8> {
    let (mut files, mut known) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let found = scenario_files(path).map_err(|error| {
            ui.error(format_args!("{}: {error}", path.display()));
            BAD_INPUT
        })?;
        if found.is_empty() {
            ui.error(format_args!("{}: no scenario files (*.toml) in this folder", path.display()));
            return Err(NOTHING);
        }
        files.extend(found.into_iter().filter(|file| known.insert(file.clone())));
    }
    let loaded: Vec<Result<Scenario<S>, Diagnosis>> = files.iter().map(|file| Scenario::load(file)).collect();
    let (mut scenarios, mut diagnoses) = (Vec::new(), Vec::new());
    for result in loaded {
        match result {
            Ok(scenario) => scenarios.push(scenario),
            Err(diagnosis) => diagnoses.push(diagnosis),
        }
    }
    if diagnoses.is_empty() {
        Ok(scenarios)
    } else {
        ui.diagnoses(&diagnoses);
        Err(BAD_INPUT)
    }
}
