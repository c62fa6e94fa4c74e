//! Lines for people: one per scenario, and what there is to say about a failing run.

use crate::scenario::Status;
use crate::sweep::{Ran, Tally, Task};
use crate::{System, Violation};
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use squall_machine::Span;
use std::collections::BTreeMap;

/// How many entries of evidence are shown.
const EVIDENCE_SHOWN: usize = 12;

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
#[must_use]
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Real time to three digits or so.
pub(crate) fn wall(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    if millis >= 60_000 {
        format!("{}m{:02}s", millis / 60_000, millis / 1_000 % 60)
    } else {
        format!("{}.{:03}s", millis / 1_000, millis % 1_000)
    }
}

fn style(status: Status) -> Style {
    let colour = match status {
        Status::Pass => AnsiColor::Green,
        Status::NotSeen | Status::Interrupted | Status::Inconclusive => AnsiColor::Yellow,
        Status::Stale | Status::Vacuous | Status::Violated | Status::NotDeterministic | Status::Bug => AnsiColor::Red,
    };
    colour.on_default().bold()
}

/// A word of status in its colour, aligned to the right.
pub(crate) fn word(status: Status) -> String {
    let style = style(status);
    format!("{style}{:>12}{style:#}", status.word())
}

/// The line of one scenario.
#[must_use]
pub fn task_line<S: System>(task: &Task<'_, S>, tally: &Tally, width: usize, program: &str) -> String {
    let (status, remark) = tally.conclude(task);
    let seeds = counted(tally.runs, "seed");
    let mut line = format!(
        "{} {:width$}  {seeds:>12} {:>9} {:>15} msgs  {}",
        word(status),
        task.scenario.name,
        wall(tally.wall_ns),
        grouped(tally.messages),
        tally.fingerprint
    );
    if tally.failed + tally.inconclusive > 0 {
        let others =
            if tally.inconclusive > 0 { format!(", {} inconclusive", tally.inconclusive) } else { String::new() };
        line.push_str(&format!("\n{:12} {} failed{others}", "", grouped(tally.failed)));
    }
    if let Some(goodput) = tally.goodput {
        line.push_str(&format!("\n{:12} goodput {goodput}", ""));
    }
    if let Some(remark) = remark {
        line.push_str(&format!("\n{:12} {remark}", ""));
    }
    // What no single run shows can't be reproduced by one.
    if status.is_failure() && tally.failed == 0 {
        let path = quoted(&task.scenario.path.to_string_lossy());
        let engine = on_engine(task);
        line.push_str(&format!("\n   Reproduce: {program} run {path} --seeds {}{engine}", task.seeds.range()));
    }
    line
}

/// What there is to say about a failing run. `evidence` gives the trace line of an entry, if it is known.
#[must_use]
pub fn failure_lines<S: System>(
    task: &Task<'_, S>,
    ran: &Ran,
    program: &str,
    evidence: &[(crate::EntryId, String)],
) -> String {
    let (name, seed) = (&task.scenario.name, ran.outcome.seed);
    let dim = Style::new().dimmed();
    let mut text = format!("{} {name}  seed {seed}  {dim}{}{dim:#}\n", word(ran.status), ran.outcome.fingerprint);
    for violation in &ran.outcome.violations {
        text.push_str(&violation_lines(violation, evidence));
    }
    if let Some(remark) = &ran.remark {
        text.push_str(&format!("{:12} {remark}\n", ""));
    }
    let (path, engine) = (quoted(&task.scenario.path.to_string_lossy()), on_engine(task));
    text.push_str(&format!("   Reproduce: {program} run {path} --seed {seed}{engine}\n"));
    let causes =
        if ran.outcome.violations.iter().any(|violation| !violation.evidence.is_empty()) { " --causes" } else { "" };
    text.push_str(&format!("       Trace: {program} trace {path} --seed {seed}{causes}{engine}"));
    text
}

/// The flag that puts a run on the same engine again.
fn on_engine<S: System>(task: &Task<'_, S>) -> String {
    let engine = task.scenario.engine.name;
    if engine == "world" { String::new() } else { format!(" --engine {engine}") }
}

