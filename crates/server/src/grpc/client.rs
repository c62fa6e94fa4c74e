//! The side of members and subscribers: messages become calls, and answers messages.
//!
//! Every call is a future that [`receive`](GrpcClient::receive) polls: nothing is spawned, nothing outlives the transport,
//! and the order of what happens is a function of the order in which answers arrive. Whatever is open is bounded by kind; a
//! newer message takes the place of the oldest.

use super::switchboard::STREAM_MESSAGES_MAX;
use super::wire::{self, ANSWER_BYTES_MAX, Frame};
use crate::edges::{Incoming, Transport, Undelivered};
use crate::proto as pb;
use crate::proto::lighthouse_client::LighthouseClient;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use squall_coordinator::{Incarnation, Message, Number, Session};
use squall_machine::{Address, Random, Span};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How many heartbeats may be on their way. More than one: on a slow network each would otherwise be cut off by the next one
/// before its acknowledgement arrives, and no lease would ever be renewed.
const HEARTBEATS_OPEN_MAX: usize = 32;
/// How many calls of any other kind.
const CALLS_OPEN_MAX: usize = 8;
/// After a stream broke, it is opened again after a delay drawn from this range; the upper end doubles with each failure up
/// to the maximum, and starts again once a stream has opened.
const BACKOFF_MIN: Span = Span::from_millis(50);
const BACKOFF_MAX: Span = Span::from_secs(5);
/// How many messages wait to be received, besides those that calls hold. What could not be sent is dropped beyond that: the
/// report is for people.
const READY_MAX: usize = 4 * STREAM_MESSAGES_MAX;

/// How patient a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long a call may take, until it is given up; for a quorum call, until the coordinator has it.
    pub call: Duration,
    /// How long the coordinator may take to answer a quorum call.
    pub quorum: Duration,
    /// After how long without any sign of the coordinator, though something is open, the connection and its streams are taken
    /// for dead and made anew.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(3), quorum: Duration::from_secs(600), silence: Duration::from_secs(2) }
    }
}

/// Where a client finds its coordinator, and how it speaks to it.
#[derive(Clone, Debug)]
pub struct GrpcClientConfig {
    /// `http://host:port`.
    pub endpoint: String,
    /// What the machine calls the coordinator.
    pub coordinator: Address,
    /// For the number of this connection and its delays. Has to be another one in each life of the process.
    pub seed: u64,
    /// How patient it is.
    pub patience: Patience,
}

/// The transport of a member or an observer. Everything it sends goes to the coordinator.
pub struct GrpcClient {
    coordinator: Address,
    caller: u64,
    endpoint: Endpoint,
    stub: LighthouseClient<Channel>,
    patience: Patience,
    random: Random,
    /// Everything under way, each under its number.
    work: FuturesUnordered<Work>,
    open: BTreeMap<u64, Open>,
    newest: u64,
    attending: Line,
    subscribed: Line,
    session: Option<Session>,
    ready: VecDeque<Incoming<Message>>,
    /// When the first call began after the coordinator was last heard of.
    silent_since: Option<Instant>,
}

type Work = Abortable<BoxFuture<'static, (u64, Outcome)>>;

/// A call that is under way.
struct Open {
    kind: Kind,
    /// What it carries; a stream carries nothing that could get lost with it.
    message: Option<Message>,
    abort: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Register,
    Heartbeat,
    Leave,
    Quorum { incarnation: Incarnation, number: Number },
    Withdraw,
    ConfirmEviction,
    Acknowledge,
    Unsubscribe,
    Attend,
    Subscribe,
}

impl Kind {
    /// Whether two calls are of one kind, whatever they are about.
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What becomes of a call.
enum Outcome {
    /// It is over: its answer, if it has one.
    Over(Result<Option<pb::Answer>, Trouble>),
    /// Its stream has begun, or goes on after an answer.
    Stream(Box<Streaming<pb::Answer>>, Option<pb::Answer>),
}

enum Trouble {
    Deadline,
    Failed(Status),
}

/// A stream from the coordinator.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// It may be opened at that moment; after so many failures in a row.
    Closed { not_before: Option<Instant>, failures: u32 },
    /// It is open, or about to be.
    Open { failures: u32 },
}

impl Line {
    const NEW: Self = Self::Closed { not_before: None, failures: 0 };

