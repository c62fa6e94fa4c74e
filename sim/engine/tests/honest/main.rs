//! The harness is honest about itself: what it claims to do to a system, it does, and nothing else.

mod echo;
mod shells;

use echo::{ABORTED, Echo, Event, owner, plan};
use squall::{
    Action, ClockChange, DiskChange, DropReason, Fact, Fate, Fault, Links, Moment, NodeId, NodeSet, Outcome, Pattern,
    Plan, Quality, RestartDisk, RunOptions, Targets, Trigger, Truth, Verdict, run,
};
use squall_machine::{Ratio, Span, Time};

const SEEDS: u64 = 25;
const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

/// A history as the tests look at it.
#[derive(Clone, PartialEq, Debug)]
enum Seen {
    Event(Event),
    Truth(Truth),
    Sent(NodeId),
    Delivered(NodeId),
    Dropped(NodeId, DropReason),
}

impl Seen {
    fn of(fact: &Fact<'_, Echo>) -> Self {
        match fact {
            Fact::Truth(truth) => Self::Truth((*truth).clone()),
            Fact::Sent { hop, .. } => Self::Sent(hop.to),
            Fact::Delivered { hop, .. } => Self::Delivered(hop.from),
            Fact::Dropped { hop, reason } => Self::Dropped(hop.to, *reason),
            Fact::Event { event, .. } => Self::Event((*event).clone()),
        }
    }
}

type History = Vec<(Time, NodeId, Seen)>;

fn system() -> Echo {
    Echo { nodes: 3, panics_at: None, frozen: 0, aborts_at: None }
}

fn observe(system: &Echo, plan: &Plan, seed: u64) -> (Outcome, History) {
    let mut history = Vec::new();
    let mut watch = |entry: &squall::Entry<'_, Echo>, _: &squall::Scene<'_, Echo>| {
        history.push((entry.at, entry.node, Seen::of(&entry.fact)));
    };
    let outcome = run(system, plan, seed, RunOptions { watch: Some(&mut watch), ..RunOptions::default() });
    assert!(outcome.messages.add_up(), "seed {seed}: {:?}", outcome.messages);
    (outcome, history)
}

/// Runs the ten seconds with one fault, for every seed.
fn each(fault: Fault, mut judge: impl FnMut(u64, &Outcome, &History)) {
    let system = system();
    let plan = plan(&system, vec![fault]);
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?}", outcome.remark);
        assert!(outcome.strikes[0] > 0, "seed {seed}: the fault never struck");
        judge(seed, &outcome, &history);
    }
}

fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

fn after(at: Time, start: u64) -> bool {
    at > Time::ZERO + secs(start)
}

/// Whether something happened between two moments; at neither of them, where it competes with the fault.
fn between(at: Time, start: u64, end: u64) -> bool {
    after(at, start) && at < Time::ZERO + secs(end)
}

fn at(start: u64, action: Action) -> Fault {
    Fault { trigger: Trigger::At { from: secs(start), until: secs(start) }, action, lasts: None, may_miss: false }
}

fn lasting(start: u64, end: u64, action: Action) -> Fault {
    Fault { lasts: Some((secs(end - start), secs(end - start))), ..at(start, action) }
}

fn one(node: NodeId) -> NodeSet {
    [node].into_iter().collect()
}

fn target(node: NodeId) -> Targets {
    Targets { among: one(node), count: None }
}

fn links(both_ways: bool) -> Links {
    Links { from: one(A), to: one(B), both_ways }
}

fn beaten(history: &History, node: NodeId, from: u64, until: u64) -> usize {
    history
        .iter()
        .filter(|(at, of, seen)| {
            *of == node && between(*at, from, until) && matches!(seen, Seen::Event(Event::Beaten { .. }))
        })
        .count()
}

/// How many messages `by` handed over from `from`, in a stretch of time.
fn delivered(history: &History, from: NodeId, by: NodeId, start: u64, end: u64) -> usize {
    history
        .iter()
        .filter(|(at, of, seen)| *of == by && between(*at, start, end) && *seen == Seen::Delivered(from))
        .count()
}

#[test]
fn without_faults_everything_arrives_and_nothing_else_happens() {
    let system = system();
    let plan = plan(&system, Vec::new());
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan, seed);
        assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()], "seed {seed}");
        assert_eq!(outcome.messages.duplicated, 0, "seed {seed}");
        assert_eq!(outcome.messages.sent, outcome.messages.delivered + outcome.messages.in_flight, "seed {seed}");
        let truths = history.iter().filter(|(.., seen)| matches!(seen, Seen::Truth(_))).count();
        assert_eq!(truths, 3 + 2, "seed {seed}: three starts and two phases");
        for node in 0..3 {
            assert!(beaten(&history, NodeId(node), 0, 10) >= 99, "seed {seed}");
        }
    }
}

