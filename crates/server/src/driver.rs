//! The loop between a machine and its edges.

use crate::edges::{Clock, Disk, DiskError, Incoming, Journal, Local, Note, Transport};
use futures_util::future::{BoxFuture, OptionFuture};
use squall_machine::{Batch, Durable, Effects, Input, Machine, Outbox, Released, Synced, Time};
use std::fmt;
use std::future::Future;
use tokio::sync::mpsc;
use tracing::Instrument;

/// A node and its edges.
#[derive(Debug)]
pub struct Driver<M: Machine, C, D, T, J> {
    /// What the node is called in the logs.
    pub name: String,
    /// The machine; it has not booted.
    pub machine: M,
    /// Its clock.
    pub clock: C,
    /// Its disk; nothing was read from it yet.
    pub disk: D,
    /// How its messages travel.
    pub transport: T,
    /// Where its history goes.
    pub journal: J,
    /// Its local clients.
    pub local: Local<M>,
    /// After how many records the disk is compacted to a snapshot; at least 1.
    pub snapshot_every: usize,
}

/// Why a node stopped without being asked to.
#[derive(Debug)]
pub enum DriverError {
    /// The disk failed. Nothing that wasn't durable was ever said, so the node may be started again.
    Disk {
        /// What the node is called.
        node: String,
        /// What is wrong with the disk.
        source: DiskError,
    },
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { node, source } => write!(f, "{node} stops, its disk failed: {source}"),
        }
    }
}

impl std::error::Error for DriverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
        }
    }
}

impl<M, C, D, T, J> Driver<M, C, D, T, J>
where
    M: Machine<Message: Send, Request: Send, Reply: Send, Record: Send, Snapshot: Send, Event: Send> + Send + 'static,
    C: Clock,
    D: Disk<M>,
    T: Transport<M::Message>,
    J: Journal<M>,
{
    /// Drives the node until `stop` ends. A sync that is under way then is awaited, and what it covers is said.
    ///
    /// Returns the machine as it was, for those who want to look at it.
    ///
    /// # Errors
    /// If the disk fails. What wasn't synced was never said.
    ///
    /// # Panics
    /// If `snapshot_every` is 0, or the machine breaks its own invariants.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<M, DriverError> {
        let span = tracing::info_span!("node", name = %self.name);
        self.drive(stop).instrument(span).await
    }

    async fn drive(self, stop: impl Future<Output = ()> + Send) -> Result<M, DriverError> {
        assert!(self.snapshot_every > 0, "a snapshot after no record at all");
        let Self { name, machine, clock, mut disk, transport, journal, local, snapshot_every } = self;
        let failed = |source| DriverError::Disk { node: name, source };
        let durable = match disk.load().await {
            Ok(durable) => durable,
            Err(source) => return Err(failed(source)),
        };
        let spindle = Spindle {
            idle: Some(disk),
            work: None,
            group: Vec::new(),
            snapshot: None,
            since_snapshot: durable.records.len(),
            snapshot_every,
        };
        let mut node = Node {
            machine,
            outbox: Outbox::new(),
            effects: Effects::new(),
            clock,
            transport,
            journal,
            replies: Some(local.replies),
            spindle,
        };
        match node.live(durable, local.requests, stop).await {
            Ok(()) => Ok(node.machine),
            Err(source) => Err(failed(source)),
        }
    }
}

/// What the select found.
enum Next<M: Machine, D> {
    Disk(Finished<D>),
    Stop,
    Input(Input<M>),
    NoMoreRequests,
    Undelivered(Note<M>),
}

/// One life of a node.
struct Node<M: Machine, C, D, T, J> {
    machine: M,
    outbox: Outbox<M>,
    effects: Effects<M>,
    clock: C,
    transport: T,
    journal: J,
    /// `None` once the local client is gone or has fallen behind.
    replies: Option<mpsc::Sender<M::Reply>>,
    spindle: Spindle<M, D>,
}