    fn may_open(self) -> Option<u32> {
        match self {
            Self::Closed { not_before, failures } => {
                not_before.is_none_or(|moment| Instant::now() >= moment).then_some(failures)
            }
            Self::Open { .. } => None,
        }
    }
}

impl std::fmt::Debug for GrpcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcClient")
            .field("caller", &self.caller)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl GrpcClient {
    /// A transport that connects when it is first used. Has to be made within the runtime that it is used in.
    ///
    /// # Errors
    /// If the endpoint is no URI.
    pub fn new(config: GrpcClientConfig) -> Result<Self, tonic::transport::Error> {
        let GrpcClientConfig { endpoint, coordinator, seed, patience } = config;
        let endpoint = Endpoint::from_shared(endpoint)?.connect_timeout(patience.call);
        let mut random = Random::new(seed, "grpc client");
        Ok(Self {
            coordinator,
            caller: random.next().max(1),
            stub: stub(&endpoint),
            endpoint,
            patience,
            random,
            work: FuturesUnordered::new(),
            open: BTreeMap::new(),
            newest: 0,
            attending: Line::NEW,
            subscribed: Line::NEW,
            session: None,
            ready: VecDeque::new(),
            silent_since: None,
        })
    }

    fn begin(&mut self, kind: Kind, message: Option<Message>, work: impl Future<Output = Outcome> + Send + 'static) {
        let max = if kind == Kind::Heartbeat { HEARTBEATS_OPEN_MAX } else { CALLS_OPEN_MAX };
        let alike = self.open.iter().filter(|(_, open)| open.kind.is_like(kind));
        if alike.clone().count() >= max
            && let Some((&oldest, _)) = alike.clone().next()
        {
            self.give_up(oldest, Undelivered::Replaced);
        }
        self.newest += 1;
        self.silent_since.get_or_insert_with(Instant::now);
        let abort = self.watch(self.newest, work);
        self.open.insert(self.newest, Open { kind, message, abort });
    }

    /// Has `receive` poll a future on behalf of a call.
    fn watch(&self, number: u64, work: impl Future<Output = Outcome> + Send + 'static) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let work: BoxFuture<'static, (u64, Outcome)> = Box::pin(async move { (number, work.await) });
        self.work.push(Abortable::new(work, registration));
        abort
    }

    /// Cuts a call off.
    fn give_up(&mut self, number: u64, reason: Undelivered) {
        let Some(mut open) = self.open.remove(&number) else { return };
        if let Some(message) = open.message.take() {
            self.report(message, reason);
        }
    }

    fn report(&mut self, message: Message, reason: Undelivered) {
        if self.ready.len() < READY_MAX {
            self.ready.push_back(Incoming::Undelivered { to: self.coordinator, message, reason });
        }
    }

    /// Something came from the coordinator.
    fn on_answer(&mut self, answer: pb::Answer) {
        match wire::decode_answer(answer) {
            Ok(message) => self.ready.push_back(Incoming::Message { from: self.coordinator, message }),
            Err(malformed) => tracing::warn!(%malformed, "an answer that this version can't read"),
        }
    }

    fn on_outcome(&mut self, number: u64, outcome: Outcome) {
        // Cut off while its outcome was on the way: it is over, and was reported.
        let Some(kind) = self.open.get(&number).map(|open| open.kind) else { return };
        match outcome {
            Outcome::Over(Ok(answer)) => {
                self.silent_since = None;
                let mut open = self.open.remove(&number).expect("it is open");
                let expected = match kind {
                    Kind::Attend | Kind::Subscribe => false,
                    Kind::Acknowledge | Kind::Unsubscribe | Kind::ConfirmEviction => true,
                    Kind::Register | Kind::Heartbeat | Kind::Leave | Kind::Withdraw | Kind::Quorum { .. } => {
                        answer.is_some()
                    }
                };
                if !expected && let Some(message) = open.message.take() {
                    self.report(message, Undelivered::CallFailed);
                }
                self.close_line(kind);
                answer.into_iter().for_each(|answer| self.on_answer(answer));
            }
            Outcome::Over(Err(trouble)) => {
                let reason = match trouble {
                    Trouble::Deadline => Undelivered::Deadline,
                    Trouble::Failed(status) => {
                        tracing::debug!(?kind, %status, "a call failed");
                        Undelivered::CallFailed
                    }
                };
                self.give_up(number, reason);
                self.close_line(kind);
            }
            Outcome::Stream(stream, answer) => {
                self.silent_since = None;
                let abort = match kind {
                    Kind::Quorum { incarnation, number: asked } => {
                        self.end_older_quorum_calls(number, incarnation, asked);
                        self.watch(number, only_answer(stream, self.patience.quorum))
                    }
                    Kind::Attend
                    | Kind::Subscribe
                    | Kind::Register
                    | Kind::Heartbeat
                    | Kind::Leave
                    | Kind::Withdraw
                    | Kind::ConfirmEviction
                    | Kind::Acknowledge
                    | Kind::Unsubscribe => {
                        self.open_line(kind);
                        self.watch(number, next_answer(stream))
                    }
                };
                let open = self.open.get_mut(&number).expect("it is open");
                open.abort = abort;
                // What opened a subscription has arrived; what asks for a quorum has not been answered.
                open.message = open.message.take().filter(|_| matches!(kind, Kind::Quorum { .. }));
                answer.into_iter().for_each(|answer| self.on_answer(answer));
            }
        }
    }

    /// The coordinator has the newer call, so the older ones may go without withdrawing anything.
    fn end_older_quorum_calls(&mut self, newest: u64, who: Incarnation, through: Number) {
        let older = self.open.iter().filter(|&(&number, open)| {
            let Kind::Quorum { incarnation, number: asked } = open.kind else { return false };
            number < newest && incarnation == who && asked <= through
        });
        let older: Vec<u64> = older.map(|(&number, _)| number).collect();
        for number in older {
            self.give_up(number, Undelivered::Replaced);
        }
    }

    fn line(&mut self, kind: Kind) -> Option<&mut Line> {
        match kind {
            Kind::Attend => Some(&mut self.attending),
            Kind::Subscribe => Some(&mut self.subscribed),
            Kind::Register
            | Kind::Heartbeat
            | Kind::Leave
            | Kind::Quorum { .. }
            | Kind::Withdraw
            | Kind::ConfirmEviction
            | Kind::Acknowledge
            | Kind::Unsubscribe => None,
        }
    }

    fn open_line(&mut self, kind: Kind) {
        if let Some(line) = self.line(kind) {
            *line = Line::Open { failures: 0 };
        }
    }

    /// A stream is over: it is opened again, but not at once.
    fn close_line(&mut self, kind: Kind) {
        let Some(Line::Open { failures }) = self.line(kind).copied() else { return };
        let high = BACKOFF_MIN * (2u64 << failures.min(16));
        let delay = self.random.span(BACKOFF_MIN, high.min(BACKOFF_MAX));
        let not_before = Some(Instant::now() + Duration::from_nanos(delay.as_nanos()));
        if let Some(line) = self.line(kind) {
            *line = Line::Closed { not_before, failures: failures.saturating_add(1) };
        }
    }

    /// Half-open connections look like slow ones: after too long a silence everything that depends on the old one is dropped.
    /// Calls that are under way may still be answered; their messages are sent again anyway.
    fn renew_if_silent(&mut self) {
        if self.silent_since.is_none_or(|since| since.elapsed() < self.patience.silence) {
            return;
        }
        tracing::info!("the coordinator is silent: connecting anew");
        self.silent_since = None;
        self.stub = stub(&self.endpoint);
        self.end_line(Kind::Attend);
        self.end_line(Kind::Subscribe);
    }

    fn end_line(&mut self, kind: Kind) {
        self.open.retain(|_, open| open.kind != kind);
        self.close_line(kind);
    }

    /// Opens the stream of what the coordinator says unasked, if it isn't open.
    fn attend(&mut self) {
        let Some(failures) = self.attending.may_open() else { return };
        self.attending = Line::Open { failures };
        let (mut stub, patience, caller) = (self.stub.clone(), self.patience.call, self.caller);
        self.begin(Kind::Attend, None, async move {
            begun(within(patience, stub.attend(pb::AttendRequest { caller })).await)
        });
    }

    /// The first message of a subscription opens its stream; while that is open, further ones go beside it.
    fn subscribe(&mut self, message: Message, request: pb::SubscribeRequest) {
        let session = Some(Session(request.session));
        if self.session != session {
            self.end_line(Kind::Subscribe);
            (self.session, self.subscribed) = (session, Line::NEW);
        }
        let (mut stub, patience) = (self.stub.clone(), self.patience.call);
        match (self.subscribed, self.subscribed.may_open()) {
            (_, Some(failures)) => {
                self.subscribed = Line::Open { failures };
                self.begin(Kind::Subscribe, Some(message), async move {
                    begun(within(patience, stub.subscribe(request)).await)
                });
            }
            (Line::Open { .. }, None) => self.begin(Kind::Acknowledge, Some(message), async move {
                taken(within(patience, stub.acknowledge(request)).await)
            }),
            (Line::Closed { .. }, None) => self.report(message, Undelivered::Gone),
        }
    }

    fn call(&mut self, message: Message, request: wire::Request) {
        let (mut stub, patience) = (self.stub.clone(), self.patience.call);
        match request {
            wire::Request::Register(request) => self.begin(Kind::Register, Some(message), async move {
                answered(within(patience, stub.register(request)).await)
            }),
            wire::Request::Heartbeat(request) => self.begin(Kind::Heartbeat, Some(message), async move {
                answered(within(patience, stub.heartbeat(request)).await)
            }),
            wire::Request::Leave(request) => {
                self.begin(
                    Kind::Leave,
                    Some(message),
                    async move { answered(within(patience, stub.leave(request)).await) },
                )
            }
            wire::Request::Quorum(request) => {
                let (incarnation, number) = (Incarnation(request.incarnation), Number(request.number));
                self.begin(Kind::Quorum { incarnation, number }, Some(message), async move {
                    begun(within(patience, stub.quorum(request)).await)
                });
            }
            wire::Request::Withdraw(request) => self.begin(Kind::Withdraw, Some(message), async move {
                answered(within(patience, stub.withdraw(request)).await)
            }),
            wire::Request::ConfirmEviction(request) => self.begin(Kind::ConfirmEviction, Some(message), async move {
                taken(within(patience, stub.confirm_eviction(request)).await)
            }),
            wire::Request::Subscribe(request) => self.subscribe(message, request),
            wire::Request::Unsubscribe(request) => self.begin(Kind::Unsubscribe, Some(message), async move {
                taken(within(patience, stub.unsubscribe(request)).await)
            }),
        }
    }
}

