//! The command line of a system, in one line: `squall::cli::main::<MySystem>()`.

mod args;
mod bench;
mod check;
mod elsewhere;
mod explore;
mod replay;
mod run;
mod select;
mod trace;
mod ui;

pub use run::Totals;
pub(crate) use select::scenario_files;

use crate::{Engine, Program, System};
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

/// Runs the command line of the simulated world with this process's arguments; see [`main_of`].
#[must_use]
pub fn main<S: System>() -> ExitCode {
    main_of(&Program::<S>::default())
}

/// Runs a command line with this process's arguments.
///
/// Exit codes: 0 all held, 2 usage or bad input, 4 nothing selected, 70 a bug of ours, 100 a property was violated, 102
/// inconclusive, 103 not deterministic, 130 interrupted.
#[must_use]
pub fn main_of<S: System>(program: &Program<S>) -> ExitCode {
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
    let engine = arguments.command.engine().unwrap_or(program.engine.name);
    if engine == program.engine.name {
        return ExitCode::from(dispatch(arguments.command, program.engine, &mut ui));
    }
    if let Some(other) = program.elsewhere.iter().find(|other| other.engine == engine) {
        return ExitCode::from(elsewhere::hand_over(other, &mut ui));
    }
    let known = program.elsewhere.iter().map(|other| other.engine);
    let known: Vec<&str> = std::iter::once(program.engine.name).chain(known).collect();
    ui.error(format_args!("no engine is called `{engine}`; there is {}", known.join(", ")));
    ExitCode::from(BAD_INPUT)
}

fn dispatch<S: System>(command: Command, engine: Engine<S>, ui: &mut Ui) -> u8 {
    match command {
        Command::Run(arguments) => run::run(&arguments, engine, ui, &STOP),
        Command::Replay(arguments) => replay::replay(&arguments, engine, ui, &STOP),
        Command::Trace(arguments) => trace::trace(&arguments, engine, ui, &STOP),
        Command::Explore(arguments) => explore::explore::<S>(&arguments, ui, &STOP),
        Command::Check(arguments) => check::check(&arguments, engine, ui),
        Command::List(arguments) => check::list::<S>(&arguments, ui),
        Command::Bench(arguments) => bench::bench::<S>(&arguments, ui),
        Command::Schema => {
            ui.line(format_args!("{:#}", crate::scenario::schema::<S>().as_value()));
            OK
        }
    }
}
