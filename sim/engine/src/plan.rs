//! What a run is to do, with every name resolved: the world executes plans and knows nothing of files.

use crate::scenario::Fields;
use crate::{NodeId, NodeSet};
use squall_machine::{Ratio, Span};
use std::collections::BTreeMap;

/// A complete plan of a run, except for the seed.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The names of the nodes; a [`NodeId`] is an index into it.
    pub nodes: Vec<String>,
    /// Zones, hosts, racks and the groups that the system defines.
    pub groups: BTreeMap<String, NodeSet>,
    /// The end of the warm-up: periodic faults, rates and hazards begin here unless they say otherwise.
    pub warm_up: Span,
    /// The end of the fault phase.
    pub horizon: Span,
    /// Whether the run goes on after the fault phase: heal a core, freeze the rest, and judge liveness.
    pub stabilise: bool,
    /// The quality of every link that no fault has changed.
    pub network: Quality,
    /// The quality of every disk that no fault has changed.
    pub disk: DiskQuality,
    /// The clocks.
    pub clocks: Clocks,
    /// Nodes that are not started at the beginning; a `restart` starts them.
    pub absent: NodeSet,
    /// Scripted and generated faults, in the order of the file.
    pub faults: Vec<Fault>,
    /// Failure rates that failures raise.
    pub hazards: Vec<Hazard>,
    /// What the faults may break at most.
    pub budget: Budget,
    /// The limits of the run itself.
    pub limits: Limits,
}

/// The limits of a run; whoever reaches one is told so, and the verdict is never a pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most steps of all machines together. Reached: inconclusive.
    pub steps_max: u64,
    /// The most steps within one instant. Reached: a zero-time livelock, property LV5.
    pub steps_per_instant_max: u64,
    /// The most messages that wait for one paused or slow process. More are dropped, and counted.
    pub inbox_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps_max: 2_000_000_000, steps_per_instant_max: 1_000_000, inbox_max: 65_536 }
    }
}

/// How messages of a directed link travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// One-way delay.
    pub delay: Delay,
    /// The share of messages that are lost.
    pub loss: Ratio,
    /// The share of messages that arrive twice.
    pub duplicate: Ratio,
    /// The share of messages that are held back by up to ten further delays, so that later ones overtake them.
    pub reorder: Ratio,
    /// The share of messages of which a bit flips. The receiver's decoder must notice, and drop them.
    pub corrupt: Ratio,
    /// Messages a second; more have to queue. `None`: no limit.
    pub bandwidth: Option<u32>,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            delay: Delay::Uniform { low: Span::from_millis(1), high: Span::from_millis(10) },
            loss: Ratio::ZERO,
            duplicate: Ratio::ZERO,
            reorder: Ratio::ZERO,
            corrupt: Ratio::ZERO,
            bandwidth: None,
        }
    }
}

/// A distribution of delays. Each has a largest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delay {
    /// Each value of `low..=high` alike.
    Uniform {
        /// The shortest.
        low: Span,
        /// The longest.
        high: Span,
    },
    /// `low` plus an exponential part with this mean, cut off at `high`.
    Exponential {
        /// The shortest.
        low: Span,
        /// The mean of what is added.
        mean: Span,
        /// The longest.
        high: Span,
    },
    /// A Pareto tail (shape 1.5) that starts at `low`, cut off at `high`.
    HeavyTail {
        /// The shortest.
        low: Span,
        /// The longest.
        high: Span,
    },
}

impl Delay {
    /// The longest delay that can be drawn.
    #[must_use]
    pub const fn longest(self) -> Span {
        match self {
            Self::Uniform { high, .. } | Self::Exponential { high, .. } | Self::HeavyTail { high, .. } => high,
        }
    }
}

/// A change of some links' quality; what is `None` stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QualityPatch {
    /// See [`Quality::delay`].
    pub delay: Option<Delay>,
    /// See [`Quality::loss`].
    pub loss: Option<Ratio>,
    /// See [`Quality::duplicate`].
    pub duplicate: Option<Ratio>,
    /// See [`Quality::reorder`].
    pub reorder: Option<Ratio>,
    /// See [`Quality::corrupt`].
    pub corrupt: Option<Ratio>,
    /// See [`Quality::bandwidth`].
    pub bandwidth: Option<u32>,
}

