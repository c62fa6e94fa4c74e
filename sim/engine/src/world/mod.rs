//! The simulated world: one event queue, machines, their clocks and disks, and the network between them.

/// What checkers see of the run at large.
macro_rules! scene {
    ($world:expr) => {
        Scene {
            system: $world.system,
            plan: $world.plan,
            nodes: &$world.states,
            now: $world.now,
            phase: $world.phase,
            core: &$world.core,
        }
    };
}

mod accounts;
mod clock;
mod disk;
mod faults;
mod frame;
mod network;
mod queue;
mod recorder;
mod shells;
mod streams;
mod troubles;

use crate::{
    Checker, DropReason, EntryId, EventOf, Fact, Findings, Hop, MessageCounts, MessageOf, Moment, NodeId, NodeSet,
    NodeState, Outcome, Phase, Plan, RestartDisk, RunOptions, Scene, Start, System, Truth, Verdict,
};
pub use shells::{Command, LocalClock, Report, Shells, Stage};

use clock::Clock;
use disk::Disk;
use faults::{Faults, Strike};
use network::{Flight, LinkEffect, Network};
use queue::Queue;
use recorder::Recorder;
use shells::Airborne;
use squall_machine::{Address, Batch, Effects, Input, Kind, Machine, Outbox, Random, Released, Span, Synced, Time};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use troubles::Troubles;

type RequestOf<S> = <<S as System>::Node as Machine>::Request;

/// What is to happen.
#[derive(Debug)]
enum Happening<S: System> {
    /// A message arrives.
    Arrive(Flight<MessageOf<S>>),
    /// A machine's deadline is reached.
    Wake(NodeId),
    /// A process takes what waits for it.
    Work(NodeId),
    /// A sync is over.
    Sync { node: NodeId, sync: u64 },
    /// A fault strikes, or is undone.
    Strike(Strike),
    /// A process starts.
    Restart { node: NodeId, disk: RestartDisk, moved: bool },
    /// A local client asks.
    Ask { node: NodeId, name: &'static str },
    /// Views are shown, invariants checked, and the liveness phase may end.
    Observe,
    /// The next phase begins.
    Phase(Phase),
    /// The run is over.
    End,
}

/// What waits for a process that is paused or busy.
#[derive(Debug)]
enum Waiting<S: System> {
    Message(Flight<MessageOf<S>>),
    Synced { receipt: Synced, cause: EntryId },
    Request { request: RequestOf<S>, cause: EntryId },
}

/// A place where a process can run.
struct Place<S: System> {
    process: Option<Process<S>>,
    clock: Clock,
    natural_drift_ppm: i32,
    disk: Disk<S::Node>,
    disk_quality: crate::DiskQuality,
    /// How long a step takes.
    step: Span,
    troubles: Troubles,
    /// How this node's messages travel.
    network: Random,
    /// How long its disk takes, what a crash leaves on it, where its clocks start.
    hardware: Random,
    /// What of all that happens to it at one instant comes first.
    ties: Random,
}

/// A running process: what is gone when it dies.
struct Process<S: System> {
    machine: S::Node,
    outbox: Outbox<S::Node>,
    inbox: VecDeque<Waiting<S>>,
    /// Whether the machine has taken a step since its invariants were last checked.
    stepped: bool,
    busy_until: Time,
    /// The moment of the earliest wake in the queue; others are stale.
    wake_at: Option<Time>,
}

pub(crate) struct World<'a, S: System> {
    system: &'a S,
    plan: &'a Plan,
    seed: u64,
    now: Time,
    /// For when the present happening was meant: now, or a little earlier where processes run elsewhere.
    due: Time,
    phase: Phase,
    core: NodeSet,
    queue: Queue<Happening<S>>,
    places: Vec<Place<S>>,
    states: Vec<NodeState>,
    network: Network<MessageOf<S>>,
    /// Who runs the processes, if they don't run here; then no place has one.
    shells: Option<Box<dyn Shells<S> + 'a>>,
    airborne: Airborne<MessageOf<S>>,
    faults: Faults,
    recorder: Recorder<'a, S>,
    effects: Effects<S::Node>,
    released: Vec<Released<S::Node>>,
    messages: MessageCounts,
    steps: u64,
    steps_this_instant: u64,
    struck: u64,
    stop: Option<&'a AtomicBool>,
    over: bool,
    remark: Option<String>,
    inconclusive: bool,
}

