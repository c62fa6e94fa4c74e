//! Disk before network, as a type.

use crate::effects::Effect;
use crate::{Address, Effects, Machine, Time};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Stands between a machine and the world: keeps back what follows an unsynced record.
///
/// One per life of a process; what it still holds when the process dies was never said.
#[derive(Debug)]
pub struct Outbox<M: Machine> {
    recorded: u64,
    synced: u64,
    held: VecDeque<(u64, Released<M>)>,
}

/// What may leave.
#[derive(Debug)]
pub enum Released<M: Machine> {
    /// To the network.
    Message {
        /// Where to.
        to: Address,
        /// What.
        message: M::Message,
    },
    /// To a local client.
    Reply(M::Reply),
    /// To the history.
    Event {
        /// When the machine decided it, on its own clock.
        decided: Time,
        /// What it decided.
        event: M::Event,
    },
}

/// Records on their way to the disk, and the pledge that they will be synced.
#[derive(Debug)]
#[must_use = "records that are not handed to a disk hold back everything after them"]
pub struct Batch<M: Machine> {
    /// The records, in order.
    pub records: Vec<M::Record>,
    /// Goes where the records go.
    pub pledge: Pledge,
}

/// Held by the disk together with unsynced records. It can be neither cloned nor made; dropping it (a crash) means that
/// whatever waits for it never leaves.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped pledge holds back everything after its records"]
pub struct Pledge {
    through: u64,
}

impl Pledge {
    /// The receipt that the disk hands out after a successful sync of the records, and of all before them.
    pub fn synced(self) -> Synced {
        Synced { through: self.through }
    }
}

/// Receipt: every record up to a point is durable.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "without it nothing is released"]
pub struct Synced {
    through: u64,
}

impl<M: Machine> Default for Outbox<M> {
    fn default() -> Self {
        Self { recorded: 0, synced: 0, held: VecDeque::new() }
    }
}

impl<M: Machine> Outbox<M> {
    /// The outbox of a process that has just started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Drains the effects of a step taken at `decided`. What may leave at once is passed to `release` in order; new records
    /// are returned for the disk.
    pub fn drain(
        &mut self,
        decided: Time,
        effects: &mut Effects<M>,
        mut release: impl FnMut(Released<M>),
    ) -> Option<Batch<M>> {
        let mut records = Vec::new();
        for effect in effects.queue.drain(..) {
            let released = match effect {
                Effect::Record(record) => {
                    self.recorded += 1;
                    records.push(record);
                    continue;
                }
                Effect::SendVolatile { to, message } => {
                    release(Released::Message { to, message });
                    continue;
                }
                Effect::Send { to, message } => Released::Message { to, message },
                Effect::Reply(reply) => Released::Reply(reply),
                Effect::Event(event) => Released::Event { decided, event },
            };
            if self.recorded == self.synced {
                release(released);
            } else {
                self.held.push_back((self.recorded, released));
            }
        }
        (!records.is_empty()).then(|| Batch { records, pledge: Pledge { through: self.recorded } })
    }

    /// Takes a receipt and releases, in order, everything that waited for no more than it.
    ///
    /// # Panics
    /// If receipts come out of order: the disk below is not a log.
    pub fn confirm(&mut self, synced: Synced, mut release: impl FnMut(Released<M>)) {
        assert!(synced.through >= self.synced, "a receipt for older records than the last one");
        assert!(synced.through <= self.recorded, "a receipt of another process");
        self.synced = synced.through;
        while self.held.front().is_some_and(|(after, _)| *after <= self.synced) {
            if let Some((_, released)) = self.held.pop_front() {
                release(released);
            }
        }
    }

    /// How many records were emitted in this life of the process.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// How many messages, replies and events wait for the disk.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;

    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct Idle;

    impl Machine for Idle {
        type Message = u32;
        type Request = ();
        type Reply = u32;
        type Record = u32;
        type Snapshot = ();
        type Event = u32;

        fn step(&mut self, _: Time, _: Input<Self>, _: &mut Effects<Self>) {}
        fn deadline(&self) -> Option<Time> {
            None
        }
        fn snapshot(&self) {}
        fn assert_invariants(&self) {}
    }

    const PEER: Address = Address(1);

    fn number(released: Released<Idle>) -> u32 {
        match released {
            Released::Message { message, .. } => message,
            Released::Reply(reply) => reply,
            Released::Event { event, .. } => event,
        }
    }

    fn drain(outbox: &mut Outbox<Idle>, effects: &mut Effects<Idle>) -> (Vec<u32>, Option<Batch<Idle>>) {
        let mut left = Vec::new();
        let batch = outbox.drain(Time::ZERO, effects, |released| left.push(number(released)));
        (left, batch)
    }

    fn confirm(outbox: &mut Outbox<Idle>, batch: Option<Batch<Idle>>) -> Vec<u32> {
        let mut left = Vec::new();
        let synced = batch.expect("a batch").pledge.synced();
        outbox.confirm(synced, |released| left.push(number(released)));
        left
    }

    #[test]
    fn nothing_waits_while_nothing_is_unsynced() {
        let (mut outbox, mut effects) = (Outbox::new(), Effects::new());
        effects.send(PEER, 1);
        effects.reply(2);
        effects.event(3);
        let (left, batch) = drain(&mut outbox, &mut effects);
        assert_eq!(left, [1, 2, 3]);
        assert!(batch.is_none());
    }

    #[test]
    fn what_follows_a_record_waits_for_its_receipt_and_what_precedes_it_does_not() {
        let (mut outbox, mut effects) = (Outbox::new(), Effects::new());
        effects.send(PEER, 1);
        effects.record(10);
        effects.send(PEER, 2);
        effects.send_volatile(PEER, 3);
        effects.event(4);
        let (left, batch) = drain(&mut outbox, &mut effects);
        assert_eq!(left, [1, 3]);
        assert_eq!(confirm(&mut outbox, batch), [2, 4]);
    }

    #[test]
    fn a_step_without_records_waits_for_those_of_earlier_steps() {
        let (mut outbox, mut effects) = (Outbox::new(), Effects::new());
        effects.record(10);
        let (_, first) = drain(&mut outbox, &mut effects);
        effects.send(PEER, 1);
        effects.record(11);
        effects.send(PEER, 2);
        let (left, second) = drain(&mut outbox, &mut effects);
        assert!(left.is_empty());
        assert_eq!(confirm(&mut outbox, first), [1]);
        assert_eq!(outbox.held(), 1);
        assert_eq!(confirm(&mut outbox, second), [2]);
    }

    #[test]
    fn one_receipt_for_a_later_batch_releases_all_before_it() {
        let (mut outbox, mut effects) = (Outbox::new(), Effects::new());
        effects.record(10);
        effects.send(PEER, 1);
        let (_, first) = drain(&mut outbox, &mut effects);
        effects.record(11);
        effects.send(PEER, 2);
        let (_, second) = drain(&mut outbox, &mut effects);
        drop(first);
        assert_eq!(confirm(&mut outbox, second), [1, 2]);
    }

    #[test]
    #[should_panic(expected = "older records")]
    fn receipts_out_of_order_are_a_bug_of_the_disk() {
        let (mut outbox, mut effects) = (Outbox::new(), Effects::new());
        effects.record(10);
        let (_, first) = drain(&mut outbox, &mut effects);
        effects.record(11);
        let (_, second) = drain(&mut outbox, &mut effects);
        confirm(&mut outbox, second);
        confirm(&mut outbox, first);
    }
}
