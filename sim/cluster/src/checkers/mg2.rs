//! MG2: a true decision had one true vote of each local rank for that (step, quorum_id), no other vote counted.
//!
//! Source: spec 1.4. Judged at each replica: a vote is opened in the quorum in which the replica is Active; votes count for
//! the open one only, once per rank; it is closed once, as true only by true votes of all ranks, within `vote_timeout` and
//! while the replica is Active in its quorum.

use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{QuorumId, VoteEnd};
use squall_machine::{Span, Time};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Vote {
    step: u64,
    quorum_id: QuorumId,
    opened: Time,
    ranks: BTreeSet<u32>,
    against: bool,
    /// Whether the replica is still in the quorum.
    valid: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mg2 {
    votes: BTreeMap<NodeId, Vote>,
    active: BTreeMap<NodeId, QuorumId>,
    /// The last step that was decided on while the replica was Active.
    decided: BTreeMap<NodeId, u64>,
}

/// Longer than any vote that a machine with a working clock can count.
const NO_LIMIT: Span = Span::MAX;

impl Mg2 {
    fn open(&mut self, node: NodeId, step: u64, quorum_id: QuorumId, opened: Time) -> Option<String> {
        let vote = Vote { step, quorum_id, opened, ranks: BTreeSet::new(), against: false, valid: true };
        let before = self.votes.insert(node, vote);
        if let Some(before) = before {
            return Some(format!("opens before the vote on step {} is closed", before.step));
        }
        if let Some(decided) = self.decided.get(&node).filter(|decided| step <= **decided) {
            return Some(format!("opens, though step {decided} is decided on"));
        }
        let active = self.active.get(&node);
        (active != Some(&quorum_id)).then(|| format!("opens while the replica is Active in {active:?}"))
    }

    fn vote(&mut self, node: NodeId, rank: u32, about: (u64, QuorumId), commit: bool, size: u32) -> Option<String> {
        let Some(vote) = self.votes.get_mut(&node) else {
            return Some(format!("counts a vote of rank {rank}, but isn't open"));
        };
        if (vote.step, vote.quorum_id) != about {
            return Some(format!("counts, but the open one is on step {} in quorum {}", vote.step, vote.quorum_id));
        }
        vote.against |= !commit;
        if rank >= size {
            return Some(format!("counts rank {rank} of {size}"));
        }
        (!vote.ranks.insert(rank)).then(|| format!("counts rank {rank} twice"))
    }

    fn close(
        &mut self,
        node: NodeId,
        about: (u64, QuorumId),
        decision: bool,
        size: u32,
        limit: Span,
        now: Time,
    ) -> Option<String> {
        let Some(vote) = self.votes.remove(&node) else { return Some("is closed, but isn't open".to_owned()) };
        if (vote.step, vote.quorum_id) != about {
            return Some(format!("is closed, but the open one is on step {} in quorum {}", vote.step, vote.quorum_id));
        }
        if vote.valid {
            self.decided.insert(node, vote.step);
        }
        if !decision {
            return None;
        }
        if vote.against || vote.ranks.len() < size as usize {
            let (count, against) = (vote.ranks.len(), vote.against);
            return Some(format!("is true with {count} votes of {size} ranks, one against: {against}"));
        }
        if !vote.valid {
            return Some("is true, though the replica has left its quorum".to_owned());
        }
        let took = now.since(vote.opened);
        (took >= limit).then(|| format!("is true after {took}, past its deadline"))
    }
}

impl Checker<Cluster> for Mg2 {
    fn property(&self) -> &'static str {
        "MG2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["active", "inactive", "vote_opened", "voted", "vote_closed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let node = entry.node;
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.votes.remove(&node);
            self.active.remove(&node);
            self.decided.remove(&node);
        }
        let Some((decided, told)) = event(entry) else { return };
        let size = scene.system.world_size(node);
        let (about, problem) = match told {
            Event::Active { quorum_id, .. } => {
                self.active.insert(node, *quorum_id);
                let Some(vote) = self.votes.get(&node) else { return };
                ((vote.step, vote.quorum_id), Some("is still open in the next formation".to_owned()))
            }
            Event::Inactive { .. } => {
                self.active.remove(&node);
                self.decided.remove(&node);
                if let Some(vote) = self.votes.get_mut(&node) {
                    vote.valid = false;
                }
                return;
            }
            Event::VoteOpened { step, quorum_id } => ((*step, *quorum_id), self.open(node, *step, *quorum_id, decided)),
            Event::Voted { rank, step, quorum_id, commit } => {
                let about = (*step, *quorum_id);
                (about, self.vote(node, *rank, about, *commit, size))
            }
            Event::VoteClosed { step, quorum_id, decision, end } => {
                let outlived = *end == VoteEnd::Deadline && self.votes.get(&node).is_some_and(|vote| !vote.valid);
                if matches!(end, VoteEnd::Deadline | VoteEnd::NewerQuorum) {
                    findings.reached("vote ended by deadline or newer quorum");
                }
                let limit = match end {
                    VoteEnd::Complete => scene.system.knobs().vote_timeout,
                    VoteEnd::Against | VoteEnd::NewerQuorum | VoteEnd::Deadline | VoteEnd::Shutdown => NO_LIMIT,
                };
                let about = (*step, *quorum_id);
                let problem = self.close(node, about, *decision, size, limit, decided);
                (about, problem.or_else(|| outlived.then(|| "outlives the replica's being Active".to_owned())))
            }
            _ => return,
        };
        if let Some(problem) = problem {
            let (step, quorum_id) = about;
            let name = scene.system.name(node);
            let message = format!("at {name} the vote on step {step} in quorum {quorum_id} {problem}");
            findings.violated("MG2", entry.at, [entry.id], message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, history};
    use super::*;
    use squall_coordinator::{Epoch, Inactivity, Incarnation};

    const QUORUM: QuorumId = QuorumId(1);

    /// Replicas have one local rank here.
    fn start() -> History<Mg2> {
        let active = Event::Active { incarnation: Incarnation(1), formation: Epoch(1), quorum_id: QUORUM };
        history(Mg2::default()).event(R[0], active).event(R[0], Event::VoteOpened { step: 3, quorum_id: QUORUM })
    }

    fn voted(rank: u32, step: u64, commit: bool) -> Event {
        Event::Voted { rank, step, quorum_id: QUORUM, commit }
    }

    fn closed(decision: bool) -> Event {
        Event::VoteClosed { step: 3, quorum_id: QUORUM, decision, end: VoteEnd::Complete }
    }

    #[test]
    fn true_takes_a_true_vote_of_each_rank() {
        start().event(R[0], voted(0, 3, true)).event(R[0], closed(true)).holds();
        start().event(R[0], voted(0, 3, false)).event(R[0], closed(false)).holds();
        start().event(R[0], closed(true)).violated("with 0 votes");
        start().event(R[0], voted(0, 3, false)).event(R[0], closed(true)).violated("one against");
        start().event(R[0], voted(0, 3, true)).at(60_000).event(R[0], closed(true)).violated("past its deadline");
    }

    #[test]
    fn other_votes_do_not_count() {
        start().event(R[0], voted(0, 4, true)).violated("the open one is on step 3");
        start().event(R[0], voted(0, 3, true)).event(R[0], voted(0, 3, true)).violated("twice");
        start().event(R[0], voted(1, 3, true)).violated("rank 1 of 1");
        start().event(R[1], voted(0, 3, true)).violated("isn't open");
        let next = Event::Active { incarnation: Incarnation(1), formation: Epoch(2), quorum_id: QUORUM };
        start().event(R[0], next).violated("still open in the next formation");
        let inactive = Event::Inactive { incarnation: Incarnation(1), formation: Epoch(1), cause: Inactivity::Lapsed };
        let over = |end| Event::VoteClosed { step: 3, quorum_id: QUORUM, decision: false, end };
        start().event(R[0], inactive.clone()).event(R[0], over(VoteEnd::NewerQuorum)).holds();
        start().event(R[0], inactive).event(R[0], over(VoteEnd::Deadline)).violated("outlives");
        let decided = || start().event(R[0], voted(0, 3, true)).event(R[0], closed(true));
        decided().event(R[0], Event::VoteOpened { step: 4, quorum_id: QUORUM }).holds();
        decided().event(R[0], Event::VoteOpened { step: 2, quorum_id: QUORUM }).violated("step 3 is decided on");
    }

    #[test]
    fn a_vote_ends_with_its_quorum() {
        let inactive = Event::Inactive { incarnation: Incarnation(1), formation: Epoch(1), cause: Inactivity::Newer };
        let ended = || start().event(R[0], voted(0, 3, true)).event(R[0], inactive.clone());
        ended().event(R[0], closed(false)).holds();
        ended().event(R[0], closed(true)).violated("has left its quorum");
    }
}
