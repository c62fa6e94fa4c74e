//! The history of a run as text or JSON, one entry a line.

use crate::history::DownCause;
use crate::scenario::{Scenario, Status};
use crate::{DiskState, Entry, EntryId, Fact, NodeId, NodeSet, Outcome, Phase, RunOptions, Scene, System, Truth};
use serde::Serialize;
use serde_json::{Map, Value, json};
use squall_machine::{Kind, Span, Time};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which entries of a history are shown, and how.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    /// As JSON instead of text.
    pub json: bool,
    /// Only the last so many.
    pub limit: Option<usize>,
    /// Only from this time on.
    pub from: Option<Span>,
    /// Only up to this time.
    pub until: Option<Span>,
    /// Only at these nodes.
    pub nodes: Option<NodeSet>,
    /// No messages.
    pub quiet: bool,
    /// Entries to be marked: the evidence of violations.
    pub marked: BTreeSet<EntryId>,
    /// Only these entries.
    pub only: Option<BTreeSet<EntryId>>,
}

impl TraceOptions {
    fn shows<S: System>(&self, entry: &Entry<'_, S>) -> bool {
        let message = matches!(entry.fact, Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. });
        !(self.quiet && message)
            && self.from.is_none_or(|from| entry.at >= Time::ZERO + from)
            && self.until.is_none_or(|until| entry.at <= Time::ZERO + until)
            && self.nodes.as_ref().is_none_or(|nodes| nodes.contains(entry.node))
            && self.only.as_ref().is_none_or(|only| only.contains(&entry.id))
    }
}

/// What led to what in one history: the cause of each entry.
#[derive(Clone, Debug, Default)]
pub struct Causes(Vec<u64>);

impl Causes {
    /// Runs a seed to learn its causes.
    #[must_use]
    pub fn of<S: System>(scenario: &Scenario<S>, seed: u64, stop: &AtomicBool) -> (Self, Outcome) {
        let mut causes = Vec::new();
        let mut watch = |entry: &Entry<'_, S>, _: &Scene<'_, S>| causes.push(entry.cause.0);
        let options = RunOptions { watch: Some(&mut watch), stop: Some(stop), ..RunOptions::default() };
        let outcome = scenario.run(seed, options);
        (Self(causes), outcome)
    }

    /// These entries, and everything that led to them.
    #[must_use]
    pub fn lead_to(&self, entries: impl IntoIterator<Item = EntryId>) -> BTreeSet<EntryId> {
        let mut found = BTreeSet::new();
        for EntryId(mut id) in entries {
            while id > 0 && found.insert(EntryId(id)) {
                id = usize::try_from(id - 1).ok().and_then(|index| self.0.get(index)).copied().unwrap_or(0);
            }
        }
        found
    }
}