fn violation_lines(violation: &Violation, evidence: &[(crate::EntryId, String)]) -> String {
    let bold = Style::new().bold();
    let at = violation.at;
    let mut text = format!("{:12} {bold}{}{bold:#} at {at}: {}\n", "", violation.property, violation.message);
    for id in violation.evidence.iter().take(EVIDENCE_SHOWN) {
        match evidence.iter().find(|(known, _)| known == id) {
            Some((_, line)) => text.push_str(&format!("{:14} {line}\n", "")),
            None => text.push_str(&format!("{:14} #{}\n", "", id.0)),
        }
    }
    let more = violation.evidence.len().saturating_sub(EVIDENCE_SHOWN);
    if more > 0 {
        text.push_str(&format!("{:14} and {more} more\n", ""));
    }
    text
}

/// So many groups of numbers of a node are shown to people.
const GROUPS_SHOWN: usize = 24;

/// What the nodes of one run have done, for people: a line for each group of numbers, the first 24 of each node; what is zero is left
/// out. Numbers whose name ends with `_ns` are times.
#[must_use]
pub fn account_lines(accounts: &BTreeMap<String, Value>) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, account) in accounts {
        let groups = groups(account);
        let shown = groups.iter().take(GROUPS_SHOWN);
        lines.extend(shown.map(|(group, numbers)| format!("{:12} {node} {group}{numbers}", "")));
        if let Some(more @ 1..) = groups.len().checked_sub(GROUPS_SHOWN) {
            lines.push(format!("{:12} {node} and {more} more; `--json` shows all", ""));
        }
    }
    lines
}

/// The numbers of an object, those of each object in it apart.
fn groups(account: &Value) -> Vec<(String, String)> {
    let mut groups = Vec::new();
    let mut open = vec![(String::new(), account)];
    while let Some((name, value)) = open.pop() {
        let Value::Object(object) = value else { continue };
        let numbers: Vec<String> =
            object.iter().filter_map(|(key, value)| Some(number(key, value.as_u64()?))).flatten().collect();
        if !numbers.is_empty() {
            let title = if name.is_empty() { String::new() } else { format!("{name}: ") };
            groups.push((title, numbers.join(", ")));
        }
        let inner = object.iter().filter(|(_, value)| value.is_object());
        let named = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name} {key}") };
        open.extend(inner.rev().map(|(key, value)| (named(key), value)));
    }
    groups
}

fn number(key: &str, number: u64) -> Option<String> {
    let text = match key.strip_suffix("_ns") {
        Some(key) => format!("{} {}", key.replace('_', " "), Span::from_millis(number / 1_000_000)),
        None => format!("{} {}", grouped(number), key.replace('_', " ")),
    };
    (number > 0).then_some(text)
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=\\".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_told_in_groups() {
        let account = serde_json::json!({
            "starts": 1_200, "retries": 0, "since_ns": 1_500_000_000u64,
            "failures": { "network": 3 }, "losses": {},
            "workers": { "w0": { "uptime_ns": 60_000_000_000u64, "succeeded": 7 } },
        });
        let lines = account_lines(&[("c0".to_owned(), account)].into());
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
        let expected =
            ["c0 1,200 starts, since 1.5s", "c0 failures: 3 network", "c0 workers w0: uptime 60s, 7 succeeded"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_large_account_is_cut_and_says_so() {
        let workers: BTreeMap<String, Value> =
            (10..40).map(|worker| (format!("w{worker}"), serde_json::json!({ "succeeded": 1 }))).collect();
        let lines = account_lines(&[("c0".to_owned(), serde_json::json!({ "workers": workers }))].into());
        assert_eq!(lines.len(), GROUPS_SHOWN + 1);
        assert!(lines[GROUPS_SHOWN].ends_with("c0 and 6 more; `--json` shows all"), "{}", lines[GROUPS_SHOWN]);
        let few = account_lines(&[("c0".to_owned(), serde_json::json!({ "starts": 1 }))].into());
        assert_eq!(few.len(), 1);
    }

    #[test]
    fn numbers_times_and_paths_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1_234_000_000, 61_000_000_000].map(wall), ["1.234s", "1m01s"]);
        assert_eq!(["a/b.toml", "it's here"].map(quoted), ["a/b.toml", r"'it'\''s here'"]);
    }
}
