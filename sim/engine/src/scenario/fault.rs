//! From the table of a fault to its trigger and action.

use crate::scenario::diagnosis::{Keys, suggestion};
use crate::scenario::file::{
    ClockTable, DegradeTable, DiskFaultTable, DiskValue, FaultTable, LinksTable, MomentWord, NextTable, OnTable,
    QualityTable,
};
use crate::scenario::lower::{DRIFT_PPM_MAX, Lowering, changes_nothing, kind_index};
use crate::scenario::nodes::Nodes;
use crate::{
    Action, ClockChange, DiskChange, EventOf, Fate, Fault, InvalidKey, Links, Moment, NodeSet, Pattern, RestartDisk,
    System, Targets, Trigger,
};
use squall_machine::{Kind, Span};

/// The most copies of a message that one fault makes.
const COPIES_MAX: u32 = 1_000;
/// The triggers of a fault.
const TRIGGERS: &str = "`at`, `on`, `every` or `rate`";
/// The actions of a fault.
const ACTIONS: &str = "`crash`, `restart`, `pause`, `resume`, `slow`, `drain`, `request`, `cut`, `partition`, `split`, \
     `isolate`, `clog`, `degrade`, `heal`, `drop_next`, `delay_next`, `duplicate_next`, `clock` or `disk`";

/// The fault of a table, unless something is wrong with it.
pub(crate) fn lower<S: System>(lowering: &mut Lowering<'_, S>, table: &FaultTable, keys: &Keys) -> Option<Fault> {
    // Both are looked at even if one is wrong, so that one look shows all problems.
    let (trigger, action) = (trigger(lowering, table, keys), action(lowering, table, keys));
    let (trigger, action) = (trigger?, action?);
    if let Some(reason) = table.lasts.and_then(|_| endless(&action)) {
        lowering.problem(keys.key("for").invalid(format!("this fault can't be undone: {reason}")).hint("remove `for`"));
    }
    let generated = matches!(trigger, Trigger::Every { .. } | Trigger::Rate { .. });
    Some(Fault {
        trigger,
        action,
        lasts: table.lasts.map(|lasts| (lasts.low, lasts.high)),
        may_miss: generated || table.may_miss.unwrap_or(false),
    })
}

/// Why an action can't be undone after a while, if it can't.
fn endless(action: &Action) -> Option<&'static str> {
    match action {
        Action::Restart { .. } => Some("a process that started runs; to stop it again, `crash` it"),
        Action::Resume(_) => Some("a process that was resumed runs; to stop it again, `pause` it"),
        Action::Request { .. } => Some("what was asked was asked"),
        Action::Heal(_) => Some("what was healed is whole"),
        Action::Next { .. } => Some("it ends with the messages that it singles out"),
        Action::Clock { change: ClockChange::WallStep(_) | ClockChange::MonotonicStep(_), .. } => {
            Some("a clock that jumped has jumped")
        }
        Action::Disk { change: DiskChange::Unreadable | DiskChange::TornTail, .. } => {
            Some("it shows at the next start or crash")
        }
        Action::Crash(_)
        | Action::Pause(_)
        | Action::Slow { .. }
        | Action::Cut(_)
        | Action::Isolate { .. }
        | Action::Split(_)
        | Action::Clog(_)
        | Action::Degrade { .. }
        | Action::Clock { .. }
        | Action::Disk { .. } => None,
    }
}

/// The only key of several that is there.
fn only<'k>(present: &[(&'k str, bool)], choice: &str, what: &str, keys: &Keys) -> Result<&'k str, InvalidKey> {
    let mut there = present.iter().filter(|(_, present)| *present).map(|(name, _)| *name);
    match (there.next(), there.next()) {
        (Some(name), None) => Ok(name),
        (Some(first), Some(second)) => Err(keys
            .key(second)
            .invalid(format!("this fault has two {what}s, `{first}` and `{second}`"))
            .hint("make two faults of it")),
        (None, _) => Err(keys.invalid(format!("this fault has no {what}")).hint(format!("add one of {choice}"))),
    }
}