/// How often views are shown and invariants checked.
const OBSERVE_EVERY: Span = Span::from_secs(1);
/// How long after the fault phase the core has to be running again before liveness is judged.
const STABILISATION: Span = Span::from_secs(1);
/// In small worlds the invariants of the stepping node are checked after every so many steps, too; a prime, so that no rhythm
/// hides one. In larger ones a node that knows all others has too much to look at.
const INVARIANTS_EVERY: u64 = 61;
/// How many nodes a small world has at most.
const SMALL_WORLD: usize = 64;
/// The most strikes of faults, periods and hazards, and their ends. A run that reaches it is inconclusive: its time is too
/// dense with faults to come to an end.
const STRIKES_MAX: u64 = 1_000_000;

impl<'a, S: System> World<'a, S> {
    pub(crate) fn new(system: &'a S, plan: &'a Plan, seed: u64, options: RunOptions<'a, S>) -> Self {
        let mut checkers: Vec<Box<dyn Checker<S>>> = if options.checkers { system.checkers() } else { Vec::new() };
        checkers.extend(options.extra);
        let mut clocks = Random::new(seed, "clocks");
        let places: Vec<Place<S>> = (0..plan.nodes.len() as u64)
            .map(|index| {
                let drift_max = u64::from(plan.clocks.drift_ppm);
                let drift = clocks.range(0, 2 * drift_max) as i32 - drift_max as i32;
                let wall_max = plan.clocks.wall_offset.as_nanos();
                let wall = clocks.range(0, 2 * wall_max) as i64 - wall_max as i64;
                Place {
                    process: None,
                    clock: Clock::new(drift, wall),
                    natural_drift_ppm: drift,
                    disk: Disk::new(),
                    disk_quality: plan.disk,
                    step: Span::ZERO,
                    troubles: Troubles::default(),
                    network: Random::numbered(seed, "network", index),
                    hardware: Random::numbered(seed, "hardware", index),
                    ties: Random::numbered(seed, "ties", index),
                }
            })
            .collect();
        let state = |place: &Place<S>| NodeState { drift_ppm: place.natural_drift_ppm, ..NodeState::default() };
        let states = places.iter().map(state).collect();
        Self {
            system,
            plan,
            seed,
            now: Time::ZERO,
            due: Time::ZERO,
            phase: Phase::WarmUp,
            core: NodeSet::default(),
            queue: Queue::new(),
            places,
            states,
            network: Network::new(plan.network, plan.limits.inbox_max),
            shells: None,
            airborne: Airborne::default(),
            faults: Faults::new(plan, seed),
            recorder: Recorder::new(checkers, options.watch),
            effects: Effects::new(),
            released: Vec::new(),
            messages: MessageCounts::default(),
            steps: 0,
            steps_this_instant: 0,
            struck: 0,
            stop: options.stop,
            over: false,
            remark: None,
            inconclusive: false,
        }
    }

    /// Runs to the end. Whatever panics in it is a machine's or a checker's bug; what was recorded until then stays.
    pub(crate) fn run(&mut self) {
        self.begin();
        while !self.over {
            let Some((at, happening)) = self.queue.pop() else { break };
            if at != self.now {
                debug_assert!(at > self.now, "time goes on");
                self.now = at;
                self.steps_this_instant = 0;
            }
            self.due = at;
            self.happen(happening);
            self.over |= !self.recorder.findings.violations().is_empty();
        }
        self.recorder.end(&scene!(self));
    }

    fn begin(&mut self) {
        self.tell(NodeId(0), Truth::Phase { phase: Phase::WarmUp, core: NodeSet::default() });
        let mut order: Vec<u32> = (0..self.plan.nodes.len() as u32).collect();
        Random::new(self.seed, "start order").shuffle(&mut order);
        for node in order.into_iter().map(NodeId) {
            if !self.plan.absent.contains(node) {
                self.start(node, RestartDisk::Same, false);
            }
        }
        let mut ties = Random::new(self.seed, "phases");
        let mut schedule = |after: Span, happening| {
            self.queue.push(Time::ZERO + after, ties.next() as u32, happening);
        };
        schedule(self.plan.warm_up, Happening::Phase(Phase::Faults));
        let end = if self.plan.stabilise { Happening::Phase(Phase::Stabilisation) } else { Happening::End };
        schedule(self.plan.horizon, end);
        schedule(OBSERVE_EVERY, Happening::Observe);
        for (at, tie, strike) in self.faults.first_strikes(self.plan) {
            self.queue.push(Time::ZERO + at, tie, Happening::Strike(strike));
        }
    }

