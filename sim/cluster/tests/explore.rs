//! The scenarios of `scenarios/explore` hold in everything that a few moves lead to; `squall explore` goes all the way.

use squall::explore::{End, ExploreOptions, explore};
use squall::{NodeId, Scenario};
use squall_cluster::Cluster;
use std::path::Path;
use std::sync::atomic::AtomicBool;

#[test]
fn the_first_moves_of_each_scenario_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/explore");
    for (file, nodes) in [("coordinator.toml", 3), ("peers.toml", 3)] {
        let mut scenario =
            Scenario::<Cluster>::load(&folder.join(file)).unwrap_or_else(|diagnosis| panic!("{diagnosis}"));
        assert_eq!(scenario.plan.nodes.len(), nodes);
        assert!(!scenario.plan.budget.spared.contains(NodeId(0)), "everybody may die");
        scenario.explore = scenario.explore.map(|bounds| squall::explore::Bounds { depth: Some(8), ..bounds });
        let stop = AtomicBool::new(false);
        let explored = explore(&scenario, &ExploreOptions { jobs: 2, seed: 0, stop: &stop }, |_, _| {});
        let explored = explored.expect("bounds");
        assert_eq!((explored.end, explored.depth), (End::Complete, 8), "{file}");
        assert!(explored.states > 1_000, "{file}: {} states", explored.states);
    }
}
