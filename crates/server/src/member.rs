//! Members and observers as local clients see them: handles with asynchronous calls, and a stream of what they are told
//! unasked.

use crate::clock::TokioClock;
use crate::driver::{Driver, DriverError};
use crate::edges::{Disk, Journal, Local, LocalClient, Note};
use crate::file::FileDisk;
use crate::grpc::client::{GrpcClient, GrpcClientConfig, Patience};
use crate::memory::MemoryDisk;
use futures_util::future::BoxFuture;
use squall_coordinator::{
    Cursor, Epoch, Event, Failure, Ignored, Inactivity, Notice, QuorumId, RankAnswer, RankCall, RankError, RankQuorum,
};
use squall_machine::{Machine, Time};
use squall_node::{MemberConfig, MemberNode, MemberReply, MemberRequest, ObserverConfig, ObserverNode, Record as Kept};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a subscriber's file is called inside.
pub const FILE_KIND: &str = "subscriber/1";
/// How many requests of local clients wait, and how many replies.
const LOCAL_MAX: usize = 256;
/// How many notices wait to be read.
const NOTICES_MAX: usize = 4_096;
/// A subscriber's state is two numbers: its file is kept short.
const SNAPSHOT_EVERY: usize = 1_024;

/// Where a member or observer finds its coordinator and keeps its records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The coordinator: `http://host:port`.
    pub endpoint: String,
    /// Where the records of its subscription are; without a file each start opens a new session.
    pub data: Option<PathBuf>,
    /// How patient its calls are.
    pub patience: Patience,
}

/// What local clients are told unasked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Stop working in this formation, at once.
    Inactive {
        /// Which formation.
        formation: Epoch,
        /// Why.
        cause: Inactivity,
    },
    /// A member failed or returned.
    Notice(Notice),
    /// The subscription was caught up: nothing up to the cursor follows.
    Resynced {
        /// The last notice that it covers.
        cursor: Cursor,
        /// How many notices were missed, if the subscriber fell behind.
        lagged: Option<u64>,
        /// The failures at that point, sorted by member.
        failures: Arc<[Failure]>,
    },
    /// The member has stopped for good.
    Stopped {
        /// Whether another process took over its id.
        superseded: bool,
    },
}

/// Why a call of a local client has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallError {
    /// No quorum, and what to do about it.
    Rank(RankError),
    /// The vote didn't count.
    Rejected(Ignored),
    /// The member has stopped. Start it anew if it is wanted.
    Stopped {
        /// Whether another process took over its id: then it isn't.
        superseded: bool,
    },
    /// The member's process part has ended: its disk failed.
    Ended,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank(error) => write!(f, "no quorum: {error:?}"),
            Self::Rejected(reason) => write!(f, "the vote didn't count: {reason:?}"),
            Self::Stopped { superseded: true } => write!(f, "another process took over this member's id"),
            Self::Stopped { superseded: false } => write!(f, "the member has left"),
            Self::Ended => write!(f, "the member has ended: its disk failed"),
        }
    }
}

impl std::error::Error for CallError {}

/// A running member. Dropping it ends its task: to the coordinator that is a crash, unless it [left](Member::leave).
#[derive(Debug)]
pub struct Member {
    requests: mpsc::Sender<MemberRequest>,
    calls: Arc<Mutex<Calls>>,
    told: mpsc::Receiver<Told>,
    _task: Task,
}

/// A running observer. Dropping it ends its task.
#[derive(Debug)]
pub struct Observer {
    told: mpsc::Receiver<Told>,
    _task: Task,
}

