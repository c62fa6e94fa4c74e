//! The recovery protocol: the members of a communicator watch each other, agree who of them is dead and who joins, and
//! rebuild, whatever dies, splits or dawdles in the middle. There is no coordinator: the peers are the authority.
//!
//! The successor of each generation is one consensus decision of its members, in the manner of Paxos (Lamport, 1998) with
//! ballots ordered by round and leader. Nothing is durable: a restarted process is a new incarnation, which is no member
//! of any generation until it is admitted to one, so a vote can't be forgotten and then cast again.
//!
//! The core has no world: no clock, no socket, no file. It is a [`Machine`](squall_machine::Machine) and is driven by one.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod ballot;
mod choice;
mod communicator;
mod event;
mod ids;
mod knobs;
mod message;
mod peer;
mod quorum;
mod value;

pub use ballot::Ballot;
pub use choice::choose;
pub use communicator::{Communicator, CommunicatorId, Member};
pub use event::{Answer, Event, Ignored, Inactivity, Start};
pub use ids::{Cursor, Generation, Incarnation, Rank, Session};
pub use knobs::{InvalidKnob, Knobs, Policy};
pub use message::{Decision, Message, Stamp, Vow};
pub use peer::{
    Activity, Change, Notice, Peer, PeerConfig, PeerReply, PeerRequest, PeerSizes, PeerStatus, Stage, Subscription,
};
pub use quorum::is_quorum;
pub use value::{InvalidValue, Value};
