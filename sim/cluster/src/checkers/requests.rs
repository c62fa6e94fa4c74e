//! The requests that count, and what was asked, as the history tells it.

use super::{Event, event};
use crate::Cluster;
use squall::{Entry, EntryId, Fact, Interest, Scene, Truth};
use squall_coordinator::{Epoch, Incarnation, Number};
use squall_machine::Time;
use std::collections::{BTreeMap, VecDeque};

/// How many requests of one incarnation are remembered; late copies are rarely older.
const ASKS_KEPT: usize = 8;

/// A request that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) number: Number,
    pub(super) epoch: Epoch,
    /// When it began to count, or all waits started anew.
    pub(super) since: Time,
    pub(super) told: EntryId,
}

/// What a member asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) number: Number,
    pub(super) epoch: Epoch,
    pub(super) step: u64,
    pub(super) shrink_only: bool,
    pub(super) commit_failures: u64,
}

/// Every request that counts.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) open: BTreeMap<Incarnation, Open>,
    /// The current epoch, once it was told.
    pub(super) epoch: Option<Epoch>,
    asks: BTreeMap<Incarnation, VecDeque<Asked>>,
}

impl Requests {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&[
            "asked",
            "requested",
            "withdrawn",
            "refused",
            "reset",
            "formed",
            "failed",
            "left",
            "stalled",
            "forgotten",
        ]);
    }

    /// What was asked under a number, if that is remembered.
    pub(super) fn asked(&self, who: Incarnation, number: Number) -> Option<Asked> {
        self.asks.get(&who)?.iter().copied().find(|asked| asked.number == number)
    }

    /// Whether a request of this number may have been asked and is forgotten.
    pub(super) fn may_have_asked(&self, who: Incarnation, number: Number) -> bool {
        let asks = self.asks.get(&who);
        asks.is_some_and(|asks| asks.len() == ASKS_KEPT && asks.front().is_some_and(|oldest| number < oldest.number))
    }

    /// Takes an entry in, after it was judged.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.open.clear();
        }
        let Some((decided, told)) = event(entry) else { return };
        match told {
            Event::Asked { incarnation, number, epoch, step, shrink_only, commit_failures } => {
                let (number, epoch, step) = (*number, *epoch, *step);
                let (shrink_only, commit_failures) = (*shrink_only, *commit_failures);
                let asks = self.asks.entry(*incarnation).or_default();
                if asks.len() == ASKS_KEPT {
                    asks.pop_front();
                }
                asks.push_back(Asked { number, epoch, step, shrink_only, commit_failures });
            }
            Event::Requested { incarnation, number, epoch, .. } => {
                let open = Open { number: *number, epoch: *epoch, since: decided, told: entry.id };
                self.open.insert(*incarnation, open);
            }
            Event::Withdrawn { incarnation, through } => {
                self.open.retain(|who, open| who != incarnation || open.number > *through);
            }
            Event::Refused { incarnation, number, .. } => {
                self.open.retain(|who, open| who != incarnation || open.number > *number);
            }
            Event::Reset { epoch, .. } => {
                self.open.clear();
                self.epoch = Some(*epoch);
            }
            Event::Formed { quorum, .. } => {
                self.open.clear();
                self.epoch = Some(quorum.formation.next());
            }
            Event::Failed { incarnation, .. } | Event::Left { incarnation, .. } => {
                self.open.remove(incarnation);
            }
            Event::Stalled { restarted: false, .. } => {
                self.open.values_mut().for_each(|open| open.since = decided);
            }
            Event::Forgotten { incarnation, .. } => {
                self.asks.remove(incarnation);
            }
            _ => {}
        }
    }
}