impl Transport<Message> for GrpcClient {
    fn send(&mut self, to: Address, message: Message) {
        if to != self.coordinator {
            return self.report(message, Undelivered::Gone);
        }
        match wire::encode(self.caller, &message) {
            Frame::Request(request) => {
                self.renew_if_silent();
                self.attend();
                // Who withdraws gives its calls up as well: what it asked is over.
                if let Message::Withdraw { incarnation, through } = message {
                    self.end_older_quorum_calls(u64::MAX, incarnation, through);
                }
                self.call(message, request);
            }
            Frame::Answer(_) => self.report(message, Undelivered::WrongDirection),
        }
    }

    async fn receive(&mut self) -> Incoming<Message> {
        loop {
            if let Some(incoming) = self.ready.pop_front() {
                return incoming;
            }
            match self.work.next().await {
                Some(Ok((number, outcome))) => self.on_outcome(number, outcome),
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn stub(endpoint: &Endpoint) -> LighthouseClient<Channel> {
    LighthouseClient::new(endpoint.connect_lazy()).max_decoding_message_size(ANSWER_BYTES_MAX)
}

async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Trouble::Failed(status)),
        Err(_) => Err(Trouble::Deadline),
    }
}

fn answered(result: Result<pb::Answer, Trouble>) -> Outcome {
    Outcome::Over(result.map(Some))
}

fn taken(result: Result<pb::Taken, Trouble>) -> Outcome {
    Outcome::Over(result.map(|pb::Taken {}| None))
}

fn begun(result: Result<Streaming<pb::Answer>, Trouble>) -> Outcome {
    match result {
        Ok(stream) => Outcome::Stream(Box::new(stream), None),
        Err(trouble) => Outcome::Over(Err(trouble)),
    }
}

/// The one answer of a quorum call.
async fn only_answer(mut stream: Box<Streaming<pb::Answer>>, patience: Duration) -> Outcome {
    Outcome::Over(match tokio::time::timeout(patience, stream.message()).await {
        Ok(answer) => answer.map_err(Trouble::Failed),
        Err(_) => Err(Trouble::Deadline),
    })
}

async fn next_answer(mut stream: Box<Streaming<pb::Answer>>) -> Outcome {
    match stream.message().await {
        Ok(Some(answer)) => Outcome::Stream(stream, Some(answer)),
        Ok(None) => Outcome::Over(Ok(None)),
        Err(status) => Outcome::Over(Err(Trouble::Failed(status))),
    }
}
