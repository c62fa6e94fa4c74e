//! Writes the history: numbers entries, folds them into the fingerprint, shows them to the checkers that asked for them.

use crate::{
    Checker, Entry, EntryId, EventOf, Fact, Findings, Fingerprint, Interest, MessageOf, NodeId, Scene, System, Truth,
    Watch,
};
use squall_machine::Kind;
use std::hash::{Hash, Hasher};
use xxhash_rust::xxh3::xxh3_128;

pub(super) struct Recorder<'a, S: System> {
    next: u64,
    digest: Digest,
    checkers: Vec<Box<dyn Checker<S>>>,
    truth: Vec<Vec<u16>>,
    events: Vec<Vec<u16>>,
    sent: Vec<Vec<u16>>,
    delivered: Vec<Vec<u16>>,
    messages: Vec<u16>,
    views: Vec<u16>,
    watch: Option<Watch<'a, S>>,
    pub(super) findings: Findings,
}

impl<'a, S: System> Recorder<'a, S> {
    pub(super) fn new(checkers: Vec<Box<dyn Checker<S>>>, watch: Option<Watch<'a, S>>) -> Self {
        let mut recorder = Self {
            next: 1,
            digest: Digest::default(),
            truth: vec![Vec::new(); Truth::NAMES.len()],
            events: vec![Vec::new(); EventOf::<S>::NAMES.len()],
            sent: vec![Vec::new(); MessageOf::<S>::NAMES.len()],
            delivered: vec![Vec::new(); MessageOf::<S>::NAMES.len()],
            messages: Vec::new(),
            views: Vec::new(),
            watch,
            findings: Findings::default(),
            checkers,
        };
        for (index, checker) in recorder.checkers.iter().enumerate() {
            let mut interest = Interest::<S>::default();
            checker.interest(&mut interest);
            let index = index as u16;
            for (kind, list) in recorder.truth.iter_mut().enumerate() {
                if interest.truth >> kind & 1 == 1 {
                    list.push(index);
                }
            }
            for (wanted, list) in interest.events.iter().zip(&mut recorder.events) {
                if *wanted {
                    list.push(index);
                }
            }
            let sent = interest.sent.iter().zip(&mut recorder.sent);
            for (wanted, list) in sent.chain(interest.delivered.iter().zip(&mut recorder.delivered)) {
                if *wanted || interest.messages {
                    list.push(index);
                }
            }
            if interest.messages {
                recorder.messages.push(index);
            }
            if interest.views {
                recorder.views.push(index);
            }
        }
        recorder
    }

    /// Appends an entry that happens now. Returns its number.
    pub(super) fn record(&mut self, node: NodeId, cause: EntryId, fact: Fact<'_, S>, scene: &Scene<'_, S>) -> EntryId {
        let id = EntryId(self.next);
        self.next += 1;
        self.digest.entry(scene.now.as_nanos(), node, &fact);
        let entry = Entry { id, at: scene.now, node, cause, fact };
        let listeners = match &entry.fact {
            Fact::Truth(truth) => &self.truth[truth.kind()],
            Fact::Event { event, .. } => &self.events[event.kind()],
            Fact::Sent { hop, .. } => &self.sent[hop.kind],
            Fact::Delivered { hop, .. } => &self.delivered[hop.kind],
            Fact::Dropped { .. } => &self.messages,
        };
        for &index in listeners {
            self.checkers[index as usize].on_entry(&entry, scene, &mut self.findings);
        }
        if let Some(watch) = &mut self.watch {
            watch(&entry, scene);
        }
        id
    }

    pub(super) fn wants_views(&self) -> bool {
        !self.views.is_empty()
    }

    pub(super) fn show(&mut self, node: NodeId, view: &S::View, scene: &Scene<'_, S>) {
        for &index in &self.views {
            self.checkers[index as usize].on_view(node, view, scene, &mut self.findings);
        }
    }

    pub(super) fn end(&mut self, scene: &Scene<'_, S>) {
        for checker in &mut self.checkers {
            checker.on_end(scene, &mut self.findings);
        }
    }

    pub(super) fn settled(&self, scene: &Scene<'_, S>) -> bool {
        self.checkers.iter().all(|checker| checker.settled(scene))
    }

    pub(super) fn entries(&self) -> u64 {
        self.next - 1
    }

    pub(super) fn fingerprint(&mut self) -> Fingerprint {
        self.digest.fold();
        Fingerprint(self.digest.state)
    }
}

/// Rolling hash: entries are written into a buffer by their `Hash` implementations; a full buffer, with the state so far in
/// front of it, is hashed into the next state.
#[derive(Default)]
struct Digest {
    state: u128,
    buffer: Vec<u8>,
}

const BUFFER_BYTES: usize = 16 * 1024;

impl Digest {
    fn entry<S: System>(&mut self, at: u64, node: NodeId, fact: &Fact<'_, S>) {
        self.write_u64(at);
        self.write_u32(node.0);
        match fact {
            Fact::Truth(truth) => {
                self.write_u8(0);
                truth.hash(self);
            }
            Fact::Sent { hop, message } => {
                self.write_u8(1);
                self.write_u32(hop.to.0);
                message.hash(self);
            }
            Fact::Delivered { hop, .. } => {
                self.write_u8(2);
                self.write_u64(hop.sent.0);
            }
            Fact::Dropped { hop, reason } => {
                self.write_u8(3);
                self.write_u64(hop.sent.0);
                self.write_u8(*reason as u8);
            }
            Fact::Event { decided, event } => {
                self.write_u8(4);
                self.write_u64(decided.as_nanos());
                event.hash(self);
            }
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.fold();
        }
    }

    fn fold(&mut self) {
        self.state = xxh3_128(&self.buffer);
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.state.to_le_bytes());
    }
}

/// Writes bytes in a fixed order, so that every platform of one word size and every build hashes alike.
impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, value: u8) {
        self.buffer.push(value);
    }

    fn write_u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_u64(&mut self, value: u64) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        // Discriminants of enums: small numbers, the most frequent of all writes.
        if let Ok(small) = u8::try_from(value)
            && small < u8::MAX
        {
            self.write_u8(small);
        } else {
            self.write_u8(u8::MAX);
            self.write_u64(value as u64);
        }
    }

    fn finish(&self) -> u64 {
        // Only the state after a fold is ever read.
        self.state as u64
    }
}
