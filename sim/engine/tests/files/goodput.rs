//! What gets done is held against the same seed without faults.

use crate::scenario;
use crate::token::Ring;
use squall::scenario::{EXPECT, Status};
use squall::sweep::{Ran, Seeds, Tally, Task, run_and_judge};
use squall::{Goodput, Outcome, RunOptions, Scenario, Verdict, report};
use std::sync::atomic::AtomicBool;

/// The token stands still for half of the time.
const HALVED: &str = "title = 'halved'\nhorizon = '10s'\n[[fault]]\nat = '2s'\npause = 'n1'\nfor = '5s'\n";

fn expecting(faults: &str, event: &str, share: &str) -> Scenario<Ring> {
    scenario(&format!("{faults}[expect.goodput]\nevent = '{event}'\nat_least = '{share}'\n"))
}

fn ran(scenario: &Scenario<Ring>, seed: u64) -> Ran {
    run_and_judge(scenario, seed, &AtomicBool::new(false))
}

fn goodput(outcome: &Outcome) -> Goodput {
    outcome.goodput.unwrap_or_else(|| panic!("no goodput: {:?}", outcome.violations))
}

#[test]
fn a_run_that_gets_too_little_done_fails_with_both_figures() {
    let scenario = expecting(HALVED, "held", "90%");
    for seed in 0..5 {
        let ran = ran(&scenario, seed);
        assert_eq!(ran.status, Status::Violated);
        let Goodput { done, calm } = goodput(&ran.outcome);
        assert!(calm > 100 && done * 10 > calm * 4 && done * 10 < calm * 6, "seed {seed}: {done} of {calm}");
        let [violation] = &ran.outcome.violations[..] else { panic!("one violation") };
        assert_eq!(violation.property, EXPECT);
        for figure in [done, calm] {
            assert!(violation.message.contains(&figure.to_string()), "{}", violation.message);
        }
        assert_eq!(report::run_line(&scenario, &ran)["goodput"]["calm"], calm);
    }
}

#[test]
fn a_run_that_gets_enough_done_passes_and_tells_it() {
    let scenario = expecting(HALVED, "held", "40%");
    let ran = ran(&scenario, 0);
    assert_eq!(ran.status, Status::Pass);
    let (goodput, mut tally) = (goodput(&ran.outcome), Tally::default());
    (tally.runs, tally.passed, tally.goodput) = (1, 1, Some(goodput));
    let task = Task { scenario: &scenario, seeds: Seeds::one(0) };
    let line = report::task_line(&task, &tally, 0, "ring");
    assert!(line.contains(&format!("goodput {goodput}")), "{line}");
    assert_eq!(Goodput { done: 899, calm: 1_000 }.to_string(), "89.9 %: 899 of 1000 without faults");
}

#[test]
fn the_figure_is_that_of_the_same_seed_without_faults() {
    let (halved, calm) =
        (expecting(HALVED, "held", "1%"), expecting("title = 'calm'\nhorizon = '10s'\n", "held", "100%"));
    let of = |scenario: &Scenario<Ring>| goodput(&scenario.run(3, RunOptions::default()));
    let (first, alone) = (of(&halved), of(&calm));
    assert_eq!(alone.done, alone.calm, "nothing is taken out where no fault is");
    assert_eq!(first.calm, alone.done);
    assert_eq!(of(&halved), first, "the second time as the first");
    let hazard = "[[hazard]]\ngroups = ['others']\nmean = '2s'\nfactor = 1\ndown = '1s'\n";
    let hazardous = expecting(&format!("title = 'h'\nhorizon = '10s'\nknobs.remake = '1s'\n{hazard}"), "held", "1%");
    let lone = expecting("title = 'h'\nhorizon = '10s'\nknobs.remake = '1s'\n", "held", "1%");
    assert_eq!(of(&hazardous).calm, of(&lone).calm, "hazards are taken out, too");
}

#[test]
fn where_nothing_counts_nothing_is_shown() {
    let outcome = expecting(HALVED, "remade", "90%").run(0, RunOptions::default());
    assert_eq!(outcome.verdict, Verdict::Violated);
    assert!(outcome.violations[0].message.contains("not even without faults"), "{:?}", outcome.violations);
}

#[test]
fn a_run_that_fails_anyway_is_not_followed_by_another() {
    let text = format!("{HALVED}[[expect.event]]\nname = 'held'\nat_most = 0\n");
    let outcome = expecting(&text, "held", "90%").run(0, RunOptions::default());
    assert_eq!((outcome.verdict, outcome.goodput), (Verdict::Violated, None));
    let unchecked = RunOptions { checkers: false, ..RunOptions::default() };
    assert_eq!(expecting(HALVED, "held", "90%").run(0, unchecked).goodput, None);
}