    fn happen(&mut self, happening: Happening<S>) {
        match happening {
            Happening::Arrive(flight) => self.arrive(flight),
            Happening::Wake(node) => self.wake(node),
            Happening::Work(node) => self.work(node),
            Happening::Sync { node, sync } => self.sync_ended(node, sync),
            Happening::Strike(strike) => {
                self.struck += 1;
                if self.struck > STRIKES_MAX {
                    return self
                        .give_up(format!("more than {STRIKES_MAX} strikes of faults: a rate or period is too short"));
                }
                self.strike(strike);
            }
            Happening::Restart { node, disk, moved } => self.start(node, disk, moved),
            Happening::Ask { node, name } => self.ask(node, name),
            Happening::Observe => self.observe(),
            Happening::Phase(phase) => self.enter(phase),
            Happening::End => self.over = true,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        if phase == Phase::Stabilisation {
            self.stabilise();
            self.queue.push(self.now + STABILISATION, 0, Happening::Phase(Phase::Liveness));
        }
        let core = self.core.clone();
        self.tell(NodeId(0), Truth::Phase { phase, core });
        if phase == Phase::Liveness {
            if let Some(name) = S::QUIET {
                let core: Vec<NodeId> = self.core.iter().collect();
                core.into_iter().for_each(|node| self.ask(node, name));
            }
            let delay = self.plan.network.delay.longest();
            let bound = self.system.liveness_bound(delay, self.plan.disk.sync_max);
            self.queue.push(self.now + bound, u32::MAX, Happening::End);
        }
    }

    /// Records ground truth.
    fn tell(&mut self, node: NodeId, truth: Truth) -> EntryId {
        self.recorder.record(node, EntryId(0), Fact::Truth(&truth), &scene!(self))
    }

    fn observe(&mut self) {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            self.give_up("interrupted".to_owned());
            return;
        }
        self.show_views();
        if self.phase == Phase::Liveness && self.recorder.settled(&scene!(self)) {
            self.over = true;
            return;
        }
        self.queue.push(self.now + OBSERVE_EVERY, u32::MAX, Happening::Observe);
    }

    fn show_views(&mut self) {
        let wanted = self.recorder.wants_views();
        for index in 0..self.places.len() {
            let (place, node) = (&mut self.places[index], NodeId(index as u32));
            let local = place.clock.local(self.now);
            let mut view = None;
            let mut look = |machine: &S::Node, stepped: bool| {
                if stepped {
                    machine.assert_invariants();
                }
                view = wanted.then(|| self.system.view(machine, local));
            };
            match (&self.shells, &mut place.process) {
                (Some(shells), _) if self.states[index].up => shells.look(node, &mut |machine| look(machine, true)),
                (None, Some(process)) => look(&process.machine, std::mem::take(&mut process.stepped)),
                (Some(_), _) | (None, None) => {}
            }
            if let Some(view) = view {
                self.recorder.show(node, &view, &scene!(self));
            }
        }
    }

    fn give_up(&mut self, why: String) {
        self.over = true;
        self.inconclusive = true;
        self.remark = Some(why);
    }

    // ---- processes

