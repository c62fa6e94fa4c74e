//! Coordinator and members over real sockets and files. Nothing here waits for luck: every wait is for a condition, and only
//! gives up after a generous while.
#![cfg(not(madsim))]

use squall_coordinator::{
    Capacity, Cause, Change, Cursor, Event, Incarnation, Knobs, Message, Number, RankCall, RankQuorum, Role,
};
use squall_machine::{Address, Kind, Span, Time};
use squall_node::{CoordinatorNode, CoordinatorNodeEvent, MemberConfig, ObserverConfig};
use squall_server::coordinator::{CoordinatorConfig, bind};
use squall_server::edges::{Incoming, Journal, Note, Transport, Undelivered};
use squall_server::grpc::client::{GrpcClient, GrpcClientConfig, Patience};
use squall_server::grpc::wire::{REQUEST_BYTES_MAX, TEXT_BYTES_MAX};
use squall_server::member::{Connection, Member, Observer, Told, fresh_seed};
use squall_server::proto as pb;
use squall_server::proto::lighthouse_client::LighthouseClient;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

const GENEROUS: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(GENEROUS, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} didn't happen within {GENEROUS:?}"),
    }
}

/// Short, and still patient with a busy host: a heartbeat may be 1.9 s late.
fn knobs() -> Knobs {
    Knobs {
        replica_heartbeat: Span::from_millis(50),
        replica_timeout: Span::from_secs(2),
        tick: Span::from_secs(1),
        lapse: Span::from_millis(1_500),
        takeover: Span::from_secs(2),
        join_timeout: Span::from_secs(30),
        resend: Span::from_millis(200),
        return_spread: Span::from_millis(200),
        poll: Span::from_millis(200),
        ..Knobs::default()
    }
}

#[derive(Clone)]
struct Recorded(mpsc::UnboundedSender<Event>);

impl Journal<CoordinatorNode> for Recorded {
    fn event(&mut self, _decided: Time, event: CoordinatorNodeEvent) {
        match event {
            CoordinatorNodeEvent::Coordinator(event) => {
                let _ = self.0.send(event);
            }
            // After a restart it tells what it found, which is nothing.
            CoordinatorNodeEvent::Scheduler(event) => {
                assert_eq!(event.kind_name(), "tasks_recovered", "there are no tasks: {event:?}");
            }
        }
    }

    fn note(&mut self, _at: Time, _note: Note<CoordinatorNode>) {}
}

/// A coordinator that runs, and what it tells its history.
struct Running {
    address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(listen: &str, data: &Path, knobs: Knobs) -> Self {
        let listening = bind(CoordinatorConfig {
            name: "coordinator".into(),
            listen: listen.parse().expect("an address"),
            data: data.join("coordinator.log"),
            knobs: Arc::new(knobs),
            snapshot_every: 8,
        })
        .await
        .expect("a free port");
        let address = listening.address();
        let (recorded, events) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            listening.serve(Recorded(recorded), stopped).await.expect("a good disk and socket");
        });
        Self { address, events, stop, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next event that `wanted` takes; what comes before it is returned as well, with it.
    async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut passed = Vec::new();
        soon(what, async {
            loop {
                let event = self.events.recv().await.expect("the coordinator runs");
                let found = wanted(&event);
                passed.push(event);
                if found {
                    return;
                }
            }
        })
        .await;
        passed
    }

    async fn until_begun(&mut self, count: usize) {
        let mut begun = 0;
        self.until("all begin", |event| {
            begun += usize::from(matches!(event, Event::Began { .. }));
            begun == count
        })
        .await;
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        soon("the coordinator stops", self.task).await.expect("it stops well");
    }
}

fn connection(url: &str, data: Option<&Path>) -> Connection {
    Connection { endpoint: url.into(), data: data.map(Into::into), patience: Patience::default() }
}

fn member(url: &str, id: &str, data: &Path) -> Member {
    let config = MemberConfig {
        id: id.into(),
        role: Role::Replica,
        address: format!("{id}:1").into(),
        store_address: format!("{id}:2").into(),
        capacity: Capacity::default(),
        coordinator: Address(0),
        world_size: 1,
        subscribes: true,
        seed: fresh_seed(),
        knobs: Arc::new(knobs()),
    };
    Member::connect(connection(url, Some(&data.join(id))), config).expect("a good endpoint")
}

