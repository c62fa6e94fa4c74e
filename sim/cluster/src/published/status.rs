//! What a process of the exhibit looks like from outside, in the words of the product.

use super::{Published, Seat, agree};
use squall_recovery::{Activity, PeerSizes, PeerStatus, Rank, Stage};
use std::collections::BTreeSet;

impl Published {
    pub(crate) fn status(&self) -> PeerStatus {
        let seat = self.seat.as_deref();
        let dead = |seat: &Seat| -> BTreeSet<Rank> { seat.watch.failed.iter().copied().collect() };
        PeerStatus {
            id: self.config.member.id.clone(),
            incarnation: self.config.member.incarnation,
            stage: match (self.booted, self.stopped, seat) {
                (false, _, _) => Stage::Off,
                (true, true, _) => Stage::Stopped,
                (true, false, None) => Stage::Joining,
                (true, false, Some(_)) => Stage::Member,
            },
            group: seat.map(|seat| seat.group.clone()),
            communicator: seat.map(|seat| seat.group.id()),
            rank: seat.map(|seat| seat.rank),
            activity: seat.map(activity),
            suspects: seat.map(|seat| seat.watch.silent.clone()).unwrap_or_default(),
            leader: seat.and_then(|seat| seat.group.ranks().find(|rank| !dead(seat).contains(rank))),
            promised: None,
            leads: seat.and_then(|seat| match &seat.stage {
                agree::Stage::Collecting { ballot, .. } => Some(*ballot),
                agree::Stage::Telling { decision, .. } => Some(decision.ballot),
                agree::Stage::Idle | agree::Stage::Waiting { .. } => None,
            }),
            sizes: PeerSizes { watched: seat.map_or(0, |seat| seat.group.members.len() - 1), ..PeerSizes::default() },
            waits_for: self.waits_for(),
        }
    }

    fn waits_for(&self) -> String {
        let Some(seat) = self.seat.as_ref().filter(|_| !self.stopped) else {
            return if self.booted { "for nothing: there is no way back".to_owned() } else { String::new() };
        };
        match &seat.stage {
            agree::Stage::Idle if seat.work.is_some() => String::new(),
            agree::Stage::Idle => format!("to hear everybody in generation {}", seat.group.generation),
            agree::Stage::Waiting { .. } => "for the leader's union".to_owned(),
            agree::Stage::Collecting { awaited, .. } => format!("for the vote of rank {awaited}"),
            agree::Stage::Telling { receiver, .. } => format!("for rank {receiver} to take the union"),
        }
    }
}

fn activity(seat: &Seat) -> Activity {
    match (&seat.stage, seat.work) {
        (_, Some(_)) => Activity::Active,
        (agree::Stage::Idle, None) => Activity::Installed,
        (agree::Stage::Waiting { .. } | agree::Stage::Collecting { .. } | agree::Stage::Telling { .. }, None) => {
            Activity::Inactive
        }
    }
}
