//! Which calls and streams are open, and which of them takes a message. No I/O.
//!
//! An address names one call and, through it, its caller. A machine keeps addresses for long, so they outlive their calls;
//! they need no table, because an address is the number of a connection and the number of a call on it.

use crate::edges::Undelivered;
use squall_coordinator::{BootId, Epoch, Incarnation, Message, Number, Session};
use squall_machine::Address;
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// The most callers that are remembered. Those without an open call or stream are forgotten for new ones, the longest unheard
/// first.
pub(crate) const CALLERS_MAX: usize = 32_768;
/// The most open calls of one caller. A further one takes the place of the oldest.
pub(crate) const CALLS_PER_CALLER_MAX: usize = 64;
/// The most subscription streams of one caller.
pub(crate) const SUBSCRIPTIONS_PER_CALLER_MAX: usize = 16;
/// How many messages wait in one stream. A subscriber's queue of notifications fits by default; what doesn't comes back, and
/// is made up for like any lost message.
pub(crate) const STREAM_MESSAGES_MAX: usize = 256;

/// What an open call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expects {
    Grant {
        boot: BootId,
    },
    HeartbeatAck {
        incarnation: Incarnation,
        seq: u64,
    },
    Farewell {
        incarnation: Incarnation,
    },
    Quorum {
        incarnation: Incarnation,
        number: Number,
        epoch: Epoch,
    },
    Withdrawal {
        incarnation: Incarnation,
        through: Number,
    },
    /// Nothing: it is over when its message is on its way.
    Nothing,
}

impl Expects {
    /// Whether a message is an answer to the call.
    fn is_answered_by(self, message: &Message) -> bool {
        match *message {
            Message::Granted { boot, .. } => self == Self::Grant { boot },
            Message::HeartbeatAck { incarnation, seq, .. } => self == Self::HeartbeatAck { incarnation, seq },
            Message::Left { incarnation }
            | Message::Unknown { incarnation }
            | Message::Failed { incarnation, .. }
            | Message::Superseded { incarnation } => self.incarnation() == Some(incarnation),
            Message::Formed { incarnation, number, .. } | Message::Refused { incarnation, number, .. } => {
                matches!(self, Self::Quorum { incarnation: who, number: asked, .. } if (who, asked) == (incarnation, number))
            }
            Message::Reset { incarnation, epoch, .. } => {
                matches!(self, Self::Quorum { incarnation: who, epoch: asked, .. } if who == incarnation && asked < epoch)
            }
            Message::Withdrawn { incarnation, through } => match self {
                Self::Quorum { incarnation: who, number, .. } => who == incarnation && number <= through,
                Self::Withdrawal { incarnation: who, through: asked } => who == incarnation && asked <= through,
                Self::Grant { .. } | Self::HeartbeatAck { .. } | Self::Farewell { .. } | Self::Nothing => false,
            },
            Message::Evict { .. }
            | Message::Notification { .. }
            | Message::Snapshot { .. }
            | Message::Register { .. }
            | Message::Heartbeat { .. }
            | Message::Leave { .. }
            | Message::Ask { .. }
            | Message::Withdraw { .. }
            | Message::EvictAck { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. } => false,
        }
    }

    fn incarnation(self) -> Option<Incarnation> {
        match self {
            Self::HeartbeatAck { incarnation, .. }
            | Self::Farewell { incarnation }
            | Self::Quorum { incarnation, .. }
            | Self::Withdrawal { incarnation, .. } => Some(incarnation),
            Self::Grant { .. } | Self::Nothing => None,
        }
    }
}

/// Where a message goes, by what it is.
enum Way {
    /// To a call that waits for it, or to whoever attends.
    Caller,
    /// To the stream of a subscription.
    Subscription(Session),
    /// Nowhere: it is no answer.
    Wrong,
}

fn way(message: &Message) -> Way {
    match *message {
        Message::Notification { session, .. } | Message::Snapshot { session, .. } => Way::Subscription(session),
        Message::Granted { .. }
        | Message::HeartbeatAck { .. }
        | Message::Left { .. }
        | Message::Unknown { .. }
        | Message::Failed { .. }
        | Message::Superseded { .. }
        | Message::Formed { .. }
        | Message::Reset { .. }
        | Message::Refused { .. }
        | Message::Withdrawn { .. }
        | Message::Evict { .. } => Way::Caller,
        Message::Register { .. }
        | Message::Heartbeat { .. }
        | Message::Leave { .. }
        | Message::Ask { .. }
        | Message::Withdraw { .. }
        | Message::EvictAck { .. }
        | Message::Subscribe { .. }
        | Message::Unsubscribe { .. } => Way::Wrong,
    }
}

