//! Faults: when they strike, what they do to the world, and how they end.

use super::network::{LinkEffect, LinkFault, Reach, Singled};
use super::streams;
use super::troubles::Troubles;
use super::{Command, Happening, World};
use crate::{
    Action, ClockChange, DiskChange, DiskState, DownCause, EventOf, Hop, Links, Moment, NodeId, NodeSet, NodeState,
    Pattern, Plan, RestartDisk, System, Targets, Trigger, Truth,
};
use serde_json::Value;
use squall_machine::{Kind, Random, Ratio, Span, Time};
use std::collections::BTreeMap;

/// Something that a fault does, at its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strike {
    /// The fault of this index strikes; `again` if its trigger goes on afterwards.
    Fire { fault: usize, again: bool },
    /// What a fault did under this token is undone.
    Undo { token: u64 },
    /// A group may fail by a hazard.
    Hazard { hazard: usize, group: usize },
}

/// How a fault ends.
#[derive(Debug)]
enum Undo {
    Restart(Vec<NodeId>),
    Resume(Vec<NodeId>),
    Speed(Vec<NodeId>),
    Link,
    Singled,
    Clock(Vec<NodeId>, ClockChange),
    Disk(Vec<NodeId>, DiskChange),
}

pub(super) struct Faults {
    /// How often each fault of the plan had an effect.
    pub(super) strikes: Vec<u64>,
    randoms: Vec<Random>,
    hazard_randoms: Vec<Random>,
    occurrences: Vec<u32>,
    on_messages: Vec<usize>,
    on_events: Vec<usize>,
    on_records: Vec<usize>,
    undo: BTreeMap<u64, Undo>,
    token: u64,
    /// Disks that the fault of a token and an index changed: counts as an effect once they are used.
    disks: Vec<(NodeId, u64, usize)>,
    tears: Vec<(NodeId, usize)>,
    unreadable: Vec<(NodeId, usize)>,
    /// By hazard and group: until when its rate is raised.
    raised_until: Vec<Vec<Time>>,
    /// Whether the fault phase is over: nothing strikes any more.
    pub(super) over: bool,
}

