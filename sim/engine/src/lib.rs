//! Deterministic simulation and fault injection for protocols written as state machines.
//!
//! The engine knows no protocol: it is generic over one trait, [`System`].
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod bench;
mod check;
pub mod cli;
mod engine;
pub mod explore;
mod history;
mod ids;
mod outcome;
mod plan;
pub mod report;
mod run;
pub mod scenario;
pub mod suite;
pub mod sweep;
mod system;
mod world;

pub use check::{Checker, Findings, Interest, NodeState, Scene, Violation};
pub use engine::{Elsewhere, Engine, Play, Program};
pub use explore::{Breach, Ledger, Told};
pub use history::{DiskState, DownCause, DropReason, Entry, EventOf, Fact, Hop, MessageOf, Phase, Truth};
pub use ids::{EntryId, NodeId, NodeSet};
pub use outcome::{Fingerprint, Goodput, MessageCounts, Outcome, Verdict};
pub use plan::{
    Action, Budget, ClockChange, Clocks, Delay, DiskChange, DiskQuality, Fate, Fault, Hazard, Limits, Links, Moment,
    Pattern, Plan, Quality, QualityPatch, RestartDisk, Targets, Trigger,
};
pub use run::{RunOptions, Watch, guarded, run};
pub use scenario::{Diagnosis, Scenario};
pub use system::{InvalidKey, Layout, Start, System};
pub use world::{Command, LocalClock, Report, Shells, Stage};
