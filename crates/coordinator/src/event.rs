//! What the machines of this protocol tell the history. Checkers read nothing else of them.

use crate::{BootId, Cursor, Epoch, Failure, Incarnation, Notice, Number, Quorum, QuorumId, Refusal, Role, Session};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, Text, kinds};

/// Why an incarnation ended by failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No heartbeat was accepted for `timeout + grace`.
    Timeout,
    /// A newer incarnation of the same id began.
    Superseded,
}

/// Why a replica stopped being Active.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inactivity {
    /// It asked for the next quorum.
    Asked,
    /// It is leaving, or left.
    Left,
    /// It was told to start over.
    Reset,
    /// It was evicted.
    Evicted,
    /// It heard of a newer formation.
    Newer,
    /// Its lease ran out: `lapse` has passed since it sent the newest heartbeat that was acknowledged in its formation.
    Lapsed,
    /// Its incarnation ended: it was answered `Unknown`, `Failed` or `Superseded`.
    Ended,
}

/// Why an open vote ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteEnd {
    /// Every local rank voted.
    Complete,
    /// A rank voted false.
    Against,
    /// A newer quorum arrived, or this one ended.
    NewerQuorum,
    /// The deadline passed.
    Deadline,
    /// The manager shuts down.
    Shutdown,
}

/// Why an input was ignored. Ignoring has no effect on anything but a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// The incarnation was never granted, its grant was forgotten, or its end was.
    UnknownIncarnation,
    /// The incarnation has ended by failure.
    FailedIncarnation,
    /// The incarnation has been superseded by another process.
    SupersededIncarnation,
    /// The incarnation has left.
    LeftIncarnation,
    /// The grant has not been claimed by a heartbeat yet.
    UnclaimedGrant,
    /// The heartbeat's number is not above the last one.
    StaleSeq,
    /// The request was withdrawn.
    WithdrawnRequest,
    /// The request's number is below one that is open or answered.
    StaleRequest,
    /// The same request is already open.
    RepeatedRequest,
    /// The request carries an older epoch. It was answered `Reset`.
    StaleEpoch,
    /// The acknowledgement of an eviction that nobody waits for.
    StaleEviction,
    /// The session is not known.
    UnknownSession,
    /// An acknowledgement of notifications that were never sent.
    ImpossibleCursor,
    /// A limit is reached: members, unclaimed grants or sessions. The sender asks again later.
    LimitReached,
    /// A text is longer than its limit.
    TextTooLong,
    /// The message is meant for the other side: a coordinator's answer at a coordinator, a request at a member.
    WrongDirection,
    /// An answer to nothing that is open: another boot, another incarnation, another number.
    StaleAnswer,
    /// The formation is not newer than one that was received, reset or evicted from.
    StaleFormation,
    /// The notification's cursor is not the next one.
    OutOfOrder,
    /// The session of the notification has ended or was never this subscriber's.
    StaleSession,
    /// The process has stopped.
    Stopped,
    /// A vote for another step or quorum than the open one.
    WrongVote,
    /// A second vote of a rank that has voted.
    RepeatedVote,
    /// A rank outside `0..world_size`.
    RankOutOfRange,
}

