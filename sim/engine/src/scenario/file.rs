//! The grammar of scenario files: one optional key per action, so that an error points at the exact word.

use crate::RestartDisk;
use crate::scenario::field::Fields;
use crate::scenario::nodes::Nodes;
use crate::scenario::values::{Duration, Durations, Memory, Seed, Share, Shift};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A scenario: a system, what happens to it, and what must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "T: DeserializeOwned, K: DeserializeOwned, W: DeserializeOwned"))]
#[schemars(rename = "Scenario")]
pub struct File<T: Default, K: Default, W: Default> {
    /// What it is about, in a few words.
    pub title: String,
    /// The ids of the properties that this file was written for.
    #[serde(default)]
    pub guards: Vec<String>,
    /// The end of the fault phase; 60s by default.
    pub horizon: Option<Duration>,
    /// The end of the warm-up, in which no generated fault strikes; 0s by default.
    pub warm_up: Option<Duration>,
    /// Whether the run goes on after the fault phase, heals a core and judges liveness; true by default.
    pub stabilise: Option<bool>,
    /// How many seeds a sweep takes unless it is told; 20 by default.
    pub seeds: Option<u32>,
    /// What it needs of the engine that drives it, besides what it says; an engine without that refuses it.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The nodes of the system.
    #[serde(default)]
    pub topology: T,
    /// The settings of the system.
    #[serde(default)]
    pub knobs: K,
    /// What the system is asked to do.
    #[serde(default)]
    pub workload: W,
    /// The quality of every link that no fault has changed.
    pub network: Option<QualityTable>,
    /// The quality of every disk that no fault has changed.
    pub disk: Option<DiskTable>,
    /// How clocks start.
    pub clocks: Option<ClocksTable>,
    /// Zones, hosts, racks: names for sets of nodes, besides those of the system.
    #[serde(default)]
    pub groups: BTreeMap<String, Nodes>,
    /// Nodes that are not started at the beginning; a `restart` starts them.
    pub absent: Option<Nodes>,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<FaultTable>,
    /// Failure rates that failures raise: cascades.
    #[serde(default)]
    pub hazard: Vec<HazardTable>,
    /// What generated faults may break at most.
    pub budget: Option<BudgetTable>,
    /// The limits of the run itself.
    pub limits: Option<LimitsTable>,
    /// How far `squall explore` goes.
    pub explore: Option<ExploreTable>,
    /// What must come of it.
    #[serde(default)]
    pub expect: ExpectTable,
    /// Which bug it reproduces, for files of bugs that were found.
    pub regress: Option<RegressTable>,
}

/// What not every engine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Messages and steps take exactly the time that the file says, to the nanosecond.
    ExactTime,
}

/// How messages travel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityTable {
    /// One-way delay; 1ms..10ms by default.
    pub delay: Option<DelayValue>,
    /// The share of messages that are lost.
    pub loss: Option<Share>,
    /// The share of messages that arrive twice.
    pub duplicate: Option<Share>,
    /// The share of messages that later ones overtake.
    pub reorder: Option<Share>,
    /// The share of messages of which a bit flips; their receiver notices and drops them.
    pub corrupt: Option<Share>,
    /// Messages a second; more have to queue.
    pub bandwidth: Option<u32>,
}

/// A delay: `"1ms..10ms"`, `{ exponential = "5ms", low = "1ms", high = "100ms" }` or `{ heavy_tail = "1ms..1s" }`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DelayValue {
    /// Each value of the range alike.
    Uniform(Durations),
    /// Another distribution.
    Shaped(DelayTable),
}

/// A distribution of delays.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelayTable {
    /// The mean of what is added to `low`.
    pub exponential: Option<Duration>,
    /// The shortest delay; 0s by default.
    pub low: Option<Duration>,
    /// The longest delay; `low` and ten times the mean by default.
    pub high: Option<Duration>,
    /// A Pareto tail of shape 1.5 that starts at the shortest and is cut off at the longest delay.
    pub heavy_tail: Option<Durations>,
}

/// How a disk behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskTable {
    /// How long a sync takes; 100us..2ms by default.
    pub sync: Option<Durations>,
    /// After how many records a snapshot is written; 1000 by default.
    pub snapshot_every: Option<u32>,
}

/// How the clocks start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClocksTable {
    /// Each monotonic clock is fast or slow by up to this many millionths.
    pub drift_ppm: Option<u32>,
    /// Each calendar is off by up to this much.
    pub wall_offset: Option<Duration>,
}

