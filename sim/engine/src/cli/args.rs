//! The arguments of every command.

use crate::scenario::{Duration, Seed};
use crate::sweep::Seeds;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Deterministic simulation and fault injection.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs scenarios, each with many seeds
    Run(RunArguments),
    /// Runs failures again; without a file those of the last sweep
    Replay(ReplayArguments),
    /// Shows the history of one run
    Trace(TraceArguments),
    /// Searches everything that a tiny scenario can come to
    Explore(ExploreArguments),
    /// Checks scenario files without running them
    Check(CheckArguments),
    /// Lists scenarios
    List(PathArguments),
    /// Prints the JSON Schema of scenario files
    Schema,
    /// Measures how fast the world is
    Bench(BenchArguments),
}

impl Command {
    /// The engine asked for.
    pub(crate) fn engine(&self) -> Option<&str> {
        match self {
            Self::Run(arguments) => arguments.engine.as_deref(),
            Self::Replay(arguments) => arguments.engine.as_deref(),
            Self::Trace(arguments) => arguments.engine.as_deref(),
            Self::Check(arguments) => arguments.engine.as_deref(),
            Self::Explore(_) | Self::List(_) | Self::Schema | Self::Bench(_) => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Scenario files, or folders of them
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Only this seed, such as 7 or 0x7
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) seed: Option<Seed>,
    /// These seeds, without the last: 0..1000
    #[arg(long, value_name = "FIRST..END")]
    pub(crate) seeds: Option<Seeds>,
    /// How many runs at once; all cores by default
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// What drives the processes: the simulated `world`, or the production shell under a simulated runtime, the `stack`
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// One line of JSON per run, and one for the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Stops after so many failing runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_fail: Option<u64>,
    /// Where results are kept
    #[arg(long, value_name = "FOLDER", default_value = "squall.out")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A record of a failure, or the scenario file of a bug
    pub(crate) file: Option<PathBuf>,
    /// What drives the processes, as it did when the failure was found
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// Where results are kept
    #[arg(long, value_name = "FOLDER", default_value = "squall.out")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    /// A scenario file
    pub(crate) file: PathBuf,
    /// What drives the processes
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// The seed; that of the bug, or 0, by default
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
    /// One line of JSON per entry
    #[arg(long)]
    pub(crate) json: bool,
    /// Only the last so many entries
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only the evidence of violations, and everything that led to it
    #[arg(long)]
    pub(crate) causes: bool,
    /// Only at these nodes or groups
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Vec<String>,
    /// Only from this simulated time on
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Duration>,
    /// Only up to this simulated time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Duration>,
    /// No messages, only events and what the harness did
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Instead of entries a table of what happened, such as `tasks`: a line per attempt, with its fate
    #[arg(long, value_name = "NAME", conflicts_with_all = ["causes", "quiet"])]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExploreArguments {
    /// A scenario file with a table `[explore]`
    pub(crate) file: PathBuf,
    /// How many threads; all cores by default. The result is the same
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// The seed of the machines' own randomness; that of the bug, or 0, by default
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
    /// One line of JSON, with the counterexample as a trace
    #[arg(long)]
    pub(crate) json: bool,
    /// No messages in the counterexample, only events and what the search did
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PathArguments {
    /// Scenario files, or folders of them
    #[arg(default_value = "scenarios")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Scenario files, or folders of them
    #[arg(default_value = "scenarios")]
    pub(crate) paths: Vec<PathBuf>,
    /// What would drive the processes; tells what of a file it can't express
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// How much time each round simulates
    #[arg(long, value_name = "TIME")]
    pub(crate) simulated: Option<Duration>,
}
