//! The coordinator's protocol: membership, failure detection, notifications, quorums; and the manager between the local
//! ranks of a replica and the coordinator.
//!
//! The core has no world: no clock, no socket, no file. It is a [`Machine`](squall_machine::Machine) and is driven by one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod coordinator;
mod event;
mod ids;
mod knobs;
mod manager;
mod message;

pub use coordinator::{
    Coordinator, End, Member, MemberState, MemberStatus, Membership, OpenRequest, Record, SessionStatus, Sizes,
    Snapshot, Spoke, Stage, Status,
};
pub use event::{Cause, Event, Ignored, Inactivity, RankAnswer, RankError, RankQuorum, VoteEnd};
pub use ids::{BootId, Cursor, Epoch, Incarnation, Number, QuorumId, Session};
pub use knobs::{InvalidKnob, Knobs};
pub use manager::{Manager, ManagerConfig, ManagerReply, ManagerRequest, RankCall, recovery_assignment};
pub use message::{Ask, Capacity, Change, Failure, Message, Notice, Participant, Quorum, Refusal, Role};
