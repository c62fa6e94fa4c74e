//! The shell's edges in a simulated run: clock and disk are the world's; the transport is the production one, with the world
//! standing between it and the machine.

use crate::life::{Life, Order};
use crate::watched::Watched;
use squall::Report;
use squall_cluster::{Event, Message, Node};
use squall_machine::{Address, Batch, Durable, Synced, Time, Wall};
use squall_server::edges::{Clock, Disk, DiskError, Incoming, Journal, Note, Transport, Undelivered};
use std::sync::Arc;
use tokio::time::sleep_until;

/// The clock that the world gave the node.
#[derive(Debug)]
pub(crate) struct NodeClock(pub(crate) Arc<Life>);

impl Clock for NodeClock {
    fn now(&self) -> Time {
        let elapsed = self.0.mailbox.elapsed();
        self.0.inner().clock.local(elapsed)
    }

    fn wall(&self) -> Wall {
        let elapsed = self.0.mailbox.elapsed();
        self.0.inner().clock.wall(elapsed)
    }

    async fn sleep_until(&self, deadline: Time) {
        while self.now() < deadline {
            let when = self.0.inner().clock.when(deadline);
            match when {
                Some(when) => tokio::select! {
                    biased;
                    () = self.0.rewound.notified() => {}
                    () = sleep_until(self.0.mailbox.instant(when)) => {}
                },
                None => self.0.rewound.notified().await,
            }
        }
    }
}

/// The disk that the world keeps for the node.
#[derive(Debug)]
pub(crate) struct NodeDisk {
    pub(crate) life: Arc<Life>,
    /// What it held when the process started.
    pub(crate) durable: Option<Durable<Node>>,
}

impl Disk<Watched> for NodeDisk {
    async fn load(&mut self) -> Result<Durable<Watched>, DiskError> {
        let again = || DiskError::Simulated("it was read twice".to_owned());
        Ok(self.durable.take().ok_or_else(again)?.cast())
    }

    async fn write(&mut self, group: Vec<Batch<Watched>>) -> Result<Synced, DiskError> {
        let group = group.into_iter().map(|Batch { records, pledge }| Batch { records, pledge }).collect();
        let cause = self.life.inner().cause;
        self.life.report(Report::Wrote { group, cause });
        loop {
            let receipt = self.life.inner().receipt.take();
            if let Some((synced, cause)) = receipt {
                self.life.inner().cause = cause;
                return Ok(synced);
            }
            self.life.synced.notified().await;
        }
    }

    async fn compact(&mut self, snapshot: squall_cluster::Snapshot) -> Result<(), DiskError> {
        self.life.report(Report::Compacted { snapshot });
        Ok(())
    }
}

/// Stands between a machine and its transport: what the machine says goes to the world first, and so does what the transport
/// hears.
#[derive(Debug)]
pub(crate) struct Layer<T> {
    pub(crate) life: Arc<Life>,
    pub(crate) transport: T,
}

impl<T: Transport<squall_coordinator::Message>> Transport<Message> for Layer<T> {
    fn send(&mut self, to: Address, message: Message) {
        let cause = self.life.inner().cause;
        self.life.report(Report::Said { to, message, cause });
    }

    async fn receive(&mut self) -> Incoming<Message> {
        loop {
            let order = self.life.inner().orders.pop_front();
            match order {
                Some(Order::Transmit { to, message }) => {
                    self.transport.send(to, message);
                    continue;
                }
                Some(Order::Deliver { from, message, cause }) => {
                    self.life.inner().deliveries.push_back(cause);
                    return Incoming::Message { from, message: message.into() };
                }
                None => {}
            }
            tokio::select! {
                biased;
                () = self.life.ordered.notified() => {}
                incoming = self.transport.receive() => match incoming {
                    Incoming::Message { from, message } => {
                        self.life.report(Report::Heard { from, message: message.into() });
                    }
                    Incoming::Undelivered { to, message, reason } => {
                        let certain = never_left(reason);
                        let message = Message::from(message);
                        self.life.report(Report::Lost { message: message.clone(), certain });
                        return Incoming::Undelivered { to, message, reason };
                    }
                },
            }
        }
    }
}

/// Whether a message that came back was certainly not heard by anybody.
const fn never_left(reason: Undelivered) -> bool {
    match reason {
        Undelivered::Gone | Undelivered::QueueFull | Undelivered::WrongDirection => true,
        Undelivered::CallFailed | Undelivered::Deadline | Undelivered::Replaced => false,
    }
}

/// The history that the world writes.
#[derive(Debug)]
pub(crate) struct NodeJournal(pub(crate) Arc<Life>);

impl Journal<Watched> for NodeJournal {
    fn event(&mut self, decided: Time, event: Event) {
        let cause = self.0.inner().cause;
        self.0.report(Report::Decided { decided, event, cause });
    }

    fn note(&mut self, _: Time, _: Note<Watched>) {}
}
