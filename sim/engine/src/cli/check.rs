//! `check` and `list`: files only, nothing runs.

use crate::cli::OK;
use crate::cli::args::{CheckArguments, PathArguments};
use crate::cli::select::{scenarios, scenarios_on};
use crate::cli::ui::Ui;
use crate::{Engine, System};

pub(crate) fn check<S: System>(arguments: &CheckArguments, engine: Engine<S>, ui: &mut Ui) -> u8 {
    match scenarios_on(&arguments.paths, engine, ui) {
        Ok(scenarios) => {
            let count = scenarios.len();
            ui.line(format_args!("{count} scenario {} fine", if count == 1 { "file is" } else { "files are" }));
            OK
        }
        Err(code) => code,
    }
}

pub(crate) fn list<S: System>(arguments: &PathArguments, ui: &mut Ui) -> u8 {
    let scenarios = match scenarios::<S>(&arguments.paths, ui) {
        Ok(scenarios) => scenarios,
        Err(code) => return code,
    };
    let width = scenarios.iter().map(|scenario| scenario.name.chars().count()).max().unwrap_or(0);
    for scenario in &scenarios {
        let guards = scenario.guards.join(" ");
        let nodes = scenario.plan.nodes.len();
        let violates = scenario.violates.map(|id| format!(" (violates {id})")).unwrap_or_default();
        let (name, seeds, title) = (&scenario.name, scenario.seeds, &scenario.title);
        ui.line(format_args!("{name:width$}  {seeds:>5} seeds  {nodes:>5} nodes  {title}{violates}  [{guards}]"));
    }
    OK
}