    /// A process starts, unless one runs, or the fault phase is over and the node is outside the core.
    fn start(&mut self, node: NodeId, disk: RestartDisk, moved: bool) {
        if self.states[node.index()].up || self.faults.over && !self.core.contains(node) {
            return;
        }
        let place = &mut self.places[node.index()];
        let disk_lost = place.disk.replace(disk, &mut place.hardware);
        let state = &mut self.states[node.index()];
        state.life += 1;
        state.moves += u32::from(moved);
        let Some(durable) = place.disk.read() else {
            self.faults.disk_refused(node);
            self.tell(node, Truth::Down { lost: 0, cause: crate::DownCause::Unreadable });
            return;
        };
        let state = &mut self.states[node.index()];
        state.up = true;
        state.paused = false;
        // The origin of a life's clock means nothing; zero is the one that sentinels confuse, so it comes often.
        let origin =
            if place.hardware.below(2) == 0 { 0 } else { place.hardware.below(Span::from_secs(3_600).as_nanos()) };
        place.clock.restart(self.now, origin);
        place.troubles.down_by = 0;
        place.troubles.aborted = false;
        let start = Start {
            node,
            life: state.life,
            address: node.address(state.moves),
            seed: Random::numbered(self.seed, "boot", u64::from(node.0) << 32 | u64::from(state.life)).next(),
            wall: place.clock.wall(self.now),
        };
        let truth = Truth::Up {
            life: start.life,
            records: place.disk.records() as u32,
            torn_tail: durable.torn_tail,
            disk_lost,
        };
        if self.shells.is_some() {
            let clock = place.clock.clone();
            let cause = self.tell(node, truth);
            return self.command(node, Command::Start { start, durable, clock, cause });
        }
        place.process = Some(Process {
            machine: self.system.boot(&start),
            outbox: Outbox::new(),
            inbox: VecDeque::new(),
            stepped: false,
            busy_until: self.now,
            wake_at: None,
        });
        let cause = self.tell(node, truth);
        self.step(node, Input::Boot(durable), cause);
    }

    /// A process dies at once: its memory, what waited for it and what it hadn't synced are gone.
    fn kill(&mut self, node: NodeId, cause: crate::DownCause) -> bool {
        if !self.states[node.index()].up {
            return false;
        }
        let place = &mut self.places[node.index()];
        let process = place.process.take();
        let loss = place.disk.crash(&mut place.hardware);
        place.troubles.paused_by = 0;
        self.states[node.index()].up = false;
        self.states[node.index()].paused = false;
        if loss.torn {
            self.faults.disk_tore(node);
        }
        self.tell(node, Truth::Down { lost: loss.lost, cause });
        for waiting in process.into_iter().flat_map(|process| process.inbox) {
            if let Waiting::Message(flight) = waiting {
                self.drop_message(flight.hop, DropReason::Down);
            }
        }
        self.command(node, Command::Stop);
        self.ground(node);
        true
    }

    /// Takes one step of a machine and does what it wants of the world.
    fn step(&mut self, node: NodeId, input: Input<S::Node>, cause: EntryId) {
        let place = &mut self.places[node.index()];
        let Some(process) = &mut place.process else { return };
        let local = place.clock.local(self.now);
        self.effects.set_wall(place.clock.wall(self.now));
        process.machine.step(local, input, &mut self.effects);
        process.stepped = true;
        let batch = process.outbox.drain(local, &mut self.effects, |released| self.released.push(released));
        self.steps += 1;
        if self.states.len() <= SMALL_WORLD && self.steps.is_multiple_of(INVARIANTS_EVERY) {
            process.machine.assert_invariants();
        }
        if place.step > Span::ZERO {
            process.busy_until = self.now + place.step;
        }
        self.count_step(cause);
        if let Some(batch) = batch {
            self.write(node, [batch], cause);
        }
        self.release(node, cause);
        self.bury(node);
        self.set_wake(node);
    }

    /// A process that has ended itself is gone; its supervisor starts it again.
    fn bury(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let Some(process) = &place.process else { return };
        let Some(after) = self.system.aborted(&process.machine) else { return };
        let tie = place.ties.next() as u32;
        self.kill(node, crate::DownCause::Abort);
        self.restart_after(node, after, tie);
    }

    /// Holds the steps taken so far against the limits of the run.
    fn count_step(&mut self, cause: EntryId) {
        self.steps_this_instant += 1;
        if self.steps >= self.plan.limits.steps_max {
            self.give_up(format!("steps_max reached: {} steps", self.steps));
        }
        if self.steps_this_instant == self.plan.limits.steps_per_instant_max {
            let message = format!("{} steps at one instant: a livelock that time cannot end", self.steps_this_instant);
            self.recorder.findings.violated("LV5", self.now, [cause], message);
        }
    }

    /// Lets go of what a machine said, in order, until the process dies of it.
    fn release(&mut self, node: NodeId, cause: EntryId) {
        let life = self.states[node.index()].life;
        // What a dying process hadn't said yet is dropped with the rest of the buffer.
        let mut buffer = std::mem::take(&mut self.released);
        for released in buffer.drain(..) {
            let state = &self.states[node.index()];
            if !state.up || state.life != life {
                break;
            }
            match released {
                Released::Message { to, message } => self.send(node, to, message, cause),
                Released::Event { decided, event } => self.publish(node, decided, &event, cause),
                // Local clients of a whole node are operators; what they see is in the events.
                Released::Reply(_) => {}
            }
        }
        self.released = buffer;
    }