/// Random bits of the operating system, for what has to differ in each life of a process.
#[must_use]
pub fn fresh_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl Member {
    /// Starts a member; it registers and beats from now on. Has to be called within a runtime.
    ///
    /// # Errors
    /// If the endpoint is no URI.
    pub fn connect(connection: Connection, config: MemberConfig) -> Result<Self, tonic::transport::Error> {
        let (seed, coordinator) = (config.seed, config.coordinator);
        let Connection { endpoint, data, patience } = connection;
        let transport = GrpcClient::new(GrpcClientConfig { endpoint, coordinator, seed, patience })?;
        let (local, LocalClient { requests, replies }) = Local::queues(LOCAL_MAX);
        let (telling, told) = Telling::new();
        let driver = Driver {
            name: config.id.to_string(),
            machine: MemberNode::new(config),
            clock: TokioClock::new(),
            disk: (),
            transport,
            journal: telling.clone(),
            local,
            snapshot_every: SNAPSHOT_EVERY,
        };
        let calls = Arc::new(Mutex::new(Calls::default()));
        let answering = answer_calls(calls.clone(), replies, telling);
        let driving = drive(driver, data);
        let task = tokio::spawn(async move {
            // The node first: when it ends, its replies end, and with them the answering.
            let (driven, ()) = futures_util::future::join(driving, answering).await;
            if let Err(error) = driven {
                tracing::error!(%error, "a member ended");
            }
        });
        Ok(Self { requests, calls, told, _task: Task(task) })
    }

    /// Asks for the next quorum on behalf of a local rank, and waits for it: for as long as `call.patience` says, which is
    /// also how to give up. A newer call of the same rank takes the place of an older one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn quorum(&self, rank: u32, call: RankCall) -> Result<RankQuorum, CallError> {
        match self.call(|token| MemberRequest::Quorum { rank, token, call }).await? {
            Answer::Quorum(RankAnswer::Quorum(quorum)) => Ok(quorum),
            Answer::Quorum(RankAnswer::Error(error)) => Err(CallError::Rank(error)),
            Answer::Decision(_) | Answer::Rejected(_) => unreachable!("a token names one call"),
        }
    }

    /// Votes on whether to commit a step, and waits for the decision of all local ranks.
    ///
    /// # Errors
    /// If the vote didn't count.
    pub async fn should_commit(
        &self,
        rank: u32,
        step: u64,
        quorum_id: QuorumId,
        commit: bool,
    ) -> Result<bool, CallError> {
        match self.call(|token| MemberRequest::Vote { rank, token, step, quorum_id, commit }).await? {
            Answer::Decision(decision) => Ok(decision),
            Answer::Rejected(reason) => Err(CallError::Rejected(reason)),
            Answer::Quorum(_) => unreachable!("a token names one call"),
        }
    }

    /// Leaves as planned, and waits until the coordinator knows.
    ///
    /// # Errors
    /// If another process took over the id meanwhile, or the disk failed.
    pub async fn leave(&self) -> Result<(), CallError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut calls = locked(&self.calls);
            match calls.stopped {
                Some(superseded) => return if superseded { Err(CallError::Stopped { superseded }) } else { Ok(()) },
                None => calls.leaving.push(sender),
            }
        }
        self.requests.send(MemberRequest::Leave).await.map_err(|_| CallError::Ended)?;
        match receiver.await {
            Ok(false) => Ok(()),
            Ok(superseded) => Err(CallError::Stopped { superseded }),
            Err(_) => Err(CallError::Ended),
        }
    }

    /// What the member is told unasked, in order and without gaps. `None` once it has ended, or was left unread for so long
    /// that its queue was full: start it anew.
    pub async fn told(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    async fn call(&self, request: impl FnOnce(u64) -> MemberRequest) -> Result<Answer, CallError> {
        let (sender, receiver) = oneshot::channel();
        let token = locked(&self.calls).open(sender)?;
        let _open = OpenCall { calls: &self.calls, token };
        self.requests.send(request(token)).await.map_err(|_| CallError::Ended)?;
        match receiver.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(locked(&self.calls).ended()),
        }
    }
}

impl Observer {
    /// Starts an observer; it subscribes from now on. Has to be called within a runtime.
    ///
    /// # Errors
    /// If the endpoint is no URI.
    pub fn connect(
        connection: Connection,
        name: &str,
        config: &ObserverConfig,
    ) -> Result<Self, tonic::transport::Error> {
        let (seed, coordinator) = (config.seed, config.coordinator);
        let Connection { endpoint, data, patience } = connection;
        let transport = GrpcClient::new(GrpcClientConfig { endpoint, coordinator, seed, patience })?;
        let (telling, told) = Telling::new();
        let driver = Driver {
            name: name.to_owned(),
            machine: ObserverNode::new(config),
            clock: TokioClock::new(),
            disk: (),
            transport,
            journal: telling,
            local: Local::none(),
            snapshot_every: SNAPSHOT_EVERY,
        };
        let driving = drive(driver, data);
        let task = tokio::spawn(async move {
            if let Err(error) = driving.await {
                tracing::error!(%error, "an observer ended");
            }
        });
        Ok(Self { told, _task: Task(task) })
    }

