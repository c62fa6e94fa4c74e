//! The coordinator's side: calls become messages, and messages answers.
//!
//! A call that breaks off is news, too: a quorum call whose handler is dropped before its answer (the client gave up, or its
//! connection broke) becomes a `Withdraw`. The room for that is reserved when the call begins, so giving up is never refused.
//! A subscription stream that breaks off becomes nothing: its session ends by itself if its subscriber doesn't come back.

use super::switchboard::{Expects, Full, Switchboard};
use super::wire::{self, Decode, REQUEST_BYTES_MAX};
use crate::edges::{Incoming, Transport};
use crate::proto as pb;
use crate::proto::lighthouse_server::{Lighthouse, LighthouseServer};
use futures_util::stream::{BoxStream, StreamExt};
use squall_coordinator::{Incarnation, Message, Number};
use squall_machine::Address;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

/// How many requests wait for the coordinator; further ones are refused.
pub const INBOX_MAX: usize = 4_096;
/// How many quorum calls may be open; each has room for its withdrawal.
pub const QUORUM_CALLS_MAX: usize = 32_768;
/// How many messages that could not be delivered are kept to be reported. More are dropped: the report is for people.
const UNDELIVERED_MAX: usize = 4_096;
/// How long a call is held open that the coordinator doesn't answer, as it does with stale copies. Quorum calls and streams
/// are held for as long as their callers wait.
const HOLD: Duration = Duration::from_secs(10);
/// How often a silent connection is probed, and how long the answer may take: half-open connections end.
#[cfg(not(madsim))]
const PROBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// The transport of a coordinator. Dropping it ends all calls.
#[derive(Debug)]
pub struct GrpcServer {
    board: Arc<Mutex<Switchboard>>,
    inbox: mpsc::Receiver<(Address, Message)>,
    withdrawals: mpsc::Receiver<(Address, Message)>,
    undelivered: VecDeque<Incoming<Message>>,
}

/// The service that calls reach; clones share their callers.
#[derive(Clone, Debug)]
pub struct GrpcService {
    board: Arc<Mutex<Switchboard>>,
    inbox: mpsc::Sender<(Address, Message)>,
    withdrawals: mpsc::Sender<(Address, Message)>,
}

impl GrpcServer {
    /// A transport, and the service that feeds it once it [listens](GrpcService::listen_at).
    #[must_use]
    pub fn new() -> (Self, GrpcService) {
        let board = Arc::new(Mutex::new(Switchboard::default()));
        let (inbox_in, inbox) = mpsc::channel(INBOX_MAX);
        let (withdrawals_in, withdrawals) = mpsc::channel(QUORUM_CALLS_MAX);
        let service = GrpcService { board: board.clone(), inbox: inbox_in, withdrawals: withdrawals_in };
        (Self { board, inbox, withdrawals, undelivered: VecDeque::new() }, service)
    }

    /// The random number of the client behind an address, while it is remembered.
    #[must_use]
    pub fn caller(&self, of: Address) -> Option<u64> {
        locked(&self.board).caller(of)
    }
}

impl Transport<Message> for GrpcServer {
    fn send(&mut self, to: Address, message: Message) {
        let Err((message, reason)) = locked(&self.board).route(to, message) else { return };
        if self.undelivered.len() < UNDELIVERED_MAX {
            self.undelivered.push_back(Incoming::Undelivered { to, message, reason });
        }
    }

    async fn receive(&mut self) -> Incoming<Message> {
        if let Some(undelivered) = self.undelivered.pop_front() {
            return undelivered;
        }
        // Withdrawals first: they make others wait less.
        let (from, message) = tokio::select! {
            biased;
            Some(withdrawal) = self.withdrawals.recv() => withdrawal,
            Some(request) = self.inbox.recv() => request,
            else => std::future::pending().await,
        };
        Incoming::Message { from, message }
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.inbox.close();
        locked(&self.board).close();
    }
}

