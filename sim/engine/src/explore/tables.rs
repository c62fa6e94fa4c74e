//! What states are made of, each kept once: nodes, messages on their way, ledgers; and what one step makes of a node.
//!
//! A machine's step is a function of its state, its input and the time, so it is taken once, however many states of the whole
//! system contain it. Tables are shared between threads and never change while a block of states is expanded: what a thread
//! finds meanwhile gets a number of its own and is taken over between two blocks.

use crate::explore::digest::{SLOTS_MIN, crowded, digest, position};
use crate::explore::place::Place;
use crate::explore::{Breach, Told};
use crate::{EventOf, MessageOf, NodeId, System};
use squall_machine::Time;
use xxhash_rust::xxh3::xxh3_128;

/// The number of an entry of a table.
pub(super) type Number = u32;

/// From here on numbers are those of one thread.
const FRESH: Number = 1 << 31;

/// Entries by their keys, numbered in the order in which they came.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<(u128, T)>,
    /// By key: the number of an entry and one; zero where there is none.
    slots: Vec<Number>,
    /// What the entries hold beside themselves, about.
    content: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: vec![0; SLOTS_MIN], content: 0 }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u128, T)>() + self.slots.capacity() * size_of::<Number>() + self.content
    }

    pub(super) fn at(&self, number: Number) -> &T {
        &self.entries[number as usize].1
    }

    fn position(&self, key: u128) -> usize {
        let key_at = |slot: usize| self.slots[slot].checked_sub(1).map(|number| self.entries[number as usize].0);
        position(self.slots.len(), key, key_at)
    }

    fn find(&self, key: u128) -> Option<Number> {
        self.slots[self.position(key)].checked_sub(1)
    }

    fn add(&mut self, key: u128, entry: T) -> Number {
        let (number, position) = (self.entries.len(), self.position(key));
        assert!(number < FRESH as usize, "a table has fewer than 2^31 entries");
        assert!(self.slots[position] == 0, "an entry is added once");
        self.entries.push((key, entry));
        self.slots[position] = number as Number + 1;
        if crowded(self.entries.len(), self.slots.len()) {
            self.slots = vec![0; self.slots.len() * 2];
            for index in 0..self.entries.len() {
                let position = self.position(self.entries[index].0);
                self.slots[position] = index as Number + 1;
            }
        }
        number as Number
    }

    /// Keeps what is marked. Returns the number of each entry from now on; one that is gone has none that means anything.
    fn retain(&mut self, marked: &[bool], content: impl Fn(&T) -> usize) -> Vec<Number> {
        let mut numbers = Vec::with_capacity(marked.len());
        for ((key, entry), keep) in std::mem::take(self).entries.into_iter().zip(marked) {
            numbers.push(self.entries.len() as Number);
            if *keep {
                self.content += content(&entry);
                self.add(key, entry);
            }
        }
        numbers
    }

    /// Takes over what a thread found, in its words turned into those of all. Returns the number of each entry from now on.
    fn absorb(&mut self, fresh: Self, mut turn: impl FnMut(u128, T) -> (u128, T)) -> Vec<Number> {
        self.content += fresh.content;
        let take = |(key, entry)| {
            let (key, entry) = turn(key, entry);
            self.find(key).unwrap_or_else(|| self.add(key, entry))
        };
        fresh.entries.into_iter().map(take).collect()
    }
}

/// What a value holds beside itself, told by what it hashes: lists and trees have room to grow, and each piece its header.
fn content(hashed: usize) -> usize {
    3 * hashed
}

/// A shared table, and what one thread adds to it.
#[derive(Debug)]
pub(super) struct View<'a, T> {
    shared: &'a Table<T>,
    fresh: Table<T>,
}

impl<'a, T> View<'a, T> {
    pub(super) fn of(shared: &'a Table<T>) -> Self {
        Self { shared, fresh: Table::default() }
    }

    fn entry(&self, number: Number) -> &(u128, T) {
        match number.checked_sub(FRESH) {
            None => &self.shared.entries[number as usize],
            Some(fresh) => &self.fresh.entries[fresh as usize],
        }
    }

    pub(super) fn at(&self, number: Number) -> &T {
        &self.entry(number).1
    }

    pub(super) fn key(&self, number: Number) -> u128 {
        self.entry(number).0
    }

    pub(super) fn find(&self, key: u128) -> Option<Number> {
        self.shared.find(key).or_else(|| self.fresh.find(key).map(|number| number | FRESH))
    }

    /// Adds an entry that isn't there; `content` is what it holds beside itself, in bytes.
    pub(super) fn add(&mut self, key: u128, entry: T, content: usize) -> Number {
        self.fresh.content += content;
        self.fresh.add(key, entry) | FRESH
    }

