//! The knobs of scheduler, workers' agents and checkpoint store.

use super::Settings;
use schemars::JsonSchema;
use serde::Deserialize;
use squall::InvalidKey;
use squall::scenario::{Duration, Share};
use squall_scheduler::{Blame, BreakerBounds, BreakerKnobs, Factor, Knobs, Placement, StoreKnobs, Vitals};

/// How workers are chosen among those that are eligible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlacementRule {
    /// The next one in the order of ids after the last one used.
    RoundRobin,
    /// The one with the lowest risk of being late.
    Rts,
    /// The one with the smallest load.
    LeastLoaded,
}

/// What of one kind of breakers differs from the defaults of the specification.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerTable {
    /// So many failures in a row open it.
    pub threshold: Option<u32>,
    /// How long it is open the first time.
    pub first_open: Option<Duration>,
    /// What each further opening in a row multiplies that by, in hundredths: 150 is 1.5. At least 100.
    pub factor_percent: Option<u32>,
    /// The longest time that it is open.
    pub max_open: Option<Duration>,
    /// So many probes have to succeed before it closes.
    pub successes_to_close: Option<u32>,
    /// How many probes may be on their way at once.
    pub probes: Option<u32>,
}

/// Limits of what a host may report, in whole percent, and in degrees C for the temperature.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VitalsTable {
    /// Use of its cores. Default 95.
    pub cpu: Option<u32>,
    /// Use of its main memory. Default 95.
    pub memory: Option<u32>,
    /// Use of its disk. Default 95.
    pub disk: Option<u32>,
    /// Use of the memory of its accelerators. Default 95.
    pub gpu_memory: Option<u32>,
    /// The temperature of its hottest accelerator. Default 85.
    pub gpu_temperature: Option<u32>,
}

/// How self-healing goes about it; what isn't said is the default.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptationTable {
    /// How many results it takes to judge. Default 50.
    pub sample: Option<u32>,
    /// Below this share of successes results are poor. Default "50%".
    pub poor: Option<Share>,
    /// Above this share of successes results are good. Default "90%".
    pub good: Option<Share>,
    /// By more than so much a later step of a ladder must do better than the one before it. Default "10%".
    pub margin: Option<Share>,
    /// Between what the breakers of workers may move.
    pub worker: Option<BoundsTable>,
    /// Between what the breakers of hardware classes may move.
    pub class: Option<BoundsTable>,
    /// Between what the breakers of task types may move.
    pub task_type: Option<BoundsTable>,
}

/// Between what one kind of breakers may move, ends included. Default: half to twice of what is configured, times not beyond
/// `max_open`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BoundsTable {
    /// The lowest threshold.
    pub threshold_min: Option<u32>,
    /// The highest threshold.
    pub threshold_max: Option<u32>,
    /// The shortest first time to be open.
    pub first_open_min: Option<Duration>,
    /// The longest first time to be open.
    pub first_open_max: Option<Duration>,
}

/// Replaces what a table says something about.
fn set<T>(knob: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *knob = value;
    }
}

/// The same for lengths of time.
fn span(knob: &mut squall_machine::Span, value: Option<Duration>) {
    set(knob, value.map(|duration| duration.0));
}

impl BreakerTable {
    fn apply(self, name: &str, knobs: &mut BreakerKnobs) -> Result<(), InvalidKey> {
        set(&mut knobs.threshold, self.threshold);
        span(&mut knobs.first_open, self.first_open);
        span(&mut knobs.max_open, self.max_open);
        set(&mut knobs.successes_to_close, self.successes_to_close);
        set(&mut knobs.probes, self.probes);
        if let Some(percent) = self.factor_percent {
            let path = ["knobs", name, "factor_percent"];
            knobs.factor = Factor::new(percent, 100).ok_or_else(|| InvalidKey::new(&path, "must be at least 100"))?;
        }
        Ok(())
    }
}