/// Why a call or stream isn't opened. Its caller tries again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// `CALLERS_MAX` callers have open calls or streams.
    Callers,
    /// The caller has made as many calls as can be numbered; it has to draw another number.
    Calls,
    /// The caller has `SUBSCRIPTIONS_PER_CALLER_MAX` open subscription streams.
    Subscriptions,
}

/// All callers.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    by_caller: BTreeMap<u64, u32>,
    connections: BTreeMap<u32, Connection>,
    /// The number of the newest connection; never reused.
    newest: u32,
    /// Counts what is opened, to know who was unheard for the longest.
    opened: u64,
}

#[derive(Debug, Default)]
struct Connection {
    caller: u64,
    /// When it last opened something.
    used: u64,
    /// The number of the newest call; never reused.
    newest: u32,
    calls: BTreeMap<u32, Call>,
    attend: Option<mpsc::Sender<Message>>,
    subscriptions: BTreeMap<Session, mpsc::Sender<Message>>,
    /// The newest request that was answered with a quorum or refused, however the answer travelled.
    answered: (Incarnation, Number),
}

#[derive(Debug)]
struct Call {
    expects: Expects,
    answer: oneshot::Sender<Message>,
}

impl Switchboard {
    /// Opens a call. The answer's receiver ends without one when another call takes its place: a newer request for the same
    /// quorum, or any other once the caller has too many.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn open_call(
        &mut self,
        caller: u64,
        expects: Expects,
    ) -> Result<(Address, oneshot::Receiver<Message>), Full> {
        let (number, connection) = self.connection(caller)?;
        let newest = connection.newest.checked_add(1).ok_or(Full::Calls)?;
        connection.newest = newest;
        if let Expects::Quorum { incarnation, number, .. } = expects {
            connection.calls.retain(|_, call| !call.expects.asks(incarnation, |older| older <= number));
        }
        if connection.calls.len() >= CALLS_PER_CALLER_MAX {
            connection.calls.pop_first();
        }
        let (answer, receiver) = oneshot::channel();
        if expects != Expects::Nothing {
            connection.calls.insert(newest, Call { expects, answer });
        }
        Ok((address(number, newest), receiver))
    }

    /// A call is over for its caller. Returns the request that was given up with it, if it still waited for an answer and no
    /// other call of the caller does so for the same request or a later one.
    pub(crate) fn close_call(&mut self, of: Address) -> Option<(Incarnation, Number)> {
        let (connection, call) = parts(of);
        let connection = self.connections.get_mut(&connection)?;
        let Expects::Quorum { incarnation, number, .. } = connection.calls.remove(&call)?.expects else { return None };
        let asked_again = connection.calls.values().any(|call| call.expects.asks(incarnation, |newer| newer >= number));
        let answered = connection.answered >= (incarnation, number);
        (!asked_again && !answered).then_some((incarnation, number))
    }

    /// Opens the stream of what a caller is told unasked; ends the one before.
    pub(crate) fn attend(&mut self, caller: u64) -> Result<mpsc::Receiver<Message>, Full> {
        let (_, connection) = self.connection(caller)?;
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES_MAX);
        connection.attend = Some(sender);
        Ok(receiver)
    }

    /// Opens the stream of a subscription; ends the one before. Returns an address for the request that opens it.
    pub(crate) fn subscribe(
        &mut self,
        caller: u64,
        session: Session,
    ) -> Result<(Address, mpsc::Receiver<Message>), Full> {
        let (of, _) = self.open_call(caller, Expects::Nothing)?;
        let (_, connection) = self.connection(caller)?;
        connection.subscriptions.retain(|_, line| !line.is_closed());
        if connection.subscriptions.len() >= SUBSCRIPTIONS_PER_CALLER_MAX
            && !connection.subscriptions.contains_key(&session)
        {
            return Err(Full::Subscriptions);
        }
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES_MAX);
        connection.subscriptions.insert(session, sender);
        Ok((of, receiver))
    }

    /// Hands a message to whoever can take it: the call that it is addressed to, another call of that caller that it answers,
    /// or the caller's stream.
    ///
    /// # Errors
    /// The message, if nobody can, and why.
    pub(crate) fn route(&mut self, to: Address, message: Message) -> Result<(), (Message, Undelivered)> {
        let (connection, call) = parts(to);
        let Some(connection) = self.connections.get_mut(&connection) else {
            return Err((message, Undelivered::Gone));
        };
        match way(&message) {
            Way::Wrong => Err((message, Undelivered::WrongDirection)),
            Way::Subscription(session) => pour(connection.subscriptions.get(&session), message),
            Way::Caller => {
                connection.note_answered(&message);
                let message = match connection.answer(call, message) {
                    Ok(()) => return Ok(()),
                    Err(message) => message,
                };
                pour(connection.attend.as_ref(), message)
            }
        }
    }

    /// Who is behind an address, while that is remembered.
    pub(crate) fn caller(&self, of: Address) -> Option<u64> {
        self.connections.get(&parts(of).0).map(|connection| connection.caller)
    }

    /// Ends all calls and streams.
    pub(crate) fn close(&mut self) {
        self.connections.clear();
        self.by_caller.clear();
    }

    fn connection(&mut self, caller: u64) -> Result<(u32, &mut Connection), Full> {
        assert!(caller != 0, "every client names its connection");
        self.opened += 1;
        let number = match self.by_caller.get(&caller) {
            Some(&number) => number,
            None => self.add(caller)?,
        };
        let connection = self.connections.get_mut(&number).expect("a caller has its connection");
        connection.used = self.opened;
        Ok((number, connection))
    }

    fn add(&mut self, caller: u64) -> Result<u32, Full> {
        if self.connections.len() >= CALLERS_MAX {
            let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
            let (&number, _) = idle.min_by_key(|(_, connection)| connection.used).ok_or(Full::Callers)?;
            if let Some(forgotten) = self.connections.remove(&number) {
                self.by_caller.remove(&forgotten.caller);
            }
        }
        self.newest = self.newest.checked_add(1).ok_or(Full::Callers)?;
        self.by_caller.insert(caller, self.newest);
        self.connections.insert(self.newest, Connection { caller, ..Connection::default() });
        assert_eq!(self.by_caller.len(), self.connections.len(), "one connection a caller");
        Ok(self.newest)
    }
}