    /// The number of a value, which is added if it isn't there.
    pub(super) fn number<V: std::hash::Hash>(&mut self, value: V, keep: impl FnOnce(V) -> T) -> Number {
        let (key, bytes) = digest(&value);
        self.find(key).unwrap_or_else(|| self.add(key, keep(value), content(bytes)))
    }
}

/// A node, and what has to be known of it at once.
#[derive(Debug)]
pub(super) struct Kept<S: System> {
    pub(super) deadline: Option<Time>,
    pub(super) unsynced: u32,
    pub(super) up: bool,
    pub(super) place: Box<Place<S::Node>>,
}

impl<S: System> Kept<S> {
    pub(super) fn of(place: Place<S::Node>) -> Self {
        // The latest moment there is means never.
        let deadline = place.deadline().filter(|deadline| *deadline < Time::MAX);
        Self { deadline, unsynced: place.unsynced() as u32, up: place.process.is_some(), place: Box::new(place) }
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Flight<S: System> {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    /// Until when it arrives or is lost.
    pub(super) until: Time,
    pub(super) message: MessageOf<S>,
}

// Derived, these would want the system itself to be comparable.
impl<S: System> std::hash::Hash for Flight<S> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.from, self.to, self.until, &self.message).hash(state);
    }
}

/// What one step made of a node.
#[derive(Debug)]
pub(super) struct Turn {
    /// The node afterwards.
    pub(super) place: Number,
    /// What became known.
    pub(super) speech: Number,
    /// What the step itself violates.
    pub(super) breach: Option<Box<Breach>>,
}

/// What became known in a step. Many steps say the same.
#[derive(Debug)]
pub(super) struct Speech<S: System> {
    /// The messages that left, in order.
    pub(super) sent: Box<[Number]>,
    /// Whether any of it is of interest to a ledger.
    pub(super) tells: bool,
    /// Everything, in order.
    pub(super) words: Box<[Word<S>]>,
}

/// One thing that a step made known.
#[derive(Debug)]
pub(super) enum Word<S: System> {
    /// A message left.
    Sent(Number),
    /// A decision became part of the history.
    Event { decided: Time, event: EventOf<S> },
    /// The process started.
    Up { life: u32, records: u32 },
    /// The process died.
    Down { lost: u32 },
}

impl<S: System> Word<S> {
    /// As a ledger is shown it.
    pub(super) fn told(&self) -> Option<Told<'_, S>> {
        match self {
            Self::Sent(_) => None,
            Self::Event { event, .. } => Some(Told::Event(event)),
            Self::Up { life, .. } => Some(Told::Up { life: *life }),
            Self::Down { .. } => Some(Told::Down),
        }
    }
}

/// What a ledger made of what became known at a node.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) ledger: Number,
    pub(super) node: NodeId,
    pub(super) speech: Number,
    pub(super) result: Result<Number, Box<Breach>>,
}

/// Everything that is kept once.
#[derive(Debug)]
pub(super) struct Tables<S: System> {
    pub(super) places: Table<Kept<S>>,
    pub(super) flights: Table<Flight<S>>,
    pub(super) ledgers: Table<S::Ledger>,
    pub(super) speeches: Table<Speech<S>>,
    pub(super) turns: Table<Turn>,
    pub(super) judgements: Table<Judgement>,
}

impl<S: System> Default for Tables<S> {
    fn default() -> Self {
        Self {
            places: Table::default(),
            flights: Table::default(),
            ledgers: Table::default(),
            speeches: Table::default(),
            turns: Table::default(),
            judgements: Table::default(),
        }
    }
}

/// Tables as one thread sees them.
#[derive(Debug)]
pub(super) struct Views<'a, S: System> {
    pub(super) places: View<'a, Kept<S>>,
    pub(super) flights: View<'a, Flight<S>>,
    pub(super) ledgers: View<'a, S::Ledger>,
    pub(super) speeches: View<'a, Speech<S>>,
    pub(super) turns: View<'a, Turn>,
    pub(super) judgements: View<'a, Judgement>,
}

/// The numbers that entries have from now on.
#[derive(Debug)]
pub(super) struct Renumbering {
    /// The first number that changes.
    from: Number,
    places: Vec<Number>,
    flights: Vec<Number>,
    ledgers: Vec<Number>,
    turns: Vec<Number>,
}

fn renumbered(numbers: &[Number], number: Number) -> Number {
    number.checked_sub(FRESH).map_or(number, |fresh| numbers[fresh as usize])
}

impl Renumbering {
    fn renumbered(&self, numbers: &[Number], number: Number) -> Number {
        number.checked_sub(self.from).map_or(number, |index| numbers[index as usize])
    }

