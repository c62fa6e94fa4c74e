//! Messages as they travel: to and from the generated protocol, total and lossless.
//!
//! What comes from the network is checked here: fields that must be there, words that this version doesn't know, and sizes.
//! What the coordinator's settings forbid is judged by its machine, which answers it.

use crate::proto as pb;
use squall_coordinator::{
    Ask, BootId, Capacity, Cause, Change, Cursor, Epoch, Failure, Incarnation, Message, Notice, Number, Participant,
    Quorum, QuorumId, Refusal, Role, Session,
};
use squall_machine::{Text, Wall};
use std::fmt;
use std::sync::Arc;

/// The largest request, in bytes. It is refused before it is decoded.
pub const REQUEST_BYTES_MAX: usize = 2 << 20;
/// The largest answer, in bytes: a quorum of a thousand members with all the data that they may hand each other.
pub const ANSWER_BYTES_MAX: usize = 80 << 20;
/// The longest id, address or other text, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// The longest opaque data of an ask, in bytes.
pub const DATA_BYTES_MAX: usize = 1 << 20;
/// The most members of a quorum, of a list of names or of failures.
pub const LIST_MAX: usize = 100_000;

/// A field that can't be what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Which field, as in `squall.proto`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It has to be there.
    Missing,
    /// It is a word that this version doesn't know.
    Unknown(i32),
    /// It is too large.
    TooLarge {
        /// Bytes, or entries.
        size: usize,
        /// As many as there may be.
        max: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Missing => write!(f, "{}: missing", self.field),
            Problem::Unknown(word) => write!(f, "{}: {word} is not known here", self.field),
            Problem::TooLarge { size, max } => write!(f, "{}: size {size}, at most {max}", self.field),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        match malformed.problem {
            Problem::Missing | Problem::Unknown(_) => Self::invalid_argument(malformed.to_string()),
            Problem::TooLarge { .. } => Self::resource_exhausted(malformed.to_string()),
        }
    }
}

/// A message as it travels.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Frame {
    /// From a member or subscriber to the coordinator.
    Request(Request),
    /// From the coordinator.
    Answer(pb::Answer),
}

/// A request, by its call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Request {
    Register(pb::RegisterRequest),
    Heartbeat(pb::HeartbeatRequest),
    Leave(pb::LeaveRequest),
    Quorum(pb::QuorumRequest),
    Withdraw(pb::WithdrawRequest),
    ConfirmEviction(pb::ConfirmEvictionRequest),
    Subscribe(pb::SubscribeRequest),
    Unsubscribe(pb::UnsubscribeRequest),
}

/// A request as it arrives: who calls, and what the machine is told.
pub(crate) trait Decode {
    fn decode(self) -> Result<(u64, Message), Malformed>;
}

