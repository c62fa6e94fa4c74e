//! A replica's process: the member node that is shipped, and the local ranks that call it.

use crate::node::Order;
use crate::trainer::{Call, Heard, Trainer};
use squall_coordinator::{Event, Message};
use squall_machine::{Effects, Input, Machine, Time};
use squall_node::{Bookmark, MemberNode, MemberReply, MemberRequest, Record};
use std::convert::Infallible;

/// A member node and its local ranks. What the member answers, the ranks hear within the same step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Replica {
    member: MemberNode,
    trainer: Trainer,
}

impl Replica {
    pub(crate) fn new(member: MemberNode, trainer: Trainer) -> Self {
        Self { member, trainer }
    }

    /// The member node.
    #[must_use]
    pub fn member(&self) -> &MemberNode {
        &self.member
    }

    /// One step of the member; its answers go to the ranks.
    fn member_step(&mut self, now: Time, input: Input<MemberNode>, effects: &mut Effects<Self>) {
        let mut inner = Effects::new();
        inner.set_wall(effects.wall());
        self.member.step(now, input, &mut inner);
        effects.take_over(&mut inner, |reply, _| {
            self.trainer.on_heard(
                now,
                match reply {
                    MemberReply::Answer { rank, token, answer } => Heard::Answer { rank, token, answer },
                    MemberReply::Decision { rank, token, decision, .. } => {
                        Heard::Decision { rank, token, commit: decision }
                    }
                    MemberReply::Rejected { rank, token, .. } => Heard::Rejected { rank, token },
                    MemberReply::Inactive { formation, .. } => Heard::Inactive { formation },
                    MemberReply::Stopped { .. } => Heard::Stopped,
                },
            );
        });
    }

    /// Lets the ranks do what is due, until they all wait.
    fn ranks_step(&mut self, now: Time, effects: &mut Effects<Self>) {
        let mut calls = Vec::new();
        loop {
            self.trainer.on_due(now, &mut calls);
            if calls.is_empty() {
                return;
            }
            for call in calls.drain(..) {
                let request = match call {
                    Call::Quorum { rank, token, call } => MemberRequest::Quorum { rank, token, call },
                    Call::Vote { rank, token, step, quorum_id, commit } => {
                        MemberRequest::Vote { rank, token, step, quorum_id, commit }
                    }
                };
                self.member_step(now, Input::Request(request), effects);
            }
        }
    }
}

impl Machine for Replica {
    type Message = Message;
    type Request = Order;
    type Reply = Infallible;
    type Record = Record;
    type Snapshot = Option<Bookmark>;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                self.member_step(now, Input::Boot(durable.cast()), effects);
                self.trainer.on_boot(now);
            }
            Input::Receive { from, message } => self.member_step(now, Input::Receive { from, message }, effects),
            Input::Request(Order::Leave) => self.member_step(now, Input::Request(MemberRequest::Leave), effects),
            Input::Request(Order::Train) => self.trainer.on_train(now),
            Input::Request(Order::Rest) => self.trainer.on_rest(),
            Input::Request(Order::Recover | Order::Sicken | Order::Quiet | Order::Migrate | Order::ResetBreakers) => {
                unreachable!("the system asks no replica for this")
            }
            Input::Wake => self.member_step(now, Input::Wake, effects),
        }
        self.ranks_step(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.member.deadline().into_iter().chain(self.trainer.deadline()).min()
    }

    fn snapshot(&self) -> Option<Bookmark> {
        self.member.snapshot()
    }

    fn assert_invariants(&self) {
        self.member.assert_invariants();
    }
}
