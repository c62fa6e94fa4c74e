//! The one buffer through which a machine asks something of the world.

use crate::{Address, Machine, Wall};
use alloc::vec::Vec;

/// What a step wants from the world, in the order in which it was asked for.
///
/// A driver cannot read it; only an [`Outbox`](crate::Outbox) can, and it keeps back what has to wait for the disk.
#[derive(Debug)]
pub struct Effects<M: Machine> {
    pub(crate) queue: Vec<Effect<M>>,
    wall: Wall,
}

#[derive(Debug)]
pub(crate) enum Effect<M: Machine> {
    Record(M::Record),
    Send { to: Address, message: M::Message },
    SendVolatile { to: Address, message: M::Message },
    Reply(M::Reply),
    Event(M::Event),
}

impl<M: Machine> Default for Effects<M> {
    fn default() -> Self {
        Self { queue: Vec::new(), wall: Wall::default() }
    }
}

impl<M: Machine> Effects<M> {
    /// An empty buffer; keep one and use it for every step.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record to the durable state. Everything that is sent, replied or told to the history after it waits until
    /// it is synced.
    pub fn record(&mut self, record: M::Record) {
        self.queue.push(Effect::Record(record));
    }

    /// Sends a message once every record emitted so far, in this step or before, is synced.
    pub fn send(&mut self, to: Address, message: M::Message) {
        self.queue.push(Effect::Send { to, message });
    }

    /// Sends a message at once. Only for what promises nothing: heartbeats, their acknowledgements, pings.
    pub fn send_volatile(&mut self, to: Address, message: M::Message) {
        self.queue.push(Effect::SendVolatile { to, message });
    }

    /// Answers a local client, under the same rule as [`send`](Effects::send).
    pub fn reply(&mut self, reply: M::Reply) {
        self.queue.push(Effect::Reply(reply));
    }

    /// Tells the history what was decided, under the same rule as [`send`](Effects::send): a decision that never became
    /// durable never happened, to anybody.
    pub fn event(&mut self, event: M::Event) {
        self.queue.push(Effect::Event(event));
    }

    /// The calendar clock of the host. For display only.
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.wall
    }

    /// Sets the calendar clock that the next step may show to people.
    pub fn set_wall(&mut self, wall: Wall) {
        self.wall = wall;
    }

    /// Whether nothing is left to drain. Holds before every step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes over the effects of a machine that is a part of this one, in their order; what the part replies goes to
    /// `on_reply`, because its local client is the machine around it.
    pub fn take_over<N>(&mut self, part: &mut Effects<N>, mut on_reply: impl FnMut(N::Reply, &mut Self))
    where
        N: Machine,
        M::Message: From<N::Message>,
        M::Record: From<N::Record>,
        M::Event: From<N::Event>,
    {
        for effect in part.queue.drain(..) {
            match effect {
                Effect::Record(record) => self.record(record.into()),
                Effect::Send { to, message } => self.send(to, message.into()),
                Effect::SendVolatile { to, message } => self.send_volatile(to, message.into()),
                Effect::Reply(reply) => on_reply(reply, self),
                Effect::Event(event) => self.event(event.into()),
            }
        }
    }
}
