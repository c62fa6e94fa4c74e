//! A process that only listens: no registration, no heartbeats.

use crate::subscription::{Cut, Subscription};
use crate::{Bookmark, ObserverStatus, Record};
use alloc::sync::Arc;
use core::convert::Infallible;
use squall_coordinator::{Event, Ignored, Knobs, Message};
use squall_machine::{Address, Effects, Input, Machine, Time};

/// What an observer has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObserverConfig {
    /// Where the coordinator is reached.
    pub coordinator: Address,
    /// For its session id. Has to be another one in each life of the process.
    pub seed: u64,
    /// Settings; an observer uses `poll` and `resend`.
    pub knobs: Arc<Knobs>,
}

/// What an observer can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ObserverRequest {
    /// To end its session. It takes nothing from then on.
    Close,
}

/// A subscriber: takes each notification once and in order, also across its own restarts and the coordinator's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ObserverNode {
    subscription: Subscription,
}

impl ObserverNode {
    /// An observer that has not booted.
    #[must_use]
    pub fn new(config: &ObserverConfig) -> Self {
        Self { subscription: Subscription::new(config.coordinator, config.knobs.clone(), config.seed) }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ObserverStatus {
        ObserverStatus {
            session: self.subscription.bookmark().map(|bookmark| bookmark.session),
            taken: self.subscription.taken(),
        }
    }

    fn on_message(&mut self, now: Time, message: Message, effects: &mut Effects<Self>) -> Result<(), Ignored> {
        match message {
            Message::Notification { session, notice } => {
                self.subscription.on_notification(now, session, notice, effects)
            }
            Message::Snapshot { session, cursor, lagged, failures } => {
                self.subscription.on_snapshot(now, session, Cut { cursor, lagged, failures }, effects)
            }
            Message::Register { .. }
            | Message::Heartbeat { .. }
            | Message::Leave { .. }
            | Message::Ask { .. }
            | Message::Withdraw { .. }
            | Message::EvictAck { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. } => Err(Ignored::WrongDirection),
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
            | Message::Evict { .. } => Err(Ignored::StaleAnswer),
        }
    }
}

impl Machine for ObserverNode {
    type Message = Message;
    type Request = ObserverRequest;
    type Reply = Infallible;
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                let bookmark = Bookmark::replay(durable.snapshot.flatten(), &durable.records);
                self.subscription.on_boot(now, bookmark, effects);
            }
            Input::Receive { from: _, message } => {
                if let Err(reason) = self.on_message(now, message, effects) {
                    effects.event(Event::Ignored { reason, incarnation: None });
                }
            }
            Input::Request(ObserverRequest::Close) => self.subscription.close(effects),
            Input::Wake => {}
        }
        self.subscription.send_due(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.subscription.deadline()
    }

    fn snapshot(&self) -> Option<Bookmark> {
        self.subscription.bookmark()
    }

    fn assert_invariants(&self) {
        self.subscription.assert_invariants();
    }
}
