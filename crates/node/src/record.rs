//! What a member or an observer keeps on its disk: how far its subscription has come, and nothing else.

use core::convert::Infallible;
use serde::{Deserialize, Serialize};
use squall_coordinator::{Cursor, Session};

/// One durable record of a member or an observer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A session was opened; nothing was taken in it yet.
    Opened {
        /// Which.
        session: Session,
    },
    /// Everything up to a cursor was taken, one by one or by a snapshot.
    Taken {
        /// The last one.
        cursor: Cursor,
    },
}

impl From<Infallible> for Record {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Where a subscriber stands: what all its records come to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Bookmark {
    /// The subscriber's stay.
    pub session: Session,
    /// The last notification it took; `None` before its first snapshot.
    pub taken: Option<Cursor>,
}

impl Bookmark {
    /// Replays a disk. Records of a session whose beginning is lost count for nothing.
    pub(crate) fn replay(snapshot: Option<Self>, records: &[Record]) -> Option<Self> {
        let mut bookmark = snapshot;
        for record in records {
            match (*record, &mut bookmark) {
                (Record::Opened { session }, _) => bookmark = Some(Self { session, taken: None }),
                (Record::Taken { cursor }, Some(open)) => open.taken = Some(cursor),
                (Record::Taken { .. }, None) => {}
            }
        }
        bookmark
    }
}
