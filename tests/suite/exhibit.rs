//! The faults that break the published protocol don't break the product: the very files in which the exhibit fails hold with
//! `authority = "peers"`, liveness after the faults included. That the exhibit fails in them is a trial of the suite itself.

use crate::root;
use libtest_mimic::{Failed, Trial};
use squall::Scenario;
use squall::scenario::Status;
use squall::sweep::run_and_judge;
use squall_cluster::{Authority, Cluster};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// How many seeds the product plays of each file.
const SEEDS: u64 = 20;
/// The ways in which the exhibit fails.
const WAYS: usize = 7;

pub(crate) fn trials() -> Vec<Trial> {
    let files = files();
    let each = files.clone().into_iter().map(|file| {
        let name = format!("exhibit::the_product_holds_in::{}", file.file_stem().unwrap_or_default().to_string_lossy());
        Trial::test(name, move || the_product_holds(&file))
    });
    let all = Trial::test("exhibit::each_way_has_its_file", move || {
        if files.len() == WAYS { Ok(()) } else { Err(Failed::from(format!("{WAYS} ways, but {files:?}"))) }
    });
    each.chain([all]).collect()
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("scenarios/negative")).into_iter().flatten().flatten();
    let is_exhibit = |name: &str| name.starts_with("published_") && name.ends_with(".toml");
    let paths = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.file_name().is_some_and(|name| is_exhibit(&name.to_string_lossy()))).collect();
    files.sort();
    files
}

/// The file as it would be for the product: another authority, and no violation to be found.
fn for_the_product(file: &Path) -> Result<Scenario<Cluster>, Failed> {
    let text = std::fs::read_to_string(file)?;
    let (kept, expected) = text.split_once("[expect]").ok_or("a negative file expects a violation")?;
    let (authority, product) = ("authority = \"published\"", "authority = \"peers\"");
    if kept.matches(authority).count() != 1 || expected.contains("[[") {
        return Err(Failed::from("a file of the exhibit names its authority once, and ends with what it violates"));
    }
    Ok(Scenario::parse(file, &kept.replace(authority, product))?)
}

fn the_product_holds(file: &Path) -> Result<(), Failed> {
    let (exhibit, scenario) = (Scenario::<Cluster>::load(file)?, for_the_product(file)?);
    if exhibit.system.authority() != Authority::Published || scenario.system.authority() != Authority::Peers {
        return Err(Failed::from("the exhibit and the product are to be compared"));
    }
    let never = AtomicBool::new(false);
    for seed in 0..SEEDS {
        let ran = run_and_judge(&scenario, seed, &never);
        if ran.status != Status::Pass {
            return Err(Failed::from(format!("seed {seed}: {:?} {:?}", ran.status, ran.outcome.violations)));
        }
    }
    Ok(())
}
