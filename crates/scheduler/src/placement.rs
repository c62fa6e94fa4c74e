//! On which worker a task runs.
//!
//! Everything is computed in integers, so that every platform makes the same choice. *Micro-units* are millionths: a load of
//! 250,000 is one quarter, a risk of 60,500,000 is 60.5. Times enter the risk as seconds, so a second late is a risk of 10.

use crate::named::named;
use crate::{Account, Resources, TaskType};
use serde::{Deserialize, Serialize};
use squall_machine::Span;

named! {
    /// How a worker is chosen among those that are eligible.
    Placement, "placement" {
        /// The next one in the order of ids after the last one used.
        RoundRobin => "round_robin",
        /// The one with the lowest risk of being late.
        Rts => "rts",
        /// The one with the smallest load.
        LeastLoaded => "least_loaded",
    }
}

/// One, in micro-units.
pub const MICRO: u64 = 1_000_000;

/// How long tasks of a type are expected to run: an exponential average in which each run weighs one fifth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Tau(Span);

impl Tau {
    /// Before a task of this type has run.
    #[must_use]
    pub const fn initial(task_type: TaskType) -> Self {
        Self(task_type.initial_tau())
    }

    /// The expectation; never zero.
    #[must_use]
    pub const fn span(self) -> Span {
        self.0
    }

    /// A task of this type has run for so long.
    pub fn observe(&mut self, run: Span) {
        let average = (u128::from(self.0.as_nanos()) * 4 + u128::from(run.as_nanos())) / 5;
        // An average of two spans is a span.
        self.0 = Span::from_nanos(average as u64).max(Span::from_nanos(1));
    }
}

/// How many times its expected run time a task may take, `k`, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Slack(u32);

impl Default for Slack {
    /// Twice.
    fn default() -> Self {
        Self(2_000)
    }
}

impl Slack {
    /// So many thousandths; `None` unless they are 1,500 to 2,500.
    #[must_use]
    pub const fn from_millis(millis: u32) -> Option<Self> {
        if millis >= 1_500 && millis <= 2_500 { Some(Self(millis)) } else { None }
    }

    /// `k tau`: how long after its submission a task is late.
    #[must_use]
    pub fn times(self, tau: Tau) -> Span {
        let nanos = u128::from(tau.0.as_nanos()) * u128::from(self.0) / 1_000;
        Span::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What a task asks of a worker, as far as placement goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Demand {
    /// What it needs.
    pub need: Resources,
    /// How long its type runs.
    pub tau: Tau,
    /// How much longer it may take.
    pub slack: Slack,
}

/// The share of a worker that is reserved, `L`, in micro-units, 0 to 1,000,000:
/// `(cpu u_c + mem/10 u_m + 2 gpu u_g) / (cpu + mem/10 + 2 gpu)`, where `cpu` and `gpu` are what it has of cores and
/// accelerators, `mem` its memory in GiB, and `u` the share of each that is reserved. `None` for a worker that has nothing.
#[must_use]
pub fn load(account: &Account) -> Option<u64> {
    // Cores, tenths of a GiB and half accelerators, each times 10,240,000: then all are whole numbers.
    let weight = |amounts: Resources| {
        u128::from(amounts.cpu_millis) * 10_240
            + u128::from(amounts.memory_mib) * 1_000
            + u128::from(amounts.gpu_millis) * 20_480
    };
    let share = (weight(account.reserved()) * u128::from(MICRO)).checked_div(weight(account.total()))?;
    assert!(share <= u128::from(MICRO), "no more is reserved than there is");
    Some(share as u64)
}

/// How long the task is expected to run on this worker, to the nanosecond:
/// `E = tau (1 + 0.1 C/Ca + 0.1 M/Ma + 0.3 G/Ga + 0.2 L)`, where `C`, `M` and `G` are what it needs of cores, memory and
/// accelerators, and `Ca`, `Ma` and `Ga` what is available. A ratio is 0 where nothing is needed, and 1 where something is but
/// nothing is available. `None` where `L` is, or where the result is no span.
#[must_use]
pub fn estimate(account: &Account, demand: &Demand) -> Option<Span> {
    let available = account.available();
    let ratio = |needed: u32, available: u32| match (needed, available) {
        (0, _) => 0,
        (_, 0) => u128::from(MICRO),
        (needed, available) => u128::from(needed) * u128::from(MICRO) / u128::from(available),
    };
    // In tenths of a millionth, as each weight is a number of tenths.
    let factor = u128::from(MICRO) * 10
        + ratio(demand.need.cpu_millis, available.cpu_millis)
        + ratio(demand.need.memory_mib, available.memory_mib)
        + ratio(demand.need.gpu_millis, available.gpu_millis) * 3
        + u128::from(load(account)?) * 2;
    let nanos = u128::from(demand.tau.0.as_nanos()) * factor / (u128::from(MICRO) * 10);
    u64::try_from(nanos).ok().map(Span::from_nanos)
}

/// The risk of giving a task to this worker, in micro-units: `10 max(0, E - k tau) + L - affinity + penalty`, with times in
/// seconds, and `affinity` and `penalty` in micro-units. `None` where it isn't finite or too large to count.
#[must_use]
pub fn risk(account: &Account, demand: &Demand, affinity: i64, penalty: i64) -> Option<i64> {
    let late = estimate(account, demand)?.minus(demand.slack.times(demand.tau));
    // 10 a second are 10 micro-units a microsecond.
    let late = i64::try_from(late.as_nanos() / 100).ok()?;
    let load = i64::try_from(load(account)?).ok()?;
    late.checked_add(load)?.checked_sub(affinity)?.checked_add(penalty)
}

/// An eligible worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a str,
    /// What the placement goes by, if it is finite: its [risk] or its [load]; of no account to round robin.
    pub figure: Option<i64>,
}

/// The place of the chosen worker among `candidates`; `None` if there are none.
///
/// The lowest figure wins, of equal ones the smallest id. If no figure is finite, or in round robin, it is the next id after
/// `last_used` in the order of text, or the smallest one: by id, not by place, so that nobody is passed over because others
/// come and go.
#[must_use]
pub fn choose(placement: Placement, candidates: &[Candidate<'_>], last_used: Option<&str>) -> Option<usize> {
    let places = || candidates.iter().enumerate();
    let by_figure = || {
        let finite = places().filter_map(|(place, candidate)| Some((candidate.figure?, candidate.id, place)));
        finite.min().map(|(_, _, place)| place)
    };
    let in_turn = || {
        let passed = |id: &str| last_used.is_some_and(|last| id <= last);
        places().min_by_key(|(_, candidate)| (passed(candidate.id), candidate.id)).map(|(place, _)| place)
    };
    match placement {
        Placement::RoundRobin => in_turn(),
        Placement::Rts | Placement::LeastLoaded => by_figure().or_else(in_turn),
    }
}

#[cfg(test)]
mod tests;
