//! The `[workload]` of a scenario file: what the local ranks of the replicas do, and which tasks there are.

use crate::tasks::Tasks;
use crate::topology::named;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use squall::scenario::{Durations, Share};
use squall::{InvalidKey, NodeSet};
use squall_machine::{Random, Span};
use std::borrow::Cow;
use std::fmt;

/// What the local ranks of the replicas do: ask for a quorum, compute a step, vote on it, again and again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Whether the replicas train: all (`true`), none, or those named. Who doesn't only registers. Default true.
    pub trains: Who,
    /// Replicas that don't train from the beginning; the request `train` starts them.
    pub idle: Vec<String>,
    /// When local ranks first ask, after the start of their process. Default "0s..1s".
    pub start: Durations,
    /// How long a step computes. Default "100ms..2s".
    pub step: Durations,
    /// Replicas whose steps take longer.
    pub slow_steps: Option<SlowSteps>,
    /// After how many steps a replica stops to ask. Default: never.
    pub steps_max: Option<u64>,
    /// How far the ranks of a replica are apart when they ask. Default "0s..20ms".
    pub ask_stagger: Durations,
    /// After how long a rank that was answered with an error asks again. Default "100ms..1s".
    pub retry: Durations,
    /// The share of requests whose client gives up after `patience`.
    pub withdraw: Share,
    /// After how long such a client gives up. Default "1s..20s".
    pub patience: Durations,
    /// Who asks that nobody from outside joins: a share of all requests, or the replicas named.
    pub shrink_only: Shrink,
    /// The share of steps that all ranks of a replica find bad; the failed commit is reported with the next request.
    pub commit_failures: Share,
    /// The share of votes that are against, of single ranks.
    pub vote_no: Share,
    /// The share of requests in which a rank claims to be at another step than the others of its replica.
    pub rank_disagreement: Share,
    /// The share of calls that a rank makes twice.
    pub rank_duplicates: Share,
    /// The share of votes that come after one in the quorum before, of those followed by a late one for the step before, and of
    /// ranks that go on computing and vote when their replica has stopped being Active.
    pub stale_votes: Share,
    /// Whether all replicas take the primary's weights at step 0. Default true.
    pub init_sync: bool,
    /// The tasks that clients submit. Without this table there are none, and workers only register.
    pub tasks: Option<Tasks>,
}

/// Steps of some replicas that take longer than those of the others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlowSteps {
    /// Whose.
    pub nodes: Vec<String>,
    /// How long they compute.
    pub step: Durations,
    /// How many steps of the usual length come first, in each life of the process. Default 0.
    #[serde(default)]
    pub after: u64,
}

/// Some of the replicas: all or none of them, or a list of names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// All of them, or none.
    All(bool),
    /// Those named.
    Named(Vec<String>),
}

/// Which requests ask that nobody from outside joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shrink {
    /// A share of all, drawn.
    Share(Share),
    /// All of the replicas named.
    Named(Vec<String>),
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            trains: Who::All(true),
            idle: Vec::new(),
            start: millis(0, 1_000),
            step: millis(100, 2_000),
            slow_steps: None,
            steps_max: None,
            ask_stagger: millis(0, 20),
            retry: millis(100, 1_000),
            withdraw: Share::default(),
            patience: millis(1_000, 20_000),
            shrink_only: Shrink::Share(Share::default()),
            commit_failures: Share::default(),
            vote_no: Share::default(),
            rank_disagreement: Share::default(),
            rank_duplicates: Share::default(),
            stale_votes: Share::default(),
            init_sync: true,
            tasks: None,
        }
    }
}

/// The range from `low` to `high` milliseconds.
pub(crate) const fn millis(low: u64, high: u64) -> Durations {
    Durations { low: Span::from_millis(low), high: Span::from_millis(high) }
}

/// A length out of the range, each alike.
pub(crate) fn draw(range: Durations, random: &mut Random) -> Span {
    random.span(range.low, range.high)
}

/// The workload with its names resolved.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    /// Who trains from the beginning.
    pub(crate) training: NodeSet,
    /// Who makes slow steps.
    pub(crate) slow: NodeSet,
    /// Who always asks that nobody joins.
    pub(crate) shrinking: NodeSet,
}