    pub(super) fn place(&self, number: Number) -> Number {
        self.renumbered(&self.places, number)
    }

    pub(super) fn flight(&self, number: Number) -> Number {
        self.renumbered(&self.flights, number)
    }

    pub(super) fn ledger(&self, number: Number) -> Number {
        self.renumbered(&self.ledgers, number)
    }

    pub(super) fn turn(&self, number: Number) -> Number {
        self.renumbered(&self.turns, number)
    }
}

/// The key of a judgement.
pub(super) fn judgement_key(ledger: Number, node: NodeId, speech: Number) -> u128 {
    let all = u128::from(ledger) << 64 | u128::from(node.0) << 32 | u128::from(speech);
    xxh3_128(&all.to_le_bytes())
}

impl<S: System> Tables<S> {
    pub(super) fn bytes(&self) -> usize {
        self.places.bytes()
            + self.flights.bytes()
            + self.ledgers.bytes()
            + self.speeches.bytes()
            + self.turns.bytes()
            + self.judgements.bytes()
    }

    pub(super) fn views(&self) -> Views<'_, S> {
        Views {
            places: View::of(&self.places),
            flights: View::of(&self.flights),
            ledgers: View::of(&self.ledgers),
            speeches: View::of(&self.speeches),
            turns: View::of(&self.turns),
            judgements: View::of(&self.judgements),
        }
    }

    /// Takes over what a thread found.
    pub(super) fn absorb(&mut self, found: Found<S>) -> Renumbering {
        let places = self.places.absorb(found.places, |key, entry| (key, entry));
        let flights = self.flights.absorb(found.flights, |key, entry| (key, entry));
        let ledgers = self.ledgers.absorb(found.ledgers, |key, entry| (key, entry));
        let speeches = self.speeches.absorb(found.speeches, |key, mut speech| {
            let numbers = speech.words.iter_mut().filter_map(|word| match word {
                Word::Sent(number) => Some(number),
                Word::Event { .. } | Word::Up { .. } | Word::Down { .. } => None,
            });
            for number in numbers.chain(&mut speech.sent) {
                *number = renumbered(&flights, *number);
            }
            (key, speech)
        });
        let turns = self.turns.absorb(found.turns, |key, mut turn| {
            turn.place = renumbered(&places, turn.place);
            turn.speech = renumbered(&speeches, turn.speech);
            (key, turn)
        });
        self.judgements.absorb(found.judgements, |_, mut judgement| {
            judgement.ledger = renumbered(&ledgers, judgement.ledger);
            judgement.speech = renumbered(&speeches, judgement.speech);
            judgement.result = judgement.result.map(|ledger| renumbered(&ledgers, ledger));
            (judgement_key(judgement.ledger, judgement.node, judgement.speech), judgement)
        });
        Renumbering { from: FRESH, places, flights, ledgers, turns }
    }

    /// Forgets everything but what is marked: what was forgotten is made again when it is needed.
    pub(super) fn retain(&mut self, marked: &Marked) -> Renumbering {
        self.speeches = Table::default();
        self.turns = Table::default();
        self.judgements = Table::default();
        Renumbering {
            from: 0,
            places: self.places.retain(&marked.places, |kept| content(digest(&*kept.place).1)),
            flights: self.flights.retain(&marked.flights, |flight| content(digest(flight).1)),
            ledgers: self.ledgers.retain(&marked.ledgers, |ledger| content(digest(ledger).1)),
            turns: Vec::new(),
        }
    }

    /// Nothing is marked yet.
    pub(super) fn unmarked(&self) -> Marked {
        Marked {
            places: vec![false; self.places.len()],
            flights: vec![false; self.flights.len()],
            ledgers: vec![false; self.ledgers.len()],
        }
    }
}

/// What is still needed.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) places: Vec<bool>,
    pub(super) flights: Vec<bool>,
    pub(super) ledgers: Vec<bool>,
}

/// What a thread found that no other had found before.
#[derive(Debug)]
pub(super) struct Found<S: System> {
    places: Table<Kept<S>>,
    flights: Table<Flight<S>>,
    ledgers: Table<S::Ledger>,
    speeches: Table<Speech<S>>,
    turns: Table<Turn>,
    judgements: Table<Judgement>,
}

impl<S: System> Views<'_, S> {
    pub(super) fn found(self) -> Found<S> {
        Found {
            places: self.places.fresh,
            flights: self.flights.fresh,
            ledgers: self.ledgers.fresh,
            speeches: self.speeches.fresh,
            turns: self.turns.fresh,
            judgements: self.judgements.fresh,
        }
    }
}
