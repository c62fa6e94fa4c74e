//! `trace`: the history of one run.

use crate::cli::args::TraceArguments;
use crate::cli::ui::Ui;
use crate::cli::{BAD_INPUT, OK};
use crate::report::{Causes, TableOptions, TraceOptions, trace as write_trace, write_table};
use crate::scenario::Nodes;
use crate::{Engine, NodeSet, Scenario, System};
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::sync::atomic::AtomicBool;

pub(crate) fn trace<S: System>(arguments: &TraceArguments, engine: Engine<S>, ui: &mut Ui, stop: &AtomicBool) -> u8 {
    let scenario = match Scenario::<S>::load(&arguments.file).and_then(|scenario| scenario.on(engine)) {
        Ok(scenario) => scenario,
        Err(diagnosis) => {
            ui.diagnoses(&[diagnosis]);
            return BAD_INPUT;
        }
    };
    let own = scenario.regress.as_ref().map_or(0, |regress| regress.seed.0);
    let seed = arguments.seed.map_or(own, |seed| seed.0);
    let nodes = match selected(&scenario, &arguments.node) {
        Ok(nodes) => nodes,
        Err(text) => {
            ui.error(format_args!("--node: {text}"));
            return BAD_INPUT;
        }
    };
    if let Some(name) = &arguments.table {
        return table(arguments, name, &scenario, seed, nodes, (ui, stop));
    }
    // A first run tells what is evidence and what led to it.
    let (causes, outcome) = Causes::of(&scenario, seed, stop);
    let marked: BTreeSet<_> = outcome.violations.iter().flat_map(|violation| violation.evidence.clone()).collect();
    let only = arguments.causes.then(|| causes.lead_to(marked.iter().copied()));
    drop(causes);
    if arguments.causes && marked.is_empty() {
        ui.note(format_args!("note: nothing was violated, so there is no evidence to be led to"));
    }
    let options = TraceOptions {
        json: arguments.json,
        limit: arguments.limit,
        from: arguments.from.map(|from| from.0),
        until: arguments.until.map(|until| until.0),
        nodes,
        quiet: arguments.quiet,
        marked,
        only,
    };
    let mut out = BufWriter::new(ui.out());
    let written =
        write_trace(&scenario, seed, &options, stop, &mut out).and_then(|traced| out.flush().map(|()| traced));
    drop(out);
    let Ok((outcome, _)) = written else { return OK };
    for violation in &outcome.violations {
        ui.note(format_args!("{} at {}: {}", violation.property, violation.at, violation.message));
    }
    ui.note(format_args!("seed {seed}: {}, fingerprint {}", outcome.verdict.name(), outcome.fingerprint));
    OK
}

/// Writes a table instead of entries.
fn table<S: System>(
    arguments: &TraceArguments,
    name: &str,
    scenario: &Scenario<S>,
    seed: u64,
    nodes: Option<NodeSet>,
    (ui, stop): (&mut Ui, &AtomicBool),
) -> u8 {
    let Some(table) = scenario.system.table(name) else {
        let known = S::TABLES.join(", ");
        ui.error(format_args!("--table: {} has no table `{name}` here; tables: {known}", scenario.name));
        return BAD_INPUT;
    };
    let options = TableOptions {
        json: arguments.json,
        limit: arguments.limit,
        from: arguments.from.map(|from| from.0),
        until: arguments.until.map(|until| until.0),
        nodes,
    };
    let mut out = BufWriter::new(ui.out());
    let written =
        write_table(scenario, seed, table, &options, stop, &mut out).and_then(|written| out.flush().map(|()| written));
    drop(out);
    if let Ok((outcome, _)) = written {
        ui.note(format_args!("seed {seed}: {}, fingerprint {}", outcome.verdict.name(), outcome.fingerprint));
    }
    OK
}

fn selected<S: System>(scenario: &Scenario<S>, names: &[String]) -> Result<Option<NodeSet>, String> {
    if names.is_empty() {
        return Ok(None);
    }
    scenario.nodes(&Nodes::List(names.to_vec())).map(Some).map_err(|invalid| match invalid.hint {
        Some(hint) => format!("{}; {hint}", invalid.problem),
        None => invalid.problem,
    })
}
