//! A stand-in for the local ranks of a replica: each asks for a quorum, computes a step in it, votes on it, and asks again.
//!
//! They are clients, so they may be wrong: give up, call twice, disagree, vote late. Nothing here is judged; the manager
//! that they call is.

use crate::workload::{Shrink, Workload, draw};
use squall::scenario::Durations;
use squall_coordinator::{Epoch, QuorumId, RankAnswer, RankCall, RankError, Refusal};
use squall_machine::{Random, Span, Time};
use std::sync::Arc;

/// What a rank asks of its manager.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    /// The next quorum.
    Quorum { rank: u32, token: u64, call: RankCall },
    /// Whether to commit a step.
    Vote { rank: u32, token: u64, step: u64, quorum_id: QuorumId, commit: bool },
}

/// What a rank hears from its manager.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Heard {
    /// The answer to [`Call::Quorum`].
    Answer { rank: u32, token: u64, answer: RankAnswer },
    /// The answer to [`Call::Vote`].
    Decision { rank: u32, token: u64, commit: bool },
    /// The vote didn't count.
    Rejected { rank: u32, token: u64 },
    /// The replica has no quorum any more: whoever computes in that formation stops.
    Inactive { formation: Epoch },
    /// The member has stopped for good.
    Stopped,
}

/// How the ranks of one replica behave. Shared by all lives of the process.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) workload: Arc<Workload>,
    pub(crate) world_size: u32,
    /// Whether it trains from the beginning.
    pub(crate) trains: bool,
    /// Whether its steps are slow ones.
    pub(crate) slow: bool,
    /// Whether it always asks that nobody joins.
    pub(crate) shrinks: bool,
}

/// The local ranks of one replica.
#[derive(Clone, Debug)]
pub(crate) struct Trainer {
    habits: Arc<Habits>,
    seed: u64,
    random: Random,
    ranks: Vec<Rank>,
    /// The last token that was used.
    token: u64,
    training: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Rank {
    phase: Phase,
    /// The step that it works on next.
    step: u64,
    /// Commits that failed since its last quorum.
    commit_failures: u64,
    /// How many steps it made in this life of the process.
    made: u64,
    /// The last quorum that it was in, and the last one of another id before that.
    quorums: [Option<QuorumId>; 2],
    /// Whether the last request was refused because there is nothing to shrink.
    may_grow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Doesn't train.
    Idle,
    /// Asks at this moment.
    Resting { until: Time },
    /// Waits for a quorum.
    Asking { token: u64 },
    /// Votes at this moment.
    Computing { until: Time, quorum_id: QuorumId, formation: Epoch },
    /// Waits for the decision.
    Voting { token: u64 },
    /// Was told to stop.
    Stopped,
}

// The habits are the scenario's, equal in all states that are ever compared.
impl PartialEq for Trainer {
    fn eq(&self, other: &Self) -> bool {
        (&self.random, &self.ranks, self.token, self.training)
            == (&other.random, &other.ranks, other.token, other.training)
    }
}

impl Eq for Trainer {}

impl std::hash::Hash for Trainer {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.random, &self.ranks, self.token, self.training).hash(state);
    }
}

impl Trainer {
    /// Ranks that begin after a while drawn from the workload, at step 0.
    pub(crate) fn new(habits: Arc<Habits>, seed: u64) -> Self {
        let rank =
            Rank { phase: Phase::Idle, step: 0, commit_failures: 0, made: 0, quorums: [None; 2], may_grow: false };
        let ranks = vec![rank; habits.world_size as usize];
        let random = Random::new(seed, "trainer");
        Self { habits, seed, random, ranks, token: 0, training: false }
    }

    /// The process starts.
    pub(crate) fn on_boot(&mut self, now: Time) {
        if self.habits.trains {
            self.on_train(now);
        }
    }

    /// From now on the ranks train.
    pub(crate) fn on_train(&mut self, now: Time) {
        self.training = true;
        let start = now + draw(self.habits.workload.start, &mut self.random);
        for index in 0..self.ranks.len() {
            let stagger = draw(self.habits.workload.ask_stagger, &mut self.random);
            let rank = &mut self.ranks[index];
            if rank.phase == Phase::Idle {
                rank.phase = Phase::Resting { until: start + stagger };
            }
        }
    }

    /// From now on nobody asks anew; what is begun is finished.
    pub(crate) fn on_rest(&mut self) {
        self.training = false;
        for rank in &mut self.ranks {
            if matches!(rank.phase, Phase::Resting { .. }) {
                rank.phase = Phase::Idle;
            }
        }
    }

