//! The contract between protocol cores and whoever drives them.
//!
//! A machine owns no clock, socket, file, thread, logger or source of randomness. One input goes in through
//! [`Machine::step`]; everything the machine wants from the world comes out through one buffer, [`Effects`]. Four drivers
//! honour the same contract: the simulated world, the exhaustive explorer, the real shell under a simulated runtime, and
//! production.
//!
//! Disk before network is a type here, not a habit. A driver cannot look into [`Effects`]; it hands them to an [`Outbox`],
//! which returns the new records as a [`Batch`] and keeps back every message, reply and event that follows an unsynced
//! record. They are released only for a [`Synced`] receipt, and a receipt can only be made from the [`Pledge`] that went to
//! the disk together with the records.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod effects;
mod outbox;
mod random;
mod time;

pub use effects::Effects;
pub use outbox::{Batch, Outbox, Pledge, Released, Synced};
pub use random::{Random, Ratio};
pub use time::{Span, Time, Wall};

use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;
use serde::{Deserialize, Serialize};

/// Text that is cheap to clone: names of members and tasks, addresses, opaque data. Up to 15 bytes, which is most names, it
/// holds itself, so that comparing keys of a map follows no pointer; longer text is shared.
pub type Text = ecow::EcoString;

/// A state machine without I/O.
///
/// The rules of the contract:
///
/// * equal state and equal input give equal effects and an equal next state, everywhere;
/// * [`deadline`](Machine::deadline) names the next moment at which [`Input::Wake`] can change anything; a driver may wake
///   the machine late (the process was paused) or without need, and neither may break it;
/// * nothing grows without a named limit; an input that is ignored is ignored for a named reason, in an event.
pub trait Machine: Clone + Eq + Hash + fmt::Debug + Sized {
    /// What travels between nodes. May be lost, duplicated, delayed or overtaken.
    type Message: Clone + Eq + Hash + fmt::Debug;
    /// What a local client (an operator, a process on the same host) asks.
    type Request: Clone + Eq + Hash + fmt::Debug;
    /// What a local client is answered.
    type Reply: Clone + Eq + Hash + fmt::Debug;
    /// One durable record.
    type Record: Clone + Eq + Hash + fmt::Debug;
    /// All durable state at one point in the sequence of records: what a log is compacted to.
    type Snapshot: Clone + Eq + Hash + fmt::Debug;
    /// What the machine tells the history about its decisions.
    type Event: Clone + Eq + Hash + fmt::Debug;

    /// Takes one input and leaves everything it wants from the world in `effects`.
    ///
    /// `now` is the machine's own monotonic clock. It never goes back within one life of a process; across restarts its
    /// values are unrelated.
    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>);

    /// When [`Input::Wake`] can next change anything; `None` if only another input can.
    fn deadline(&self) -> Option<Time>;

    /// All durable state, as if every record emitted so far had been replayed.
    fn snapshot(&self) -> Self::Snapshot;

    /// Checks the relations between fields that hold between any two steps.
    ///
    /// # Panics
    /// If one of them doesn't hold: a bug in the machine.
    fn assert_invariants(&self);
}

/// Where the transport delivers to; opaque to machines. In the world an address is a node and a count of its moves, in
/// production a connection. It is not an identity: who speaks is told by what is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Address(pub u64);

/// One input of a machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input<M: Machine> {
    /// The process starts. Always the first input of a life, and only that.
    Boot(Durable<M>),
    /// A message arrived.
    Receive {
        /// Where an answer would reach the sender.
        from: Address,
        /// What it says.
        message: M::Message,
    },
    /// A local client asks.
    Request(M::Request),
    /// The clock reached [`Machine::deadline`], or the driver has nothing better to say.
    Wake,
}

/// What the disk holds when a process starts: a snapshot, if there ever was one, and the records after it, in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Durable<M: Machine> {
    /// The newest complete snapshot.
    pub snapshot: Option<M::Snapshot>,
    /// The records after it.
    pub records: Vec<M::Record>,
    /// Whether the last write before the crash was torn. A torn record was never synced, so nothing was promised on it;
    /// it is dropped before the machine boots, and only reported.
    pub torn_tail: bool,
}

impl<M: Machine> Durable<M> {
    /// The disk of a process that starts for the first time.
    #[must_use]
    pub fn empty() -> Self {
        Self { snapshot: None, records: Vec::new(), torn_tail: false }
    }

    /// The same disk as another machine reads it that writes the same: one that wraps this one, or is wrapped by it.
    #[must_use]
    pub fn cast<N>(self) -> Durable<N>
    where
        N: Machine<Record = M::Record, Snapshot = M::Snapshot>,
    {
        Durable { snapshot: self.snapshot, records: self.records, torn_tail: self.torn_tail }
    }
}

