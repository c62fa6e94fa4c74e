//! The scenarios of `scenarios/explore` hold in everything that a few moves lead to; `squall explore` goes all the way.

use squall::explore::{Bounds, End, ExploreOptions, Explored, explore};
use squall::{NodeId, Scenario};
use squall_cluster::Cluster;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A scenario of the folder, searched up to a depth.
fn search(file: &str, depth: Option<u32>, jobs: usize) -> Explored {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/explore");
    let mut scenario = Scenario::<Cluster>::load(&folder.join(file)).unwrap_or_else(|diagnosis| panic!("{diagnosis}"));
    assert_eq!(scenario.plan.nodes.len(), 3);
    assert!(!scenario.plan.budget.spared.contains(NodeId(0)), "everybody may die");
    scenario.explore = scenario.explore.map(|bounds| Bounds { depth: depth.or(bounds.depth), ..bounds });
    let stop = AtomicBool::new(false);
    explore(&scenario, &ExploreOptions { jobs, seed: 0, stop: &stop }, |_, _| {}).expect("bounds")
}

#[test]
fn the_first_moves_of_each_scenario_hold() {
    for file in ["coordinator.toml", "peers.toml"] {
        let explored = search(file, Some(8), 2);
        assert_eq!((explored.end, explored.depth), (End::Complete, 8), "{file}");
        assert!(explored.states > 1_000, "{file}: {} states", explored.states);
    }
}

#[test]
fn the_shortest_way_in_which_the_exhibit_fails() {
    let ways = [1, 2].map(|jobs| match search("published.toml", None, jobs).end {
        End::Violated(found) => found,
        end @ (End::Complete | End::Limit(_) | End::Interrupted) => panic!("no counterexample: {end:?}"),
    });
    assert_eq!(ways[0], ways[1], "however many threads look for it");
    let [found, _] = ways;
    assert_eq!((found.breach.property, found.moves), ("AG2", MOVES), "{}", found.breach.message);
    // One move less is not enough.
    assert_eq!(search("published.toml", Some(MOVES - 1), 2).end, End::Complete);
    let crashes = found.entries.iter().filter(|entry| entry["kind"] == "down").count();
    assert_eq!(crashes, 1, "one death is enough");
}

/// How many moves the shortest counterexample of the exhibit has.
const MOVES: u32 = 18;