#[test]
fn a_crash_silences_a_node_at_once_and_its_memory_is_gone() {
    each(lasting(3, 6, Action::Crash(target(A))), |seed, _, history| {
        for (at, node, seen) in history {
            if *node == A && between(*at, 3, 6) {
                let harness = matches!(seen, Seen::Truth(_) | Seen::Dropped(..));
                assert!(harness, "seed {seed}: {seen:?} while down");
            }
        }
        let booted = history.iter().filter_map(|(at, node, seen)| match seen {
            Seen::Event(Event::Booted { remembered, .. }) if *node == A && after(*at, 1) => Some(*remembered),
            _ => None,
        });
        // Thirty beats happened, every tenth was recorded; what was only in memory is gone.
        let remembered: Vec<u64> = booted.collect();
        assert!(remembered == [20] || remembered == [30], "seed {seed}: {remembered:?}");
        assert!(beaten(history, A, 6, 10) > 30, "seed {seed}: it runs again");
    });
}

#[test]
fn a_cut_delivers_nothing_and_a_healed_link_does() {
    each(lasting(3, 6, Action::Cut(vec![links(true)])), |seed, outcome, history| {
        assert_eq!(delivered(history, A, B, 3, 6) + delivered(history, B, A, 3, 6), 0, "seed {seed}");
        assert!(delivered(history, A, B, 6, 10) > 30 && delivered(history, B, A, 6, 10) > 30, "seed {seed}");
        assert!(delivered(history, NodeId(2), B, 3, 6) > 25, "seed {seed}: other links go on");
        assert!(outcome.messages.dropped[DropReason::Cut as usize] > 50, "seed {seed}");
    });
}

#[test]
fn a_one_way_cut_cuts_one_way() {
    each(lasting(3, 6, Action::Cut(vec![links(false)])), |seed, _, history| {
        assert_eq!(delivered(history, A, B, 3, 6), 0, "seed {seed}");
        assert!(delivered(history, B, A, 3, 6) > 25, "seed {seed}");
    });
}

#[test]
fn an_isolated_node_is_cut_off_from_everybody() {
    let isolate = Action::Isolate { targets: target(A), inbound: true, outbound: true };
    each(lasting(3, 6, isolate), |seed, _, history| {
        for other in [B, NodeId(2)] {
            assert_eq!(delivered(history, A, other, 3, 6) + delivered(history, other, A, 3, 6), 0, "seed {seed}");
        }
        assert!(delivered(history, B, NodeId(2), 3, 6) > 25, "seed {seed}");
    });
}

#[test]
fn a_split_separates_two_halves() {
    each(lasting(3, 6, Action::Split(NodeSet::first(3))), |seed, _, history| {
        let pairs = [(0, 1), (0, 2), (1, 2)];
        let silent = pairs.iter().filter(|&&(a, b)| delivered(history, NodeId(a), NodeId(b), 3, 6) == 0).count();
        assert_eq!(silent, 2, "seed {seed}: one against two");
    });
}

#[test]
fn a_clog_holds_messages_back_and_releases_them_all() {
    each(lasting(3, 6, Action::Clog(links(false))), |seed, outcome, history| {
        assert_eq!(delivered(history, A, B, 3, 6), 0, "seed {seed}");
        assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()], "seed {seed}");
        assert!(delivered(history, A, B, 6, 7) >= 35, "seed {seed}: three seconds' worth and one more");
    });
}

#[test]
fn healing_ends_what_is_broken() {
    let system = system();
    let faults = vec![at(3, Action::Cut(vec![links(true)])), at(6, Action::Heal(links(true)))];
    let plan = plan(&system, faults);
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass);
        assert_eq!(delivered(&history, A, B, 3, 6), 0, "seed {seed}");
        assert!(delivered(&history, A, B, 6, 10) > 30, "seed {seed}");
    }
}

#[test]
fn a_paused_process_does_nothing_and_then_takes_up_what_waited() {
    each(lasting(3, 6, Action::Pause(target(A))), |seed, outcome, history| {
        assert_eq!(beaten(history, A, 3, 6), 0, "seed {seed}");
        assert_eq!(delivered(history, B, A, 3, 6), 0, "seed {seed}");
        assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()], "seed {seed}");
        assert!(beaten(history, A, 6, 10) > 30, "seed {seed}");
    });
}

#[test]
fn a_slow_process_falls_behind_and_loses_nothing() {
    let slow = Action::Slow { targets: target(A), step: Span::from_millis(80) };
    each(lasting(3, 6, slow), |seed, outcome, history| {
        let taken = delivered(history, B, A, 3, 6) + delivered(history, NodeId(2), A, 3, 6);
        assert!((10..=38).contains(&taken), "seed {seed}: {taken} of 60 messages, in 3 s of steps of 80 ms");
        assert_eq!(outcome.messages.dropped, [0; DropReason::ALL.len()], "seed {seed}");
    });
}

