//! The `[workload.tasks]` of a scenario file: which tasks clients submit, what those do, and what goes wrong with them.

mod mix;
mod script;

pub use mix::{Mix, MixDegradable};
pub(crate) use script::{Fate, Script, words};

use schemars::JsonSchema;
use serde::Deserialize;
use squall::InvalidKey;
use squall::scenario::{Duration, Durations, Share};
use squall_machine::{Random, Span};
use squall_scheduler::FailureKind;
use std::collections::BTreeMap;

/// Longer spans than this are a slip of the pen.
const SPAN_MAX: Span = Span::from_secs(31 * 24 * 3_600);
/// The most tasks that a client may care about at a time.
const OPEN_MAX: u32 = 100_000;

/// The tasks that each client submits. Times count from the start of the client's process.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tasks {
    /// How many tasks each client submits in each life of its process. Default: no limit but `until`.
    pub count: Option<u64>,
    /// How long a client waits between two submissions. Default "1s".
    pub every: Durations,
    /// The mean distance of two submissions, if they come at random (exponential distances) instead of `every`.
    pub rate: Option<Duration>,
    /// When a client submits for the first time. Default "2s".
    pub from: Duration,
    /// When it submits for the last time. Default: when the fault phase ends.
    pub until: Option<Duration>,
    /// A client that cares about so many tasks submits nothing new. Default 256.
    pub open_max: u32,
    /// How often a client asks how its tasks are. Default "1s".
    pub poll: Duration,
    /// The share of tasks that are cancelled.
    pub cancel: Share,
    /// How long after the submission. Default "0s..20s".
    pub cancel_after: Durations,
    /// The share of tasks that are submitted a second time, once their client has learned how they ended.
    pub duplicate: Share,
    /// How long after the first submission; later, if the task is still open then. Default "1s..60s".
    pub duplicate_after: Durations,
    /// After how long a task that found the queue full is submitted again. Default "1s..5s".
    pub retry: Durations,
    /// How long it takes until a worker that died of a task is started again. Default "2s".
    pub worker_restart: Duration,
    /// Of what kinds the tasks are. Default: one kind, with all its defaults.
    pub mix: Vec<Mix>,
    /// Times of more load, and of more failures.
    pub overload: Vec<Overload>,
    /// What is wrong with tasks on a worker between the requests `sicken` and `recover`.
    pub sick: Sick,
}

/// A time of more load.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub until: Duration,
    /// How many times as many tasks come. Default 1.
    #[serde(default = "one")]
    pub factor: u32,
    /// The share of attempts that fail, of tasks submitted in this time; each kind's own if it isn't said.
    #[serde(default)]
    pub fails: Option<Share>,
}

const fn one() -> u32 {
    1
}

/// What is wrong with tasks on a sick worker, besides what is wrong with them anyway.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sick {
    /// The share of attempts that fail.
    pub fails: Share,
    /// Of which kinds those failures are, with their weights. Default: hardware.
    pub failures: BTreeMap<String, u32>,
    /// The share of attempts that never end by themselves.
    pub hangs: Share,
    /// How many times as long they take. Default 1.
    pub slow: Option<u32>,
    /// Whether the worker reports an accelerator that is too hot, so that it is unhealthy.
    pub hot: bool,
}

impl Default for Tasks {
    fn default() -> Self {
        let range = |low: u64, high: u64| Durations { low: Span::from_secs(low), high: Span::from_secs(high) };
        Self {
            count: None,
            every: range(1, 1),
            rate: None,
            from: Duration(Span::from_secs(2)),
            until: None,
            open_max: 256,
            poll: Duration(Span::from_secs(1)),
            cancel: Share::default(),
            cancel_after: range(0, 20),
            duplicate: Share::default(),
            duplicate_after: range(1, 60),
            retry: range(1, 5),
            worker_restart: Duration(Span::from_secs(2)),
            mix: Vec::new(),
            overload: Vec::new(),
            sick: Sick::default(),
        }
    }
}

impl Tasks {
    /// Checks each key, and fills in the default mix.
    ///
    /// # Errors
    /// The first key that can't be.
    pub(crate) fn complete(mut self) -> Result<Self, InvalidKey> {
        let key = |name: &str, problem: &str| Err(InvalidKey::new(&["workload", "tasks", name], problem));
        if self.mix.is_empty() {
            self.mix.push(Mix::default());
        }
        let spans = [
            ("every", self.every.high),
            ("rate", self.rate.map_or(self.every.high, |mean| mean.0)),
            ("poll", self.poll.0),
            ("retry", self.retry.high),
            ("worker_restart", self.worker_restart.0),
        ];
        for (name, span) in spans {
            if span == Span::ZERO || span > SPAN_MAX {
                return key(name, "must be longer than zero and at most 31d");
            }
        }
        if self.open_max == 0 || self.open_max > OPEN_MAX {
            return key("open_max", "must be 1 to 100000");
        }
        for (index, mix) in self.mix.iter().enumerate() {
            mix.check(&["workload", "tasks", "mix", &index.to_string()])?;
        }
        for (index, overload) in self.overload.iter().enumerate() {
            if overload.from.0 >= overload.until.0 || overload.factor == 0 {
                let path = ["workload", "tasks", "overload", &index.to_string()];
                return Err(InvalidKey::new(&path, "has to last for a while, and its factor is at least 1"));
            }
        }
        mix::check_failures(&["workload", "tasks", "sick"], &self.sick.failures)?;
        if self.sick.slow == Some(0) {
            return Err(InvalidKey::new(&["workload", "tasks", "sick", "slow"], "must be at least 1"));
        }
        Ok(self)
    }