fn trigger<S: System>(lowering: &mut Lowering<'_, S>, table: &FaultTable, keys: &Keys) -> Option<Trigger> {
    let present = [
        ("at", table.at.is_some()),
        ("on", table.on.is_some()),
        ("every", table.every.is_some()),
        ("rate", table.rate.is_some()),
    ];
    let name = lowering.keep(only(&present, TRIGGERS, "trigger", keys))?;
    if matches!(name, "at" | "on") {
        for (key, given) in [("from", table.from), ("until", table.until)] {
            if given.is_some() {
                lowering.problem(keys.key(key).invalid(format!("`{key}` goes with `every` and `rate`")));
            }
        }
    }
    if let Some(at) = table.at {
        lowering.moment(Some(crate::scenario::Duration(at.high)), Span::ZERO, &keys.key("at"));
        return Some(Trigger::At { from: at.low, until: at.high });
    }
    if let Some(on) = &table.on {
        return on_trigger(lowering, on, &keys.key("on"));
    }
    let (from, until) = lowering.stretch(table.from, table.until, keys);
    let distance = table.every.or(table.rate)?.0;
    if distance == Span::ZERO {
        lowering.problem(keys.key(name).invalid("a distance of 0 would strike for ever in one instant"));
    }
    Some(if table.every.is_some() {
        Trigger::Every { period: distance, from, until }
    } else {
        Trigger::Rate { mean: distance, from, until }
    })
}

fn on_trigger<S: System>(lowering: &mut Lowering<'_, S>, on: &OnTable, keys: &Keys) -> Option<Trigger> {
    let present = [("message", on.message.is_some()), ("event", on.event.is_some()), ("record", on.record.is_some())];
    let name = match only(&present, "`message`, `event` or `record`", "thing to wait for", keys) {
        Ok(name) => name,
        Err(mut invalid) => {
            invalid.problem = invalid.problem.replace("this fault", "this trigger");
            lowering.problem(invalid);
            return None;
        }
    };
    for (key, given, owner) in [
        ("from", on.from.is_some(), "message"),
        ("to", on.to.is_some(), "message"),
        ("moment", on.moment.is_some(), "message"),
        ("at", on.at.is_some(), "event"),
        ("where", on.fields.is_some(), "event"),
    ] {
        if given && owner != name {
            lowering.problem(keys.key(key).invalid(format!("`{key}` goes with `{owner}`, not with `{name}`")));
        }
    }
    let nth = on.nth.unwrap_or(1);
    if nth == 0 {
        lowering.problem(keys.key("nth").invalid("occurrences are counted from 1"));
    }
    let pattern = if let Some(message) = &on.message {
        Pattern::Message {
            kind: lowering.message_kind(Some(message), &keys.key("message")),
            from: side(lowering, on.from.as_ref(), &keys.key("from")),
            to: side(lowering, on.to.as_ref(), &keys.key("to")),
            moment: match on.moment.unwrap_or(MomentWord::Before) {
                MomentWord::Sent => Moment::Sent,
                MomentWord::Before => Moment::Before,
                MomentWord::After => Moment::After,
            },
        }
    } else if let Some(event) = &on.event {
        let kind = kind_index("event", event, EventOf::<S>::NAMES, &keys.key("event"));
        Pattern::Event {
            kind: lowering.keep(kind)?,
            at: side(lowering, on.at.as_ref(), &keys.key("at")),
            fields: on.fields.clone().unwrap_or_default(),
        }
    } else {
        Pattern::Record { at: side(lowering, on.record.as_ref(), &keys.key("record")) }
    };
    Some(Trigger::On { pattern, nth, after: on.after.map_or(Span::ZERO, |after| after.0) })
}

/// One side of a link, or whoever is meant; everybody if it isn't named.
fn side<S: System>(lowering: &mut Lowering<'_, S>, nodes: Option<&Nodes>, keys: &Keys) -> NodeSet {
    match nodes {
        Some(nodes) => {
            let set = lowering.names.set(nodes, keys);
            lowering.keep(set).unwrap_or_default()
        }
        None => lowering.names.everybody(),
    }
}