/// What the history is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    // ---- coordinator: detect
    /// An incarnation was granted; it has not begun.
    Granted {
        /// To whom.
        member: Text,
        /// Which.
        incarnation: Incarnation,
        /// Which process asked.
        boot: BootId,
    },
    /// The first heartbeat of a granted incarnation was accepted.
    Began {
        /// Whose.
        member: Text,
        /// Which.
        incarnation: Incarnation,
        /// What it is for.
        role: Role,
        /// The cursor of the `Returned` notice, if the member had failed before.
        returned: Option<Cursor>,
    },
    /// A heartbeat counted.
    HeartbeatAccepted {
        /// Whose.
        incarnation: Incarnation,
        /// Which.
        seq: u64,
    },
    /// `timeout` passed without an accepted heartbeat, `timeout + grace` has not.
    Suspected {
        /// Who.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
    },
    /// A suspicion was cleared: by a heartbeat, or because all ages start anew.
    Cleared {
        /// Who.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
    },
    /// An incarnation ended by failure: recorded, notified and cleaned up in one step.
    Failed {
        /// Who.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
        /// What it was for.
        role: Role,
        /// Why.
        cause: Cause,
        /// The place of its notice in the stream.
        cursor: Cursor,
        /// How long ago its last heartbeat was accepted, on the coordinator's clock.
        age: Span,
    },
    /// An incarnation ended by planned departure.
    Left {
        /// Who.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
    },
    /// The coordinator itself didn't run for a while, or restarted: all ages start anew.
    Stalled {
        /// How long it didn't run; zero after a restart.
        gap: Span,
        /// Whether it restarted.
        restarted: bool,
    },
    /// A failure tick is over: every overdue member has been declared.
    Ticked {},
    /// An ended incarnation, or a grant that nobody claimed, was forgotten.
    Forgotten {
        /// Who.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
    },
    /// An input had no effect.
    Ignored {
        /// Why.
        reason: Ignored,
        /// Whose it was, if it named an incarnation.
        incarnation: Option<Incarnation>,
    },
    // ---- coordinator: notify
    /// A session opened: it was sent a snapshot, or resumes, after the cursor.
    Subscribed {
        /// Which.
        session: Session,
        /// The last notification that it took, or that its snapshot covers.
        cursor: Cursor,
    },
    /// A session fell behind and gets a snapshot next.
    Lagged {
        /// Which.
        session: Session,
        /// The last cursor it acknowledged.
        after: Cursor,
        /// The newest cursor then.
        newest: Cursor,
    },
    /// A session ended: it asked to, or wasn't heard of for `session_ttl`.
    Unsubscribed {
        /// Which.
        session: Session,
    },
    // ---- coordinator: quorum
    /// A request counts from now on.
    Requested {
        /// Who asks.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
        /// Its number.
        number: Number,
        /// The epoch it counts in.
        epoch: Epoch,
    },
    /// Requests up to a number ended because their client gave up.
    Withdrawn {
        /// Whose.
        incarnation: Incarnation,
        /// The last one that ended.
        through: Number,
    },
    /// A request was refused.
    Refused {
        /// Whose.
        incarnation: Incarnation,
        /// Which.
        number: Number,
        /// Why.
        refusal: Refusal,
    },
    /// The formation started over.
    Reset {
        /// The epoch that begins.
        epoch: Epoch,
        /// The replicas whose failure was the reason; empty after a restart.
        failed: Arc<[Text]>,
    },
    /// A quorum was formed.
    Formed {
        /// Which.
        quorum: Quorum,
        /// How many replicas were healthy then.
        healthy: u32,
        /// Whether the whole previous quorum was there, so that nobody had to be waited for.
        fast: bool,
        /// How long the first of its candidates had waited.
        waited: Span,
    },
    /// A member that may still be Active in an older formation was asked to stop.
    EvictSent {
        /// Who.
        incarnation: Incarnation,
        /// Out of which formation.
        formation: Epoch,
    },
    /// A member confirmed that it isn't Active in that formation or an earlier one.
    Evicted {
        /// Who.
        incarnation: Incarnation,
        /// Out of which formation.
        formation: Epoch,
    },
    /// Why no quorum forms; told when it changes. Empty when nobody asks.
    Waiting {
        /// The reason, for people.
        reason: Text,
    },
    // ---- member
    /// The process was granted an incarnation and begins to use it.
    Joined {
        /// Its id.
        member: Text,
        /// Which incarnation.
        incarnation: Incarnation,
        /// Its boot id.
        boot: BootId,
    },
    /// A request was made.
    Asked {
        /// Who asks.
        incarnation: Incarnation,
        /// Its number.
        number: Number,
        /// The epoch that the asker knows.
        epoch: Epoch,
        /// The step it is at.
        step: u64,
        /// Whether nobody from outside may join.
        shrink_only: bool,
        /// Commits that failed since the last quorum.
        commit_failures: u64,
    },
    /// An answer with a quorum was taken.
    Received {
        /// By whom.
        incarnation: Incarnation,
        /// The request that it answers.
        number: Number,
        /// The quorum.
        quorum: Quorum,
    },
    /// The replica works in a formation from now on.
    Active {
        /// Who.
        incarnation: Incarnation,
        /// In which formation.
        formation: Epoch,
        /// Its quorum id.
        quorum_id: QuorumId,
    },
    /// The replica stopped working in a formation.
    Inactive {
        /// Who.
        incarnation: Incarnation,
        /// In which formation.
        formation: Epoch,
        /// Why.
        cause: Inactivity,
    },
    /// The process gave up on its requests up to a number.
    GaveUp {
        /// Who.
        incarnation: Incarnation,
        /// The last one.
        through: Number,
    },
    /// The process stopped for good: another one took over its id, or it left.
    Stopped {
        /// Its id.
        member: Text,
        /// Its last incarnation, if it had one.
        incarnation: Option<Incarnation>,
        /// Whether it stopped with an error (superseded), not by plan.
        superseded: bool,
    },
    // ---- subscriber
    /// A subscriber opened a session of its own.
    SessionOpened {
        /// Which.
        session: Session,
    },
    /// A notification was taken.
    Notified {
        /// By which session.
        session: Session,
        /// What it says.
        notice: Notice,
    },
    /// A snapshot was taken: a cut, nothing up to its cursor follows.
    Resynced {
        /// By which session.
        session: Session,
        /// The last notification that it covers.
        cursor: Cursor,
        /// How many notifications were missed, if the session fell behind.
        lagged: Option<u64>,
        /// The failures at that point.
        failures: Arc<[Failure]>,
    },
    // ---- manager
    /// A local rank asked for a quorum.
    RankAsked {
        /// Which rank.
        rank: u32,
        /// The step it is at.
        step: u64,
    },
    /// A local rank was answered.
    RankAnswered {
        /// Which rank.
        rank: u32,
        /// What it was told.
        answer: RankAnswer,
    },
    /// The first vote for a step was cast.
    VoteOpened {
        /// Which step.
        step: u64,
        /// In which quorum.
        quorum_id: QuorumId,
    },
    /// A vote counted.
    Voted {
        /// Whose.
        rank: u32,
        /// For which step.
        step: u64,
        /// In which quorum.
        quorum_id: QuorumId,
        /// For or against.
        commit: bool,
    },
    /// A vote ended.
    VoteClosed {
        /// For which step.
        step: u64,
        /// In which quorum.
        quorum_id: QuorumId,
        /// Whether to commit.
        decision: bool,
        /// What ended it.
        end: VoteEnd,
    },
}