/// A message on its way out. `caller` names the connection of who asks; answers don't need it.
pub(crate) fn encode(caller: u64, message: &Message) -> Frame {
    let answer = |kind| Frame::Answer(pb::Answer { kind: Some(kind) });
    match *message {
        Message::Register { ref id, boot, role, ref address, capacity } => {
            Frame::Request(Request::Register(pb::RegisterRequest {
                caller,
                id: id.to_string(),
                boot: boot.0,
                role: pb::Role::from(role).into(),
                address: address.to_string(),
                capacity: Some(pb::Capacity {
                    cpu_millis: capacity.cpu_millis,
                    memory_mib: capacity.memory_mib,
                    gpus: capacity.gpus,
                }),
            }))
        }
        Message::Heartbeat { incarnation, seq, wall } => Frame::Request(Request::Heartbeat(pb::HeartbeatRequest {
            caller,
            incarnation: incarnation.0,
            seq,
            wall: wall.0,
        })),
        Message::Leave { incarnation } => {
            Frame::Request(Request::Leave(pb::LeaveRequest { caller, incarnation: incarnation.0 }))
        }
        Message::Ask { incarnation, number, epoch, ref ask } => Frame::Request(Request::Quorum(pb::QuorumRequest {
            caller,
            incarnation: incarnation.0,
            number: number.0,
            epoch: epoch.0,
            ask: Some(encode_ask(ask)),
        })),
        Message::Withdraw { incarnation, through } => Frame::Request(Request::Withdraw(pb::WithdrawRequest {
            caller,
            incarnation: incarnation.0,
            through: through.0,
        })),
        Message::EvictAck { incarnation, formation } => {
            Frame::Request(Request::ConfirmEviction(pb::ConfirmEvictionRequest {
                caller,
                incarnation: incarnation.0,
                formation: formation.0,
            }))
        }
        Message::Subscribe { session, after } => Frame::Request(Request::Subscribe(pb::SubscribeRequest {
            caller,
            session: session.0,
            after: after.map(|after| after.0),
        })),
        Message::Unsubscribe { session } => {
            Frame::Request(Request::Unsubscribe(pb::UnsubscribeRequest { caller, session: session.0 }))
        }
        Message::Granted { boot, incarnation, epoch } => {
            answer(pb::answer::Kind::Granted(pb::Granted { boot: boot.0, incarnation: incarnation.0, epoch: epoch.0 }))
        }
        Message::HeartbeatAck { incarnation, seq, epoch, formation, cursor } => {
            answer(pb::answer::Kind::HeartbeatAck(pb::HeartbeatAck {
                incarnation: incarnation.0,
                seq,
                epoch: epoch.0,
                formation: formation.map(|formation| formation.0),
                cursor: cursor.0,
            }))
        }
        Message::Left { incarnation } => answer(pb::answer::Kind::Left(pb::Left { incarnation: incarnation.0 })),
        Message::Unknown { incarnation } => {
            answer(pb::answer::Kind::Unknown(pb::Unknown { incarnation: incarnation.0 }))
        }
        Message::Failed { incarnation, cause } => answer(pb::answer::Kind::Failed(pb::Failed {
            incarnation: incarnation.0,
            cause: pb::Cause::from(cause).into(),
        })),
        Message::Superseded { incarnation } => {
            answer(pb::answer::Kind::Superseded(pb::Superseded { incarnation: incarnation.0 }))
        }
        Message::Formed { incarnation, number, heartbeat, ref quorum } => {
            answer(pb::answer::Kind::Formed(pb::Formed {
                incarnation: incarnation.0,
                number: number.0,
                heartbeat,
                quorum: Some(pb::QuorumInfo {
                    id: quorum.id.0,
                    formation: quorum.formation.0,
                    members: quorum.members.iter().map(encode_participant).collect(),
                }),
            }))
        }
        Message::Reset { incarnation, epoch, ref failed } => answer(pb::answer::Kind::Reset(pb::Reset {
            incarnation: incarnation.0,
            epoch: epoch.0,
            failed: failed.iter().map(ToString::to_string).collect(),
        })),
        Message::Refused { incarnation, number, refusal } => answer(pb::answer::Kind::Refused(pb::Refused {
            incarnation: incarnation.0,
            number: number.0,
            refusal: pb::Refusal::from(refusal).into(),
        })),
        Message::Withdrawn { incarnation, through } => {
            answer(pb::answer::Kind::Withdrawn(pb::Withdrawn { incarnation: incarnation.0, through: through.0 }))
        }
        Message::Evict { incarnation, formation } => {
            answer(pb::answer::Kind::Evict(pb::Evict { incarnation: incarnation.0, formation: formation.0 }))
        }
        Message::Notification { session, ref notice } => answer(pb::answer::Kind::Notification(pb::Notification {
            session: session.0,
            cursor: notice.cursor.0,
            member: notice.member.to_string(),
            incarnation: notice.incarnation.0,
            change: pb::Change::from(notice.change).into(),
        })),
        Message::Snapshot { session, cursor, lagged, ref failures } => {
            answer(pb::answer::Kind::Snapshot(pb::Snapshot {
                session: session.0,
                cursor: cursor.0,
                lagged,
                failures: failures.iter().map(encode_failure).collect(),
            }))
        }
    }
}