impl AdaptationTable {
    fn apply(self, knobs: &mut Knobs) {
        let configured = knobs.adaptable();
        let adaptation = &mut knobs.adaptation;
        set(&mut adaptation.sample, self.sample);
        set(&mut adaptation.poor, self.poor.map(Share::ratio));
        set(&mut adaptation.good, self.good.map(Share::ratio));
        set(&mut adaptation.margin, self.margin.map(Share::ratio));
        for (kind, table) in [(Blame::Worker, self.worker), (Blame::Class, self.class), (Blame::Type, self.task_type)] {
            let Some(table) = table else { continue };
            let mut bounds = BreakerBounds::around(configured.breaker(kind));
            set(&mut bounds.threshold_min, table.threshold_min);
            set(&mut bounds.threshold_max, table.threshold_max);
            span(&mut bounds.first_open_min, table.first_open_min);
            span(&mut bounds.first_open_max, table.first_open_max);
            adaptation.bounds.insert(kind, bounds);
        }
    }
}

impl VitalsTable {
    fn apply(self, limits: &mut Vitals) {
        // Figures are in thousandths.
        let thousandths = |figure: Option<u32>| figure.map(|figure| figure.saturating_mul(1_000));
        set(&mut limits.cpu, thousandths(self.cpu));
        set(&mut limits.memory, thousandths(self.memory));
        set(&mut limits.disk, thousandths(self.disk));
        set(&mut limits.gpu_memory, thousandths(self.gpu_memory));
        set(&mut limits.gpu_temperature, thousandths(self.gpu_temperature));
    }
}

impl From<PlacementRule> for Placement {
    fn from(rule: PlacementRule) -> Self {
        match rule {
            PlacementRule::RoundRobin => Self::RoundRobin,
            PlacementRule::Rts => Self::Rts,
            PlacementRule::LeastLoaded => Self::LeastLoaded,
        }
    }
}

impl Settings {
    /// A key about tasks in a cluster without any.
    ///
    /// # Errors
    /// The first one.
    pub(crate) fn check_without_tasks(&self) -> Result<(), InvalidKey> {
        match self.about_tasks() {
            Some(knob) => Err(InvalidKey::new(&["knobs", knob], "has no meaning without tasks")
                .hint("leave it out, or add [workload.tasks]")),
            None => Ok(()),
        }
    }

    /// The settings of scheduler and agents, with the defaults of the specification where the table is silent.
    ///
    /// # Errors
    /// The first key that can't be.
    pub fn scheduler_knobs(&self) -> Result<Knobs, InvalidKey> {
        let mut knobs = Knobs::default();
        span(&mut knobs.tick, self.scheduler_tick);
        span(&mut knobs.resend, self.task_resend);
        span(&mut knobs.beat, self.beat);
        span(&mut knobs.retry.base, self.retry_base);
        set(&mut knobs.retry.factor, self.retry_factor);
        span(&mut knobs.retry.cap, self.retry_cap);
        set(&mut knobs.retry.jitter, self.retry_jitter.map(Share::ratio));
        set(&mut knobs.max_retries, self.max_retries);
        set(&mut knobs.max_losses, self.max_losses);
        span(&mut knobs.run_limit, self.run_limit);
        set(&mut knobs.retry_budget.share, self.retry_share.map(Share::ratio));
        set(&mut knobs.retry_budget.floor, self.retry_floor);
        span(&mut knobs.retry_budget.window, self.retry_window);
        set(&mut knobs.patterns.failures, self.pattern_size);
        span(&mut knobs.patterns.window, self.pattern_window);
        set(&mut knobs.patterns.workers_max, self.pattern_workers_max);
        set(&mut knobs.placement, self.placement.map(Placement::from));
        for (name, table, breaker) in [
            ("worker_breaker", self.worker_breaker, &mut knobs.worker_breaker),
            ("class_breaker", self.class_breaker, &mut knobs.class_breaker),
            ("type_breaker", self.type_breaker, &mut knobs.type_breaker),
        ] {
            table.unwrap_or_default().apply(name, breaker)?;
        }
        span(&mut knobs.probe_max, self.probe_max);
        self.vitals.unwrap_or_default().apply(&mut knobs.vitals);
        set(&mut knobs.checkpoints_kept, self.checkpoints_kept);
        set(&mut knobs.self_healing, self.self_healing);
        self.adaptation.unwrap_or_default().apply(&mut knobs);
        span(&mut knobs.clock, self.clock);
        self.limits(&mut knobs);
        knobs.validate().map_err(|invalid| InvalidKey::new(&["knobs", invalid.knob], invalid.problem))?;
        if self.pattern_workers_max == Some(0) {
            return Err(InvalidKey::new(&["knobs", "pattern_workers_max"], "must be at least 1"));
        }
        Ok(knobs)
    }

