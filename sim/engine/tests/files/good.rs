//! Everything that a plan can say can be written.

use crate::scenario;
use squall::{
    Action, ClockChange, Delay, DiskChange, Fate, Links, Moment, NodeId, NodeSet, Pattern, RestartDisk, Targets,
    Trigger,
};
use squall_machine::{Ratio, Span};
use std::collections::BTreeSet;

fn trigger_name(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::At { .. } => "at",
        Trigger::On { pattern: Pattern::Message { moment: Moment::Sent, .. }, .. } => "on message sent",
        Trigger::On { pattern: Pattern::Message { moment: Moment::Before, .. }, .. } => "on message before",
        Trigger::On { pattern: Pattern::Message { moment: Moment::After, .. }, .. } => "on message after",
        Trigger::On { pattern: Pattern::Event { .. }, .. } => "on event",
        Trigger::On { pattern: Pattern::Record { .. }, .. } => "on record",
        Trigger::Every { .. } => "every",
        Trigger::Rate { .. } => "rate",
    }
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Crash(_) => "crash",
        Action::Restart { disk: RestartDisk::Same, .. } => "restart same",
        Action::Restart { disk: RestartDisk::Wiped, .. } => "restart wiped",
        Action::Restart { disk: RestartDisk::Older, .. } => "restart older",
        Action::Pause(_) => "pause",
        Action::Resume(_) => "resume",
        Action::Slow { .. } => "slow",
        Action::Request { .. } => "request",
        Action::Cut(_) => "cut",
        Action::Isolate { inbound: true, outbound: true, .. } => "isolate",
        Action::Isolate { inbound: true, .. } => "isolate in",
        Action::Isolate { .. } => "isolate out",
        Action::Split(_) => "split",
        Action::Clog(_) => "clog",
        Action::Degrade { .. } => "degrade",
        Action::Heal(_) => "heal",
        Action::Next { fate: Fate::Drop, .. } => "drop",
        Action::Next { fate: Fate::Delay(_), .. } => "delay",
        Action::Next { fate: Fate::Duplicate { .. }, .. } => "duplicate",
        Action::Clock { change: ClockChange::Drift(_), .. } => "drift",
        Action::Clock { change: ClockChange::WallStep(_), .. } => "wall step",
        Action::Clock { change: ClockChange::WallStrobe(_), .. } => "wall strobe",
        Action::Clock { change: ClockChange::MonotonicStep(_), .. } => "step",
        Action::Clock { change: ClockChange::Freeze, .. } => "freeze",
        Action::Disk { change: DiskChange::Sync { .. }, .. } => "sync",
        Action::Disk { change: DiskChange::Full, .. } => "full",
        Action::Disk { change: DiskChange::Stuck, .. } => "stuck",
        Action::Disk { change: DiskChange::Unreadable, .. } => "unreadable",
        Action::Disk { change: DiskChange::TornTail, .. } => "torn",
    }
}

#[test]
fn every_trigger_and_action_can_be_written() {
    let plan = scenario(include_str!("rich.toml")).plan;
    let triggers: BTreeSet<_> = plan.faults.iter().map(|fault| trigger_name(&fault.trigger)).collect();
    let actions: BTreeSet<_> = plan.faults.iter().map(|fault| action_name(&fault.action)).collect();
    assert_eq!(triggers.len(), 7, "all but the default moment: {triggers:?}");
    assert_eq!(actions.len(), 28, "all but a restart with the same disk: {actions:?}");
    assert_eq!(plan.hazards.len(), 1);
    assert_eq!((plan.budget.impaired_max, plan.limits.inbox_max), (Some(2), 100));
    assert_eq!(plan.absent, set(&[4]));
    assert_eq!(plan.groups["right"], set(&[2, 3, 4, 5]));
}

fn set(nodes: &[u32]) -> NodeSet {
    nodes.iter().map(|&node| NodeId(node)).collect()
}

/// The fault of a file with only one.
fn fault(text: &str) -> squall::Fault {
    let mut faults = scenario(&format!("title = 'one'\n[[fault]]\n{text}")).plan.faults;
    assert_eq!(faults.len(), 1);
    faults.remove(0)
}

#[test]
fn a_fault_means_what_it_says() {
    let crash = fault("at = '10s..12.5s'\ncrash = '1 of others'\nfor = '1m30s'");
    let (from, until) = (Span::from_secs(10), Span::from_millis(12_500));
    assert_eq!(crash.trigger, Trigger::At { from, until });
    assert_eq!(crash.action, Action::Crash(Targets { among: set(&[1, 2]), count: Some(1) }));
    assert_eq!(crash.lasts, Some((Span::from_secs(90), Span::from_secs(90))));
    assert!(!crash.may_miss);

    let rate = fault("rate = '10s'\npause = 'any'");
    assert_eq!(rate.trigger, Trigger::Rate { mean: from, from: Span::ZERO, until: Span::from_secs(60) });
    assert!(rate.may_miss);

    let partition = fault("at = '1s'\npartition = ['n0', 'n1', 'n2']");
    let between = |from, to| Links { from: set(&[from]), to: set(&[to]), both_ways: true };
    assert_eq!(partition.action, Action::Cut(vec![between(0, 1), between(0, 2), between(1, 2)]));

    let degrade =
        fault("at = '1s'\ndegrade = { to = 'n1', one_way = true, loss = '30%', delay = { exponential = '1ms' } }");
    let Action::Degrade { links, patch } = degrade.action else { panic!("{degrade:?}") };
    assert_eq!(links, Links { from: set(&[0, 1, 2]), to: set(&[1]), both_ways: false });
    assert_eq!(patch.loss, Ratio::new(30, 100));
    let (mean, high) = (Span::from_millis(1), Span::from_millis(10));
    assert_eq!(patch.delay, Some(Delay::Exponential { low: Span::ZERO, mean, high }));

    let drain = fault("at = '1s'\ndrain = 'n1'");
    assert_eq!(
        drain.action,
        Action::Request { targets: Targets { among: set(&[1]), count: None }, name: "drain".to_owned() }
    );
}

#[test]
fn the_schema_knows_every_key_and_the_tables_of_the_system() {
    let schema = squall::scenario::schema::<crate::token::Ring>();
    let text = schema.as_value().to_string();
    for key in ["draft-07", "remake", "isolate_out", "heavy_tail", "at_least", "steps_per_instant_max"] {
        assert!(text.contains(key), "{key}");
    }
}
