//! Everything that can be set, with the defaults of the specification.

use crate::{
    AdaptationKnobs, BreakerKey, BreakerKnobs, PatternKnobs, Placement, RetryBudgetKnobs, RetryLaw, Settings, Vitals,
};
use alloc::format;
use alloc::string::String;
use core::fmt;
use squall_machine::Span;

/// The settings of scheduler and workers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Knobs {
    /// How often waiting tasks are looked at again, although nothing happened.
    pub tick: Span,
    /// After how long what wasn't answered is sent again.
    pub resend: Span,
    /// How often a worker says how it is and what it runs.
    pub beat: Span,
    /// How long failed tasks wait.
    pub retry: RetryLaw,
    /// How often a task is tried again after a failure, if it doesn't say so itself.
    pub max_retries: u32,
    /// How many workers a task may lose and still go on.
    pub max_losses: u32,
    /// How long an attempt may run, if its task doesn't say so itself.
    pub run_limit: Span,
    /// How many of the starts may be retries.
    pub retry_budget: RetryBudgetKnobs,
    /// What makes a pattern of failures.
    pub patterns: PatternKnobs,
    /// How workers are chosen.
    pub placement: Placement,
    /// Of workers.
    pub worker_breaker: BreakerKnobs,
    /// Of hardware classes.
    pub class_breaker: BreakerKnobs,
    /// Of task types.
    pub type_breaker: BreakerKnobs,
    /// How long a probe holds its permit at most, unless three times its expected run time is longer.
    pub probe_max: Span,
    /// What a host may report and still be healthy.
    pub vitals: Vitals,
    /// How many complete checkpoints of a task are kept; at least 1.
    pub checkpoints_kept: u32,
    /// Whether thresholds, open times and the order of ladders adapt to what is observed.
    pub self_healing: bool,
    /// How they adapt, if they do.
    pub adaptation: AdaptationKnobs,
    /// How often the scheduler's uptime is made durable while tasks wait or run; so much of a wait may be waited again after
    /// a restart.
    pub clock: Span,
    /// The most tasks that wait.
    pub queued_max: u32,
    /// How many tasks that have ended are remembered.
    pub terminal_kept: u32,
    /// The most workers.
    pub workers_max: u32,
    /// The most leases of a worker.
    pub leases_max: u32,
    /// The longest id or other text, in bytes.
    pub text_bytes_max: u32,
    /// The largest payload of a task, in bytes.
    pub payload_bytes_max: u32,
    /// The largest result of a task, in bytes.
    pub result_bytes_max: u32,
    /// The most capabilities of a task or a worker.
    pub capabilities_max: u32,
    /// The most tasks in one question of a client.
    pub poll_max: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            tick: Span::from_millis(100),
            resend: Span::from_millis(500),
            beat: Span::from_secs(5),
            retry: RetryLaw::default(),
            max_retries: 3,
            max_losses: 3,
            run_limit: Span::from_secs(600),
            retry_budget: RetryBudgetKnobs::default(),
            patterns: PatternKnobs::default(),
            placement: Placement::Rts,
            worker_breaker: BreakerKnobs::WORKER,
            class_breaker: BreakerKnobs::CLASS,
            type_breaker: BreakerKnobs::TYPE,
            probe_max: Span::from_secs(60),
            vitals: Vitals::LIMITS,
            checkpoints_kept: 5,
            self_healing: false,
            adaptation: AdaptationKnobs::default(),
            clock: Span::from_secs(10),
            queued_max: 10_000,
            terminal_kept: 100_000,
            workers_max: 20_000,
            leases_max: 256,
            text_bytes_max: 1_024,
            payload_bytes_max: 1 << 20,
            result_bytes_max: 1 << 16,
            capabilities_max: 64,
            poll_max: 1_024,
        }
    }
}

/// A setting that can't be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidKnob {
    /// Its name.
    pub knob: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for InvalidKnob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.knob, self.problem)
    }
}

impl core::error::Error for InvalidKnob {}

/// Longer spans than this are a slip of the pen; sums of them must not reach the end of time.
pub(crate) const SPAN_MAX: Span = Span::from_secs(366 * 24 * 3_600);