/// An answer as it arrives.
///
/// # Errors
/// The first field that can't be.
pub(crate) fn decode_answer(answer: pb::Answer) -> Result<Message, Malformed> {
    match answer.kind.ok_or(missing("answer.kind"))? {
        pb::answer::Kind::Granted(pb::Granted { boot, incarnation, epoch }) => {
            Ok(Message::Granted { boot: BootId(boot), incarnation: Incarnation(incarnation), epoch: Epoch(epoch) })
        }
        pb::answer::Kind::HeartbeatAck(pb::HeartbeatAck { incarnation, seq, epoch, formation, cursor }) => {
            Ok(Message::HeartbeatAck {
                incarnation: Incarnation(incarnation),
                seq,
                epoch: Epoch(epoch),
                formation: formation.map(Epoch),
                cursor: Cursor(cursor),
            })
        }
        pb::answer::Kind::Left(pb::Left { incarnation }) => Ok(Message::Left { incarnation: Incarnation(incarnation) }),
        pb::answer::Kind::Unknown(pb::Unknown { incarnation }) => {
            Ok(Message::Unknown { incarnation: Incarnation(incarnation) })
        }
        pb::answer::Kind::Failed(pb::Failed { incarnation, cause }) => {
            Ok(Message::Failed { incarnation: Incarnation(incarnation), cause: decode_cause("failed.cause", cause)? })
        }
        pb::answer::Kind::Superseded(pb::Superseded { incarnation }) => {
            Ok(Message::Superseded { incarnation: Incarnation(incarnation) })
        }
        pb::answer::Kind::Formed(pb::Formed { incarnation, number, heartbeat, quorum }) => Ok(Message::Formed {
            incarnation: Incarnation(incarnation),
            number: Number(number),
            heartbeat,
            quorum: decode_quorum(quorum.ok_or(missing("formed.quorum"))?)?,
        }),
        pb::answer::Kind::Reset(pb::Reset { incarnation, epoch, failed }) => Ok(Message::Reset {
            incarnation: Incarnation(incarnation),
            epoch: Epoch(epoch),
            failed: list("reset.failed", failed, |name| text("reset.failed", name))?,
        }),
        pb::answer::Kind::Refused(pb::Refused { incarnation, number, refusal }) => Ok(Message::Refused {
            incarnation: Incarnation(incarnation),
            number: Number(number),
            refusal: decode_refusal(refusal)?,
        }),
        pb::answer::Kind::Withdrawn(pb::Withdrawn { incarnation, through }) => {
            Ok(Message::Withdrawn { incarnation: Incarnation(incarnation), through: Number(through) })
        }
        pb::answer::Kind::Evict(pb::Evict { incarnation, formation }) => {
            Ok(Message::Evict { incarnation: Incarnation(incarnation), formation: Epoch(formation) })
        }
        pb::answer::Kind::Notification(pb::Notification { session, cursor, member, incarnation, change }) => {
            let member = text("notification.member", member)?;
            let (cursor, incarnation) = (Cursor(cursor), Incarnation(incarnation));
            let notice = Notice { cursor, member, incarnation, change: decode_change(change)? };
            Ok(Message::Notification { session: Session(session), notice })
        }
        pb::answer::Kind::Snapshot(pb::Snapshot { session, cursor, lagged, failures }) => Ok(Message::Snapshot {
            session: Session(session),
            cursor: Cursor(cursor),
            lagged,
            failures: list("snapshot.failures", failures, decode_failure)?,
        }),
    }
}