impl Faults {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        let with = |wanted: fn(&Pattern) -> bool| {
            let matches = |trigger: &Trigger| matches!(trigger, Trigger::On { pattern, .. } if wanted(pattern));
            (0..plan.faults.len()).filter(|&index| matches(&plan.faults[index].trigger)).collect()
        };
        Self {
            strikes: vec![0; plan.faults.len()],
            randoms: streams::named(seed, "fault", &plan.faults),
            hazard_randoms: streams::named(seed, "hazard", &plan.hazards),
            occurrences: vec![0; plan.faults.len()],
            on_messages: with(|pattern| matches!(pattern, Pattern::Message { .. })),
            on_events: with(|pattern| matches!(pattern, Pattern::Event { .. })),
            on_records: with(|pattern| matches!(pattern, Pattern::Record { .. })),
            undo: BTreeMap::new(),
            token: 0,
            disks: Vec::new(),
            tears: Vec::new(),
            unreadable: Vec::new(),
            raised_until: plan.hazards.iter().map(|hazard| vec![Time::ZERO; hazard.groups.len()]).collect(),
            over: false,
        }
    }

    /// When each fault strikes for the first time, as far as that is a matter of time.
    pub(super) fn first_strikes(&mut self, plan: &Plan) -> Vec<(Span, u32, Strike)> {
        let mut first = Vec::new();
        for (fault, (described, random)) in plan.faults.iter().zip(&mut self.randoms).enumerate() {
            match described.trigger {
                Trigger::At { from, until } => {
                    first.push((random.span(from, until), random.next() as u32, Strike::Fire { fault, again: false }));
                }
                Trigger::Every { from, .. } => {
                    first.push((from, random.next() as u32, Strike::Fire { fault, again: true }))
                }
                Trigger::Rate { mean, from, .. } => {
                    let wait = random.exponential(mean);
                    first.push((from + wait, random.next() as u32, Strike::Fire { fault, again: true }));
                }
                Trigger::On { .. } => {}
            }
        }
        for (index, hazard) in plan.hazards.iter().enumerate() {
            for (group, nodes) in hazard.groups.iter().enumerate() {
                let random = &mut self.hazard_randoms[index];
                let wait = random.exponential(fastest(hazard.mean, nodes.len(), hazard.factor));
                first.push((hazard.from + wait, random.next() as u32, Strike::Hazard { hazard: index, group }));
            }
        }
        first
    }

    /// What of all that happens at one instant comes first, as far as it is this fault's doing.
    fn tie(&mut self, fault: usize) -> u32 {
        self.randoms[fault].next() as u32
    }

    pub(super) fn watches_messages(&self) -> bool {
        !self.on_messages.is_empty()
    }

    pub(super) fn watches_events(&self) -> bool {
        !self.on_events.is_empty()
    }

    pub(super) fn watches_records(&self) -> bool {
        !self.on_records.is_empty()
    }

    pub(super) fn struck(&mut self, fault: Option<usize>) {
        if let Some(fault) = fault {
            self.strikes[fault] += 1;
        }
    }

    pub(super) fn disk_used(&mut self, node: NodeId) {
        for &(changed, _, fault) in &self.disks {
            if changed == node {
                self.strikes[fault] += 1;
            }
        }
    }

    pub(super) fn disk_tore(&mut self, node: NodeId) {
        if let Some(index) = self.tears.iter().position(|&(torn, _)| torn == node) {
            let (_, fault) = self.tears.swap_remove(index);
            self.strikes[fault] += 1;
        }
    }

    pub(super) fn disk_refused(&mut self, node: NodeId) {
        for &(unreadable, fault) in &self.unreadable {
            if unreadable == node {
                self.strikes[fault] += 1;
            }
        }
    }

    /// The first scripted fault that never had an effect, if there is one.
    pub(super) fn missed(&self, plan: &Plan) -> Option<usize> {
        plan.faults.iter().zip(&self.strikes).position(|(fault, &strikes)| {
            strikes == 0 && !fault.may_miss && !matches!(fault.trigger, Trigger::Rate { .. })
        })
    }

    fn token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }
}

/// The mean time between failures of a whole group at its highest rate.
fn fastest(mean: Span, members: usize, factor: u32) -> Span {
    mean / (members.max(1) as u64 * u64::from(factor.max(1)))
}

