//! Safety that the explorer can judge: a small value that goes along with every state.

use crate::{EventOf, NodeId, System};
use std::fmt::Debug;
use std::hash::Hash;

/// What a system remembers of the events along one path, to judge the next one.
///
/// It is a part of the state: two paths that lead to the same machines, but not to the same ledger, are told apart. So it
/// should hold no more than its properties need, and nothing that grows with the length of a path: who decided what, not when
/// or how often.
///
/// `()` remembers and judges nothing.
pub trait Ledger<S: System>: Clone + Eq + Hash + Default + Debug + Send + Sync {
    /// Takes note of what just became part of the history at a node.
    ///
    /// # Errors
    /// The property that it violates.
    fn judge(&mut self, system: &S, node: NodeId, told: &Told<'_, S>) -> Result<(), Breach>;
}

/// What a ledger is shown.
#[derive(Debug)]
pub enum Told<'a, S: System> {
    /// A machine decided something, and everything it recorded before is durable.
    Event(&'a EventOf<S>),
    /// A process started.
    Up {
        /// Which life of the node, from 1.
        life: u32,
    },
    /// The process died.
    Down,
}

/// A property that doesn't hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// The id of the property.
    pub property: &'static str,
    /// What was seen and what should have been.
    pub message: String,
}

impl Breach {
    /// A violation of a property.
    #[must_use]
    pub fn of(property: &'static str, message: impl Into<String>) -> Self {
        Self { property, message: message.into() }
    }
}

impl<S: System> Ledger<S> for () {
    fn judge(&mut self, _: &S, _: NodeId, _: &Told<'_, S>) -> Result<(), Breach> {
        Ok(())
    }
}
