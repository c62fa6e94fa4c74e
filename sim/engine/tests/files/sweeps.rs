//! What a sweep says doesn't depend on threads, and means what it claims.

use crate::scenario;
use crate::token::Ring;
use squall::report::{Causes, TraceOptions, trace};
use squall::scenario::Status;
use squall::sweep::{Observer, Ran, Seeds, SweepOptions, Tally, Task, sweep};
use squall::{Fingerprint, Scenario};
use std::sync::atomic::AtomicBool;

/// A ring whose first node is too hasty.
const HASTY: &str =
    "title = 'hasty'\nhorizon = '10s'\nstabilise = false\nknobs.remake = '250ms'\nnetwork.delay = '1ms..90ms'\n";
/// A ring in order.
const CALM: &str = "title = 'calm'\nhorizon = '5s'\nstabilise = false\n";

#[derive(Default)]
struct Heard {
    seeds: Vec<(usize, u64, Status)>,
    tallies: Vec<Tally>,
}

impl Observer for Heard {
    fn on_run(&mut self, task: usize, ran: &Ran) {
        self.seeds.push((task, ran.outcome.seed, ran.status));
    }
    fn on_task(&mut self, _: usize, tally: &Tally) {
        self.tallies.push(tally.clone());
    }
}

fn swept(tasks: &[Task<'_, Ring>], jobs: usize, fail_max: Option<u64>) -> Heard {
    let (stop, mut heard) = (AtomicBool::new(false), Heard::default());
    sweep(tasks, SweepOptions { jobs, fail_max, stop: &stop }, &mut heard);
    heard
}

fn task(scenario: &Scenario<Ring>, count: u64) -> Task<'_, Ring> {
    Task { scenario, seeds: Seeds { first: 0, count } }
}

/// What a sweep over one scenario concludes.
fn concluded(text: &str) -> (Status, String) {
    let scenario = scenario(text);
    let task = task(&scenario, scenario.seeds);
    let heard = swept(std::slice::from_ref(&task), 2, None);
    let (status, remark) = heard.tallies[0].conclude(&task);
    (status, remark.unwrap_or_default())
}

#[test]
fn threads_change_nothing() {
    let (calm, hasty) = (scenario(CALM), scenario(HASTY));
    let tasks = [task(&calm, 7), task(&hasty, 20), task(&calm, 3)];
    let (one, many) = (swept(&tasks, 1, None), swept(&tasks, 8, None));
    assert_eq!(one.seeds, many.seeds);
    assert_eq!(
        one.seeds.iter().map(|(task, ..)| *task).collect::<Vec<_>>(),
        [vec![0; 7], vec![1; 20], vec![2; 3]].concat()
    );
    let prints = |heard: &Heard| heard.tallies.iter().map(|tally| tally.fingerprint).collect::<Vec<Fingerprint>>();
    assert_eq!(prints(&one), prints(&many));
    assert_ne!(prints(&one)[0], prints(&one)[2], "the fold tells sweeps of different lengths apart");
}

#[test]
fn a_limit_of_failures_ends_the_sweep_at_the_same_run_every_time() {
    let hasty = scenario(HASTY);
    let tasks = [task(&hasty, 200)];
    let (one, many) = (swept(&tasks, 1, Some(3)), swept(&tasks, 8, Some(3)));
    assert_eq!(one.seeds, many.seeds);
    assert_eq!(one.tallies[0].failed, 3);
    assert_eq!(one.seeds.last().map(|(_, _, status)| *status), Some(Status::Violated));
    assert!(one.seeds.len() < 200);
}

#[test]
fn an_interrupted_sweep_keeps_nothing_that_is_not_whole() {
    let calm = scenario(CALM);
    let (stop, mut heard) = (AtomicBool::new(true), Heard::default());
    let tasks = [task(&calm, 50)];
    sweep(&tasks, SweepOptions { jobs: 2, fail_max: None, stop: &stop }, &mut heard);
    assert_eq!((heard.seeds.len(), heard.tallies[0].runs), (0, 0));
    assert_eq!(heard.tallies[0].conclude(&tasks[0]).0, Status::Interrupted);
}

#[test]
fn a_violation_that_is_expected_has_to_be_seen_and_no_other() {
    assert_eq!(concluded(&format!("{HASTY}expect.violates = 'ME1'")).0, Status::Pass);
    let (status, remark) = concluded(&format!("{CALM}expect.violates = 'ME1'"));
    assert_eq!((status, remark.as_str()), (Status::Violated, "no seed of 0..20 violated ME1, as expected"));
    assert_eq!(concluded(&format!("{HASTY}expect.violates = 'LV5'")).0, Status::Violated);
    assert_eq!(concluded(HASTY).0, Status::Violated);
}

#[test]
fn faults_that_never_strike_show_nothing() {
    let (status, remark) = concluded(&format!("{CALM}[[fault]]\nrate = '1000h'\ncrash = 'any'"));
    assert_eq!((status, remark.as_str()), (Status::Vacuous, "HN1: fault 1 of the file never struck in 20 runs"));
    assert_eq!(concluded(&format!("{CALM}[[fault]]\nrate = '1000h'\ncrash = 'any'\nmay_miss = true")).0, Status::Pass);
    assert_eq!(concluded(&format!("{CALM}[[fault]]\nat = '1s'\nresume = 'n1'")).0, Status::Vacuous);
}

#[test]
fn a_bug_that_is_no_longer_reached_is_stale() {
    assert_eq!(concluded(&format!("{CALM}[regress]\nseed = 3\nmarks = ['held']")).0, Status::Pass);
    assert_eq!(concluded(&format!("{CALM}[regress]\nseed = 3\nmarks = ['held', 'remade']")).0, Status::Stale);
}

#[test]
fn expected_events_are_counted() {
    let expected = |table: &str| concluded(&format!("{CALM}seeds = 2\n[[expect.event]]\nname = 'held'\n{table}")).0;
    for (table, status) in [
        ("", Status::Pass),
        ("exactly = 0", Status::Violated),
        ("at_least = 20\nat_most = 200", Status::Pass),
        ("at_least = 1000", Status::Violated),
        ("at_most = 3", Status::Violated),
        ("where = { number = 1 }\nexactly = 1\nat = 'n0'", Status::Pass),
        ("where = { number = 1 }\nat = 'n1'", Status::Violated),
        ("where = { number = '> 3' }\nuntil = '10ms'", Status::Violated),
        ("where = { numbr = 1 }", Status::Violated),
        ("after = 'remade'", Status::Violated),
        ("before = 'passed'\nexactly = 1", Status::Pass),
        ("after = 'passed'\nwhere = { number = 1 }\nexactly = 0", Status::Pass),
        ("from = '4s'\nwhere = { number = '< 10' }\nexactly = 0", Status::Pass),
    ] {
        assert_eq!(expected(table), status, "{table}");
    }
}

#[test]
fn a_trace_shows_what_led_to_the_violation() {
    let (hasty, never) = (scenario(HASTY), AtomicBool::new(false));
    let seed = swept(&[task(&hasty, 20)], 2, Some(1)).seeds.last().map_or(0, |(_, seed, _)| *seed);
    let (causes, outcome) = Causes::of(&hasty, seed, &never);
    let marked = outcome.violations[0].evidence.iter().copied().collect();
    let only = Some(causes.lead_to(outcome.violations[0].evidence.clone()));
    let mut text = Vec::new();
    let options = TraceOptions { marked, only, limit: Some(12), ..TraceOptions::default() };
    trace(&hasty, seed, &options, &never, &mut text).expect("memory takes everything");
    insta::assert_snapshot!(String::from_utf8_lossy(&text));
}
