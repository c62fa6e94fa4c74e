//! The command line from outside: exit codes, results on disk, and the same history in another process and build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const CALM: &str = "title = 'calm'\nhorizon = '5s'\nseeds = 3\n";
/// Expects what can't be.
const WRONG: &str = "title = 'wrong'\nhorizon = '5s'\nseeds = 3\n[[expect.event]]\nname = 'failed'\nexactly = 3\n";

/// A folder of its own for a test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("squall-cli-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(folder.join("scenarios/deep")).expect("a writable folder");
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a writable folder");
    }

    fn squall(&self, arguments: &[&str]) -> Output {
        self.with(Path::new(env!("CARGO_BIN_EXE_squall")), arguments)
    }

    fn with(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program).args(arguments).current_dir(&self.0).output().expect("the program runs")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the lines of `--json` say, without how long it took.
fn timeless(output: &Output) -> Vec<String> {
    let text = out(output);
    let without = |line: &str| {
        let (before, after) = line.split_once("\"wall_ns\":").unwrap_or((line, ""));
        format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    text.lines().map(without).collect()
}

#[test]
fn exit_codes_tell_what_happened() {
    let place = Place::new("codes");
    place.write("scenarios/calm.toml", CALM);
    place.write("scenarios/deep/wrong.toml", WRONG);
    place.write("broken.toml", "title = 'x'\nhorizn = '5s'\n");
    fs::create_dir(place.0.join("empty")).expect("a writable folder");
    for (arguments, code) in [
        (&["run", "scenarios/calm.toml"][..], 0),
        (&["run", "scenarios"], 100),
        (&["run", "scenarios/deep", "--max-fail", "1", "--json"], 100),
        (&["run", "broken.toml"], 2),
        (&["run", "missing"], 2),
        (&["run", "empty"], 4),
        (&["run"], 2),
        (&["run", "scenarios", "--seeds", "5..5"], 2),
        (&["run", "scenarios", "--seed", "1", "--seeds", "0..5"], 2),
        (&["run", "scenarios/calm.toml", "--engine", "wrold"], 2),
        (&["check", "scenarios"], 0),
        (&["check", "broken.toml"], 2),
        (&["list"], 0),
        (&["schema"], 0),
        (&["trace", "scenarios/calm.toml", "--limit", "5"], 0),
        (&["trace", "scenarios/calm.toml", "--node", "r99"], 2),
        (&["trace", "scenarios"], 2),
        (&["replay", "--out", "nowhere"], 4),
        (&["replay", "scenarios/deep/wrong.toml"], 100),
        (&["--help"], 0),
        (&["explode"], 2),
    ] {
        let output = place.squall(arguments);
        let said = format!("{}{}", out(&output), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_failure_is_kept_and_replayed_in_another_process() {
    let place = Place::new("replay");
    place.write("scenarios/wrong.toml", WRONG);
    let output = place.squall(&["run", "scenarios"]);
    let text = out(&output);
    for wanted in
        ["FAIL wrong  seed 0", "EXPECT", "Reproduce: squall run scenarios/wrong.toml --seed 0", "Trace: squall trace"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let summary = fs::read_to_string(place.0.join("squall.out/latest/summary.json")).expect("a summary");
    assert!(summary.contains("\"state\": \"finished\""), "{summary}");
    let replayed = place.squall(&["replay"]);
    assert_eq!(replayed.status.code(), Some(100));
    assert_eq!(out(&replayed).matches("the same history, to the last bit").count(), 3, "{}", out(&replayed));

    // A record that says otherwise is told apart: the same program can't give another history.
    let records = place.0.join("squall.out/latest/failures");
    for entry in fs::read_dir(&records).expect("records") {
        let path = entry.expect("a record").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).expect("a record");
            let start = text.find("fingerprint = \"").expect("a fingerprint") + "fingerprint = \"".len();
            let forged = format!("{}{}{}", &text[..start], "0".repeat(32), &text[start + 32..]);
            fs::write(&path, forged).expect("a writable folder");
        }
    }
    assert_eq!(place.squall(&["replay"]).status.code(), Some(103));

    // Once the file is right, there is nothing left to reproduce.
    place.write("scenarios/wrong.toml", CALM);
    assert_eq!(place.squall(&["replay"]).status.code(), Some(0));
}

#[test]
fn other_processes_and_builds_give_the_same_history() {
    let place = Place::new("processes");
    place.write("scenarios/stormy.toml", include_str!("../../../tests/suite/stormy.toml"));
    let arguments = ["run", "scenarios", "--seeds", "0..4", "--json", "-j"];
    let run = |jobs: &str| place.squall(&[&arguments[..], &[jobs]].concat());
    let one = timeless(&run("1"));
    assert_eq!(one.len(), 5, "{one:?}");
    assert_eq!(one, timeless(&run("3")));
    let output = place.with(&other_build(), &[&arguments[..], &["1"]].concat());
    assert_eq!(one, timeless(&output), "debug and release disagree");
}

/// The binary of the other profile, debug or release, built from the same sources.
fn other_build() -> PathBuf {
    let mine = Path::new(env!("CARGO_BIN_EXE_squall"));
    let target = mine.parent().and_then(Path::parent).expect("target/profile/squall");
    let (profile, flags) = if cfg!(debug_assertions) { ("release", &["--release"][..]) } else { ("debug", &[][..]) };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "squall-cli", "--target-dir"])
        .arg(target)
        .args(flags)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join(profile).join("squall")
}

#[test]
fn a_run_without_a_verdict_says_why_and_is_no_pass() {
    let place = Place::new("dense");
    place.write(
        "scenarios/dense.toml",
        "title = \"faults without end\"\nhorizon = \"10s\"\n\n[[fault]]\nevery = \"1ns\"\npause = \"r0\"\nfor = \"1ns\"\n",
    );
    let output = place.squall(&["run", "scenarios", "--seed", "0"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(102), "{text}");
    assert!(text.contains("seed 0: more than 1000000 strikes"), "{text}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new("pipe");
    place.write("scenarios/calm.toml", CALM);
    for arguments in [&["trace", "scenarios/calm.toml"][..], &["run", "scenarios", "--json"], &["schema"], &["list"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(arguments)
            .current_dir(&place.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_published_schema_is_the_one_in_force() {
    let place = Place::new("schema");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let published = fs::read_to_string(root.join("scenarios/schema.json")).expect("scenarios/schema.json");
    let current = out(&place.squall(&["schema"]));
    assert!(published == current, "publish it: cargo run -p squall-cli -- schema > scenarios/schema.json");
}
