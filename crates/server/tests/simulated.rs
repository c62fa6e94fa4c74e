//! The same shell on madsim's clock and network: it works there, and it does the same again for the same seed.
//!
//! Only with `--cfg madsim`; the scenarios of `sim/stack` are the real tests.
#![cfg(madsim)]

use madsim::runtime::{Handle, NodeHandle, Runtime};
use squall_coordinator::{Capacity, Event, Knobs, RankCall, Role};
use squall_machine::{Address, Kind, Time};
use squall_node::{CoordinatorNode, CoordinatorNodeConfig, CoordinatorNodeEvent, MemberConfig};
use squall_server::clock::TokioClock;
use squall_server::coordinator::MembershipOnly;
use squall_server::driver::Driver;
use squall_server::edges::{Journal, Local, Note};
use squall_server::grpc::client::Patience;
use squall_server::grpc::server::GrpcServer;
use squall_server::member::{Connection, Member};
use squall_server::memory::MemoryDisk;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COORDINATOR: &str = "10.0.0.1:7000";

/// What the coordinator decided, and when.
type History = Arc<Mutex<Vec<(Time, Event)>>>;

#[derive(Clone)]
struct Recorded(History);

impl Journal<CoordinatorNode> for Recorded {
    fn event(&mut self, decided: Time, event: CoordinatorNodeEvent) {
        match event {
            CoordinatorNodeEvent::Coordinator(event) => {
                self.0.lock().expect("no holder panics").push((decided, event));
            }
            // After a restart it tells what it found, which is nothing.
            CoordinatorNodeEvent::Scheduler(event) => {
                assert_eq!(event.kind_name(), "tasks_recovered", "there are no tasks: {event:?}");
            }
        }
    }

    fn note(&mut self, _at: Time, _note: Note<CoordinatorNode>) {}
}

fn start_coordinator(history: History) -> NodeHandle {
    let node = Handle::current().create_node().name("coordinator").ip("10.0.0.1".parse().expect("an ip")).build();
    node.spawn(async move {
        let (transport, service) = GrpcServer::new();
        let driver = Driver {
            name: "coordinator".into(),
            machine: CoordinatorNode::new(CoordinatorNodeConfig {
                knobs: Arc::new(Knobs::default()),
                scheduler: Arc::default(),
                seed: 0,
            }),
            clock: TokioClock::new(),
            disk: MemoryDisk,
            transport: MembershipOnly::new(transport),
            journal: Recorded(history),
            local: Local::none(),
            snapshot_every: 8,
        };
        let serving = service.listen_at(COORDINATOR.parse().expect("an address"), std::future::pending());
        tokio::select! {
            biased;
            stopped = driver.run(std::future::pending()) => panic!("nobody stops it: {stopped:?}"),
            served = serving => panic!("nobody stops it: {served:?}"),
        }
    });
    node
}

/// A member that asks for one quorum after another.
fn start_member(seed: u64, n: u8) -> NodeHandle {
    let ip = [10, 0, 1, n].into();
    let node = Handle::current().create_node().name(format!("r{n}")).ip(std::net::IpAddr::V4(ip)).build();
    node.spawn(async move {
        let config = MemberConfig {
            id: format!("r{n}").into(),
            role: Role::Replica,
            address: format!("r{n}:1").into(),
            store_address: format!("r{n}:2").into(),
            capacity: Capacity::default(),
            coordinator: Address(0),
            world_size: 1,
            subscribes: true,
            seed: seed * 100 + u64::from(n),
            knobs: Arc::new(Knobs::default()),
        };
        let connection =
            Connection { endpoint: format!("http://{COORDINATOR}"), data: None, patience: Patience::default() };
        let mut member = Member::connect(connection, config).expect("a good endpoint");
        for step in 1.. {
            let call = RankCall {
                step,
                shrink_only: false,
                init_sync: false,
                commit_failures: 0,
                store_address: "".into(),
                data: "".into(),
                patience: None,
            };
            member.quorum(0, call).await.expect("a quorum");
            let told = tokio::time::timeout(Duration::from_secs(1), member.told()).await;
            assert!(told != Ok(None), "it runs");
        }
    });
    node
}

/// Five members, of which one is killed; then half a minute more.
fn run(seed: u64) -> Vec<(Time, Event)> {
    let history = History::default();
    let recorded = history.clone();
    let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.set_time_limit(Duration::from_secs(300));
    runtime.block_on(async move {
        let _coordinator = start_coordinator(recorded);
        let members: Vec<NodeHandle> = (0..5).map(|n| start_member(seed, n)).collect();
        tokio::time::sleep(Duration::from_secs(20)).await;
        Handle::current().kill(members[3].id());
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let history = std::mem::take(&mut *history.lock().expect("no holder panics"));
    assert!(history.len() > 1_000, "a history of {} events", history.len());
    history
}

#[test]
fn a_member_that_is_killed_is_left_out_and_nobody_else_is() {
    for seed in 0..5 {
        let history = run(seed);
        let failed: Vec<&Event> =
            history.iter().map(|(_, event)| event).filter(|event| matches!(event, Event::Failed { .. })).collect();
        assert!(matches!(failed[..], [Event::Failed { member, .. }] if &**member == "r3"), "seed {seed}: {failed:?}");
        let sizes = history.iter().filter_map(|(_, event)| match event {
            Event::Formed { quorum, .. } => Some(quorum.members.len()),
            _ => None,
        });
        let sizes: Vec<usize> = sizes.collect();
        assert!(sizes.contains(&5) && sizes.last() == Some(&4), "seed {seed}: {sizes:?}");
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..5 {
        let (once, again) = (run(seed), run(seed));
        let differs = once.iter().zip(&again).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!("seed {seed}, event {at}: {:?} and {:?}", once[at], again[at]);
        }
        assert_eq!(once.len(), again.len(), "seed {seed}");
    }
    let kinds = |seed| -> Vec<&'static str> { run(seed).iter().map(|(_, event)| event.kind_name()).collect() };
    assert_ne!(kinds(1), kinds(2), "the seed decides something");
}
