//! AG4, its first half: what has to come to an end begins with a suspicion, and only answers put that off.
//!
//! Source: spec 2: each rank watches the next three, and suspects after `peer_timeout` without an *answer*; successful sends prove
//! nothing. Judged against the answers that were really handed over, from when a generation was installed, with three pings to
//! spare: one until the next look, and two of the process's own silence, for which it blames nobody.

use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::{Span, Time};
use squall_node::PeerNodeMessage;
use squall_recovery::{Communicator, Event, Generation, Message, Rank};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ag4Silence {
    watchers: BTreeMap<NodeId, Vec<Watched>>,
    reported: bool,
}

/// One that another one watches.
#[derive(Clone, Copy, Debug)]
struct Watched {
    node: NodeId,
    rank: Rank,
    generation: Generation,
    /// When it answered last, or when it was first to be asked.
    answered: Time,
    /// The newest ping that it answered: what answers an older one proves nothing.
    newest: u64,
    suspected: bool,
}

/// What proves life.
const ANSWERS: [&str; 4] = ["pong", "promise", "accept", "outbid"];

/// How many ranks each rank watches.
pub(super) const NEXT: u32 = 3;

impl Watched {
    fn on_answer(&mut self, message: &crate::Message, at: Time) {
        if let crate::Message::Peer(PeerNodeMessage::Recovery(Message::Pong { stamp, seq })) = message {
            if stamp.generation != self.generation || *seq <= self.newest {
                return;
            }
            self.newest = *seq;
        }
        self.answered = at;
    }
}

fn watched(group: &Communicator, rank: Rank, now: Time) -> Vec<Watched> {
    let size = group.size();
    let next = (1..=NEXT.min(size - 1)).map(|step| Rank((rank.0 + step) % size));
    let watched = next.filter_map(|rank| {
        let (node, _) = NodeId::of_address(group.members.get(rank.0 as usize)?.address);
        Some(Watched { node, rank, generation: group.generation, answered: now, newest: 0, suspected: false })
    });
    watched.collect()
}

fn bound(cluster: &Cluster) -> Span {
    let knobs = cluster.peer_knobs();
    // Clocks may drift by a few thousandths: a fiftieth is ample.
    knobs.peer_timeout + knobs.peer_timeout / 50 + knobs.ping * 3
}

impl Ag4Silence {
    fn update(&mut self, entry: &Entry<'_, Cluster>) {
        let Some(event) = recovery(entry) else { return };
        match event {
            Event::Installed { group, rank, .. } => {
                self.watchers.insert(entry.node, watched(group, *rank, entry.at));
            }
            Event::SelfFenced { .. } | Event::RecoveryFailed { .. } => {
                self.watchers.remove(&entry.node);
            }
            Event::Suspected { rank, .. } | Event::Cleared { rank, .. } => {
                let suspected = matches!(event, Event::Suspected { .. });
                let watched = self.watchers.get_mut(&entry.node).into_iter().flatten();
                for watched in watched.filter(|watched| watched.rank == *rank) {
                    (watched.suspected, watched.answered) = (suspected, entry.at);
                }
            }
            Event::Stalled { .. } => self.begin_anew(entry.node, entry.at),
            _ => {}
        }
    }

    fn begin_anew(&mut self, node: NodeId, now: Time) {
        self.watchers.get_mut(&node).into_iter().flatten().for_each(|watched| watched.answered = now);
    }

    fn judge(&mut self, node: NodeId, by: EntryId, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let state = &scene.nodes[node.index()];
        if self.reported || !state.up || state.paused {
            return;
        }
        let bound = bound(scene.system);
        let silent = |watched: &&Watched| !watched.suspected && scene.now.since(watched.answered) > bound;
        let Some(silent) = self.watchers.get(&node).into_iter().flatten().find(silent) else { return };
        self.reported = true;
        let message = format!(
            "{} has had no answer of rank {} ({}) for {}, and doesn't suspect it",
            scene.system.name(node),
            silent.rank,
            scene.system.name(silent.node),
            scene.now.since(silent.answered)
        );
        findings.violated("AG4", scene.now, [by], message);
    }
}

impl Checker<Cluster> for Ag4Silence {
    fn property(&self) -> &'static str {
        "AG4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "down", "resume"]);
        interest.delivered(&ANSWERS);
        interest.events(&[
            "installed",
            "self_fenced",
            "recovery_failed",
            "peer_suspected",
            "peer_cleared",
            "peer_stalled",
            "promised",
        ]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match entry.fact {
            Fact::Truth(Truth::Up { .. } | Truth::Down { .. }) => {
                self.watchers.remove(&entry.node);
            }
            Fact::Truth(Truth::Resume) => self.begin_anew(entry.node, entry.at),
            Fact::Delivered { hop, message } => {
                self.judge(hop.to, entry.id, scene, findings);
                let watched = self.watchers.get_mut(&hop.to).into_iter().flatten();
                for watched in watched.filter(|watched| watched.node == hop.from) {
                    watched.on_answer(message, entry.at);
                }
            }
            _ => {
                self.update(entry);
                self.judge(entry.node, entry.id, scene, findings);
            }
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let watchers: Vec<NodeId> = self.watchers.keys().copied().collect();
        for node in watchers {
            self.judge(node, EntryId(0), scene, findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, peers, pong, suspects};
    use super::*;

    #[test]
    fn who_gives_no_answer_is_suspected_in_time() {
        let start = || peers(Ag4Silence::default()).found();
        let answers = |history: super::super::super::testing::History<Ag4Silence>, from: usize| {
            history.delivers(R[from], R[0], pong(1, from as u32))
        };
        let two = || answers(answers(start().at(2_000), 1), 2);
        two().at(2_500).event(R[0], suspects(1, 3)).at(4_500).delivers(R[1], R[0], pong(1, 1)).holds();
        answers(two().at(2_700), 1).violated("no answer of rank 3 (r3)");
        // Nobody watches the fourth.
        answers(answers(answers(start().at(2_000), 1), 2), 3).at(2_700).delivers(R[1], R[0], pong(1, 1)).holds();
        two().at(3_000).end().violated("doesn't suspect it");
        // What answers an old ping proves nothing.
        let again = answers(two().at(2_500).event(R[0], suspects(1, 3)).at(4_000), 1);
        again.at(4_700).delivers(R[1], R[0], pong(1, 1)).violated("no answer of rank 1");
    }

    #[test]
    fn an_answer_puts_it_off_and_a_silence_of_its_own_does() {
        let start = || peers(Ag4Silence::default()).found().at(2_600);
        let stalled = Event::Stalled { gap: Span::from_millis(900) };
        start().event(R[0], stalled).at(5_000).delivers(R[1], R[0], pong(1, 1)).holds();
        let suspected = [1, 2, 3].into_iter().fold(start(), |history, rank| history.event(R[0], suspects(1, rank)));
        let cleared = suspected.event(R[0], Event::Cleared { generation: Generation(1), rank: Rank(2) });
        cleared.at(5_300).delivers(R[1], R[0], pong(1, 1)).violated("no answer of rank 2");
    }
}
