use super::*;
use crate::AttemptId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Whole cores, GiB and accelerators.
fn amounts(cores: u32, memory_gib: u32, gpus: u32) -> Resources {
    Resources { cpu_millis: cores * 1_000, memory_mib: memory_gib * 1_024, storage_mib: 0, gpu_millis: gpus * 1_000 }
}

fn worker(total: Resources, reserved: Resources) -> Account {
    let mut account = Account::new(total);
    account.reserve(AttemptId(1), reserved).expect("it has that much");
    account
}

fn demand(need: Resources, tau_secs: u64, slack_millis: u32) -> Demand {
    let slack = Slack::from_millis(slack_millis).expect("1.5 to 2.5");
    Demand { need, tau: Tau(Span::from_secs(tau_secs)), slack }
}

#[test]
fn load_is_the_weighted_share_that_is_reserved() {
    let has = amounts(8, 64, 4);
    for (total, reserved, expected) in [
        (has, amounts(0, 0, 0), Some(0)),
        (has, has, Some(1_000_000)),
        // (2 + 1.6 + 2) / (8 + 6.4 + 8)
        (has, amounts(2, 16, 1), Some(250_000)),
        // 8 / 22.4, 6.4 / 22.4, and 8 / 22.4 again, rounded down
        (has, amounts(8, 0, 0), Some(357_142)),
        (has, amounts(0, 64, 0), Some(285_714)),
        (has, amounts(0, 0, 4), Some(357_142)),
        (amounts(4, 0, 0), amounts(1, 0, 0), Some(250_000)),
        (amounts(0, 0, 0), amounts(0, 0, 0), None),
        (Resources { storage_mib: 5, ..amounts(0, 0, 0) }, amounts(0, 0, 0), None),
    ] {
        assert_eq!(load(&worker(total, reserved)), expected, "{reserved:?} of {total:?}");
    }
    let huge = Resources { cpu_millis: u32::MAX, memory_mib: u32::MAX, storage_mib: 0, gpu_millis: u32::MAX };
    assert_eq!(load(&worker(huge, huge)), Some(1_000_000));
}

#[test]
fn estimates_are_those_of_the_formula() {
    let quarter = worker(amounts(8, 64, 4), amounts(2, 16, 1));
    let idle = worker(amounts(8, 64, 4), amounts(0, 0, 0));
    let full = worker(amounts(8, 64, 4), amounts(8, 64, 4));
    let bare = worker(amounts(8, 64, 0), amounts(0, 0, 0));
    for (account, need, tau, nanos) in [
        (&idle, amounts(0, 0, 0), 10, 10_000_000_000),
        // 10 (1 + 0.1 * 3/6 + 0.1 * 12/48 + 0.3 * 1/3 + 0.2 * 0.25), a third being 0.333333
        (&quarter, amounts(3, 12, 1), 10, 12_249_999_000),
        // 10 (1 + 0.1 + 0.1 + 0.3)
        (&idle, amounts(8, 64, 4), 10, 15_000_000_000),
        // Something is needed and nothing available: 10 (1 + 0.1 + 0.1 + 0.3 + 0.2)
        (&full, amounts(1, 1, 1), 10, 17_000_000_000),
        // Nothing is needed, so it doesn't matter that nothing is available: 10 (1 + 0.2)
        (&full, amounts(0, 0, 0), 10, 12_000_000_000),
        // 60 (1 + 0.1 * 2/8 + 0.1 * 16/64 + 0.3)
        (&bare, amounts(2, 16, 1), 60, 81_000_000_000),
        // A ratio may be above 1: 10 (1 + 0.1 * 2)
        (&idle, amounts(16, 0, 0), 10, 12_000_000_000),
    ] {
        let estimated = estimate(account, &demand(need, tau, 2_000));
        assert_eq!(estimated, Some(Span::from_nanos(nanos)), "{need:?} for {tau} s");
    }
    let endless = Demand { tau: Tau(Span::MAX), ..demand(amounts(1, 1, 1), 1, 2_000) };
    assert_eq!(estimate(&quarter, &endless), None, "too long to count");
    assert_eq!(estimate(&worker(amounts(0, 0, 0), amounts(0, 0, 0)), &demand(amounts(0, 0, 0), 1, 2_000)), None);
}

#[test]
fn risks_are_those_of_the_formula() {
    let half = worker(amounts(8, 64, 4), amounts(4, 32, 2));
    let rest = amounts(4, 32, 2);
    for (tau, slack, affinity, penalty, expected) in [
        // E = 60 * 1.6 = 96 s; 96 - 90 = 6 s late: 60 + 0.5
        (60, 1_500, 0, 0, 60_500_000),
        // 96 - 96: just in time
        (60, 1_600, 0, 0, 500_000),
        (60, 2_000, 0, 0, 500_000),
        (60, 2_500, 0, 0, 500_000),
        // 60 + 0.5 - 2 + 0.25
        (60, 1_500, 2_000_000, 250_000, 58_750_000),
        // 0.5 - 2: below zero is a risk like any other
        (60, 2_000, 2_000_000, 0, -1_500_000),
        // E = 5 * 1.6 = 8 s; 0.5 s late: 5 + 0.5
        (5, 1_500, 0, 0, 5_500_000),
    ] {
        let risk = risk(&half, &demand(rest, tau, slack), affinity, penalty);
        assert_eq!(risk, Some(expected), "tau {tau} s, k {slack}/1000");
    }
    assert_eq!(risk(&half, &demand(rest, 60, 1_500), i64::MIN, 0), None, "too large to count");
    assert_eq!(risk(&half, &demand(rest, 60, 1_500), 0, i64::MAX), None);
}

