//! From the tables of a file to a plan: every name resolved, every number checked.

use crate::explore::Bounds;
use crate::scenario::diagnosis::{Keys, suggestion};
use crate::scenario::file::{DelayTable, DelayValue, ExploreTable, File, HazardTable, LimitsTable, QualityTable};
use crate::scenario::nodes::Names;
use crate::scenario::values::{Duration, Share};
use crate::{
    Budget, Clocks, Delay, DiskQuality, Hazard, InvalidKey, Layout, Limits, MessageOf, NodeSet, Plan, Quality,
    QualityPatch, System,
};
use squall_machine::{Kind, Span};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// The most nodes of a scenario.
const NODES_MAX: usize = 100_000;
/// The end of the fault phase, unless a file names one.
const HORIZON: Span = Span::from_secs(60);
/// The longest run: a hundred years keep every sum of times below the limit of nanoseconds.
const HORIZON_MAX: Span = Span::from_secs(100 * 365 * 86_400);
/// For how long a failure raises a hazard, unless a file says so.
const HAZARD_WINDOW: Span = Span::from_secs(30);
/// The most states of a search, unless a file says so.
const EXPLORE_STATES_MAX: u64 = 3_000_000_000;
/// The most memory of a search in bytes, unless a file says so.
const EXPLORE_MEMORY_MAX: u64 = 512 << 20;
/// A monotonic clock may be this wrong at most: half or double speed are far outside any model already.
pub(crate) const DRIFT_PPM_MAX: u32 = 500_000;

/// A lowered file.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) plan: Plan,
    pub(crate) explore: Option<Bounds>,
    pub(crate) problems: Vec<InvalidKey>,
}

/// What the lowering of parts needs to know, and where problems are gathered.
pub(crate) struct Lowering<'a, S: System> {
    pub(crate) names: Names<'a>,
    pub(crate) warm_up: Span,
    pub(crate) horizon: Span,
    problems: Vec<InvalidKey>,
    system: PhantomData<S>,
}

impl<S: System> Lowering<'_, S> {
    /// Keeps what is wrong and goes on, so that one look shows all problems of a file.
    pub(crate) fn keep<T>(&mut self, result: Result<T, InvalidKey>) -> Option<T> {
        result.map_err(|invalid| self.problems.push(invalid)).ok()
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, invalid: InvalidKey) {
        self.problems.push(invalid);
    }

    /// A time of the run, not beyond its horizon.
    pub(crate) fn moment(&mut self, given: Option<Duration>, default: Span, keys: &Keys) -> Span {
        let moment = given.map_or(default, |duration| duration.0);
        if moment > self.horizon {
            self.problem(
                keys.invalid(format!("{moment} is after the horizon, {}", self.horizon))
                    .hint("make it earlier, or set a longer `horizon`"),
            );
        }
        moment
    }

    /// A stretch of time of the run.
    pub(crate) fn stretch(&mut self, from: Option<Duration>, until: Option<Duration>, keys: &Keys) -> (Span, Span) {
        let (warm_up, horizon) = (self.warm_up, self.horizon);
        let first = self.moment(from, warm_up, &keys.key("from"));
        let last = self.moment(until, horizon, &keys.key("until"));
        if first > last {
            let place = if until.is_some() { "until" } else { "from" };
            self.problem(keys.key(place).invalid(format!("`until` ({last}) comes before `from` ({first})")));
        }
        (first, last)
    }

    /// The index of a kind of message; `None` for any.
    pub(crate) fn message_kind(&mut self, name: Option<&str>, keys: &Keys) -> Option<usize> {
        match name {
            None | Some("any" | "*") => None,
            Some(name) => self.keep(kind_index("message", name, MessageOf::<S>::NAMES, keys)),
        }
    }

    /// A delay distribution.
    pub(crate) fn delay(&mut self, value: &DelayValue, keys: &Keys) -> Delay {
        match value {
            DelayValue::Uniform(range) => Delay::Uniform { low: range.low, high: range.high },
            DelayValue::Shaped(table) => self.keep(shaped_delay(table, keys)).unwrap_or(Quality::default().delay),
        }
    }

    /// A change of links' quality.
    pub(crate) fn patch(&mut self, table: &QualityTable, keys: &Keys) -> QualityPatch {
        if table.bandwidth == Some(0) {
            self.problem(
                keys.key("bandwidth").invalid("nothing ever passes such a link").hint("to cut a link, use `cut`"),
            );
        }
        QualityPatch {
            delay: table.delay.as_ref().map(|value| self.delay(value, &keys.key("delay"))),
            loss: table.loss.map(Share::ratio),
            duplicate: table.duplicate.map(Share::ratio),
            reorder: table.reorder.map(Share::ratio),
            corrupt: table.corrupt.map(Share::ratio),
            bandwidth: table.bandwidth,
        }
    }
}

