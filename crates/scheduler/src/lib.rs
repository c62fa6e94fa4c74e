//! The scheduler: tasks are placed, leased, retried, migrated and checkpointed across failing workers. Nothing that was
//! acknowledged is lost, and nothing counts twice.
//!
//! The core has no world: no clock, no socket, no file. It is a [`Machine`](squall_machine::Machine) and is driven by one.
//! What can be decided without a state machine (the retry law, ladders, breakers, placement, accounts, retention) is pure
//! and in files of its own. Moments in those are [`Span`](squall_machine::Span)s of the scheduler's *service time*: how
//! long it has run since it was first started, which survives its restarts.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod adaptation;
mod breaker;
mod budget;
mod class;
mod failure;
mod ids;
mod named;
mod pattern;
mod placement;
mod resources;
mod retention;
mod retry;
mod strategy;
mod vitals;

pub use adaptation::{
    Adaptable, Adaptation, AdaptationKnobs, AdaptationReason, Adapted, BreakerBounds, Setting, Settings, Tally,
};
pub use breaker::{
    Breaker, BreakerCause, BreakerChange, BreakerDue, BreakerKey, BreakerKnobs, BreakerStage, Factor, Settlement,
    average_health, overall_health,
};
pub use budget::{RetryBudget, RetryBudgetKnobs};
pub use class::{HardwareClass, Precision, TaskType};
pub use failure::{Blame, FailureKind, classify};
pub use ids::{AttemptId, CheckpointSeq, Generation, Incarnation};
pub use named::UnknownName;
pub use pattern::{PatternKnobs, Patterns};
pub use placement::{Candidate, Demand, MICRO, Placement, Slack, Tau, choose, estimate, load, risk};
pub use resources::{Account, Resource, Resources, Shortage};
pub use retention::{Checkpoint, CheckpointIndex, Offer};
pub use retry::RetryLaw;
pub use strategy::{Degradable, Ladder, Shape, Step, Strategy};
pub use vitals::{Issue, Vital, Vitals};
