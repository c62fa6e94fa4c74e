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
mod agent;
mod breaker;
mod budget;
mod class;
mod client;
mod contact;
mod event;
mod failure;
mod ids;
mod knobs;
mod message;
mod named;
mod pattern;
mod placement;
mod record;
mod resources;
mod retention;
mod retry;
mod scheduler;
mod statistics;
mod store;
mod strategy;
mod task;
mod vitals;

pub use adaptation::{
    Adaptable, Adaptation, AdaptationKnobs, AdaptationReason, Adapted, BreakerBounds, Setting, Settings, Tally,
};
pub use agent::{Agent, AgentConfig, AgentMessage, AgentReply, AgentRequest, RuntimeCall, RuntimeOrder};
pub use breaker::{
    Breaker, BreakerCause, BreakerChange, BreakerDue, BreakerKey, BreakerKnobs, BreakerStage, Factor, Settlement,
    average_health, overall_health,
};
pub use budget::{RetryBudget, RetryBudgetKnobs};
pub use class::{HardwareClass, Precision, TaskType};
pub use client::{ClientConfig, ClientRefusal, ClientReply, ClientRequest, TaskClient};
pub use event::{Choice, Event, Ignored, Move, Obstacle};
pub use failure::{Blame, FailureKind, classify};
pub use ids::{AttemptId, CheckpointSeq, Generation, Incarnation};
pub use knobs::{InvalidKnob, Knobs};
pub use message::{Message, Offer, Reception, Report, Standing, TaskRefusal, Work};
pub use named::UnknownName;
pub use pattern::{PatternKnobs, Patterns};
pub use placement::{Candidate, Demand, MICRO, Placement, Slack, Tau, choose, estimate, load, risk};
pub use record::{AdaptedState, BreakerState, Next, Record, Snapshot};
pub use resources::{Account, Resource, Resources, Shortage};
pub use retention::{Checkpoint, CheckpointIndex, Keeping};
pub use retry::RetryLaw;
pub use scheduler::{
    BreakerStatus, Call, Departure, Roster, Scheduler, SchedulerStatus, TaskCounts, TaskStatus, WorkerStatus,
};
pub use statistics::{Lengths, Outcomes, Statistics, WorkerStatistics};
pub use store::{
    OVER_MAX, Part, Save, Shelf, Store, StoreEvent, StoreIgnored, StoreKnobs, StoreMessage, StoreRecord, StoreSnapshot,
};
pub use strategy::{Degradable, Ladder, Shape, Step, Strategy};
pub use task::{Climb, End, Lease, Outcome, PAST_KEPT, Past, Permits, Task, TaskSpec, TaskState, Verdict};
pub use vitals::{Issue, Vital, Vitals};