fn action<S: System>(lowering: &mut Lowering<'_, S>, table: &FaultTable, keys: &Keys) -> Option<Action> {
    let found = matches!(table.disk, Some(DiskValue::Found(_)));
    let present = [
        ("crash", table.crash.is_some()),
        ("restart", table.restart.is_some()),
        ("pause", table.pause.is_some()),
        ("resume", table.resume.is_some()),
        ("slow", table.slow.is_some()),
        ("drain", table.drain.is_some()),
        ("request", table.request.is_some()),
        ("cut", table.cut.is_some()),
        ("partition", table.partition.is_some()),
        ("split", table.split.is_some()),
        ("isolate", table.isolate.is_some()),
        ("isolate_in", table.isolate_in.is_some()),
        ("isolate_out", table.isolate_out.is_some()),
        ("clog", table.clog.is_some()),
        ("degrade", table.degrade.is_some()),
        ("heal", table.heal.is_some()),
        ("drop_next", table.drop_next.is_some()),
        ("delay_next", table.delay_next.is_some()),
        ("duplicate_next", table.duplicate_next.is_some()),
        ("clock", table.clock.is_some()),
        ("disk", table.disk.is_some() && !found),
    ];
    let name = lowering.keep(only(&present, ACTIONS, "action", keys))?;
    for (key, given, owner) in [
        ("disk", found, "restart"),
        ("moved", table.moved.is_some(), "restart"),
        ("step", table.step.is_some(), "slow"),
    ] {
        if given && name != owner {
            lowering.problem(keys.key(key).invalid(format!("this goes with `{owner}`, not with `{name}`")));
        }
    }
    let keys_here = keys.key(name);
    if let Some(action) = process_action(lowering, table, name, keys) {
        return action;
    }
    if let Some(action) = link_action(lowering, table, name, &keys_here) {
        return action;
    }
    match (name, &table.drop_next, &table.delay_next, &table.duplicate_next) {
        ("drop_next", Some(next), _, _) => next_action(lowering, next, name, &keys_here),
        ("delay_next", _, Some(next), _) => next_action(lowering, next, name, &keys_here),
        ("duplicate_next", _, _, Some(next)) => next_action(lowering, next, name, &keys_here),
        _ => match (&table.clock, &table.disk) {
            (Some(clock), _) => clock_action(lowering, clock, &keys_here),
            (_, Some(DiskValue::Change(disk))) => disk_action(lowering, disk, &keys_here),
            _ => None,
        },
    }
}

fn targets<S: System>(lowering: &mut Lowering<'_, S>, nodes: &Nodes, keys: &Keys) -> Option<Targets> {
    let targets = lowering.names.targets(nodes, keys);
    lowering.keep(targets)
}

/// The action of a fault that strikes processes; `None` if this one doesn't.
fn process_action<S: System>(
    lowering: &mut Lowering<'_, S>,
    table: &FaultTable,
    name: &str,
    keys: &Keys,
) -> Option<Option<Action>> {
    let here = keys.key(name);
    if let Some(request) = &table.request {
        return Some(request_action(lowering, &request.node, &request.what, &here.key("node"), &here.key("what")));
    }
    if let Some(nodes) = &table.drain {
        return Some(request_action(lowering, nodes, "drain", &here, &here));
    }
    let alone = [&table.crash, &table.restart, &table.pause, &table.resume, &table.slow, &table.isolate];
    let nodes = alone.into_iter().chain([&table.isolate_in, &table.isolate_out]).find_map(Option::as_ref)?;
    let Some(targets) = targets(lowering, nodes, &here) else { return Some(None) };
    Some(match name {
        "crash" => Some(Action::Crash(targets)),
        "pause" => Some(Action::Pause(targets)),
        "resume" => Some(Action::Resume(targets)),
        "restart" => Some(Action::Restart {
            targets,
            disk: match table.disk {
                Some(DiskValue::Found(disk)) => disk,
                Some(DiskValue::Change(_)) | None => RestartDisk::Same,
            },
            moved: table.moved.unwrap_or(false),
        }),
        "slow" => match table.step {
            Some(step) => Some(Action::Slow { targets, step: step.0 }),
            None => {
                let invalid =
                    keys.key("slow").invalid("how slow?").hint("add `step = \"50ms\"`, the time a step takes");
                lowering.keep(Err(invalid))
            }
        },
        _ => Some(Action::Isolate { targets, inbound: name != "isolate_out", outbound: name != "isolate_in" }),
    })
}

