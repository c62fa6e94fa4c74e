//! The cores composed into the nodes that are shipped and simulated: [`CoordinatorNode`], [`MemberNode`] and
//! [`ObserverNode`].
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
mod record;
#[cfg(test)]
mod rig;
mod session;
mod status;
mod subscription;

pub use coordinator::CoordinatorNode;
pub use member::{MemberConfig, MemberNode, MemberReply, MemberRequest};
pub use observer::{ObserverConfig, ObserverNode, ObserverRequest};
pub use record::{Bookmark, Record};
pub use status::{MemberPhase, MemberStatus, ObserverStatus};