impl Decode for pb::RegisterRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let role = match pb::Role::try_from(self.role) {
            Ok(pb::Role::Replica) => Role::Replica,
            Ok(pb::Role::Worker) => Role::Worker,
            Ok(pb::Role::Unspecified) | Err(_) => return Err(unknown("role", self.role)),
        };
        let pb::Capacity { cpu_millis, memory_mib, gpus } = self.capacity.ok_or(missing("capacity"))?;
        let message = Message::Register {
            id: text("id", self.id)?,
            boot: BootId(self.boot),
            role,
            address: text("address", self.address)?,
            capacity: Capacity { cpu_millis, memory_mib, gpus },
        };
        Ok((known(self.caller)?, message))
    }
}

impl Decode for pb::HeartbeatRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let (incarnation, wall) = (Incarnation(self.incarnation), Wall(self.wall));
        Ok((known(self.caller)?, Message::Heartbeat { incarnation, seq: self.seq, wall }))
    }
}

impl Decode for pb::LeaveRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        Ok((known(self.caller)?, Message::Leave { incarnation: Incarnation(self.incarnation) }))
    }
}

impl Decode for pb::QuorumRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let message = Message::Ask {
            incarnation: Incarnation(self.incarnation),
            number: Number(self.number),
            epoch: Epoch(self.epoch),
            ask: decode_ask(self.ask.ok_or(missing("ask"))?)?,
        };
        Ok((known(self.caller)?, message))
    }
}

impl Decode for pb::WithdrawRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let (incarnation, through) = (Incarnation(self.incarnation), Number(self.through));
        Ok((known(self.caller)?, Message::Withdraw { incarnation, through }))
    }
}

impl Decode for pb::ConfirmEvictionRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let (incarnation, formation) = (Incarnation(self.incarnation), Epoch(self.formation));
        Ok((known(self.caller)?, Message::EvictAck { incarnation, formation }))
    }
}

impl Decode for pb::SubscribeRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        let (session, after) = (Session(self.session), self.after.map(Cursor));
        Ok((known(self.caller)?, Message::Subscribe { session, after }))
    }
}

impl Decode for pb::UnsubscribeRequest {
    fn decode(self) -> Result<(u64, Message), Malformed> {
        Ok((known(self.caller)?, Message::Unsubscribe { session: Session(self.session) }))
    }
}

/// Every client names its connection.
pub(crate) fn known(caller: u64) -> Result<u64, Malformed> {
    if caller == 0 { Err(missing("caller")) } else { Ok(caller) }
}

fn encode_ask(ask: &Ask) -> pb::Ask {
    pb::Ask {
        address: ask.address.to_string(),
        store_address: ask.store_address.to_string(),
        step: ask.step,
        world_size: ask.world_size,
        shrink_only: ask.shrink_only,
        commit_failures: ask.commit_failures,
        data: ask.data.to_string(),
    }
}

fn decode_ask(ask: pb::Ask) -> Result<Arc<Ask>, Malformed> {
    Ok(Arc::new(Ask {
        address: text("ask.address", ask.address)?,
        store_address: text("ask.store_address", ask.store_address)?,
        step: ask.step,
        world_size: ask.world_size,
        shrink_only: ask.shrink_only,
        commit_failures: ask.commit_failures,
        data: bounded("ask.data", ask.data, DATA_BYTES_MAX)?,
    }))
}

fn encode_participant(participant: &Participant) -> pb::Participant {
    pb::Participant {
        id: participant.id.to_string(),
        incarnation: participant.incarnation.0,
        number: participant.number.0,
        ask: Some(encode_ask(&participant.ask)),
    }
}

fn decode_participant(participant: pb::Participant) -> Result<Participant, Malformed> {
    Ok(Participant {
        id: text("participant.id", participant.id)?,
        incarnation: Incarnation(participant.incarnation),
        number: Number(participant.number),
        ask: decode_ask(participant.ask.ok_or(missing("participant.ask"))?)?,
    })
}

fn decode_quorum(quorum: pb::QuorumInfo) -> Result<Quorum, Malformed> {
    Ok(Quorum {
        id: QuorumId(quorum.id),
        formation: Epoch(quorum.formation),
        members: list("quorum.members", quorum.members, decode_participant)?,
    })
}

