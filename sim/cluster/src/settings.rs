//! The `[knobs]` of a scenario file.

use schemars::JsonSchema;
use serde::Deserialize;
use squall::InvalidKey;
use squall::scenario::Duration;

/// Defines the table, and how it becomes the settings of the protocol: one optional key per knob.
macro_rules! settings {
    (spans { $($(#[doc = $span_doc:literal])* $span:ident),+ $(,)? } counts { $($(#[doc = $count_doc:literal])* $count:ident),+ $(,)? }) => {
        /// Settings of coordinator and members that differ from the defaults of the specification.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $($(#[doc = $span_doc])* pub $span: Option<Duration>,)+
            $($(#[doc = $count_doc])* pub $count: Option<u32>,)+
        }

        impl Settings {
            /// The settings, with the defaults of the specification where the table is silent.
            ///
            /// # Errors
            /// The first key that can't be.
            pub fn knobs(&self) -> Result<squall_coordinator::Knobs, InvalidKey> {
                let mut knobs = squall_coordinator::Knobs::default();
                // A knob without a key would not be settable: taking the settings apart names them all.
                let squall_coordinator::Knobs { $($span: _,)+ $($count: _,)+ } = &knobs;
                $(if let Some(Duration(span)) = self.$span { knobs.$span = span; })+
                $(if let Some(count) = self.$count { knobs.$count = count; })+
                knobs.validate().map_err(|invalid| InvalidKey::new(&["knobs", invalid.knob], invalid.problem))?;
                Ok(knobs)
            }
        }
    };
}

settings! {
    spans {
        /// How often a replica's heartbeat leaves. Default 100ms.
        replica_heartbeat,
        /// How long a replica may be silent. Default 5s.
        replica_timeout,
        /// How often a worker's heartbeat leaves. Default 5s.
        worker_heartbeat,
        /// How long a worker may be silent. Default 30s.
        worker_timeout,
        /// How often overdue members are looked for. Default 1s.
        tick,
        /// How long a member is only suspected, after its timeout. Default 0s.
        grace,
        /// How long the first candidate waits for the other healthy replicas. Default 60s.
        join_timeout,
        /// How long a replica works without an acknowledged heartbeat, on its own clock. Default 4s.
        lapse,
        /// How long after its last accepted heartbeat an incarnation may still be Active. Default 5s.
        takeover,
        /// How long a session lives without being heard of. Default 60s.
        session_ttl,
        /// How often a subscriber says what it took. Default 1s.
        poll,
        /// How long an ended incarnation is remembered. Default 1h.
        forget_after,
        /// After how long an unanswered request is sent again. Default 500ms.
        resend,
        /// Over how long members spread their return. Default 2s.
        return_spread,
        /// How long a manager keeps a vote open. Default 60s.
        vote_timeout,
    }
    counts {
        /// The fewest members a quorum may have. Default 1.
        min_replicas,
        /// The largest drift of any clock from true time, in millionths. Default 1000.
        drift_ppm_max,
        /// How many notifications a subscriber may be sent that it hasn't acknowledged. Default 256.
        subscriber_queue,
        /// How many notifications are kept for those who resume. Default 4096.
        notices_kept,
        /// The most members, alive, granted and ended ones together. Default 20000.
        members_max,
        /// The most subscriber sessions. Default 4096.
        sessions_max,
        /// The longest id, address or other text of a member, in bytes. Default 1024.
        text_bytes_max,
        /// The longest opaque data of a request, in bytes. Default 65536.
        data_bytes_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Span;

    #[test]
    fn a_key_replaces_one_default() {
        let table = Settings { tick: Some(Duration(Span::from_secs(7))), ..Settings::default() };
        let expected = squall_coordinator::Knobs { tick: Span::from_secs(7), ..squall_coordinator::Knobs::default() };
        assert_eq!(table.knobs(), Ok(expected));
    }

    #[test]
    fn what_the_protocol_refuses_is_named_by_its_key() {
        let table = Settings { lapse: Some(Duration(Span::from_secs(5))), ..Settings::default() };
        assert_eq!(table.knobs().map_err(|invalid| invalid.path.join(".")), Err("knobs.lapse".to_owned()));
    }
}
