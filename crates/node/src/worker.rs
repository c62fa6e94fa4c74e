//! A worker: a member that runs tasks.

#[cfg(test)]
mod tests;

use crate::{Bookmark, MemberConfig, MemberNode, MemberReply, MemberRequest, Record};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use squall_coordinator::Role;
use squall_machine::{Address, Durable, Effects, Input, Machine, Time, kinds_of_parts};
use squall_scheduler::{
    Agent, AgentConfig, AgentMessage, AgentReply, AgentRequest, Ignored, Incarnation, Offer, RuntimeCall, RuntimeOrder,
    StoreMessage,
};

/// What a worker has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WorkerNodeConfig {
    /// Who it is. The scheduler is reached where the coordinator is.
    pub member: MemberConfig,
    /// What it has.
    pub offer: Arc<Offer>,
    /// Where the checkpoint store is reached; `None`: nothing is saved or restored.
    pub store: Option<Address>,
    /// Settings of the scheduler.
    pub knobs: Arc<squall_scheduler::Knobs>,
}

/// Everything that travels to and from a worker.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerNodeMessage {
    /// Between the member and the coordinator.
    Member(squall_coordinator::Message),
    /// Between the agent and the scheduler.
    Task(squall_scheduler::Message),
    /// Between the agent and the checkpoint store.
    Store(StoreMessage),
}

/// What a worker tells the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(untagged)]
pub enum WorkerNodeEvent {
    /// About its stay.
    Member(squall_coordinator::Event),
    /// About its tasks.
    Task(squall_scheduler::Event),
}

kinds_of_parts!(WorkerNodeMessage {
    Member(squall_coordinator::Message),
    Task(squall_scheduler::Message),
    Store(StoreMessage),
});
kinds_of_parts!(WorkerNodeEvent { Member(squall_coordinator::Event), Task(squall_scheduler::Event) });

impl From<squall_coordinator::Message> for WorkerNodeMessage {
    fn from(message: squall_coordinator::Message) -> Self {
        Self::Member(message)
    }
}

impl From<AgentMessage> for WorkerNodeMessage {
    fn from(message: AgentMessage) -> Self {
        match message {
            AgentMessage::Task(message) => Self::Task(message),
            AgentMessage::Store(message) => Self::Store(message),
        }
    }
}

impl From<squall_coordinator::Event> for WorkerNodeEvent {
    fn from(event: squall_coordinator::Event) -> Self {
        Self::Member(event)
    }
}

impl From<squall_scheduler::Event> for WorkerNodeEvent {
    fn from(event: squall_scheduler::Event) -> Self {
        Self::Task(event)
    }
}

/// What local clients ask a worker.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum WorkerRequest {
    /// The runtime says something.
    Runtime(RuntimeCall),
    /// Planned departure: takes no more work, waits until what runs is done or has moved, tells the coordinator, then stops.
    Leave,
}

/// What a worker answers local clients, and tells them unasked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum WorkerReply {
    /// For the runtime.
    Runtime(RuntimeOrder),
    /// Unasked: the worker has stopped for good.
    Stopped {
        /// Whether with an error (another process took over its id), not by plan.
        superseded: bool,
    },
}

/// A worker node: a member that beats, and an agent that runs tasks under the incarnations which the member is granted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WorkerNode {
    member: MemberNode,
    agent: Agent,
    /// The member has stopped, and with it everything else.
    stopped: bool,
}

impl WorkerNode {
    /// A worker that has not booted.
    ///
    /// # Panics
    /// If the member isn't a worker.
    #[must_use]
    pub fn new(config: WorkerNodeConfig) -> Self {
        let WorkerNodeConfig { member, offer, store, knobs } = config;
        assert_eq!(member.role, Role::Worker, "only workers run tasks");
        let agent = Agent::new(AgentConfig {
            offer,
            scheduler: member.coordinator,
            store,
            return_spread: member.knobs.return_spread,
            seed: member.seed,
            knobs,
        });
        Self { member: MemberNode::new(member), agent, stopped: false }
    }

    /// The part that is a member.
    #[must_use]
    pub fn member(&self) -> &MemberNode {
        &self.member
    }