#[test]
fn the_next_messages_are_dropped_delayed_or_doubled_and_no_others() {
    let next = |fate| at(3, Action::Next { kind: Some(0), links: links(false), count: 3, fate });
    each(next(Fate::Drop), |seed, outcome, _| {
        assert_eq!(outcome.messages.dropped[DropReason::Scripted as usize], 3, "seed {seed}");
        assert_eq!(outcome.messages.dropped.iter().sum::<u64>(), 3, "seed {seed}");
    });
    each(next(Fate::Duplicate { copies: 2, within: Span::from_millis(50) }), |seed, outcome, _| {
        assert_eq!(outcome.messages.duplicated, 6, "seed {seed}");
    });
    each(next(Fate::Delay(secs(4))), |seed, _, history| {
        let from_a = |seen: &Seen| match seen {
            Seen::Event(Event::Heard { from, seq }) if owner(*from) == A => Some(*seq),
            _ => None,
        };
        let heard: Vec<u64> =
            history.iter().filter(|(_, node, _)| *node == B).filter_map(|(.., seen)| from_a(seen)).collect();
        let overtaken = heard.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((1..=3).contains(&overtaken), "seed {seed}: {overtaken}");
    });
}

#[test]
fn a_trigger_strikes_between_two_messages_of_one_step() {
    let pattern = Pattern::Message { kind: Some(0), from: one(A), to: NodeSet::first(3), moment: Moment::Sent };
    let trigger = Trigger::On { pattern, nth: 5, after: Span::ZERO };
    let fault = Fault { trigger, action: Action::Crash(target(A)), lasts: None, may_miss: false };
    each(fault, |seed, _, history| {
        let sent = history.iter().filter(|(_, node, seen)| *node == A && matches!(seen, Seen::Sent(_))).count();
        assert_eq!(sent, 5, "seed {seed}: the sixth, of the same step, never left");
    });
}

#[test]
fn a_trigger_on_an_event_sees_its_fields() {
    let fields = squall::scenario::Fields([("seq".to_owned(), "17".to_owned())].into_iter().collect());
    let pattern = Pattern::Event { kind: 2, at: one(A), fields };
    let trigger = Trigger::On { pattern, nth: 1, after: Span::ZERO };
    let fault = Fault { trigger, action: Action::Crash(target(A)), lasts: None, may_miss: false };
    each(fault, |seed, _, history| {
        let last = history.iter().rev().find_map(|(_, node, seen)| match seen {
            Seen::Event(Event::Beaten { seq }) if *node == A => Some(*seq),
            _ => None,
        });
        assert_eq!(last, Some(17), "seed {seed}");
    });
}

#[test]
fn unsynced_records_are_lost_and_nothing_was_said_of_them() {
    let pattern = Pattern::Record { at: one(A) };
    let trigger = Trigger::On { pattern, nth: 2, after: Span::ZERO };
    let fault = Fault { trigger, action: Action::Crash(target(A)), lasts: Some((secs(1), secs(1))), may_miss: false };
    let (mut lost, mut kept) = (0, 0);
    each(fault, |seed, _, history| {
        let told =
            |seq| history.iter().any(|(_, node, seen)| *node == A && *seen == Seen::Event(Event::Beaten { seq }));
        let booted = history.iter().filter_map(|(_, node, seen)| match seen {
            Seen::Event(Event::Booted { remembered, .. }) if *node == A => Some(*remembered),
            _ => None,
        });
        match booted.collect::<Vec<_>>()[..] {
            [0, 10] => lost += 1,
            [0, 20] => {
                kept += 1;
                assert!(!told(20), "seed {seed}: it died before it heard that its record was synced");
            }
            ref other => panic!("seed {seed}: {other:?}"),
        }
    });
    assert!(lost > 3 && kept > 3, "both happen over the seeds: {lost} lost, {kept} kept");
}

#[test]
fn a_disk_that_takes_no_writes_silences_what_depends_on_it() {
    for change in [DiskChange::Full, DiskChange::Stuck] {
        each(lasting(3, 6, Action::Disk { targets: target(A), change }), |seed, _, history| {
            // Beats go on up to the next that is recorded; then everything waits, and comes at the end at once.
            assert!(beaten(history, A, 3, 6) <= 10, "seed {seed}");
            assert!(beaten(history, A, 6, 7) >= 25, "seed {seed}");
        });
    }
}

