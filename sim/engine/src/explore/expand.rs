//! States as a few words each, the moves that lead from one to the next, and what each move does.

use crate::explore::digest::digest;
use crate::explore::place::{Place, Said};
use crate::explore::tables::{
    Flight, Judgement, Kept, Marked, Number, Renumbering, Speech, Turn, Views, Word, judgement_key,
};
use crate::explore::{Bounds, Breach, Ledger};
use crate::run::guarded;
use crate::{EventOf, NodeId, NodeSet, Plan, Start, System};
use squall_machine::{Input, Machine, Random, Time, Wall};
use std::fmt;
use xxhash_rust::xxh3::xxh3_128;

/// What is explored.
#[derive(Debug)]
pub(super) struct Model<'a, S: System> {
    pub(super) system: &'a S,
    pub(super) plan: &'a Plan,
    pub(super) bounds: &'a Bounds,
    pub(super) seed: u64,
}

impl<S: System> Model<'_, S> {
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<S> {
        (0..self.plan.nodes.len() as u32).map(NodeId)
    }
}

/// The words of a state that come before its messages: one per node, and these.
const FRAME: usize = 5;
/// After the nodes: the ledger.
const LEDGER: usize = 0;
/// The time, in two words.
const NOW: usize = 1;
/// What is left of the bounds, one byte each.
const LEFT: usize = 3;
/// How many wakes are left.
const WAKES: usize = 4;

/// The most nodes. Systems of far fewer have too many states to explore already.
pub(super) const NODES_MAX: usize = 64;

/// What the faults may still do on a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Left {
    losses: u8,
    duplicates: u8,
    crashes: u8,
    restarts: u8,
}

impl Left {
    const fn word(self) -> u32 {
        u32::from_le_bytes([self.losses, self.duplicates, self.crashes, self.restarts])
    }

    const fn of_word(word: u32) -> Self {
        let [losses, duplicates, crashes, restarts] = word.to_le_bytes();
        Self { losses, duplicates, crashes, restarts }
    }
}

/// What can happen next. Messages are told by their place in the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Move {
    /// A message arrives.
    Deliver { message: usize },
    /// A message arrives, and a copy of it is still on its way.
    DeliverCopy { message: usize },
    /// A message is lost.
    Lose { message: usize },
    /// Everything that a node has written becomes durable.
    Sync { node: NodeId },
    /// A deadline is reached; time goes on to it if need be.
    Wake { node: NodeId },
    /// A process dies, and the first records that it hadn't synced survive.
    Crash { node: NodeId, kept: usize },
    /// A process starts.
    Restart { node: NodeId },
}

impl Move {
    /// The move in one word.
    pub(super) fn word(self) -> u32 {
        let (kind, operand) = match self {
            Self::Deliver { message } => (0, message as u32),
            Self::DeliverCopy { message } => (1, message as u32),
            Self::Lose { message } => (2, message as u32),
            Self::Sync { node } => (3, node.0),
            Self::Wake { node } => (4, node.0),
            Self::Crash { node, kept } => {
                assert!(kept < 1 << 16, "a process syncs before it has written so much");
                (5, node.0 << 16 | kept as u32)
            }
            Self::Restart { node } => (6, node.0),
        };
        assert!(operand < 1 << 28, "a state has fewer messages, and fewer nodes");
        (kind << 28) | operand
    }

    /// The move that this word stands for.
    pub(super) fn of_word(word: u32) -> Self {
        let operand = word & ((1 << 28) - 1);
        let (message, node) = (operand as usize, NodeId(operand));
        match word >> 28 {
            0 => Self::Deliver { message },
            1 => Self::DeliverCopy { message },
            2 => Self::Lose { message },
            3 => Self::Sync { node },
            4 => Self::Wake { node },
            5 => Self::Crash { node: NodeId(operand >> 16), kept: message & 0xffff },
            6 => Self::Restart { node },
            kind => unreachable!("no move has kind {kind}"),
        }
    }
}

/// What one node does in a move.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Receive(Number),
    Wake,
    Sync,
    Crash { kept: usize },
    Start,
}

impl Deed {
    const fn word(self) -> u64 {
        match self {
            Self::Receive(flight) => (flight as u64) << 3,
            Self::Wake => 1,
            Self::Sync => 2,
            Self::Crash { kept } => (kept as u64) << 3 | 3,
            Self::Start => 4,
        }
    }
}

