//! One to five peers under everything that may happen to their messages and processes: whatever the order, they agree; and
//! once things calm down, whoever is left works in one group, as long as a quorum survived.

#[path = "peers/judge.rs"]
mod judge;
#[path = "peers/world.rs"]
mod world;

use proptest::prelude::*;
use world::{Action, KINDS, NODES_MAX, World};

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let node = 0..NODES_MAX;
    let any_message = || any::<prop::sample::Index>();
    let action = prop_oneof![
        30 => any_message().prop_map(Action::Deliver),
        3 => any_message().prop_map(Action::Drop),
        3 => any_message().prop_map(Action::Duplicate),
        3 => (1..200u64).prop_map(Action::Advance),
        12 => (1..70u64).prop_map(Action::Calm),
        8 => (1..900u64).prop_map(Action::Calm),
        1 => node.clone().prop_map(Action::Crash),
        3 => node.clone().prop_map(Action::Restart),
        1 => node.clone().prop_map(Action::Pause),
        1 => node.clone().prop_map(Action::Resume),
        2 => (node.clone(), node.clone()).prop_map(|(from, to)| Action::Cut(from, to)),
        1 => (node.clone(), node.clone()).prop_map(|(from, to)| Action::Mend(from, to)),
        4 => (0..KINDS.len(), 0..5usize, 0..3u8).prop_map(|(kind, keep, end)| Action::Interrupt(kind, keep, end)),
        1 => node.prop_map(Action::Isolate),
        1 => Just(Action::MendAll),
    ];
    prop::collection::vec(action, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn peers_agree_whatever_happens_and_work_together_once_it_is_calm(
        nodes in 1..=NODES_MAX,
        seed in any::<u64>(),
        actions in actions(),
    ) {
        let mut world = World::new(nodes, seed);
        for action in actions {
            world.act(action);
        }
        world.end();
    }
}

/// What the property test reaches, so that it can't pass by standing still.
#[test]
fn the_property_test_reaches_what_it_is_about() {
    let mut reached = std::collections::BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for seed in 0..300 {
        let tree = actions().new_tree(&mut runner).expect("a list of actions");
        let mut world = World::new(NODES_MAX, seed);
        for action in proptest::strategy::ValueTree::current(&tree) {
            world.act(action);
        }
        world.end();
        for (&what, count) in world.reached() {
            *reached.entry(what).or_insert(0u64) += count;
        }
    }
    for what in ["decided", "group_active", "self_fenced", "joiner_known", "fell_behind", "peer_cleared", "adopted"] {
        assert!(reached.get(what).is_some_and(|count| *count >= 10), "{what} of {reached:?}");
    }
}
