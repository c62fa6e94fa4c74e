//! What drives the processes of a run: the world, or something else that takes the same scenarios.

use crate::{InvalidKey, Outcome, Plan, RunOptions, Scenario, System, run};
use std::fmt;

/// Plays a plan with a seed.
pub type Play<S> = for<'a> fn(&'a S, &'a Plan, u64, RunOptions<'a, S>) -> Outcome;

/// What drives the processes of a run.
pub struct Engine<S: System> {
    /// Its name, as in `--engine stack`.
    pub name: &'static str,
    /// What of a scenario it can't express: each key with the reason. Nothing is ever left out silently.
    pub refuses: fn(&Scenario<S>) -> Vec<InvalidKey>,
    /// Plays a plan.
    pub play: Play<S>,
}

impl<S: System> Clone for Engine<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: System> Copy for Engine<S> {}

impl<S: System> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S: System> Engine<S> {
    /// The simulated world. It refuses nothing.
    #[must_use]
    pub fn world() -> Self {
        Self { name: "world", refuses: |_| Vec::new(), play: run }
    }
}

/// A program with the same command line and another engine, for engines that need a build of their own.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The name of its engine.
    pub engine: &'static str,
    /// The name of its file.
    pub program: &'static str,
    /// The manifest of its package, below the folder of the workspace.
    pub manifest: &'static str,
    /// The folder in which it is looked for, below the folder of the workspace.
    pub folder: &'static str,
    /// The arguments with which `cargo`, in the folder of the workspace, builds it. If that folder can be found, this is done
    /// before each use: an old build would play old code.
    pub build: &'static [&'static str],
}

/// What a command line can do.
#[derive(Debug)]
pub struct Program<S: System> {
    /// What drives the runs of this program.
    pub engine: Engine<S>,
    /// Programs for other engines.
    pub elsewhere: &'static [Elsewhere],
}

impl<S: System> Default for Program<S> {
    fn default() -> Self {
        Self { engine: Engine::world(), elsewhere: &[] }
    }
}
