//! The coordinator as a process: its node, its file, its socket.

use crate::clock::TokioClock;
use crate::driver::{Driver, DriverError};
use crate::edges::{Incoming, Journal, Local, Transport, Undelivered};
use crate::file::FileDisk;
use crate::grpc::server::{GrpcServer, GrpcService};
use crate::grpc::wire;
use squall_coordinator::{InvalidKnob, Knobs, Message};
use squall_machine::Address;
use squall_node::{CoordinatorNode, CoordinatorNodeConfig, CoordinatorNodeMessage};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the coordinator's file is called inside, so that it isn't taken for another node's.
pub const FILE_KIND: &str = "coordinator/2";
/// How long calls have to hear that the coordinator is shutting down.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a coordinator has to know before it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorConfig {
    /// What it is called in the logs.
    pub name: String,
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where its records are.
    pub data: PathBuf,
    /// Its settings, the same as its members'.
    pub knobs: Arc<Knobs>,
    /// After how many records its file is compacted; at least 1.
    pub snapshot_every: usize,
}

/// Why a coordinator doesn't start, or stopped.
#[derive(Debug)]
pub enum ServeError {
    /// A setting can't be.
    Knob(InvalidKnob),
    /// The address can't be listened at: it is in use, or not this host's.
    Listen {
        /// Which.
        at: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket failed while it was served.
    Serve(tonic::transport::Error),
    /// The node stopped.
    Node(DriverError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Knob(invalid) => write!(f, "a setting can't be: {invalid}"),
            Self::Listen { at, source } => write!(f, "can't listen at {at}: {source}"),
            Self::Serve(source) => write!(f, "the socket failed: {source}"),
            Self::Node(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Knob(invalid) => Some(invalid),
            Self::Listen { source, .. } => Some(source),
            Self::Serve(source) => Some(source),
            Self::Node(source) => Some(source),
        }
    }
}

/// A coordinator that has its socket. Calls wait until it serves.
#[derive(Debug)]
pub struct Listening {
    config: CoordinatorConfig,
    socket: TcpListener,
    address: SocketAddr,
}

/// Serves as a coordinator until `stop` ends.
///
/// # Errors
/// If it can't start, or its disk or socket fails. Nothing that wasn't durable was ever said.
pub async fn serve(config: CoordinatorConfig, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
    bind(config).await?.serve(crate::edges::NoJournal, stop).await
}

/// Checks the settings and binds the socket.
///
/// # Errors
/// If a setting can't be, or the address can't be bound.
pub async fn bind(config: CoordinatorConfig) -> Result<Listening, ServeError> {
    config.knobs.validate().map_err(ServeError::Knob)?;
    for (knob, value, max) in [
        ("text_bytes_max", config.knobs.text_bytes_max, wire::TEXT_BYTES_MAX),
        ("data_bytes_max", config.knobs.data_bytes_max, wire::DATA_BYTES_MAX),
    ] {
        if value as usize > max {
            let problem = format!("must be at most {max}, or its requests could not be sent");
            return Err(ServeError::Knob(InvalidKnob { knob, problem }));
        }
    }
    let failed = |source| ServeError::Listen { at: config.listen, source };
    let socket = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Listening { config, socket, address })
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends, and tells `journal` its history.
    ///
    /// # Errors
    /// If its disk or socket fails.
    pub async fn serve(
        self,
        journal: impl Journal<CoordinatorNode>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let Self { config, socket, .. } = self;
        let (transport, service): (GrpcServer, GrpcService) = GrpcServer::new();
        // Tasks have no calls of their own yet, so its scheduler never hears of any.
        let node = CoordinatorNodeConfig { knobs: config.knobs, scheduler: Arc::default(), seed: 0 };
        let transport = MembershipOnly::new(transport);
        let driver = Driver {
            name: config.name,
            machine: CoordinatorNode::new(node),
            clock: TokioClock::new(),
            disk: FileDisk::new(config.data, FILE_KIND),
            transport,
            journal,
            local: Local::none(),
            snapshot_every: config.snapshot_every,
        };
        let (closing, closed) = oneshot::channel::<()>();
        let mut serving = std::pin::pin!(service.listen_on(socket, async {
            // Its sender is dropped, which says the same.
            let _ = closed.await;
        }));
        let stopped = tokio::select! {
            biased;
            stopped = driver.run(stop) => stopped.map(drop).map_err(ServeError::Node),
            served = &mut serving => return served.map_err(ServeError::Serve),
        };
        drop(closing);
        // Whoever has a call open hears it; who doesn't listen isn't waited for.
        let _ = tokio::time::timeout(GOODBYE, serving).await;
        stopped
    }
}

/// Carries what is said about membership, notifications and quorums. There are no calls for tasks: what is said about them
/// comes back.
#[derive(Debug)]
pub struct MembershipOnly<T> {
    transport: T,
    undelivered: VecDeque<Incoming<CoordinatorNodeMessage>>,
}

impl<T> MembershipOnly<T> {
    /// Over this transport.
    pub fn new(transport: T) -> Self {
        Self { transport, undelivered: VecDeque::new() }
    }
}

impl<T: Transport<Message>> Transport<CoordinatorNodeMessage> for MembershipOnly<T> {
    fn send(&mut self, to: Address, message: CoordinatorNodeMessage) {
        match message {
            CoordinatorNodeMessage::Coordinator(message) => self.transport.send(to, message),
            CoordinatorNodeMessage::Scheduler(_) => {
                self.undelivered.push_back(Incoming::Undelivered { to, message, reason: Undelivered::WrongDirection });
            }
        }
    }

    async fn receive(&mut self) -> Incoming<CoordinatorNodeMessage> {
        if let Some(back) = self.undelivered.pop_front() {
            return back;
        }
        match self.transport.receive().await {
            Incoming::Message { from, message } => Incoming::Message { from, message: message.into() },
            Incoming::Undelivered { to, message, reason } => {
                Incoming::Undelivered { to, message: message.into(), reason }
            }
        }
    }
}