/// The index of a kind of message or event.
pub(crate) fn kind_index(what: &str, name: &str, known: &[&str], keys: &Keys) -> Result<usize, InvalidKey> {
    known.iter().position(|kind| *kind == name).ok_or_else(|| InvalidKey {
        hint: suggestion(name, known.iter().copied()),
        ..keys.invalid(format!("no {what} is called `{name}`"))
    })
}

fn shaped_delay(table: &DelayTable, keys: &Keys) -> Result<Delay, InvalidKey> {
    match (table.exponential, table.heavy_tail) {
        (Some(mean), None) => {
            let low = table.low.map_or(Span::ZERO, |low| low.0);
            let high = table.high.map_or(low + mean.0 * 10, |high| high.0);
            if high < low {
                return Err(keys.key("high").invalid("the longest delay is shorter than the shortest"));
            }
            Ok(Delay::Exponential { low, mean: mean.0, high })
        }
        (None, Some(_)) if table.low.is_some() || table.high.is_some() => {
            Err(keys.invalid("`low` and `high` go with `exponential`").hint("heavy_tail = \"1ms..1s\""))
        }
        (None, Some(range)) if range.low == Span::ZERO => {
            Err(keys.key("heavy_tail").invalid("the shortest delay of a heavy tail is its scale, and can't be 0"))
        }
        (None, Some(range)) => Ok(Delay::HeavyTail { low: range.low, high: range.high }),
        (Some(_), Some(_)) => Err(keys.invalid("`exponential` and `heavy_tail` exclude each other")),
        (None, None) => Err(keys.invalid("the delay has no distribution").hint("add `exponential` or `heavy_tail`")),
    }
}

/// All groups: those of the system and those of the file.
fn groups(
    layout: &Layout,
    file: &BTreeMap<String, crate::scenario::Nodes>,
) -> (BTreeMap<String, NodeSet>, Vec<InvalidKey>) {
    let (mut groups, mut problems) = (layout.groups.clone(), Vec::new());
    for (name, members) in file {
        let keys = Keys::root().key("groups").key(name);
        if layout.groups.contains_key(name) || layout.nodes.contains(name) || ["all", "any", "*"].contains(&&**name) {
            problems.push(keys.invalid(format!("`{name}` is the name of something else already")));
            continue;
        }
        let names = Names { nodes: &layout.nodes, groups: &layout.groups };
        match names.set(members, &keys) {
            Ok(set) => drop(groups.insert(name.clone(), set)),
            Err(invalid) => problems.push(invalid),
        }
    }
    (groups, problems)
}