#[test]
fn slack_is_one_and_a_half_to_two_and_a_half_times() {
    let tau = Tau::initial(TaskType::GpuTraining);
    for (millis, secs) in [(1_499, None), (1_500, Some(90)), (2_000, Some(120)), (2_500, Some(150)), (2_501, None)] {
        assert_eq!(Slack::from_millis(millis).map(|slack| slack.times(tau)), secs.map(Span::from_secs), "{millis}");
    }
    assert_eq!(Slack::default().times(tau), Span::from_secs(120));
    assert_eq!(Slack::default().times(Tau(Span::MAX)), Span::MAX);
}

#[test]
fn run_times_are_averaged_with_a_weight_of_one_fifth() {
    let mut tau = Tau::initial(TaskType::Mixed);
    for (run, average) in [(20_000, 12_000), (12_000, 12_000), (0, 9_600), (100_000, 27_680)] {
        tau.observe(Span::from_millis(run));
        assert_eq!(tau.span(), Span::from_millis(average));
    }
    tau.observe(Span::MAX);
    assert_eq!(tau.span(), Span::from_nanos(((27_680_000_000u128 * 4 + u128::from(u64::MAX)) / 5) as u64));
    for _ in 0..1_000 {
        tau.observe(Span::ZERO);
    }
    assert_eq!(tau.span(), Span::from_nanos(1), "never zero");
}

#[test]
fn the_lowest_figure_wins_and_ties_go_by_id() {
    let candidate = |id, figure| Candidate { id, figure };
    for placement in [Placement::Rts, Placement::LeastLoaded] {
        for (candidates, expected) in [
            (&[][..], None),
            (&[candidate("b", Some(5)), candidate("c", Some(-1)), candidate("a", Some(7))], Some(1)),
            (&[candidate("c", Some(5)), candidate("b", Some(5)), candidate("d", Some(6))], Some(1)),
            (&[candidate("a", None), candidate("b", Some(i64::MAX))], Some(1)),
            (&[candidate("c", None), candidate("a", None), candidate("b", None)], Some(2)),
        ] {
            assert_eq!(choose(placement, candidates, Some("a")), expected, "{candidates:?}");
        }
    }
    let candidates = [candidate("b", Some(9)), candidate("c", Some(0))];
    assert_eq!(choose(Placement::RoundRobin, &candidates, Some("a")), Some(0), "figures don't count");
}

#[test]
fn round_robin_goes_by_id_while_others_come_and_go() {
    let mut last: Option<&str> = None;
    for (eligible, expected) in [
        (&["a", "b", "d"][..], "a"),
        (&["a", "b", "d"], "b"),
        (&["d", "c", "a", "b"], "c"),
        (&["a", "d"], "d"),
        (&["a", "d"], "a"),
        (&["d"], "d"),
        (&["d"], "d"),
        (&["b", "c"], "b"),
        (&["w10", "w2"], "w10"),
        (&["w10", "w2"], "w2"),
    ] {
        let candidates: Vec<_> = eligible.iter().map(|id| Candidate { id, figure: None }).collect();
        let place = choose(Placement::RoundRobin, &candidates, last).expect("somebody is eligible");
        assert_eq!(candidates[place].id, expected, "of {eligible:?} after {last:?}");
        last = Some(candidates[place].id);
    }
}

proptest! {
    #[test]
    fn a_stable_set_is_used_evenly(workers in 1..12usize, from in 0..14usize) {
        let ids: Vec<String> = (0..workers).map(|index| format!("w{index}")).collect();
        let candidates: Vec<_> = ids.iter().map(|id| Candidate { id, figure: None }).collect();
        let first = format!("w{from}");
        let mut last: Option<&str> = Some(&first);
        for _ in 0..3 {
            let mut used = BTreeSet::new();
            for _ in 0..workers {
                let place = choose(Placement::RoundRobin, &candidates, last).expect("somebody is eligible");
                last = Some(candidates[place].id);
                used.insert(place);
            }
            prop_assert_eq!(used.len(), workers, "each once");
        }
    }

    #[test]
    fn who_stays_eligible_is_used_within_a_turn_whoever_comes_and_goes(sets in prop::collection::vec(1..256u32, 1..200)) {
        // Bit i of a set says whether worker i is eligible then.
        let ids: Vec<String> = (0..8).map(|index| format!("w{index}")).collect();
        let mut last: Option<String> = None;
        let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
        for set in sets {
            let eligible = (0..8).filter(|index| set >> index & 1 == 1);
            let candidates: Vec<_> = eligible.map(|index: usize| Candidate { id: &ids[index], figure: None }).collect();
            let place = choose(Placement::RoundRobin, &candidates, last.as_deref()).expect("somebody is eligible");
            // Who isn't eligible isn't passed over, and has no claim on turns that went by.
            passed.retain(|id, _| candidates.iter().any(|candidate| candidate.id == *id));
            for candidate in &candidates {
                let times = passed.entry(candidate.id).or_default();
                *times = if candidate.id == candidates[place].id { 0 } else { *times + 1 };
                prop_assert!(*times < 8, "{} was passed over {times} times", candidate.id);
            }
            last = Some(candidates[place].id.into());
        }
    }
}
