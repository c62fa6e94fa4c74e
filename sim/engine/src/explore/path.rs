//! One path as a history: the moves from the first state on, told like a run.

use crate::explore::expand::{Expander, Model, Move, renumber};
use crate::explore::tables::{Number, Tables, Word};
use crate::explore::{Breach, Ledger};
use crate::report::{json_entry, text_line};
use crate::{
    DownCause, DropReason, Entry, EntryId, Fact, Hop, NodeId, NodeSet, NodeState, Phase, Scene, System, Truth,
};
use serde_json::Value;
use squall_machine::{Kind, Time};
use std::collections::{BTreeMap, VecDeque};

/// Makes the first state; `on_turn` is shown each start. A start that violates something is the last.
pub(super) fn begin<S: System>(
    model: &Model<'_, S>,
    tables: &mut Tables<S>,
    mut on_turn: impl FnMut(&Tables<S>, NodeId, Number),
) -> Result<Vec<u32>, Breach> {
    let nodes = model.plan.nodes.len();
    let mut expander = Expander::new(model, tables.views());
    expander.begin();
    let mut words = std::mem::take(&mut expander.next);
    let found = expander.views.found();
    renumber(&mut words, nodes, &tables.absorb(found));
    for node in model.nodes().filter(|&node| !model.plan.absent.contains(node)) {
        let mut expander = Expander::new(model, tables.views());
        expander.next = words;
        let started = expander.start(node);
        let last = expander.last;
        words = std::mem::take(&mut expander.next);
        let found = expander.views.found();
        let renumbering = tables.absorb(found);
        renumber(&mut words, nodes, &renumbering);
        if let Some((node, turn)) = last {
            on_turn(tables, node, renumbering.turn(turn));
        }
        started?;
    }
    Ok(words)
}

/// A path that was told.
#[derive(Debug)]
pub(super) struct Narrated {
    pub(super) lines: Vec<String>,
    pub(super) entries: Vec<Value>,
    /// What its last entry violates.
    pub(super) breach: Option<Breach>,
    /// When it ends.
    pub(super) at: Time,
}

/// Tells a path, up to its first violation.
pub(super) fn tell<S: System>(model: &Model<'_, S>, tables: &mut Tables<S>, moves: &[Move]) -> Narrated {
    let mut teller = Teller::new(model);
    let begun = begin(model, tables, |tables, node, turn| teller.turn(tables, node, turn, EntryId(0)));
    if let Ok(mut words) = begun {
        for &next in moves {
            if teller.breach.is_some() {
                break;
            }
            let mut expander = Expander::new(model, tables.views());
            let applied = expander.apply(&words, next);
            let (last, after) = (expander.last, std::mem::take(&mut expander.next));
            teller.now = expander.now(&after);
            let message = match next {
                Move::Deliver { message } | Move::DeliverCopy { message } | Move::Lose { message } => {
                    expander.messages(&words).get(message).copied()
                }
                Move::Sync { .. } | Move::Wake { .. } | Move::Crash { .. } | Move::Restart { .. } => None,
            };
            let renumbering = tables.absorb(expander.views.found());
            words = after;
            renumber(&mut words, model.plan.nodes.len(), &renumbering);
            let cause = teller.cause(tables, next, message, last.is_some());
            if let Some((node, turn)) = last {
                teller.turn(tables, node, renumbering.turn(turn), cause);
            }
            drop(applied);
        }
    }
    Narrated { lines: teller.lines, entries: teller.entries, breach: teller.breach, at: teller.now }
}

struct Teller<'a, S: System> {
    model: &'a Model<'a, S>,
    states: Vec<NodeState>,
    core: NodeSet,
    ledger: S::Ledger,
    now: Time,
    /// The number of the last entry.
    last: u64,
    /// The sendings of the messages that are on their way; equal ones in their order.
    sent: BTreeMap<Number, VecDeque<EntryId>>,
    /// What each node reacted to last.
    reacted: Vec<EntryId>,
    lines: Vec<String>,
    entries: Vec<Value>,
    breach: Option<Breach>,
}