/// Runs a seed and writes its history.
///
/// # Errors
/// If it can't be written; the run ends early then.
pub fn trace<S: System>(
    scenario: &Scenario<S>,
    seed: u64,
    options: &TraceOptions,
    stop: &AtomicBool,
    out: &mut dyn Write,
) -> io::Result<(Outcome, Status)> {
    let mut tail: VecDeque<String> = VecDeque::new();
    let mut written = Ok(());
    let mut watch = |entry: &Entry<'_, S>, scene: &Scene<'_, S>| {
        if written.is_err() || !options.shows(entry) {
            return;
        }
        let marked = options.marked.contains(&entry.id);
        let line =
            if options.json { json_entry(entry, scene, marked).to_string() } else { text_line(entry, scene, marked) };
        match options.limit {
            Some(limit) => {
                tail.push_back(line);
                if tail.len() > limit {
                    tail.pop_front();
                }
            }
            None => written = writeln!(out, "{line}"),
        }
        if written.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let run_options = RunOptions { watch: Some(&mut watch), stop: Some(stop), ..RunOptions::default() };
    let outcome = scenario.run(seed, run_options);
    written?;
    for line in tail {
        writeln!(out, "{line}")?;
    }
    let status = scenario.judge(&outcome);
    Ok((outcome, status))
}

/// The lines of some entries of a run, such as the evidence of a violation.
#[must_use]
pub fn entry_lines<S: System>(
    scenario: &Scenario<S>,
    seed: u64,
    wanted: &BTreeSet<EntryId>,
    stop: &AtomicBool,
) -> Vec<(EntryId, String)> {
    let mut lines = Vec::new();
    if wanted.is_empty() {
        return lines;
    }
    let mut watch = |entry: &Entry<'_, S>, scene: &Scene<'_, S>| {
        if wanted.contains(&entry.id) {
            lines.push((entry.id, text_line(entry, scene, false).trim_start().to_owned()));
        }
    };
    let options = RunOptions { watch: Some(&mut watch), stop: Some(stop), ..RunOptions::default() };
    drop(scenario.run(seed, options));
    lines
}

/// One entry for people: time, node, entry and its cause, what.
#[must_use]
pub(crate) fn text_line<S: System>(entry: &Entry<'_, S>, scene: &Scene<'_, S>, marked: bool) -> String {
    let nanos = entry.at.as_nanos();
    let mark = if marked { ">>" } else { "  " };
    let width = scene.plan.nodes.iter().map(String::len).max().unwrap_or(0).min(24);
    let mut line = format!(
        "{mark} {:>5}.{:09}  {:width$}  {:>9} {:<11} ",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000,
        name(scene, entry.node),
        format!("#{}", entry.id.0),
        if entry.cause.0 == 0 { String::new() } else { format!("<- #{}", entry.cause.0) },
    );
    line.push_str(&what(entry, scene));
    line
}

fn name<'a, S: System>(scene: &Scene<'a, S>, node: NodeId) -> &'a str {
    scene.plan.nodes.get(node.index()).map_or("-", String::as_str)
}

fn what<S: System>(entry: &Entry<'_, S>, scene: &Scene<'_, S>) -> String {
    match &entry.fact {
        Fact::Truth(truth) => format!("* {}", truth_text(truth, scene)),
        Fact::Sent { hop, message } => {
            format!("{} -> {}{}", message.kind_name(), name(scene, hop.to), fields(message))
        }
        Fact::Delivered { hop, message } => {
            format!("{} <- {}{}", message.kind_name(), name(scene, hop.from), fields(message))
        }
        Fact::Dropped { hop, reason } => {
            let kind = <crate::MessageOf<S> as Kind>::NAMES.get(hop.kind).copied().unwrap_or("message");
            format!("{kind} -x {} ({})", name(scene, hop.to), reason.name())
        }
        Fact::Event { event, .. } => format!("= {}{}", event.kind_name(), fields(event)),
    }
}

/// The fields of a message or event: `member=r3 incarnation=5`.
fn fields<T: Serialize>(value: &T) -> String {
    let Ok(json) = serde_json::to_value(value) else { return String::new() };
    let mut text = String::new();
    match crate::scenario::untagged(&json) {
        Value::Object(object) => {
            for (key, value) in object {
                let _ = match value {
                    Value::String(word) if !word.is_empty() && !word.contains(' ') => write!(text, " {key}={word}"),
                    other => write!(text, " {key}={other}"),
                };
            }
        }
        Value::Null | Value::String(_) => {}
        other => drop(write!(text, " {other}")),
    }
    text
}

