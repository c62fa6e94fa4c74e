use super::*;
use crate::edges::{LocalClient, Undelivered};
use squall_machine::{Address, Wall};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PEER: Address = Address(1);

/// Answers each message with itself; records odd ones first. Replies to requests with themselves. Wakes once: at 5, or at 3
/// after it took a `HURRY`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Echo {
    recorded: Vec<u32>,
    booted: bool,
    hurried: bool,
    woken: bool,
    /// What its clock showed at the newest input.
    newest: Time,
}

const HURRY: u32 = 100;

impl Machine for Echo {
    type Message = u32;
    type Request = u32;
    type Reply = u32;
    type Record = u32;
    type Snapshot = Vec<u32>;
    type Event = String;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        self.newest = now;
        match input {
            Input::Boot(durable) => {
                self.recorded = durable.snapshot.unwrap_or_default();
                self.recorded.extend(durable.records);
                self.booted = true;
            }
            Input::Receive { from, message } => {
                if message % 2 == 1 {
                    self.recorded.push(message);
                    effects.record(message);
                }
                self.hurried |= message == HURRY;
                effects.send(from, message);
                effects.event(format!("took {message}"));
            }
            Input::Request(request) => effects.reply(request),
            Input::Wake => {
                self.woken = true;
                effects.event("woke".into());
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        (self.booted && !self.woken).then_some(Time::from_nanos(if self.hurried { 3 } else { 5 }))
    }

    fn snapshot(&self) -> Vec<u32> {
        self.recorded.clone()
    }

    fn assert_invariants(&self) {
        assert!(self.recorded.iter().all(|record| record % 2 == 1), "odd ones only");
    }
}

/// Shows the moment that it is set to. Who sleeps isn't woken by that.
struct Stopped(Arc<AtomicU64>);

impl Clock for Stopped {
    fn now(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Wall {
        Wall::default()
    }

    async fn sleep_until(&self, deadline: Time) {
        if self.now() < deadline {
            std::future::pending().await
        }
    }
}

/// Everything that a test sees of a node, in order.
type Seen = Arc<Mutex<Vec<String>>>;

/// Does one thing for each permit.
struct Gated {
    permits: mpsc::UnboundedReceiver<Result<(), DiskError>>,
    seen: mpsc::UnboundedSender<String>,
    holds: Vec<u32>,
}

impl Gated {
    fn say(&self, what: String) {
        self.seen.send(what).expect("the test looks");
    }

    async fn permit(&mut self) -> Result<(), DiskError> {
        self.permits.recv().await.expect("the test goes on")
    }
}

impl Disk<Echo> for Gated {
    async fn load(&mut self) -> Result<Durable<Echo>, DiskError> {
        self.permit().await?;
        Ok(Durable { records: self.holds.clone(), ..Durable::empty() })
    }

    async fn write(&mut self, group: Vec<Batch<Echo>>) -> Result<Synced, DiskError> {
        let records: Vec<u32> = group.iter().flat_map(|batch| batch.records.iter().copied()).collect();
        self.say(format!("write {records:?}"));
        self.permit().await?;
        Ok(group.into_iter().next_back().expect("a group isn't empty").pledge.synced())
    }

    async fn compact(&mut self, snapshot: Vec<u32>) -> Result<(), DiskError> {
        self.say(format!("compact {snapshot:?}"));
        self.permit().await
    }
}

struct Wires {
    arriving: mpsc::UnboundedReceiver<Incoming<u32>>,
    seen: mpsc::UnboundedSender<String>,
}

impl Transport<u32> for Wires {
    fn send(&mut self, to: Address, message: u32) {
        assert_eq!(to, PEER);
        self.seen.send(format!("send {message}")).expect("the test looks");
    }