impl<M, C, D, T, J> Node<M, C, D, T, J>
where
    M: Machine<Message: Send, Request: Send, Reply: Send, Record: Send, Snapshot: Send, Event: Send> + Send + 'static,
    C: Clock,
    D: Disk<M>,
    T: Transport<M::Message>,
    J: Journal<M>,
{
    async fn live(
        &mut self,
        durable: Durable<M>,
        mut requests: mpsc::Receiver<M::Request>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), DiskError> {
        let mut stop = std::pin::pin!(stop);
        let mut requests_open = true;
        let loaded = Note::Loaded { records: durable.records.len(), torn_tail: durable.torn_tail };
        self.note(loaded);
        self.step(Input::Boot(durable));
        loop {
            self.spindle.turn(&self.machine);
            let deadline = self.machine.deadline();
            let Self { clock, transport, spindle, .. } = self;
            // In this order: what the disk releases is owed to others, a deadline may end a lease, and local clients are
            // few and bounded by what they wait for.
            let next = tokio::select! {
                biased;
                () = &mut stop => Next::Stop,
                Some(finished) = OptionFuture::from(spindle.work.as_mut()) => Next::Disk(finished),
                Some(()) = OptionFuture::from(deadline.map(|deadline| clock.sleep_until(deadline))) => {
                    Next::Input(Input::Wake)
                }
                request = requests.recv(), if requests_open => match request {
                    Some(request) => Next::Input(Input::Request(request)),
                    None => Next::NoMoreRequests,
                },
                incoming = transport.receive() => match incoming {
                    Incoming::Message { from, message } => Next::Input(Input::Receive { from, message }),
                    Incoming::Undelivered { to, message, reason } => {
                        Next::Undelivered(Note::Undelivered { to, message, reason })
                    }
                },
            };
            match next {
                Next::Disk(finished) => self.on_disk(finished)?,
                Next::Input(input) => self.step(input),
                Next::NoMoreRequests => requests_open = false,
                Next::Undelivered(note) => self.note(note),
                Next::Stop => break,
            }
        }
        if let Some(work) = self.spindle.work.as_mut() {
            let finished = work.await;
            self.on_disk(finished)?;
        }
        Ok(())
    }

    /// One input, then everything that may leave at once.
    fn step(&mut self, input: Input<M>) {
        assert!(self.effects.is_empty(), "the effects of the last step were not drained");
        let now = self.clock.now();
        self.effects.set_wall(self.clock.wall());
        tracing::trace!(now = now.as_nanos(), ?input, "step");
        self.machine.step(now, input, &mut self.effects);
        debug_assert!({
            self.machine.assert_invariants();
            true
        });
        let Self { outbox, effects, transport, journal, replies, .. } = self;
        let batch = outbox.drain(now, effects, |released| release(now, released, transport, journal, replies));
        assert!(self.effects.is_empty(), "an outbox takes all effects of a step");
        self.spindle.group.extend(batch);
    }

    /// Lets out what waited for the disk.
    fn on_disk(&mut self, finished: Finished<D>) -> Result<(), DiskError> {
        let now = self.clock.now();
        match self.spindle.on_finished(finished)? {
            Done::Written { synced, records } => {
                self.note(Note::Synced { records });
                let Self { outbox, transport, journal, replies, .. } = self;
                outbox.confirm(synced, |released| release(now, released, transport, journal, replies));
            }
            Done::Compacted => self.note(Note::Compacted),
        }
        Ok(())
    }

    fn note(&mut self, note: Note<M>) {
        let now = self.clock.now();
        tracing::debug!(now = now.as_nanos(), ?note, "note");
        self.journal.note(now, note);
    }
}

/// To whom it belongs.
fn release<M: Machine>(
    now: Time,
    released: Released<M>,
    transport: &mut impl Transport<M::Message>,
    journal: &mut impl Journal<M>,
    replies: &mut Option<mpsc::Sender<M::Reply>>,
) {
    match released {
        Released::Message { to, message } => {
            tracing::trace!(now = now.as_nanos(), ?to, ?message, "send");
            transport.send(to, message);
        }
        Released::Reply(reply) => {
            tracing::trace!(now = now.as_nanos(), ?reply, "reply");
            if replies.as_ref().is_some_and(|replies| replies.try_send(reply).is_err()) {
                // A gap would go unnoticed, the end of the queue doesn't.
                *replies = None;
                journal.note(now, Note::RepliesClosed);
            }
        }
        Released::Event { decided, event } => {
            tracing::debug!(now = now.as_nanos(), decided = decided.as_nanos(), ?event, "event");
            journal.event(decided, event);
        }
    }
}

/// Whose turn it is at the disk. Batches that arise while it works are collected and go together (group commit).
struct Spindle<M: Machine, D> {
    /// `None` while it works.
    idle: Option<D>,
    work: Option<BoxFuture<'static, Finished<D>>>,
    /// What arose since the running work began.
    group: Vec<Batch<M>>,
    /// Covers everything up to the end of the write that is under way, and nothing after it: goes to the disk next.
    snapshot: Option<M::Snapshot>,
    since_snapshot: usize,
    snapshot_every: usize,
}

/// The disk is back.
type Finished<D> = (D, Result<Done, DiskError>);

enum Done {
    Written { synced: Synced, records: usize },
    Compacted,
}

impl<M, D> Spindle<M, D>
where
    M: Machine<Record: Send, Snapshot: Send> + 'static,
    D: Disk<M>,
{
    /// Begins what is next, if the disk is idle.
    ///
    /// A snapshot is taken at the moment at which a group closes, so it covers exactly what the disk holds after that group.
    /// So compaction needs no pause in which nothing is unsynced, and what waits for the disk waits for at most one of it.
    fn turn(&mut self, machine: &M) {
        let Some(mut disk) = self.idle.take() else { return };
        if let Some(snapshot) = self.snapshot.take() {
            self.since_snapshot = 0;
            self.work = Some(Box::pin(async move {
                let result = disk.compact(snapshot).await;
                (disk, result.map(|()| Done::Compacted))
            }));
            return;
        }
        if self.group.is_empty() {
            self.idle = Some(disk);
            return;
        }
        let group = std::mem::take(&mut self.group);
        let records = group.iter().map(|batch| batch.records.len()).sum();
        self.since_snapshot += records;
        if self.since_snapshot >= self.snapshot_every {
            self.snapshot = Some(machine.snapshot());
        }
        self.work = Some(Box::pin(async move {
            let result = disk.write(group).await;
            (disk, result.map(|synced| Done::Written { synced, records }))
        }));
    }

    fn on_finished(&mut self, (disk, result): Finished<D>) -> Result<Done, DiskError> {
        assert!(self.idle.is_none(), "one disk, one thing at a time");
        self.work = None;
        self.idle = Some(disk);
        result
    }
}

#[cfg(all(test, not(madsim)))]
mod tests;
