//! When each live incarnation was last heard of by the coordinator's clock, as the history tells it.
//!
//! A decision that was durable when the coordinator crashed, but not yet published, is missing in the history. So after a
//! restart an incarnation may have begun or ended without a word; a row is `sure` again once it is heard of in the new life.

use super::table::Table;
use super::{Event, event};
use crate::{Cluster, NodeKind};
use squall::{Entry, Fact, Interest, Scene, Truth};
use squall_coordinator::{Incarnation, Knobs, Role};
use squall_machine::{Span, Time};
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

/// What is known about an incarnation that has joined and not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) role: Role,
    /// Whether its first heartbeat was accepted.
    pub(super) begun: bool,
    /// When its last heartbeat was accepted, on the clock of this life of the coordinator.
    pub(super) last: Option<Time>,
    /// When that was published, in simulated time.
    pub(super) seen: Time,
    /// Whether the coordinator showed in this life that it takes the incarnation for live.
    pub(super) sure: bool,
}

/// One [`Ages`] for several checkers. Each judges an entry before it is taken in, so the one that takes entries in comes last
/// in their order. Only that one is shown every heartbeat.
#[derive(Clone, Debug)]
pub(super) struct SharedAges {
    ages: Rc<RefCell<Ages>>,
    follows: bool,
}

impl Default for SharedAges {
    /// For a checker on its own.
    fn default() -> Self {
        Self { ages: Rc::default(), follows: true }
    }
}

impl SharedAges {
    /// The same, for a checker that comes before the one that takes entries in.
    pub(super) fn reader(&self) -> Self {
        Self { ages: self.ages.clone(), follows: false }
    }

    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(&self, interest: &mut Interest<Cluster>) {
        if self.follows {
            interest.truth(&["up"]);
            interest.events(&[
                "joined",
                "began",
                "heartbeat_accepted",
                "requested",
                "failed",
                "left",
                "forgotten",
                "stalled",
            ]);
        }
    }

    pub(super) fn look(&self) -> Ref<'_, Ages> {
        self.ages.borrow()
    }

    pub(super) fn look_mut(&self) -> RefMut<'_, Ages> {
        self.ages.borrow_mut()
    }

    /// Takes an entry in, after it was judged.
    pub(super) fn follow(&self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if self.follows {
            self.look_mut().follow(entry, scene);
        }
    }
}

/// The rows of all incarnations that have joined and not ended.
#[derive(Debug, Default)]
pub(super) struct Ages {
    pub(super) rows: Table<Row>,
    /// When all ages last started anew.
    pub(super) floor: Option<Time>,
    /// Whether the coordinator has restarted, so that something may have happened without a word.
    pub(super) restarted: bool,
}

impl Ages {
    /// How long ago an incarnation was heard of, the coordinator's own gaps not counted.
    pub(super) fn age(&self, row: &Row, now: Time) -> Span {
        row.last.max(self.floor).map_or(Span::ZERO, |heard| now.since(heard))
    }

    /// The timeout of a role.
    pub(super) fn timeout(knobs: &Knobs, role: Role) -> Span {
        match role {
            Role::Replica => knobs.replica_timeout,
            Role::Worker => knobs.worker_timeout,
        }
    }

    /// A row, if its incarnation has begun, and whether the coordinator must have declared its failure by now.
    pub(super) fn overdue(&self, knobs: &Knobs, who: Incarnation, now: Time) -> Option<(Row, bool)> {
        let row = self.rows.row(who).filter(|row| row.begun)?;
        Some((*row, self.age(row, now) >= Self::timeout(knobs, row.role) + knobs.grace))
    }

    /// Whether an incarnation is alive by the one predicate; `None` if the history doesn't know it.
    pub(super) fn alive(&self, knobs: &Knobs, who: Incarnation, now: Time) -> Option<bool> {
        let row = self.rows.row(who).filter(|row| row.begun)?;
        Some(self.age(row, now) < Self::timeout(knobs, row.role))
    }

    fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        let Some((decided, event)) = event(entry) else {
            return self.follow_truth(entry, scene);
        };
        match event {
            Event::HeartbeatAccepted { incarnation, .. } => {
                if let Some(row) = self.rows.row_mut(*incarnation) {
                    row.last = Some(decided);
                    row.seen = entry.at;
                    row.sure = true;
                    row.begun |= self.restarted;
                }
            }
            Event::Began { incarnation, role, .. } => {
                let row = Row { role: *role, begun: true, last: Some(decided), seen: entry.at, sure: true };
                self.rows.insert(*incarnation, row);
            }
            Event::Joined { incarnation, .. } => {
                let role = match scene.system.kind(entry.node) {
                    NodeKind::Replica => Role::Replica,
                    NodeKind::Coordinator
                    | NodeKind::Worker
                    | NodeKind::Subscriber
                    | NodeKind::Peer
                    | NodeKind::Store
                    | NodeKind::Client => Role::Worker,
                };
                if self.rows.row(*incarnation).is_none() {
                    let row = Row { role, begun: false, last: None, seen: entry.at, sure: false };
                    self.rows.insert(*incarnation, row);
                }
            }
            Event::Requested { incarnation, .. } => {
                if let Some(row) = self.rows.row_mut(*incarnation) {
                    row.sure = true;
                    row.begun |= self.restarted;
                }
            }
            Event::Failed { incarnation, .. }
            | Event::Left { incarnation, .. }
            | Event::Forgotten { incarnation, .. } => {
                self.rows.remove(*incarnation);
            }
            Event::Stalled { .. } => self.floor = Some(decided),
            _ => {}
        }
    }

    fn follow_truth(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        let Fact::Truth(Truth::Up { life, .. }) = entry.fact else { return };
        if entry.node != scene.system.coordinator() || *life == 1 {
            return;
        }
        self.restarted = true;
        self.floor = None;
        for row in self.rows.values_mut() {
            row.last = None;
            row.sure = false;
        }
    }
}
