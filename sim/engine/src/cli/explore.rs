//! `explore`: everything that a tiny scenario can come to.

use crate::cli::args::ExploreArguments;
use crate::cli::run::cores;
use crate::cli::ui::Ui;
use crate::cli::{BAD_INPUT, OK};
use crate::explore::{Counterexample, End, ExploreOptions, Explored, explore as search};
use crate::report::{counted, grouped, quoted, wall, word};
use crate::scenario::{Memory, Status, read};
use crate::sweep::Stopwatch;
use crate::{Diagnosis, Scenario, System};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

pub(crate) fn explore<S: System>(arguments: &ExploreArguments, ui: &mut Ui, stop: &AtomicBool) -> u8 {
    let scenario = match Scenario::<S>::load(&arguments.file) {
        Ok(scenario) => scenario,
        Err(diagnosis) => {
            ui.diagnoses(&[diagnosis]);
            return BAD_INPUT;
        }
    };
    let own = scenario.regress.as_ref().map_or(0, |regress| regress.seed.0);
    let seed = arguments.seed.map_or(own, |seed| seed.0);
    let options = ExploreOptions { jobs: arguments.jobs.map_or_else(cores, usize::from), seed, stop };
    let progress = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} states  {elapsed}  {msg}") {
        progress.set_style(style);
    }
    let watch = Stopwatch::start();
    let explored = search(&scenario, &options, |states, depth| {
        progress.set_position(states);
        progress.set_message(format!("depth {depth}"));
    });
    let wall_ns = watch.nanos();
    progress.finish_and_clear();
    let explored = match explored {
        Ok(explored) => explored,
        Err(invalid) => {
            let text = read(&scenario.path).unwrap_or_default();
            ui.diagnoses(&[Diagnosis::of_keys(&scenario.path, &text, vec![invalid])]);
            return BAD_INPUT;
        }
    };
    let status = status(&explored.end, scenario.violates);
    if arguments.json {
        ui.line(format_args!("{}", json_line(&scenario, &explored, status, seed, wall_ns)));
    } else {
        if let End::Violated(found) = &explored.end {
            for line in shown(found, arguments.quiet) {
                ui.line(format_args!("{line}"));
            }
        }
        tell(&scenario, &explored, status, seed, wall_ns, ui);
    }
    if status == Status::Pass { OK } else { status.exit_code() }
}

/// What a search shows about its scenario.
fn status(end: &End, violates: Option<&str>) -> Status {
    match (end, violates) {
        (End::Complete, None) => Status::Pass,
        (End::Complete, Some(_)) => Status::NotSeen,
        (End::Limit(_), _) => Status::Inconclusive,
        (End::Interrupted, _) => Status::Interrupted,
        (End::Violated(found), Some(wanted)) if found.breach.property == wanted => Status::Pass,
        (End::Violated(_), _) => Status::Violated,
    }
}

fn a_second(count: u64, wall_ns: u64) -> u64 {
    (u128::from(count) * 1_000_000_000 / u128::from(wall_ns.max(1))) as u64
}

fn tell<S: System>(scenario: &Scenario<S>, explored: &Explored, status: Status, seed: u64, wall_ns: u64, ui: &mut Ui) {
    let (name, states) = (&scenario.name, explored.states);
    ui.line(format_args!(
        "{} {name}  {}, {}, depth {}  {}",
        word(status),
        counted(states, "state"),
        counted(explored.moves, "move"),
        explored.depth,
        ended(&explored.end, scenario.violates),
    ));
    ui.line(format_args!(
        "{:12} {}, {} states/s, {} bytes a state, {} at most, {} of machines",
        "",
        wall(wall_ns),
        grouped(a_second(states, wall_ns)),
        explored.memory / states.max(1),
        Memory(explored.memory >> 10 << 10),
        counted(explored.steps, "different step"),
    ));
    if status.is_failure() {
        let (path, of_seed) = (
            quoted(&scenario.path.to_string_lossy()),
            if seed == 0 { String::new() } else { format!(" --seed {seed}") },
        );
        ui.line(format_args!("   Reproduce: {} explore {path}{of_seed}", ui.program.clone()));
    }
}