impl Connection {
    /// Gives a message to a call that waits for it: the addressed one, or else the newest.
    fn answer(&mut self, addressed: u32, mut message: Message) -> Result<(), Message> {
        let waits = |call: &Call| call.expects.is_answered_by(&message);
        let first = self.calls.get(&addressed).filter(|call| waits(call)).map(|_| addressed);
        let others = self.calls.iter().rev().filter(|&(&number, call)| number != addressed && waits(call));
        let candidates: Vec<u32> = first.into_iter().chain(others.map(|(&number, _)| number)).collect();
        for number in candidates {
            if let Some(call) = self.calls.remove(&number) {
                match call.answer.send(message) {
                    Ok(()) => return Ok(()),
                    // Its caller has gone in this very moment.
                    Err(back) => message = back,
                }
            }
        }
        Err(message)
    }

    fn note_answered(&mut self, message: &Message) {
        if let Message::Formed { incarnation, number, .. } | Message::Refused { incarnation, number, .. } = *message {
            self.answered = self.answered.max((incarnation, number));
        }
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.attend.as_ref().is_none_or(mpsc::Sender::is_closed)
            && self.subscriptions.values().all(mpsc::Sender::is_closed)
    }
}

impl Expects {
    fn asks(self, incarnation: Incarnation, number: impl Fn(Number) -> bool) -> bool {
        matches!(self, Self::Quorum { incarnation: who, number: asked, .. } if who == incarnation && number(asked))
    }
}

fn pour(line: Option<&mpsc::Sender<Message>>, message: Message) -> Result<(), (Message, Undelivered)> {
    let Some(line) = line else { return Err((message, Undelivered::Gone)) };
    line.try_send(message).map_err(|error| match error {
        mpsc::error::TrySendError::Full(message) => (message, Undelivered::QueueFull),
        mpsc::error::TrySendError::Closed(message) => (message, Undelivered::Gone),
    })
}

fn address(connection: u32, call: u32) -> Address {
    Address(u64::from(connection) << 32 | u64::from(call))
}

fn parts(address: Address) -> (u32, u32) {
    ((address.0 >> 32) as u32, address.0 as u32)
}

#[cfg(test)]
mod tests;
