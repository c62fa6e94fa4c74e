//! A world whose processes run elsewhere: in the production shell, under a simulated runtime.
//!
//! Everything but the processes stays here: the plan and its triggers, disks, clocks, history, checkers, verdict. The world
//! sends [`Command`]s to the shells, and they send back [`Report`]s. Messages travel by the shells' own transport; what that
//! network can't do (drops and delays of single messages, copies, links of a quality of their own) is done here, before a
//! message is handed to the transport.

use super::World;
use super::network::Flight;
use crate::{
    DropReason, EntryId, EventOf, Fact, Hop, MessageOf, Moment, NodeId, Outcome, Plan, Quality, RunOptions, Scene,
    Start, System,
};
use squall_machine::{Address, Batch, Durable, Machine, Synced, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use super::clock::Clock as LocalClock;

/// Runs the processes of all nodes.
pub trait Shells<S: System> {
    /// Something that a process, or the node it runs on, is to do. At once; what the process does about it comes back as
    /// reports.
    fn command(&mut self, node: NodeId, command: Command<S>);

    /// From now on nothing passes from one node to another, or everything does again.
    fn bar(&mut self, from: NodeId, to: NodeId, barred: bool);

    /// From now on the network loses nothing by itself.
    fn calm(&mut self);

    /// Shows the machine of a node, if a process runs there.
    fn look(&self, node: NodeId, look: &mut dyn FnMut(&S::Node));
}

/// What the world wants of a node.
#[derive(Debug)]
pub enum Command<S: System> {
    /// A process starts.
    Start {
        /// Which.
        start: Start,
        /// What its disk holds.
        durable: Durable<S::Node>,
        /// Its clock.
        clock: LocalClock,
        /// What led to it.
        cause: EntryId,
    },
    /// The process dies at once.
    Stop,
    /// The process stops running.
    Pause,
    /// It runs again.
    Resume,
    /// The node has another clock.
    Clock(LocalClock),
    /// A message, or one copy of it, goes to the transport.
    Transmit {
        /// Where to, as the process named it.
        to: Address,
        /// What.
        message: MessageOf<S>,
    },
    /// A message that the transport received goes to the machine.
    Deliver {
        /// Where it came from, as the transport named it.
        from: Address,
        /// What.
        message: MessageOf<S>,
        /// Its delivery.
        cause: EntryId,
    },
    /// A local client asks.
    Request {
        /// What.
        request: <S::Node as Machine>::Request,
        /// What led to it.
        cause: EntryId,
    },
    /// Everything that was written up to a point is durable.
    Synced {
        /// The receipt.
        receipt: Synced,
        /// What had led to the last of the writes.
        cause: EntryId,
    },
}

/// What a process did.
#[derive(Debug)]
pub enum Report<S: System> {
    /// Its machine took a step.
    Stepped {
        /// What it reacted to.
        cause: EntryId,
    },
    /// It handed a message to its transport.
    Said {
        /// Where to.
        to: Address,
        /// What.
        message: MessageOf<S>,
        /// What it reacted to.
        cause: EntryId,
    },
    /// It published an event.
    Decided {
        /// When it was decided, on its own clock.
        decided: Time,
        /// What.
        event: EventOf<S>,
        /// What it reacted to.
        cause: EntryId,
    },
    /// It handed records to its disk, to be synced together. It writes again when it has the receipt.
    Wrote {
        /// The records and their pledges, in order.
        group: Vec<Batch<S::Node>>,
        /// What it reacted to.
        cause: EntryId,
    },
    /// It replaced its log by a snapshot.
    Compacted {
        /// The snapshot.
        snapshot: <S::Node as Machine>::Snapshot,
    },
    /// Its transport received a message.
    Heard {
        /// Where from.
        from: Address,
        /// What.
        message: MessageOf<S>,
    },
    /// Its transport couldn't deliver a message, or doesn't know whether it did.
    Lost {
        /// What.
        message: MessageOf<S>,
        /// Whether it certainly never left.
        certain: bool,
    },
    /// It ended by itself, with an error.
    Ended {
        /// Why.
        why: String,
    },
}

/// The most addresses that the transports of a run may make: each call has one, and who is behind it has to be remembered.
const ADDRESSES_MAX: usize = 1 << 22;

/// Messages that were handed to a transport, by receiver.
pub(super) struct Airborne<T> {
    /// In the order of their sending; the flag tells that their sender doubts that they will arrive.
    by_receiver: BTreeMap<NodeId, Vec<(Hop, T, bool)>>,
    /// Where an address that a transport made leads to.
    known: BTreeMap<(NodeId, Address), NodeId>,
    /// Which links are barred, as the shells were told.
    barred: BTreeSet<(NodeId, NodeId)>,
    /// The link faults that this follows from: the token of each, and how often a part of it was healed.
    of_faults: Vec<(u64, usize)>,
}

impl<T> Default for Airborne<T> {
    fn default() -> Self {
        Self { by_receiver: BTreeMap::new(), known: BTreeMap::new(), barred: BTreeSet::new(), of_faults: Vec::new() }
    }
}

impl<T: PartialEq> Airborne<T> {
    fn take(&mut self, to: NodeId, message: &T) -> Option<Hop> {
        let waiting = self.by_receiver.get_mut(&to)?;
        let index = waiting.iter().position(|(_, airborne, _)| airborne == message)?;
        Some(waiting.remove(index).0)
    }

    pub(super) fn count(&self) -> usize {
        self.by_receiver.values().map(Vec::len).sum()
    }
}

/// A run whose processes are shells.
///
/// Whoever drives it calls [`advance`](Stage::advance) when the time of [`next`](Stage::next) has come, and hands it every
/// report at once, in order.
pub struct Stage<'a, S: System> {
    world: World<'a, S>,
}

