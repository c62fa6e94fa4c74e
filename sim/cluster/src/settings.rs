//! The `[knobs]` of a scenario file.

mod scheduler;

pub use scheduler::{AdaptationTable, BoundsTable, BreakerTable, PlacementRule, VitalsTable};

use crate::Authority;
use schemars::JsonSchema;
use serde::Deserialize;
use squall::InvalidKey;
use squall::scenario::{Duration, Share};

/// The knobs that both authorities have under one key.
macro_rules! shared_counts {
    ($settings:expr, $knobs:expr, { $($count:ident),+ }) => {
        $(if let Some(count) = $settings.$count { $knobs.$count = count; })+
    };
}

/// Defines the table, and how it becomes the settings of the protocols: one optional key per knob.
macro_rules! settings {
    (
        coordinator {
            spans { $($(#[doc = $span_doc:literal])* $span:ident),+ $(,)? }
            counts { $($(#[doc = $count_doc:literal])* $count:ident),+ $(,)? }
        }
        peers {
            spans { $($(#[doc = $peer_span_doc:literal])* $peer_span:ident),+ $(,)? }
            counts { $($(#[doc = $peer_count_doc:literal])* $peer_count:ident),+ $(,)? }
        }
        shared { $($(#[doc = $shared_doc:literal])* $shared:ident),+ $(,)? }
        tasks { $($(#[doc = $task_doc:literal])* $task:ident: $task_type:ty),+ $(,)? }
    ) => {
        /// Settings of the authority in force that differ from the defaults of the specification.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $($(#[doc = $span_doc])* pub $span: Option<Duration>,)+
            $($(#[doc = $count_doc])* pub $count: Option<u32>,)+
            $($(#[doc = $peer_span_doc])* pub $peer_span: Option<Duration>,)+
            $($(#[doc = $peer_count_doc])* pub $peer_count: Option<u32>,)+
            $($(#[doc = $shared_doc])* pub $shared: Option<u32>,)+
            $($(#[doc = $task_doc])* pub $task: Option<$task_type>,)+
        }

        impl Settings {
            /// The settings of coordinator and members, with the defaults of the specification where the table is silent.
            ///
            /// # Errors
            /// The first key that can't be.
            pub fn knobs(&self) -> Result<squall_coordinator::Knobs, InvalidKey> {
                let mut knobs = squall_coordinator::Knobs::default();
                // A knob without a key would not be settable: taking the settings apart names them all.
                let squall_coordinator::Knobs { $($span: _,)+ $($count: _,)+ $($shared: _,)+ } = &knobs;
                $(if let Some(Duration(span)) = self.$span { knobs.$span = span; })+
                $(if let Some(count) = self.$count { knobs.$count = count; })+
                shared_counts!(self, knobs, { $($shared),+ });
                knobs.validate().map_err(|invalid| InvalidKey::new(&["knobs", invalid.knob], invalid.problem))?;
                Ok(knobs)
            }

            /// The settings of peers, likewise.
            ///
            /// # Errors
            /// The first key that can't be.
            pub fn peer_knobs(&self) -> Result<squall_recovery::Knobs, InvalidKey> {
                let mut knobs = squall_recovery::Knobs::default();
                let squall_recovery::Knobs { $($peer_span: _,)+ $($peer_count: _,)+ $($shared: _,)+ } = &knobs;
                $(if let Some(Duration(span)) = self.$peer_span { knobs.$peer_span = span; })+
                $(if let Some(count) = self.$peer_count { knobs.$peer_count = count; })+
                shared_counts!(self, knobs, { $($shared),+ });
                knobs.validate().map_err(|invalid| InvalidKey::new(&["knobs", invalid.knob], invalid.problem))?;
                Ok(knobs)
            }

            /// The first key about tasks that is set, if there is one.
            fn about_tasks(&self) -> Option<&'static str> {
                $(if self.$task.is_some() { return Some(stringify!($task)); })+
                None
            }

            /// A key that is set, but means nothing under this authority.
            ///
            /// # Errors
            /// The first one.
            pub fn check_authority(&self, authority: Authority) -> Result<(), InvalidKey> {
                let set = match authority {
                    Authority::Coordinator => [
                        $((stringify!($peer_span), self.$peer_span.is_some()),)+
                        $((stringify!($peer_count), self.$peer_count.is_some()),)+
                    ].to_vec(),
                    Authority::Peers | Authority::Published => [
                        $((stringify!($span), self.$span.is_some()),)+
                        $((stringify!($count), self.$count.is_some()),)+
                    ].to_vec(),
                };
                match set.into_iter().find(|(_, is_set)| *is_set) {
                    Some((knob, _)) => Err(InvalidKey::new(&["knobs", knob], "has no meaning under this authority")
                        .hint("see topology.authority")),
                    None => Ok(()),
                }
            }
        }
    };
}

settings! {
    coordinator {
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
            /// The most subscriber sessions. Default 4096.
            sessions_max,
            /// The longest opaque data of a request, in bytes. Default 65536.
            data_bytes_max,
        }
    }
    peers {
        spans {
            /// How often a peer pings, tells its leader, and repeats what wasn't answered. Default 200ms.
            ping,
            /// How long a peer may leave what it is asked without an answer. Default 2s.
            peer_timeout,
            /// How long a ballot waits for its answers, the first time. Default 5s.
            round_deadline,
            /// The longest that a ballot waits. Default 20s.
            round_deadline_max,
            /// How often a process that is no member asks to join. Default 500ms.
            join,
            /// How long after its last request a joiner is still known. Default 2s.
            joiner_ttl,
        }
        counts {
            /// The most joiners that are known at once. Default 1024.
            joiners_max,
            /// How many decisions are kept for those who missed them. Default 64.
            decisions_kept,
            /// The most messages of later generations that are kept while their receiver catches up. Default 64.
            early_max,
            /// The most local subscribers of a peer. Default 64.
            subscribers_max,
        }
    }
    shared {
        /// How many notifications a subscriber may be sent that it hasn't acknowledged. Default 256.
        subscriber_queue,
        /// How many notifications are kept for those who resume. Default 4096.
        notices_kept,
        /// The most members: with a coordinator alive, granted and ended ones together (default 20000), with peers those of one
        /// communicator (default 4096).
        members_max,
        /// The longest id, address or other text of a member, in bytes. Default 1024.
        text_bytes_max,
    }
    tasks {
        /// How often waiting tasks are looked at again, although nothing happened. Default 100ms. (tasks)
        scheduler_tick: Duration,
        /// After how long what wasn't answered about tasks is sent again. Default 500ms. (tasks)
        task_resend: Duration,
        /// How often a worker says how it is and what it runs. Default 5s. (tasks)
        beat: Duration,
        /// The delay before the first retry. Default 5s. (tasks)
        retry_base: Duration,
        /// What each further retry multiplies the delay by. Default 2. (tasks)
        retry_factor: u32,
        /// The longest delay, before jitter. Default 60s. (tasks)
        retry_cap: Duration,
        /// How far a delay may lie from the law, to either side. Default "20%". (tasks)
        retry_jitter: Share,
        /// How often a task is tried again after a failure, if it doesn't say so itself. Default 3. (tasks)
        max_retries: u32,
        /// How many workers a task may lose and still go on. Default 3. (tasks)
        max_losses: u32,
        /// How long an attempt may run, if its task doesn't say so itself. Default 10m. (tasks)
        run_limit: Duration,
        /// Which share of the starts in a window may be retries. Default "20%". (tasks)
        retry_share: Share,
        /// How many retries in a window are always allowed. Default 10. (tasks)
        retry_floor: u32,
        /// How far back starts are counted. Default 10s. (tasks)
        retry_window: Duration,
        /// How many failures of one group are a pattern. Default 3. (tasks)
        pattern_size: u32,
        /// For how long a failure counts towards a pattern. Default 1h. (tasks)
        pattern_window: Duration,
        /// The most workers whose failures are remembered. Default 4096. (tasks)
        pattern_workers_max: u32,
        /// How workers are chosen: "round_robin", "rts" or "least_loaded". Default "rts". (tasks)
        placement: PlacementRule,
        /// The breakers of workers. (tasks)
        worker_breaker: BreakerTable,
        /// The breakers of hardware classes. (tasks)
        class_breaker: BreakerTable,
        /// The breakers of task types. (tasks)
        type_breaker: BreakerTable,
        /// How long a probe holds its permit, unless three times its expected run time is longer. Default 60s. (tasks)
        probe_max: Duration,
        /// What a host may report and still be healthy. (tasks)
        vitals: VitalsTable,
        /// How many complete checkpoints of a task are kept. Default 5. (tasks)
        checkpoints_kept: u32,
        /// Whether thresholds, open times and the order of ladders adapt. Default false. (tasks)
        self_healing: bool,
        /// How they adapt, and between what. (tasks)
        adaptation: AdaptationTable,
        /// How often the scheduler's uptime is made durable while there is work. Default 10s. (tasks)
        clock: Duration,
        /// The most tasks that wait. Default 10000. (tasks)
        queued_max: u32,
        /// How many tasks that have ended are remembered. Default 100000. (tasks)
        terminal_kept: u32,
        /// The most workers. Default 20000. (tasks)
        workers_max: u32,
        /// The most leases of a worker. Default 256. (tasks)
        leases_max: u32,
        /// The largest payload of a task, in bytes. Default 1048576. (tasks)
        payload_bytes_max: u32,
        /// The largest result of a task, in bytes. Default 65536. (tasks)
        result_bytes_max: u32,
        /// The most capabilities of a task or a worker. Default 64. (tasks)
        capabilities_max: u32,
        /// The most tasks in one question of a client. Default 1024. (tasks)
        poll_max: u32,
        /// The most tasks that the checkpoint store holds anything of. Default 100000. (tasks)
        store_tasks_max: u32,
        /// The most checkpoints of a task in the store, complete or not. Default 16. (tasks)
        store_saves_max: u32,
        /// The most of them that aren't complete. Default 4. (tasks)
        store_incomplete_max: u32,
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
    fn a_key_of_the_other_authority_is_refused() {
        let table = Settings { ping: Some(Duration(Span::from_millis(100))), ..Settings::default() };
        assert_eq!(table.peer_knobs().map(|knobs| knobs.ping), Ok(Span::from_millis(100)));
        assert_eq!(table.check_authority(Authority::Peers), Ok(()));
        let refused = table.check_authority(Authority::Coordinator);
        assert_eq!(refused.map_err(|invalid| invalid.path.join(".")), Err("knobs.ping".to_owned()));
        let both = Settings { notices_kept: Some(9), ..Settings::default() };
        assert_eq!(both.knobs().map(|knobs| knobs.notices_kept), Ok(9));
        assert_eq!(both.peer_knobs().map(|knobs| knobs.notices_kept), Ok(9));
        assert_eq!(both.check_authority(Authority::Coordinator), Ok(()));
    }

    #[test]
    fn what_the_protocol_refuses_is_named_by_its_key() {
        let table = Settings { lapse: Some(Duration(Span::from_secs(5))), ..Settings::default() };
        assert_eq!(table.knobs().map_err(|invalid| invalid.path.join(".")), Err("knobs.lapse".to_owned()));
    }
}
