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
    /// The number of a communicator, from 1: each is the successor of the one before.
    Generation(u64)
}
number! {
    /// A member's place in the list of its communicator, from 0.
    Rank(u32)
}
number! {
    /// One stay of a member. Founders get theirs from whoever starts the group; a joiner draws its own at random when its
    /// process starts, and anew whenever it has fenced itself.
    Incarnation(u64)
}
number! {
    /// The place of a notice in a peer's stream; 0 is before the first.
    Cursor(u64)
}
number! {
    /// One local subscriber's stay; drawn by the subscriber.
    Session(u64)
}
