//! A worker's process where there are tasks: the worker node that is shipped, and the runtime beside it.

use crate::node::Order;
use crate::runtime::Runtime;
use squall_machine::{Effects, Input, Machine, Time};
use squall_node::{Bookmark, Record, WorkerNode, WorkerNodeEvent, WorkerNodeMessage, WorkerReply, WorkerRequest};
use std::convert::Infallible;

/// A worker node and its runtime. What the agent wants of the runtime, that hears within the same step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Runner {
    worker: WorkerNode,
    runtime: Runtime,
}

impl Runner {
    pub(crate) fn new(worker: WorkerNode, runtime: Runtime) -> Self {
        Self { worker, runtime }
    }

    /// The worker node.
    #[must_use]
    pub fn worker(&self) -> &WorkerNode {
        &self.worker
    }

    /// Whether a task has killed the process.
    #[must_use]
    pub fn dead(&self) -> bool {
        self.runtime.dead()
    }

    /// One step of the worker; what it wants of the runtime goes there.
    fn worker_step(&mut self, now: Time, input: Input<WorkerNode>, effects: &mut Effects<Self>) {
        let mut inner = Effects::new();
        inner.set_wall(effects.wall());
        self.worker.step(now, input, &mut inner);
        effects.take_over(&mut inner, |reply, _| match reply {
            WorkerReply::Runtime(order) => self.runtime.on_order(now, order),
            WorkerReply::Stopped { .. } => self.runtime.on_stopped(),
        });
    }

    /// Lets the runtime do what is due, until it waits.
    fn runtime_step(&mut self, now: Time, effects: &mut Effects<Self>) {
        let mut calls = Vec::new();
        loop {
            self.runtime.on_due(now, &mut calls);
            if calls.is_empty() || self.runtime.dead() {
                return;
            }
            for call in calls.drain(..) {
                self.worker_step(now, Input::Request(WorkerRequest::Runtime(call)), effects);
            }
        }
    }
}

impl Machine for Runner {
    type Message = WorkerNodeMessage;
    type Request = Order;
    type Reply = Infallible;
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = WorkerNodeEvent;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                self.worker_step(now, Input::Boot(durable.cast()), effects);
            }
            Input::Receive { from, message } => self.worker_step(now, Input::Receive { from, message }, effects),
            Input::Request(Order::Leave) => self.worker_step(now, Input::Request(WorkerRequest::Leave), effects),
            Input::Request(Order::Sicken) => self.runtime.on_sick(true),
            // No new load stops new ills as well.
            Input::Request(Order::Recover | Order::Quiet) => self.runtime.on_sick(false),
            Input::Request(Order::Train | Order::Rest | Order::Migrate | Order::ResetBreakers) => {
                unreachable!("the system asks no worker for this")
            }
            Input::Wake => self.worker_step(now, Input::Wake, effects),
        }
        self.runtime_step(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.worker.deadline().into_iter().chain(self.runtime.deadline()).min()
    }

    fn snapshot(&self) -> Option<Bookmark> {
        self.worker.snapshot()
    }

    fn assert_invariants(&self) {
        self.worker.assert_invariants();
        let agent = self.worker.agent();
        for attempt in self.runtime.attempts() {
            let known = self.dead() || agent.running().any(|(running, _)| running == attempt);
            assert!(known, "the runtime works on attempt {attempt}, of which its agent knows nothing");
        }
    }
}
