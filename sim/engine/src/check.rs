//! What a checker is: it reads the history online, and plain-data views of nodes; it never calls into a machine.

use crate::{Entry, EntryId, EventOf, MessageOf, NodeId, NodeSet, Phase, Plan, System, Truth};
use squall_machine::{Kind, Time};
use std::collections::BTreeMap;

/// Judges one property of a run. One instance per run.
pub trait Checker<S: System> {
    /// The id of the property in the catalogue, such as `FD1`.
    fn property(&self) -> &'static str;

    /// Names what the checker wants to be shown; it sees nothing else.
    fn interest(&self, interest: &mut Interest<S>);

    /// Is shown an entry, in the order of the history.
    fn on_entry(&mut self, entry: &Entry<'_, S>, scene: &Scene<'_, S>, findings: &mut Findings) {
        let _ = (entry, scene, findings);
    }

    /// Is shown what a node looks like from outside, about once per simulated second and node, and at the end.
    fn on_view(&mut self, node: NodeId, view: &S::View, scene: &Scene<'_, S>, findings: &mut Findings) {
        let _ = (node, view, scene, findings);
    }

    /// The run is over.
    fn on_end(&mut self, scene: &Scene<'_, S>, findings: &mut Findings) {
        let _ = (scene, findings);
    }

    /// Whether everything that this checker waits for in the liveness phase has happened. The phase ends early when all
    /// checkers are settled.
    fn settled(&self, scene: &Scene<'_, S>) -> bool {
        let _ = scene;
        true
    }
}

/// What a checker can see of the run at large. Truth of the harness only.
#[derive(Debug)]
pub struct Scene<'a, S: System> {
    /// The system, with its settings.
    pub system: &'a S,
    /// The plan.
    pub plan: &'a Plan,
    /// The state of every node.
    pub nodes: &'a [NodeState],
    /// Simulated time since the start.
    pub now: Time,
    /// Where the run stands.
    pub phase: Phase,
    /// The nodes healed at the end of the fault phase; empty before.
    pub core: &'a NodeSet,
}

/// The true state of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeState {
    /// Whether a process runs there.
    pub up: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// How many processes were started there.
    pub life: u32,
    /// How often it moved to a new address.
    pub moves: u32,
    /// Drift of its monotonic clock, in millionths.
    pub drift_ppm: i32,
}

/// What a checker wants to be shown.
#[derive(Debug)]
pub struct Interest<S: System> {
    pub(crate) truth: u64,
    pub(crate) events: Vec<bool>,
    pub(crate) sent: Vec<bool>,
    pub(crate) delivered: Vec<bool>,
    pub(crate) messages: bool,
    pub(crate) views: bool,
    system: std::marker::PhantomData<S>,
}

// Each kind of truth has a bit of `Interest::truth`; one without would be shown to nobody. Events and messages have as many
// names as their system likes.
const _: () = assert!(Truth::NAMES.len() <= u64::BITS as usize);

impl<S: System> Default for Interest<S> {
    fn default() -> Self {
        Self {
            truth: 0,
            events: vec![false; EventOf::<S>::NAMES.len()],
            sent: vec![false; MessageOf::<S>::NAMES.len()],
            delivered: vec![false; MessageOf::<S>::NAMES.len()],
            messages: false,
            views: false,
            system: std::marker::PhantomData,
        }
    }
}

impl<S: System> Interest<S> {
    /// Entries of truth of these kinds, by the names of [`Truth::NAMES`].
    ///
    /// # Panics
    /// If a name isn't one: a bug in the checker.
    pub fn truth(&mut self, names: &[&str]) {
        for name in names {
            let kind = Truth::NAMES.iter().position(|known| known == name);
            self.truth |= 1 << kind.unwrap_or_else(|| panic!("no truth is called {name}"));
        }
    }

    /// Events of these kinds, by their names.
    ///
    /// # Panics
    /// If a name isn't one: a bug in the checker.
    pub fn events(&mut self, names: &[&str]) {
        for name in names {
            let kind = EventOf::<S>::NAMES.iter().position(|known| known == name);
            self.events[kind.unwrap_or_else(|| panic!("no event is called {name}"))] = true;
        }
    }

    /// Messages of these kinds when they are sent, by their names.
    ///
    /// # Panics
    /// If a name isn't one: a bug in the checker.
    pub fn sent(&mut self, names: &[&str]) {
        want::<MessageOf<S>>(&mut self.sent, names);
    }

    /// Messages of these kinds when they are handed to their receivers, by their names.
    ///
    /// # Panics
    /// If a name isn't one: a bug in the checker.
    pub fn delivered(&mut self, names: &[&str]) {
        want::<MessageOf<S>>(&mut self.delivered, names);
    }

    /// Messages sent, delivered and dropped. Costly: every message is shown.
    pub fn messages(&mut self) {
        self.messages = true;
    }

    /// Views of nodes.
    pub fn views(&mut self) {
        self.views = true;
    }
}

fn want<M: Kind>(wanted: &mut [bool], names: &[&str]) {
    for name in names {
        let kind = M::NAMES.iter().position(|known| known == name);
        wanted[kind.unwrap_or_else(|| panic!("no message is called {name}"))] = true;
    }
}

/// Where checkers leave what they found.
#[derive(Debug, Default)]
pub struct Findings {
    pub(crate) violations: Vec<Violation>,
    pub(crate) probes: BTreeMap<&'static str, u64>,
}

/// A property that doesn't hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The id of the property.
    pub property: &'static str,
    /// When it was noticed, in simulated time.
    pub at: Time,
    /// What was seen and what should have been.
    pub message: String,
    /// The entries that show it, in order.
    pub evidence: Vec<EntryId>,
}

impl Findings {
    /// Reports a violation; the run ends after the current step.
    pub fn violated(
        &mut self,
        property: &'static str,
        at: Time,
        evidence: impl IntoIterator<Item = EntryId>,
        message: impl Into<String>,
    ) {
        self.violations.push(Violation {
            property,
            at,
            message: message.into(),
            evidence: evidence.into_iter().collect(),
        });
    }

    /// Notes that a rare state was reached, by its name. A sweep tells how many runs reached it.
    pub fn reached(&mut self, probe: &'static str) {
        *self.probes.entry(probe).or_default() += 1;
    }

    /// The violations so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The probes so far, with how often each was reached.
    #[must_use]
    pub fn probes(&self) -> &BTreeMap<&'static str, u64> {
        &self.probes
    }
}
