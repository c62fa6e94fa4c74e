//! A peer and its collective work, in one process.

use crate::work::{Sink, Work, WorkEvent, WorkKnobs, WorkMessage};
use core::convert::Infallible;
use serde::{Deserialize, Serialize};
use squall_machine::{Address, Effects, Input, Machine, Time, kinds_of_parts};
use squall_recovery::{Event, Message, Peer, PeerConfig, PeerReply, PeerRequest};

/// What a peer node has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerNodeConfig {
    /// For the peer.
    pub peer: PeerConfig,
    /// How it works; `None` if the work is done elsewhere.
    pub work: Option<WorkKnobs>,
}

/// Everything that travels between peer nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerNodeMessage {
    /// Of the recovery protocol.
    Recovery(Message),
    /// Of the collective work.
    Work(WorkMessage),
}

/// What a peer node tells the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(untagged)]
pub enum PeerNodeEvent {
    /// Of the recovery protocol.
    Recovery(Event),
    /// Of the collective work.
    Work(WorkEvent),
}

kinds_of_parts!(PeerNodeMessage { Recovery(Message), Work(WorkMessage) });
kinds_of_parts!(PeerNodeEvent { Recovery(Event), Work(WorkEvent) });

impl From<Message> for PeerNodeMessage {
    fn from(message: Message) -> Self {
        Self::Recovery(message)
    }
}

impl From<Event> for PeerNodeEvent {
    fn from(event: Event) -> Self {
        Self::Recovery(event)
    }
}

/// The process of one peer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerNode {
    peer: Peer,
    work: Option<Work>,
}

impl PeerNode {
    /// A peer that has not booted.
    #[must_use]
    pub fn new(config: PeerNodeConfig) -> Self {
        let work = config.work.map(|knobs| Work::new(knobs, config.peer.seed));
        Self { peer: Peer::new(config.peer), work }
    }

    /// The core that watches, agrees and rebuilds.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    fn peer_step(&mut self, now: Time, input: Input<Peer>, effects: &mut Effects<Self>) {
        let mut part = Effects::new();
        part.set_wall(effects.wall());
        self.peer.step(now, input, &mut part);
        effects.take_over(&mut part, |reply, effects| effects.reply(reply));
    }
}

impl Sink for Effects<PeerNode> {
    fn send(&mut self, to: Address, message: WorkMessage) {
        Self::send(self, to, PeerNodeMessage::Work(message));
    }

    fn tell(&mut self, event: WorkEvent) {
        self.event(PeerNodeEvent::Work(event));
    }
}

impl Machine for PeerNode {
    type Message = PeerNodeMessage;
    type Request = PeerRequest;
    type Reply = PeerReply;
    type Record = Infallible;
    type Snapshot = ();
    type Event = PeerNodeEvent;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                self.peer_step(now, Input::Boot(durable.cast()), effects);
            }
            Input::Receive { from, message: PeerNodeMessage::Recovery(message) } => {
                self.peer_step(now, Input::Receive { from, message }, effects);
            }
            Input::Receive { from: _, message: PeerNodeMessage::Work(message) } => {
                // What is due comes first: it may end the activity in which the message would count.
                self.peer_step(now, Input::Wake, effects);
                if let Some(work) = &mut self.work {
                    work.follow(now, &self.peer, effects);
                    work.on_message(now, &self.peer, message, effects);
                }
            }
            Input::Request(request) => self.peer_step(now, Input::Request(request), effects),
            Input::Wake => self.peer_step(now, Input::Wake, effects),
        }
        if let Some(work) = &mut self.work {
            work.follow(now, &self.peer, effects);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let work = self.work.as_ref().and_then(Work::deadline);
        self.peer.deadline().into_iter().chain(work).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        self.peer.assert_invariants();
        let working = self.work.as_ref().is_some_and(|work| work.deadline().is_some());
        assert!(!working || self.peer.active().is_some(), "work without an active group");
    }
}

#[cfg(test)]
mod tests;