fn request_action<S: System>(
    lowering: &mut Lowering<'_, S>,
    nodes: &Nodes,
    what: &str,
    node_keys: &Keys,
    what_keys: &Keys,
) -> Option<Action> {
    let known = || S::REQUESTS.iter().copied();
    if !known().any(|request| request == what) {
        let mut invalid = what_keys.invalid(format!("nodes of {} can't be asked to `{what}`", S::NAME));
        invalid.hint = suggestion(what, known());
        lowering.problem(invalid);
    }
    let targets = targets(lowering, nodes, node_keys)?;
    Some(Action::Request { targets, name: what.to_owned() })
}

/// The action of a fault that strikes links; `None` if this one doesn't.
fn link_action<S: System>(
    lowering: &mut Lowering<'_, S>,
    table: &FaultTable,
    name: &str,
    keys: &Keys,
) -> Option<Option<Action>> {
    if let Some(sides) = &table.partition {
        return Some(partition(lowering, sides, keys).map(Action::Cut));
    }
    if let Some(nodes) = &table.split {
        let among = side(lowering, Some(nodes), keys);
        if among.len() == 1 {
            lowering.problem(keys.invalid("one node has no two halves"));
        }
        return Some(Some(Action::Split(among)));
    }
    if let Some(DegradeTable { from, to, one_way, delay, loss, duplicate, reorder, corrupt, bandwidth }) =
        &table.degrade
    {
        let sides = LinksTable { from: from.clone(), to: to.clone(), one_way: *one_way };
        let quality = QualityTable {
            delay: delay.clone(),
            loss: *loss,
            duplicate: *duplicate,
            reorder: *reorder,
            corrupt: *corrupt,
            bandwidth: *bandwidth,
        };
        let (links, patch) = (links(lowering, &sides, keys), lowering.patch(&quality, keys));
        if changes_nothing(&patch) {
            lowering.problem(keys.invalid("nothing changes").hint("add `delay`, `loss`, `duplicate`, `reorder`, .."));
        }
        return Some(Some(Action::Degrade { links, patch }));
    }
    let sides = [&table.cut, &table.clog, &table.heal].into_iter().find_map(Option::as_ref)?;
    let links = links(lowering, sides, keys);
    Some(Some(match name {
        "cut" => Action::Cut(vec![links]),
        "clog" => Action::Clog(links),
        _ => Action::Heal(links),
    }))
}

fn links<S: System>(lowering: &mut Lowering<'_, S>, sides: &LinksTable, keys: &Keys) -> Links {
    let from = side(lowering, sides.from.as_ref(), &keys.key("from"));
    let to = side(lowering, sides.to.as_ref(), &keys.key("to"));
    let lonely = |set: &NodeSet| set.len() == 1 && from == to;
    if lonely(&to) {
        lowering.problem(keys.invalid("a node's link to itself never fails"));
    }
    Links { from, to, both_ways: !sides.one_way.unwrap_or(false) }
}

/// The links between any two of several sides.
fn partition<S: System>(lowering: &mut Lowering<'_, S>, sides: &[Nodes], keys: &Keys) -> Option<Vec<Links>> {
    if sides.len() < 2 {
        let invalid = keys.invalid("a partition has two sides or more").hint("[[\"r0\", \"r1\"], [\"r2\"]]");
        return lowering.keep(Err(invalid));
    }
    let mut sets: Vec<NodeSet> = Vec::new();
    for (index, nodes) in sides.iter().enumerate() {
        let set = side(lowering, Some(nodes), &keys.at(index));
        if let Some(twice) = set.iter().find(|node| sets.iter().any(|other| other.contains(*node))) {
            let name = lowering.names.nodes[twice.index()].clone();
            lowering.problem(keys.at(index).invalid(format!("`{name}` can't be on two sides of a partition")));
        }
        sets.push(set);
    }
    let mut cuts = Vec::new();
    for (index, from) in sets.iter().enumerate() {
        for to in &sets[index + 1..] {
            cuts.push(Links { from: from.clone(), to: to.clone(), both_ways: true });
        }
    }
    Some(cuts)
}