fn call(step: u64) -> RankCall {
    RankCall {
        step,
        shrink_only: false,
        init_sync: false,
        commit_failures: 0,
        store_address: "".into(),
        data: "".into(),
        patience: None,
    }
}

/// The next notice about a failure. What else a member is told passes.
async fn failure(member: &mut Member) -> (String, Cause) {
    soon("a notice", async {
        loop {
            match member.told().await.expect("the member runs") {
                Told::Notice(notice) => match notice.change {
                    Change::Failed(cause) => return (notice.member.to_string(), cause),
                    Change::Returned => panic!("nobody returned: {notice:?}"),
                },
                Told::Resynced { lagged, failures, .. } => assert!(lagged.is_none() && failures.is_empty()),
                Told::Inactive { .. } => {}
                Told::Stopped { .. } => panic!("nobody stops"),
            }
        }
    })
    .await
}

async fn subscribed(member: &mut Member) {
    let told = soon("a snapshot", member.told()).await;
    assert!(matches!(told, Some(Told::Resynced { lagged: None, .. })), "{told:?}");
}

async fn quorum(members: &[Member], step: u64) -> Vec<RankQuorum> {
    let asking = members.iter().map(|member| member.quorum(0, call(step)));
    let answers = soon("a quorum", futures_util::future::join_all(asking)).await;
    answers.into_iter().map(|answer| answer.expect("a quorum")).collect()
}

async fn five_members(coordinator: &mut Running, data: &Path) -> Vec<Member> {
    let url = coordinator.url();
    let mut members: Vec<Member> = (0..5).map(|n| member(&url, &format!("r{n}"), data)).collect();
    coordinator.until_begun(5).await;
    for member in &mut members {
        subscribed(member).await;
    }
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_is_told_of_once_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut coordinator = Running::start("127.0.0.1:0", folder.path(), knobs()).await;
    let mut members = five_members(&mut coordinator, folder.path()).await;
    let first = quorum(&members, 1).await;
    assert!(first.iter().all(|quorum| quorum.replica_count == 5 && quorum.quorum_id == first[0].quorum_id));
    let ranks: BTreeSet<u32> = first.iter().map(|quorum| quorum.replica_rank).collect();
    assert_eq!(ranks.len(), 5);

    let votes = members.iter().map(|member| member.should_commit(0, 1, first[0].quorum_id, true));
    let decisions = soon("the votes", futures_util::future::join_all(votes)).await;
    assert!(decisions.iter().all(|decision| *decision == Ok(true)), "{decisions:?}");

    drop(members.remove(3));
    let second = quorum(&members, 2).await;
    assert!(second.iter().all(|quorum| quorum.replica_count == 4 && quorum.quorum_id > first[0].quorum_id));

    // The next one that dies comes next in everybody's stream: of the first, there is one notice and no more.
    drop(members.remove(0));
    for member in &mut members {
        assert_eq!(failure(member).await, ("r3".to_owned(), Cause::Timeout));
        assert_eq!(failure(member).await, ("r0".to_owned(), Cause::Timeout));
    }

    for member in &members {
        soon("a departure", member.leave()).await.expect("it leaves");
    }
    let mut left = 0;
    let events = coordinator
        .until("three leave", |event| {
            left += usize::from(matches!(event, Event::Left { .. }));
            left == 3
        })
        .await;
    let failed: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Failed { .. })).collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_comes_back_from_its_file_has_lost_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut coordinator = Running::start("127.0.0.1:0", folder.path(), knobs()).await;
    let mut members = five_members(&mut coordinator, folder.path()).await;
    let first = quorum(&members, 1).await;
    let address = coordinator.address.to_string();
    coordinator.stop().await;

    let mut coordinator = Running::start(&address, folder.path(), knobs()).await;
    // Receipt alone starts no lease: whoever gets a quorum before its first heartbeat counts again has to ask once more.
    let mut heard = BTreeSet::new();
    let all_heard = |event: &Event| {
        if let Event::HeartbeatAccepted { incarnation, .. } = event {
            heard.insert(*incarnation);
        }
        heard.len() == 5
    };
    let mut events = coordinator.until("everybody is heard", all_heard).await;
    let second = quorum(&members, 2).await;
    assert!(second.iter().all(|quorum| quorum.replica_count == 5), "{second:?}");
    assert!(second[0].quorum_id >= first[0].quorum_id && second[0].formation > first[0].formation);
    // Two ticks later everybody's heartbeats still count.
    let mut ticks = 0;
    let ticked = |event: &Event| {
        ticks += usize::from(matches!(event, Event::Ticked {}));
        ticks == 2
    };
    events.extend(coordinator.until("ticks", ticked).await);
    assert!(matches!(events[0], Event::Stalled { restarted: true, .. }), "{:?}", events[0]);
    let unexpected =
        |event: &&Event| matches!(event, Event::Failed { .. } | Event::Began { .. } | Event::Granted { .. });
    assert_eq!(events.iter().find(unexpected), None);

    // Subscriptions go on where they were.
    drop(members.remove(4));
    for member in &mut members {
        assert_eq!(failure(member).await, ("r4".to_owned(), Cause::Timeout));
    }
    coordinator.stop().await;
}