    /// The part that runs tasks.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// One input to the member; the agent hears at once how incarnations come and go.
    fn member_step(&mut self, now: Time, input: Input<MemberNode>, effects: &mut Effects<Self>) {
        let before = self.member.incarnation();
        let mut part = Effects::new();
        part.set_wall(effects.wall());
        self.member.step(now, input, &mut part);
        let stopped = &mut self.stopped;
        effects.take_over(&mut part, |reply, effects| match reply {
            MemberReply::Stopped { superseded } => {
                *stopped = true;
                effects.reply(WorkerReply::Stopped { superseded });
            }
            MemberReply::Answer { .. }
            | MemberReply::Decision { .. }
            | MemberReply::Rejected { .. }
            | MemberReply::Inactive { .. } => panic!("a worker has no local ranks"),
        });
        let after = self.member.incarnation();
        if before == after {
            return;
        }
        if before.is_some() {
            self.agent_step(now, Input::Request(AgentRequest::Ended), effects);
        }
        if let Some(incarnation) = after {
            let incarnation = Incarnation(incarnation.0);
            self.agent_step(now, Input::Request(AgentRequest::Began { incarnation }), effects);
        }
    }

    /// One input to the agent. Once it holds nothing and gets nothing, the member leaves.
    fn agent_step(&mut self, now: Time, input: Input<Agent>, effects: &mut Effects<Self>) {
        let mut part = Effects::new();
        part.set_wall(effects.wall());
        let mut replies = Vec::new();
        self.agent.step(now, input, &mut part);
        effects.take_over(&mut part, |reply, _| replies.push(reply));
        for reply in replies {
            match reply {
                AgentReply::Runtime(order) => effects.reply(WorkerReply::Runtime(order)),
                AgentReply::Left if self.stopped => {}
                AgentReply::Left => self.member_step(now, Input::Request(MemberRequest::Leave), effects),
            }
        }
    }

    /// An input for the agent of a worker that may have stopped.
    fn on_work(&mut self, now: Time, input: Input<Agent>, effects: &mut Effects<Self>) {
        if self.stopped {
            let event = squall_scheduler::Event::Ignored { reason: Ignored::UnknownWorker, incarnation: None };
            return effects.event(event.into());
        }
        self.agent_step(now, input, effects);
    }
}

impl Machine for WorkerNode {
    type Message = WorkerNodeMessage;
    type Request = WorkerRequest;
    type Reply = WorkerReply;
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = WorkerNodeEvent;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                self.agent_step(now, Input::Boot(Durable::empty()), effects);
                self.member_step(now, Input::Boot(durable.cast()), effects);
            }
            Input::Receive { from, message: WorkerNodeMessage::Member(message) } => {
                self.member_step(now, Input::Receive { from, message }, effects);
            }
            Input::Receive { from, message: WorkerNodeMessage::Task(message) } => {
                self.on_work(now, Input::Receive { from, message: AgentMessage::Task(message) }, effects);
            }
            Input::Receive { from, message: WorkerNodeMessage::Store(message) } => {
                self.on_work(now, Input::Receive { from, message: AgentMessage::Store(message) }, effects);
            }
            Input::Request(WorkerRequest::Runtime(call)) => {
                self.on_work(now, Input::Request(AgentRequest::Runtime(call)), effects);
            }
            Input::Request(WorkerRequest::Leave) => {
                self.on_work(now, Input::Request(AgentRequest::Leave), effects);
            }
            Input::Wake => {
                self.member_step(now, Input::Wake, effects);
                if !self.stopped {
                    self.agent_step(now, Input::Wake, effects);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let agent = if self.stopped { None } else { self.agent.deadline() };
        self.member.deadline().into_iter().chain(agent).min()
    }

    fn snapshot(&self) -> Option<Bookmark> {
        self.member.snapshot()
    }

    fn assert_invariants(&self) {
        self.member.assert_invariants();
        self.agent.assert_invariants();
        let incarnation = self.member.incarnation().map(|incarnation| Incarnation(incarnation.0));
        assert_eq!(self.agent.incarnation(), incarnation, "the agent works under the member's incarnation");
        assert!(!self.stopped || self.deadline().is_none(), "who has stopped wants nothing");
    }
}