fn next_action<S: System>(lowering: &mut Lowering<'_, S>, next: &NextTable, name: &str, keys: &Keys) -> Option<Action> {
    for (key, given, owner) in [
        ("by", next.by.is_some(), "delay_next"),
        ("copies", next.copies.is_some(), "duplicate_next"),
        ("within", next.within.is_some(), "duplicate_next"),
    ] {
        if given && name != owner {
            lowering.problem(keys.key(key).invalid(format!("`{key}` goes with `{owner}`, not with `{name}`")));
        }
    }
    if next.count == Some(0) {
        lowering.problem(keys.key("count").invalid("no message at all would be singled out"));
    }
    let fate = match (name, next.by) {
        ("drop_next", _) => Fate::Drop,
        ("delay_next", Some(by)) => Fate::Delay(by.0),
        ("delay_next", None) => {
            let invalid = keys.invalid("by how much are they delayed?").hint("add `by = \"8s\"`");
            return lowering.keep(Err(invalid));
        }
        _ => {
            let copies = next.copies.unwrap_or(1);
            if !(1..=COPIES_MAX).contains(&copies) {
                lowering.problem(keys.key("copies").invalid(format!("from 1 to {COPIES_MAX} copies can be made")));
            }
            Fate::Duplicate { copies, within: next.within.map_or(Span::ZERO, |within| within.0) }
        }
    };
    let sides = LinksTable { from: next.from.clone(), to: next.to.clone(), one_way: Some(true) };
    Some(Action::Next {
        kind: lowering.message_kind(next.message.as_deref(), &keys.key("message")),
        links: links(lowering, &sides, keys),
        count: next.count.unwrap_or(1),
        fate,
    })
}

/// The only change of several that a table names; `false` for a switch is no change.
fn only_change<'k>(present: &[(&'k str, bool)], keys: &Keys) -> Result<&'k str, InvalidKey> {
    let choice: Vec<String> = present.iter().map(|(name, _)| format!("`{name}`")).collect();
    only(present, &choice.join(", "), "change", keys).map_err(|mut invalid| {
        invalid.hint = Some(format!("name one of {}", choice.join(", ")));
        invalid
    })
}

fn clock_action<S: System>(lowering: &mut Lowering<'_, S>, clock: &ClockTable, keys: &Keys) -> Option<Action> {
    let present = [
        ("drift_ppm", clock.drift_ppm.is_some()),
        ("wall_step", clock.wall_step.is_some()),
        ("wall_strobe", clock.wall_strobe.is_some()),
        ("step", clock.step.is_some()),
        ("freeze", clock.freeze == Some(true)),
    ];
    lowering.keep(only_change(&present, keys))?;
    let targets = targets(lowering, &clock.node, &keys.key("node"))?;
    if clock.drift_ppm.is_some_and(|drift| drift.unsigned_abs() > DRIFT_PPM_MAX) {
        let limit = format!("clocks drift by {DRIFT_PPM_MAX} millionths at most, fast or slow");
        lowering.problem(keys.key("drift_ppm").invalid(limit));
    }
    let change = match (clock.drift_ppm, clock.wall_step, clock.wall_strobe, clock.step) {
        (Some(drift), ..) => ClockChange::Drift(drift),
        (_, Some(shift), ..) => ClockChange::WallStep(shift.0),
        (_, _, Some(shift), _) => ClockChange::WallStrobe(shift.0),
        (_, _, _, Some(step)) => ClockChange::MonotonicStep(step.0),
        (None, None, None, None) => ClockChange::Freeze,
    };
    Some(Action::Clock { targets, change })
}

fn disk_action<S: System>(lowering: &mut Lowering<'_, S>, disk: &DiskFaultTable, keys: &Keys) -> Option<Action> {
    let present = [
        ("sync", disk.sync.is_some()),
        ("full", disk.full == Some(true)),
        ("stuck", disk.stuck == Some(true)),
        ("unreadable", disk.unreadable == Some(true)),
        ("torn", disk.torn == Some(true)),
    ];
    let name = lowering.keep(only_change(&present, keys))?;
    let targets = targets(lowering, &disk.node, &keys.key("node"))?;
    let change = match (name, disk.sync) {
        (_, Some(sync)) => DiskChange::Sync { min: sync.low, max: sync.high },
        ("full", None) => DiskChange::Full,
        ("stuck", None) => DiskChange::Stuck,
        ("unreadable", None) => DiskChange::Unreadable,
        _ => DiskChange::TornTail,
    };
    Some(Action::Disk { targets, change })
}