/// A client that speaks the protocol by hand.
struct Hand {
    stub: LighthouseClient<Channel>,
    caller: u64,
}

impl Hand {
    async fn new(coordinator: &Running, caller: u64) -> Self {
        let stub = LighthouseClient::connect(coordinator.url()).await.expect("it listens");
        Self { stub, caller }
    }

    fn registration(&self, id: &str) -> pb::RegisterRequest {
        pb::RegisterRequest {
            caller: self.caller,
            id: id.into(),
            boot: 1,
            role: pb::Role::Replica.into(),
            address: "here".into(),
            capacity: Some(pb::Capacity::default()),
        }
    }

    /// Registers, and begins.
    async fn begin(&mut self, id: &str) -> (u64, u64) {
        let request = self.registration(id);
        let answer = soon("a grant", self.stub.register(request)).await.expect("a grant").into_inner();
        let Some(pb::answer::Kind::Granted(granted)) = answer.kind else { panic!("{answer:?}") };
        self.beat(granted.incarnation, 1).await;
        (granted.incarnation, granted.epoch)
    }

    async fn beat(&mut self, incarnation: u64, seq: u64) {
        let request = pb::HeartbeatRequest { caller: self.caller, incarnation, seq, wall: 0 };
        let answer = soon("an acknowledgement", self.stub.heartbeat(request)).await.expect("one").into_inner();
        assert!(matches!(answer.kind, Some(pb::answer::Kind::HeartbeatAck(_))), "{answer:?}");
    }

    async fn ask(&mut self, incarnation: u64, number: u64, epoch: u64) -> Streaming<pb::Answer> {
        let ask = Some(pb::Ask { world_size: 1, ..pb::Ask::default() });
        let request = pb::QuorumRequest { caller: self.caller, incarnation, number, epoch, ask };
        soon("the call begins", self.stub.quorum(request)).await.expect("it begins").into_inner()
    }

    fn subscription(&self, session: u64, after: Option<u64>) -> pb::SubscribeRequest {
        pb::SubscribeRequest { caller: self.caller, session, after }
    }
}

#[tokio::test]
async fn what_is_malformed_or_too_large_gets_its_status_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let coordinator = Running::start("127.0.0.1:0", folder.path(), knobs()).await;
    let mut hand = Hand::new(&coordinator, 7).await;
    let good = hand.registration("r0");
    for (request, code, named) in [
        (pb::RegisterRequest { caller: 0, ..good.clone() }, Code::InvalidArgument, "caller"),
        (pb::RegisterRequest { role: 9, ..good.clone() }, Code::InvalidArgument, "role"),
        (pb::RegisterRequest { capacity: None, ..good.clone() }, Code::InvalidArgument, "capacity"),
        (pb::RegisterRequest { id: "x".repeat(TEXT_BYTES_MAX + 1), ..good.clone() }, Code::ResourceExhausted, "id"),
        (pb::RegisterRequest { id: "x".repeat(REQUEST_BYTES_MAX), ..good.clone() }, Code::OutOfRange, "length"),
    ] {
        let status = soon("a refusal", hand.stub.register(request)).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(named), "{status}");
    }
    let (incarnation, _) = hand.begin("r0").await;
    assert_eq!(incarnation, 1, "what was refused was granted nothing");
    coordinator.stop().await;
}