    async fn receive(&mut self) -> Incoming<u32> {
        match self.arriving.recv().await {
            Some(incoming) => incoming,
            None => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Noted(Seen);

impl Journal<Echo> for Noted {
    fn event(&mut self, _decided: Time, event: String) {
        self.0.lock().expect("no holder panics").push(event);
    }

    fn note(&mut self, _at: Time, note: Note<Echo>) {
        self.0.lock().expect("no holder panics").push(format!("{note:?}"));
    }
}

/// A node under test, from outside.
struct Bench {
    deliver: mpsc::UnboundedSender<Incoming<u32>>,
    permits: mpsc::UnboundedSender<Result<(), DiskError>>,
    seen: mpsc::UnboundedReceiver<String>,
    client: Option<LocalClient<Echo>>,
    journal: Seen,
    now: Arc<AtomicU64>,
    stop: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<Echo, DriverError>>,
}

impl Bench {
    fn new(now: u64, snapshot_every: usize) -> Self {
        let (deliver, arriving) = mpsc::unbounded_channel();
        let (permits_in, permits) = mpsc::unbounded_channel();
        let (seen_in, seen) = mpsc::unbounded_channel();
        let (local, client) = Local::queues(2);
        let journal = Seen::default();
        let now = Arc::new(AtomicU64::new(now));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let driver = Driver {
            name: "echo".into(),
            machine: Echo::default(),
            clock: Stopped(now.clone()),
            disk: Gated { permits, seen: seen_in.clone(), holds: Vec::new() },
            transport: Wires { arriving, seen: seen_in },
            journal: Noted(journal.clone()),
            local,
            snapshot_every,
        };
        let running = tokio::spawn(driver.run(async { stopped.await.unwrap_or_default() }));
        Self { deliver, permits: permits_in, seen, client: Some(client), journal, now, stop, running }
    }

    fn permit(&self) {
        self.permits.send(Ok(())).expect("it runs");
    }

    fn deliver(&self, message: u32) {
        self.deliver.send(Incoming::Message { from: PEER, message }).expect("it runs");
    }

    /// What happens next.
    async fn next(&mut self) -> String {
        self.seen.recv().await.expect("it runs")
    }

    /// Lets the node take everything that waits for it.
    async fn settle(&mut self) {
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
    }

    fn seen_nothing(&mut self) {
        assert!(self.seen.try_recv().is_err(), "nothing may happen here");
    }

    fn journal(&self) -> Vec<String> {
        self.journal.lock().expect("no holder panics").clone()
    }
}

#[tokio::test]
async fn what_follows_a_record_waits_for_its_sync_and_steps_go_on_meanwhile() {
    let mut bench = Bench::new(0, 100);
    bench.permit();
    bench.deliver(2);
    assert_eq!(bench.next().await, "send 2");
    bench.deliver(1);
    assert_eq!(bench.next().await, "write [1]");
    for message in [4, 3, 5] {
        bench.deliver(message);
    }
    bench.settle().await;
    bench.seen_nothing();
    assert_eq!(bench.journal()[1..], ["took 2"], "events wait, too");
    bench.permit();
    // What arose meanwhile goes as one group, and is begun before anybody could forget it.
    for seen in ["send 1", "send 4", "write [3, 5]"] {
        assert_eq!(bench.next().await, seen);
    }
    bench.settle().await;
    bench.seen_nothing();
    bench.permit();
    assert_eq!([bench.next().await, bench.next().await], ["send 3", "send 5"]);
    assert_eq!(
        bench.journal()[1..],
        ["took 2", "Synced { records: 1 }", "took 1", "took 4", "Synced { records: 2 }", "took 3", "took 5"]
    );
}

#[tokio::test]
async fn a_snapshot_covers_the_group_before_it_and_nothing_after() {
    let mut bench = Bench::new(0, 2);
    bench.permit();
    bench.deliver(1);
    assert_eq!(bench.next().await, "write [1]");
    bench.deliver(3);
    bench.settle().await;
    bench.permit();
    assert_eq!([bench.next().await, bench.next().await], ["send 1", "write [3]"]);
    bench.deliver(5);
    bench.settle().await;
    bench.permit();
    assert_eq!([bench.next().await, bench.next().await], ["send 3", "compact [1, 3]"]);
    bench.permit();
    assert_eq!(bench.next().await, "write [5]");
    bench.permit();
    assert_eq!(bench.next().await, "send 5");
    bench.settle().await;
    bench.seen_nothing();
    assert!(bench.journal().contains(&"Compacted".to_owned()));
}

#[tokio::test]
async fn a_node_whose_disk_fails_stops_and_has_said_nothing_of_it() {
    let mut bench = Bench::new(0, 100);
    bench.permit();
    bench.deliver(1);
    assert_eq!(bench.next().await, "write [1]");
    bench.deliver(2);
    bench.permits.send(Err(DiskError::Simulated("full".into()))).expect("it runs");
    let error = bench.running.await.expect("no panic").expect_err("a failure");
    assert_eq!(error.to_string(), "echo stops, its disk failed: the simulated disk fails: full");
    assert!(bench.seen.recv().await.is_none(), "neither 1 nor 2 was sent");
}

#[tokio::test]
async fn a_node_whose_disk_cannot_be_read_never_boots() {
    let bench = Bench::new(0, 100);
    bench.permits.send(Err(DiskError::Simulated("gone".into()))).expect("it runs");
    bench.running.await.expect("no panic").expect_err("a failure");
    assert!(bench.journal.lock().expect("no holder panics").is_empty());
}

#[tokio::test]
async fn who_is_stopped_finishes_the_sync_that_is_under_way() {
    let mut bench = Bench::new(0, 100);
    bench.permit();
    bench.deliver(1);
    assert_eq!(bench.next().await, "write [1]");
    bench.stop.send(()).expect("it runs");
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    assert!(!bench.running.is_finished());
    bench.permits.send(Ok(())).expect("it runs");
    let machine = bench.running.await.expect("no panic").expect("stopped as asked");
    assert_eq!(machine.recorded, [1]);
    assert_eq!(bench.seen.recv().await.as_deref(), Some("send 1"));
}

#[tokio::test]
async fn a_deadline_that_has_come_wakes_the_machine() {
    for (now, woken) in [(4, false), (5, true)] {
        let mut bench = Bench::new(now, 100);
        bench.permit();
        bench.settle().await;
        bench.stop.send(()).expect("it runs");
        let machine = bench.running.await.expect("no panic").expect("stopped as asked");
        assert_eq!(machine.woken, woken, "at {now}");
    }
}

#[tokio::test]
async fn a_deadline_that_an_input_brings_forward_wakes_the_machine_by_then() {
    for (message, woken) in [(2, false), (HURRY, true)] {
        let mut bench = Bench::new(4, 100);
        bench.permit();
        bench.settle().await;
        assert_eq!(bench.journal()[1..], [] as [&str; 0], "it waits for 5");
        bench.deliver(message);
        bench.settle().await;
        bench.stop.send(()).expect("it runs");
        let machine = bench.running.await.expect("no panic").expect("stopped as asked");
        assert_eq!(machine.woken, woken, "after {message}");
    }
}

#[tokio::test]
async fn an_input_is_taken_at_the_time_it_arrives_not_at_which_it_was_awaited() {
    let mut bench = Bench::new(1, 100);
    bench.permit();
    bench.settle().await;
    bench.now.store(3, Ordering::Relaxed);
    bench.deliver(2);
    assert_eq!(bench.next().await, "send 2");
    bench.stop.send(()).expect("it runs");
    let machine = bench.running.await.expect("no panic").expect("stopped as asked");
    assert_eq!(machine.newest, Time::from_nanos(3));
}

#[tokio::test]
async fn local_clients_get_their_replies_in_order_and_never_with_a_gap() {
    let mut bench = Bench::new(0, 100);
    bench.permit();
    let LocalClient { requests, mut replies } = bench.client.take().expect("the client");
    for request in [7, 8] {
        requests.send(request).await.expect("it runs");
    }
    assert_eq!((replies.recv().await, replies.recv().await), (Some(7), Some(8)));
    for request in [9, 10, 11, 12] {
        requests.send(request).await.expect("it runs");
    }
    bench.settle().await;
    assert_eq!((replies.recv().await, replies.recv().await), (Some(9), Some(10)));
    assert_eq!(replies.recv().await, None, "the end, instead of a gap");
    assert!(bench.journal().contains(&"RepliesClosed".to_owned()));
}

#[tokio::test]
async fn what_was_not_delivered_is_noted_and_no_input() {
    let mut bench = Bench::new(0, 100);
    bench.permit();
    let lost = Incoming::Undelivered { to: PEER, message: 3, reason: Undelivered::Gone };
    bench.deliver.send(lost).expect("it runs");
    bench.settle().await;
    bench.seen_nothing();
    assert!(bench.journal()[1].starts_with("Undelivered"), "{:?}", bench.journal());
}
