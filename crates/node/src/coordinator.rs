//! The coordinator node.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};
use squall_coordinator::{Cause, Coordinator, End, Knobs, Membership, Role, Spoke, Stage};
use squall_machine::{Address, Durable, Effects, Input, Machine, Time, kinds_of_parts};
use squall_scheduler::{BreakerKey, Call, Departure, Incarnation, Roster, Scheduler};

/// What a coordinator node has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CoordinatorNodeConfig {
    /// Settings of membership, notifications and quorums, the same as the members'.
    pub knobs: Arc<Knobs>,
    /// Settings of the scheduler, the same as the workers'.
    pub scheduler: Arc<squall_scheduler::Knobs>,
    /// For the jitter of delays.
    pub seed: u64,
}

/// Everything that travels to and from a coordinator node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorNodeMessage {
    /// About membership, notifications and quorums.
    Coordinator(squall_coordinator::Message),
    /// About tasks.
    Scheduler(squall_scheduler::Message),
}

/// What a coordinator node tells the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(untagged)]
pub enum CoordinatorNodeEvent {
    /// About membership, notifications and quorums.
    Coordinator(squall_coordinator::Event),
    /// About tasks.
    Scheduler(squall_scheduler::Event),
}

/// One durable record of a coordinator node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorNodeRecord {
    /// About membership, notifications and quorums.
    Coordinator(squall_coordinator::Record),
    /// About tasks.
    Scheduler(squall_scheduler::Record),
}

/// All durable state of a coordinator node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CoordinatorNodeSnapshot {
    /// About membership, notifications and quorums.
    pub coordinator: squall_coordinator::Snapshot,
    /// About tasks.
    pub scheduler: squall_scheduler::Snapshot,
}

kinds_of_parts!(CoordinatorNodeMessage {
    Coordinator(squall_coordinator::Message),
    Scheduler(squall_scheduler::Message),
});
kinds_of_parts!(CoordinatorNodeEvent { Coordinator(squall_coordinator::Event), Scheduler(squall_scheduler::Event) });

/// Wraps what a part says, tells or writes.
macro_rules! wraps {
    ($($whole:ident { $($part:ident($of:ty)),+ })+) => {$($(
        impl From<$of> for $whole {
            fn from(part: $of) -> Self {
                Self::$part(part)
            }
        }
    )+)+};
}

wraps! {
    CoordinatorNodeMessage { Coordinator(squall_coordinator::Message), Scheduler(squall_scheduler::Message) }
    CoordinatorNodeEvent { Coordinator(squall_coordinator::Event), Scheduler(squall_scheduler::Event) }
    CoordinatorNodeRecord { Coordinator(squall_coordinator::Record), Scheduler(squall_scheduler::Record) }
}

/// What an operator asks a coordinator node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CoordinatorRequest {
    /// To move a running task to another worker.
    Migrate {
        /// Which.
        task: squall_machine::Text,
    },
    /// To close a breaker.
    ResetBreaker {
        /// Which.
        key: BreakerKey,
    },
}

/// The process that decides who is a member, who works together, and who does which task.
///
/// There is one liveness, and no second opinion about it: the scheduler is told how the coordinator's members come and go in
/// the step in which that happens, and asks the coordinator whom it may give work.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CoordinatorNode {
    coordinator: Coordinator,
    scheduler: Scheduler,
}

/// Who may be given work: the coordinator's one predicate, at one moment.
struct Living<'a> {
    coordinator: &'a Coordinator,
    now: Time,
}

impl Roster for Living<'_> {
    fn takes_work(&self, incarnation: Incarnation) -> bool {
        self.coordinator.alive(squall_coordinator::Incarnation(incarnation.0), self.now)
    }
}

impl CoordinatorNode {
    /// A coordinator that has not booted.
    #[must_use]
    pub fn new(config: CoordinatorNodeConfig) -> Self {
        Self { coordinator: Coordinator::new(config.knobs), scheduler: Scheduler::new(config.scheduler, config.seed) }
    }

    /// The core that knows who is alive.
    #[must_use]
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// The core that knows who does what.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// One input to the coordinator; the scheduler hears at once how workers come and go.
    fn coordinate(&mut self, now: Time, input: Input<Coordinator>, effects: &mut Effects<Self>) {
        let mut part = Effects::new();
        part.set_wall(effects.wall());
        self.coordinator.step(now, input, &mut part);
        let mut calls = VecDeque::new();
        effects.take_over(&mut part, |membership, _| calls.extend(call(membership)));
        for call in calls {
            self.schedule(now, Input::Request(call), effects);
        }
    }

    fn schedule(&mut self, now: Time, input: Input<Scheduler>, effects: &mut Effects<Self>) {
        let mut part = Effects::new();
        self.scheduler.step(now, input, &mut part);
        effects.take_over(&mut part, |never, _| match never {});
    }

    /// Gives work to whoever may have it now.
    fn place(&mut self, now: Time, effects: &mut Effects<Self>) {
        let mut part = Effects::new();
        self.scheduler.place(now, &Living { coordinator: &self.coordinator, now }, &mut part);
        effects.take_over(&mut part, |never, _| match never {});
    }

