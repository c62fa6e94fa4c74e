//! Whom the coordinator still has to reckon with as Active in its newest formation, as the history tells it.

use super::Event;
use super::table::Table;
use squall_coordinator::{Epoch, Incarnation, Quorum};
use squall_machine::{Span, Time};
use std::collections::BTreeMap;

/// A member of the newest formation that has neither left nor confirmed an eviction.
#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    evicting: bool,
    /// Its word may have become durable just before a crash, without being told.
    doubt: bool,
}

/// All of them, and when each was last heard of.
#[derive(Debug, Default)]
pub(super) struct Holders {
    holders: BTreeMap<Incarnation, Holder>,
    /// Whether there is doubt about any of them.
    doubt: bool,
    epoch: Option<Epoch>,
    /// When each incarnation's last heartbeat was accepted, in this life of the coordinator: by its clock, and in simulated
    /// time as it was published.
    heard: Table<(Time, Time)>,
    /// When the coordinator restarted, on its own clock: `takeover` is counted anew.
    floor: Option<Time>,
}

impl Holders {
    /// Those whom a formation leaves out though they may be Active in the one before, each with how long it was silent;
    /// `None` if it was never heard of. Those about whom there is doubt aren't told.
    pub(super) fn left_out(&self, quorum: &Quorum, now: Time) -> Vec<(Incarnation, Option<Span>)> {
        let stays = |who: Incarnation| quorum.members.iter().any(|member| member.incarnation == who);
        let certain = self.holders.iter().filter(|(_, holder)| !holder.doubt).map(|(&who, _)| who);
        certain.filter(|&who| !stays(who)).map(|who| (who, self.silence(who, now))).collect()
    }

    /// All of them, also those about whom there is doubt.
    pub(super) fn all(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.holders.keys().copied()
    }

    /// How long ago an incarnation was last heard of; `None` if it never was.
    pub(super) fn silence(&self, who: Incarnation, now: Time) -> Option<Span> {
        let heard = self.heard.row(who).map(|heard| heard.0).max(self.floor);
        heard.map(|heard| now.since(heard))
    }

    /// A heartbeat was accepted. This is the hot path.
    pub(super) fn heard(&mut self, who: Incarnation, decided: Time, at: Time) {
        match self.heard.row_mut(who) {
            Some(heard) => *heard = (decided, at),
            None => {
                self.heard.insert(who, (decided, at));
            }
        }
        // Who is heard of has not left; whether it has confirmed an eviction isn't known.
        if self.doubt
            && let Some(holder) = self.holders.get_mut(&who)
        {
            holder.doubt &= holder.evicting;
        }
    }

    /// When the last accepted heartbeat of an incarnation was published, if one was in this life of the coordinator.
    pub(super) fn seen(&self, who: Incarnation) -> Option<Time> {
        self.heard.row(who).map(|heard| heard.1)
    }

    /// The coordinator starts anew.
    pub(super) fn restart(&mut self) {
        self.heard = Table::default();
        self.floor = None;
        self.doubt = true;
        self.holders.values_mut().for_each(|holder| holder.doubt = true);
    }

    /// Takes in an event of the coordinator, after it was judged.
    pub(super) fn follow(&mut self, decided: Time, told: &Event) {
        match told {
            Event::Formed { quorum, .. } => {
                self.holders = quorum.members.iter().map(|member| (member.incarnation, Holder::default())).collect();
                self.doubt = false;
                self.epoch = Some(quorum.formation.next());
            }
            Event::Left { incarnation, .. } => {
                self.holders.remove(incarnation);
            }
            Event::Forgotten { incarnation, .. } => {
                self.holders.remove(incarnation);
                self.heard.remove(*incarnation);
            }
            Event::EvictSent { incarnation, .. } => {
                if let Some(holder) = self.holders.get_mut(incarnation) {
                    holder.evicting = true;
                }
            }
            Event::Evicted { incarnation, .. } => {
                self.holders.remove(incarnation);
            }
            Event::Reset { epoch, .. } => {
                // A skipped epoch: a formation may have been made without a word, and its members are the holders.
                if self.epoch.is_some_and(|known| *epoch > known.next()) {
                    self.holders.clear();
                }
                self.epoch = Some(*epoch);
            }
            Event::Stalled { restarted: true, .. } => self.floor = Some(decided),
            _ => {}
        }
    }
}