impl Knobs {
    /// The breaker settings of a kind of key.
    #[must_use]
    pub fn breaker(&self, key: &BreakerKey) -> &BreakerKnobs {
        match key {
            BreakerKey::Worker(_) => &self.worker_breaker,
            BreakerKey::Class(_) => &self.class_breaker,
            BreakerKey::Type(_) => &self.type_breaker,
        }
    }

    /// The settings that may adapt, as they are configured.
    #[must_use]
    pub fn adaptable(&self) -> Settings {
        Settings::new(self.worker_breaker, self.class_breaker, self.type_breaker)
    }

    /// Checks each setting, and the relations between them.
    ///
    /// # Errors
    /// The first setting that can't be, and what would be right.
    pub fn validate(&self) -> Result<(), InvalidKnob> {
        let spans = [
            ("scheduler_tick", self.tick),
            ("task_resend", self.resend),
            ("beat", self.beat),
            ("retry_base", self.retry.base),
            ("retry_cap", self.retry.cap),
            ("run_limit", self.run_limit),
            ("retry_window", self.retry_budget.window),
            ("pattern_window", self.patterns.window),
            ("probe_max", self.probe_max),
            ("clock", self.clock),
        ];
        for (knob, span) in spans {
            if span == Span::ZERO || span > SPAN_MAX {
                return Err(InvalidKnob { knob, problem: format!("must be longer than zero and at most {SPAN_MAX}") });
            }
        }
        let counts = [
            ("pattern_size", self.patterns.failures),
            ("checkpoints_kept", self.checkpoints_kept),
            ("queued_max", self.queued_max),
            ("terminal_kept", self.terminal_kept),
            ("workers_max", self.workers_max),
            ("leases_max", self.leases_max),
            ("text_bytes_max", self.text_bytes_max),
            ("payload_bytes_max", self.payload_bytes_max),
            ("result_bytes_max", self.result_bytes_max),
            ("capabilities_max", self.capabilities_max),
            ("poll_max", self.poll_max),
            // Otherwise a task could wait for ever for a retry that never fits.
            ("retry_floor", self.retry_budget.floor),
        ];
        for (knob, count) in counts {
            if count == 0 {
                return Err(InvalidKnob { knob, problem: "must be at least 1".into() });
            }
        }
        if self.retry.cap < self.retry.base {
            let problem = format!("must not be shorter than retry_base ({})", self.retry.base);
            return Err(InvalidKnob { knob: "retry_cap", problem });
        }
        if self.retry.factor == 0 {
            return Err(InvalidKnob { knob: "retry_factor", problem: "must be at least 1".into() });
        }
        for (knob, breaker) in [
            ("worker_breaker", self.worker_breaker),
            ("class_breaker", self.class_breaker),
            ("type_breaker", self.type_breaker),
        ] {
            breaker.validate().map_err(|(key, problem)| InvalidKnob { knob, problem: format!("{key}: {problem}") })?;
        }
        let problem = |(key, problem)| InvalidKnob { knob: "adaptation", problem: format!("{key}: {problem}") };
        self.adaptation.validate(&self.adaptable()).map_err(problem)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Knobs::default().validate(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named() {
        type Change = fn(&mut Knobs);
        let cases: [(Change, &str); 7] = [
            (|knobs| knobs.adaptation.sample = 0, "adaptation"),
            (|knobs| knobs.tick = Span::ZERO, "scheduler_tick"),
            (|knobs| knobs.clock = Span::MAX, "clock"),
            (|knobs| knobs.retry.cap = Span::from_secs(4), "retry_cap"),
            (|knobs| knobs.retry.factor = 0, "retry_factor"),
            (|knobs| knobs.retry_budget.floor = 0, "retry_floor"),
            (|knobs| knobs.worker_breaker.threshold = 0, "worker_breaker"),
        ];
        for (change, knob) in cases {
            let mut knobs = Knobs::default();
            change(&mut knobs);
            assert_eq!(knobs.validate().map_err(|invalid| invalid.knob), Err(knob));
        }
    }
}