fn locked(board: &Mutex<Switchboard>) -> MutexGuard<'_, Switchboard> {
    // Whoever panicked with the lock held is an assertion of ours; the process is about to end.
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GrpcService {
    /// Serves at an address until `stop` ends.
    ///
    /// # Errors
    /// If the address can't be bound.
    pub async fn listen_at(
        self,
        at: SocketAddr,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        tonic::transport::Server::builder().add_service(self.limited()).serve_with_shutdown(at, stop).await
    }

    /// Serves on a bound socket until `stop` ends. The simulated network has no such sockets.
    ///
    /// # Errors
    /// If the socket fails.
    #[cfg(not(madsim))]
    pub async fn listen_on(
        self,
        socket: tokio::net::TcpListener,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(PROBE.0))
            .http2_keepalive_timeout(Some(PROBE.1))
            .add_service(self.limited())
            .serve_with_incoming_shutdown(tonic::transport::server::TcpIncoming::from(socket), stop)
            .await
    }

    #[cfg(not(madsim))]
    fn limited(self) -> LighthouseServer<Self> {
        LighthouseServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// The simulated network carries messages as they are, and knows no sizes.
    #[cfg(madsim)]
    fn limited(self) -> LighthouseServer<Self, tonic::codegen::IdentityInterceptor> {
        LighthouseServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    /// Puts a message into the inbox.
    fn submit(&self, from: Address, message: Message) -> Result<(), Status> {
        self.inbox.try_send((from, message)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Status::resource_exhausted("the coordinator's inbox is full"),
            mpsc::error::TrySendError::Closed(_) => shutting_down(),
        })
    }

    /// A message that isn't answered in its call.
    fn take(&self, (caller, message): (u64, Message)) -> Result<Response<pb::Taken>, Status> {
        let (from, _) = locked(&self.board).open_call(caller, Expects::Nothing)?;
        self.submit(from, message)?;
        Ok(Response::new(pb::Taken {}))
    }

    /// A message, and its answer.
    async fn call(&self, (caller, message): (u64, Message), expects: Expects) -> Result<Response<pb::Answer>, Status> {
        let (from, answer) = locked(&self.board).open_call(caller, expects)?;
        let _open = OpenCall { board: self.board.clone(), of: from };
        self.submit(from, message)?;
        match tokio::time::timeout(HOLD, answer).await {
            Ok(answer) => self.answered(answer).map(Response::new),
            Err(_) => Err(Status::deadline_exceeded("no answer: the request may still have counted, ask again")),
        }
    }

    fn answered(&self, answer: Result<Message, oneshot::error::RecvError>) -> Result<pb::Answer, Status> {
        match answer {
            Ok(message) => Ok(outgoing(&message)),
            Err(_) if self.inbox.is_closed() => Err(shutting_down()),
            Err(_) => Err(Status::aborted("a newer call took this one's place")),
        }
    }

    /// A stream of what arrives, until a newer stream takes its place or the coordinator shuts down.
    fn stream(&self, arriving: mpsc::Receiver<Message>) -> Answers {
        let service = self.clone();
        futures_util::stream::unfold(Some((arriving, service)), |state| async move {
            let (mut arriving, service) = state?;
            match arriving.recv().await {
                Some(message) => Some((Ok(outgoing(&message)), Some((arriving, service)))),
                None if service.inbox.is_closed() => Some((Err(shutting_down()), None)),
                None => Some((Err(Status::aborted("a newer stream took this one's place")), None)),
            }
        })
        .boxed()
    }
}

/// What a stream yields.
type Answers = BoxStream<'static, Result<pb::Answer, Status>>;

#[tonic::async_trait]
impl Lighthouse for GrpcService {
    type QuorumStream = Answers;
    type AttendStream = Answers;
    type SubscribeStream = Answers;

