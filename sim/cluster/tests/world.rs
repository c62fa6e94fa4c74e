//! A cluster lives in the world: it forms quorums, and ends the same way for the same seed.

use squall::{
    Action, Clocks, DiskQuality, Entry, Fact, Fault, NodeId, NodeSet, Outcome, Plan, Quality, RunOptions, Scene,
    System, Targets, Trigger, Verdict, run,
};
use squall_cluster::{Cluster, Settings, Topology, Workload};
use squall_machine::{Kind, Span};
use std::collections::BTreeMap;

fn cluster() -> Cluster {
    let topology = Topology { replicas: 5, workers: 2, subscribers: 2, world_size: 2, ..Topology::default() };
    Cluster::new(topology, Settings::default(), Workload::default()).expect("a valid cluster")
}

fn plan(cluster: &Cluster, faults: Vec<Fault>) -> Plan {
    let layout = cluster.layout();
    Plan {
        nodes: layout.nodes,
        groups: layout.groups,
        warm_up: Span::from_secs(5),
        horizon: Span::from_secs(60),
        stabilise: true,
        network: Quality::default(),
        disk: DiskQuality::default(),
        clocks: Clocks::default(),
        absent: NodeSet::default(),
        faults,
        hazards: Vec::new(),
        budget: squall::Budget::default(),
        limits: squall::Limits::default(),
    }
}

fn crash(node: u32, at: u64) -> Fault {
    let moment = Span::from_secs(at);
    Fault {
        trigger: Trigger::At { from: moment, until: moment },
        action: Action::Crash(Targets { among: [NodeId(node)].into_iter().collect(), count: None }),
        lasts: None,
        may_miss: false,
    }
}

/// The outcome, and how often each kind of event was seen.
fn observe(cluster: &Cluster, plan: &Plan, seed: u64) -> (Outcome, BTreeMap<&'static str, u64>) {
    let mut seen = BTreeMap::new();
    let mut watch = |entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>| {
        if let Fact::Event { event, .. } = &entry.fact {
            *seen.entry(event.kind_name()).or_default() += 1;
        }
    };
    let options = RunOptions { watch: Some(&mut watch), ..RunOptions::default() };
    (run(cluster, plan, seed, options), seen)
}

#[test]
fn quorums_form_and_steps_are_committed() {
    let cluster = cluster();
    // Nobody is left out at the end, so whoever fails has failed for no reason.
    let plan = Plan { stabilise: false, ..plan(&cluster, Vec::new()) };
    for seed in 0..5 {
        let (outcome, seen) = observe(&cluster, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?}", outcome.violations);
        assert_eq!(seen.get("failed"), None, "seed {seed}: nobody fails");
        assert_eq!(seen["began"], 7, "seed {seed}: every member begins once");
        assert!(seen["formed"] >= 10 && seen["vote_closed"] >= 50, "seed {seed}: {seen:?}");
    }
}

#[test]
fn a_crashed_replica_is_declared_and_the_others_go_on() {
    let cluster = cluster();
    let plan = plan(&cluster, vec![crash(3, 10)]);
    for seed in 0..5 {
        let (outcome, seen) = observe(&cluster, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?}", outcome.violations);
        assert!(seen["failed"] >= 1 && seen["notified"] >= 2, "seed {seed}: {seen:?}");
        assert!(seen["formed"] >= 10, "seed {seed}: {seen:?}");
        assert_eq!(observe(&cluster, &plan, seed).0, outcome, "seed {seed} is the same again");
    }
}