#[test]
fn a_torn_tail_is_detected_and_an_unreadable_record_keeps_a_process_down() {
    let system = system();
    let pattern = Pattern::Record { at: one(A) };
    let crash = Fault {
        trigger: Trigger::On { pattern, nth: 2, after: Span::ZERO },
        action: Action::Crash(target(A)),
        lasts: Some((secs(1), secs(1))),
        may_miss: false,
    };
    let torn = at(1, Action::Disk { targets: target(A), change: DiskChange::TornTail });
    let unreadable = at(1, Action::Disk { targets: target(A), change: DiskChange::Unreadable });
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan(&system, vec![torn.clone(), crash.clone()]), seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}");
        let booted_torn = |seen: &Seen| *seen == Seen::Event(Event::Booted { remembered: 10, torn: true });
        assert!(history.iter().any(|(_, node, seen)| *node == A && booted_torn(seen)), "seed {seed}");
        let (outcome, history) = observe(&system, &plan(&system, vec![unreadable.clone(), crash.clone()]), seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?}", outcome.remark);
        assert_eq!(beaten(&history, A, 4, 10), 0, "seed {seed}: it refuses to start");
    }
}

#[test]
fn restarts_find_the_disk_that_the_fault_says() {
    let system = system();
    // Fifty beats by then; the record of the last tenth may not have been synced.
    let cases: [(RestartDisk, &[u64]); 3] =
        [(RestartDisk::Same, &[40, 50]), (RestartDisk::Wiped, &[0]), (RestartDisk::Older, &[0, 10, 20, 30, 40])];
    for (disk, expected) in cases {
        let restart = at(6, Action::Restart { targets: target(A), disk, moved: true });
        let plan = plan(&system, vec![lasting(5, 9, Action::Crash(target(A))), restart]);
        for seed in 0..SEEDS {
            let (_, history) = observe(&system, &plan, seed);
            let booted = history.iter().rev().find_map(|(_, node, seen)| match seen {
                Seen::Event(Event::Booted { remembered, .. }) if *node == A => Some(*remembered),
                _ => None,
            });
            let ok = booted.is_some_and(|remembered| expected.contains(&remembered));
            assert!(ok, "seed {seed}, {disk:?}: {booted:?}");
            // The others know only its old address.
            assert_eq!(delivered(&history, B, A, 6, 10), 0, "seed {seed}");
        }
    }
}

#[test]
fn degraded_links_lose_double_and_corrupt_their_share() {
    let degrade = |patch| {
        at(
            0,
            Action::Degrade {
                links: Links { from: NodeSet::first(3), to: NodeSet::first(3), both_ways: false },
                patch,
            },
        )
    };
    let tenth = Ratio::new(1, 10);
    each(degrade(squall::QualityPatch { loss: tenth, ..Default::default() }), |seed, outcome, _| {
        let lost = outcome.messages.dropped[DropReason::Loss as usize];
        assert!((30..100).contains(&lost), "seed {seed}: {lost} of 600");
    });
    each(degrade(squall::QualityPatch { corrupt: tenth, ..Default::default() }), |seed, outcome, _| {
        let corrupt = outcome.messages.dropped[DropReason::Corrupt as usize];
        assert!((30..100).contains(&corrupt), "seed {seed}: {corrupt} of 600");
    });
    each(degrade(squall::QualityPatch { duplicate: tenth, ..Default::default() }), |seed, outcome, _| {
        assert!((30..100).contains(&outcome.messages.duplicated), "seed {seed}");
    });
}

#[test]
fn clocks_drift_and_freeze() {
    let drift = Action::Clock { targets: target(A), change: ClockChange::Drift(100_000) };
    each(at(0, drift), |seed, _, history| {
        assert!((108..=111).contains(&beaten(history, A, 0, 10)), "seed {seed}: a tenth more beats");
        assert!((99..=101).contains(&beaten(history, B, 0, 10)), "seed {seed}");
    });
    each(lasting(3, 6, Action::Clock { targets: target(A), change: ClockChange::Freeze }), |seed, _, history| {
        assert_eq!(beaten(history, A, 3, 6), 0, "seed {seed}");
        assert!(beaten(history, A, 6, 10) > 35, "seed {seed}");
    });
}

#[test]
fn calendars_show_and_never_decide() {
    let system = system();
    let step = at(3, Action::Clock { targets: target(A), change: ClockChange::WallStep(-3_600_000_000_000) });
    for seed in 0..SEEDS {
        let (plain, without) = observe(&system, &plan(&system, Vec::new()), seed);
        let (stepped, with) = observe(&system, &plan(&system, vec![step.clone()]), seed);
        assert_ne!(plain.fingerprint, stepped.fingerprint, "seed {seed}: it is shown in messages");
        let events = |history: &History| -> Vec<_> {
            history.iter().filter(|(.., seen)| matches!(seen, Seen::Event(_))).cloned().collect()
        };
        assert!(events(&without) == events(&with), "seed {seed}");
    }
}