/// Makes the plan of a file.
pub(crate) fn lower<S: System>(file: &File<S::Topology, S::Knobs, S::Workload>, layout: Layout) -> Lowered {
    let root = Keys::root();
    let (groups, problems) = groups(&layout, &file.groups);
    let mut lowering = Lowering::<S> {
        names: Names { nodes: &layout.nodes, groups: &groups },
        warm_up: file.warm_up.map_or(Span::ZERO, |warm_up| warm_up.0),
        horizon: file.horizon.map_or(HORIZON, |horizon| horizon.0),
        problems,
        system: PhantomData,
    };
    check_frame(&mut lowering, &layout);
    let quality = file.network.clone().unwrap_or_default();
    let patch = lowering.patch(&quality, &root.key("network"));
    let network = quality_of(patch);
    let absent = match &file.absent {
        Some(nodes) => {
            let absent = lowering.names.set(nodes, &root.key("absent"));
            lowering.keep(absent).unwrap_or_default()
        }
        None => NodeSet::default(),
    };
    let mut faults = Vec::new();
    for (index, table) in file.fault.iter().enumerate() {
        faults.extend(super::fault::lower(&mut lowering, table, &root.key("fault").at(index)));
    }
    let hazards = file.hazard.iter().enumerate();
    let hazards = hazards.filter_map(|(index, table)| hazard(&mut lowering, table, &root.key("hazard").at(index)));
    let hazards = hazards.collect();
    let (disk, clocks) = (disk(&mut lowering, file), clocks(&mut lowering, file));
    let budget = file.budget.as_ref().map_or_else(Budget::default, |table| {
        let spared = table.spared.as_ref().map(|nodes| lowering.names.set(nodes, &root.key("budget").key("spared")));
        let spared = spared.and_then(|spared| lowering.keep(spared)).unwrap_or_default();
        Budget { impaired_max: table.impaired_max, spared }
    });
    let limits = file.limits.as_ref().map_or_else(Limits::default, |table| limits(&mut lowering, table));
    let explore = file.explore.as_ref().map(|table| explore(&mut lowering, table));
    let (warm_up, horizon) = (lowering.warm_up, lowering.horizon);
    let problems = lowering.problems;
    let plan = Plan {
        nodes: layout.nodes,
        groups,
        warm_up,
        horizon,
        stabilise: file.stabilise.unwrap_or(true),
        network,
        disk,
        clocks,
        absent,
        faults,
        hazards,
        budget,
        limits,
    };
    Lowered { plan, explore, problems }
}

fn check_frame<S: System>(lowering: &mut Lowering<'_, S>, layout: &Layout) {
    let root = Keys::root();
    if layout.nodes.is_empty() {
        lowering.problem(root.key("topology").invalid("the system has no nodes"));
    }
    if layout.nodes.len() > NODES_MAX {
        lowering.problem(root.key("topology").invalid(format!("more than {NODES_MAX} nodes")));
    }
    if lowering.horizon == Span::ZERO {
        lowering.problem(root.key("horizon").invalid("a run of no time shows nothing"));
    }
    if lowering.horizon > HORIZON_MAX {
        lowering.problem(root.key("horizon").invalid("the longest run lasts 100 years"));
    }
    if lowering.warm_up > lowering.horizon {
        lowering
            .problem(root.key("warm_up").invalid(format!("the warm-up ends after the horizon, {}", lowering.horizon)));
    }
}

fn quality_of(patch: QualityPatch) -> Quality {
    let default = Quality::default();
    Quality {
        delay: patch.delay.unwrap_or(default.delay),
        loss: patch.loss.unwrap_or(default.loss),
        duplicate: patch.duplicate.unwrap_or(default.duplicate),
        reorder: patch.reorder.unwrap_or(default.reorder),
        corrupt: patch.corrupt.unwrap_or(default.corrupt),
        bandwidth: patch.bandwidth,
    }
}

fn disk<S: System>(lowering: &mut Lowering<'_, S>, file: &File<S::Topology, S::Knobs, S::Workload>) -> DiskQuality {
    let (mut disk, table) = (DiskQuality::default(), file.disk.clone().unwrap_or_default());
    if let Some(sync) = table.sync {
        (disk.sync_min, disk.sync_max) = (sync.low, sync.high);
    }
    if let Some(every) = table.snapshot_every {
        disk.snapshot_every = every;
    }
    if disk.snapshot_every == 0 {
        let keys = Keys::root().key("disk").key("snapshot_every");
        lowering.problem(keys.invalid("a snapshot after every 0 records can't be").hint("1 or more"));
    }
    disk
}

