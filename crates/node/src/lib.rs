//! The cores composed into the nodes that are shipped and simulated: [`CoordinatorNode`], [`MemberNode`],
//! [`ObserverNode`], [`PeerNode`] and [`WorkerNode`].
//!
//! A node is a [`Machine`](squall_machine::Machine) as its parts are: the wiring between them is tested like everything
//! else. It has no world: no clock, no socket, no file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod contact;
mod coordinator;
mod lease;
mod member;
mod observer;
mod peer;
mod record;
#[cfg(test)]
mod rig;
mod session;
mod status;
mod subscription;
mod work;
mod worker;

pub use coordinator::{
    CoordinatorNode, CoordinatorNodeConfig, CoordinatorNodeEvent, CoordinatorNodeMessage, CoordinatorNodeRecord,
    CoordinatorNodeSnapshot, CoordinatorRequest,
};
pub use member::{MemberConfig, MemberNode, MemberReply, MemberRequest};
pub use observer::{ObserverConfig, ObserverNode, ObserverRequest};
pub use peer::{PeerNode, PeerNodeConfig, PeerNodeEvent, PeerNodeMessage};
pub use record::{Bookmark, Record};
pub use status::{MemberPhase, MemberStatus, ObserverStatus};
pub use work::{WorkEvent, WorkIgnored, WorkKnobs, WorkMessage};
pub use worker::{WorkerNode, WorkerNodeConfig, WorkerNodeEvent, WorkerNodeMessage, WorkerReply, WorkerRequest};
