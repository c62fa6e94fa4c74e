//! Everything that can be set, with the defaults of the specification.

use alloc::format;
use alloc::string::String;
use core::fmt;
use squall_machine::Span;

/// The settings that coordinator and members share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Knobs {
    /// How often a replica's heartbeat leaves.
    pub replica_heartbeat: Span,
    /// How long a replica may be silent.
    pub replica_timeout: Span,
    /// How often a worker's heartbeat leaves.
    pub worker_heartbeat: Span,
    /// How long a worker may be silent.
    pub worker_timeout: Span,
    /// How often overdue members are looked for.
    pub tick: Span,
    /// How long a member is only suspected, after its timeout.
    pub grace: Span,
    /// The fewest members a quorum may have; at least 1.
    pub min_replicas: u32,
    /// How long the first candidate waits for the other healthy replicas.
    pub join_timeout: Span,
    /// How long a replica works without an acknowledged heartbeat, on its own clock, from when it was sent.
    pub lapse: Span,
    /// How long after its last accepted heartbeat an incarnation may still be Active, on the coordinator's clock.
    pub takeover: Span,
    /// The largest drift of any clock from true time, in millionths.
    pub drift_ppm_max: u32,
    /// How many notifications a subscriber may be sent that it hasn't acknowledged.
    pub subscriber_queue: u32,
    /// How many notifications are kept for those who resume.
    pub notices_kept: u32,
    /// How long a session lives without being heard of.
    pub session_ttl: Span,
    /// How often a subscriber says what it took.
    pub poll: Span,
    /// How long an ended incarnation is remembered.
    pub forget_after: Span,
    /// After how long an unanswered request is sent again.
    pub resend: Span,
    /// Over how long members spread their return, when all have to come back at once.
    pub return_spread: Span,
    /// How long a manager keeps a vote open.
    pub vote_timeout: Span,
    /// The most members, alive, granted and ended ones together.
    pub members_max: u32,
    /// The most subscriber sessions.
    pub sessions_max: u32,
    /// The longest id, address or other text of a member, in bytes.
    pub text_bytes_max: u32,
    /// The longest opaque data of a request, in bytes.
    pub data_bytes_max: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            replica_heartbeat: Span::from_millis(100),
            replica_timeout: Span::from_secs(5),
            worker_heartbeat: Span::from_secs(5),
            worker_timeout: Span::from_secs(30),
            tick: Span::from_secs(1),
            grace: Span::ZERO,
            min_replicas: 1,
            join_timeout: Span::from_secs(60),
            lapse: Span::from_secs(4),
            takeover: Span::from_secs(5),
            drift_ppm_max: 1_000,
            subscriber_queue: 256,
            notices_kept: 4_096,
            session_ttl: Span::from_secs(60),
            poll: Span::from_secs(1),
            forget_after: Span::from_secs(3_600),
            resend: Span::from_millis(500),
            return_spread: Span::from_secs(2),
            vote_timeout: Span::from_secs(60),
            members_max: 20_000,
            sessions_max: 4_096,
            text_bytes_max: 1_024,
            data_bytes_max: 65_536,
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

impl Knobs {
    /// Checks each setting, and the relations between them without which leases are not safe.
    ///
    /// # Errors
    /// The first setting that can't be, and what would be right.
    pub fn validate(&self) -> Result<(), InvalidKnob> {
        let positive = [
            ("replica_heartbeat", self.replica_heartbeat),
            ("replica_timeout", self.replica_timeout),
            ("worker_heartbeat", self.worker_heartbeat),
            ("worker_timeout", self.worker_timeout),
            ("tick", self.tick),
            ("lapse", self.lapse),
            ("takeover", self.takeover),
            ("session_ttl", self.session_ttl),
            ("poll", self.poll),
            ("forget_after", self.forget_after),
            ("resend", self.resend),
            ("vote_timeout", self.vote_timeout),
        ];
        for (knob, span) in positive {
            if span == Span::ZERO {
                return Err(InvalidKnob { knob, problem: String::from("must be longer than zero") });
            }
        }
        let counts = [
            ("min_replicas", self.min_replicas),
            ("subscriber_queue", self.subscriber_queue),
            ("notices_kept", self.notices_kept),
            ("members_max", self.members_max),
            ("sessions_max", self.sessions_max),
            ("text_bytes_max", self.text_bytes_max),
            ("data_bytes_max", self.data_bytes_max),
        ];
        for (knob, count) in counts {
            if count == 0 {
                return Err(InvalidKnob { knob, problem: String::from("must be at least 1") });
            }
        }
        if self.replica_timeout <= self.replica_heartbeat {
            let problem = format!("must be longer than replica_heartbeat ({})", self.replica_heartbeat);
            return Err(InvalidKnob { knob: "replica_timeout", problem });
        }
        if self.worker_timeout <= self.worker_heartbeat {
            let problem = format!("must be longer than worker_heartbeat ({})", self.worker_heartbeat);
            return Err(InvalidKnob { knob: "worker_timeout", problem });
        }
        if self.drift_ppm_max >= 500_000 {
            return Err(InvalidKnob { knob: "drift_ppm_max", problem: String::from("must be below 500000 (50 %)") });
        }
        // A lease must have run out on the slowest clock before it is taken over on the fastest one, or one incarnation
        // works in two groups.
        let million = 1_000_000u128;
        let drift = u128::from(self.drift_ppm_max);
        if u128::from(self.lapse.as_nanos()) * (million + drift)
            >= u128::from(self.takeover.as_nanos()) * (million - drift)
        {
            let problem = format!(
                "must be shorter than takeover ({}) by more than twice the drift, {} ppm",
                self.takeover, self.drift_ppm_max
            );
            return Err(InvalidKnob { knob: "lapse", problem });
        }
        Ok(())
    }
}