    async fn register(&self, request: Request<pb::RegisterRequest>) -> Result<Response<pb::Answer>, Status> {
        let request = request.into_inner();
        let expects = Expects::Grant { boot: squall_coordinator::BootId(request.boot) };
        self.call(request.decode()?, expects).await
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Result<Response<pb::Answer>, Status> {
        let request = request.into_inner();
        let expects = Expects::HeartbeatAck { incarnation: Incarnation(request.incarnation), seq: request.seq };
        self.call(request.decode()?, expects).await
    }

    async fn leave(&self, request: Request<pb::LeaveRequest>) -> Result<Response<pb::Answer>, Status> {
        let request = request.into_inner();
        let expects = Expects::Farewell { incarnation: Incarnation(request.incarnation) };
        self.call(request.decode()?, expects).await
    }

    async fn quorum(&self, request: Request<pb::QuorumRequest>) -> Result<Response<Answers>, Status> {
        let request = request.into_inner();
        let (incarnation, number) = (Incarnation(request.incarnation), Number(request.number));
        let expects = Expects::Quorum { incarnation, number, epoch: squall_coordinator::Epoch(request.epoch) };
        let (caller, message) = request.decode()?;
        let room = self.withdrawals.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Status::resource_exhausted("too many quorum calls are open"),
            mpsc::error::TrySendError::Closed(_) => shutting_down(),
        })?;
        let (from, answer) = locked(&self.board).open_call(caller, expects)?;
        if let Err(status) = self.submit(from, message) {
            locked(&self.board).close_call(from);
            return Err(status);
        }
        let call = QuorumCall { board: self.board.clone(), of: from, room: Some(room) };
        let service = self.clone();
        let stream = futures_util::stream::once(async move {
            let answer = answer.await;
            drop(call);
            service.answered(answer)
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn withdraw(&self, request: Request<pb::WithdrawRequest>) -> Result<Response<pb::Answer>, Status> {
        let request = request.into_inner();
        let (incarnation, through) = (Incarnation(request.incarnation), Number(request.through));
        self.call(request.decode()?, Expects::Withdrawal { incarnation, through }).await
    }

    async fn confirm_eviction(
        &self,
        request: Request<pb::ConfirmEvictionRequest>,
    ) -> Result<Response<pb::Taken>, Status> {
        self.take(request.into_inner().decode()?)
    }

    async fn attend(&self, request: Request<pb::AttendRequest>) -> Result<Response<Answers>, Status> {
        let caller = wire::known(request.into_inner().caller)?;
        if self.inbox.is_closed() {
            return Err(shutting_down());
        }
        let arriving = locked(&self.board).attend(caller)?;
        Ok(Response::new(self.stream(arriving)))
    }

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<Answers>, Status> {
        let request = request.into_inner();
        let session = squall_coordinator::Session(request.session);
        let (caller, message) = request.decode()?;
        let (from, arriving) = locked(&self.board).subscribe(caller, session)?;
        self.submit(from, message)?;
        Ok(Response::new(self.stream(arriving)))
    }

    async fn acknowledge(&self, request: Request<pb::SubscribeRequest>) -> Result<Response<pb::Taken>, Status> {
        self.take(request.into_inner().decode()?)
    }

    async fn unsubscribe(&self, request: Request<pb::UnsubscribeRequest>) -> Result<Response<pb::Taken>, Status> {
        self.take(request.into_inner().decode()?)
    }
}

/// Closes its call when the handler ends, however it ends.
struct OpenCall {
    board: Arc<Mutex<Switchboard>>,
    of: Address,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        locked(&self.board).close_call(self.of);
    }
}

/// Closes its call, and withdraws what was given up with it.
struct QuorumCall {
    board: Arc<Mutex<Switchboard>>,
    of: Address,
    room: Option<mpsc::OwnedPermit<(Address, Message)>>,
}

impl Drop for QuorumCall {
    fn drop(&mut self) {
        let given_up = locked(&self.board).close_call(self.of);
        if let Some(((incarnation, through), room)) = given_up.zip(self.room.take()) {
            room.send((self.of, Message::Withdraw { incarnation, through }));
        }
    }
}

fn outgoing(message: &Message) -> pb::Answer {
    match wire::encode(0, message) {
        wire::Frame::Answer(answer) => answer,
        wire::Frame::Request(_) => unreachable!("the switchboard passes on nothing but answers"),
    }
}

fn shutting_down() -> Status {
    Status::unavailable("the coordinator is shutting down")
}

impl From<Full> for Status {
    fn from(full: Full) -> Self {
        Self::resource_exhausted(match full {
            Full::Callers => "too many callers have open calls",
            Full::Calls => "this caller has used up its calls: draw another number",
            Full::Subscriptions => "this caller has too many subscription streams",
        })
    }
}