impl Workload {
    /// Resolves the names of replicas.
    ///
    /// # Errors
    /// The first key that names something else.
    pub(crate) fn assign(&self, nodes: &[String], replicas: &NodeSet) -> Result<Assigned, InvalidKey> {
        let resolve = |path: &[&str], names: &[String]| {
            let mut set = NodeSet::default();
            for name in names {
                for node in named(name, nodes).map_err(|problem| InvalidKey::new(path, problem))? {
                    if !replicas.contains(node) {
                        let problem = format!("{} is no replica", nodes[node.index()]);
                        return Err(InvalidKey::new(path, problem).hint("only replicas, r0 and so on, train"));
                    }
                    set.insert(node);
                }
            }
            Ok(set)
        };
        let mut training = match &self.trains {
            Who::All(true) => replicas.clone(),
            Who::All(false) => NodeSet::default(),
            Who::Named(names) => resolve(&["workload", "trains"], names)?,
        };
        for node in resolve(&["workload", "idle"], &self.idle)?.iter() {
            training.remove(node);
        }
        let slow = match &self.slow_steps {
            Some(slow) => resolve(&["workload", "slow_steps", "nodes"], &slow.nodes)?,
            None => NodeSet::default(),
        };
        let shrinking = match &self.shrink_only {
            Shrink::Share(_) => NodeSet::default(),
            Shrink::Named(names) => resolve(&["workload", "shrink_only"], names)?,
        };
        Ok(Assigned { training, slow, shrinking })
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Who;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of names such as [\"r0\", \"r2..r4\"]")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<Who, E> {
                Ok(Who::All(all))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, names: A) -> Result<Who, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(names)).map(Who::Named)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Shrink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Shrink;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as \"5%\" or a list of names such as [\"r0\", \"r2..r4\"]")
            }

            fn visit_str<E: de::Error>(self, share: &str) -> Result<Shrink, E> {
                share.parse().map(Shrink::Share).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, names: A) -> Result<Shrink, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(names)).map(Shrink::Named)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Who {
    fn schema_name() -> Cow<'static, str> {
        "Who".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl JsonSchema for Shrink {
    fn schema_name() -> Cow<'static, str> {
        "Shrink".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = Share::json_schema(generator);
        json_schema!({ "anyOf": [share, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl Workload {
    /// The longest step that any replica makes.
    pub(crate) fn step_longest(&self) -> Span {
        let slow = self.slow_steps.as_ref().map_or(self.step.high, |slow| slow.step.high);
        self.step.high.max(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> (Vec<String>, NodeSet) {
        let nodes = ["c0", "r0", "r1", "r2", "w0"].map(str::to_owned).to_vec();
        (nodes, (1..4).map(squall::NodeId).collect())
    }

    fn parse(text: &str) -> Result<Workload, String> {
        toml::from_str(text).map_err(|problem| problem.message().to_owned())
    }

    #[test]
    fn names_are_resolved() {
        let (nodes, replicas) = nodes();
        let workload = parse("trains = [\"r0..r2\"]\nidle = [\"r1\"]\nshrink_only = [\"r2\"]").expect("a valid table");
        let assigned = workload.assign(&nodes, &replicas).expect("valid names");
        assert_eq!(assigned.training.iter().map(|node| node.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(assigned.shrinking.iter().map(|node| node.0).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn only_replicas_train() {
        let (nodes, replicas) = nodes();
        for (text, path) in [
            ("trains = [\"w0\"]", "workload.trains"),
            ("idle = [\"r9\"]", "workload.idle"),
            ("slow_steps = { nodes = [\"c0\"], step = \"90s\" }", "workload.slow_steps.nodes"),
        ] {
            let refused = parse(text).expect("well formed").assign(&nodes, &replicas).err();
            assert_eq!(refused.map(|invalid| invalid.path.join(".")), Some(path.to_owned()));
        }
    }

    #[test]
    fn what_is_malformed_says_what_would_be_right() {
        for (text, part) in [
            ("trains = 3", "true, false or a list"),
            ("shrink_only = \"often\"", "no share"),
            ("step = \"long\"", "duration"),
            ("stop = true", "unknown field `stop`"),
        ] {
            let problem = parse(text).err().unwrap_or_default();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
