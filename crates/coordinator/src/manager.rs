//! The manager of a replica group: between its local ranks and the coordinator.

mod recovery_assignment;
#[cfg(test)]
mod tests;
mod vote;

pub use recovery_assignment::recovery_assignment;

use crate::{Ask, Epoch, Event, Ignored, Knobs, Message, Quorum, QuorumId, RankAnswer, RankError, Refusal, VoteEnd};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use squall_machine::{Effects, Input, Machine, Span, Text, Time};
use vote::Vote;

/// What a manager has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ManagerConfig {
    /// The id of its replica, by which it finds itself in a quorum.
    pub id: Text,
    /// Where other replicas reach it.
    pub address: Text,
    /// Where the replica's store is reached, if rank 0 names no other.
    pub store_address: Text,
    /// How many local ranks there are; at least 1.
    pub world_size: u32,
    /// Settings; the manager uses `vote_timeout` and the limits of texts.
    pub knobs: Arc<Knobs>,
}

/// What a local rank asks when it wants the next quorum.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RankCall {
    /// The step it is at. All ranks have to agree.
    pub step: u64,
    /// Nobody from outside the previous quorum may join. All ranks have to agree.
    pub shrink_only: bool,
    /// Whether all replicas take the primary's weights at step 0. All ranks have to agree.
    pub init_sync: bool,
    /// Commits that failed since the last quorum, as the rank counted them. The highest count of all ranks is reported.
    pub commit_failures: u64,
    /// Where the store is reached; rank 0 speaks for all. Empty means the configured one.
    pub store_address: Text,
    /// Opaque JSON text, handed to all replicas; rank 0 speaks for all.
    pub data: Text,
    /// How long the rank waits for its answer; `None` is for as long as it takes.
    pub patience: Option<Span>,
}

/// What a [`Manager`] is asked: by local ranks, and by the quorum client that carries its wishes to the coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ManagerRequest {
    /// A local rank asks for the next quorum.
    Quorum {
        /// Which rank.
        rank: u32,
        /// Names the call; its answer carries it.
        token: u64,
        /// What it asks.
        call: RankCall,
    },
    /// A local rank votes on whether to commit a step.
    Vote {
        /// Which rank.
        rank: u32,
        /// Names the call; its answer carries it.
        token: u64,
        /// Which step.
        step: u64,
        /// The quorum in which the step was made.
        quorum_id: QuorumId,
        /// For or against.
        commit: bool,
    },
    /// The replica is to leave. Repeating it changes nothing.
    Shutdown,
    /// From the quorum client: the quorum that was asked for, and the replica is Active in it.
    Formed(Quorum),
    /// From the quorum client: the coordinator refused.
    Refused(Refusal),
    /// From the quorum client: the replica stopped being Active.
    Inactive,
    /// From the quorum client: another process took over this replica's id.
    Superseded,
}

/// What a [`Manager`] answers local ranks, and what it wants of the quorum client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ManagerReply {
    /// The answer to [`ManagerRequest::Quorum`].
    Answer {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Its view of the quorum, or why there is none.
        answer: RankAnswer,
    },
    /// The answer to [`ManagerRequest::Vote`].
    Decision {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Which step.
        step: u64,
        /// In which quorum.
        quorum_id: QuorumId,
        /// Whether to commit.
        decision: bool,
    },
    /// The vote didn't count and awaits no decision.
    Rejected {
        /// Which rank.
        rank: u32,
        /// Of which call.
        token: u64,
        /// Why.
        reason: Ignored,
    },
    /// To the quorum client: get the next quorum. Replaces what it was asked before.
    Ask(Arc<Ask>),
    /// To the quorum client: give up what was asked.
    Withdraw,
    /// To the quorum client: leave.
    Leave,
}

/// Collects one call per local rank, asks for all of them at once, and counts their votes.
///
/// It holds nothing durable: ranks whose calls died with it ask again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Manager {
    config: Arc<ManagerConfig>,
    /// At most one per local rank.
    calls: BTreeMap<u32, Call>,
    /// What the quorum client was asked and has not answered. While it is there, every local rank has a call.
    asked: Option<Arc<Ask>>,
    /// The quorum in which the replica is Active.
    quorum: Option<(Epoch, QuorumId)>,
    /// The newest vote in `quorum`.
    vote: Option<Vote>,
    /// What everybody who still asks is told.
    stopped: Option<RankError>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Call {
    token: u64,
    call: RankCall,
    until: Option<Time>,
}