    /// What it is told, in order and without gaps. `None` once it has ended, or was left unread for so long that its queue
    /// was full: start it anew.
    pub async fn told(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

/// Drives a subscriber with the disk that it was given.
fn drive<M>(
    driver: Driver<M, TokioClock, (), GrpcClient, Telling>,
    data: Option<PathBuf>,
) -> BoxFuture<'static, Result<(), DriverError>>
where
    M: Machine<
            Message = squall_coordinator::Message,
            Request: Send,
            Reply: Send,
            Record = Kept,
            Snapshot = Option<squall_node::Bookmark>,
            Event = Event,
        > + Send
        + 'static,
{
    match data {
        Some(path) => Box::pin(drive_with(driver, FileDisk::new(path, FILE_KIND))),
        None => Box::pin(drive_with(driver, MemoryDisk)),
    }
}

async fn drive_with<M, D>(driver: Driver<M, TokioClock, (), GrpcClient, Telling>, disk: D) -> Result<(), DriverError>
where
    M: Machine<
            Message = squall_coordinator::Message,
            Request: Send,
            Reply: Send,
            Record = Kept,
            Snapshot = Option<squall_node::Bookmark>,
            Event = Event,
        > + Send
        + 'static,
    D: Disk<M>,
{
    let Driver { name, machine, clock, disk: (), transport, journal, local, snapshot_every } = driver;
    let driver = Driver { name, machine, clock, disk, transport, journal, local, snapshot_every };
    driver.run(std::future::pending()).await.map(drop)
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The calls of local clients that wait.
#[derive(Debug, Default)]
struct Calls {
    newest: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    leaving: Vec<oneshot::Sender<bool>>,
    /// Whether the member has stopped, and if so, whether superseded.
    stopped: Option<bool>,
    /// Whether its task has ended.
    ended: bool,
}

#[derive(Debug)]
enum Answer {
    Quorum(RankAnswer),
    Decision(bool),
    Rejected(Ignored),
}

impl Calls {
    fn open(&mut self, sender: oneshot::Sender<Answer>) -> Result<u64, CallError> {
        if self.ended || self.stopped.is_some() {
            return Err(self.ended());
        }
        self.newest += 1;
        self.waiting.insert(self.newest, sender);
        Ok(self.newest)
    }

    fn ended(&self) -> CallError {
        self.stopped.map_or(CallError::Ended, |superseded| CallError::Stopped { superseded })
    }

    fn answer(&mut self, token: u64, answer: Answer) {
        if let Some(sender) = self.waiting.remove(&token) {
            // Whoever gave up has no use for it.
            let _ = sender.send(answer);
        }
    }
}

struct OpenCall<'a> {
    calls: &'a Mutex<Calls>,
    token: u64,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        locked(self.calls).waiting.remove(&self.token);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands replies to those who wait for them, until there are no more.
async fn answer_calls(calls: Arc<Mutex<Calls>>, mut replies: mpsc::Receiver<MemberReply>, telling: Telling) {
    while let Some(reply) = replies.recv().await {
        match reply {
            MemberReply::Answer { token, answer, .. } => locked(&calls).answer(token, Answer::Quorum(answer)),
            MemberReply::Decision { token, decision, .. } => {
                locked(&calls).answer(token, Answer::Decision(decision));
            }
            MemberReply::Rejected { token, reason, .. } => locked(&calls).answer(token, Answer::Rejected(reason)),
            MemberReply::Inactive { formation, cause } => telling.tell(Told::Inactive { formation, cause }),
            MemberReply::Stopped { superseded } => {
                let mut calls = locked(&calls);
                calls.stopped = Some(superseded);
                for sender in calls.leaving.drain(..) {
                    // Whoever gave up has no use for it.
                    let _ = sender.send(superseded);
                }
                calls.waiting.clear();
                telling.tell(Told::Stopped { superseded });
            }
        }
    }
    let mut calls = locked(&calls);
    calls.ended = true;
    calls.waiting.clear();
    calls.leaving.clear();
}

/// What local clients are told unasked; closed for good once it was left unread for too long.
#[derive(Clone, Debug)]
struct Telling(Arc<Mutex<Option<mpsc::Sender<Told>>>>);

impl Telling {
    fn new() -> (Self, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(NOTICES_MAX);
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    fn tell(&self, told: Told) {
        let mut sender = locked(&self.0);
        if sender.as_ref().is_some_and(|sender| sender.try_send(told).is_err()) {
            *sender = None;
        }
    }
}

impl<M: Machine<Event = Event>> Journal<M> for Telling {
    fn event(&mut self, _decided: Time, event: Event) {
        if let Event::Notified { session: _, notice } = event {
            self.tell(Told::Notice(notice));
        } else if let Event::Resynced { session: _, cursor, lagged, failures } = event {
            self.tell(Told::Resynced { cursor, lagged, failures });
        }
    }

    fn note(&mut self, _at: Time, _note: Note<M>) {}
}