impl<S: System> fmt::Debug for Stage<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("now", &self.world.now).field("over", &self.world.over).finish()
    }
}

impl<'a, S: System> Stage<'a, S> {
    /// A run that hasn't begun. `layer` is what links do to messages before the transport does: its delays come on top of the
    /// transport's, which are those of the plan.
    #[must_use]
    pub fn new(
        system: &'a S,
        plan: &'a Plan,
        seed: u64,
        options: RunOptions<'a, S>,
        shells: Box<dyn Shells<S> + 'a>,
        layer: Quality,
    ) -> Self {
        let mut world = World::new(system, plan, seed, options);
        world.network = super::Network::beneath(layer, plan.network.delay.longest(), plan.limits.inbox_max);
        world.shells = Some(shells);
        Self { world }
    }

    /// Starts the processes.
    pub fn begin(&mut self) {
        self.world.begin();
    }

    /// When something is to happen next.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.world.queue.next()
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.world.over
    }

    /// Lets everything happen that is due at `now`, simulated time since the start of the run.
    pub fn advance(&mut self, now: Time) {
        let world = &mut self.world;
        while !world.over && world.queue.next().is_some_and(|at| at <= now) {
            let Some((at, happening)) = world.queue.pop() else { break };
            world.go_on_to(at.max(world.now));
            world.due = at;
            world.happen(happening);
            world.settle();
        }
    }

    /// Takes a report of the process that is the `life`-th of its node. Those of a dead one are dropped: what it hadn't said
    /// when it died was never said.
    pub fn report(&mut self, now: Time, node: NodeId, life: u32, report: Report<S>) {
        let world = &mut self.world;
        let state = &world.states[node.index()];
        if world.over || !state.up || state.life != life {
            return;
        }
        world.go_on_to(now);
        match report {
            Report::Stepped { cause } => world.stepped(cause),
            Report::Said { to, message, cause } => {
                let receiver = world.airborne.known.get(&(node, to)).copied();
                let receiver = receiver.unwrap_or(NodeId::of_address(to).0);
                world.say(node, receiver, to, message, cause);
            }
            Report::Decided { decided, event, cause } => world.publish(node, decided, &event, cause),
            Report::Wrote { group, cause } => world.write(node, group, cause),
            Report::Compacted { snapshot } => world.places[node.index()].disk.compact(snapshot),
            Report::Heard { from, message } => world.heard(node, from, message),
            Report::Lost { message, certain } => world.lost(node, &message, certain),
            Report::Ended { why } => world.ended(node, &why),
        }
        world.settle();
    }

    /// Reports a panic of a process or checker.
    pub fn panicked(&mut self, what: &str) {
        self.world.panicked(what);
    }

    /// The run is over.
    #[must_use]
    pub fn outcome(mut self) -> Outcome {
        self.world.conclude();
        self.world.outcome()
    }
}

