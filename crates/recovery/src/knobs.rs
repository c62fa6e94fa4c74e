//! Everything that can be set, with the defaults of the specification.

use alloc::format;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};
use squall_machine::Span;

/// What a peer does about a suspicion of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// It agrees with the others, rebuilds, and then notifies its subscribers.
    #[default]
    Automatic,
    /// It notifies its subscribers of the newly suspected, stops working, and waits for
    /// [`PeerRequest::Recover`](crate::PeerRequest::Recover). It still votes when another peer asks.
    Manual,
    /// It answers every local client with a typed error that names the suspected, and stops.
    Abort,
}

/// The settings that all peers of a group share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Knobs {
    /// How often a peer pings, tells its leader, and sends again what wasn't answered.
    pub ping: Span,
    /// How long a peer may leave what it is asked without an answer.
    pub peer_timeout: Span,
    /// How long a ballot waits for its answers, the first time.
    pub round_deadline: Span,
    /// The longest that a ballot waits; each deadline that passes doubles the next.
    pub round_deadline_max: Span,
    /// How often a process that is no member asks to join.
    pub join: Span,
    /// How long after its last request a joiner is still known.
    pub joiner_ttl: Span,
    /// The most members of a communicator.
    pub members_max: u32,
    /// The most joiners that are known at once.
    pub joiners_max: u32,
    /// How many decisions are kept for those who missed them. Whoever is further behind gets the newest communicator.
    pub decisions_kept: u32,
    /// The most messages of later generations that are kept while their receiver catches up.
    pub early_max: u32,
    /// How many notices a subscriber may be sent that it hasn't confirmed.
    pub subscriber_queue: u32,
    /// How many notices are kept for those who resume.
    pub notices_kept: u32,
    /// The most local subscribers.
    pub subscribers_max: u32,
    /// The longest id, in bytes.
    pub text_bytes_max: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            ping: Span::from_millis(200),
            peer_timeout: Span::from_secs(2),
            round_deadline: Span::from_secs(5),
            round_deadline_max: Span::from_secs(20),
            join: Span::from_millis(500),
            joiner_ttl: Span::from_secs(2),
            members_max: 4_096,
            joiners_max: 1_024,
            decisions_kept: 64,
            early_max: 64,
            subscriber_queue: 256,
            notices_kept: 4_096,
            subscribers_max: 64,
            text_bytes_max: 1_024,
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
const SPAN_MAX: Span = Span::from_secs(24 * 3_600);

impl Knobs {
    /// Checks each setting, and the relations between them.
    ///
    /// # Errors
    /// The first setting that can't be, and what would be right.
    pub fn validate(&self) -> Result<(), InvalidKnob> {
        let spans = [
            ("ping", self.ping),
            ("peer_timeout", self.peer_timeout),
            ("round_deadline", self.round_deadline),
            ("round_deadline_max", self.round_deadline_max),
            ("join", self.join),
            ("joiner_ttl", self.joiner_ttl),
        ];
        for (knob, span) in spans {
            if span == Span::ZERO || span > SPAN_MAX {
                let problem = format!("must be longer than zero and at most {SPAN_MAX}");
                return Err(InvalidKnob { knob, problem });
            }
        }
        let counts = [
            ("members_max", self.members_max, u32::MAX / 2),
            ("joiners_max", self.joiners_max, u32::MAX),
            ("decisions_kept", self.decisions_kept, u32::MAX),
            ("early_max", self.early_max, u32::MAX),
            ("subscriber_queue", self.subscriber_queue, u32::MAX),
            ("notices_kept", self.notices_kept, u32::MAX),
            ("subscribers_max", self.subscribers_max, u32::MAX),
            ("text_bytes_max", self.text_bytes_max, u32::MAX),
        ];
        for (knob, count, most) in counts {
            if count == 0 || count > most {
                return Err(InvalidKnob { knob, problem: format!("must be at least 1 and at most {most}") });
            }
        }
        // One lost ping, or one lost answer, must not be a death.
        let at_least = self.ping * 3;
        if self.peer_timeout < at_least {
            let problem = format!("must be at least three times ping: {at_least}");
            return Err(InvalidKnob { knob: "peer_timeout", problem });
        }
        if self.round_deadline_max < self.round_deadline {
            let problem = format!("must not be shorter than round_deadline ({})", self.round_deadline);
            return Err(InvalidKnob { knob: "round_deadline_max", problem });
        }
        // A joiner that asks regularly must not be forgotten in between.
        let at_least = self.join * 2;
        if self.joiner_ttl < at_least {
            let problem = format!("must be at least twice join: {at_least}");
            return Err(InvalidKnob { knob: "joiner_ttl", problem });
        }
        Ok(())
    }

    /// The longest that a ballot waits after `overruns` deadlines have passed: doubled each time, up to the limit.
    #[must_use]
    pub fn deadline(&self, overruns: u32) -> Span {
        // Beyond 2^32 any span that may be set is above its limit.
        (self.round_deadline * (1u64 << overruns.min(32))).min(self.round_deadline_max)
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
        let cases: [(Change, &str); 8] = [
            (|knobs| knobs.ping = Span::ZERO, "ping"),
            (|knobs| knobs.join = Span::MAX, "join"),
            (|knobs| knobs.peer_timeout = Span::from_millis(599), "peer_timeout"),
            (|knobs| knobs.round_deadline_max = Span::from_secs(4), "round_deadline_max"),
            (|knobs| knobs.joiner_ttl = Span::from_millis(999), "joiner_ttl"),
            (|knobs| knobs.members_max = 0, "members_max"),
            (|knobs| knobs.early_max = 0, "early_max"),
            (|knobs| knobs.members_max = u32::MAX, "members_max"),
        ];
        for (change, knob) in cases {
            let mut knobs = Knobs::default();
            change(&mut knobs);
            assert_eq!(knobs.validate().map_err(|invalid| invalid.knob), Err(knob));
        }
    }

    #[test]
    fn deadlines_double_up_to_their_limit() {
        let knobs = Knobs::default();
        for (overruns, secs) in [(0, 5), (1, 10), (2, 20), (3, 20), (40, 20), (u32::MAX, 20)] {
            assert_eq!(knobs.deadline(overruns), Span::from_secs(secs), "after {overruns}");
        }
    }
}
