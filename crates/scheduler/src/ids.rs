//! The numbers that things are known by.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one; the last number is its own next one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One execution of a task. From one durable counter that starts at 1; never reused.
    AttemptId(u64)
}
number! {
    /// One stay of a worker, from its grant to its end, as the authority over membership numbers it. It never comes back.
    Incarnation(u64)
}
number! {
    /// How often a breaker has changed. A permit belongs to the generation in which it was taken; the first one is 0.
    Generation(u64)
}
number! {
    /// The place of a checkpoint in the strictly increasing numbering of its task; the first one is 1.
    CheckpointSeq(u64)
}