/// One fault: exactly one of `at`, `on`, `every`, `rate`, and exactly one action.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultTable {
    /// Once, at this time, or at one drawn from this range.
    pub at: Option<Durations>,
    /// Once, when something happens.
    pub on: Option<OnTable>,
    /// Again and again with this period, between `from` and `until`.
    pub every: Option<Duration>,
    /// At random moments with this mean distance, between `from` and `until`.
    pub rate: Option<Duration>,
    /// With `every` and `rate`: not earlier; the end of the warm-up by default.
    pub from: Option<Duration>,
    /// With `every` and `rate`: not later; the horizon by default.
    pub until: Option<Duration>,
    /// The process dies. Undone by a restart.
    pub crash: Option<Nodes>,
    /// A process that is down starts again, with the disk that `disk` names, at a new address if `moved`.
    pub restart: Option<Nodes>,
    /// With `restart`: whether it comes back at a new address.
    pub moved: Option<bool>,
    /// The process stops running; its messages wait. Undone by a resume.
    pub pause: Option<Nodes>,
    /// The process runs again.
    pub resume: Option<Nodes>,
    /// Every step takes `step` from now on. Undone by full speed.
    pub slow: Option<Nodes>,
    /// With `slow`: how long a step takes.
    pub step: Option<Duration>,
    /// The process is asked to leave in good order.
    pub drain: Option<Nodes>,
    /// A local client or operator asks something.
    pub request: Option<RequestTable>,
    /// Nothing passes between two sides. Undone by healing.
    pub cut: Option<LinksTable>,
    /// Nothing passes between any two of these sides. Undone by healing.
    pub partition: Option<Vec<Nodes>>,
    /// Nothing passes between two random halves of these. Undone by healing.
    pub split: Option<Nodes>,
    /// Nothing passes between each of these and everybody else. Undone by healing.
    pub isolate: Option<Nodes>,
    /// Nothing reaches these. Undone by healing.
    pub isolate_in: Option<Nodes>,
    /// Nothing leaves these. Undone by healing.
    pub isolate_out: Option<Nodes>,
    /// Messages wait in the links. Undone by releasing them.
    pub clog: Option<LinksTable>,
    /// The links get another quality. Undone by the old one.
    pub degrade: Option<DegradeTable>,
    /// Ends every cut, clog and degradation between the two sides.
    pub heal: Option<LinksTable>,
    /// The next messages that match are lost.
    pub drop_next: Option<NextTable>,
    /// The next messages that match arrive later.
    pub delay_next: Option<NextTable>,
    /// The next messages that match arrive more than once.
    pub duplicate_next: Option<NextTable>,
    /// The clock changes.
    pub clock: Option<ClockTable>,
    /// The disk changes; or, as text beside `restart`, what a restarted process finds: "same", "wiped", "older".
    pub disk: Option<DiskValue>,
    /// After how long it is undone; drawn if it is a range.
    #[serde(rename = "for")]
    pub lasts: Option<Durations>,
    /// Whether the run counts even if this never struck; false by default.
    pub may_miss: Option<bool>,
}

/// What a trigger waits for: exactly one of `message`, `event`, `record`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnTable {
    /// A message of this kind, or "any".
    pub message: Option<String>,
    /// With `message`: its sender.
    pub from: Option<Nodes>,
    /// With `message`: its receiver.
    pub to: Option<Nodes>,
    /// With `message`: when it is sent, or before or after its receiver takes it; "before" by default.
    pub moment: Option<MomentWord>,
    /// An event of this kind.
    pub event: Option<String>,
    /// With `event`: where.
    pub at: Option<Nodes>,
    /// With `event`: fields that it must show, such as `{ member = "r3", "quorum.members.len" = 4 }`.
    #[serde(rename = "where")]
    pub fields: Option<Fields>,
    /// A record is written by one of these nodes, and not yet synced.
    pub record: Option<Nodes>,
    /// Which occurrence, from 1; the first by default.
    pub nth: Option<u32>,
    /// How much later.
    pub after: Option<Duration>,
}

/// The moment in the life of a message at which a trigger looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MomentWord {
    /// When it leaves its sender.
    Sent,
    /// Before its receiver sees it.
    Before,
    /// After its receiver's step.
    After,
}

/// What a local client asks.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestTable {
    /// Whom.
    pub node: Nodes,
    /// What: one of the names that the system knows.
    pub what: String,
}

/// Links between two sides; a side that isn't named is everybody.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinksTable {
    /// One side.
    pub from: Option<Nodes>,
    /// The other side.
    pub to: Option<Nodes>,
    /// Whether only messages from the one to the other are meant; false by default.
    pub one_way: Option<bool>,
}

/// Links, and what changes about them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DegradeTable {
    /// One side; everybody by default.
    pub from: Option<Nodes>,
    /// The other side; everybody by default.
    pub to: Option<Nodes>,
    /// Whether only messages from the one to the other are meant; false by default.
    pub one_way: Option<bool>,
    /// One-way delay.
    pub delay: Option<DelayValue>,
    /// The share of messages that are lost.
    pub loss: Option<Share>,
    /// The share of messages that arrive twice.
    pub duplicate: Option<Share>,
    /// The share of messages that later ones overtake.
    pub reorder: Option<Share>,
    /// The share of messages of which a bit flips.
    pub corrupt: Option<Share>,
    /// Messages a second.
    pub bandwidth: Option<u32>,
}

