//! What members, subscribers and the coordinator say to each other. Every message may be lost, duplicated, delayed or
//! overtaken; requests are re-sent until they are answered.

use crate::{BootId, Cause, Cursor, Epoch, Incarnation, Number, QuorumId, Session};
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_machine::{Text, Wall, kinds};

/// What a member is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes part in quorums and communicators.
    Replica,
    /// Executes tasks.
    Worker,
}

/// What a member can hold. Reserved by the scheduler, shown by the status view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB of main memory.
    pub memory_mib: u32,
    /// Whole accelerators.
    pub gpus: u32,
}

/// What a replica asks of the next quorum.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Where other replicas reach this one's manager.
    pub address: Text,
    /// Where its store is reached.
    pub store_address: Text,
    /// The step it is at.
    pub step: u64,
    /// How many local ranks it has; at least 1.
    pub world_size: u32,
    /// Nobody from outside the previous quorum may join.
    pub shrink_only: bool,
    /// Commits that failed since its last quorum. More than 0 forces a new quorum id.
    pub commit_failures: u64,
    /// Opaque JSON text, handed to all.
    pub data: Text,
}

/// A member of a formed quorum: who it is, and what it asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Participant {
    /// Its id.
    pub id: Text,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The request that the formation answers.
    pub number: Number,
    /// What it asked.
    pub ask: Arc<Ask>,
}

/// A formed quorum. The members are sorted by id, as text; never empty.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Quorum {
    /// Grows when the list of (id, incarnation, address) changed or a commit failed.
    pub id: QuorumId,
    /// The epoch in which it was formed; unique also where the id repeats.
    pub formation: Epoch,
    /// Who is in it.
    pub members: Arc<[Participant]>,
}

/// Why a request will never be answered with a quorum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// `shrink_only` from outside the previous quorum, of which no member is alive. Ask without it.
    NothingToShrink,
    /// The member is no replica. Only replicas take part in quorums.
    NotAReplica,
    /// `world_size` is 0, or a text or the data is longer than its limit. Correct the request.
    Malformed,
}

/// One entry of the stream of notifications.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Its place in the stream.
    pub cursor: Cursor,
    /// The member's id.
    pub member: Text,
    /// The incarnation it is about.
    pub incarnation: Incarnation,
    /// What happened to it.
    pub change: Change,
}

/// What a notice tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The incarnation ended by failure.
    Failed(Cause),
    /// A new incarnation of a member that had failed began.
    Returned,
}

/// A current failure, as a snapshot shows it: a member whose newest incarnation ended by failure and is not yet forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The member's id.
    pub member: Text,
    /// The incarnation that ended.
    pub incarnation: Incarnation,
    /// Why.
    pub cause: Cause,
    /// The place of its notice in the stream.
    pub cursor: Cursor,
}