    fn limits(&self, knobs: &mut Knobs) {
        for (knob, value) in [
            (&mut knobs.queued_max, self.queued_max),
            (&mut knobs.terminal_kept, self.terminal_kept),
            (&mut knobs.workers_max, self.workers_max),
            (&mut knobs.leases_max, self.leases_max),
            (&mut knobs.text_bytes_max, self.text_bytes_max),
            (&mut knobs.payload_bytes_max, self.payload_bytes_max),
            (&mut knobs.result_bytes_max, self.result_bytes_max),
            (&mut knobs.capabilities_max, self.capabilities_max),
            (&mut knobs.poll_max, self.poll_max),
        ] {
            set(knob, value);
        }
    }

    /// The settings of the checkpoint store, likewise.
    ///
    /// # Errors
    /// The first key that can't be.
    pub fn store_knobs(&self) -> Result<StoreKnobs, InvalidKey> {
        let mut knobs = StoreKnobs::default();
        set(&mut knobs.tasks_max, self.store_tasks_max);
        set(&mut knobs.saves_max, self.store_saves_max);
        set(&mut knobs.incomplete_max, self.store_incomplete_max);
        set(&mut knobs.text_bytes_max, self.text_bytes_max);
        knobs.validate().map_err(|invalid| InvalidKey::new(&["knobs", invalid.knob], invalid.problem))?;
        Ok(knobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Span;

    fn parse(text: &str) -> Result<Knobs, String> {
        let settings: Settings = toml::from_str(text).map_err(|problem| problem.message().to_owned())?;
        settings.scheduler_knobs().map_err(|invalid| invalid.path.join("."))
    }

    #[test]
    fn a_key_replaces_one_default() {
        assert_eq!(parse(""), Ok(Knobs::default()));
        let breaker =
            BreakerKnobs { threshold: 2, factor: Factor::new(3, 2).expect("a factor"), ..BreakerKnobs::WORKER };
        let knobs = parse("worker_breaker = { threshold = 2, factor_percent = 150 }").expect("a valid table");
        assert_eq!(knobs.worker_breaker.opening_time(2), breaker.opening_time(2));
        assert_eq!(knobs.worker_breaker.threshold, 2);
        assert_eq!(parse("scheduler_tick = \"1s\"").map(|knobs| knobs.tick), Ok(Span::from_secs(1)));
        assert_eq!(parse("vitals = { cpu = 50 }").map(|knobs| knobs.vitals.cpu), Ok(50_000));
        let adapts = parse(
            "self_healing = true\nworker_breaker = { threshold = 4 }\nadaptation = { worker = { threshold_max = 5 } }",
        );
        let bounds = adapts.expect("a valid table").adaptation.bounds;
        let worker = BreakerKnobs { threshold: 4, ..BreakerKnobs::WORKER };
        assert_eq!(
            bounds,
            [(Blame::Worker, BreakerBounds { threshold_max: 5, ..BreakerBounds::around(&worker) })].into()
        );
        assert_eq!(parse("placement = \"round_robin\"").map(|knobs| knobs.placement), Ok(Placement::RoundRobin));
    }

    #[test]
    fn what_cannot_be_is_named_by_its_key() {
        for (text, path) in [
            ("scheduler_tick = \"0s\"", "knobs.scheduler_tick"),
            ("class_breaker = { factor_percent = 99 }", "knobs.class_breaker.factor_percent"),
            ("class_breaker = { threshold = 0 }", "knobs.class_breaker"),
            ("retry_cap = \"1s\"", "knobs.retry_cap"),
            ("pattern_workers_max = 0", "knobs.pattern_workers_max"),
            ("adaptation = { sample = 0 }", "knobs.adaptation"),
            ("adaptation = { worker = { threshold_min = 6 } }", "knobs.adaptation"),
        ] {
            assert_eq!(parse(text), Err(path.to_owned()), "{text}");
        }
    }

    #[test]
    fn without_tasks_their_keys_mean_nothing() {
        let settings = Settings { max_losses: Some(1), ..Settings::default() };
        let refused = settings.check_without_tasks().map_err(|invalid| invalid.path.join("."));
        assert_eq!(refused, Err("knobs.max_losses".to_owned()));
        assert_eq!(Settings::default().check_without_tasks(), Ok(()));
    }
}