fn truth_text<S: System>(truth: &Truth, scene: &Scene<'_, S>) -> String {
    match truth {
        Truth::Phase { phase, core } => {
            let phase = phase_name(*phase);
            if core.is_empty() {
                return format!("phase {phase}");
            }
            let core: Vec<&str> = core.iter().map(|node| name(scene, node)).collect();
            format!("phase {phase}, core: {}", core.join(" "))
        }
        Truth::Up { life, records, torn_tail, disk_lost } => {
            let torn = if *torn_tail { ", a torn record dropped" } else { "" };
            let lost = if *disk_lost { ", its disk lost" } else { "" };
            format!("up, life {life}, {records} records found{torn}{lost}")
        }
        Truth::Down { lost, cause } => format!("down ({}), {lost} unsynced records lost", down_name(*cause)),
        Truth::Pause => "pause".to_owned(),
        Truth::Resume => "resume".to_owned(),
        Truth::Slow { step } if *step == Span::ZERO => "full speed".to_owned(),
        Truth::Slow { step } => format!("slow, {step} a step"),
        Truth::Request { name } => format!("request {name}"),
        Truth::Link { fault, begins } => {
            format!("links: fault {} {}", u64::from(*fault) + 1, if *begins { "begins" } else { "ends" })
        }
        Truth::Clock { drift_ppm, wall_offset, frozen, stepped } => {
            let frozen = if *frozen { ", frozen" } else { "" };
            let stepped = if *stepped { ", stepped" } else { "" };
            format!("clock: drift {drift_ppm} ppm, calendar off by {wall_offset}ns{frozen}{stepped}")
        }
        Truth::Disk { state } => format!("disk {}", disk_name(*state)),
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::WarmUp => "warm_up",
        Phase::Faults => "faults",
        Phase::Stabilisation => "stabilisation",
        Phase::Liveness => "liveness",
    }
}

const fn down_name(cause: DownCause) -> &'static str {
    match cause {
        DownCause::Crash => "crash",
        DownCause::Abort => "abort",
        DownCause::Unreadable => "unreadable",
        DownCause::Frozen => "frozen",
    }
}

const fn disk_name(state: DiskState) -> &'static str {
    match state {
        DiskState::Working => "working",
        DiskState::Full => "full",
        DiskState::Stuck => "stuck",
    }
}

/// One entry for programs.
pub(crate) fn json_entry<S: System>(entry: &Entry<'_, S>, scene: &Scene<'_, S>, marked: bool) -> Value {
    let mut line = Map::new();
    line.insert("id".to_owned(), json!(entry.id.0));
    line.insert("at_ns".to_owned(), json!(entry.at.as_nanos()));
    line.insert("node".to_owned(), json!(name(scene, entry.node)));
    line.insert("cause".to_owned(), json!(entry.cause.0));
    if marked {
        line.insert("evidence".to_owned(), json!(true));
    }
    let (what, kind, body) = match &entry.fact {
        Fact::Truth(truth) => ("truth", Truth::NAMES[truth.kind()], json!(truth_text(truth, scene))),
        Fact::Sent { hop, message } => {
            line.insert("to".to_owned(), json!(name(scene, hop.to)));
            ("sent", message.kind_name(), json!(message))
        }
        Fact::Delivered { hop, message } => {
            line.insert("from".to_owned(), json!(name(scene, hop.from)));
            ("delivered", message.kind_name(), json!(message))
        }
        Fact::Dropped { hop, reason } => {
            line.insert("to".to_owned(), json!(name(scene, hop.to)));
            let kind = <crate::MessageOf<S> as Kind>::NAMES.get(hop.kind).copied().unwrap_or("message");
            ("dropped", kind, json!(reason.name()))
        }
        Fact::Event { event, .. } => ("event", event.kind_name(), json!(event)),
    };
    line.insert("what".to_owned(), json!(what));
    line.insert("kind".to_owned(), json!(kind));
    line.insert("body".to_owned(), body);
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_led_to_an_entry_is_followed_to_the_start_of_the_run() {
        let causes = Causes(vec![0, 1, 0, 2, 3]);
        assert_eq!(causes.lead_to([EntryId(4)]), [1, 2, 4].map(EntryId).into());
        assert_eq!(causes.lead_to([EntryId(5), EntryId(99)]), [3, 5, 99].map(EntryId).into());
        assert!(causes.lead_to([]).is_empty());
    }
}
