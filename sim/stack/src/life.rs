//! One life of a process: what the world and the shell tell each other about it.

use squall::{EntryId, LocalClock, NodeId, Report};
use squall_cluster::{Cluster, Node};
use squall_coordinator::Message;
use squall_machine::{Address, Synced, Time};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What shells report, in order, until the world takes it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    start: OnceLock<Instant>,
    reports: Mutex<VecDeque<(NodeId, u32, Report<Cluster>)>>,
    arrived: Notify,
}

impl Mailbox {
    /// The run begins now.
    pub(crate) fn begin(&self) {
        self.start.get_or_init(Instant::now);
    }

    fn start(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// Simulated time since the start of the run.
    pub(crate) fn elapsed(&self) -> Time {
        let nanos = self.start().elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The moment of the runtime's clock at which this much simulated time will have passed.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.start() + std::time::Duration::from_nanos(at.as_nanos())
    }

    pub(crate) fn take(&self) -> Option<(NodeId, u32, Report<Cluster>)> {
        lock(&self.reports).pop_front()
    }

    /// Ends when there is something to take.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// What the world wants of the transport of a process.
#[derive(Debug)]
pub(crate) enum Order {
    Transmit { to: Address, message: Message },
    Deliver { from: Address, message: Message, cause: EntryId },
}

/// One life of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) number: u32,
    pub(crate) mailbox: Arc<Mailbox>,
    inner: Mutex<Inner>,
    /// There are orders.
    pub(crate) ordered: Notify,
    /// There is a receipt.
    pub(crate) synced: Notify,
    /// The clock is another one.
    pub(crate) rewound: Notify,
}

/// What changes in a life.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: Node,
    pub(crate) clock: LocalClock,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) receipt: Option<(Synced, EntryId)>,
    /// What led to the messages that were delivered and not taken by the machine yet.
    pub(crate) deliveries: VecDeque<EntryId>,
    /// The same of requests.
    pub(crate) requests: VecDeque<EntryId>,
    /// What led to whatever the process does right now.
    pub(crate) cause: EntryId,
}

impl Life {
    pub(crate) fn new(
        node: NodeId,
        number: u32,
        mailbox: Arc<Mailbox>,
        machine: Node,
        clock: LocalClock,
        cause: EntryId,
    ) -> Self {
        let inner = Inner {
            machine,
            clock,
            orders: VecDeque::new(),
            receipt: None,
            deliveries: VecDeque::new(),
            requests: VecDeque::new(),
            cause,
        };
        let (ordered, synced, rewound) = (Notify::new(), Notify::new(), Notify::new());
        Self { node, number, mailbox, inner: Mutex::new(inner), ordered, synced, rewound }
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Tells the world what the process did.
    pub(crate) fn report(&self, report: Report<Cluster>) {
        lock(&self.mailbox.reports).push_back((self.node, self.number, report));
        self.mailbox.arrived.notify_one();
    }

    pub(crate) fn order(&self, order: Order) {
        self.inner().orders.push_back(order);
        self.ordered.notify_one();
    }
}

/// A run has one thread: a lock is free, and poisoned only where a panic already ended the run.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
