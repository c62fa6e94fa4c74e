//! The numbers that things are known by. Each comes from a counter of its own and is never reused.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one. No counter reaches the last number; a message may name it, and its next one is
            /// itself.
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
    /// One stay of a member, from its grant to its end. Granted from one durable counter that starts at 1.
    Incarnation
}
number! {
    /// Where the formation of quorums stands. A request counts only in the epoch it was made for; a formation is known by
    /// the epoch in which it was formed. Durable, starts at 1.
    Epoch
}
number! {
    /// The place of a notification in the one gap-free numbering; 0 is before the first.
    Cursor
}
number! {
    /// The number of a quorum. Grows when its list of members changed or a commit failed; starts at 1.
    QuorumId
}
number! {
    /// The random number that a process draws when it starts, by which a repeated registration is known.
    BootId
}
number! {
    /// One subscriber's stay; random, drawn by the subscriber.
    Session
}
number! {
    /// The number of a request; numbered from 1 per incarnation.
    Number
}