impl Manager {
    /// A manager that knows no quorum.
    ///
    /// # Panics
    /// If `world_size` is 0: nobody could ever ask.
    #[must_use]
    pub fn new(config: ManagerConfig) -> Self {
        assert!(config.world_size > 0, "a replica group has at least one local rank");
        Self { config: Arc::new(config), calls: BTreeMap::new(), asked: None, quorum: None, vote: None, stopped: None }
    }

    /// How many local ranks wait for a quorum.
    #[must_use]
    pub fn waiting_ranks(&self) -> u32 {
        self.calls.len() as u32
    }

    /// How many local ranks there are.
    #[must_use]
    pub fn world_size(&self) -> u32 {
        self.config.world_size
    }

    /// The step and quorum of the open vote, and how many have voted.
    #[must_use]
    pub fn open_vote(&self) -> Option<(u64, QuorumId, u32)> {
        let vote = self.vote.as_ref().filter(|vote| vote.is_open())?;
        Some((vote.step, vote.quorum_id, vote.ballots.len() as u32))
    }

    fn on_quorum(&mut self, now: Time, rank: u32, token: u64, call: RankCall, effects: &mut Effects<Self>) {
        if let Some(error) = self.stopped {
            return refuse(rank, token, error, Ignored::Stopped, effects);
        }
        if rank >= self.config.world_size {
            return refuse(rank, token, RankError::RankOutOfRange, Ignored::RankOutOfRange, effects);
        }
        let knobs = &self.config.knobs;
        if call.store_address.len() > knobs.text_bytes_max as usize || call.data.len() > knobs.data_bytes_max as usize {
            return refuse(rank, token, RankError::Refused(Refusal::Malformed), Ignored::TextTooLong, effects);
        }
        if self.calls.get(&rank).is_some_and(|open| open.token == token && open.call == call) {
            return ignore(Ignored::RepeatedRequest, effects);
        }
        effects.event(Event::RankAsked { rank, step: call.step });
        if let Some(earlier) = self.calls.remove(&rank) {
            answer(rank, earlier.token, RankAnswer::Error(RankError::Replaced), effects);
        }
        let until = call.patience.map(|patience| now + patience);
        self.calls.insert(rank, Call { token, call, until });
        if self.calls.len() == self.config.world_size as usize {
            self.ask(effects);
        }
    }

    /// Every local rank has called: asks for all of them at once, unless they disagree.
    fn ask(&mut self, effects: &mut Effects<Self>) {
        assert_eq!(self.calls.len(), self.config.world_size as usize, "asks for all ranks or for none");
        let agreed = |call: &RankCall| (call.step, call.shrink_only, call.init_sync);
        let Some(first) = self.calls.get(&0).map(|open| open.call.clone()) else { return };
        if self.calls.values().any(|open| agreed(&open.call) != agreed(&first)) {
            self.withdraw(effects);
            return self.answer_all(RankError::Disagreement, effects);
        }
        let config = &self.config;
        let store = if first.store_address.is_empty() { &config.store_address } else { &first.store_address };
        let ask = Arc::new(Ask {
            address: config.address.clone(),
            store_address: store.clone(),
            step: first.step,
            world_size: config.world_size,
            shrink_only: first.shrink_only,
            commit_failures: self.calls.values().map(|open| open.call.commit_failures).max().unwrap_or(0),
            data: first.data,
        });
        // A rank that called again without asking for anything new waits with the others.
        if self.asked.as_ref() != Some(&ask) {
            self.asked = Some(ask.clone());
            effects.reply(ManagerReply::Ask(ask));
        }
    }