    /// When a rank next does something by itself.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |rank: &Rank| match rank.phase {
            Phase::Resting { until } | Phase::Computing { until, .. } => Some(until),
            Phase::Idle | Phase::Asking { .. } | Phase::Voting { .. } | Phase::Stopped => None,
        };
        self.ranks.iter().filter_map(due).min()
    }

    /// What is due. Whoever calls waits for an answer then, or rests for a positive time, so calling again at the same
    /// moment comes to an end.
    pub(crate) fn on_due(&mut self, now: Time, calls: &mut Vec<Call>) {
        for index in 0..self.ranks.len() {
            match self.ranks[index].phase {
                Phase::Resting { until } if until <= now => self.ask(index, calls),
                Phase::Computing { until, quorum_id, .. } if until <= now => self.vote(index, quorum_id, calls),
                Phase::Idle
                | Phase::Resting { .. }
                | Phase::Asking { .. }
                | Phase::Computing { .. }
                | Phase::Voting { .. }
                | Phase::Stopped => {}
            }
        }
    }

    /// The manager answered. Answers to older calls than the last one are of no interest.
    pub(crate) fn on_heard(&mut self, now: Time, heard: Heard) {
        match heard {
            Heard::Answer { rank, token, answer } => {
                if self.phase_of(rank) == Some(Phase::Asking { token }) {
                    self.on_answer(now, rank as usize, answer);
                }
            }
            Heard::Decision { rank, token, commit } => {
                if self.phase_of(rank) == Some(Phase::Voting { token }) {
                    self.on_decision(now, rank as usize, commit);
                }
            }
            Heard::Rejected { rank, token } => {
                if self.phase_of(rank) == Some(Phase::Voting { token }) {
                    self.rest(now, rank as usize, self.habits.workload.retry);
                }
            }
            Heard::Inactive { formation } => {
                for index in 0..self.ranks.len() {
                    let phase = self.ranks[index].phase;
                    let in_it = matches!(phase, Phase::Computing { formation: in_it, .. } if in_it == formation);
                    if in_it && !self.random.chance(self.habits.workload.stale_votes.ratio()) {
                        self.rest(now, index, self.habits.workload.retry);
                    }
                }
            }
            Heard::Stopped => self.ranks.iter_mut().for_each(|rank| rank.phase = Phase::Stopped),
        }
    }

    fn on_answer(&mut self, now: Time, index: usize, answer: RankAnswer) {
        let error = match answer {
            RankAnswer::Quorum(view) => {
                let made = self.ranks[index].made;
                let until = now + self.step_length(made);
                let rank = &mut self.ranks[index];
                // Whoever is behind takes the weights of the others, and with them their step.
                rank.step = view.max_step;
                rank.commit_failures = 0;
                if rank.quorums[0] != Some(view.quorum_id) {
                    rank.quorums = [Some(view.quorum_id), rank.quorums[0]];
                }
                rank.phase = Phase::Computing { until, quorum_id: view.quorum_id, formation: view.formation };
                return;
            }
            RankAnswer::Error(error) => error,
        };
        match error {
            RankError::Disagreement
            | RankError::Replaced
            | RankError::Deadline
            | RankError::Refused(Refusal::NothingToShrink) => {
                self.ranks[index].may_grow = error == RankError::Refused(Refusal::NothingToShrink);
                self.rest(now, index, self.habits.workload.retry);
            }
            RankError::RankOutOfRange
            | RankError::Refused(Refusal::NotAReplica | Refusal::Malformed)
            | RankError::Shutdown
            | RankError::Superseded => self.ranks[index].phase = Phase::Stopped,
        }
    }

    fn on_decision(&mut self, now: Time, index: usize, commit: bool) {
        let rank = &mut self.ranks[index];
        if commit {
            rank.step += 1;
            rank.made += 1;
            rank.may_grow = false;
        } else {
            rank.commit_failures += 1;
        }
        let done = self.habits.workload.steps_max.is_some_and(|max| rank.step >= max);
        if done {
            rank.phase = Phase::Idle;
        } else {
            self.rest(now, index, self.habits.workload.ask_stagger);
        }
    }

    fn ask(&mut self, index: usize, calls: &mut Vec<Call>) {
        let workload = self.habits.workload.clone();
        let withdraws = self.random.chance(workload.withdraw.ratio());
        let patience = withdraws.then(|| draw(workload.patience, &mut self.random));
        let disagrees = self.random.chance(workload.rank_disagreement.ratio());
        let (step, commit_failures) = (self.ranks[index].step, self.ranks[index].commit_failures);
        let call = RankCall {
            step: step + u64::from(disagrees),
            shrink_only: self.shrinks(index),
            init_sync: workload.init_sync,
            commit_failures,
            store_address: "".into(),
            data: "{}".into(),
            patience,
        };
        let rank = index as u32;
        let mut token = self.next_token();
        calls.push(Call::Quorum { rank, token, call: call.clone() });
        if let Some(again) = self.again(token) {
            token = again;
            calls.push(Call::Quorum { rank, token, call });
        }
        self.ranks[index].phase = Phase::Asking { token };
    }

    fn vote(&mut self, index: usize, quorum_id: QuorumId, calls: &mut Vec<Call>) {
        let workload = self.habits.workload.clone();
        let (rank, step) = (index as u32, self.ranks[index].step);
        // All ranks of a replica find the same steps bad.
        let bad = self.agreed("bad step", step ^ quorum_id.0 << 32).chance(workload.commit_failures.ratio());
        let commit = !bad && !self.random.chance(workload.vote_no.ratio());
        if let Some(quorum_id) = self.ranks[index].quorums[1]
            && self.random.chance(workload.stale_votes.ratio())
        {
            let token = self.next_token();
            calls.push(Call::Vote { rank, token, step, quorum_id, commit });
        }
        let mut token = self.next_token();
        calls.push(Call::Vote { rank, token, step, quorum_id, commit });
        if let Some(again) = self.again(token) {
            token = again;
            calls.push(Call::Vote { rank, token, step, quorum_id, commit });
        }
        self.ranks[index].phase = Phase::Voting { token };
        if self.random.chance(workload.stale_votes.ratio()) && step > 0 {
            let token = self.next_token();
            calls.push(Call::Vote { rank, token, step: step - 1, quorum_id, commit });
        }
    }

    /// The token of a second call of the same kind, if there is to be one: half of them repeat the first one's.
    fn again(&mut self, token: u64) -> Option<u64> {
        if !self.random.chance(self.habits.workload.rank_duplicates.ratio()) {
            return None;
        }
        Some(if self.random.below(2) == 0 { token } else { self.next_token() })
    }

    fn shrinks(&self, index: usize) -> bool {
        let rank = &self.ranks[index];
        if rank.may_grow {
            return false;
        }
        match self.habits.workload.shrink_only {
            Shrink::Share(share) => self.agreed("shrink", rank.step).chance(share.ratio()),
            Shrink::Named(_) => self.habits.shrinks,
        }
    }

    /// A stream from which all ranks of the replica draw the same.
    fn agreed(&self, label: &str, number: u64) -> Random {
        Random::numbered(self.seed, label, number)
    }

    fn step_length(&mut self, made: u64) -> Span {
        let workload = &self.habits.workload;
        let slow = workload.slow_steps.as_ref().filter(|slow| self.habits.slow && made >= slow.after);
        let step = slow.map_or(workload.step, |slow| slow.step);
        draw(step, &mut self.random).max(MOMENT)
    }

    fn rest(&mut self, now: Time, index: usize, length: Durations) {
        let until = now + draw(length, &mut self.random).max(MOMENT);
        self.ranks[index].phase = if self.training { Phase::Resting { until } } else { Phase::Idle };
    }

    fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    fn phase_of(&self, rank: u32) -> Option<Phase> {
        self.ranks.get(rank as usize).map(|rank| rank.phase)
    }
}

