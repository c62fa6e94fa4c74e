//! What peers say to each other. Every message may be lost, duplicated, delayed or overtaken.
//!
//! Peers keep nothing on disk, so there is no record that a message could have to wait for. Pings, their answers and appeals
//! promise nothing and are volatile by the specification; all others are sent as everything else that waits for records.

use crate::{Ballot, Communicator, CommunicatorId, Generation, Member, Rank, Value};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_machine::kinds;

/// Says in whose name a message speaks: a rank of one communicator. It counts there and nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The generation of the communicator.
    pub generation: Generation,
    /// Its name: two groups of one generation would not hear each other.
    pub communicator: CommunicatorId,
    /// The rank of the sender in it.
    pub rank: Rank,
}

/// What a promise tells the leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Vow {
    /// Whom the sender suspects, ascending.
    pub suspects: Arc<[Rank]>,
    /// Who asked the sender to be admitted, by id.
    pub joiners: Arc<[Member]>,
    /// What it accepted last in this generation.
    pub accepted: Option<(Ballot, Value)>,
}

/// A decision, with what proves it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Whose successor was decided.
    pub generation: Generation,
    /// The name of that communicator.
    pub communicator: CommunicatorId,
    /// The ballot at which a quorum accepted.
    pub ballot: Ballot,
    /// What was decided.
    pub value: Value,
    /// The quorum.
    pub voters: Arc<BTreeSet<Rank>>,
}

/// Everything that travels between peers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Asks for a sign of life. Volatile.
    Ping {
        /// The sender.
        stamp: Stamp,
        /// Grows with each round of pings and appeals of a peer in a generation.
        seq: u64,
    },
    /// The answer to `Ping` and `Appeal`. Volatile.
    Pong {
        /// The sender.
        stamp: Stamp,
        /// Which one is answered.
        seq: u64,
    },
    /// Tells a peer that it is taken for the leader by one that can't work; it answers, and starts a round unless it leads
    /// one. Repeated until the generation ends. Volatile.
    Appeal {
        /// The sender.
        stamp: Stamp,
        /// See [`Ping`](Message::Ping).
        seq: u64,
    },
    /// A leader asks for the promise to take part in no lower ballot. Sent again until answered.
    Collect {
        /// The leader.
        stamp: Stamp,
        /// Its ballot.
        ballot: Ballot,
    },
    /// The answer to `Collect`.
    Promise {
        /// The sender.
        stamp: Stamp,
        /// The ballot that is promised.
        ballot: Ballot,
        /// What the leader has to know.
        vow: Arc<Vow>,
    },
    /// The answer to a `Collect` or `Propose` below what was promised.
    Outbid {
        /// The sender.
        stamp: Stamp,
        /// The ballot that is refused.
        ballot: Ballot,
        /// The promise.
        promised: Ballot,
    },
    /// A leader asks to accept a value. Sent again until answered.
    Propose {
        /// The leader.
        stamp: Stamp,
        /// Its ballot.
        ballot: Ballot,
        /// The value. Boxed, since all messages are as large as the largest, and most are pings.
        value: Box<Value>,
    },
    /// The answer to `Propose`.
    Accept {
        /// The sender.
        stamp: Stamp,
        /// The ballot at which the value was accepted.
        ballot: Ballot,
    },
    /// What was decided about a generation. Sent by the leader to all its members, and by whoever knows it as the answer to
    /// every later message of that generation.
    Decision {
        /// The decision.
        decision: Arc<Decision>,
    },
    /// A member saw a message of a later generation, and asks for what it missed.
    CatchUp {
        /// The sender, in the generation where it still is.
        stamp: Stamp,
    },
    /// A process asks to be admitted. Passed on to the leader; repeated until it is welcome.
    Join {
        /// Who.
        member: Member,
        /// The generation that it was invited to join, in which alone this counts; 0 if it knows none. So no late copy brings
        /// back who was excluded since.
        generation: Generation,
    },
    /// Tells who asks to be admitted which generation it may join.
    Invite {
        /// Which.
        generation: Generation,
    },
    /// Gives a newcomer, or a member that missed more decisions than are kept, the newest communicator.
    Welcome {
        /// The communicator.
        communicator: Arc<Communicator>,
    },
}

impl Message {
    /// In whose name it speaks, if it speaks in the name of a member.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Ping { stamp, .. }
            | Self::Pong { stamp, .. }
            | Self::Appeal { stamp, .. }
            | Self::Collect { stamp, .. }
            | Self::Promise { stamp, .. }
            | Self::Outbid { stamp, .. }
            | Self::Propose { stamp, .. }
            | Self::Accept { stamp, .. }
            | Self::CatchUp { stamp } => Some(*stamp),
            Self::Decision { .. } | Self::Join { .. } | Self::Invite { .. } | Self::Welcome { .. } => None,
        }
    }
}

kinds!(Message {
    ping => Ping { .. },
    pong => Pong { .. },
    appeal => Appeal { .. },
    collect => Collect { .. },
    promise => Promise { .. },
    outbid => Outbid { .. },
    propose => Propose { .. },
    accept => Accept { .. },
    decision => Decision { .. },
    catch_up => CatchUp { .. },
    join => Join { .. },
    invite => Invite { .. },
    welcome => Welcome { .. },
});