/// Makes states out of states. One per thread.
pub(super) struct Expander<'a, S: System> {
    pub(super) model: &'a Model<'a, S>,
    pub(super) views: Views<'a, S>,
    /// The state that the last move led to.
    pub(super) next: Vec<u32>,
    /// The turn that the last move took, and whose.
    pub(super) last: Option<(NodeId, Number)>,
    moves: Vec<Move>,
    bytes: Vec<u8>,
}

impl<S: System> fmt::Debug for Expander<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expander").field("next", &self.next).finish_non_exhaustive()
    }
}

/// A ledger judges plain events; whatever panics in it is a bug like any other.
const PANIC: &str = "RB1";

impl<'a, S: System> Expander<'a, S> {
    pub(super) fn new(model: &'a Model<'a, S>, views: Views<'a, S>) -> Self {
        Self { model, views, next: Vec::new(), last: None, moves: Vec::new(), bytes: Vec::new() }
    }

    fn nodes(&self) -> usize {
        self.model.plan.nodes.len()
    }

    fn kept(&self, words: &[u32], node: NodeId) -> &Kept<S> {
        self.views.places.at(words[node.index()])
    }

    pub(super) fn now(&self, words: &[u32]) -> Time {
        let at = self.nodes() + NOW;
        Time::from_nanos(u64::from(words[at + 1]) << 32 | u64::from(words[at]))
    }

