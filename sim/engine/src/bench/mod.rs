//! How fast the world is, measured beside its own floor in the same process: the same number of nodes and messages with
//! trivial machines and no checkers. Only ratios mean anything on another machine.

mod floor;

use crate::{Diagnosis, Outcome, Plan, RunOptions, Scenario, System, Verdict, run};
use floor::Floor;
use squall_machine::{Span, Time};
use std::path::Path;

/// What one case showed; rates are medians over the rounds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The case.
    pub name: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// How much time was simulated per round.
    pub simulated: Span,
    /// Messages delivered per round.
    pub delivered: u64,
    /// Delivered messages per second on one core, with all checkers and the fingerprint.
    pub per_second: u64,
    /// The same without checkers.
    pub unchecked_per_second: u64,
    /// The same for trivial machines without checkers.
    pub floor_per_second: u64,
    /// The largest resident memory of the process so far, in KiB; `None` where the system doesn't tell.
    pub peak_kib: Option<u64>,
    /// What the checkers found; a measurement of a run that doesn't hold is none.
    pub verdict: Verdict,
}

/// How often each case is measured.
const ROUNDS: usize = 5;

/// Measures every case of the system, one after the other, on this thread. `simulated` replaces their own length.
///
/// # Errors
/// What is wrong with a case's scenario.
pub fn bench<S: System>(simulated: Option<Span>, mut each: impl FnMut(&Measured)) -> Result<Vec<Measured>, Diagnosis> {
    let mut all = Vec::new();
    for (name, text) in S::BENCHES {
        let mut scenario = Scenario::<S>::parse(Path::new(name), text)?;
        if let Some(simulated) = simulated {
            scenario.plan.horizon = simulated;
        }
        let measured = measure(name, &scenario);
        each(&measured);
        all.push(measured);
    }
    Ok(all)
}

fn measure<S: System>(name: &str, scenario: &Scenario<S>) -> Measured {
    let plan = &scenario.plan;
    let (mut checked, mut unchecked, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = Outcome::default();
    for _ in 0..ROUNDS {
        let (rate, outcome) = timed(&scenario.system, plan, true);
        checked.push(rate);
        last = outcome;
        unchecked.push(timed(&scenario.system, plan, false).0);
        floor.push(timed(&Floor, plan, false).0);
    }
    Measured {
        name: name.to_owned(),
        nodes: plan.nodes.len(),
        simulated: Time::from_nanos(last.sim_ns).since(Time::ZERO),
        delivered: last.messages.delivered,
        per_second: median(checked),
        unchecked_per_second: median(unchecked),
        floor_per_second: median(floor),
        peak_kib: peak_kib(),
        verdict: last.verdict,
    }
}

/// Runs a plan once; returns delivered messages per second on one core.
fn timed<S: System>(system: &S, plan: &Plan, checkers: bool) -> (u64, Outcome) {
    let watch = Stopwatch::start();
    let outcome = run(system, plan, 1, RunOptions { checkers, ..RunOptions::default() });
    let nanos = watch.nanos().max(1);
    ((u128::from(outcome.messages.delivered) * 1_000_000_000 / nanos) as u64, outcome)
}

/// Time that this thread ran on a core, where Linux tells it, so that a busy machine doesn't look like a slow world; wall
/// time elsewhere.
#[expect(clippy::disallowed_types, reason = "a measurement, outside any run")]
struct Stopwatch {
    on_core: Option<u128>,
    wall: std::time::Instant,
}

#[expect(clippy::disallowed_types, reason = "a measurement, outside any run")]
impl Stopwatch {
    fn start() -> Self {
        Self { on_core: on_core_nanos(), wall: std::time::Instant::now() }
    }

    fn nanos(&self) -> u128 {
        match (self.on_core, on_core_nanos()) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => self.wall.elapsed().as_nanos(),
        }
    }
}

fn on_core_nanos() -> Option<u128> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

fn median(mut rates: Vec<u64>) -> u64 {
    rates.sort_unstable();
    rates.get(rates.len() / 2).copied().unwrap_or(0)
}

/// The high-water mark of resident memory, as Linux tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