#[test]
fn a_process_that_ends_itself_is_gone_and_comes_back_and_is_nobodys_fault() {
    let beats = 35;
    let system = Echo { aborts_at: Some(beats), ..system() };
    // There is room for one impaired node, and it takes none: while it is down, another one is paused.
    let trigger = Trigger::Every { period: Span::from_millis(500), from: secs(4), until: secs(5) };
    let lasts = Some((Span::from_millis(10), Span::from_millis(10)));
    let pause = Fault { trigger, action: Action::Pause(target(B)), lasts, may_miss: false };
    let budget = squall::Budget { impaired_max: Some(1), ..Default::default() };
    let plan = Plan { budget, ..plan(&system, vec![pause]) };
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan, seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}: {:?}", outcome.remark);
        assert!(outcome.strikes[0] > 0, "seed {seed}: nobody was paused");
        let truths = |wanted: fn(&Truth) -> bool| -> Vec<Time> {
            let of_node = history.iter().filter_map(|(at, node, seen)| match seen {
                Seen::Truth(truth) if *node == A && wanted(truth) => Some(*at),
                _ => None,
            });
            of_node.collect()
        };
        let downs = truths(|truth| matches!(truth, Truth::Down { cause: squall::DownCause::Abort, .. }));
        let ups = truths(|truth| matches!(truth, Truth::Up { .. }));
        assert_eq!((downs.len(), ups.len()), (1, 2), "seed {seed}: once, and back");
        assert_eq!(ups[1], downs[0] + ABORTED, "seed {seed}");
        for (at, node, seen) in &history {
            if *node == A && *at > downs[0] && *at < ups[1] {
                let harness = matches!(seen, Seen::Truth(_) | Seen::Dropped(..));
                assert!(harness, "seed {seed}: {seen:?} while down");
            }
        }
        let remembered = history.iter().filter_map(|(_, node, seen)| match seen {
            Seen::Event(Event::Booted { remembered, .. }) if *node == A => Some(*remembered),
            _ => None,
        });
        let remembered: Vec<u64> = remembered.collect();
        assert_eq!(remembered, [0, beats / 10 * 10], "seed {seed}: what was synced is there, the rest is gone");
        let (again, _) = observe(&system, &plan, seed);
        assert_eq!(again.fingerprint, outcome.fingerprint, "seed {seed}: it is played again as it was");
    }
}

#[test]
fn a_process_that_never_ends_itself_is_left_alone() {
    let (with, without) = (Echo { aborts_at: Some(100_000), ..system() }, system());
    for seed in 0..SEEDS {
        let (with, _) = observe(&with, &plan(&without, Vec::new()), seed);
        let (without, _) = observe(&without, &plan(&without, Vec::new()), seed);
        assert_eq!(with.fingerprint, without.fingerprint, "seed {seed}: being asked has no effect");
    }
}

#[test]
fn a_fault_without_anybody_to_strike_because_it_ended_itself_is_vacuous() {
    let system = Echo { aborts_at: Some(25), ..system() };
    // It is down from 2.4 s to 4.4 s.
    let crash = |secs| vec![at(secs, Action::Crash(target(A)))];
    for seed in 0..SEEDS {
        let (outcome, _) = observe(&system, &plan(&system, crash(3)), seed);
        assert_eq!(outcome.verdict, Verdict::Vacuous, "seed {seed}");
        let (outcome, _) = observe(&system, &plan(&system, crash(6)), seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}");
    }
}

#[test]
fn requests_reach_their_node() {
    each(at(3, Action::Request { targets: target(A), name: "ask".to_owned() }), |seed, _, history| {
        let asked = history.iter().filter(|(_, node, seen)| *node == A && *seen == Seen::Event(Event::Asked {}));
        assert_eq!(asked.count(), 1, "seed {seed}");
    });
}

#[test]
fn periods_rates_and_ranges_strike_within_their_bounds() {
    let pause = || Action::Pause(target(A));
    let lasts = Some((Span::from_millis(10), Span::from_millis(10)));
    let triggers = [
        Trigger::Every { period: secs(1), from: secs(2), until: secs(5) },
        Trigger::Rate { mean: Span::from_millis(300), from: secs(2), until: secs(5) },
        Trigger::At { from: secs(2), until: secs(5) },
    ];
    for trigger in triggers {
        let fault = Fault { trigger: trigger.clone(), action: pause(), lasts, may_miss: false };
        each(fault, |seed, outcome, history| {
            let pauses: Vec<Time> =
                history.iter().filter(|(.., seen)| *seen == Seen::Truth(Truth::Pause)).map(|(at, ..)| *at).collect();
            assert_eq!(outcome.strikes[0], pauses.len() as u64, "seed {seed}");
            let bounds = (Time::ZERO + secs(2))..=(Time::ZERO + secs(5));
            assert!(pauses.iter().all(|at| bounds.contains(at)), "seed {seed}: {pauses:?}");
            match trigger {
                Trigger::Every { .. } => assert_eq!(pauses.len(), 4, "seed {seed}"),
                Trigger::At { .. } => assert_eq!(pauses.len(), 1, "seed {seed}"),
                Trigger::Rate { .. } | Trigger::On { .. } => {}
            }
        });
    }
}