/// The next messages that match.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextTable {
    /// Of which kind; any by default.
    pub message: Option<String>,
    /// Their sender; anybody by default.
    pub from: Option<Nodes>,
    /// Their receiver; anybody by default.
    pub to: Option<Nodes>,
    /// How many; 1 by default.
    pub count: Option<u32>,
    /// With `delay_next`: how much later they arrive.
    pub by: Option<Duration>,
    /// With `duplicate_next`: how many times more; 1 by default.
    pub copies: Option<u32>,
    /// With `duplicate_next`: how much later at most; 0s by default.
    pub within: Option<Duration>,
}

/// How a clock changes: exactly one key besides `node`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockTable {
    /// Whose.
    pub node: Nodes,
    /// The monotonic clock runs this many millionths fast; negative: slow.
    pub drift_ppm: Option<i32>,
    /// The calendar jumps.
    pub wall_step: Option<Shift>,
    /// The calendar jumps there and back at every reading.
    pub wall_strobe: Option<Shift>,
    /// The monotonic clock jumps ahead. Outside the fault model.
    pub step: Option<Duration>,
    /// The monotonic clock stands still. Outside the fault model.
    pub freeze: Option<bool>,
}

/// The key `disk` of a fault: an action of its own, or what a restarted process finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskValue {
    /// What a restarted process finds.
    Found(RestartDisk),
    /// How the disk changes.
    Change(DiskFaultTable),
}

/// How a disk changes: exactly one key besides `node`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFaultTable {
    /// Whose.
    pub node: Nodes,
    /// Every sync takes between these.
    pub sync: Option<Durations>,
    /// Writes wait for space.
    pub full: Option<bool>,
    /// Writes never answer.
    pub stuck: Option<bool>,
    /// A synced record can't be read at the next start.
    pub unreadable: Option<bool>,
    /// The last unsynced write of the next crash is torn.
    pub torn: Option<bool>,
}

/// A failure rate that a failure raises for its own group.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HazardTable {
    /// The groups, each with a rate of its own.
    pub groups: Vec<String>,
    /// The mean time between failures of one node, while nothing has happened.
    pub mean: Duration,
    /// By how much a failure multiplies the rate of its group; 1 by default.
    pub factor: Option<u32>,
    /// For how long after a failure; 30s by default.
    pub window: Option<Duration>,
    /// How long who fails stays down.
    pub down: Durations,
    /// Begins here; at the end of the warm-up by default.
    pub from: Option<Duration>,
    /// Ends here; at the horizon by default.
    pub until: Option<Duration>,
}

/// What generated faults may break at most.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    /// The most nodes that are down, paused or cut off at once.
    pub impaired_max: Option<u32>,
    /// Nodes that generated faults leave alone.
    pub spared: Option<Nodes>,
}

/// The limits of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// The most steps of all machines together; reached: inconclusive.
    pub steps_max: Option<u64>,
    /// The most steps within one instant; reached: LV5 is violated.
    pub steps_per_instant_max: Option<u64>,
    /// The most messages that wait for one paused or slow process.
    pub inbox_max: Option<u32>,
}

/// How far an exhaustive search goes. What it doesn't allow doesn't happen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExploreTable {
    /// How many messages may be lost on a path; only with `delay`. 0 by default.
    pub losses: Option<u8>,
    /// How many messages may arrive twice on a path; 0 by default.
    pub duplicates: Option<u8>,
    /// How many processes may die on a path, besides those that `budget` spares; 0 by default.
    pub crashes: Option<u8>,
    /// How many processes may start again on a path; 0 by default.
    pub restarts: Option<u8>,
    /// How many deadlines may be reached on a path; 0 by default, with `time` any number.
    pub wakes: Option<u32>,
    /// The latest deadline that may be reached.
    pub time: Option<Duration>,
    /// The longest way of a message: the clock doesn't go on beyond it. For ever by default.
    pub delay: Option<Duration>,
    /// The longest path, in moves; any by default.
    pub depth: Option<u32>,
    /// The most states; reached: inconclusive. 3,000,000,000 by default.
    pub states: Option<u64>,
    /// The most memory; reached: inconclusive. 512MiB by default.
    pub memory: Option<Memory>,
}

/// What must come of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectTable {
    /// Everything holds: the default.
    pub verdict: Option<VerdictWord>,
    /// At least one seed violates this property, and none another one.
    pub violates: Option<String>,
    /// What must be seen in the history.
    #[serde(default)]
    pub event: Vec<ExpectEventTable>,
    /// How much must get done, beside the same seed without faults.
    pub goodput: Option<ExpectGoodputTable>,
}

