//! What the protocol does in the plainest cases, as text that people review: a change of behaviour shows here as a change of
//! lines. Times, entry numbers and random ids are left out; the order is that of the history.

use std::path::Path;
use std::process::Command;

/// Events that say nothing about a decision.
const NOISE: [&str; 4] = ["heartbeat_accepted", "ticked", "rank_asked", "rank_answered"];
/// Fields that are drawn at random.
const RANDOM: [&str; 2] = ["session=", "boot="];

/// The normalised trace of a scenario between two times.
fn trace(scenario: &str, from: &str, until: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["trace", scenario, "--seed", "0", "--quiet", "--from", from, "--until", until])
        .current_dir(root)
        .output()
        .expect("squall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<String> = text.lines().filter_map(normalised).collect();
    assert!(!lines.is_empty(), "{scenario} has a history");
    lines.join("\n")
}

/// `node what fields`, without what differs between equal behaviours; nothing for lines that are no entries.
fn normalised(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    words.next()?.parse::<f64>().ok()?;
    let node = words.next()?;
    let mark = words.by_ref().find(|word| matches!(*word, "=" | "*"))?;
    let fixed = words.filter(|word| !RANDOM.iter().any(|random| word.starts_with(random)));
    let words: Vec<String> = fixed.map(|word| word.strip_prefix("quorum=").map_or(word.to_owned(), quorum)).collect();
    let noise = words.first().is_some_and(|what| NOISE.contains(&what.as_str()));
    (!noise).then(|| format!("{node} {mark} {}", words.join(" ")))
}

/// A quorum in a few words: its number, its formation, its members.
fn quorum(json: &str) -> String {
    let quorum: serde_json::Value = serde_json::from_str(json).expect("a quorum is traced as JSON");
    let members = quorum["members"].as_array().expect("a list");
    let ids: Vec<&str> = members.iter().filter_map(|member| member["id"].as_str()).collect();
    format!("quorum {} by formation {}: {}", quorum["id"], quorum["formation"], ids.join("+"))
}

/// The attempts of tasks in a scenario up to a time, without when they began and ended.
fn attempts(scenario: &str, until: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["trace", scenario, "--seed", "0", "--table", "tasks", "--until", until, "--json"])
        .current_dir(root)
        .output()
        .expect("squall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row is an object");
        let cell = |column: &str| row[column].as_str().unwrap_or_else(|| panic!("no {column} in {line}")).to_owned();
        let next = cell("next");
        let next = next.split_once(" in ").map_or(&*next, |(strategy, _)| strategy);
        let cells = ["task", "attempt", "worker", "fate", "why"].map(cell);
        format!("{} -> {next}", cells.join(" ").trim_end())
    };
    text.lines().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_attempts_of_a_zombie_are_lost_and_made_again() {
    insta::assert_snapshot!(attempts("scenarios/fast/zombie_worker.toml", "5m"));
}

#[test]
fn attempts_that_fail_open_a_breaker_and_one_probes() {
    insta::assert_snapshot!(attempts("scenarios/fast/breaker_probe_lost.toml", "27s"));
}

#[test]
fn a_crash_is_declared_told_and_left_out() {
    insta::assert_snapshot!(trace("scenarios/smoke/single_crash.toml", "9s", "17s"));
}

#[test]
fn a_silent_manager_is_waited_for() {
    insta::assert_snapshot!(trace("scenarios/smoke/two_managers_silent.toml", "0s", "30s"));
}