impl<'a, S: System> Teller<'a, S> {
    fn new(model: &'a Model<'a, S>) -> Self {
        let nodes = model.plan.nodes.len();
        Self {
            model,
            states: vec![NodeState::default(); nodes],
            core: NodeSet::default(),
            ledger: S::Ledger::default(),
            now: Time::ZERO,
            last: 0,
            sent: BTreeMap::new(),
            reacted: vec![EntryId(0); nodes],
            lines: Vec::new(),
            entries: Vec::new(),
            breach: None,
        }
    }

    fn entry(&mut self, node: NodeId, cause: EntryId, fact: Fact<'_, S>) -> EntryId {
        self.last += 1;
        let entry = Entry { id: EntryId(self.last), at: self.now, node, cause, fact };
        let scene = Scene {
            system: self.model.system,
            plan: self.model.plan,
            nodes: &self.states,
            now: self.now,
            phase: Phase::Faults,
            core: &self.core,
        };
        self.lines.push(text_line(&entry, &scene, false));
        self.entries.push(json_entry(&entry, &scene, false));
        entry.id
    }

    /// Tells what sets off the turn of a move, and returns its entry.
    fn cause(&mut self, tables: &Tables<S>, next: Move, message: Option<Number>, heard: bool) -> EntryId {
        let Some(number) = message else {
            return match next {
                Move::Sync { node } => self.reacted[node.index()],
                _ => EntryId(0),
            };
        };
        let flight = tables.flights.at(number);
        let waiting = self.sent.entry(number).or_default();
        let copy = matches!(next, Move::DeliverCopy { .. });
        let sent = if copy { waiting.front().copied() } else { waiting.pop_front() }.unwrap_or_default();
        let hop = Hop { sent, from: flight.from, to: flight.to, kind: flight.message.kind() };
        if heard {
            return self.entry(flight.to, sent, Fact::Delivered { hop, message: &flight.message });
        }
        let reason = if matches!(next, Move::Lose { .. }) { DropReason::Loss } else { DropReason::Down };
        self.entry(flight.from, sent, Fact::Dropped { hop, reason })
    }

    /// Tells what a node makes known in a turn, and judges it.
    fn turn(&mut self, tables: &Tables<S>, node: NodeId, turn: Number, cause: EntryId) {
        let turn = tables.turns.at(turn);
        let mut cause = cause;
        self.breach = turn.breach.as_deref().cloned();
        for word in &tables.speeches.at(turn.speech).words {
            match word {
                Word::Sent(number) => {
                    let flight = tables.flights.at(*number);
                    let sent = EntryId(self.last + 1);
                    let hop = Hop { sent, from: node, to: flight.to, kind: flight.message.kind() };
                    self.entry(node, cause, Fact::Sent { hop, message: &flight.message });
                    self.sent.entry(*number).or_default().push_back(sent);
                }
                Word::Event { decided, event } => {
                    self.entry(node, cause, Fact::Event { decided: *decided, event });
                }
                Word::Up { life, records } => {
                    (self.states[node.index()].up, self.states[node.index()].life) = (true, *life);
                    let truth = Truth::Up { life: *life, records: *records, torn_tail: false, disk_lost: false };
                    cause = self.entry(node, cause, Fact::Truth(&truth));
                }
                Word::Down { lost } => {
                    self.states[node.index()].up = false;
                    let truth = Truth::Down { lost: *lost, cause: DownCause::Crash };
                    self.entry(node, cause, Fact::Truth(&truth));
                }
            }
            let judged = word.told().map(|told| self.ledger.judge(self.model.system, node, &told));
            if let Some(Err(breach)) = judged {
                self.breach = Some(breach);
                return;
            }
        }
        self.reacted[node.index()] = cause;
    }
}
