//! Bounded exhaustive search over the same machines that the world drives, for tiny systems.
//!
//! Breadth first, so the first counterexample is a shortest one. A state is all nodes (machine, disk, what waits for the disk),
//! the messages on their way, the ledger of the system, the clock, and what is left of the bounds. States are told apart by
//! 128-bit digests: that two of a billion states share one has a chance below 1 in 10^20.
//!
//! What can happen next in a state:
//!
//! * any message on its way arrives; with copies to spare, also while a copy stays on its way; with losses to spare it is lost;
//! * a disk syncs; with crashes to spare a process dies, and any number of the records it hadn't synced survive; with restarts
//!   to spare one that is down starts again;
//! * the earliest deadline is reached, and its machine wakes.
//!
//! **Time** is one clock for all nodes. It stands still while messages arrive, and goes on only when the earliest deadline is
//! chosen, to exactly that deadline. So every arrival may come before or after every timeout. With a longest `delay` the clock
//! doesn't go beyond the last moment of any message; without one, a message may be on its way for ever, and that covers every
//! loss. Time doesn't go on while a disk has something to sync, and a process that can't die syncs at once: whatever waits for
//! it could as well be on its way. Clocks don't drift, calendars stand at zero, and a restart finds the disk as it was left.
//!
//! Checked after each step: the machine's own invariants, panics, and what the system's [`Ledger`] judges of the events.

mod digest;
mod expand;
mod frontier;
mod ledger;
mod path;
mod place;
mod tables;
mod visited;

pub use ledger::{Breach, Ledger, Told};

use crate::explore::expand::{Expander, Model, Move, NODES_MAX, mark, renumber};
use crate::explore::frontier::{Block, Expanded, expand};
use crate::explore::tables::Tables;
use crate::explore::visited::{Log, Step, Visited, shard};
use crate::{InvalidKey, Scenario, System};
use squall_machine::Span;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far a search goes: the `[explore]` table of a scenario file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How many messages may be lost on a path.
    pub losses: u8,
    /// How many messages may arrive twice on a path.
    pub duplicates: u8,
    /// How many processes may die on a path.
    pub crashes: u8,
    /// How many processes may start again on a path.
    pub restarts: u8,
    /// How many deadlines may be reached on a path; `None`: no limit.
    pub wakes: Option<u32>,
    /// The latest deadline that may be reached; `None`: no limit.
    pub time: Option<Span>,
    /// The longest way of a message; `None`: it may take for ever.
    pub delay: Option<Span>,
    /// The longest path, in moves; `None`: no limit.
    pub depth: Option<u32>,
    /// The most states. Reached: inconclusive.
    pub states: u64,
    /// The most memory, in bytes, as far as it is counted. Reached: inconclusive.
    pub memory: u64,
}

/// How a search is done. The number of threads changes nothing of what is found, but for the point at which memory runs out.
#[derive(Debug)]
pub struct ExploreOptions<'a> {
    /// How many threads. At least 1.
    pub jobs: usize,
    /// The seed of the machines' own randomness.
    pub seed: u64,
    /// Ends the search early once it is set (the user interrupted).
    pub stop: &'a AtomicBool,
}

/// What came of a search.
#[derive(Clone, PartialEq, Debug)]
pub struct Explored {
    /// How it ended.
    pub end: End,
    /// How many different states were reached.
    pub states: u64,
    /// How many moves were tried, without those of the block in which the search ended early.
    pub moves: u64,
    /// How many moves the longest of the shortest paths has.
    pub depth: u32,
    /// How many steps machines took; all others were known.
    pub steps: u64,
    /// The most memory that was counted at once, in bytes.
    pub memory: u64,
}

/// How a search ended.
#[derive(Clone, PartialEq, Debug)]
pub enum End {
    /// Every state within the bounds was reached, and everything held.
    Complete,
    /// A limit was reached; told for people.
    Limit(String),
    /// The user interrupted.
    Interrupted,
    /// Something is violated.
    Violated(Counterexample),
}

