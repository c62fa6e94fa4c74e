//! The door to the world: one plan, one seed, one outcome.

use crate::world::World;
use crate::{Checker, Entry, Outcome, Plan, Scene, System};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::AtomicBool;

/// Is shown every entry of a history, for a trace.
pub type Watch<'a, S> = &'a mut dyn FnMut(&Entry<'_, S>, &Scene<'_, S>);

/// What a run does besides running the plan.
pub struct RunOptions<'a, S: System> {
    /// Whether the system's checkers judge. Off only to measure what they cost.
    pub checkers: bool,
    /// Checkers besides the system's own, such as the expectations of a scenario file.
    pub extra: Vec<Box<dyn Checker<S>>>,
    /// Is shown every entry.
    pub watch: Option<Watch<'a, S>>,
    /// Ends the run early, as inconclusive, once it is set (the user interrupted).
    pub stop: Option<&'a AtomicBool>,
}

impl<S: System> Default for RunOptions<'_, S> {
    fn default() -> Self {
        Self { checkers: true, extra: Vec::new(), watch: None, stop: None }
    }
}

impl<S: System> fmt::Debug for RunOptions<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions").field("checkers", &self.checkers).field("extra", &self.extra.len()).finish()
    }
}

/// Runs a plan with a seed. Never panics because of a machine or checker: a panic is a violation of `RB1`.
#[must_use]
pub fn run<'a, S: System>(system: &'a S, plan: &'a Plan, seed: u64, options: RunOptions<'a, S>) -> Outcome {
    let mut world = World::new(system, plan, seed, options);
    if let Err(what) = guarded(|| world.run()) {
        world.panicked(&what);
    }
    world.outcome()
}

/// Runs what machines and checkers may panic in. A panic is noted instead of printed.
///
/// # Errors
/// What panicked, and where.
pub fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    quiet_panics();
    IN_A_RUN.with(|inside| inside.set(true));
    let ended = catch_unwind(AssertUnwindSafe(run));
    IN_A_RUN.with(|inside| inside.set(false));
    ended
        .map_err(|_| LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "without a message".to_owned()))
}

thread_local! {
    static IN_A_RUN: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics inside a run are findings, reported with the run: they are noted instead of printed. All others are left to
/// whoever handled them before.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if IN_A_RUN.with(Cell::get) {
                LAST_PANIC.with(|last| *last.borrow_mut() = Some(describe(info)));
            } else {
                before(info);
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("without a message");
    match info.location() {
        Some(place) => format!("{text} ({}:{})", place.file(), place.line()),
        None => text.to_owned(),
    }
}