    fn publish(&mut self, node: NodeId, decided: Time, event: &EventOf<S>, cause: EntryId) {
        self.recorder.record(node, cause, Fact::Event { decided, event }, &scene!(self));
        if self.faults.watches_events() {
            self.on_event(node, event);
        }
    }

    /// Puts a wake into the queue if the machine's deadline comes before the one that is there.
    fn set_wake(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let Some(process) = &mut place.process else { return };
        let Some(at) = process.machine.deadline().and_then(|deadline| place.clock.when(deadline)) else { return };
        let at = at.max(self.now);
        if process.wake_at.is_none_or(|earlier| at < earlier) {
            process.wake_at = Some(at);
            self.queue.push(at, place.ties.next() as u32, Happening::Wake(node));
        }
    }

    fn wake(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        let Some(process) = &mut place.process else { return };
        if process.wake_at != Some(self.now) {
            return;
        }
        process.wake_at = None;
        if self.states[node.index()].paused {
            return;
        }
        if process.busy_until > self.now {
            process.wake_at = Some(process.busy_until);
            self.queue.push(process.busy_until, place.ties.next() as u32, Happening::Wake(node));
            return;
        }
        let local = place.clock.local(self.now);
        if process.machine.deadline().is_some_and(|deadline| deadline <= local) {
            self.step(node, Input::Wake, EntryId(0));
        } else {
            self.set_wake(node);
        }
    }

    /// Whether a process takes input right now; if not, it is told to take up work when it can.
    fn free(&mut self, node: NodeId) -> bool {
        let place = &mut self.places[node.index()];
        let Some(process) = &mut place.process else { return false };
        if self.states[node.index()].paused || !process.inbox.is_empty() {
            return false;
        }
        if process.busy_until > self.now {
            // The first that has to wait calls for the work that everything after it is taken up with.
            self.queue.push(process.busy_until, place.ties.next() as u32, Happening::Work(node));
            return false;
        }
        true
    }

    fn wait(&mut self, node: NodeId, waiting: Waiting<S>) {
        if let Some(process) = &mut self.places[node.index()].process {
            process.inbox.push_back(waiting);
        }
    }

    /// Takes what waits, one step after the other.
    fn work(&mut self, node: NodeId) {
        loop {
            if self.states[node.index()].paused {
                return;
            }
            let place = &mut self.places[node.index()];
            let Some(process) = &mut place.process else { return };
            if process.inbox.is_empty() {
                return;
            }
            if process.busy_until > self.now {
                self.queue.push(process.busy_until, place.ties.next() as u32, Happening::Work(node));
                return;
            }
            match process.inbox.pop_front() {
                Some(Waiting::Message(flight)) => self.deliver(flight),
                Some(Waiting::Synced { receipt, cause }) => self.confirm(node, receipt, cause),
                Some(Waiting::Request { request, cause }) => self.step(node, Input::Request(request), cause),
                None => return,
            }
        }
    }

    fn ask(&mut self, node: NodeId, name: &'static str) {
        if !self.states[node.index()].up {
            return;
        }
        let Some(request) = self.system.request(node, name) else { return };
        let cause = self.tell(node, Truth::Request { name });
        if self.shells.is_some() {
            self.command(node, Command::Request { request, cause });
        } else if self.free(node) {
            self.step(node, Input::Request(request), cause);
        } else {
            self.wait(node, Waiting::Request { request, cause });
        }
    }

    // ---- disk

    fn write(&mut self, node: NodeId, group: impl IntoIterator<Item = Batch<S::Node>>, cause: EntryId) {
        let mut records = 0;
        for batch in group {
            records += batch.records.len() as u32;
            self.places[node.index()].disk.write(batch, cause);
        }
        self.begin_sync(node);
        if self.faults.watches_records() {
            self.on_records(node, records);
        }
    }

    fn begin_sync(&mut self, node: NodeId) {
        let place = &mut self.places[node.index()];
        self.faults.disk_used(node);
        if let Some((sync, latency)) = place.disk.begin_sync(place.disk_quality, &mut place.hardware) {
            let tie = place.ties.next() as u32;
            self.queue.push(self.now + latency, tie, Happening::Sync { node, sync });
        }
    }