impl<S: System> World<'_, S> {
    fn go_on_to(&mut self, now: Time) {
        debug_assert!(now >= self.now, "time goes on");
        self.now = now;
        self.steps_this_instant = 0;
    }

    pub(super) fn command(&mut self, node: NodeId, command: Command<S>) {
        if let Some(shells) = &mut self.shells {
            shells.command(node, command);
        }
    }

    /// Tells the shell of a node which clock it has.
    pub(super) fn hand_clock(&mut self, node: NodeId) {
        let clock = self.places[node.index()].clock.clone();
        self.command(node, Command::Clock(clock));
    }

    /// What has to hold after each input: the run ends with its first violation, and links are as the faults want them.
    fn settle(&mut self) {
        self.over |= !self.recorder.findings.violations().is_empty();
        let Some(shells) = &mut self.shells else { return };
        let faults = self.network.faults.iter().map(|fault| (fault.token, fault.healed.len()));
        if faults.clone().eq(self.airborne.of_faults.iter().copied()) {
            return;
        }
        self.airborne.of_faults = faults.collect();
        let nodes = self.states.len() as u32;
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (NodeId(from), NodeId(to))));
        let barred: BTreeSet<(NodeId, NodeId)> =
            pairs.filter(|&(from, to)| from != to && self.network.barred(from, to).is_some()).collect();
        self.airborne.barred.difference(&barred).for_each(|&(from, to)| shells.bar(from, to, false));
        barred.difference(&self.airborne.barred).for_each(|&(from, to)| shells.bar(from, to, true));
        self.airborne.barred = barred;
    }

    fn stepped(&mut self, cause: EntryId) {
        self.steps += 1;
        self.count_step(cause);
    }

    /// A message has passed everything that is done to it before the transport.
    pub(super) fn take_off(&mut self, flight: Flight<MessageOf<S>>) {
        let Some(flight) = self.decode(flight) else { return };
        let Flight { hop, to, message, .. } = flight;
        if !self.states[hop.from.index()].up {
            return self.drop_message(hop, DropReason::Down);
        }
        let waiting = self.airborne.by_receiver.entry(hop.to).or_default();
        if waiting.len() >= self.plan.limits.inbox_max {
            return self.drop_message(hop, DropReason::Overflow);
        }
        waiting.push((hop, message.clone(), false));
        self.command(hop.from, Command::Transmit { to, message });
    }

    /// A transport received a message. One that nobody sent is what the transport itself makes of an ended call.
    fn heard(&mut self, node: NodeId, from: Address, message: MessageOf<S>) {
        let Some(hop) = self.airborne.take(node, &message) else {
            return self.command(node, Command::Deliver { from, message, cause: EntryId(0) });
        };
        self.airborne.known.insert((node, from), hop.from);
        if self.airborne.known.len() > ADDRESSES_MAX {
            return self.give_up(format!("transports made more than {ADDRESSES_MAX} addresses"));
        }
        let life = self.states[node.index()].life;
        if self.faults.watches_messages() {
            self.on_message(&hop, Moment::Before);
            let state = &self.states[node.index()];
            if !state.up || state.life != life {
                return self.drop_message(hop, DropReason::Down);
            }
        }
        self.messages.delivered += 1;
        let fact = Fact::Delivered { hop, message: &message };
        let cause = self.recorder.record(node, hop.sent, fact, &scene!(self));
        self.command(node, Command::Deliver { from, message, cause });
        if self.faults.watches_messages() {
            self.on_message(&hop, Moment::After);
        }
    }

    /// A transport gave a message up.
    fn lost(&mut self, node: NodeId, message: &MessageOf<S>, certain: bool) {
        let mut of_it = None;
        for (&receiver, waiting) in &mut self.airborne.by_receiver {
            let index =
                waiting.iter().position(|(hop, airborne, doubted)| hop.from == node && !doubted && airborne == message);
            if let Some(index) = index {
                of_it = Some((receiver, index));
                break;
            }
        }
        let Some((receiver, index)) = of_it else { return };
        let Some(waiting) = self.airborne.by_receiver.get_mut(&receiver) else { return };
        if certain {
            let (hop, ..) = waiting.remove(index);
            self.drop_message(hop, DropReason::Undelivered);
        } else {
            waiting[index].2 = true;
        }
    }

    /// A process died: what was on its way to it reaches nobody.
    pub(super) fn ground(&mut self, node: NodeId) {
        self.airborne.known.retain(|&(at, _), _| at != node);
        for (hop, ..) in self.airborne.by_receiver.remove(&node).unwrap_or_default() {
            self.drop_message(hop, DropReason::Down);
        }
    }

    /// A process ended with an error: nothing in the fault model makes it do so.
    fn ended(&mut self, node: NodeId, why: &str) {
        let name = &self.plan.nodes[node.index()];
        let last = EntryId(self.recorder.entries());
        self.recorder.findings.violated("RB1", self.now, [last], format!("the process on {name} ended: {why}"));
    }

    /// What a sender gave up and nobody heard was lost.
    fn conclude(&mut self) {
        let mut doubted = Vec::new();
        for waiting in self.airborne.by_receiver.values_mut() {
            doubted.extend(waiting.extract_if(.., |(.., doubted)| *doubted).map(|(hop, ..)| hop));
        }
        for hop in doubted {
            self.drop_message(hop, DropReason::Undelivered);
        }
        self.recorder.end(&scene!(self));
    }
}