    fn on_vote(&mut self, now: Time, ballot: Ballot, effects: &mut Effects<Self>) {
        let Ballot { rank, token, step, quorum_id, commit } = ballot;
        if self.stopped.is_some() {
            return reject(rank, token, Ignored::Stopped, effects);
        }
        if rank >= self.config.world_size {
            return reject(rank, token, Ignored::RankOutOfRange, effects);
        }
        if self.quorum.is_none_or(|(_, current)| current != quorum_id) {
            return reject(rank, token, Ignored::WrongVote, effects);
        }
        if let Some(vote) = &mut self.vote {
            assert_eq!(vote.quorum_id, quorum_id, "a vote never outlives its quorum");
            let voted = vote.ballots.contains_key(&rank);
            match vote.decision {
                None if vote.step != step => return reject(rank, token, Ignored::WrongVote, effects),
                None if voted => {
                    // What was voted stands; the newest call is the one that somebody waits for.
                    vote.ballots.insert(rank, token);
                    return ignore(Ignored::RepeatedVote, effects);
                }
                Some(_) if step < vote.step => return reject(rank, token, Ignored::WrongVote, effects),
                Some(decision) if step == vote.step => {
                    ignore(if voted { Ignored::RepeatedVote } else { Ignored::WrongVote }, effects);
                    return effects.reply(ManagerReply::Decision { rank, token, step, quorum_id, decision });
                }
                None | Some(_) => {}
            }
        }
        if self.vote.as_ref().is_none_or(|vote| !vote.is_open()) {
            effects.event(Event::VoteOpened { step, quorum_id });
            self.vote = Some(Vote::open(step, quorum_id, now));
        }
        let Some(vote) = &mut self.vote else { return };
        vote.ballots.insert(rank, token);
        effects.event(Event::Voted { rank, step, quorum_id, commit });
        if !commit {
            self.close_vote(false, VoteEnd::Against, effects);
        } else if vote.ballots.len() == self.config.world_size as usize {
            self.close_vote(true, VoteEnd::Complete, effects);
        }
    }

    /// Decides the open vote, if there is one, and tells everybody who voted.
    fn close_vote(&mut self, decision: bool, end: VoteEnd, effects: &mut Effects<Self>) {
        let Some(vote) = self.vote.as_mut().filter(|vote| vote.is_open()) else { return };
        assert!(!decision || vote.ballots.len() == self.config.world_size as usize, "true needs every local rank");
        vote.decision = Some(decision);
        let (step, quorum_id) = (vote.step, vote.quorum_id);
        effects.event(Event::VoteClosed { step, quorum_id, decision, end });
        for (&rank, &token) in &vote.ballots {
            effects.reply(ManagerReply::Decision { rank, token, step, quorum_id, decision });
        }
    }

    fn on_formed(&mut self, quorum: &Quorum, effects: &mut Effects<Self>) {
        if self.asked.is_none() {
            return ignore(Ignored::StaleAnswer, effects);
        }
        if recovery_assignment(quorum, &self.config.id, 0, false).is_none() {
            return ignore(Ignored::StaleAnswer, effects);
        }
        self.transition_to_quorum(Some((quorum.formation, quorum.id)), effects);
        self.asked = None;
        for (rank, open) in core::mem::take(&mut self.calls) {
            if let Some(view) = recovery_assignment(quorum, &self.config.id, rank, open.call.init_sync) {
                answer(rank, open.token, RankAnswer::Quorum(view), effects);
            }
        }
    }

    fn on_refused(&mut self, refusal: Refusal, effects: &mut Effects<Self>) {
        if self.asked.take().is_none() {
            return ignore(Ignored::StaleAnswer, effects);
        }
        self.answer_all(RankError::Refused(refusal), effects);
    }

    /// The only writer of `quorum`: whatever it changes to, an open vote of the one before is over.
    fn transition_to_quorum(&mut self, quorum: Option<(Epoch, QuorumId)>, effects: &mut Effects<Self>) {
        self.close_vote(false, VoteEnd::NewerQuorum, effects);
        self.vote = None;
        self.quorum = quorum;
    }

    fn transition_to_stopped(&mut self, error: RankError, effects: &mut Effects<Self>) {
        if self.stopped.is_some() {
            return ignore(Ignored::Stopped, effects);
        }
        self.stopped = Some(error);
        self.asked = None;
        self.answer_all(error, effects);
        self.close_vote(false, VoteEnd::Shutdown, effects);
        self.vote = None;
        self.quorum = None;
        if error == RankError::Shutdown {
            effects.reply(ManagerReply::Leave);
        }
    }