/// What a manager answers a local rank that asked for a quorum.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankAnswer {
    /// A quorum, and this rank's part in the recovery.
    Quorum(RankQuorum),
    /// No quorum; the rank asks again.
    Error(RankError),
}

/// Why a local rank got no quorum, and what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankError {
    /// The local ranks disagree about step or flags: a bug in the training loop, or a rank that restarted. Agree, then ask
    /// again.
    Disagreement,
    /// Another request of the same rank replaced this one.
    Replaced,
    /// The rank isn't in `0..world_size`. Correct the configuration.
    RankOutOfRange,
    /// The coordinator refused. Correct what it names.
    Refused(Refusal),
    /// The deadline passed. Ask again.
    Deadline,
    /// The manager shuts down. Stop.
    Shutdown,
    /// Another process took over this replica's id. Stop.
    Superseded,
}

/// A rank's view of a quorum: who takes part, who is behind, who helps whom. By the formulas of spec 1.4.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RankQuorum {
    /// The quorum's number.
    pub quorum_id: QuorumId,
    /// The formation it is about.
    pub formation: Epoch,
    /// The place of this replica in the list of members.
    pub replica_rank: u32,
    /// How many replicas there are.
    pub replica_count: u32,
    /// The highest step of any member.
    pub max_step: u64,
    /// The replica ranks that are at `max_step`.
    pub at_max_step: Vec<u32>,
    /// The store of the primary of this local rank.
    pub primary_store: Text,
    /// Whether this replica has to recover first.
    pub heal: bool,
    /// From which replica rank, if it has to.
    pub recover_from: Option<u32>,
    /// Which replica ranks recover from this one.
    pub recover_to: Vec<u32>,
}

kinds!(Event {
    granted => Granted { .. },
    began => Began { .. },
    heartbeat_accepted => HeartbeatAccepted { .. },
    suspected => Suspected { .. },
    cleared => Cleared { .. },
    failed => Failed { .. },
    left => Left { .. },
    stalled => Stalled { .. },
    ticked => Ticked {},
    forgotten => Forgotten { .. },
    ignored => Ignored { .. },
    subscribed => Subscribed { .. },
    lagged => Lagged { .. },
    unsubscribed => Unsubscribed { .. },
    requested => Requested { .. },
    withdrawn => Withdrawn { .. },
    refused => Refused { .. },
    reset => Reset { .. },
    formed => Formed { .. },
    evict_sent => EvictSent { .. },
    evicted => Evicted { .. },
    waiting => Waiting { .. },
    joined => Joined { .. },
    asked => Asked { .. },
    received => Received { .. },
    active => Active { .. },
    inactive => Inactive { .. },
    gave_up => GaveUp { .. },
    stopped => Stopped { .. },
    session_opened => SessionOpened { .. },
    notified => Notified { .. },
    resynced => Resynced { .. },
    rank_asked => RankAsked { .. },
    rank_answered => RankAnswered { .. },
    vote_opened => VoteOpened { .. },
    voted => Voted { .. },
    vote_closed => VoteClosed { .. },
});