fn encode_failure(failure: &Failure) -> pb::Failure {
    pb::Failure {
        member: failure.member.to_string(),
        incarnation: failure.incarnation.0,
        cause: pb::Cause::from(failure.cause).into(),
        cursor: failure.cursor.0,
    }
}

fn decode_failure(failure: pb::Failure) -> Result<Failure, Malformed> {
    Ok(Failure {
        member: text("failure.member", failure.member)?,
        incarnation: Incarnation(failure.incarnation),
        cause: decode_cause("failure.cause", failure.cause)?,
        cursor: Cursor(failure.cursor),
    })
}

impl From<Role> for pb::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Replica => Self::Replica,
            Role::Worker => Self::Worker,
        }
    }
}

impl From<Cause> for pb::Cause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Timeout => Self::Timeout,
            Cause::Superseded => Self::Superseded,
        }
    }
}

fn decode_cause(field: &'static str, cause: i32) -> Result<Cause, Malformed> {
    match pb::Cause::try_from(cause) {
        Ok(pb::Cause::Timeout) => Ok(Cause::Timeout),
        Ok(pb::Cause::Superseded) => Ok(Cause::Superseded),
        Ok(pb::Cause::Unspecified) | Err(_) => Err(unknown(field, cause)),
    }
}

impl From<Change> for pb::Change {
    fn from(change: Change) -> Self {
        match change {
            Change::Failed(Cause::Timeout) => Self::FailedTimeout,
            Change::Failed(Cause::Superseded) => Self::FailedSuperseded,
            Change::Returned => Self::Returned,
        }
    }
}

fn decode_change(change: i32) -> Result<Change, Malformed> {
    match pb::Change::try_from(change) {
        Ok(pb::Change::FailedTimeout) => Ok(Change::Failed(Cause::Timeout)),
        Ok(pb::Change::FailedSuperseded) => Ok(Change::Failed(Cause::Superseded)),
        Ok(pb::Change::Returned) => Ok(Change::Returned),
        Ok(pb::Change::Unspecified) | Err(_) => Err(unknown("notification.change", change)),
    }
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NothingToShrink => Self::NothingToShrink,
            Refusal::NotAReplica => Self::NotAReplica,
            Refusal::Malformed => Self::Malformed,
        }
    }
}

fn decode_refusal(refusal: i32) -> Result<Refusal, Malformed> {
    match pb::Refusal::try_from(refusal) {
        Ok(pb::Refusal::NothingToShrink) => Ok(Refusal::NothingToShrink),
        Ok(pb::Refusal::NotAReplica) => Ok(Refusal::NotAReplica),
        Ok(pb::Refusal::Malformed) => Ok(Refusal::Malformed),
        Ok(pb::Refusal::Unspecified) | Err(_) => Err(unknown("refused.refusal", refusal)),
    }
}

fn missing(field: &'static str) -> Malformed {
    Malformed { field, problem: Problem::Missing }
}

fn unknown(field: &'static str, word: i32) -> Malformed {
    Malformed { field, problem: Problem::Unknown(word) }
}

fn text(field: &'static str, text: String) -> Result<Text, Malformed> {
    bounded(field, text, TEXT_BYTES_MAX)
}

fn bounded(field: &'static str, text: String, max: usize) -> Result<Text, Malformed> {
    let size = text.len();
    if size > max { Err(Malformed { field, problem: Problem::TooLarge { size, max } }) } else { Ok(text.into()) }
}

fn list<A, B>(
    field: &'static str,
    items: Vec<A>,
    decode: impl Fn(A) -> Result<B, Malformed>,
) -> Result<Arc<[B]>, Malformed> {
    let (size, max) = (items.len(), LIST_MAX);
    if size > max {
        return Err(Malformed { field, problem: Problem::TooLarge { size, max } });
    }
    items.into_iter().map(decode).collect()
}

#[cfg(test)]
mod tests;