impl<S: System> World<'_, S> {
    pub(super) fn strike(&mut self, strike: Strike) {
        match strike {
            Strike::Undo { token } => {
                if let Some(undo) = self.faults.undo.remove(&token) {
                    self.undo(token, undo);
                }
            }
            Strike::Fire { .. } | Strike::Hazard { .. } if self.faults.over => {}
            Strike::Fire { fault, again } => {
                if again && !self.again(fault) {
                    return;
                }
                self.fire(fault);
            }
            Strike::Hazard { hazard, group } => self.hazard(hazard, group),
        }
    }

    /// Schedules the next time of a periodic or random trigger. Returns whether this time still lies in its bounds.
    fn again(&mut self, fault: usize) -> bool {
        let plan = self.plan;
        let (next, until) = match plan.faults[fault].trigger {
            Trigger::Every { period, until, .. } => (period, until),
            Trigger::Rate { mean, until, .. } => (self.faults.randoms[fault].exponential(mean), until),
            Trigger::At { .. } | Trigger::On { .. } => return true,
        };
        if self.due > Time::ZERO + until {
            return false;
        }
        let tie = self.faults.tie(fault);
        let next = next.max(Span::from_nanos(1));
        self.queue.push(self.due + next, tie, Happening::Strike(Strike::Fire { fault, again: true }));
        true
    }

    /// A fault strikes now.
    fn fire(&mut self, fault: usize) {
        let plan = self.plan;
        let described = &plan.faults[fault];
        let generated = matches!(described.trigger, Trigger::Every { .. } | Trigger::Rate { .. });
        let room = if generated { self.room() } else { usize::MAX };
        let token = self.faults.token();
        let Some(undo) = self.apply(fault, token, &described.action, room) else { return };
        if let (Some((low, high)), Some(undo)) = (described.lasts, undo) {
            let lasts = self.faults.randoms[fault].span(low, high);
            let tie = self.faults.tie(fault);
            self.undo_after(lasts, tie, token, undo);
        }
    }

    /// A process that ended itself is started again after a while, unless something else starts it before.
    pub(super) fn restart_after(&mut self, node: NodeId, after: Span, tie: u32) {
        let token = self.faults.token();
        let troubles = &mut self.places[node.index()].troubles;
        (troubles.down_by, troubles.aborted) = (token, true);
        self.undo_after(after, tie, token, Undo::Restart(vec![node]));
    }

    fn undo_after(&mut self, lasts: Span, tie: u32, token: u64, undo: Undo) {
        self.faults.undo.insert(token, undo);
        self.queue.push(self.now + lasts, tie, Happening::Strike(Strike::Undo { token }));
    }

    /// How many more nodes generated faults may impair.
    fn room(&self) -> usize {
        let Some(limit) = self.plan.budget.impaired_max else { return usize::MAX };
        let impaired = |(state, place): &(&NodeState, &super::Place<S>)| {
            state.life > 0 && (!state.up && !place.troubles.aborted || state.paused)
        };
        let stopped = self.states.iter().zip(&self.places).filter(impaired).count();
        let cut: usize = self
            .network
            .faults
            .iter()
            .filter(|fault| !matches!(fault.effect, LinkEffect::Degrade(_)))
            .map(|fault| fault.reach.impaired())
            .sum();
        (limit as usize).saturating_sub(stopped + cut)
    }

    /// Does what a fault does. `None` if there was nobody to do it to; else how it is undone, if it can be.
    fn apply(&mut self, fault: usize, token: u64, action: &Action, room: usize) -> Option<Option<Undo>> {
        match action {
            Action::Crash(targets) => {
                let nodes = self.choose(fault, targets, room, |state| state.up);
                nodes.iter().for_each(|&node| self.crash(node, token));
                self.affected(fault, nodes, Undo::Restart)
            }
            Action::Restart { targets, disk, moved } => {
                let nodes = self.choose(fault, targets, usize::MAX, |state| !state.up);
                for &node in &nodes {
                    let tie = self.faults.tie(fault);
                    self.queue.push(self.now, tie, Happening::Restart { node, disk: *disk, moved: *moved });
                }
                self.affected(fault, nodes, |_| Undo::Restart(Vec::new())).map(|_| None)
            }
            Action::Pause(targets) => {
                let nodes = self.choose(fault, targets, room, |state| state.up && !state.paused);
                for &node in &nodes {
                    self.states[node.index()].paused = true;
                    self.places[node.index()].troubles.paused_by = token;
                    self.tell(node, Truth::Pause);
                    self.command(node, Command::Pause);
                }
                self.affected(fault, nodes, Undo::Resume)
            }
            Action::Resume(targets) => {
                let nodes = self.choose(fault, targets, usize::MAX, |state| state.paused);
                nodes.iter().for_each(|&node| self.resume(node));
                self.affected(fault, nodes, Undo::Resume).map(|_| None)
            }
            Action::Slow { targets, step } => {
                let nodes = self.choose(fault, targets, room, |state| state.up);
                for &node in &nodes {
                    self.places[node.index()].troubles.steps.push(token, *step);
                    self.set_speed(node);
                }
                self.affected(fault, nodes, Undo::Speed)
            }
            Action::Request { targets, name } => {
                let name = S::REQUESTS.iter().find(|known| *known == name)?;
                let mut nodes = self.choose(fault, targets, usize::MAX, |state| state.up);
                nodes.retain(|&node| self.system.request(node, name).is_some());
                for &node in &nodes {
                    let tie = self.faults.tie(fault);
                    self.queue.push(self.now, tie, Happening::Ask { node, name });
                }
                self.affected(fault, nodes, Undo::Resume).map(|_| None)
            }
            Action::Clock { targets, change } => {
                let nodes = self.choose(fault, targets, usize::MAX, |_| true);
                nodes.iter().for_each(|&node| self.change_clock(node, token, *change));
                let change = *change;
                self.affected(fault, nodes, |nodes| Undo::Clock(nodes, change))
            }
            Action::Disk { targets, change } => self.change_disks(fault, token, targets, *change),
            Action::Cut(_)
            | Action::Isolate { .. }
            | Action::Split(_)
            | Action::Clog(_)
            | Action::Degrade { .. }
            | Action::Heal(_)
            | Action::Next { .. } => self.apply_to_links(fault, token, action, room),
        }
    }

    fn apply_to_links(&mut self, fault: usize, token: u64, action: &Action, room: usize) -> Option<Option<Undo>> {
        let (reach, effect) = match action {
            Action::Cut(links) => (Reach::Links(links.clone()), LinkEffect::Cut),
            Action::Isolate { targets, inbound, outbound } => {
                let nodes: NodeSet = self.choose(fault, targets, room, |_| true).into_iter().collect();
                if nodes.is_empty() {
                    return None;
                }
                (Reach::Around { nodes, inbound: *inbound, outbound: *outbound }, LinkEffect::Cut)
            }
            Action::Split(nodes) => {
                let mut nodes: Vec<NodeId> = nodes.iter().collect();
                let random = &mut self.faults.randoms[fault];
                random.shuffle(&mut nodes);
                let size = random.range(1, (nodes.len() as u64).saturating_sub(1).max(1)) as usize;
                let (left, right) = nodes.split_at(size.min(nodes.len()));
                let links = Links {
                    from: left.iter().copied().collect(),
                    to: right.iter().copied().collect(),
                    both_ways: true,
                };
                (Reach::Links(vec![links]), LinkEffect::Cut)
            }
            Action::Clog(links) => (Reach::Links(vec![links.clone()]), LinkEffect::Clog { held: Vec::new() }),
            Action::Degrade { links, patch } => (Reach::Links(vec![links.clone()]), LinkEffect::Degrade(*patch)),
            Action::Heal(links) => {
                self.heal(fault, links);
                return Some(None);
            }
            Action::Next { kind, links, count, fate } => {
                let singled = Singled { token, fault, kind: *kind, links: links.clone(), left: *count, fate: *fate };
                self.network.singled.push(singled);
                return Some(Some(Undo::Singled));
            }
            Action::Crash(_)
            | Action::Restart { .. }
            | Action::Pause(_)
            | Action::Resume(_)
            | Action::Slow { .. }
            | Action::Request { .. }
            | Action::Clock { .. }
            | Action::Disk { .. } => return None,
        };
        if matches!(effect, LinkEffect::Cut | LinkEffect::Clog { .. }) && reach.impaired() > room {
            return None;
        }
        self.network.faults.push(LinkFault { token, fault: Some(fault), reach, healed: Vec::new(), effect });
        self.tell(NodeId(0), Truth::Link { fault: fault as u32, begins: true });
        Some(Some(Undo::Link))
    }

    /// Whom a fault strikes: all candidates that it can strike, or a drawn few of them; never more than there is room for.
    fn choose(&mut self, fault: usize, targets: &Targets, room: usize, can: fn(&NodeState) -> bool) -> Vec<NodeId> {
        let generated = matches!(self.plan.faults[fault].trigger, Trigger::Every { .. } | Trigger::Rate { .. });
        let mut nodes: Vec<NodeId> = targets
            .among
            .iter()
            .filter(|&node| can(&self.states[node.index()]))
            .filter(|&node| !generated || !self.plan.budget.spared.contains(node))
            .collect();
        let count = targets.count.map_or(nodes.len(), |count| count as usize).min(room);
        if count < nodes.len() {
            self.faults.randoms[fault].shuffle(&mut nodes);
            nodes.truncate(count);
            nodes.sort_unstable();
        }
        nodes
    }

    /// Counts an effect on these nodes; `None` if there are none.
    fn affected(
        &mut self,
        fault: usize,
        nodes: Vec<NodeId>,
        undo: impl FnOnce(Vec<NodeId>) -> Undo,
    ) -> Option<Option<Undo>> {
        if nodes.is_empty() {
            return None;
        }
        self.faults.strikes[fault] += 1;
        Some(Some(undo(nodes)))
    }

    fn crash(&mut self, node: NodeId, token: u64) {
        if self.kill(node, DownCause::Crash) {
            self.places[node.index()].troubles.down_by = token;
            let until = self.plan.hazards.iter().map(|hazard| self.now + hazard.window);
            for ((hazard, raised), until) in self.plan.hazards.iter().zip(&mut self.faults.raised_until).zip(until) {
                for (group, raised) in hazard.groups.iter().zip(raised) {
                    if group.contains(node) {
                        *raised = until;
                    }
                }
            }
        }
    }

    fn resume(&mut self, node: NodeId) {
        if !std::mem::take(&mut self.states[node.index()].paused) {
            return;
        }
        self.tell(node, Truth::Resume);
        self.command(node, Command::Resume);
        // What waits and what is overdue compete for the first step.
        let tie = self.places[node.index()].ties.next() as u32;
        self.queue.push(self.now, tie, Happening::Work(node));
        self.set_wake_anew(node);
    }

    fn set_wake_anew(&mut self, node: NodeId) {
        if let Some(process) = &mut self.places[node.index()].process {
            process.wake_at = None;
            self.set_wake(node);
        }
    }

    /// Lets every step take as long as the newest fault wants it to.
    fn set_speed(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let step = place.troubles.steps.top().unwrap_or(Span::ZERO);
        place.step = step;
        self.tell(node, Truth::Slow { step });
    }

    fn change_clock(&mut self, node: NodeId, token: u64, change: ClockChange) {
        let place = &mut self.places[node.index()];
        match change {
            ClockChange::Drift(ppm) => place.troubles.drifts.push(token, ppm),
            ClockChange::WallStrobe(nanos) => place.troubles.strobes.push(token, nanos),
            ClockChange::Freeze => place.troubles.freezes.push(token, ()),
            ClockChange::WallStep(_) | ClockChange::MonotonicStep(_) => {}
        }
        place.clock.change(self.now, change);
        let calendar_only = matches!(change, ClockChange::WallStep(_) | ClockChange::WallStrobe(_));
        self.clock_changed(node, matches!(change, ClockChange::MonotonicStep(_)));
        if !calendar_only {
            self.set_wake_anew(node);
        }
    }

    fn calm_clock(&mut self, node: NodeId, token: u64, change: ClockChange) {
        let place = &mut self.places[node.index()];
        let troubles = &mut place.troubles;
        let changed = match change {
            ClockChange::Drift(_) => troubles.drifts.remove(token),
            ClockChange::WallStrobe(_) => troubles.strobes.remove(token),
            ClockChange::Freeze => troubles.freezes.remove(token),
            ClockChange::WallStep(_) | ClockChange::MonotonicStep(_) => false,
        };
        if !changed {
            return;
        }
        place.clock.calm(self.now, change, troubles.drifts.top().unwrap_or(place.natural_drift_ppm));
        if let Some(nanos) = troubles.strobes.top() {
            place.clock.change(self.now, ClockChange::WallStrobe(nanos));
        }
        if troubles.freezes.top().is_some() {
            place.clock.change(self.now, ClockChange::Freeze);
        }
        self.clock_changed(node, false);
        self.set_wake_anew(node);
    }

    fn clock_changed(&mut self, node: NodeId, stepped: bool) {
        let clock = &self.places[node.index()].clock;
        let (drift_ppm, wall_offset, frozen) = (clock.drift_ppm(), clock.wall_offset(), clock.frozen());
        self.states[node.index()].drift_ppm = drift_ppm;
        self.hand_clock(node);
        self.tell(node, Truth::Clock { drift_ppm, wall_offset, frozen, stepped });
    }

    fn change_disks(
        &mut self,
        fault: usize,
        token: u64,
        targets: &Targets,
        change: DiskChange,
    ) -> Option<Option<Undo>> {
        let nodes = self.choose(fault, targets, usize::MAX, |_| true);
        for &node in &nodes {
            let place = &mut self.places[node.index()];
            match change {
                DiskChange::Sync { min, max } => place.troubles.syncs.push(token, (min, max)),
                DiskChange::Full => place.troubles.disks.push(token, DiskState::Full),
                DiskChange::Stuck => place.troubles.disks.push(token, DiskState::Stuck),
                DiskChange::Unreadable => {
                    place.troubles.unreadable.push(token, ());
                    self.faults.unreadable.push((node, fault));
                }
                DiskChange::TornTail => {
                    place.disk.tear_next();
                    self.faults.tears.push((node, fault));
                }
            }
            if matches!(change, DiskChange::Sync { .. } | DiskChange::Full | DiskChange::Stuck) {
                self.faults.disks.push((node, token, fault));
            }
            self.set_disk(node);
        }
        if nodes.is_empty() { None } else { Some(Some(Undo::Disk(nodes, change))) }
    }

    /// Lets the disk be as the newest faults want it to be.
    fn set_disk(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let (min, max) = place.troubles.syncs.top().unwrap_or((self.plan.disk.sync_min, self.plan.disk.sync_max));
        (place.disk_quality.sync_min, place.disk_quality.sync_max) = (min, max);
        place.disk.set_unreadable(place.troubles.unreadable.top().is_some());
        let state = place.troubles.disks.top().unwrap_or(DiskState::Working);
        if place.disk.state() != state {
            place.disk.transition_to(state);
        }
        self.tell(node, Truth::Disk { state });
    }

    fn heal(&mut self, fault: usize, links: &Links) {
        let mut healed = Vec::new();
        let nodes = NodeSet::first(self.plan.nodes.len());
        for broken in self.network.faults.iter_mut().filter(|broken| broken.fault.is_some()) {
            let touched =
                nodes.iter().any(|from| nodes.iter().any(|to| links.cover(from, to) && broken.covers(from, to)));
            if !touched {
                continue;
            }
            self.faults.strikes[fault] += 1;
            broken.healed.push(links.clone());
            if let LinkEffect::Clog { held } = &mut broken.effect {
                let (free, stuck): (Vec<_>, Vec<_>) =
                    held.drain(..).partition(|flight| links.cover(flight.hop.from, flight.hop.to));
                *held = stuck;
                healed.extend(free);
            }
        }
        self.relaunch(healed);
        self.tell(NodeId(0), Truth::Link { fault: fault as u32, begins: true });
    }

    /// Messages that were held go on, each with a delay of its own.
    fn relaunch(&mut self, flights: Vec<super::Flight<crate::MessageOf<S>>>) {
        for flight in flights {
            let random = &mut self.places[flight.hop.from.index()].network;
            let delay = self.network.fresh_delay(random);
            self.queue.push(self.now + delay, random.next() as u32, Happening::Arrive(flight));
        }
    }

    /// Undoes what the fault of this token did, as far as no other fault has taken its place.
    fn undo(&mut self, token: u64, undo: Undo) {
        match undo {
            Undo::Restart(nodes) => {
                for node in nodes {
                    if self.places[node.index()].troubles.down_by != token {
                        continue;
                    }
                    let tie = self.places[node.index()].ties.next() as u32;
                    let restart = Happening::Restart { node, disk: RestartDisk::Same, moved: false };
                    self.queue.push(self.now, tie, restart);
                }
            }
            Undo::Resume(nodes) => {
                for node in nodes {
                    if self.places[node.index()].troubles.paused_by == token {
                        self.resume(node);
                    }
                }
            }
            Undo::Speed(nodes) => {
                for node in nodes {
                    if self.places[node.index()].troubles.steps.remove(token) {
                        self.set_speed(node);
                    }
                }
            }
            Undo::Link => self.mend(token),
            Undo::Singled => self.network.singled.retain(|singled| singled.token != token),
            Undo::Clock(nodes, change) => nodes.into_iter().for_each(|node| self.calm_clock(node, token, change)),
            Undo::Disk(nodes, change) => nodes.into_iter().for_each(|node| self.mend_disk(node, token, change)),
        }
    }

    fn mend(&mut self, token: u64) {
        let Some(index) = self.network.faults.iter().position(|fault| fault.token == token) else { return };
        let fault = self.network.faults.remove(index);
        if let Some(fault) = fault.fault {
            self.tell(NodeId(0), Truth::Link { fault: fault as u32, begins: false });
        }
        if let LinkEffect::Clog { held } = fault.effect {
            self.relaunch(held);
        }
    }

    fn mend_disk(&mut self, node: NodeId, token: u64, change: DiskChange) {
        let troubles = &mut self.places[node.index()].troubles;
        let changed = match change {
            DiskChange::Sync { .. } => troubles.syncs.remove(token),
            DiskChange::Full | DiskChange::Stuck => troubles.disks.remove(token),
            DiskChange::Unreadable => troubles.unreadable.remove(token),
            DiskChange::TornTail => false,
        };
        if !changed {
            return;
        }
        self.faults.disks.retain(|&(changed, by, _)| (changed, by) != (node, token));
        self.set_disk(node);
        self.begin_sync(node);
    }

    /// A group may fail: candidates come at its highest rate, and count with the share of it that is in force (thinning,
    /// Lewis and Shedler 1979).
    fn hazard(&mut self, index: usize, group: usize) {
        let hazard = &self.plan.hazards[index];
        if self.due > Time::ZERO + hazard.until {
            return;
        }
        let members = &hazard.groups[group];
        let random = &mut self.faults.hazard_randoms[index];
        let next = random.exponential(fastest(hazard.mean, members.len(), hazard.factor));
        let running: Vec<NodeId> = members.iter().filter(|node| self.states[node.index()].up).collect();
        let factor = if self.now < self.faults.raised_until[index][group] { hazard.factor } else { 1 };
        let share = Ratio::new(running.len() as u32 * factor, members.len().max(1) as u32 * hazard.factor);
        let fails = share.is_some_and(|share| random.chance(share));
        let victim = random.pick(&running).copied();
        let down = random.span(hazard.down.0, hazard.down.1);
        let (tie, undo_tie) = (random.next() as u32, random.next() as u32);
        let again = Happening::Strike(Strike::Hazard { hazard: index, group });
        self.queue.push(self.due + next.max(Span::from_nanos(1)), tie, again);
        if let Some(node) = victim
            && fails
            && self.room() > 0
            && !self.plan.budget.spared.contains(node)
        {
            let token = self.faults.token();
            self.crash(node, token);
            self.undo_after(down, undo_tie, token, Undo::Restart(vec![node]));
        }
    }

    // ---- triggers

    pub(super) fn on_message(&mut self, hop: &Hop, now: Moment) {
        let plan = self.plan;
        self.occurred(
            |faults| &mut faults.on_messages,
            |fault| match &plan.faults[fault].trigger {
                Trigger::On { pattern: Pattern::Message { kind, from, to, moment }, .. } => {
                    *moment == now
                        && kind.is_none_or(|kind| kind == hop.kind)
                        && from.contains(hop.from)
                        && to.contains(hop.to)
                }
                Trigger::On { .. } | Trigger::At { .. } | Trigger::Every { .. } | Trigger::Rate { .. } => false,
            },
            1,
        );
    }

    pub(super) fn on_event(&mut self, node: NodeId, event: &EventOf<S>) {
        let plan = self.plan;
        let mut json: Option<Value> = None;
        self.occurred(
            |faults| &mut faults.on_events,
            |fault| match &plan.faults[fault].trigger {
                Trigger::On { pattern: Pattern::Event { kind, at, fields }, .. } => {
                    *kind == event.kind()
                        && at.contains(node)
                        && (fields.0.is_empty()
                            || fields.shown_by(
                                json.get_or_insert_with(|| serde_json::to_value(event).unwrap_or(Value::Null)),
                            ))
                }
                Trigger::On { .. } | Trigger::At { .. } | Trigger::Every { .. } | Trigger::Rate { .. } => false,
            },
            1,
        );
    }

    pub(super) fn on_records(&mut self, node: NodeId, count: u32) {
        let plan = self.plan;
        self.occurred(
            |faults| &mut faults.on_records,
            |fault| match &plan.faults[fault].trigger {
                Trigger::On { pattern: Pattern::Record { at }, .. } => at.contains(node),
                Trigger::On { .. } | Trigger::At { .. } | Trigger::Every { .. } | Trigger::Rate { .. } => false,
            },
            count,
        );
    }

    /// Counts occurrences for the armed triggers that match, and fires those whose turn it is.
    fn occurred(
        &mut self,
        armed: fn(&mut Faults) -> &mut Vec<usize>,
        mut matches: impl FnMut(usize) -> bool,
        count: u32,
    ) {
        if self.faults.over {
            return;
        }
        let mut due = Vec::new();
        let mut list = std::mem::take(armed(&mut self.faults));
        list.retain(|&fault| {
            let Trigger::On { nth, after, .. } = self.plan.faults[fault].trigger else { return false };
            if !matches(fault) {
                return true;
            }
            let seen = &mut self.faults.occurrences[fault];
            *seen = seen.saturating_add(count);
            if *seen < nth {
                return true;
            }
            due.push((fault, after));
            false
        });
        *armed(&mut self.faults) = list;
        for (fault, after) in due {
            if after == Span::ZERO {
                self.fire(fault);
            } else {
                let tie = self.faults.tie(fault);
                self.queue.push(self.now + after, tie, Happening::Strike(Strike::Fire { fault, again: false }));
            }
        }
    }

    // ---- the end of the fault phase

    /// Undoes every fault, heals a core, and stops or isolates everybody else.
    pub(super) fn stabilise(&mut self) {
        self.faults.over = true;
        for (token, undo) in std::mem::take(&mut self.faults.undo) {
            if !matches!(undo, Undo::Restart(_)) {
                self.undo(token, undo);
            }
        }
        // What is used from now on is used after the faults: it proves no effect of theirs.
        self.faults.disks.clear();
        self.faults.unreadable.clear();
        for fault in std::mem::take(&mut self.network.faults) {
            if let LinkEffect::Clog { held } = fault.effect {
                self.relaunch(held);
            }
        }
        self.network.singled.clear();
        self.network.calm();
        if let Some(shells) = &mut self.shells {
            shells.calm();
        }
        let mut random = Random::new(self.seed, "core");
        let core = self.system.core(&self.states, &mut random);
        let mut isolated = NodeSet::default();
        for node in NodeSet::first(self.plan.nodes.len()).iter() {
            self.calm(node);
            if core.contains(node) {
                let down = !self.states[node.index()].up;
                self.resume(node);
                if down {
                    let wait = random.span(Span::ZERO, super::STABILISATION / 2);
                    let tie = self.places[node.index()].ties.next() as u32;
                    let restart = Happening::Restart { node, disk: RestartDisk::Same, moved: false };
                    self.queue.push(self.now + wait, tie, restart);
                }
            } else if random.below(2) == 0 {
                self.kill(node, DownCause::Frozen);
            } else {
                isolated.insert(node);
            }
        }
        let token = self.faults.token();
        let reach = Reach::Around { nodes: isolated, inbound: true, outbound: true };
        self.network.faults.push(LinkFault { token, fault: None, reach, healed: Vec::new(), effect: LinkEffect::Cut });
        self.core = core;
    }

    /// Ends what is wrong with a node itself: its disk, its clock, its speed.
    fn calm(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let slow = place.step > Span::ZERO;
        let Troubles { down_by, aborted, .. } = place.troubles;
        place.troubles = Troubles { down_by, aborted, ..Troubles::default() };
        if place.disk.state() == DiskState::Working {
            place.disk.set_unreadable(false);
            place.disk_quality = self.plan.disk;
        } else {
            self.set_disk(node);
        }
        self.begin_sync(node);
        if slow {
            self.set_speed(node);
        }
        let place = &mut self.places[node.index()];
        if place.clock.frozen() || place.clock.drift_ppm() != place.natural_drift_ppm {
            for change in [ClockChange::Freeze, ClockChange::Drift(0)] {
                place.clock.calm(self.now, change, place.natural_drift_ppm);
            }
            self.clock_changed(node, false);
            self.set_wake_anew(node);
        }
        self.places[node.index()].clock.calm(self.now, ClockChange::WallStrobe(0), 0);
        self.hand_clock(node);
    }
}