/// Names for the variants of an enum of messages or events, so that histories can be filtered and faults can be aimed
/// without knowing the enum.
pub trait Kind {
    /// The names in order, in `snake_case`, each once.
    const NAMES: &'static [&'static str];

    /// The index of this value's variant in [`NAMES`](Kind::NAMES).
    fn kind(&self) -> usize;

    /// The name of this value's variant.
    fn kind_name(&self) -> &'static str {
        Self::NAMES[self.kind()]
    }
}

/// Implements [`Kind`] for an enum: `kinds!(Message { register => Register(..), leave => Leave { .. } });`
///
/// The patterns have to cover the enum, without a wildcard; a variant that is forgotten doesn't compile.
#[macro_export]
macro_rules! kinds {
    ($type:ident { $($name:ident => $variant:pat),+ $(,)? }) => {
        impl $crate::Kind for $type {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            fn kind(&self) -> usize {
                #[expect(non_camel_case_types, reason = "the names of kinds are in snake_case")]
                enum Index { $($name),+ }
                use $type::*;
                (match self { $($variant => Index::$name),+ }) as usize
            }
        }
    };
}

/// The names of several enums of kinds, one after the other: [`Kind::NAMES`] of an enum that is made of all of them.
///
/// # Panics
/// If `N` isn't the number of all names: while compiling, where this is a constant.
#[must_use]
pub const fn names_joined<const N: usize>(parts: &[&[&'static str]]) -> [&'static str; N] {
    assert!(N == names_before(parts, parts.len()), "N is the number of all names");
    let mut names = [""; N];
    let (mut index, mut part, mut within) = (0, 0, 0);
    while index < N {
        if within == parts[part].len() {
            (part, within) = (part + 1, 0);
        } else {
            names[index] = parts[part][within];
            (index, within) = (index + 1, within + 1);
        }
    }
    names
}

/// How many names the first `count` parts have.
///
/// # Panics
/// If there are fewer parts.
#[must_use]
pub const fn names_before(parts: &[&[&'static str]], count: usize) -> usize {
    let (mut names, mut part) = (0, 0);
    while part < count {
        names += parts[part].len();
        part += 1;
    }
    names
}

/// Implements [`Kind`] for an enum of parts, any number of them, each with kinds of its own:
/// `kinds_of_parts!(Message { Coordinator(coordinator::Message), Peer(peer::Message) });`
///
/// The parts have to cover the enum; one that is forgotten doesn't compile.
#[macro_export]
macro_rules! kinds_of_parts {
    ($type:ident { $($part:ident($of:ty)),+ $(,)? }) => {
        impl $crate::Kind for $type {
            const NAMES: &'static [&'static str] =
                &$crate::names_joined::<{ 0 $(+ <$of as $crate::Kind>::NAMES.len())+ }>(&[
                    $(<$of as $crate::Kind>::NAMES),+
                ]);

            fn kind(&self) -> usize {
                enum Index { $($part),+ }
                const PARTS: &[&[&str]] = &[$(<$of as $crate::Kind>::NAMES),+];
                match self {
                    $(Self::$part(part) => {
                        const BEFORE: usize = $crate::names_before(PARTS, Index::$part as usize);
                        BEFORE + $crate::Kind::kind(part)
                    })+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    enum First {
        Here,
        There(()),
    }
    enum Second {
        Only,
    }
    enum Third {
        Early,
        Late {},
    }
    enum One {
        First(First),
    }
    enum Three {
        First(First),
        Second(Second),
        Third(Third),
    }
    enum Nested {
        Three(Three),
        One(One),
    }

    kinds!(First { here => Here, there => There(..) });
    kinds!(Second { only => Only });
    kinds!(Third { early => Early, late => Late { .. } });
    kinds_of_parts!(One { First(First) });
    kinds_of_parts!(Three { First(First), Second(Second), Third(Third) });
    kinds_of_parts!(Nested { Three(Three), One(One) });

    #[test]
    fn parts_have_their_kinds_one_after_the_other() {
        assert_eq!(One::NAMES, ["here", "there"]);
        assert_eq!(Three::NAMES, ["here", "there", "only", "early", "late"]);
        assert_eq!(Nested::NAMES, ["here", "there", "only", "early", "late", "here", "there"]);
        let values = [
            Three::First(First::Here),
            Three::First(First::There(())),
            Three::Second(Second::Only),
            Three::Third(Third::Early),
            Three::Third(Third::Late {}),
        ];
        for (index, value) in values.into_iter().enumerate() {
            assert_eq!((value.kind(), value.kind_name()), (index, Three::NAMES[index]));
            assert_eq!(Nested::Three(value).kind(), index);
        }
        assert_eq!(Nested::One(One::First(First::There(()))).kind(), 6);
    }
}
