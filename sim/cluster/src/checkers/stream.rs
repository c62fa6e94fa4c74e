//! The stream of notifications as the coordinator told it, and where each subscriber stands in it.

use super::{Event, event};
use crate::Cluster;
use squall::{Entry, Fact, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Change, Cursor, Incarnation, Notice, Session};
use squall_machine::{Text, Time};
use std::collections::BTreeMap;

/// How many notices are remembered; more than any subscriber can still be told.
const KEPT: usize = 16_384;

/// A notice and when it was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) notice: Notice,
    pub(super) at: Time,
}

/// Every notice by its place.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) newest: Cursor,
    rows: BTreeMap<Cursor, Told>,
    /// The coordinator restarted, and has numbered nothing since: the disk may hold notices that were never told.
    pub(super) doubt: bool,
    /// Whether that was ever so.
    pub(super) restarted: bool,
}

/// The notice that an event of the coordinator stands for.
pub(super) fn notice(told: &Event) -> Option<Notice> {
    let (member, incarnation, cursor, change): (&Text, Incarnation, Cursor, Change) = match told {
        Event::Failed { member, incarnation, cause, cursor, .. } => {
            (member, *incarnation, *cursor, Change::Failed(*cause))
        }
        Event::Began { member, incarnation, returned: Some(cursor), .. } => {
            (member, *incarnation, *cursor, Change::Returned)
        }
        _ => return None,
    };
    Some(Notice { cursor, member: member.clone(), incarnation, change })
}

impl Stream {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["failed", "began"]);
    }

    /// Takes in an entry. Returns what is wrong with its number, if it has one.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) -> Option<String> {
        if let Fact::Truth(Truth::Up { life, .. }) = entry.fact {
            let again = entry.node == scene.system.coordinator() && *life > 1;
            (self.doubt, self.restarted) = (self.doubt || again, self.restarted || again);
        }
        let notice = notice(event(entry)?.1)?;
        let (cursor, newest) = (notice.cursor, self.newest);
        let problem = if cursor <= newest {
            Some(format!("notice {cursor} is numbered after {newest}"))
        } else {
            let gap = cursor > newest.next() && !self.doubt;
            gap.then(|| format!("notice {cursor} is numbered after {newest}: a gap"))
        };
        self.doubt = false;
        self.adopt(notice, entry.at);
        problem
    }

    /// Takes in a notice that only a subscriber has told of.
    pub(super) fn adopt(&mut self, notice: Notice, at: Time) {
        self.newest = self.newest.max(notice.cursor);
        self.rows.insert(notice.cursor, Told { notice, at });
        if self.rows.len() > KEPT {
            self.rows.pop_first();
        }
    }

    /// The notice at a place, if it was told and is remembered.
    pub(super) fn at(&self, cursor: Cursor) -> Option<&Told> {
        self.rows.get(&cursor)
    }

    /// Whether a notice may exist at a place at which none was told.
    pub(super) fn may_hold(&self, cursor: Cursor) -> bool {
        let forgotten = self.rows.first_key_value().is_some_and(|(oldest, _)| cursor < *oldest);
        forgotten || self.restarted && (self.doubt || cursor < self.newest)
    }
}

/// Where a subscriber stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) session: Session,
    /// The last notice it took.
    pub(super) notified: Option<Cursor>,
    /// The last snapshot it took.
    pub(super) cut: Option<Cursor>,
    /// Its process restarted since it told anything: it may have taken more than it told.
    pub(super) restarted: bool,
}

impl Stand {
    /// The last place that it has covered.
    pub(super) fn taken(&self) -> Option<Cursor> {
        self.notified.max(self.cut)
    }
}

/// Where all subscribers stand.
#[derive(Debug, Default)]
pub(super) struct Stands {
    pub(super) nodes: BTreeMap<NodeId, Stand>,
    restarted: bool,
}

impl Stands {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["session_opened", "notified", "resynced"]);
    }

    /// Where a session stood before this entry.
    pub(super) fn of(&self, node: NodeId, session: Session) -> Option<Stand> {
        self.nodes.get(&node).copied().filter(|stand| stand.session == session)
    }

    /// Whether a subscriber may speak of a session that it never told of.
    pub(super) fn may_open_silently(&self) -> bool {
        self.restarted
    }

    /// Takes in an entry, after it was judged.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>) {
        if let Fact::Truth(Truth::Up { life, disk_lost, .. }) = entry.fact {
            if *disk_lost {
                self.nodes.remove(&entry.node);
            } else if let Some(stand) = self.nodes.get_mut(&entry.node) {
                stand.restarted = true;
            }
            self.restarted |= *life > 1;
        }
        let Some((_, told)) = event(entry) else { return };
        let (session, notified, cut) = match told {
            Event::SessionOpened { session } => (*session, None, None),
            Event::Notified { session, notice } => (*session, Some(notice.cursor), None),
            Event::Resynced { session, cursor, .. } => (*session, None, Some(*cursor)),
            _ => return,
        };
        let fresh = Stand { session, notified: None, cut: None, restarted: false };
        let stand = self.nodes.entry(entry.node).or_insert(fresh);
        if stand.session != session {
            *stand = fresh;
        }
        stand.notified = stand.notified.max(notified);
        stand.cut = stand.cut.max(cut);
        stand.restarted = false;
    }
}
