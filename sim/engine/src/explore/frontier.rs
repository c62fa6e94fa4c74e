//! States that are to be expanded, and the expansion of a block of them by several threads.
//!
//! The result doesn't depend on the number of threads: a block is cut into one run of states per thread; of equal states the
//! first in the order of parents and moves is the one that counts; and new states are numbered in that order, too. It also
//! keeps like beside like, which is what caches are for.

use crate::System;
use crate::explore::Breach;
use crate::explore::digest::Digests;
use crate::explore::expand::{Expander, Model, Move, renumber};
use crate::explore::tables::{Found, Renumbering, Tables};
use crate::explore::visited::{SHARDS, Step, Visited, shard};
use std::ops::Range;
use std::thread;

/// A run of states with consecutive numbers.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The number of the first.
    pub(super) first: u32,
    words: Vec<u32>,
    ends: Vec<u32>,
}

impl Block {
    pub(super) fn starting_at(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn push(&mut self, words: &[u32]) {
        self.words.extend_from_slice(words);
        self.ends.push(self.words.len() as u32);
    }

    pub(super) fn state(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.words[start..self.ends[index] as usize]
    }

    /// Every state, to be renumbered.
    pub(super) fn for_each_mut(&mut self, mut act: impl FnMut(&mut [u32])) {
        let mut start = 0;
        for &end in &self.ends {
            act(&mut self.words[start..end as usize]);
            start = end as usize;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.words.capacity() + self.ends.capacity()) * size_of::<u32>()
    }

    /// Gives back what it doesn't need once it is full.
    pub(super) fn shrink(&mut self) {
        self.words.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// States that a thread found.
#[derive(Debug, Default)]
struct Candidates {
    states: Block,
    reached: Vec<(u128, Step)>,
}

impl Candidates {
    fn push(&mut self, words: &[u32], digest: u128, step: Step) {
        self.states.push(words);
        self.reached.push((digest, step));
    }

    fn clear(&mut self) {
        self.states.words.clear();
        self.states.ends.clear();
        self.reached.clear();
    }

    fn bytes(&self) -> usize {
        self.states.bytes() + self.reached.capacity() * size_of::<(u128, Step)>()
    }
}

/// What a thread made of its part of a block.
struct Part<S: System> {
    found: Found<S>,
    /// States that weren't known before this block.
    candidates: Candidates,
    transitions: u64,
    breach: Option<(u32, Move, Breach)>,
}

/// What came of a block.
#[derive(Debug)]
pub(super) enum Expanded {
    /// How many moves were tried, and how many bytes it took beside what is kept.
    States { transitions: u64, bytes: usize },
    /// The first violation: the state before, the move, and what it is.
    Breach(u32, Move, Breach),
}

/// Expands a block; `on_new` is shown each new state, in order.
pub(super) fn expand<S: System>(
    model: &Model<'_, S>,
    tables: &mut Tables<S>,
    visited: &mut Visited,
    block: &Block,
    jobs: usize,
    mut on_new: impl FnMut(&[u32], Step),
) -> Expanded {
    let share = block.len().div_ceil(jobs);
    let ranges: Vec<Range<usize>> =
        (0..jobs).map(|job| (job * share).min(block.len())..((job + 1) * share).min(block.len())).collect();
    let (shared, seen) = (&*tables, &*visited);
    let parts: Vec<Part<S>> = on_threads(ranges, |range| part(model, shared, seen, block, range));
    let (mut found, mut transitions, mut bytes, mut breach) = (Vec::new(), 0, 0, None);
    for part in parts {
        let renumbering = tables.absorb(part.found);
        transitions += part.transitions;
        bytes += part.candidates.bytes();
        breach = breach.or(part.breach);
        found.push((part.candidates, renumbering));
    }
    if let Some((parent, by, breach)) = breach {
        return Expanded::Breach(parent, by, breach);
    }
    let new = accept(visited, &found, jobs);
    let (mut words, nodes) = (Vec::new(), model.plan.nodes.len());
    for ((candidates, renumbering), new) in found.iter().zip(new) {
        for (index, _) in new.iter().enumerate().filter(|(_, new)| **new) {
            words.clear();
            words.extend_from_slice(candidates.states.state(index));
            renumber(&mut words, nodes, renumbering);
            on_new(&words, candidates.reached[index].1);
        }
    }
    Expanded::States { transitions, bytes }
}

/// Does all of the work, one thread for each piece of it, and gives the results in order.
fn on_threads<W: Send, T: Send>(work: Vec<W>, act: impl Fn(W) -> T + Sync) -> Vec<T> {
    if work.len() == 1 {
        return work.into_iter().map(act).collect();
    }
    let act = &act;
    thread::scope(|scope| {
        let running: Vec<_> = work.into_iter().map(|piece| scope.spawn(move || act(piece))).collect();
        let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// So many moves are gathered before the set of visited states is asked, so that it can look for all of them at once.
const GATHERED: usize = 64;

/// Expands some states of a block.
fn part<S: System>(
    model: &Model<'_, S>,
    tables: &Tables<S>,
    visited: &Visited,
    block: &Block,
    range: Range<usize>,
) -> Part<S> {
    let mut expander = Expander::new(model, tables.views());
    let (mut candidates, mut gathered) = (Candidates::default(), Candidates::default());
    let (mut transitions, mut breach) = (0, None);
    for index in range {
        let parent = block.first + index as u32;
        let ended = expander.expand(block.state(index), |by, words, digest| {
            gathered.push(words, digest, Step { parent, by: by.word() });
        });
        if let Err((by, violated)) = ended {
            breach = Some((parent, by, violated));
            break;
        }
        if gathered.states.len() >= GATHERED {
            transitions += sift(visited, &mut gathered, &mut candidates);
        }
    }
    transitions += sift(visited, &mut gathered, &mut candidates);
    Part { found: expander.views.found(), candidates, transitions, breach }
}

/// Takes over what isn't known. Returns how many were looked at.
fn sift(visited: &Visited, gathered: &mut Candidates, candidates: &mut Candidates) -> u64 {
    let count = gathered.states.len();
    let unknown: Vec<bool> = gathered.reached.iter().map(|(digest, _)| !visited.contains(*digest)).collect();
    for (index, _) in unknown.into_iter().enumerate().filter(|(_, unknown)| *unknown) {
        let (digest, step) = gathered.reached[index];
        candidates.push(gathered.states.state(index), digest, step);
    }
    gathered.clear();
    count as u64
}

/// Puts candidates into the set of visited states. Returns for each thread's which of them are new.
fn accept(visited: &mut Visited, found: &[(Candidates, Renumbering)], jobs: usize) -> Vec<Vec<bool>> {
    let mut work: Vec<Vec<(usize, &mut Digests)>> = (0..jobs.min(SHARDS)).map(|_| Vec::new()).collect();
    let threads = work.len();
    for (index, slots) in visited.shards.iter_mut().enumerate() {
        work[index % threads].push((index, slots));
    }
    let accepted: Vec<Vec<(usize, usize)>> = on_threads(work, |shards| {
        let mut of_shard: Vec<Option<&mut Digests>> = (0..SHARDS).map(|_| None).collect();
        shards.into_iter().for_each(|(index, slots)| of_shard[index] = Some(slots));
        let mut accepted = Vec::new();
        for (part, (candidates, _)) in found.iter().enumerate() {
            for (index, (digest, _)) in candidates.reached.iter().enumerate() {
                if of_shard[shard(*digest)].as_mut().is_some_and(|slots| slots.insert(*digest)) {
                    accepted.push((part, index));
                }
            }
        }
        accepted
    });
    let mut new: Vec<Vec<bool>> = found.iter().map(|(candidates, _)| vec![false; candidates.reached.len()]).collect();
    for (part, index) in accepted.into_iter().flatten() {
        new[part][index] = true;
    }
    new
}
