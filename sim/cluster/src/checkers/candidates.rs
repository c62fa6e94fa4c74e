//! Who would be in the quorum that forms now, as the history tells it.

use super::ages::Ages;
use super::requests::Requests;
use super::{Event, event};
use crate::Cluster;
use squall::{Entry, Fact, Interest, Scene, Truth};
use squall_coordinator::{Epoch, Incarnation, Knobs, Role};
use squall_machine::{Span, Time};
use std::collections::BTreeSet;

/// The requests that count, and the quorum before.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) requests: Requests,
    /// The members of the last formation; `None` before the first.
    pub(super) previous: Option<BTreeSet<Incarnation>>,
    /// A formation may have been made without a word.
    pub(super) doubt: bool,
}

impl Candidates {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        Requests::interest(interest);
    }

    /// The alive replicas with an open request; with a `shrink_only` among them and a quorum before, only that one's members.
    pub(super) fn list(&self, ages: &Ages, knobs: &Knobs, now: Time) -> BTreeSet<Incarnation> {
        let open = self.requests.open.keys().copied();
        let mut list: BTreeSet<Incarnation> = open.filter(|&who| ages.alive(knobs, who, now) != Some(false)).collect();
        let shrinks = |who: &Incarnation| {
            let number = self.requests.open[who].number;
            self.requests.asked(*who, number).is_some_and(|asked| asked.shrink_only)
        };
        if let Some(previous) = &self.previous
            && list.iter().any(shrinks)
        {
            list.retain(|who| previous.contains(who));
        }
        list
    }

    /// The fewest and the most replicas that are healthy.
    pub(super) fn healthy(ages: &Ages, knobs: &Knobs, now: Time) -> (u32, u32) {
        let replicas = ages.rows.iter().map(|(_, row)| row).filter(|row| row.role == Role::Replica);
        let alive = replicas.filter(|row| ages.age(row, now) < knobs.replica_timeout && (row.begun || ages.restarted));
        alive.fold((0, 0), |(least, most), row| (least + u32::from(row.sure && row.begun), most + 1))
    }

    /// How long the first of these has waited.
    pub(super) fn waited(&self, list: impl Iterator<Item = Incarnation>, now: Time) -> Span {
        let first = list.filter_map(|who| Some(self.requests.open.get(&who)?.since)).min();
        first.map_or(Span::ZERO, |first| now.since(first))
    }

    /// Takes an entry in, after it was judged.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        match event(entry) {
            Some((_, Event::Formed { quorum, .. })) => {
                self.previous = Some(quorum.members.iter().map(|member| member.incarnation).collect());
                self.doubt = false;
            }
            // After a restart the epoch goes on by one; by more if something was durable without having been told.
            Some((_, Event::Reset { epoch, .. })) => {
                self.doubt |= *epoch > self.requests.epoch.unwrap_or(Epoch(1)).next();
            }
            Some(_) => {}
            None => {
                if let Fact::Truth(Truth::Up { disk_lost, .. }) = entry.fact {
                    self.doubt |= *disk_lost && entry.node == scene.system.coordinator();
                }
            }
        }
        self.requests.follow(entry, scene);
    }
}
