//! DT1: same scenario, seed and build, same history. Twice in one process, in any order, whatever else ran before.
//! In another process and in a release build: `crates/cli/tests`.

use libtest_mimic::{Failed, Trial};
use squall::{Fingerprint, RunOptions, Scenario};
use squall_cluster::Cluster;
use std::collections::BTreeMap;
use std::path::Path;

/// Something of everything: faults of each kind that the model allows, generated and scripted.
const STORMY: &str = include_str!("stormy.toml");
/// How many seeds are compared.
const SEEDS: u64 = 4;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("workspace::same_seed_same_history_in_any_order", any_order),
        Trial::test("workspace::other_seed_other_history", other_seed),
        Trial::test("workspace::looking_changes_nothing", looking),
    ]
}

fn stormy() -> Result<Scenario<Cluster>, Failed> {
    Ok(Scenario::parse(Path::new("stormy.toml"), STORMY)?)
}

fn fingerprint(scenario: &Scenario<Cluster>, seed: u64) -> Fingerprint {
    scenario.run(seed, RunOptions::default()).fingerprint
}

fn any_order() -> Result<(), Failed> {
    let first = stormy()?;
    let forth: BTreeMap<u64, Fingerprint> = (0..SEEDS).map(|seed| (seed, fingerprint(&first, seed))).collect();
    let second = stormy()?;
    for seed in (0..SEEDS).rev() {
        let again = fingerprint(&second, seed);
        if forth[&seed] != again {
            return Err(Failed::from(format!("seed {seed}: {} and then {again}", forth[&seed])));
        }
    }
    Ok(())
}

fn other_seed() -> Result<(), Failed> {
    let scenario = stormy()?;
    let (one, other) = (fingerprint(&scenario, 0), fingerprint(&scenario, 1));
    if one == other { Err(Failed::from("two seeds gave one history: the seed decides nothing")) } else { Ok(()) }
}

fn looking() -> Result<(), Failed> {
    let scenario = stormy()?;
    let mut entries: u64 = 0;
    let mut watch = |_: &squall::Entry<'_, Cluster>, _: &squall::Scene<'_, Cluster>| entries += 1;
    let options = RunOptions { watch: Some(&mut watch), ..RunOptions::default() };
    let watched = scenario.run(0, options);
    let plain = scenario.run(0, RunOptions::default());
    let unchecked = scenario.run(0, RunOptions { checkers: false, ..RunOptions::default() });
    if watched.fingerprint != plain.fingerprint || entries != plain.entries {
        return Err(Failed::from("a trace changes the run that it shows"));
    }
    // Without checkers nothing ends a run early, so only a run that holds can be compared.
    if plain.violations.is_empty() && !scenario.plan.stabilise && unchecked.fingerprint != plain.fingerprint {
        return Err(Failed::from("checkers change the run that they judge"));
    }
    Ok(())
}
