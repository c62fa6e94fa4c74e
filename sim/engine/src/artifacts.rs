//! What a sweep leaves on disk: `squall.out/<number>/`, readable while it runs.

use crate::scenario::{Diagnosis, Seed, Status};
use crate::sweep::Ran;
use crate::{Fingerprint, Scenario, System};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Of how many sweeps the results are kept.
const SWEEPS_KEPT: u64 = 100;
/// Of how many failing runs records are written.
const RECORDS_MAX: usize = 1_000;
/// The name of the link to the newest sweep's folder.
const LATEST: &str = "latest";

/// The folder of one sweep.
#[derive(Debug)]
pub struct Artifacts {
    folder: PathBuf,
    records: usize,
}

/// A failing run, as it is kept for `replay`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureRecord {
    /// The scenario file.
    pub scenario: PathBuf,
    /// A hash of the text of that file.
    pub digest: String,
    /// The seed.
    pub seed: Seed,
    /// What drove the processes.
    #[serde(default = "world")]
    pub engine: String,
    /// What the run showed, as a word.
    pub status: String,
    /// The fingerprint of its history.
    pub fingerprint: String,
    /// A hash of the program that ran it.
    pub build: String,
    /// What was violated.
    #[serde(default)]
    pub violation: Vec<ViolationRecord>,
}

fn world() -> String {
    "world".to_owned()
}

/// A violated property.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViolationRecord {
    /// The id of the property.
    pub property: String,
    /// When, in simulated time.
    pub at: String,
    /// What was seen.
    pub message: String,
    /// The entries that show it.
    pub evidence: Vec<u64>,
}

impl FailureRecord {
    /// The record of a failing run.
    #[must_use]
    pub fn of<S: System>(scenario: &Scenario<S>, ran: &Ran) -> Self {
        let violation = ran.outcome.violations.iter().map(|violation| ViolationRecord {
            property: violation.property.to_owned(),
            at: violation.at.to_string(),
            message: violation.message.clone(),
            evidence: violation.evidence.iter().map(|id| id.0).collect(),
        });
        Self {
            scenario: scenario.path.clone(),
            digest: scenario.digest.to_string(),
            seed: Seed(ran.outcome.seed),
            engine: scenario.engine.name.to_owned(),
            status: ran.status.word().to_lowercase(),
            fingerprint: ran.outcome.fingerprint.to_string(),
            build: build(),
            violation: violation.collect(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn load(path: &Path) -> Result<Self, Diagnosis> {
        let text = crate::scenario::read(path)?;
        toml::from_str(&text).map_err(|error| Diagnosis::of_toml(path, &text, &error))
    }
}

/// A hash of this program, so that a changed build isn't taken for a lack of determinism.
#[must_use]
pub fn build() -> String {
    let program = std::env::current_exe().and_then(fs::read).unwrap_or_default();
    Fingerprint(xxh3_128(&program)).to_string()
}

impl Artifacts {
    /// Makes the folder of a new sweep, and points `latest` at it.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn create(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let mut number = numbers(root)?.last().copied().unwrap_or(0) + 1;
        let folder = loop {
            let folder = root.join(number.to_string());
            match fs::create_dir(&folder) {
                Ok(()) => break folder,
                // Another sweep took the number meanwhile.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        fs::create_dir(folder.join("failures"))?;
        point(root, &number.to_string())?;
        for old in numbers(root)?.into_iter().filter(|old| old + SWEEPS_KEPT <= number) {
            // An old folder that stays does no harm.
            drop(fs::remove_dir_all(root.join(old.to_string())));
        }
        Ok(Self { folder, records: 0 })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the results so far.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn summary(&self, summary: &serde_json::Value) -> io::Result<()> {
        write_atomically(&self.folder.join("summary.json"), format!("{summary:#}\n").as_bytes())
    }

    /// Keeps a failing run, with its trace if there is one.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn failure<S: System>(&mut self, scenario: &Scenario<S>, ran: &Ran, trace: Option<&[u8]>) -> io::Result<()> {
        if self.records >= RECORDS_MAX || ran.status == Status::Pass {
            return Ok(());
        }
        self.records += 1;
        let number = self.records;
        let name = scenario.name.replace(|c: char| !c.is_alphanumeric() && c != '_' && c != '-', "-");
        let stem = self.folder.join("failures").join(format!("{number:03}-{name}-seed-{}", ran.outcome.seed));
        let text = toml::to_string(&FailureRecord::of(scenario, ran)).map_err(io::Error::other)?;
        // Appended, not replaced: a name may have dots.
        let with = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
        if let Some(trace) = trace {
            write_atomically(&with("trace.txt"), trace)?;
        }
        write_atomically(&with("toml"), text.as_bytes())
    }
}

/// The records of the newest sweep's failing runs, in order; empty if nothing failed.
///
/// # Errors
/// If there was no sweep yet, or its folder can't be read.
pub fn last_failures(root: &Path) -> io::Result<Vec<PathBuf>> {
    let latest = root.join(LATEST);
    let folder = match fs::read_to_string(&latest) {
        Ok(number) => root.join(number.trim()),
        Err(_) => latest,
    };
    let mut records = Vec::new();
    for entry in fs::read_dir(folder.join("failures"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            records.push(path);
        }
    }
    records.sort();
    Ok(records)
}

/// The numbers of the sweeps in a folder, in order.
fn numbers(root: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(root)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Points `latest` at a folder: as a link, or as a file with its name where links can't be made.
fn point(root: &Path, name: &str) -> io::Result<()> {
    let (fresh, latest) = (root.join(format!(".{LATEST}.{name}")), root.join(LATEST));
    drop(fs::remove_file(&fresh));
    link(name, &fresh)?;
    fs::rename(&fresh, &latest)
}

#[cfg(unix)]
fn link(name: &str, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(name, at)
}

#[cfg(not(unix))]
fn link(name: &str, at: &Path) -> io::Result<()> {
    fs::write(at, name)
}

/// Whoever reads the file sees all of it or what was there before.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = PathBuf::from(format!("{}.part", path.display()));
    let mut file = fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.flush()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let violation = ViolationRecord {
            property: "QU5".to_owned(),
            at: "10s".to_owned(),
            message: "two \"groups\"\nat once".to_owned(),
            evidence: vec![3, 9],
        };
        let record = FailureRecord {
            engine: world(),
            scenario: PathBuf::from("a b/c.toml"),
            digest: "d".to_owned(),
            seed: Seed(u64::MAX),
            status: "fail".to_owned(),
            fingerprint: "f".to_owned(),
            build: "b".to_owned(),
            violation: vec![violation],
        };
        let text = toml::to_string(&record).expect("a record is plain data");
        assert_eq!(toml::from_str(&text), Ok(record));
    }

    #[test]
    fn sweeps_are_numbered_and_the_latest_is_found() {
        let root = std::env::temp_dir().join(format!("squall-artifacts-{}", std::process::id()));
        drop(fs::remove_dir_all(&root));
        let first = Artifacts::create(&root).expect("a writable folder");
        let second = Artifacts::create(&root).expect("a writable folder");
        assert!(first.folder().ends_with("1") && second.folder().ends_with("2"));
        fs::write(second.folder().join("failures/001-x.toml"), "").expect("a writable folder");
        fs::write(second.folder().join("failures/001-x.trace.txt"), "").expect("a writable folder");
        assert_eq!(last_failures(&root).expect("readable").len(), 1);
        fs::remove_dir_all(&root).expect("ours");
    }
}