/// How much must get done up to the horizon, beside a run of the same seed without any fault or hazard.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectGoodputTable {
    /// The kind of event that is a piece of work done.
    pub event: String,
    /// At which nodes; anywhere by default.
    pub at: Option<Nodes>,
    /// Fields that it must show, as in `[[expect.event]]`.
    #[serde(rename = "where")]
    pub fields: Option<Fields>,
    /// The smallest share of what gets done without faults: `"90%"`.
    pub at_least: Share,
}

/// The only verdict that can be expected by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// Everything holds.
    Pass,
}

/// How often events of a kind must be seen; at least once if no number is given.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectEventTable {
    /// The kind of event.
    pub name: String,
    /// At which nodes; anywhere by default.
    pub at: Option<Nodes>,
    /// Fields that it must show; a number may be compared: `"> 3"`, `"<= 5"`, `"!= 0"`.
    #[serde(rename = "where")]
    pub fields: Option<Fields>,
    /// Not fewer.
    pub at_least: Option<u64>,
    /// Not more.
    pub at_most: Option<u64>,
    /// So many.
    pub exactly: Option<u64>,
    /// Only from this time on.
    pub from: Option<Duration>,
    /// Only up to this time.
    pub until: Option<Duration>,
    /// Only after the first event of this kind.
    pub after: Option<String>,
    /// Only before the first event of this kind.
    pub before: Option<String>,
    /// In which part of the run: "faults", warm-up included (the default), or "any".
    pub phase: Option<PhaseWord>,
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseWord {
    /// Up to the horizon, warm-up included.
    Faults,
    /// All of it.
    Any,
}

/// Which bug a file reproduces. A run that no longer reaches the marks is stale: it shows nothing about the bug.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegressTable {
    /// The seed that showed it.
    pub seed: Seed,
    /// The property that was violated.
    pub property: Option<String>,
    /// The fingerprint of the run that violated it.
    pub fingerprint: Option<String>,
    /// Kinds of events that a run must still show.
    #[serde(default)]
    pub marks: Vec<String>,
}

/// A key that is either text or a table.
struct TextOr<T> {
    expecting: &'static str,
    text: fn(&str) -> Result<T, String>,
}

impl<'de, T: TableForm> Visitor<'de> for TextOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(format!("the number {number} stands where {} belongs", self.expecting)))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Table::deserialize(MapAccessDeserializer::new(map)).map(T::of_table)
    }
}

/// What has a form as a table.
trait TableForm {
    type Table: DeserializeOwned;
    fn of_table(table: Self::Table) -> Self;
}

impl TableForm for DelayValue {
    type Table = DelayTable;
    fn of_table(table: DelayTable) -> Self {
        Self::Shaped(table)
    }
}

impl TableForm for DiskValue {
    type Table = DiskFaultTable;
    fn of_table(table: DiskFaultTable) -> Self {
        Self::Change(table)
    }
}

impl<'de> Deserialize<'de> for DelayValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expecting: "a delay: \"1ms..10ms\", { exponential = \"5ms\" } or { heavy_tail = \"1ms..1s\" }",
            text: |text| text.parse().map(Self::Uniform),
        })
    }
}

impl<'de> Deserialize<'de> for DiskValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expecting: "\"same\", \"wiped\" or \"older\" beside `restart`, or what happens to a disk: { node = .., full = true }",
            text: |text| match text {
                "same" => Ok(Self::Found(RestartDisk::Same)),
                "wiped" => Ok(Self::Found(RestartDisk::Wiped)),
                "older" => Ok(Self::Found(RestartDisk::Older)),
                wrong => Err(format!("unknown disk `{wrong}`: there are \"same\", \"wiped\", \"older\"")),
            },
        })
    }
}

impl Serialize for DelayValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uniform(range) => range.serialize(serializer),
            Self::Shaped(table) => table.serialize(serializer),
        }
    }
}

impl Serialize for DiskValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Found(RestartDisk::Same) => serializer.serialize_str("same"),
            Self::Found(RestartDisk::Wiped) => serializer.serialize_str("wiped"),
            Self::Found(RestartDisk::Older) => serializer.serialize_str("older"),
            Self::Change(table) => table.serialize(serializer),
        }
    }
}

impl JsonSchema for DelayValue {
    fn schema_name() -> Cow<'static, str> {
        "Delay".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (text, table) = (generator.subschema_for::<Durations>(), generator.subschema_for::<DelayTable>());
        json_schema!({ "anyOf": [text, table] })
    }
}

impl JsonSchema for DiskValue {
    fn schema_name() -> Cow<'static, str> {
        "DiskFault".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<DiskFaultTable>();
        json_schema!({ "anyOf": [{ "enum": ["same", "wiped", "older"] }, table] })
    }
}