#[tokio::test]
async fn a_quorum_call_that_is_given_up_is_withdrawn_but_not_one_that_was_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut coordinator = Running::start("127.0.0.1:0", folder.path(), knobs()).await;
    let mut hand = Hand::new(&coordinator, 7).await;
    let (incarnation, _) = hand.begin("r0").await;
    // A second one is healthy and doesn't ask, so no quorum forms.
    hand.begin("r1").await;
    let epoch = 1;
    let mut older = hand.ask(incarnation, 1, epoch).await;
    let newer = hand.ask(incarnation, 1, epoch).await;
    let status = soon("the older call ends", older.message()).await.expect_err("its place is taken");
    assert_eq!(status.code(), Code::Aborted, "{status}");
    drop(older);
    hand.beat(incarnation, 2).await;
    let is_withdrawn = |event: &Event| matches!(event, Event::Withdrawn { .. });
    let beaten = coordinator
        .until("a heartbeat after it", |event| matches!(event, Event::HeartbeatAccepted { seq: 2, .. }))
        .await;
    assert!(!beaten.iter().any(is_withdrawn), "{beaten:?}");
    drop(newer);
    coordinator.until("a withdrawal", is_withdrawn).await;
    // What was withdrawn stays so; its caller asks under the next number.
    let mut again = hand.ask(incarnation, 1, epoch).await;
    let answer = soon("an answer", again.message()).await.expect("no trouble").expect("one answer");
    assert!(matches!(answer.kind, Some(pb::answer::Kind::Withdrawn(_))), "{answer:?}");
    coordinator.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_confirms_nothing_lags_and_is_caught_up_by_a_snapshot() {
    const MEMBERS: u64 = 12;
    let folder = tempfile::tempdir().expect("a folder");
    let knobs = Knobs { subscriber_queue: 4, tick: Span::from_millis(200), ..knobs() };
    let mut coordinator = Running::start("127.0.0.1:0", folder.path(), knobs).await;
    let mut hand = Hand::new(&coordinator, 7).await;
    let request = hand.subscription(99, None);
    let mut stream = soon("the stream", hand.stub.subscribe(request)).await.expect("it opens").into_inner();
    let answer = soon("a snapshot", stream.message()).await.expect("no trouble").expect("an answer");
    let Some(pb::answer::Kind::Snapshot(snapshot)) = answer.kind else { panic!("{answer:?}") };
    let request = hand.subscription(99, Some(snapshot.cursor));
    hand.stub.acknowledge(request).await.expect("taken");
    for n in 0..MEMBERS {
        // They begin, and are never heard of again.
        hand.begin(&format!("r{n}")).await;
    }
    coordinator.until("the session lags", |event| matches!(event, Event::Lagged { .. })).await;
    let mut failed = 0;
    while failed < 4 {
        let answer = soon("a notice", stream.message()).await.expect("no trouble").expect("an answer");
        let Some(pb::answer::Kind::Notification(notice)) = answer.kind else { panic!("{answer:?}") };
        failed += 1;
        assert_eq!(notice.cursor, failed);
    }
    let mut all = 0;
    while all < MEMBERS {
        let request = hand.subscription(99, Some(failed));
        hand.stub.acknowledge(request).await.expect("taken");
        let answer = soon("a snapshot", stream.message()).await.expect("no trouble").expect("an answer");
        match answer.kind {
            Some(pb::answer::Kind::Snapshot(snapshot)) => {
                assert_eq!(snapshot.lagged, Some(snapshot.cursor - failed));
                failed = snapshot.cursor;
                all = snapshot.failures.len() as u64;
            }
            Some(pb::answer::Kind::Notification(notice)) => {
                failed += 1;
                all = failed;
                assert_eq!(notice.cursor, failed, "without a gap");
            }
            other => panic!("{other:?}"),
        }
    }
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_goes_on_where_it_was_after_its_own_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut coordinator = Running::start("127.0.0.1:0", folder.path(), knobs()).await;
    let observe = || {
        let config = ObserverConfig { coordinator: Address(0), seed: fresh_seed(), knobs: Arc::new(knobs()) };
        let connection = connection(&coordinator.url(), Some(&folder.path().join("observer")));
        Observer::connect(connection, "observer", &config).expect("a good endpoint")
    };
    let mut observer = observe();
    let told = soon("a snapshot", observer.told()).await;
    assert!(matches!(told, Some(Told::Resynced { cursor: Cursor(0), .. })), "{told:?}");
    drop(observer);
    let mut hand = Hand::new(&coordinator, 7).await;
    hand.begin("r0").await;
    // Its file is free once its task has ended; until then the next one couldn't open it.
    let lock = std::fs::File::open(folder.path().join("observer.lock")).expect("its lock");
    soon("the file is free", async {
        while lock.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(lock);
    let mut observer = observe();
    coordinator.until("a failure", |event| matches!(event, Event::Failed { .. })).await;
    let told = soon("a notice", observer.told()).await;
    let Some(Told::Notice(notice)) = told else { panic!("no snapshot, it resumes: {told:?}") };
    assert_eq!((notice.cursor, &*notice.member), (Cursor(1), "r0"));
    drop(observer);
    coordinator.stop().await;
}

/// Accepts connections and never says a word, like the far end of a broken one. Counts them.
async fn silent_host() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let (accepted, counted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            let _ = accepted.send(());
        }
    });
    (url, counted)
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_and_made_anew() {
    let (endpoint, mut accepted) = silent_host().await;
    let coordinator = Address(0);
    let short = Duration::from_millis(200);
    let patience = Patience { call: short, quorum: short, silence: short };
    let mut client =
        GrpcClient::new(GrpcClientConfig { endpoint, coordinator, seed: 1, patience }).expect("a good endpoint");
    let leave = || Message::Leave { incarnation: Incarnation(1) };
    let mut reasons = Vec::new();
    let calls = async {
        loop {
            client.send(coordinator, leave());
            match client.receive().await {
                Incoming::Undelivered { message, reason, .. } => {
                    assert_eq!(message, leave());
                    reasons.push(reason);
                }
                Incoming::Message { message, .. } => panic!("nobody answers: {message:?}"),
            }
        }
    };
    let connections = async {
        for _ in 0..3 {
            accepted.recv().await.expect("it listens");
        }
    };
    soon("three connections", async {
        tokio::select! {
            biased;
            () = connections => {}
            () = calls => {}
        }
    })
    .await;
    assert!(reasons.contains(&Undelivered::Deadline), "{reasons:?}");
}

#[tokio::test]
async fn what_is_sent_too_often_takes_the_place_of_the_oldest() {
    let (endpoint, _accepted) = silent_host().await;
    let (coordinator, patience) = (Address(0), Patience::default());
    let mut client =
        GrpcClient::new(GrpcClientConfig { endpoint, coordinator, seed: 1, patience }).expect("a good endpoint");
    for through in 0..9 {
        client.send(coordinator, Message::Withdraw { incarnation: Incarnation(1), through: Number(through) });
    }
    let oldest = Message::Withdraw { incarnation: Incarnation(1), through: Number(0) };
    let replaced = Incoming::Undelivered { to: coordinator, message: oldest, reason: Undelivered::Replaced };
    assert_eq!(soon("the report", client.receive()).await, replaced);
    let answer = Message::Left { incarnation: Incarnation(1) };
    client.send(coordinator, answer.clone());
    let wrong = Incoming::Undelivered { to: coordinator, message: answer, reason: Undelivered::WrongDirection };
    assert_eq!(soon("the report", client.receive()).await, wrong);
}
