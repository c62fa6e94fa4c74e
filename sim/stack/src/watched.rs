//! The machine that a shell drives: the node itself, in a place where the world can look at it.

use crate::life::Life;
use squall::{EntryId, Report};
use squall_cluster::{Event, Message, Node, Order, Record, Snapshot};
use squall_machine::{Effects, Input, Machine, Time};
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A node whose machine lies in its [`Life`].
#[derive(Clone, Debug)]
pub(crate) struct Watched(pub(crate) Arc<Life>);

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.inner().machine == other.0.inner().machine
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.inner().machine.hash(state);
    }
}

impl Machine for Watched {
    type Message = Message;
    type Request = Order;
    type Reply = Infallible;
    type Record = Record;
    type Snapshot = Snapshot;
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        let mut inner = self.0.inner();
        let (input, cause) = match input {
            Input::Boot(durable) => (Input::Boot(durable.cast()), inner.cause),
            Input::Receive { from, message } => {
                (Input::Receive { from, message }, inner.deliveries.pop_front().unwrap_or_default())
            }
            Input::Request(request) => (Input::Request(request), inner.requests.pop_front().unwrap_or_default()),
            Input::Wake => (Input::Wake, EntryId(0)),
        };
        inner.cause = cause;
        let mut own = Effects::<Node>::new();
        own.set_wall(effects.wall());
        inner.machine.step(now, input, &mut own);
        effects.take_over(&mut own, |never, _| match never {});
        drop(inner);
        self.0.report(Report::Stepped { cause });
    }

    fn deadline(&self) -> Option<Time> {
        self.0.inner().machine.deadline()
    }

    fn snapshot(&self) -> Snapshot {
        self.0.inner().machine.snapshot()
    }

    fn assert_invariants(&self) {
        self.0.inner().machine.assert_invariants();
    }
}