/// How a disk behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskQuality {
    /// The shortest sync.
    pub sync_min: Span,
    /// The longest sync.
    pub sync_max: Span,
    /// After how many records since the last one a snapshot is written.
    pub snapshot_every: u32,
}

impl Default for DiskQuality {
    fn default() -> Self {
        Self { sync_min: Span::from_micros(100), sync_max: Span::from_millis(2), snapshot_every: 1_000 }
    }
}

/// How the nodes' clocks start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clocks {
    /// Each node's monotonic clock is fast or slow by up to this many millionths, drawn per node.
    pub drift_ppm: u32,
    /// Each node's calendar is off by up to this much, drawn per node.
    pub wall_offset: Span,
}

/// One fault: when, what, for how long.
#[derive(Clone, PartialEq, Debug)]
pub struct Fault {
    /// When it strikes.
    pub trigger: Trigger,
    /// What it does.
    pub action: Action,
    /// After how long (drawn from this range) it is undone; `None`: never, or by another fault.
    pub lasts: Option<(Span, Span)>,
    /// Whether the run may end without the fault having had an effect. Generated faults and rates may; a scripted single
    /// one that never struck makes the run vacuous.
    pub may_miss: bool,
}

/// When a fault strikes.
#[derive(Clone, PartialEq, Debug)]
pub enum Trigger {
    /// Once, at a moment drawn from this range of simulated time.
    At {
        /// The earliest moment, since the start of the run.
        from: Span,
        /// The latest moment.
        until: Span,
    },
    /// Once, at the `nth` occurrence (from 1) of a matching event.
    On {
        /// What has to occur.
        pattern: Pattern,
        /// Which occurrence.
        nth: u32,
        /// How much later.
        after: Span,
    },
    /// Again and again, with this period, while it is between `from` and `until`.
    Every {
        /// The period.
        period: Span,
        /// The first time.
        from: Span,
        /// Not later than this.
        until: Span,
    },
    /// At random moments, with this mean distance (a Poisson process), between `from` and `until`.
    Rate {
        /// The mean distance.
        mean: Span,
        /// Not earlier than this.
        from: Span,
        /// Not later than this.
        until: Span,
    },
}

/// What a trigger or a message fault looks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Pattern {
    /// A message of this kind (`None`: any) on its way between these nodes.
    Message {
        /// Index in the names of the message kinds.
        kind: Option<usize>,
        /// The senders.
        from: NodeSet,
        /// The receivers.
        to: NodeSet,
        /// When it leaves, when it is about to be handed over, or right after it took effect.
        moment: Moment,
    },
    /// An event of this kind at one of these nodes, once it is part of the history.
    Event {
        /// Index in the names of the event kinds.
        kind: usize,
        /// Where.
        at: NodeSet,
        /// Fields that it must show, as in its JSON form.
        fields: Fields,
    },
    /// The first record of a batch written by one of these nodes, before it is synced.
    Record {
        /// Where.
        at: NodeSet,
    },
}

/// The moment in the life of a message at which a trigger looks at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// When it leaves its sender.
    Sent,
    /// Before its receiver sees it.
    Before,
    /// After its receiver's step.
    After,
}

/// Whom a fault strikes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Targets {
    /// The candidates.
    pub among: NodeSet,
    /// How many of them, drawn when it strikes from those that it can strike; `None`: all.
    pub count: Option<u32>,
}

