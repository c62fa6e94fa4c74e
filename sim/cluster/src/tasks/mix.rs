//! One kind of task: what it needs, how long it takes, how it fails.

use schemars::JsonSchema;
use serde::Deserialize;
use squall::InvalidKey;
use squall::scenario::{Duration, Durations, Share};
use squall_machine::Span;
use squall_scheduler::{Degradable, FailureKind, HardwareClass, Precision, Resources, TaskType};
use std::collections::BTreeMap;

/// One kind of task, and how often it comes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Its weight among all kinds. Default 1.
    pub share: u32,
    /// The type: cpu_light, cpu_heavy, memory_heavy, gpu_inference, gpu_training or mixed. Default "cpu_light".
    pub kind: String,
    /// The class of hardware; one that there isn't is refused by the scheduler. Default "cpu".
    pub class: String,
    /// What else its worker must be able to do.
    pub capabilities: Vec<String>,
    /// What it occupies of the cores, in thousandths. Default 1000.
    pub cpu_millis: u32,
    /// What it occupies of the memory, in MiB. Default 1024.
    pub memory: u32,
    /// What it occupies of the storage, in MiB. Default 0.
    pub storage: u32,
    /// What it occupies of the accelerators, in thousandths. Default 0.
    pub gpu_millis: u32,
    /// How long it runs. Default "1s..5s".
    pub duration: Durations,
    /// Higher comes first. Default 0.
    pub priority: u8,
    /// How often it is tried again after a failure. Default: `knobs.max_retries`.
    pub max_retries: Option<u32>,
    /// When it ends as failed, after its submission. Default: never.
    pub deadline: Option<Durations>,
    /// How long an attempt may run. Default: `knobs.run_limit`.
    pub run_limit: Option<Duration>,
    /// How often an attempt saves a checkpoint. Default: never.
    pub checkpoint_interval: Option<Duration>,
    /// By when risk-aware placement should have it done, in thousandths of its expected run time.
    pub slack_millis: Option<u32>,
    /// How much it takes at once. Default 32.
    pub batch_size: u32,
    /// The precision that it computes with. Default "fp32".
    pub precision: String,
    /// What may be degraded to get it done. Default: nothing.
    pub degradable: MixDegradable,
    /// The share of attempts that fail, at a drawn point.
    pub fails: Share,
    /// Of which kinds those failures are, with their weights. Default: evaluation.
    pub failures: BTreeMap<String, u32>,
    /// The share of attempts that never end by themselves.
    pub hangs: Share,
    /// Which tasks of each client, counted from 1 over all kinds, never end by themselves in any attempt.
    pub hanging_tasks: Vec<u64>,
    /// The share of attempts that their worker dies of, at a drawn point.
    pub crashes: Share,
    /// The share of tasks that their worker dies of in every attempt.
    pub poison: Share,
    /// Which tasks of each client, counted from 1 over all kinds, are poison besides.
    pub poison_tasks: Vec<u64>,
}

/// What may be degraded of a kind of task.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixDegradable {
    /// Its batch may be halved.
    pub batch: bool,
    /// Its precision may be reduced.
    pub precision: bool,
    /// The other class of hardware that it may run on.
    pub fallback_class: Option<String>,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            share: 1,
            kind: TaskType::CpuLight.as_str().to_owned(),
            class: HardwareClass::Cpu.as_str().to_owned(),
            capabilities: Vec::new(),
            cpu_millis: 1_000,
            memory: 1_024,
            storage: 0,
            gpu_millis: 0,
            duration: Durations { low: Span::from_secs(1), high: Span::from_secs(5) },
            priority: 0,
            max_retries: None,
            deadline: None,
            run_limit: None,
            checkpoint_interval: None,
            slack_millis: None,
            batch_size: 32,
            precision: Precision::Fp32.as_str().to_owned(),
            degradable: MixDegradable::default(),
            fails: Share::default(),
            failures: BTreeMap::new(),
            hangs: Share::default(),
            hanging_tasks: Vec::new(),
            crashes: Share::default(),
            poison: Share::default(),
            poison_tasks: Vec::new(),
        }
    }
}

impl Mix {
    /// Checks what the scheduler would not be asked: words that have no meaning.
    pub(super) fn check(&self, path: &[&str]) -> Result<(), InvalidKey> {
        let at = |key: &str, problem: String| Err(InvalidKey::new(&[path, &[key]].concat(), problem));
        if let Err(unknown) = self.kind.parse::<TaskType>() {
            return at("kind", unknown.to_string());
        }
        if let Err(unknown) = self.precision.parse::<Precision>() {
            return at("precision", unknown.to_string());
        }
        if let Some(Err(unknown)) = self.degradable.fallback_class.as_ref().map(|name| name.parse::<HardwareClass>()) {
            return at("degradable", unknown.to_string());
        }
        if self.duration.high > super::SPAN_MAX {
            return at("duration", "must be at most 31d".to_owned());
        }
        check_failures(path, &self.failures)
    }

    /// The type, which has been checked.
    pub(crate) fn task_type(&self) -> TaskType {
        self.kind.parse().unwrap_or(TaskType::Mixed)
    }

    /// The precision, which has been checked.
    pub(crate) fn precision(&self) -> Precision {
        self.precision.parse().unwrap_or(Precision::Fp32)
    }

    /// What it occupies.
    pub(crate) fn resources(&self) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis,
            memory_mib: self.memory,
            storage_mib: self.storage,
            gpu_millis: self.gpu_millis,
        }
    }

    /// What may be degraded.
    pub(crate) fn degradable(&self) -> Degradable {
        Degradable {
            batch: self.degradable.batch,
            precision: self.degradable.precision,
            fallback_class: self.degradable.fallback_class.as_ref().and_then(|name| name.parse().ok()),
        }
    }
}

/// Checks that each word is a kind of failure.
pub(super) fn check_failures(path: &[&str], failures: &BTreeMap<String, u32>) -> Result<(), InvalidKey> {
    for name in failures.keys() {
        if let Err(unknown) = name.parse::<FailureKind>() {
            return Err(InvalidKey::new(&[path, &["failures", name.as_str()]].concat(), unknown.to_string()));
        }
    }
    Ok(())
}
