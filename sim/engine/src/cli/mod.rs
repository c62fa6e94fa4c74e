//! The command line of a system, in one line: `squall::cli::main::<MySystem>()`.

mod args;
mod bench;
mod check;
mod replay;
mod run;
mod select;
mod trace;
mod ui;

pub use run::Totals;
pub(crate) use select::scenario_files;

use crate::System;
use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use ui::Ui;

/// Everything held.
pub(crate) const OK: u8 = 0;
/// Usage, or bad input.
pub(crate) const BAD_INPUT: u8 = 2;
/// Nothing was selected.
pub(crate) const NOTHING: u8 = 4;

/// Set when the user interrupts.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command line with this process's arguments.
///
/// Exit codes: 0 all held, 2 usage or bad input, 4 nothing selected, 70 a bug of ours, 100 a property was violated, 102
/// inconclusive, 103 not deterministic, 130 interrupted.
#[must_use]
pub fn main<S: System>() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe is no reason to fail once more.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_INPUT));
        }
    };
    let interrupted = || {
        if STOP.swap(true, Ordering::Relaxed) {
            // Asked twice: at once.
            std::process::exit(130);
        }
    };
    // Without a handler an interruption ends the process at once, which is no worse than not running at all.
    drop(ctrlc::try_set_handler(interrupted));
    let mut ui = Ui::of_process();
    ExitCode::from(dispatch::<S>(arguments.command, &mut ui))
}

fn dispatch<S: System>(command: Command, ui: &mut Ui) -> u8 {
    match command {
        Command::Run(arguments) => run::run::<S>(&arguments, ui, &STOP),
        Command::Replay(arguments) => replay::replay::<S>(&arguments, ui, &STOP),
        Command::Trace(arguments) => trace::trace::<S>(&arguments, ui, &STOP),
        Command::Check(arguments) => check::check::<S>(&arguments, ui),
        Command::List(arguments) => check::list::<S>(&arguments, ui),
        Command::Bench(arguments) => bench::bench::<S>(&arguments, ui),
        Command::Schema => {
            ui.line(format_args!("{:#}", crate::scenario::schema::<S>().as_value()));
            OK
        }
    }
}