    /// The numbers of the messages on their way, those of equal ones side by side.
    pub(super) fn messages<'w>(&self, words: &'w [u32]) -> &'w [u32] {
        &words[self.nodes() + FRAME..]
    }

    fn left(&self, words: &[u32]) -> Left {
        Left::of_word(words[self.nodes() + LEFT])
    }

    // ---- the first state

    /// Starts the state in which nothing runs yet, in [`next`](Self::next).
    pub(super) fn begin(&mut self) {
        let empty = self.views.places.number(Place::empty(), Kept::of);
        let ledger = self.views.ledgers.number(S::Ledger::default(), |ledger| ledger);
        let bounds = self.model.bounds;
        let left = Left {
            losses: bounds.losses,
            duplicates: bounds.duplicates,
            crashes: bounds.crashes,
            restarts: bounds.restarts,
        };
        self.next.clear();
        self.next.resize(self.nodes(), empty);
        self.next.extend([ledger, 0, 0, left.word(), bounds.wakes.unwrap_or(u32::MAX)]);
    }

    /// The process that runs at a node from the beginning starts.
    pub(super) fn start(&mut self, node: NodeId) -> Result<(), Breach> {
        let words = std::mem::take(&mut self.next);
        self.next.extend_from_slice(&words);
        self.act(node, Deed::Start)
    }

    // ---- moves

    /// Everything that can happen in a state, in a fixed order.
    fn list(&mut self, words: &[u32]) {
        let mut moves = std::mem::take(&mut self.moves);
        moves.clear();
        let left = self.left(words);
        let messages = self.messages(words);
        for (message, number) in messages.iter().enumerate() {
            // Equal messages are as good as each other.
            if message > 0 && messages[message - 1] == *number {
                continue;
            }
            let up = self.kept(words, self.views.flights.at(*number).to).up;
            // Without a longest delay, what would reach nobody is better left on its way: that leads nowhere else.
            if up || self.model.bounds.delay.is_some() {
                moves.push(Move::Deliver { message });
            }
            if up && left.duplicates > 0 {
                moves.push(Move::DeliverCopy { message });
            }
            if up && left.losses > 0 {
                moves.push(Move::Lose { message });
            }
        }
        self.list_nodes(words, left, &mut moves);
        self.moves = moves;
    }

    fn list_nodes(&self, words: &[u32], left: Left, moves: &mut Vec<Move>) {
        let nodes = || self.model.nodes();
        moves.extend(nodes().filter(|&node| self.kept(words, node).unsynced > 0).map(|node| Move::Sync { node }));
        if let Some(due) = self.next_wake(words) {
            let is_due = |node: &NodeId| self.kept(words, *node).deadline == Some(due);
            moves.extend(nodes().filter(is_due).map(|node| Move::Wake { node }));
        }
        let down = nodes().filter(|&node| !self.kept(words, node).up).count();
        let more = self.model.plan.budget.impaired_max.is_none_or(|most| down < most as usize);
        if left.crashes > 0 && more {
            for node in nodes().filter(|&node| self.kept(words, node).up && !self.spared().contains(node)) {
                let unsynced = self.kept(words, node).unsynced as usize;
                moves.extend((0..=unsynced).map(|kept| Move::Crash { node, kept }));
            }
        }
        if left.restarts > 0 {
            moves.extend(nodes().filter(|&node| !self.kept(words, node).up).map(|node| Move::Restart { node }));
        }
    }

    fn spared(&self) -> &NodeSet {
        &self.model.plan.budget.spared
    }

    /// The deadline that can be reached next: the earliest, if time may go on to it.
    fn next_wake(&self, words: &[u32]) -> Option<Time> {
        if words[self.nodes() + WAKES] == 0 {
            return None;
        }
        let due = self.model.nodes().filter_map(|node| self.kept(words, node).deadline).min()?;
        if due <= self.now(words) {
            return Some(due);
        }
        // Disks are done, and messages arrive, before time goes on.
        let synced = self.model.nodes().all(|node| self.kept(words, node).unsynced == 0);
        let arrived = self.messages(words).iter().all(|&number| self.views.flights.at(number).until >= due);
        let in_time = self.model.bounds.time.is_none_or(|end| due <= Time::ZERO + end);
        (synced && arrived && in_time).then_some(due)
    }

    /// Makes every next state of a state, in a fixed order: `found` is shown the move, the state and its digest.
    pub(super) fn expand(
        &mut self,
        words: &[u32],
        mut found: impl FnMut(Move, &[u32], u128),
    ) -> Result<(), (Move, Breach)> {
        self.list(words);
        for index in 0..self.moves.len() {
            let next = self.moves[index];
            self.apply(words, next).map_err(|breach| (next, breach))?;
            let digest = self.digest();
            found(next, &self.next, digest);
        }
        Ok(())
    }

    /// Makes the state that a move leads to, in [`next`](Self::next).
    pub(super) fn apply(&mut self, words: &[u32], next: Move) -> Result<(), Breach> {
        self.last = None;
        self.next.clear();
        self.next.extend_from_slice(words);
        let nodes = self.nodes();
        let mut left = self.left(words);
        let deed = match next {
            Move::Deliver { message } | Move::DeliverCopy { message } | Move::Lose { message } => {
                let number = self.messages(words)[message];
                if let Move::DeliverCopy { .. } = next {
                    left.duplicates -= 1;
                } else {
                    self.next.remove(nodes + FRAME + message);
                }
                left.losses -= u8::from(matches!(next, Move::Lose { .. }));
                let to = self.views.flights.at(number).to;
                let arrives = !matches!(next, Move::Lose { .. }) && self.kept(words, to).up;
                arrives.then_some((to, Deed::Receive(number)))
            }
            Move::Sync { node } => Some((node, Deed::Sync)),
            Move::Wake { node } => {
                let due = self.kept(words, node).deadline.unwrap_or(Time::ZERO).max(self.now(words)).as_nanos();
                self.next[nodes + NOW] = due as u32;
                self.next[nodes + NOW + 1] = (due >> 32) as u32;
                if self.model.bounds.wakes.is_some() {
                    self.next[nodes + WAKES] -= 1;
                }
                Some((node, Deed::Wake))
            }
            Move::Crash { node, kept } => {
                left.crashes -= 1;
                Some((node, Deed::Crash { kept }))
            }
            Move::Restart { node } => {
                left.restarts -= 1;
                Some((node, Deed::Start))
            }
        };
        self.next[nodes + LEFT] = left.word();
        deed.map_or(Ok(()), |(node, deed)| self.act(node, deed))?;
        self.forget_the_unheard(left);
        Ok(())
    }

    /// Where nobody runs and nobody will, messages make no difference.
    fn forget_the_unheard(&mut self, left: Left) {
        let frame = self.nodes() + FRAME;
        if left.restarts > 0 || self.model.nodes().all(|node| self.kept(&self.next, node).up) {
            return;
        }
        let mut end = frame;
        for index in frame..self.next.len() {
            let number = self.next[index];
            if self.kept(&self.next, self.views.flights.at(number).to).up {
                self.next[end] = number;
                end += 1;
            }
        }
        self.next.truncate(end);
    }

    /// One node does something; what it says becomes part of the next state, and is judged.
    fn act(&mut self, node: NodeId, deed: Deed) -> Result<(), Breach> {
        let turn = self.turn(node, deed);
        self.last = Some((node, turn));
        let Turn { place, speech, breach } = self.views.turns.at(turn);
        if let Some(breach) = breach {
            return Err((**breach).clone());
        }
        self.next[node.index()] = *place;
        let (frame, speech) = (self.nodes() + FRAME, *speech);
        let Speech { sent, tells, .. } = self.views.speeches.at(speech);
        for &number in sent {
            let flights = &self.views.flights;
            let key = flights.key(number);
            let at = self.next[frame..].partition_point(|&other| flights.key(other) < key);
            self.next.insert(frame + at, number);
        }
        if *tells {
            let ledger = self.nodes() + LEDGER;
            self.next[ledger] = self.judge(self.next[ledger], node, speech)?;
        }
        Ok(())
    }

    /// What this makes of a node, taken only if it never was before.
    fn turn(&mut self, node: NodeId, deed: Deed) -> Number {
        let (place, now) = (self.next[node.index()], self.now(&self.next));
        // Nobody can tell when a disk is done if the process can't die before.
        let hasty = self.left(&self.next).crashes == 0 || self.spared().contains(node);
        let mut key = [0u8; 25];
        key[..8].copy_from_slice(&now.as_nanos().to_le_bytes());
        key[8..16].copy_from_slice(&deed.word().to_le_bytes());
        key[16..20].copy_from_slice(&place.to_le_bytes());
        key[20..24].copy_from_slice(&node.0.to_le_bytes());
        key[24] = u8::from(hasty);
        let key = xxh3_128(&key);
        if let Some(known) = self.views.turns.find(key) {
            return known;
        }
        let mut after = (*self.views.places.at(place).place).clone();
        let taken = guarded(|| {
            let words = self.take(&mut after, node, deed, now, hasty);
            (after, words)
        });
        let turn = match taken {
            Ok((after, words)) => {
                Turn { place: self.views.places.number(after, Kept::of), speech: self.speech(words), breach: None }
            }
            Err(what) => {
                let breach = Some(Box::new(Breach::of(PANIC, format!("panicked: {what}"))));
                Turn { place, speech: self.speech(Vec::new()), breach }
            }
        };
        self.views.turns.add(key, turn, 0)
    }

    /// The number of what became known.
    fn speech(&mut self, words: Vec<Word<S>>) -> Number {
        let heard: Vec<Heard<'_, EventOf<S>>> = words.iter().map(|word| Heard::of(word, &self.views)).collect();
        let (key, bytes) = digest(&heard);
        self.views.speeches.find(key).unwrap_or_else(|| {
            let sent = words.iter().filter_map(|word| if let Word::Sent(number) = word { Some(*number) } else { None });
            let (sent, tells) = (sent.collect(), words.iter().any(|word| word.told().is_some()));
            let content = bytes + size_of_val(&*words);
            self.views.speeches.add(key, Speech { sent, tells, words: words.into() }, content)
        })
    }

    /// Lets a node do something.
    fn take(&mut self, place: &mut Place<S::Node>, node: NodeId, deed: Deed, now: Time, hasty: bool) -> Vec<Word<S>> {
        let mut words = Vec::new();
        let mut said = match deed {
            Deed::Receive(number) => {
                let flight = self.views.flights.at(number);
                let (from, message) = (flight.from.address(0), flight.message.clone());
                place.step(now, Input::Receive { from, message })
            }
            Deed::Wake => place.step(now, Input::Wake),
            Deed::Sync => place.sync(),
            Deed::Crash { kept } => {
                words.push(Word::Down { lost: place.crash(kept) });
                Vec::new()
            }
            Deed::Start => {
                let life = place.life + 1;
                words.push(Word::Up { life, records: place.durable.len() as u32 });
                let seed = Random::numbered(self.model.seed, "boot", u64::from(node.0) << 32 | u64::from(life)).next();
                let start = Start { node, life, address: node.address(0), seed, wall: Wall::default() };
                place.start(self.model.system.boot(&start), now)
            }
        };
        if hasty && place.unsynced() > 0 {
            said.extend(place.sync());
        }
        for said in said {
            match said {
                Said::Event { decided, event } => words.push(Word::Event { decided, event }),
                Said::Message { to, message } => {
                    let (to, _) = NodeId::of_address(to);
                    // What is sent to nobody arrives nowhere.
                    if to.index() < self.nodes() {
                        let until = self.model.bounds.delay.map_or(Time::MAX, |delay| now + delay);
                        let flight = Flight { from: node, to, until, message };
                        words.push(Word::Sent(self.views.flights.number(flight, |flight| flight)));
                    }
                }
            }
        }
        words
    }

    /// What a ledger makes of what became known at a node, judged only if it never was before.
    fn judge(&mut self, ledger: Number, node: NodeId, speech: Number) -> Result<Number, Breach> {
        let key = judgement_key(ledger, node, speech);
        if let Some(known) = self.views.judgements.find(key) {
            return self.views.judgements.at(known).result.clone().map_err(|breach| *breach);
        }
        let mut after = self.views.ledgers.at(ledger).clone();
        let words = &self.views.speeches.at(speech).words;
        let judged = guarded(|| {
            let mut told = words.iter().filter_map(Word::told);
            told.try_for_each(|told| after.judge(self.model.system, node, &told)).map(|()| after)
        });
        let result = match judged {
            Ok(Ok(after)) => Ok(self.views.ledgers.number(after, |after| after)),
            Ok(Err(breach)) => Err(breach),
            Err(what) => Err(Breach::of(PANIC, format!("the ledger panicked: {what}"))),
        };
        let kept = result.clone().map_err(Box::new);
        self.views.judgements.add(key, Judgement { ledger, node, speech, result: kept }, 0);
        result
    }

    /// The digest of [`next`](Self::next): of what it is made of, not of how that is numbered.
    pub(super) fn digest(&mut self) -> u128 {
        let (nodes, words) = (self.nodes(), &self.next);
        self.bytes.clear();
        for &place in &words[..nodes] {
            self.bytes.extend_from_slice(&self.views.places.key(place).to_le_bytes());
        }
        self.bytes.extend_from_slice(&self.views.ledgers.key(words[nodes + LEDGER]).to_le_bytes());
        for word in &words[nodes + NOW..nodes + FRAME] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        for &flight in &words[nodes + FRAME..] {
            self.bytes.extend_from_slice(&self.views.flights.key(flight).to_le_bytes());
        }
        // The set of visited states keeps zero for itself.
        xxh3_128(&self.bytes).max(1)
    }
}