fn clocks<S: System>(lowering: &mut Lowering<'_, S>, file: &File<S::Topology, S::Knobs, S::Workload>) -> Clocks {
    let table = file.clocks.clone().unwrap_or_default();
    let drift_ppm = table.drift_ppm.unwrap_or(0);
    let keys = Keys::root().key("clocks");
    if drift_ppm > DRIFT_PPM_MAX {
        lowering.problem(keys.key("drift_ppm").invalid(format!("clocks drift by {DRIFT_PPM_MAX} at most")));
    }
    let wall_offset = table.wall_offset.map_or(Span::ZERO, |offset| offset.0);
    if i64::try_from(wall_offset.as_nanos()).is_err() {
        lowering.problem(keys.key("wall_offset").invalid("more than 292 years"));
    }
    Clocks { drift_ppm, wall_offset }
}

fn limits<S: System>(lowering: &mut Lowering<'_, S>, table: &LimitsTable) -> Limits {
    let (default, keys) = (Limits::default(), Keys::root().key("limits"));
    for (name, zero) in [
        ("steps_max", table.steps_max == Some(0)),
        ("steps_per_instant_max", table.steps_per_instant_max == Some(0)),
        ("inbox_max", table.inbox_max == Some(0)),
    ] {
        if zero {
            lowering.problem(keys.key(name).invalid("a limit of 0 lets nothing happen"));
        }
    }
    Limits {
        steps_max: table.steps_max.unwrap_or(default.steps_max),
        steps_per_instant_max: table.steps_per_instant_max.unwrap_or(default.steps_per_instant_max),
        inbox_max: table.inbox_max.map_or(default.inbox_max, |inbox| inbox as usize),
    }
}

fn explore<S: System>(lowering: &mut Lowering<'_, S>, table: &ExploreTable) -> Bounds {
    let keys = Keys::root().key("explore");
    let losses = table.losses.unwrap_or(0);
    if losses > 0 && table.delay.is_none() {
        lowering.problem(
            keys.key("losses")
                .invalid("without a longest `delay` a message may be on its way for ever, which covers every loss")
                .hint("add `delay`, or leave out `losses`"),
        );
    }
    for (name, zero) in
        [("states", table.states == Some(0)), ("memory", table.memory.is_some_and(|memory| memory.0 == 0))]
    {
        if zero {
            lowering.problem(keys.key(name).invalid("a limit of 0 lets nothing be found"));
        }
    }
    let wakes = if table.time.is_some() { table.wakes } else { Some(table.wakes.unwrap_or(0)) };
    Bounds {
        losses,
        duplicates: table.duplicates.unwrap_or(0),
        crashes: table.crashes.unwrap_or(0),
        restarts: table.restarts.unwrap_or(0),
        wakes,
        time: table.time.map(|time| time.0),
        delay: table.delay.map(|delay| delay.0),
        depth: table.depth,
        states: table.states.unwrap_or(EXPLORE_STATES_MAX),
        memory: table.memory.map_or(EXPLORE_MEMORY_MAX, |memory| memory.0),
    }
}

fn hazard<S: System>(lowering: &mut Lowering<'_, S>, table: &HazardTable, keys: &Keys) -> Option<Hazard> {
    let mut groups = Vec::new();
    for (index, name) in table.groups.iter().enumerate() {
        let nodes = crate::scenario::Nodes::One(name.clone());
        let group = lowering.names.set(&nodes, &keys.key("groups").at(index));
        groups.extend(lowering.keep(group));
    }
    if table.groups.is_empty() {
        lowering.problem(keys.key("groups").invalid("a hazard needs at least one group"));
    }
    if table.mean.0 == Span::ZERO {
        lowering.problem(keys.key("mean").invalid("a mean time between failures of 0 never lets anybody run"));
    }
    if table.factor == Some(0) {
        lowering.problem(keys.key("factor").invalid("a failure can't make the next one impossible").hint("1 or more"));
    }
    let (from, until) = lowering.stretch(table.from, table.until, keys);
    Some(Hazard {
        groups,
        mean: table.mean.0,
        factor: table.factor.unwrap_or(1),
        window: table.window.map_or(HAZARD_WINDOW, |window| window.0),
        down: (table.down.low, table.down.high),
        from,
        until,
    })
}

/// Whether a patch changes anything.
pub(crate) fn changes_nothing(patch: &QualityPatch) -> bool {
    *patch == QualityPatch::default()
}