/// A shortest path to a violation.
#[derive(Clone, PartialEq, Debug)]
pub struct Counterexample {
    /// What is violated.
    pub breach: Breach,
    /// How many moves lead to it.
    pub moves: u32,
    /// When it happens, on the clock of the search, in nanoseconds.
    pub at_ns: u64,
    /// The history along the path, a line per entry; the last entry is what shows it.
    pub trace: Vec<String>,
    /// The same as JSON.
    pub entries: Vec<serde_json::Value>,
}

/// Up to this share of the memory, tables are left as they are.
const TABLES_SHARE: u64 = 8;
/// A block is expanded as a whole; between two blocks limits are looked at.
const BLOCK_STATES: usize = 8_192;
/// States are numbered in 32 bits, and a block leads to far fewer new ones than what is left of them here.
const STATES_MAX: u64 = 7 << 29;

/// Searches everything that a scenario can come to within its bounds. `progress` is told now and then how many states were
/// reached, and at which depth.
///
/// # Errors
/// What of the scenario can't be explored.
pub fn explore<S: System>(
    scenario: &Scenario<S>,
    options: &ExploreOptions<'_>,
    mut progress: impl FnMut(u64, u32),
) -> Result<Explored, InvalidKey> {
    let bounds = explorable(scenario)?;
    let model = Model { system: &scenario.system, plan: &scenario.plan, bounds, seed: options.seed };
    let mut search = Search::new(&model, options.jobs.max(1));
    let end = match search.begin() {
        Err(breach) => End::Violated(search.counterexample(0, None, breach)),
        Ok(()) => search.run(options.stop, &mut progress),
    };
    Ok(Explored {
        end,
        states: search.log.len() as u64,
        moves: search.moves,
        depth: search.depth,
        steps: search.steps + search.tables.turns.len() as u64,
        memory: search.memory_most,
    })
}

/// The bounds of a scenario, if it can be explored.
fn explorable<S: System>(scenario: &Scenario<S>) -> Result<&Bounds, InvalidKey> {
    let Some(bounds) = &scenario.explore else {
        return Err(InvalidKey::new(&["explore"], "the file names no bounds to explore within")
            .hint("[explore]\ncrashes = 1\nwakes = 10"));
    };
    let plan = &scenario.plan;
    if !(plan.faults.is_empty() && plan.hazards.is_empty()) {
        let key = if plan.faults.is_empty() { "hazard" } else { "fault" };
        return Err(InvalidKey::new(&[key], "the explorer strikes at every moment, and at none that is scripted")
            .hint("name how often in [explore]: `crashes`, `losses`, .."));
    }
    if plan.nodes.len() > NODES_MAX {
        let problem = format!("{} nodes are too many to explore; {NODES_MAX} is the limit", plan.nodes.len());
        return Err(InvalidKey::new(&["topology"], problem));
    }
    Ok(bounds)
}

/// A search under way.
struct Search<'a, S: System> {
    model: &'a Model<'a, S>,
    jobs: usize,
    tables: Tables<S>,
    visited: Visited,
    log: Log,
    /// The layer that is expanded, and the one that comes of it.
    layer: VecDeque<Block>,
    next: VecDeque<Block>,
    depth: u32,
    moves: u64,
    /// How many steps were taken and forgotten.
    steps: u64,
    memory_most: u64,
    /// From how many bytes on the tables are cleared of what the next layer isn't made of.
    clear_from: usize,
}

impl<'a, S: System> Search<'a, S> {
    fn new(model: &'a Model<'a, S>, jobs: usize) -> Self {
        Self {
            model,
            jobs,
            tables: Tables::default(),
            visited: Visited::new(),
            log: Log::default(),
            layer: VecDeque::new(),
            next: VecDeque::new(),
            depth: 0,
            moves: 0,
            steps: 0,
            memory_most: 0,
            clear_from: usize::try_from(model.bounds.memory / TABLES_SHARE).unwrap_or(usize::MAX),
        }
    }