/// Everything that travels between a member or subscriber and the coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    // ---- from members to the coordinator
    /// Asks for an incarnation. Re-sent until granted; the same boot id gets the same grant while that isn't ended.
    Register {
        /// The member's id.
        id: Text,
        /// Drawn by the process when it started.
        boot: BootId,
        /// What the member is for.
        role: Role,
        /// Where it is reached.
        address: Text,
        /// What it can hold.
        capacity: Capacity,
    },
    /// Sign of life, and the claim of a grant. Volatile.
    Heartbeat {
        /// Who is alive.
        incarnation: Incarnation,
        /// Grows by one with each heartbeat of an incarnation; starts at 1.
        seq: u64,
        /// What the sender's calendar showed. For display only.
        wall: Wall,
    },
    /// Planned departure. Re-sent until answered with `Left`.
    Leave {
        /// Who leaves.
        incarnation: Incarnation,
    },
    /// Asks for the next quorum. Re-sent until answered with `Formed`, `Reset`, `Refused` or `Withdrawn`.
    Ask {
        /// Who asks.
        incarnation: Incarnation,
        /// The request's number.
        number: Number,
        /// The formation epoch that the asker knows.
        epoch: Epoch,
        /// What it asks.
        ask: Arc<Ask>,
    },
    /// Ends all requests up to a number, also those that arrive later. Re-sent until answered with `Withdrawn`.
    Withdraw {
        /// Who withdraws.
        incarnation: Incarnation,
        /// The last request that ends.
        through: Number,
    },
    /// The answer to `Evict`: this incarnation never becomes Active in that formation or an earlier one.
    EvictAck {
        /// Who was evicted.
        incarnation: Incarnation,
        /// Out of which formation.
        formation: Epoch,
    },
    /// Opens or resumes a subscription, acknowledges what was taken, and keeps the session alive: a subscriber sends it
    /// after taking notices and at least once per poll interval.
    Subscribe {
        /// The subscriber's stay.
        session: Session,
        /// The last cursor it took; `None` asks for a snapshot.
        after: Option<Cursor>,
    },
    /// Ends a subscription. Best effort: a session that isn't heard of ends by itself.
    Unsubscribe {
        /// The subscriber's stay.
        session: Session,
    },
    // ---- from the coordinator to members
    /// The answer to `Register`. The incarnation begins with the first heartbeat that carries it.
    Granted {
        /// The boot id that asked.
        boot: BootId,
        /// The granted incarnation.
        incarnation: Incarnation,
        /// The current formation epoch.
        epoch: Epoch,
    },
    /// A heartbeat was accepted. Volatile.
    HeartbeatAck {
        /// Whose.
        incarnation: Incarnation,
        /// Which.
        seq: u64,
        /// The current formation epoch. Perhaps not durable yet, so no request may carry it because of this.
        epoch: Epoch,
        /// The newest formation, if there is one. Perhaps not durable yet: it may end a lease, and renews none but that of
        /// a formation whose answer arrived.
        formation: Option<Epoch>,
        /// The newest notification.
        cursor: Cursor,
    },
    /// The answer to `Leave`.
    Left {
        /// Who left.
        incarnation: Incarnation,
    },
    /// The coordinator doesn't know this incarnation; a live sender registers again.
    Unknown {
        /// Which.
        incarnation: Incarnation,
    },
    /// This incarnation was declared failed; a live sender registers again. Sent at the declaration, best effort, and as
    /// the answer to whatever it says later.
    Failed {
        /// Which.
        incarnation: Incarnation,
        /// Why.
        cause: Cause,
    },
    /// Another process took over the id; the sender stops with an error.
    Superseded {
        /// The incarnation that ended.
        incarnation: Incarnation,
    },
    /// The answer to `Ask`: a quorum with the asker in it.
    Formed {
        /// Who asked.
        incarnation: Incarnation,
        /// The request that it answers.
        number: Number,
        /// The newest heartbeat of the asker that was accepted before forming (0: none in this life of the coordinator).
        heartbeat: u64,
        /// The quorum.
        quorum: Quorum,
    },
    /// The formation starts over; requests of older epochs are over. Sent to everyone waiting when a replica failed, and
    /// as the answer to a request of an older epoch.
    Reset {
        /// Who is told.
        incarnation: Incarnation,
        /// The epoch that begins.
        epoch: Epoch,
        /// The members whose failure was the reason; empty if that isn't known any more.
        failed: Arc<[Text]>,
    },
    /// The answer to `Ask`: it can't be met.
    Refused {
        /// Who asked.
        incarnation: Incarnation,
        /// The request that it answers.
        number: Number,
        /// Why.
        refusal: Refusal,
    },
    /// The answer to `Withdraw`.
    Withdrawn {
        /// Who withdrew.
        incarnation: Incarnation,
        /// The last request that ended.
        through: Number,
    },
    /// Asks a member to stop working in a formation, so that others can form without it. Re-sent until acknowledged.
    Evict {
        /// Who is evicted.
        incarnation: Incarnation,
        /// Out of which formation, and every earlier one.
        formation: Epoch,
    },
    // ---- from the coordinator to subscribers
    /// The next notification.
    Notification {
        /// To which subscriber.
        session: Session,
        /// What happened.
        notice: Notice,
    },
    /// A fresh snapshot. It is a cut: nothing up to its cursor follows.
    Snapshot {
        /// To which subscriber.
        session: Session,
        /// The last notification that it covers.
        cursor: Cursor,
        /// How many notifications the session missed, if it fell behind; `None` at its beginning.
        lagged: Option<u64>,
        /// The failures at that point, sorted by member.
        failures: Arc<[Failure]>,
    },
}

kinds!(Message {
    register => Register { .. },
    heartbeat => Heartbeat { .. },
    leave => Leave { .. },
    ask => Ask { .. },
    withdraw => Withdraw { .. },
    evict_ack => EvictAck { .. },
    subscribe => Subscribe { .. },
    unsubscribe => Unsubscribe { .. },
    granted => Granted { .. },
    heartbeat_ack => HeartbeatAck { .. },
    left => Left { .. },
    unknown => Unknown { .. },
    failed => Failed { .. },
    superseded => Superseded { .. },
    formed => Formed { .. },
    reset => Reset { .. },
    refused => Refused { .. },
    withdrawn => Withdrawn { .. },
    evict => Evict { .. },
    notification => Notification { .. },
    snapshot => Snapshot { .. },
});
