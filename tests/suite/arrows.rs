//! Who may know whom. A new arrow between crates is a decision of its own: it wants a line here and in ARCHITECTURE.md.

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The arrows that there may be: from a crate to the crates of this workspace that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("squall-machine", &[]),
    ("squall-coordinator", &["squall-machine"]),
    ("squall-recovery", &["squall-machine"]),
    ("squall-scheduler", &["squall-machine"]),
    ("squall-node", &["squall-machine", "squall-coordinator", "squall-recovery", "squall-scheduler"]),
    ("squall-store", &["squall-machine"]),
    (
        "squall-server",
        &["squall-machine", "squall-coordinator", "squall-recovery", "squall-scheduler", "squall-node", "squall-store"],
    ),
    ("squall", &["squall-machine"]),
    (
        "squall-cluster",
        &["squall-machine", "squall-coordinator", "squall-recovery", "squall-scheduler", "squall-node", "squall"],
    ),
    (
        "squall-stack",
        &["squall", "squall-cluster", "squall-server", "squall-machine", "squall-coordinator", "squall-node"],
    ),
    ("squall-cli", &["squall", "squall-cluster", "squall-stack"]),
    ("squall-tests", &["squall", "squall-cluster", "squall-stack"]),
];

/// Crates without the standard library: no clock, no hash map, no thread can slip in.
const CORES: &[&str] = &["squall-machine", "squall-coordinator", "squall-recovery", "squall-scheduler"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("workspace::arrows", arrows_are_allowed),
        Trial::test("workspace::cores_have_no_world", cores_have_no_world),
    ]
}

/// The packages of this workspace, as cargo sees them.
fn packages() -> Result<Vec<Value>, Failed> {
    let mut cargo = Command::new(env!("CARGO"));
    let cargo = cargo.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(crate::root());
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(Failed::from(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    if packages.len() < 3 { Err(Failed::from("cargo sees hardly any package")) } else { Ok(packages) }
}

fn arrows_are_allowed() -> Result<(), Failed> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = packages()?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let from = package["name"].as_str().unwrap_or_default();
        let Some(known) = allowed.get(from) else {
            wrong.push(format!("{from} is new: say whom it may know"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            // Tests may look at more than what they test.
            let shipped = dependency["kind"].as_str() != Some("dev") || from == "squall-tests";
            if shipped && ours.contains(to) && !known.contains(&to) {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
}

fn cores_have_no_world() -> Result<(), Failed> {
    for package in packages()? {
        let name = package["name"].as_str().unwrap_or_default();
        if !CORES.contains(&name) {
            continue;
        }
        let manifest = std::path::PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let text = std::fs::read_to_string(manifest.with_file_name("src/lib.rs"))?;
        for wanted in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !text.contains(wanted) {
                return Err(Failed::from(format!("{name}: no {wanted}")));
            }
        }
    }
    Ok(())
}