    fn sync_ended(&mut self, node: NodeId, sync: u64) {
        let place = &mut self.places[node.index()];
        let Some((receipt, cause)) = place.disk.end_sync(sync) else { return };
        if let Some(process) = &place.process
            && place.disk.wants_snapshot(place.disk_quality)
        {
            place.disk.compact(process.machine.snapshot());
        }
        if self.shells.is_some() {
            self.command(node, Command::Synced { receipt, cause });
        } else if self.free(node) {
            self.confirm(node, receipt, cause);
        } else {
            self.wait(node, Waiting::Synced { receipt, cause });
        }
        self.begin_sync(node);
    }

    fn confirm(&mut self, node: NodeId, receipt: Synced, cause: EntryId) {
        let Some(process) = &mut self.places[node.index()].process else { return };
        process.outbox.confirm(receipt, |released| self.released.push(released));
        self.release(node, cause);
    }

    // ---- network

    fn send(&mut self, node: NodeId, to: Address, message: MessageOf<S>, cause: EntryId) {
        let (receiver, _) = NodeId::of_address(to);
        self.say(node, receiver, to, message, cause);
    }

    /// A message leaves for the node behind an address.
    fn say(&mut self, node: NodeId, receiver: NodeId, to: Address, message: MessageOf<S>, cause: EntryId) {
        let sent = EntryId(self.recorder.entries() + 1);
        let hop = Hop { sent, from: node, to: receiver, kind: message.kind() };
        self.recorder.record(node, cause, Fact::Sent { hop, message: &message }, &scene!(self));
        self.messages.sent += 1;
        let from = node.address(self.states[node.index()].moves);
        let flight = Flight { hop, from, to, message, corrupt: false };
        if receiver.index() >= self.places.len() {
            self.drop_message(hop, DropReason::Down);
        } else {
            let random = &mut self.places[node.index()].network;
            match self.network.plan(&hop, self.now, random, &mut self.faults.strikes) {
                network::Plan::ArriveOnce(delay) => {
                    let tie = random.next() as u32;
                    self.queue.push(self.now + delay, tie, Happening::Arrive(flight));
                }
                network::Plan::Arrive { delays, corrupt } => self.launch(flight, &delays, corrupt),
                network::Plan::Hold(index) => self.hold(index, flight),
                network::Plan::Drop(reason) => self.drop_message(hop, reason),
            }
        }
        if self.faults.watches_messages() {
            self.on_message(&hop, Moment::Sent);
        }
    }

    fn launch(&mut self, flight: Flight<MessageOf<S>>, delays: &[Span], corrupt: bool) {
        self.messages.duplicated += delays.len() as u64 - 1;
        let random = &mut self.places[flight.hop.from.index()].network;
        for (copy, &delay) in delays.iter().enumerate() {
            let copy = Flight { corrupt: corrupt && copy == 0, ..flight.clone() };
            self.queue.push(self.now + delay, random.next() as u32, Happening::Arrive(copy));
        }
    }

    fn hold(&mut self, index: usize, flight: Flight<MessageOf<S>>) {
        let fault = &mut self.network.faults[index];
        let LinkEffect::Clog { held } = &mut fault.effect else { return };
        if held.len() >= self.plan.limits.inbox_max {
            let hop = flight.hop;
            self.drop_message(hop, DropReason::Overflow);
        } else {
            held.push(flight);
        }
    }

    fn arrive(&mut self, flight: Flight<MessageOf<S>>) {
        if self.shells.is_some() {
            return self.take_off(flight);
        }
        let Some(flight) = self.let_through(flight) else { return };
        let Some(mut flight) = self.decode(flight) else { return };
        let hop = flight.hop;
        if self.faults.watches_messages() {
            self.on_message(&hop, Moment::Before);
            // What that set off may have barred the way, or stopped the receiver.
            let Some(still) = self.let_through(flight) else { return };
            flight = still;
        }
        if self.free(hop.to) {
            self.deliver(flight);
        } else if self.places[hop.to.index()]
            .process
            .as_ref()
            .is_some_and(|process| process.inbox.len() >= self.plan.limits.inbox_max)
        {
            self.drop_message(hop, DropReason::Overflow);
        } else {
            self.wait(hop.to, Waiting::Message(flight));
        }
    }