/// The lines of a counterexample; if `quiet`, those of its messages are left out.
fn shown(found: &Counterexample, quiet: bool) -> impl Iterator<Item = &str> {
    let is_message = |entry: &Value| matches!(entry["what"].as_str(), Some("sent" | "delivered" | "dropped"));
    let lines = found.trace.iter().zip(&found.entries);
    lines.filter(move |(_, entry)| !(quiet && is_message(entry))).map(|(line, _)| line.as_str())
}

/// How a search ended, for people.
fn ended(end: &End, violates: Option<&str>) -> String {
    match end {
        End::Complete => match violates {
            None => "everything within the bounds".to_owned(),
            Some(wanted) => format!("everything within the bounds, and nothing violates {wanted}"),
        },
        End::Limit(limit) => format!("not everything: {limit}"),
        End::Interrupted => "not everything: interrupted".to_owned(),
        End::Violated(Counterexample { breach, moves, .. }) => {
            format!("{} after {}: {}", breach.property, counted(u64::from(*moves), "move"), breach.message)
        }
    }
}

fn json_line<S: System>(scenario: &Scenario<S>, explored: &Explored, status: Status, seed: u64, wall_ns: u64) -> Value {
    let (verdict, remark, violation) = match &explored.end {
        End::Complete => ("pass", None, None),
        End::Limit(limit) => ("inconclusive", Some(limit.as_str()), None),
        End::Interrupted => ("inconclusive", Some("interrupted"), None),
        End::Violated(found) => ("violated", None, Some(found)),
    };
    let violations: Vec<Value> = violation
        .iter()
        .map(|found| {
            json!({
                "property": found.breach.property,
                "at_ns": found.at_ns,
                "message": found.breach.message,
                "evidence": [found.entries.len()],
                "moves": found.moves,
                "trace": found.entries,
            })
        })
        .collect();
    json!({
        "scenario": scenario.name,
        "seed": seed,
        "engine": "explore",
        "verdict": verdict,
        "status": status,
        "states": explored.states,
        "moves": explored.moves,
        "depth": explored.depth,
        "steps": explored.steps,
        "states_per_second": a_second(explored.states, wall_ns),
        "memory_bytes": explored.memory,
        "bytes_per_state": explored.memory / explored.states.max(1),
        "wall_ns": wall_ns,
        "violations": violations,
        "remark": remark,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Breach;

    #[test]
    fn a_limit_is_never_a_pass_and_a_wanted_violation_is_one() {
        let found = |property| {
            let breach = Breach::of(property, "seen");
            End::Violated(Counterexample { breach, moves: 3, at_ns: 0, trace: Vec::new(), entries: Vec::new() })
        };
        let limit = End::Limit("memory".to_owned());
        for (end, violates, code) in [
            (End::Complete, None, 0),
            (End::Complete, Some("ME1"), 100),
            (limit.clone(), None, 102),
            (limit, Some("ME1"), 102),
            (End::Interrupted, None, 130),
            (found("ME1"), Some("ME1"), 0),
            (found("RB1"), Some("ME1"), 100),
            (found("ME1"), None, 100),
        ] {
            assert_eq!(status(&end, violates).exit_code(), code, "{end:?} {violates:?}");
        }
    }

    #[test]
    fn a_quiet_counterexample_has_no_messages() {
        let breach = Breach::of("ME1", "seen");
        let (trace, entries) = ["truth", "sent", "delivered", "dropped", "event"]
            .map(|what| (what.to_owned(), json!({ "what": what, "kind": "echo" })))
            .into_iter()
            .unzip();
        let found = Counterexample { breach, moves: 3, at_ns: 0, trace, entries };
        assert_eq!(shown(&found, true).collect::<Vec<_>>(), ["truth", "event"]);
        assert_eq!(shown(&found, false).count(), 5);
    }

    #[test]
    fn rates_are_whole_and_safe_at_their_ends() {
        assert_eq!([a_second(3, 0), a_second(3, 1_500_000_000)], [3_000_000_000, 2]);
    }
}