    /// Reaches the first state: every process that isn't absent has started, in the order of the nodes.
    fn begin(&mut self) -> Result<(), Breach> {
        let words = path::begin(self.model, &mut self.tables, |_, _, _| {})?;
        let mut expander = Expander::new(self.model, self.tables.views());
        expander.next.extend_from_slice(&words);
        let digest = expander.digest();
        self.visited.shards[shard(digest)].insert(digest);
        self.log.push(Step { parent: 0, by: 0 });
        let mut first = Block::starting_at(0);
        first.push(&words);
        self.layer.push_back(first);
        Ok(())
    }

    fn run(&mut self, stop: &AtomicBool, progress: &mut impl FnMut(u64, u32)) -> End {
        loop {
            if self.model.bounds.depth.is_some_and(|depth| self.depth >= depth) {
                return End::Complete;
            }
            while let Some(block) = self.layer.pop_front() {
                if stop.load(Ordering::Relaxed) {
                    return End::Interrupted;
                }
                let (log, next) = (&mut self.log, &mut self.next);
                let on_new = |words: &[u32], step| number(log, next, words, step);
                match expand(self.model, &mut self.tables, &mut self.visited, &block, self.jobs, on_new) {
                    Expanded::Breach(parent, by, breach) => {
                        return End::Violated(self.counterexample(parent, Some(by), breach));
                    }
                    Expanded::States { transitions, bytes } => {
                        self.moves += transitions;
                        if let Some(limit) = self.limit(block.bytes() + bytes) {
                            return End::Limit(limit);
                        }
                    }
                }
                progress(self.log.len() as u64, self.depth);
            }
            if self.next.is_empty() {
                return End::Complete;
            }
            self.depth += 1;
            std::mem::swap(&mut self.layer, &mut self.next);
            if self.tables.bytes() > self.clear_from {
                self.clear();
            }
        }
    }

    /// Forgets what the layer isn't made of. A later state is rarely made of it.
    fn clear(&mut self) {
        let (mut marked, nodes) = (self.tables.unmarked(), self.model.plan.nodes.len());
        self.steps += self.tables.turns.len() as u64;
        self.layer.iter_mut().for_each(|block| block.for_each_mut(|words| mark(words, nodes, &mut marked)));
        let renumbering = self.tables.retain(&marked);
        self.layer.iter_mut().for_each(|block| block.for_each_mut(|words| renumber(words, nodes, &renumbering)));
        // What is left is needed; looking again pays once there is as much beside it.
        self.clear_from = self.clear_from.max(2 * self.tables.bytes());
    }

    /// Which limit is reached, if any. `passing` is what a block needs beside what is kept.
    fn limit(&mut self, passing: usize) -> Option<String> {
        let (states, bounds) = (self.log.len() as u64, self.model.bounds);
        let waiting: usize = self.layer.iter().chain(&self.next).map(Block::bytes).sum();
        let bytes = self.tables.bytes() + self.visited.bytes() + self.log.bytes() + waiting + passing;
        self.memory_most = self.memory_most.max(bytes as u64);
        if self.memory_most > bounds.memory {
            return Some(format!("the memory limit, {} bytes", bounds.memory));
        }
        let most = bounds.states.min(STATES_MAX);
        (states >= most).then(|| format!("the limit of {most} states"))
    }

    fn counterexample(&mut self, parent: u32, by: Option<Move>, breach: Breach) -> Counterexample {
        let mut moves: Vec<Move> = self.log.path_to(parent).into_iter().map(Move::of_word).collect();
        moves.extend(by);
        let told = path::tell(self.model, &mut self.tables, &moves);
        assert!(told.breach.as_ref() == Some(&breach), "a path leads to the same end each time");
        Counterexample {
            breach,
            moves: moves.len() as u32,
            at_ns: told.at.as_nanos(),
            trace: told.lines,
            entries: told.entries,
        }
    }
}

/// A new state gets its number, and waits for the next layer.
fn number(log: &mut Log, next: &mut VecDeque<Block>, words: &[u32], step: Step) {
    if next.back().is_none_or(|block| block.len() >= BLOCK_STATES) {
        if let Some(full) = next.back_mut() {
            full.shrink();
        }
        let first = u32::try_from(log.len()).expect("the limit of states is held");
        next.push_back(Block::starting_at(first));
    }
    log.push(step);
    if let Some(block) = next.back_mut() {
        block.push(words);
    }
}