/// What a fault does. What ends by itself or can be undone is undone when the fault's time is over.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// The process dies: memory gone, unsynced records lost from a drawn point on, the last write perhaps torn.
    /// Undone by a restart.
    Crash(Targets),
    /// A process that is down starts again, as a new life.
    Restart {
        /// Who.
        targets: Targets,
        /// With which disk.
        disk: RestartDisk,
        /// Whether it comes back at a new address.
        moved: bool,
    },
    /// The process stops running; its messages wait. Undone by a resume.
    Pause(Targets),
    /// The process runs again.
    Resume(Targets),
    /// Every step takes this long. Undone by full speed.
    Slow {
        /// Who.
        targets: Targets,
        /// How long a step takes.
        step: Span,
    },
    /// A local client or operator asks something.
    Request {
        /// Whom.
        targets: Targets,
        /// What: one of the names that the system knows.
        name: String,
    },
    /// Nothing passes on these links. Undone by healing.
    Cut(Vec<Links>),
    /// Nothing passes between each of these nodes, drawn when the fault strikes, and everybody else. Undone by healing.
    Isolate {
        /// Whom.
        targets: Targets,
        /// Whether nothing reaches them.
        inbound: bool,
        /// Whether nothing leaves them.
        outbound: bool,
    },
    /// Nothing passes between two random halves of these nodes, drawn when the fault strikes; neither is empty. Undone by
    /// healing.
    Split(NodeSet),
    /// Messages wait in the link until it is released. Undone by releasing them.
    Clog(Links),
    /// The links have another quality. Undone by the old one.
    Degrade {
        /// Which links.
        links: Links,
        /// What changes.
        patch: QualityPatch,
    },
    /// Ends every cut, clog and degradation between the two sides.
    Heal(Links),
    /// The next `count` messages that match are treated so.
    Next {
        /// Which kind, `None`: any.
        kind: Option<usize>,
        /// Between whom.
        links: Links,
        /// How many; at least 1.
        count: u32,
        /// What happens to them.
        fate: Fate,
    },
    /// The clock changes.
    Clock {
        /// Whose.
        targets: Targets,
        /// How.
        change: ClockChange,
    },
    /// The disk changes. Undone by the quality of the plan.
    Disk {
        /// Whose.
        targets: Targets,
        /// How.
        change: DiskChange,
    },
}

/// What becomes of a message that was singled out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is lost.
    Drop,
    /// It arrives this much later.
    Delay(Span),
    /// It arrives this many times more, each within `within` of the first.
    Duplicate {
        /// How many times more.
        copies: u32,
        /// How much later at most.
        within: Span,
    },
}

/// Directed links between two sets of nodes; a node's link to itself never fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Links {
    /// The senders.
    pub from: NodeSet,
    /// The receivers.
    pub to: NodeSet,
    /// Whether the other direction is meant, too.
    pub both_ways: bool,
}

impl Links {
    /// Whether the directed link from `from` to `to` is one of them.
    #[must_use]
    pub fn cover(&self, from: NodeId, to: NodeId) -> bool {
        from != to
            && (self.from.contains(from) && self.to.contains(to)
                || self.both_ways && self.from.contains(to) && self.to.contains(from))
    }
}

/// What a restarted process finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RestartDisk {
    /// Everything that was synced.
    #[default]
    Same,
    /// Nothing.
    Wiped,
    /// What was synced at a drawn earlier point. Outside the fault model for a coordinator.
    Older,
}

/// How a clock changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockChange {
    /// The monotonic clock runs this many millionths fast (negative: slow). Undone by a drift of zero.
    Drift(i32),
    /// The calendar jumps by this many nanoseconds.
    WallStep(i64),
    /// The calendar jumps there and back by this many nanoseconds at every reading. Undone by calm.
    WallStrobe(i64),
    /// The monotonic clock jumps ahead. Outside the fault model.
    MonotonicStep(Span),
    /// The monotonic clock stands still. Outside the fault model. Undone by running on.
    Freeze,
}

/// How a disk changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskChange {
    /// Every sync takes between these.
    Sync {
        /// The shortest sync.
        min: Span,
        /// The longest sync.
        max: Span,
    },
    /// Writes wait for space.
    Full,
    /// Writes never answer.
    Stuck,
    /// A drawn synced record cannot be read at the next start; the process refuses to start. Outside the fault model for a
    /// coordinator.
    Unreadable,
    /// The last unsynced write of the next crash is torn: a part of it is there, and detected.
    TornTail,
}

/// A failure rate of the members of some groups, which a failure raises for its own group: cascades.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hazard {
    /// The groups, each with a rate of its own.
    pub groups: Vec<NodeSet>,
    /// The mean time between failures of one node, while nothing has happened.
    pub mean: Span,
    /// By how much a failure of a member multiplies the rate of its group.
    pub factor: u32,
    /// For how long after a failure.
    pub window: Span,
    /// How long who fails stays down.
    pub down: (Span, Span),
    /// Begins here.
    pub from: Span,
    /// Ends here.
    pub until: Span,
}

/// What generated faults may break at most, so that a verdict means something. Scripted faults aren't held back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Budget {
    /// The most nodes that are down, paused or cut off by rates, periods and hazards at once; `None`: no limit.
    pub impaired_max: Option<u32>,
    /// Nodes that generated faults leave alone.
    pub spared: NodeSet,
}