    /// The kind of the next task, drawn by the weights.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let weights: Vec<u32> = self.mix.iter().map(|mix| mix.share).collect();
        weighted(&weights, random)
    }

    /// The overload that is on so long after the start.
    pub(crate) fn overload_at(&self, after: Span) -> Option<&Overload> {
        self.overload.iter().find(|overload| (overload.from.0..overload.until.0).contains(&after))
    }

    /// The longest that an attempt of any kind runs by itself.
    pub(crate) fn longest(&self) -> Span {
        let longest = self.mix.iter().map(|mix| mix.duration.high).max().unwrap_or(Span::ZERO);
        longest * u64::from(self.sick.slow.unwrap_or(1))
    }

    /// Whether anything about attempts is left to their time limit.
    pub(crate) fn hangs(&self) -> bool {
        let shares = self.mix.iter().map(|mix| mix.hangs).chain([self.sick.hangs]);
        shares.into_iter().any(|hangs| !hangs.ratio().is_zero())
            || self.mix.iter().any(|mix| !mix.hanging_tasks.is_empty())
    }
}

/// An index, drawn by its weight; the first one if all are zero.
pub(crate) fn weighted(weights: &[u32], random: &mut Random) -> usize {
    let all: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut drawn = random.below(all.max(1));
    for (index, &weight) in weights.iter().enumerate() {
        if drawn < u64::from(weight) {
            return index;
        }
        drawn -= u64::from(weight);
    }
    0
}

/// A kind of failure, drawn by its weight.
pub(crate) fn failure(weights: &BTreeMap<String, u32>, otherwise: FailureKind, random: &mut Random) -> FailureKind {
    let numbers: Vec<u32> = weights.values().copied().collect();
    let drawn = weighted(&numbers, random);
    weights.keys().nth(drawn).and_then(|name| name.parse().ok()).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tasks, String> {
        let tasks: Tasks = toml::from_str(text).map_err(|problem| problem.message().to_owned())?;
        tasks.complete().map_err(|invalid| invalid.path.join("."))
    }

    #[test]
    fn an_empty_table_is_one_kind_of_task() {
        assert_eq!(parse("").map(|tasks| tasks.mix.len()), Ok(1));
    }

    #[test]
    fn what_cannot_be_is_named_by_its_key() {
        for (text, path) in [
            ("every = \"0s\"", "workload.tasks.every"),
            ("open_max = 0", "workload.tasks.open_max"),
            ("overload = [{ from = \"9s\", until = \"3s\" }]", "workload.tasks.overload.0"),
            ("mix = [{ kind = \"sleep\" }]", "workload.tasks.mix.0.kind"),
            ("mix = [{}, { failures = { gremlins = 1 } }]", "workload.tasks.mix.1.failures.gremlins"),
            ("sick = { failures = { oom = 1 } }", "workload.tasks.sick.failures.oom"),
            ("mix = [{ precision = \"fp64\" }]", "workload.tasks.mix.0.precision"),
        ] {
            assert_eq!(parse(text), Err(path.to_owned()), "{text}");
        }
    }

    #[test]
    fn weights_decide_how_often_a_kind_is_drawn() {
        let mut random = Random::new(3, "weights");
        let mut drawn = [0u32; 4];
        for _ in 0..10_000 {
            drawn[weighted(&[1, 0, 3, 6], &mut random)] += 1;
        }
        assert_eq!(drawn[1], 0);
        assert!((900..1_100).contains(&drawn[0]) && (2_800..3_200).contains(&drawn[2]), "{drawn:?}");
        assert_eq!(weighted(&[], &mut random), 0);
    }

    #[test]
    fn overload_lasts_from_its_begin_to_before_its_end() {
        let tasks = parse("overload = [{ from = \"10s\", until = \"20s\", factor = 3 }]").expect("a valid table");
        let factor = |secs: u64| tasks.overload_at(Span::from_secs(secs)).map(|overload| overload.factor);
        assert_eq!([factor(9), factor(10), factor(19), factor(20)], [None, Some(3), Some(3), None]);
    }
}