/// The shortest rest: a rank that never rests would call for ever within one moment.
const MOMENT: Span = Span::from_nanos(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::millis;
    use squall::scenario::Share;
    use squall_coordinator::RankQuorum;

    fn trainer(workload: Workload, world_size: u32) -> Trainer {
        let workload = Workload { start: millis(0, 0), ask_stagger: millis(0, 0), ..workload };
        let habits = Habits { workload: Arc::new(workload), world_size, trains: true, slow: false, shrinks: false };
        let mut trainer = Trainer::new(Arc::new(habits), 1);
        trainer.on_boot(Time::ZERO);
        trainer
    }

    fn due(trainer: &mut Trainer) -> (Time, Vec<Call>) {
        let now = trainer.deadline().expect("somebody does something");
        let mut calls = Vec::new();
        trainer.on_due(now, &mut calls);
        (now, calls)
    }

    fn quorum(max_step: u64) -> RankAnswer {
        quorum_of(3, max_step)
    }

    fn quorum_of(id: u64, max_step: u64) -> RankAnswer {
        RankAnswer::Quorum(RankQuorum {
            quorum_id: QuorumId(id),
            formation: Epoch(1),
            replica_rank: 0,
            replica_count: 1,
            max_step,
            at_max_step: vec![0],
            primary_store: "".into(),
            heal: false,
            recover_from: None,
            recover_to: Vec::new(),
        })
    }

    fn certain() -> Share {
        "100%".parse().expect("a share")
    }

    #[test]
    fn a_rank_asks_computes_votes_and_asks_again_at_the_next_step() {
        let mut trainer = trainer(Workload::default(), 1);
        let (now, calls) = due(&mut trainer);
        let [Call::Quorum { rank: 0, token, call }] = &calls[..] else { panic!("{calls:?}") };
        assert_eq!((call.step, call.commit_failures), (0, 0));
        trainer.on_heard(now, Heard::Answer { rank: 0, token: *token, answer: quorum(7) });
        let (voted, calls) = due(&mut trainer);
        assert!(voted.since(now) >= Span::from_millis(100));
        let [Call::Vote { token, step: 7, quorum_id: QuorumId(3), commit: true, .. }] = calls[..] else {
            panic!("{calls:?}")
        };
        trainer.on_heard(voted, Heard::Decision { rank: 0, token, commit: true });
        let (_, calls) = due(&mut trainer);
        assert!(matches!(&calls[..], [Call::Quorum { call, .. }] if call.step == 8), "{calls:?}");
    }

    #[test]
    fn a_failed_commit_is_reported_with_the_next_request_at_the_same_step() {
        let mut trainer = trainer(Workload { commit_failures: certain(), ..Workload::default() }, 1);
        for expected in [0, 1, 1] {
            let (now, calls) = due(&mut trainer);
            let [Call::Quorum { token, call, .. }] = &calls[..] else { panic!("{calls:?}") };
            assert_eq!((call.step, call.commit_failures), (4 * expected, expected));
            trainer.on_heard(now, Heard::Answer { rank: 0, token: *token, answer: quorum(4) });
            let (now, calls) = due(&mut trainer);
            let [Call::Vote { token, step: 4, commit: false, .. }] = calls[..] else { panic!("{calls:?}") };
            trainer.on_heard(now, Heard::Decision { rank: 0, token, commit: false });
        }
    }

    #[test]
    fn answers_to_older_calls_are_of_no_interest() {
        let mut trainer = trainer(Workload { rank_duplicates: certain(), ..Workload::default() }, 1);
        let (now, calls) = due(&mut trainer);
        assert_eq!(calls.len(), 2);
        let before = trainer.clone();
        trainer.on_heard(now, Heard::Answer { rank: 0, token: 0, answer: quorum(0) });
        trainer.on_heard(now, Heard::Decision { rank: 0, token: 1, commit: true });
        assert_eq!(trainer, before);
    }

    #[test]
    fn who_votes_late_votes_in_the_quorum_before_and_on_the_step_before() {
        let mut trainer = trainer(Workload { stale_votes: certain(), ..Workload::default() }, 1);
        let mut votes = Vec::new();
        for (id, max_step) in [(3, 7), (3, 8), (5, 9)] {
            let (now, calls) = due(&mut trainer);
            let [Call::Quorum { token, .. }] = calls[..] else { panic!("{calls:?}") };
            trainer.on_heard(now, Heard::Answer { rank: 0, token, answer: quorum_of(id, max_step) });
            let (now, calls) = due(&mut trainer);
            for call in calls {
                let Call::Vote { token, step, quorum_id, .. } = call else { panic!("{call:?}") };
                votes.push((quorum_id.0, step));
                trainer.on_heard(now, Heard::Decision { rank: 0, token, commit: true });
            }
        }
        assert_eq!(votes, [(3, 7), (3, 6), (3, 8), (3, 7), (3, 9), (5, 9), (5, 8)]);
    }

    #[test]
    fn who_is_told_to_stop_stops_and_who_rests_asks_no_more() {
        for (error, asks_again) in
            [(RankError::Shutdown, false), (RankError::Superseded, false), (RankError::Deadline, true)]
        {
            let mut trainer = trainer(Workload::default(), 1);
            let (now, calls) = due(&mut trainer);
            let [Call::Quorum { token, .. }] = calls[..] else { panic!("{calls:?}") };
            trainer.on_heard(now, Heard::Answer { rank: 0, token, answer: RankAnswer::Error(error) });
            assert_eq!(trainer.deadline().is_some(), asks_again, "{error:?}");
            trainer.on_rest();
            assert_eq!(trainer.deadline(), None);
        }
    }
}
