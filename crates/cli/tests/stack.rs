//! The production shell under the simulated runtime, through `--engine stack` of the ordinary binary. The first use builds it,
//! with `--cfg madsim` and in a folder of its own, which takes minutes on a fresh machine.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Calls the binary in the folder of the workspace.
fn squall(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = tempfile::tempdir().expect("a folder for results");
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(root).args(arguments);
    if arguments[0] == "run" {
        command.arg("--out").arg(out.path());
    }
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a sweep under the stack prints; its exit code is 0.
fn sweep(arguments: &[&str]) -> String {
    let output = squall(&[&["run", "--engine", "stack"], arguments].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{out}\n{err}");
    out
}

#[test]
fn every_scenario_that_the_stack_can_express_passes_and_the_others_are_named() {
    let out = sweep(&["scenarios/smoke", "scenarios/fast", "scenarios/negative", "--seeds", "0..2"]);
    let refused: Vec<&str> = out.lines().filter(|line| line.contains("REFUSED")).collect();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/README.md"));
    let readme = readme.expect("a README");
    assert!(!refused.is_empty(), "boundary_tick needs exact times");
    for line in &refused {
        let (_, reasons) = line.trim().split_once("  ").expect("a name and its reasons");
        for reason in reasons.split("; ") {
            assert!(readme.contains(reason.trim()), "scenarios/README.md doesn't give the reason of: {line}");
        }
    }
    let passed = out.lines().filter(|line| line.contains("PASS") && line.contains("seeds")).count();
    assert!(passed >= 40, "{passed} scenarios passed:\n{out}");
}

#[test]
fn equal_seeds_give_equal_histories_in_any_order_and_in_fresh_processes() {
    let scenario = "scenarios/fast/lost_answers.toml";
    let fingerprints = |arguments: &[&str]| -> Vec<(u64, String)> {
        let lines = sweep(&[&[scenario, "--json"], arguments].concat());
        let runs = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        runs.filter_map(|run| Some((run["seed"].as_u64()?, run["fingerprint"].as_str()?.to_owned()))).collect()
    };
    let one_by_one = fingerprints(&["--seeds", "0..12", "-j", "1"]);
    assert_eq!(one_by_one.len(), 12);
    assert_eq!(one_by_one, fingerprints(&["--seeds", "0..12", "-j", "2"]));
    assert_eq!(one_by_one[7..8], fingerprints(&["--seed", "7"]));
    let different: std::collections::BTreeSet<&String> =
        one_by_one.iter().map(|(_, fingerprint)| fingerprint).collect();
    assert_eq!(different.len(), 12, "seeds differ");
}

/// The protocol's events, by node: heartbeats and ticks left out, and everything that is a matter of time.
fn events(file: &str, engine: &str) -> BTreeMap<String, Vec<Value>> {
    let output = squall(&["trace", file, "--json", "--engine", engine]);
    let mut by_node: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text(&output.stdout).lines() {
        let entry: Value = serde_json::from_str(line).expect("a line of JSON");
        let kind = entry["kind"].as_str().unwrap_or_default();
        if entry["what"] != "event" || matches!(kind, "heartbeat_accepted" | "ticked") {
            continue;
        }
        let mut body = entry["body"].clone();
        if let Some(fields) = body.get_mut(kind).and_then(Value::as_object_mut) {
            // Spans are of one clock reading and another, and calls take microseconds.
            fields.remove("age");
            fields.remove("waited");
        }
        by_node.entry(entry["node"].as_str().expect("a node").to_owned()).or_default().push(body);
    }
    by_node
}

fn parity(file: &str, at_least: &[(&str, usize)]) {
    let (world, stack) = (events(file, "world"), events(file, "stack"));
    for (kind, count) in at_least {
        let seen = world.values().flatten().filter(|event| event.get(kind).is_some()).count();
        assert!(seen >= *count, "{file}: {seen} times {kind}: the scenario shows nothing");
    }
    for (node, events) in &world {
        assert_eq!(Some(events), stack.get(node), "{file}: {node}");
    }
    assert_eq!(world.len(), stack.len());
}

#[test]
fn a_quiet_run_is_the_same_in_the_world_and_under_the_stack() {
    parity("crates/cli/tests/parity/calm.toml", &[("began", 3), ("formed", 3), ("active", 6), ("vote_closed", 6)]);
}

#[test]
fn a_crash_is_the_same_in_the_world_and_under_the_stack() {
    parity("crates/cli/tests/parity/crash.toml", &[("failed", 1), ("notified", 1), ("reset", 1), ("formed", 3)]);
}

#[test]
fn what_a_failing_run_prints_can_be_pasted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, out) = (folder.path().join("wrong.toml"), folder.path().join("out"));
    std::fs::write(&file, "title = 'wrong'\nhorizon = '5s'\n[[expect.event]]\nname = 'failed'\nexactly = 3\n")
        .expect("a file");
    let (file, out) = (file.to_string_lossy(), out.to_string_lossy());
    let ran = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["run", &file, "--seed", "0", "--engine", "stack", "--out", &out])
        .output()
        .expect("the binary runs");
    let said = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(100), "{said}");
    assert!(said.contains(&format!("Reproduce: squall run {file} --seed 0 --engine stack")), "{said}");
    let other = squall(&["replay", "--out", &out]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("--engine stack"), "{}", text(&other.stderr));
    let again = squall(&["replay", "--out", &out, "--engine", "stack"]);
    assert_eq!(again.status.code(), Some(100));
    assert!(text(&again.stdout).contains("reproduced: the same history"), "{}", text(&again.stdout));
}

#[test]
fn what_the_stack_cannot_express_is_refused_at_its_very_word() {
    let output = squall(&["run", "--engine", "stack", "scenarios/fast/grace.toml"]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("grace.toml:") && err.contains("exact_time"), "{err}");
}
