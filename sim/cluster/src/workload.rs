//! The `[workload]` of a scenario file: what local clients do.

use schemars::JsonSchema;
use serde::Deserialize;

/// What the local ranks of the replicas do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {}