#[test]
fn a_scripted_fault_without_effect_makes_the_run_vacuous() {
    let system = system();
    let plan = plan(&system, vec![at(3, Action::Resume(target(A)))]);
    let (outcome, _) = observe(&system, &plan, 1);
    assert_eq!(outcome.verdict, Verdict::Vacuous);
    assert_eq!(outcome.remark.as_deref(), Some("fault 1 of the file never had an effect"));
}

#[test]
fn the_budget_holds_generated_faults_back() {
    let system = Echo { nodes: 6, panics_at: None, frozen: 0, aborts_at: None };
    let mut plan = plan(&system, Vec::new());
    plan.faults.push(Fault {
        trigger: Trigger::Rate { mean: Span::from_millis(50), from: secs(0), until: secs(10) },
        action: Action::Crash(Targets { among: NodeSet::first(6), count: Some(1) }),
        lasts: Some((secs(1), secs(3))),
        may_miss: false,
    });
    plan.budget = squall::Budget { impaired_max: Some(2), spared: one(A) };
    for seed in 0..SEEDS {
        let (_, history) = observe(&system, &plan, seed);
        let (mut down, mut most) = (0i32, 0);
        for (_, node, seen) in &history {
            match seen {
                Seen::Truth(Truth::Down { .. }) => {
                    assert_ne!(*node, A, "seed {seed}: it was to be spared");
                    down += 1;
                }
                Seen::Truth(Truth::Up { life: 2.., .. }) => down -= 1,
                _ => {}
            }
            most = most.max(down);
        }
        assert_eq!(most, 2, "seed {seed}");
    }
}

#[test]
fn generated_faults_of_any_kind_leave_the_spared_alone_also_without_a_limit() {
    let system = system();
    let mut plan = plan(&system, Vec::new());
    let among = || Targets { among: NodeSet::first(3), count: None };
    for action in [
        Action::Crash(among()),
        Action::Clock { targets: among(), change: ClockChange::WallStep(1) },
        Action::Disk { targets: among(), change: DiskChange::Stuck },
        Action::Request { targets: among(), name: "ask".to_owned() },
    ] {
        let trigger = Trigger::Every { period: secs(2), from: secs(1), until: secs(9) };
        plan.faults = vec![Fault { trigger, action, lasts: Some((secs(1), secs(1))), may_miss: false }];
        plan.budget = squall::Budget { impaired_max: None, spared: one(A) };
        let (outcome, history) = observe(&system, &plan, 1);
        assert!(outcome.strikes[0] > 0);
        let spared = history.iter().filter(|(at, node, seen)| {
            *node == A && after(*at, 0) && matches!(seen, Seen::Truth(truth) if !matches!(truth, Truth::Phase { .. }))
        });
        assert_eq!(spared.count(), 0, "{:?}", plan.faults[0].action);
    }
}

/// Whether a fault is in force at A, by what the harness told of it last.
fn in_force(history: &History, at: u64, judge: fn(&Truth) -> Option<bool>) -> bool {
    let told = history.iter().filter(|(when, node, _)| *node == A && *when <= Time::ZERO + secs(at));
    let last =
        told.filter_map(|(.., seen)| if let Seen::Truth(truth) = seen { judge(truth) } else { None }).next_back();
    last.unwrap_or(false)
}

