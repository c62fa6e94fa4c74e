//! CM6: each local subscriber is told each change of its peer's group once and in order, or how many it missed.
//!
//! Source: spec 2 (generation, old rank, new rank, new size, dead, joined; subscribers bounded, lag and resync as in 1.2). What a
//! notice says is compared with what the peer itself decided and installed. Nobody is told more than its window holds unconfirmed,
//! and nobody waits while there is room: who asks has been told all before that its window had room for. An id of our own.

use super::recovery;
use crate::{Cluster, ListenerEvent, Policy};
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::Time;
use squall_recovery::{Change, Communicator, Cursor, Event, Generation, Member, Rank, Session, Subscription, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm6 {
    peers: BTreeMap<NodeId, Story>,
}

/// What became of one process and its group, in the order in which it is to be told.
#[derive(Debug, Default)]
struct Story {
    group: Option<(Arc<Communicator>, Rank)>,
    suspects: BTreeSet<Rank>,
    decided: Option<(Generation, Value)>,
    changes: Vec<Change>,
    /// The last change is a suspicion of that moment, and others of the same moment belong to it.
    suspecting: Option<Time>,
    sessions: BTreeMap<Session, Window>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    confirmed: u64,
    told: u64,
    /// It asked where things stand, and awaits that.
    fresh: bool,
}

impl Story {
    fn newest(&self) -> u64 {
        self.changes.len() as u64
    }

    fn members(&self, ranks: impl IntoIterator<Item = Rank>) -> Arc<[Member]> {
        let group = self.group.as_ref().map(|(group, _)| group);
        let members = ranks.into_iter().filter_map(|rank| group?.members.get(rank.0 as usize).cloned());
        members.collect::<Vec<_>>().into()
    }

    fn on_event(&mut self, event: &Event, at: Time, manual: bool) {
        let suspecting = self.suspecting.take();
        match event {
            Event::Decided { generation, value, .. } => self.decided = Some((*generation, value.clone())),
            Event::Installed { group, rank, .. } => {
                let generation = group.generation;
                let value = self.decided.take().filter(|(decided, _)| decided.next() == generation);
                let dead = value.as_ref().map(|(_, value)| self.members(value.dead.iter().copied()));
                self.changes.push(Change::Installed {
                    generation,
                    old_rank: self.group.as_ref().map(|(_, rank)| *rank),
                    new_rank: *rank,
                    size: group.members.len() as u32,
                    dead: dead.unwrap_or_default(),
                    joined: value.map(|(_, value)| value.joined).unwrap_or_default(),
                });
                self.group = Some((group.clone(), *rank));
                self.suspects.clear();
            }
            Event::SelfFenced { generation, .. } => {
                self.changes.push(Change::Fenced { generation: *generation });
                self.group = None;
                self.suspects.clear();
            }
            Event::Suspected { generation, rank } => {
                self.suspects.insert(*rank);
                if manual {
                    let members = self.members([*rank]);
                    match self.changes.last_mut() {
                        Some(Change::Suspected { members: before, .. }) if suspecting == Some(at) => {
                            *before = before.iter().chain(members.iter()).cloned().collect::<Vec<_>>().into();
                        }
                        _ => self.changes.push(Change::Suspected { generation: *generation, members }),
                    }
                    self.suspecting = Some(at);
                }
            }
            Event::Cleared { rank, .. } => drop(self.suspects.remove(rank)),
            _ => {}
        }
    }

    fn on_asked(&mut self, session: Session, after: Option<Cursor>, queue: u64) -> Option<String> {
        let newest = self.newest();
        let window = self.sessions.entry(session).or_default();
        let Some(Cursor(after)) = after else {
            window.fresh = true;
            return None;
        };
        let due = newest.min(window.confirmed + queue);
        let problem =
            (window.told < due).then(|| format!("is told nothing after {}, and {due} would have room", window.told));
        // Who confirms nothing new wants what followed once more.
        let told = if after <= window.confirmed { after } else { window.told.max(after) };
        *window = Window { confirmed: after, told, fresh: false };
        problem
    }

    fn on_told(&mut self, session: Session, cursor: Cursor, change: &Change, queue: u64) -> Option<String> {
        let index = cursor.0.checked_sub(1);
        let expected = index.and_then(|index| self.changes.get(index as usize)).cloned();
        let window = self.sessions.entry(session).or_default();
        let before = std::mem::replace(&mut window.told, cursor.0);
        if before + 1 != cursor.0 {
            return Some(format!("is told {cursor} after {before}"));
        }
        if cursor.0 > window.confirmed + queue {
            return Some(format!("is told {cursor}, and has confirmed {} only", window.confirmed));
        }
        (expected.as_ref() != Some(change)).then(|| format!("is told {change:?} as {cursor}, which is {expected:?}"))
    }

    fn on_cut(&mut self, session: Session, cut: &Subscription, kept: u64) -> Option<String> {
        let (newest, group) = (self.newest(), self.group.clone());
        let suspects = self.members(self.suspects.iter().copied());
        let window = self.sessions.entry(session).or_default();
        let lagged = (!window.fresh).then(|| newest - window.told.min(newest));
        *window = Window { confirmed: newest, told: newest, fresh: false };
        if cut.cursor.0 != newest || cut.lagged != lagged {
            return Some(format!(
                "is shown {} with {:?} missed; it was {newest} with {lagged:?}",
                cut.cursor, cut.lagged
            ));
        }
        if lagged.is_some_and(|lagged| lagged <= kept) {
            return Some(format!("is shown how things stand, though what it missed is kept: {lagged:?} of {kept}"));
        }
        (cut.group != group || cut.suspects != suspects)
            .then(|| format!("is shown another group or other suspects at {newest}"))
    }
}

impl Checker<Cluster> for Cm6 {
    fn property(&self) -> &'static str {
        "CM6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "down"]);
        interest.events(&[
            "decided",
            "installed",
            "self_fenced",
            "peer_suspected",
            "peer_cleared",
            "round_started",
            "listener_asked",
            "listener_told",
            "listener_cut",
        ]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let queue = u64::from(scene.system.peer_knobs().subscriber_queue);
        let problem = match entry.fact {
            Fact::Truth(Truth::Up { .. } | Truth::Down { .. }) => {
                self.peers.insert(entry.node, Story::default());
                None
            }
            Fact::Event { event: crate::Event::Listener(event), .. } => {
                let Some(story) = self.peers.get_mut(&entry.node) else { return };
                match event {
                    ListenerEvent::Asked { session, after } => {
                        story.on_asked(*session, *after, queue).map(|problem| (*session, problem))
                    }
                    ListenerEvent::Told { session, notice } => {
                        story.on_told(*session, notice.cursor, &notice.change, queue).map(|problem| (*session, problem))
                    }
                    ListenerEvent::Cut { session, subscription } => {
                        if subscription.lagged.is_some() {
                            findings.reached("a subscriber fell behind and is shown how things stand");
                        }
                        let kept = u64::from(scene.system.peer_knobs().notices_kept);
                        story.on_cut(*session, subscription, kept).map(|problem| (*session, problem))
                    }
                }
            }
            _ => {
                let manual = scene.system.policy() == Policy::Manual;
                if let (Some(event), Some(story)) = (recovery(entry), self.peers.get_mut(&entry.node)) {
                    story.on_event(event, entry.at, manual);
                }
                None
            }
        };
        if let Some((session, problem)) = problem {
            let name = scene.system.name(entry.node);
            findings.violated("CM6", entry.at, [entry.id], format!("subscriber {session} of {name} {problem}"));
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let queue = u64::from(scene.system.peer_knobs().subscriber_queue);
        for (node, story) in &self.peers {
            let newest = story.newest();
            let waits = |window: &Window| window.told < newest.min(window.confirmed + queue);
            if let Some((session, window)) = story.sessions.iter().find(|(_, window)| waits(window)) {
                let name = scene.system.name(*node);
                let message = format!("subscriber {session} of {name} is never told what follows {}", window.told);
                findings.violated("CM6", scene.now, [], message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{History, history_of};
    use super::super::testing::{R, decided, installed};
    use super::*;
    use crate::{Authority, Settings, Topology};
    use squall_recovery::Notice;

    const S: Session = Session(7);
    const ALL: [u32; 5] = [0, 1, 2, 3, 4];

    fn asks(after: Option<u64>) -> ListenerEvent {
        ListenerEvent::Asked { session: S, after: after.map(Cursor) }
    }

    fn change(generation: u64, old: Option<u32>, new: u32, size: u32, dead: &[u32]) -> Change {
        let Event::Installed { group, .. } = installed(1, 0, &ALL, None) else { unreachable!() };
        Change::Installed {
            generation: Generation(generation),
            old_rank: old.map(Rank),
            new_rank: Rank(new),
            size,
            dead: dead.iter().map(|rank| group.members[*rank as usize].clone()).collect(),
            joined: [].into(),
        }
    }

    fn told(cursor: u64, change: Change) -> ListenerEvent {
        ListenerEvent::Told { session: S, notice: Arc::new(Notice { cursor: Cursor(cursor), change }) }
    }

    /// `r4` founds, subscribes, and installs the generation without rank 1.
    fn start(notices_kept: u32) -> History<Cm6> {
        let Event::Installed { group, .. } = installed(1, 4, &ALL, None) else { unreachable!() };
        let subscription =
            Subscription { cursor: Cursor(1), lagged: None, group: Some((group, Rank(4))), suspects: [].into() };
        let cut = ListenerEvent::Cut { session: S, subscription: Arc::new(subscription) };
        let topology = Topology { authority: Authority::Peers, replicas: 5, ..Topology::default() };
        let settings = Settings { notices_kept: Some(notices_kept), subscriber_queue: Some(1), ..Settings::default() };
        let begun = history_of(Cm6::default(), topology, settings)
            .up(R[4])
            .event(R[4], installed(1, 4, &ALL, None))
            .event(R[4], asks(None));
        let cut = begun.event(R[4], cut);
        cut.event(R[4], decided(1, (1, 0), &[1], &[0, 2, 3])).event(R[4], installed(2, 3, &[0, 2, 3, 4], Some(4)))
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let second = || told(2, change(2, Some(4), 3, 4, &[1]));
        start(9).event(R[4], second()).end().holds();
        start(9).end().violated("is never told what follows 1");
        start(9).event(R[4], asks(Some(1))).violated("is told nothing after 1");
        start(9).event(R[4], second()).event(R[4], second()).violated("is told 2 after 2");
        start(9).event(R[4], told(0, change(2, Some(4), 3, 4, &[1]))).violated("is told 0 after 1");
        start(9).event(R[4], second()).event(R[4], asks(Some(1))).event(R[4], second()).holds();
        start(9).event(R[4], told(2, change(2, Some(4), 4, 4, &[1]))).violated("is told Installed");
        start(9).event(R[4], told(2, change(2, None, 3, 4, &[1]))).violated("is told Installed");
        start(9).event(R[4], told(2, change(2, Some(4), 3, 4, &[2]))).violated("is told Installed");
        let fenced = start(9)
            .event(R[4], second())
            .event(R[4], asks(Some(2)))
            .event(R[4], Event::SelfFenced { generation: Generation(3), incarnation: squall_recovery::Incarnation(5) });
        fenced.event(R[4], told(3, Change::Fenced { generation: Generation(3) })).end().holds();
    }

    #[test]
    fn nobody_is_told_more_than_its_window_holds() {
        let told_two = || start(9).event(R[4], told(2, change(2, Some(4), 3, 4, &[1])));
        let behind = || told_two().event(R[4], installed(3, 2, &[0, 3, 4], Some(3)));
        let third = || told(3, change(3, Some(3), 2, 3, &[]));
        behind().end().holds();
        behind().event(R[4], third()).violated("is told 3, and has confirmed 1 only");
        behind().event(R[4], asks(Some(2))).event(R[4], third()).end().holds();
        behind().event(R[4], asks(Some(2))).end().violated("is never told what follows 2");
    }

    #[test]
    fn a_cut_says_how_many_were_missed() {
        let cut = |cursor, lagged| {
            let Event::Installed { group, .. } = installed(3, 2, &[0, 3, 4], Some(3)) else { unreachable!() };
            let (group, suspects) = (Some((group, Rank(2))), [].into());
            let subscription = Subscription { cursor: Cursor(cursor), lagged, group, suspects };
            ListenerEvent::Cut { session: S, subscription: Arc::new(subscription) }
        };
        let behind = |kept| start(kept).event(R[4], installed(3, 2, &[0, 3, 4], Some(3)));
        behind(1).event(R[4], cut(3, Some(2))).end().holds();
        behind(2).event(R[4], cut(3, Some(2))).violated("what it missed is kept");
        behind(1).event(R[4], cut(3, None)).violated("is shown 3 with None missed");
        behind(1).event(R[4], cut(2, Some(2))).violated("is shown 2");
        let suspects = Event::Suspected { generation: Generation(3), rank: Rank(0) };
        behind(1).event(R[4], suspects).event(R[4], cut(3, Some(2))).violated("other suspects");
    }
}