    /// Keeps back or drops what can't be handed over right now.
    fn let_through(&mut self, flight: Flight<MessageOf<S>>) -> Option<Flight<MessageOf<S>>> {
        let hop = flight.hop;
        if let Some(index) = self.network.barred(hop.from, hop.to) {
            self.faults.struck(self.network.faults[index].fault);
            if matches!(self.network.faults[index].effect, LinkEffect::Cut) {
                self.drop_message(hop, DropReason::Cut);
            } else {
                self.hold(index, flight);
            }
            return None;
        }
        let state = &self.states[hop.to.index()];
        if flight.to != hop.to.address(state.moves) {
            self.drop_message(hop, DropReason::Moved);
            return None;
        }
        if !state.up {
            self.drop_message(hop, DropReason::Down);
            return None;
        }
        Some(flight)
    }

    /// What the receiver's decoder makes of a message of which a bit may have flipped.
    fn decode(&mut self, mut flight: Flight<MessageOf<S>>) -> Option<Flight<MessageOf<S>>> {
        if !std::mem::take(&mut flight.corrupt) {
            return Some(flight);
        }
        let mut bytes = frame::encode(&flight.message);
        frame::flip(&mut bytes, &mut self.places[flight.hop.from.index()].network);
        match frame::decode(&bytes) {
            Ok(message) => Some(Flight { message, ..flight }),
            Err(_) => {
                self.drop_message(flight.hop, DropReason::Corrupt);
                None
            }
        }
    }

    fn deliver(&mut self, flight: Flight<MessageOf<S>>) {
        let Flight { hop, from, message, .. } = flight;
        self.messages.delivered += 1;
        let fact = Fact::Delivered { hop, message: &message };
        let cause = self.recorder.record(hop.to, hop.sent, fact, &scene!(self));
        self.step(hop.to, Input::Receive { from, message }, cause);
        if self.faults.watches_messages() {
            self.on_message(&hop, Moment::After);
        }
    }

    fn drop_message(&mut self, hop: Hop, reason: DropReason) {
        self.messages.dropped[reason as usize] += 1;
        self.recorder.record(hop.from, hop.sent, Fact::Dropped { hop, reason }, &scene!(self));
    }

    // ---- the end

    /// Reports a panic of a machine or checker.
    pub(crate) fn panicked(&mut self, what: &str) {
        let last = EntryId(self.recorder.entries());
        self.recorder.findings.violated("RB1", self.now, [last], format!("panicked: {what}"));
    }

    pub(crate) fn outcome(mut self) -> Outcome {
        self.messages.in_flight = self.in_flight();
        let accounts = self.accounts();
        let Findings { violations, probes } = std::mem::take(&mut self.recorder.findings);
        let mut remark = self.remark.take();
        let verdict = if !violations.is_empty() {
            Verdict::Violated
        } else if self.inconclusive {
            Verdict::Inconclusive
        } else if let Some(index) = self.faults.missed(self.plan) {
            remark = Some(format!("fault {} of the file never had an effect", index + 1));
            Verdict::Vacuous
        } else {
            Verdict::Pass
        };
        Outcome {
            seed: self.seed,
            verdict,
            fingerprint: self.recorder.fingerprint(),
            violations,
            probes,
            strikes: std::mem::take(&mut self.faults.strikes),
            messages: self.messages,
            entries: self.recorder.entries(),
            steps: self.steps,
            sim_ns: self.now.as_nanos(),
            goodput: None,
            accounts,
            remark,
        }
    }

    /// Counts, rather than computes, what is still on its way: in the queue, in clogged links, before paused processes, in
    /// the shells' transport.
    fn in_flight(&self) -> u64 {
        let queued = self.queue.remaining().filter(|happening| matches!(happening, Happening::Arrive(_))).count();
        let clogged: usize = self
            .network
            .faults
            .iter()
            .map(|fault| if let LinkEffect::Clog { held } = &fault.effect { held.len() } else { 0 })
            .sum();
        let waiting = self
            .places
            .iter()
            .filter_map(|place| place.process.as_ref())
            .flat_map(|process| &process.inbox)
            .filter(|waiting| matches!(waiting, Waiting::Message(_)))
            .count();
        (queued + clogged + waiting + self.airborne.count()) as u64
    }
}