    fn on_boot(&mut self, now: Time, durable: Durable<Self>, effects: &mut Effects<Self>) {
        let torn_tail = durable.torn_tail;
        let (coordinator, scheduler) = durable.snapshot.map(|both| (both.coordinator, both.scheduler)).unzip();
        let mut coordinator = Durable { snapshot: coordinator, records: alloc::vec::Vec::new(), torn_tail };
        let mut scheduler = Durable { snapshot: scheduler, records: alloc::vec::Vec::new(), torn_tail };
        for record in durable.records {
            match record {
                CoordinatorNodeRecord::Coordinator(record) => coordinator.records.push(record),
                CoordinatorNodeRecord::Scheduler(record) => scheduler.records.push(record),
            }
        }
        self.coordinate(now, Input::Boot(coordinator), effects);
        self.schedule(now, Input::Boot(scheduler), effects);
        self.reconcile(now, effects);
    }

    /// A crash between two records may have left the scheduler behind the coordinator.
    fn reconcile(&mut self, now: Time, effects: &mut Effects<Self>) {
        let live = |incarnation: Incarnation| {
            let member = self.coordinator.member(squall_coordinator::Incarnation(incarnation.0));
            member.map(|member| member.stage)
        };
        let known = self.scheduler.known_workers();
        let gone = known.filter_map(|incarnation| {
            let departure = match live(incarnation) {
                Some(Stage::Granted | Stage::Begun) => return None,
                Some(Stage::Ended(end)) => departure(end),
                None => Departure::Disconnected,
            };
            Some(Call::Ended { incarnation, departure })
        });
        let members = self.coordinator.live_members().filter(|(_, member)| member.role == Role::Worker);
        let began = members.map(|(incarnation, member)| Call::Began {
            worker: member.id.clone(),
            incarnation: Incarnation(incarnation.0),
        });
        let calls: alloc::vec::Vec<Call> = gone.chain(began).collect();
        for call in calls {
            self.schedule(now, Input::Request(call), effects);
        }
    }

    fn on_receive(&mut self, now: Time, from: Address, message: CoordinatorNodeMessage, effects: &mut Effects<Self>) {
        match message {
            CoordinatorNodeMessage::Coordinator(message) => {
                self.coordinate(now, Input::Receive { from, message }, effects);
            }
            CoordinatorNodeMessage::Scheduler(message) => {
                // Nobody who is overdue is listened to.
                let input = match message.speaker() {
                    Some(Incarnation(incarnation)) => {
                        Input::Request(Spoke { incarnation: squall_coordinator::Incarnation(incarnation) })
                    }
                    None => Input::Wake,
                };
                self.coordinate(now, input, effects);
                self.schedule(now, Input::Receive { from, message }, effects);
            }
        }
    }
}

/// What the scheduler has to know of a member's coming or going; nothing if that is no worker.
fn call(membership: Membership) -> Option<Call> {
    match membership {
        Membership::Began { member, incarnation, role: Role::Worker } => {
            Some(Call::Began { worker: member, incarnation: Incarnation(incarnation.0) })
        }
        Membership::Ended { incarnation, role: Role::Worker, end } => {
            Some(Call::Ended { incarnation: Incarnation(incarnation.0), departure: departure(end) })
        }
        Membership::Began { role: Role::Replica, .. } | Membership::Ended { role: Role::Replica, .. } => None,
    }
}

const fn departure(end: End) -> Departure {
    match end {
        End::Left => Departure::Left,
        End::Failed(Cause::Timeout) => Departure::Disconnected,
        End::Failed(Cause::Superseded) => Departure::Crashed,
    }
}

impl Machine for CoordinatorNode {
    type Message = CoordinatorNodeMessage;
    type Request = CoordinatorRequest;
    type Reply = core::convert::Infallible;
    type Record = CoordinatorNodeRecord;
    type Snapshot = CoordinatorNodeSnapshot;
    type Event = CoordinatorNodeEvent;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => self.on_boot(now, durable, effects),
            Input::Receive { from, message } => self.on_receive(now, from, message, effects),
            Input::Request(request) => {
                self.coordinate(now, Input::Wake, effects);
                let call = match request {
                    CoordinatorRequest::Migrate { task } => Call::Migrate { task },
                    CoordinatorRequest::ResetBreaker { key } => Call::ResetBreaker { key },
                };
                self.schedule(now, Input::Request(call), effects);
            }
            Input::Wake => self.coordinate(now, Input::Wake, effects),
        }
        if self.scheduler.is_due(now) {
            self.schedule(now, Input::Wake, effects);
        }
        if self.scheduler.has_work() {
            self.place(now, effects);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.coordinator.deadline().into_iter().chain(self.scheduler.deadline()).min()
    }

    fn snapshot(&self) -> CoordinatorNodeSnapshot {
        CoordinatorNodeSnapshot { coordinator: self.coordinator.snapshot(), scheduler: self.scheduler.snapshot() }
    }

    fn assert_invariants(&self) {
        self.coordinator.assert_invariants();
        self.scheduler.assert_invariants();
        let now_known = self.scheduler.known_workers();
        for incarnation in now_known {
            let member = self.coordinator.member(squall_coordinator::Incarnation(incarnation.0));
            let live = member.is_some_and(|member| member.stage == Stage::Begun);
            assert!(live, "the scheduler holds on to incarnation {incarnation}, which has ended");
        }
    }
}