#[test]
fn of_two_faults_that_overlap_each_ends_at_its_own_time() {
    let slow = || Action::Slow { targets: target(A), step: Span::from_millis(1) };
    let stuck = || Action::Disk { targets: target(A), change: DiskChange::Stuck };
    let full = || Action::Disk { targets: target(A), change: DiskChange::Full };
    let torn = || Action::Disk { targets: target(A), change: DiskChange::TornTail };
    let drift = |ppm| Action::Clock { targets: target(A), change: ClockChange::Drift(ppm) };
    let freeze = || Action::Clock { targets: target(A), change: ClockChange::Freeze };
    let slowed = |truth: &Truth| if let Truth::Slow { step } = truth { Some(*step > Span::ZERO) } else { None };
    let broken = |truth: &Truth| match truth {
        Truth::Disk { state } => Some(*state != squall::DiskState::Working),
        _ => None,
    };
    let fast = |truth: &Truth| if let Truth::Clock { drift_ppm, .. } = truth { Some(*drift_ppm != 0) } else { None };
    let frozen = |truth: &Truth| if let Truth::Clock { frozen, .. } = truth { Some(*frozen) } else { None };
    type Judge = fn(&Truth) -> Option<bool>;
    // Whether the second, if it lasts longer, keeps in force what the first began.
    let table: [(Action, Action, Judge, bool); 6] = [
        (slow(), slow(), slowed, true),
        (stuck(), full(), broken, true),
        (full(), stuck(), broken, true),
        (stuck(), torn(), broken, false),
        (drift(50), drift(90), fast, true),
        (freeze(), drift(0), frozen, false),
    ];
    let system = system();
    for (first, second, judge, keeps) in table {
        for (from, until) in [(3, 4), (3, 8)] {
            let faults = vec![lasting(2, 6, first.clone()), lasting(from, until, second.clone())];
            let mut plan = plan(&system, faults);
            plan.faults.iter_mut().for_each(|fault| fault.may_miss = true);
            let (_, history) = observe(&system, &plan, 1);
            let expected = [(5, true), (7, keeps && until > 6), (9, false)];
            for (at, expected) in expected {
                assert_eq!(in_force(&history, at, judge), expected, "{first:?}, {second:?} until {until}, at {at}");
            }
        }
    }
}

#[test]
fn the_end_of_a_fault_touches_nothing_that_a_later_one_did() {
    let restart = || Action::Restart { targets: target(A), disk: RestartDisk::Same, moved: false };
    let system = system();
    // The first fault's time is over at 6, when the second is in force in another life.
    let faults = vec![lasting(2, 6, Action::Crash(target(A))), at(3, restart()), at(4, Action::Crash(target(A)))];
    let (_, history) = observe(&system, &plan(&system, faults), 1);
    assert_eq!(beaten(&history, A, 4, 10), 0, "nobody restarts it");
    let faults = vec![
        lasting(2, 6, Action::Pause(target(A))),
        at(3, Action::Resume(target(A))),
        lasting(4, 9, Action::Pause(target(A))),
    ];
    let (_, history) = observe(&system, &plan(&system, faults), 1);
    assert_eq!(beaten(&history, A, 4, 9), 0, "nobody resumes it");
}

#[test]
fn what_a_fault_killed_stays_down_outside_the_core() {
    let system = Echo { nodes: 6, panics_at: None, frozen: 3, aborts_at: None };
    let mut plan = plan(&system, Vec::new());
    plan.stabilise = true;
    let (groups, down) = (vec![NodeSet::first(6)], (secs(1), secs(2)));
    let (mean, window) = (secs(5), secs(1));
    plan.hazards.push(squall::Hazard { groups, mean, factor: 1, window, down, from: secs(0), until: secs(10) });
    let mut down_at_the_end = 0;
    for seed in 0..SEEDS {
        let (_, history) = observe(&system, &plan, seed);
        for (at, node, seen) in &history {
            if *node >= NodeId(3) && after(*at, 10) {
                assert!(!matches!(seen, Seen::Truth(Truth::Up { .. })), "seed {seed}: {node:?} is outside the core");
            }
            let frozen = Truth::Down { lost: 0, cause: squall::DownCause::Frozen };
            down_at_the_end += u32::from(*seen == Seen::Truth(frozen));
        }
    }
    assert!(down_at_the_end > 0);
}

#[test]
fn a_trigger_before_a_message_counts_only_what_arrives() {
    let pattern = Pattern::Message { kind: Some(0), from: one(B), to: one(A), moment: Moment::Before };
    let trigger = Trigger::On { pattern, nth: 1, after: Span::ZERO };
    let fault = Fault { trigger, action: Action::Pause(target(NodeId(2))), lasts: None, may_miss: false };
    let system = system();
    let faults = vec![fault, lasting(0, 5, Action::Cut(vec![links(true)]))];
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan(&system, faults.clone()), seed);
        assert_eq!(outcome.verdict, Verdict::Pass, "seed {seed}");
        let paused = history.iter().find(|(.., seen)| *seen == Seen::Truth(Truth::Pause)).map(|(at, ..)| *at);
        assert!(paused.is_some_and(|at| at >= Time::ZERO + secs(5)), "seed {seed}: {paused:?}");
    }
}

