//! What a peer tells the history. Checkers read nothing else of it.

use crate::{Ballot, Communicator, CommunicatorId, Generation, Incarnation, InvalidValue, Member, Rank, Value};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_machine::{Span, kinds};

/// Why an input was ignored. Ignoring has no effect on anything but a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// The generation is over. The sender was answered with what was decided.
    StaleGeneration,
    /// The generation hasn't begun here, and no more messages of later ones are kept.
    EarlyGeneration,
    /// Another communicator of the same generation.
    WrongCommunicator,
    /// A rank that doesn't exist, or the receiver's own.
    ImpossibleRank,
    /// The receiver is a member of nothing.
    NotAMember,
    /// The process has stopped.
    Stopped,
    /// An answer to a ping that was answered before, or never sent.
    StalePong,
    /// A ballot below the promise. The sender was told.
    StaleBallot,
    /// An answer to another ballot than the one that is led, or to one in another stage.
    StaleAnswer,
    /// A second answer to the same question.
    RepeatedAnswer,
    /// A ballot that isn't its sender's.
    ForgedLeader,
    /// A round without successor, an accepted ballot that isn't below the promise, or a refusal that names no higher one.
    ImpossibleBallot,
    /// A value that can't be decided about this generation.
    ImpossibleValue(InvalidValue),
    /// Suspicions that aren't ascending or name ranks that don't exist, or too many or ill-ordered joiners.
    ImpossibleVow,
    /// Another value at a ballot where one was accepted.
    ConflictingValue,
    /// A decision whose voters are no quorum.
    NoQuorum,
    /// A communicator that can't be.
    ImpossibleCommunicator,
    /// A communicator or decision that isn't newer than what is known.
    StaleNews,
    /// An id that is empty or longer than its limit.
    BadId,
    /// A limit is reached: joiners, members or subscribers. The sender asks again later.
    LimitReached,
    /// A confirmation of notices that were never sent, or of an unknown subscriber.
    ImpossibleCursor,
    /// There is nothing to recover from.
    NothingToRecover,
}

/// Why a round was started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The leader can't work, and nobody else leads.
    OwnNeed,
    /// Another member took it for the leader.
    Told,
    /// Somebody whose answer was awaited is suspected.
    Suspicion,
    /// The deadline of its last ballot passed.
    Deadline,
    /// Its last ballot was below a promise.
    Outbid,
    /// Somebody asked to be admitted.
    Joiners,
}

/// Why a member may not work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inactivity {
    /// It suspects somebody.
    Suspicion,
    /// It promised a ballot.
    Promise,
}

/// What counted at a leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A promise.
    Promise,
    /// An acceptance.
    Accept,
}

/// What a peer decided or learnt.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The process is no member, and begins to ask to be admitted.
    Joining {
        /// The incarnation that it asks for.
        incarnation: Incarnation,
    },
    /// Somebody asked to be admitted, and is known from now on.
    JoinerKnown {
        /// Who.
        member: Member,
    },
    /// A member was asked and did not answer in time.
    Suspected {
        /// In which generation.
        generation: Generation,
        /// Who.
        rank: Rank,
    },
    /// A suspected member answered.
    Cleared {
        /// In which generation.
        generation: Generation,
        /// Who.
        rank: Rank,
    },
    /// The process did not run for a while; all silences count anew.
    Stalled {
        /// For how long.
        gap: Span,
    },
    /// A leader begins a ballot.
    RoundStarted {
        /// In which generation.
        generation: Generation,
        /// Which ballot.
        ballot: Ballot,
        /// Why.
        start: Start,
    },
    /// A ballot was promised: nothing below it is accepted.
    Promised {
        /// In which generation.
        generation: Generation,
        /// Which ballot.
        ballot: Ballot,
    },
    /// An answer counted at the leader. Generation and ballot are those that the message named.
    Counted {
        /// In which generation.
        generation: Generation,
        /// At which ballot.
        ballot: Ballot,
        /// Whose.
        from: Rank,
        /// What.
        answer: Answer,
    },
    /// A leader chose a value.
    Proposed {
        /// In which generation.
        generation: Generation,
        /// At which ballot.
        ballot: Ballot,
        /// The value.
        value: Value,
        /// The older ballot at which it was accepted, if it is not fresh.
        adopted: Option<Ballot>,
        /// Whose promises counted.
        counted: Arc<BTreeSet<Rank>>,
    },
    /// A value was accepted.
    Accepted {
        /// In which generation.
        generation: Generation,
        /// At which ballot.
        ballot: Ballot,
        /// The value.
        value: Value,
    },
    /// The successor of a generation is known.
    Decided {
        /// Whose successor.
        generation: Generation,
        /// At which ballot a quorum accepted.
        ballot: Ballot,
        /// What.
        value: Value,
        /// The quorum.
        voters: Arc<BTreeSet<Rank>>,
        /// Whether it was learnt from another member; else the leader counted it itself.
        learnt: bool,
    },
    /// A communicator is in force here.
    Installed {
        /// Its name.
        communicator: CommunicatorId,
        /// Generation and members.
        group: Arc<Communicator>,
        /// The rank of this process in it.
        rank: Rank,
        /// Its rank in the one before, if it was a member of that.
        old_rank: Option<Rank>,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// Every member was heard in this generation: work may start.
    GroupActive {
        /// Which generation.
        generation: Generation,
        /// The name of its communicator.
        communicator: CommunicatorId,
        /// The rank of this process.
        rank: Rank,
        /// How many members it has.
        size: u32,
    },
    /// No work is started until the next communicator is installed.
    GroupInactive {
        /// Which generation.
        generation: Generation,
        /// Why.
        cause: Inactivity,
    },
    /// The process learnt that it was excluded. It asks to be admitted as another incarnation.
    SelfFenced {
        /// The generation in which it is no member.
        generation: Generation,
        /// The incarnation that ended.
        incarnation: Incarnation,
    },
    /// The policy is to abort: the process stops.
    RecoveryFailed {
        /// In which generation.
        generation: Generation,
        /// Whom it suspects.
        suspects: Arc<[Rank]>,
    },
    /// A message of a later generation showed that something was missed.
    FellBehind {
        /// Where the process still is.
        generation: Generation,
        /// What it saw.
        seen: Generation,
    },
    /// An input was ignored.
    Ignored {
        /// Why.
        reason: Ignored,
    },
}

kinds!(Event {
    joining => Joining { .. },
    joiner_known => JoinerKnown { .. },
    peer_suspected => Suspected { .. },
    peer_cleared => Cleared { .. },
    peer_stalled => Stalled { .. },
    round_started => RoundStarted { .. },
    promised => Promised { .. },
    counted => Counted { .. },
    proposed => Proposed { .. },
    accepted => Accepted { .. },
    decided => Decided { .. },
    installed => Installed { .. },
    group_active => GroupActive { .. },
    group_inactive => GroupInactive { .. },
    self_fenced => SelfFenced { .. },
    recovery_failed => RecoveryFailed { .. },
    fell_behind => FellBehind { .. },
    peer_ignored => Ignored { .. },
});