/// A word by what it says instead of by number, for telling it apart.
#[derive(Hash)]
enum Heard<'w, E> {
    Sent(u128),
    Event(Time, &'w E),
    Up(u32, u32),
    Down(u32),
}

impl<'w, E> Heard<'w, E> {
    fn of<S: System<Node: Machine<Event = E>>>(word: &'w Word<S>, views: &Views<'_, S>) -> Self {
        match word {
            Word::Sent(number) => Self::Sent(views.flights.key(*number)),
            Word::Event { decided, event } => Self::Event(*decided, event),
            Word::Up { life, records } => Self::Up(*life, *records),
            Word::Down { lost } => Self::Down(*lost),
        }
    }
}

/// Marks what a state is made of.
pub(super) fn mark(words: &[u32], nodes: usize, marked: &mut Marked) {
    for &place in &words[..nodes] {
        marked.places[place as usize] = true;
    }
    marked.ledgers[words[nodes + LEDGER] as usize] = true;
    for &flight in &words[nodes + FRAME..] {
        marked.flights[flight as usize] = true;
    }
}

/// What a state is made of gets other numbers.
pub(super) fn renumber(words: &mut [u32], nodes: usize, by: &Renumbering) {
    for place in &mut words[..nodes] {
        *place = by.place(*place);
    }
    words[nodes + LEDGER] = by.ledger(words[nodes + LEDGER]);
    for flight in &mut words[nodes + FRAME..] {
        *flight = by.flight(*flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_one_word_and_comes_back() {
        let node = NodeId(63);
        for next in [
            Move::Deliver { message: 0 },
            Move::DeliverCopy { message: 9_999 },
            Move::Lose { message: 3 },
            Move::Sync { node },
            Move::Wake { node },
            Move::Crash { node, kept: 65_535 },
            Move::Restart { node: NodeId(0) },
        ] {
            assert_eq!(Move::of_word(next.word()), next);
        }
    }

    #[test]
    fn what_is_left_of_the_bounds_is_one_word() {
        let left = Left { losses: 1, duplicates: 2, crashes: 255, restarts: 0 };
        assert_eq!(Left::of_word(left.word()), left);
    }
}