#[test]
fn hazards_cascade_within_their_group() {
    let system = Echo { nodes: 8, panics_at: None, frozen: 0, aborts_at: None };
    let mut plan = plan(&system, Vec::new());
    plan.hazards.push(squall::Hazard {
        groups: vec![NodeSet::first(4), (4..8).map(NodeId).collect()],
        mean: secs(60),
        factor: 40,
        window: secs(2),
        down: (secs(1), secs(2)),
        from: secs(0),
        until: secs(10),
    });
    let (mut near, mut far) = (0, 0);
    for seed in 0..100 {
        let (_, history) = observe(&system, &plan, seed);
        let downs: Vec<(Time, NodeId)> = history
            .iter()
            .filter(|(.., seen)| matches!(seen, Seen::Truth(Truth::Down { .. })))
            .map(|(at, node, _)| (*at, *node))
            .collect();
        for pair in downs.windows(2).filter(|pair| pair[1].0.since(pair[0].0) < secs(2)) {
            let same = (pair[0].1 < NodeId(4)) == (pair[1].1 < NodeId(4));
            if same { near += 1 } else { far += 1 }
        }
    }
    assert!(near > 100 && near > 3 * far, "{near} soon after one of its group, {far} after one of the other");
}

#[test]
fn a_panic_is_a_finding_not_an_end() {
    let system = Echo { nodes: 2, panics_at: Some(7), frozen: 0, aborts_at: None };
    let (outcome, _) = observe(&system, &plan(&system, Vec::new()), 1);
    assert_eq!(outcome.verdict, Verdict::Violated);
    assert_eq!(outcome.violations[0].property, "RB1");
    assert!(outcome.violations[0].message.contains("told to panic at 7"), "{}", outcome.violations[0].message);
    assert_eq!(outcome.messages.sent, outcome.messages.delivered + outcome.messages.in_flight);
}

#[test]
fn budgets_of_steps_end_a_run_without_a_pass() {
    let system = system();
    let mut plan = plan(&system, Vec::new());
    plan.limits.steps_max = 100;
    let (outcome, _) = observe(&system, &plan, 1);
    assert_eq!((outcome.verdict, outcome.steps), (Verdict::Inconclusive, 100));
}

#[test]
fn faults_too_dense_to_end_end_a_run_without_a_pass() {
    let system = system();
    let trigger = Trigger::Every { period: Span::from_nanos(1), from: secs(1), until: secs(9) };
    let fault = Fault { trigger, action: Action::Pause(target(A)), lasts: None, may_miss: false };
    let outcome = run(&system, &plan(&system, vec![fault]), 1, RunOptions::default());
    assert_eq!(outcome.verdict, Verdict::Inconclusive);
    assert!(outcome.remark.is_some_and(|remark| remark.contains("too short")));
}

#[test]
fn simultaneous_messages_all_arrive_in_an_order_that_the_seed_decides() {
    let system = Echo { nodes: 5, panics_at: None, frozen: 0, aborts_at: None };
    let mut plan = plan(&system, Vec::new());
    let delay = Span::from_millis(5);
    plan.network = Quality { delay: squall::Delay::Uniform { low: delay, high: delay }, ..Quality::default() };
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let (outcome, history) = observe(&system, &plan, seed);
        assert_eq!(outcome.messages.delivered + outcome.messages.in_flight, outcome.messages.sent);
        // Everybody starts at one instant, so the first beats arrive at one instant.
        let order: Vec<NodeId> = history
            .iter()
            .filter(|(_, node, _)| *node == A)
            .filter_map(|(.., seen)| if let Seen::Delivered(from) = seen { Some(*from) } else { None })
            .take(4)
            .collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3, 4].map(NodeId), "seed {seed}");
        orders.insert(order);
    }
    assert!(orders.len() > 10, "{} orders", orders.len());
}

#[test]
fn equal_seeds_give_equal_histories_whatever_ran_before() {
    let system = system();
    let plan = plan(&system, vec![lasting(3, 6, Action::Crash(target(A)))]);
    let prints: Vec<_> = (0..SEEDS).map(|seed| observe(&system, &plan, seed).0.fingerprint).collect();
    for seed in (0..SEEDS).rev() {
        assert_eq!(observe(&system, &plan, seed).0.fingerprint, prints[seed as usize], "seed {seed}");
    }
    let mut distinct = prints.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), prints.len(), "every seed is another run");
}

#[test]
fn removing_one_fault_leaves_the_rest_of_the_randomness_alone() {
    let system = Echo { nodes: 4, panics_at: None, frozen: 0, aborts_at: None };
    let pause = |node| lasting(3, 6, Action::Pause(target(NodeId(node))));
    let (_, both) = observe(&system, &plan(&system, vec![pause(0), pause(1)]), 9);
    let (_, one) = observe(&system, &plan(&system, vec![pause(0)]), 9);
    // Two nodes that no fault touched exchange the same messages at the same moments.
    let exchanged = |history: &History| -> Vec<(Time, NodeId)> {
        history
            .iter()
            .filter(|(_, node, seen)| *node == NodeId(2) && *seen == Seen::Delivered(NodeId(3)))
            .map(|(at, node, _)| (*at, *node))
            .collect()
    };
    assert_eq!(exchanged(&both), exchanged(&one));
}
