//! A peer's process: the node that is shipped, and the local subscribers that it tells what becomes of its group.

use crate::node::{Event, Order};
use serde::Serialize;
use squall_machine::{Effects, Input, Machine, Random, Ratio, Span, Time, kinds};
use squall_node::{PeerNode, PeerNodeMessage};
use squall_recovery::{Cursor, Notice, PeerReply, PeerRequest, Session, Subscription};
use std::convert::Infallible;
use std::sync::Arc;

/// A peer node and its subscribers. What the one tells or asks, the other hears within the same step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Audience {
    node: PeerNode,
    listeners: Vec<Listener>,
}

/// A local subscriber.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Listener {
    session: Session,
    /// Whether it confirms what it is told only when it comes round to it.
    late: bool,
    random: Random,
    /// What it confirmed last, if anything.
    confirmed: Option<Cursor>,
    /// What it was told last, if anything.
    told: Option<Cursor>,
    /// When it confirms. (there is something to confirm)
    due: Option<Time>,
}

/// How long a late subscriber lets its peer wait.
const PAUSE: (Span, Span) = (Span::from_secs(1), Span::from_secs(20));

/// What a local subscriber does and hears.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerEvent {
    /// It subscribes, or confirms what it was told up to `after`; it wants what follows.
    Asked {
        /// Which subscriber.
        session: Session,
        /// The last notice that it has; `None` if it wants to begin with how things stand.
        after: Option<Cursor>,
    },
    /// It is told one thing.
    Told {
        /// Which subscriber.
        session: Session,
        /// What.
        notice: Arc<Notice>,
    },
    /// It is told where things stand.
    Cut {
        /// Which subscriber.
        session: Session,
        /// Where.
        subscription: Arc<Subscription>,
    },
}

kinds!(ListenerEvent {
    listener_asked => Asked { .. },
    listener_told => Told { .. },
    listener_cut => Cut { .. },
});

impl Audience {
    /// A peer node with a subscriber that reads at once and one that reads late, or with none.
    pub(crate) fn new(node: PeerNode, listens: bool, seed: u64) -> Self {
        let listener = |late: bool| {
            let mut random = Random::new(seed, if late { "late listener" } else { "listener" });
            Listener { session: Session(random.next()), late, random, confirmed: None, told: None, due: None }
        };
        let listeners = if listens { vec![listener(false), listener(true)] } else { Vec::new() };
        Self { node, listeners }
    }

    /// The peer node.
    #[must_use]
    pub fn node(&self) -> &PeerNode {
        &self.node
    }

    fn node_step(&mut self, now: Time, input: Input<PeerNode>, effects: &mut Effects<Self>) {
        let mut inner = Effects::new();
        inner.set_wall(effects.wall());
        self.node.step(now, input, &mut inner);
        effects.take_over(&mut inner, |reply, effects| {
            let event = match reply {
                PeerReply::Notice { session, notice } => ListenerEvent::Told { session, notice: Arc::new(notice) },
                PeerReply::Snapshot { session, subscription } => {
                    ListenerEvent::Cut { session, subscription: Arc::new(subscription) }
                }
                PeerReply::Aborted { .. } => return,
            };
            let (session, told) = match &event {
                ListenerEvent::Told { session, notice } => (*session, notice.cursor),
                ListenerEvent::Cut { session, subscription } => (*session, subscription.cursor),
                ListenerEvent::Asked { .. } => unreachable!("nobody is told what it asks"),
            };
            let listener = self.listeners.iter_mut().find(|listener| listener.session == session);
            let Some(listener) = listener else { unreachable!("only who subscribed is told anything") };
            listener.on_told(now, told, matches!(event, ListenerEvent::Cut { .. }));
            effects.event(event.into());
        });
    }

    /// Lets every subscriber say what it has to say, until all wait.
    fn listen(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some(index) = self.listeners.iter().position(|listener| listener.due.is_some_and(|due| due <= now)) {
            let listener = &mut self.listeners[index];
            let (session, after) = (listener.session, listener.ask());
            effects.event(ListenerEvent::Asked { session, after }.into());
            self.node_step(now, Input::Request(PeerRequest::Subscribe { session, after }), effects);
        }
    }
}

impl Listener {
    fn on_told(&mut self, now: Time, cursor: Cursor, cut: bool) {
        self.told = Some(cursor);
        if cut {
            // A cut is confirmed by itself.
            self.confirmed = Some(cursor);
            return;
        }
        let pause = if self.late { self.random.span(PAUSE.0, PAUSE.1) } else { Span::ZERO };
        self.due.get_or_insert(now + pause);
    }

    /// Confirms what it was told. Who reads late forgets that now and then, and asks for it once more.
    fn ask(&mut self) -> Option<Cursor> {
        self.due = None;
        let forgets = self.late && self.told.is_some() && self.random.chance(FORGETS);
        if !forgets {
            self.confirmed = self.told;
        }
        self.confirmed
    }
}

/// How often a late subscriber forgets.
const FORGETS: Ratio = match Ratio::new(1, 4) {
    Some(ratio) => ratio,
    None => unreachable!(),
};

impl Machine for Audience {
    type Message = PeerNodeMessage;
    type Request = Order;
    type Reply = Infallible;
    type Record = Infallible;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                self.node_step(now, Input::Boot(durable.cast()), effects);
                self.listeners.iter_mut().for_each(|listener| listener.due = Some(now));
            }
            Input::Receive { from, message } => self.node_step(now, Input::Receive { from, message }, effects),
            Input::Request(Order::Recover) => self.node_step(now, Input::Request(PeerRequest::Recover), effects),
            Input::Request(order) => unreachable!("the system asks no peer for {order:?}"),
            Input::Wake => self.node_step(now, Input::Wake, effects),
        }
        self.listen(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        let listeners = self.listeners.iter().filter_map(|listener| listener.due);
        self.node.deadline().into_iter().chain(listeners).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        self.node.assert_invariants();
        for listener in &self.listeners {
            assert!(listener.confirmed <= listener.told, "only what was told is confirmed");
        }
    }
}