    /// Ends what is overdue. At its entry every step does this first, so that nothing late is counted.
    fn expire(&mut self, now: Time, effects: &mut Effects<Self>) {
        let over = |open: &Call| open.until.is_some_and(|until| now >= until);
        let late: Vec<u32> = self.calls.iter().filter(|(_, open)| over(open)).map(|(&rank, _)| rank).collect();
        if !late.is_empty() {
            self.withdraw(effects);
        }
        for rank in late {
            if let Some(open) = self.calls.remove(&rank) {
                answer(rank, open.token, RankAnswer::Error(RankError::Deadline), effects);
            }
        }
        if self.vote.as_ref().is_some_and(|vote| vote.is_overdue(now, self.config.knobs.vote_timeout)) {
            self.close_vote(false, VoteEnd::Deadline, effects);
        }
    }

    fn withdraw(&mut self, effects: &mut Effects<Self>) {
        if self.asked.take().is_some() {
            effects.reply(ManagerReply::Withdraw);
        }
    }

    fn answer_all(&mut self, error: RankError, effects: &mut Effects<Self>) {
        for (rank, open) in core::mem::take(&mut self.calls) {
            answer(rank, open.token, RankAnswer::Error(error), effects);
        }
    }
}

/// What a rank said about a step.
#[derive(Clone, Copy)]
struct Ballot {
    rank: u32,
    token: u64,
    step: u64,
    quorum_id: QuorumId,
    commit: bool,
}

fn answer(rank: u32, token: u64, answer: RankAnswer, effects: &mut Effects<Manager>) {
    effects.event(Event::RankAnswered { rank, answer: answer.clone() });
    effects.reply(ManagerReply::Answer { rank, token, answer });
}

/// Answers a call that never counted.
fn refuse(rank: u32, token: u64, error: RankError, reason: Ignored, effects: &mut Effects<Manager>) {
    ignore(reason, effects);
    effects.reply(ManagerReply::Answer { rank, token, answer: RankAnswer::Error(error) });
}

fn reject(rank: u32, token: u64, reason: Ignored, effects: &mut Effects<Manager>) {
    ignore(reason, effects);
    effects.reply(ManagerReply::Rejected { rank, token, reason });
}

fn ignore(reason: Ignored, effects: &mut Effects<Manager>) {
    effects.event(Event::Ignored { reason, incarnation: None });
}

impl Machine for Manager {
    type Message = Message;
    type Request = ManagerRequest;
    type Reply = ManagerReply;
    type Record = Infallible;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        self.expire(now, effects);
        match input {
            Input::Boot(_) | Input::Wake => {}
            Input::Receive { .. } => ignore(Ignored::WrongDirection, effects),
            Input::Request(request) => match request {
                ManagerRequest::Quorum { rank, token, call } => self.on_quorum(now, rank, token, call, effects),
                ManagerRequest::Vote { rank, token, step, quorum_id, commit } => {
                    self.on_vote(now, Ballot { rank, token, step, quorum_id, commit }, effects);
                }
                ManagerRequest::Shutdown => self.transition_to_stopped(RankError::Shutdown, effects),
                ManagerRequest::Formed(quorum) => self.on_formed(&quorum, effects),
                ManagerRequest::Refused(refusal) => self.on_refused(refusal, effects),
                ManagerRequest::Inactive => self.transition_to_quorum(None, effects),
                ManagerRequest::Superseded => self.transition_to_stopped(RankError::Superseded, effects),
            },
        }
    }

    fn deadline(&self) -> Option<Time> {
        let calls = self.calls.values().filter_map(|open| open.until).min();
        let vote = self.vote.as_ref().and_then(|vote| vote.deadline(self.config.knobs.vote_timeout));
        calls.into_iter().chain(vote).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        let world_size = self.config.world_size;
        assert!(self.calls.keys().all(|&rank| rank < world_size), "calls of local ranks only");
        assert!(
            self.asked.is_none() || self.calls.len() == world_size as usize,
            "what was asked was asked for every local rank"
        );
        if let Some(vote) = &self.vote {
            assert!(vote.ballots.keys().all(|&rank| rank < world_size), "votes of local ranks only");
            assert_eq!(Some(vote.quorum_id), self.quorum.map(|(_, id)| id), "a vote never outlives its quorum");
            assert!(
                !vote.is_open() || vote.ballots.len() < world_size as usize,
                "a vote is over when everybody has voted"
            );
        }
        if self.stopped.is_some() {
            assert!(self.calls.is_empty() && self.quorum.is_none(), "who has stopped waits for nothing");
        }
    }
}
