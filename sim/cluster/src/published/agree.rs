//! How such a group agrees who is dead.

use super::{Out, Published, Seat, tell};
use squall_machine::{Address, Time};
use squall_recovery::{
    Answer, Ballot, Communicator, Decision, Event, Ignored, Message, Rank, Stamp, Start, Value, Vow,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// There is one attempt in each generation: who fails in it stops.
const ONLY_ROUND: u64 = 1;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What a process does about failures.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    /// Nothing: it works, or waits until everybody is heard.
    Idle,
    /// It has sent its vote, and waits for the union.
    Waiting { dead: Arc<[Rank]>, until: Time },
    /// It leads, and waits for the vote of one rank.
    Collecting {
        ballot: Ballot,
        awaited: Rank,
        union: BTreeSet<Rank>,
        dead: Arc<[Rank]>,
        counted: BTreeSet<Rank>,
        until: Time,
    },
    /// It leads, and waits until the union has been sent to one rank.
    Telling { decision: Arc<Decision>, receiver: Rank, until: Time },
}

impl Stage {
    pub(super) fn until(&self) -> Option<Time> {
        match self {
            Self::Idle => None,
            Self::Waiting { until, .. } | Self::Collecting { until, .. } | Self::Telling { until, .. } => Some(*until),
        }
    }

    /// Whom it holds dead.
    pub(super) fn dead(&self) -> &[Rank] {
        match self {
            Self::Idle => &[],
            Self::Waiting { dead, .. } | Self::Collecting { dead, .. } => dead,
            Self::Telling { decision, .. } => &decision.value.dead,
        }
    }
}

/// A vote that came and was not read yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Vote {
    ballot: Ballot,
    dead: Arc<[Rank]>,
}

impl Published {
    /// The watch has fired.
    pub(super) fn recover(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        Self::rest(seat, effects);
        // The list is in ranks of the first group, and is taken for ranks of this one: see the watch.
        let dead: Arc<[Rank]> = seat.watch.failed.iter().copied().collect();
        // FLAW: everybody has a leader of its own choice, and nothing makes two of them agree. The product's ballots do.
        let Some(leader) = seat.group.ranks().find(|rank| !dead.contains(rank)) else {
            self.fail(&dead, effects);
            return;
        };
        let (generation, ballot) = (seat.group.generation, Ballot { round: ONLY_ROUND, leader });
        let value = Value { dead: dead.clone(), joined: [].into() };
        let until = now + self.config.knobs.round_deadline;
        if leader == seat.rank {
            tell(effects, Event::RoundStarted { generation, ballot, start: Start::OwnNeed });
        }
        tell(effects, Event::Promised { generation, ballot });
        tell(effects, Event::Accepted { generation, ballot, value: value.clone() });
        if leader == seat.rank {
            tell(effects, Event::Counted { generation, ballot, from: leader, answer: Answer::Promise });
            let (union, counted) = (dead.iter().copied().collect(), BTreeSet::from([leader]));
            seat.stage = Stage::Collecting { ballot, awaited: leader, union, dead, counted, until };
            self.collect(now, effects);
            return;
        }
        // FLAW: the epoch is a second of the sender's own calendar, and no receiver compares it with anything, so a vote can't be told
        // from one of long ago. In the product a vote names its generation and its ballot.
        let epoch = Ballot { round: effects.wall().0.div_euclid(NANOS_PER_SECOND).unsigned_abs(), leader };
        let vow = Arc::new(Vow { suspects: dead.clone(), joiners: [].into(), accepted: Some((epoch, value)) });
        if let Some(to) = seat.group.member(leader) {
            effects.send(to.address, Message::Promise { stamp: seat.stamp(), ballot, vow });
        }
        // FLAW: one timeout for everything, while the leader may need as many as there are ranks. In the product the deadline is the
        // leader's, one for all answers, and followers only ask.
        seat.stage = Stage::Waiting { dead, until };
    }

    /// A vote came. It is kept until it is read.
    pub(super) fn on_vote(
        &mut self,
        now: Time,
        stamp: Stamp,
        ballot: Ballot,
        vow: &Vow,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        if stamp.rank.0 >= seat.watch.first.size() {
            return Err(Ignored::ImpossibleRank);
        }
        seat.votes.insert(stamp.rank, Vote { ballot, dead: vow.suspects.clone() });
        self.collect(now, effects);
        Ok(())
    }

    /// Reads the votes that came, one after the other in the order of ranks.
    fn collect(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        let (mine, ranks) = (seat.rank, seat.group.ranks());
        let Stage::Collecting { ballot, awaited, union, dead, counted, until } = &mut seat.stage else { return };
        for rank in ranks.filter(|rank| *rank != mine && !dead.contains(rank)) {
            if counted.contains(&rank) {
                continue;
            }
            if *awaited != rank {
                *awaited = rank;
                *until = now + self.config.knobs.round_deadline;
            }
            // FLAW: whatever lies there in the name of that rank counts, and counts here: a published vote names no generation.
            let Some(vote) = seat.votes.remove(&rank) else { return };
            union.extend(vote.dead.iter());
            counted.insert(rank);
            let (generation, ballot) = (seat.group.generation, vote.ballot);
            tell(effects, Event::Counted { generation, ballot, from: rank, answer: Answer::Promise });
        }
        // FLAW: the union names whoever anybody suspects, also one whose vote was just counted. The product takes everybody whose
        // promise counts out of a fresh value.
        let value = Value { dead: union.iter().copied().collect(), joined: [].into() };
        let (ballot, voters) = (*ballot, Arc::new(counted.clone()));
        let (generation, communicator) = (seat.group.generation, seat.group.id());
        let proposed = value.clone();
        tell(effects, Event::Proposed { generation, ballot, value: proposed, adopted: None, counted: voters.clone() });
        // FLAW: however few have voted. The product needs a majority, or half of the group with rank 0.
        let decision = Arc::new(Decision { generation, communicator, ballot, value, voters });
        self.tell_next(now, None, decision, effects);
    }

    /// Sends the union to the survivor after `told`; rebuilds after the last one.
    fn tell_next(&mut self, now: Time, told: Option<Rank>, decision: Arc<Decision>, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        let mine = seat.rank;
        let survivors = seat.group.ranks().filter(|rank| *rank != mine && !decision.value.names(*rank));
        let Some(receiver) = survivors.into_iter().find(|rank| told.is_none_or(|told| *rank > told)) else {
            self.rebuild(now, &decision, false, effects);
            return;
        };
        // FLAW: one receiver after the other, and the first that doesn't take it ends the broadcast and the leader: some have rebuilt,
        // the others never hear of it. In the product a value is decided once a quorum has accepted it, whoever leads finishes it, and
        // everybody who knows it answers with it.
        if let Some(to) = seat.group.member(receiver) {
            effects.send(to.address, Message::Decision { decision: decision.clone() });
        }
        seat.stage = Stage::Telling { decision, receiver, until: now + self.config.knobs.peer_timeout };
    }

    /// A union came.
    pub(super) fn on_decision(
        &mut self,
        now: Time,
        decision: &Decision,
        from: Address,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        let Stage::Waiting { .. } = &seat.stage else { return Err(Ignored::StaleAnswer) };
        // FLAW: it is taken from anybody, about any generation. In the product a decision names both, and its quorum.
        effects.send(from, Message::Accept { stamp: seat.stamp(), ballot: decision.ballot });
        self.rebuild(now, decision, true, effects);
        Ok(())
    }

    /// A survivor has taken the union.
    pub(super) fn on_sent(&mut self, now: Time, stamp: Stamp, effects: &mut Out) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        match &seat.stage {
            Stage::Telling { decision, receiver, .. } if *receiver == stamp.rank => {
                let (decision, receiver) = (decision.clone(), *receiver);
                self.tell_next(now, Some(receiver), decision, effects);
                Ok(())
            }
            Stage::Idle | Stage::Waiting { .. } | Stage::Collecting { .. } | Stage::Telling { .. } => {
                Err(Ignored::StaleAnswer)
            }
        }
    }

    /// Goes on without the dead.
    fn rebuild(&mut self, now: Time, decision: &Decision, learnt: bool, effects: &mut Out) {
        let Some(seat) = &self.seat else { return };
        let (ballot, value, voters) = (decision.ballot, decision.value.clone(), decision.voters.clone());
        let group = survivors(seat, &value);
        tell(effects, Event::Decided { generation: seat.group.generation, ballot, value, voters, learnt });
        self.install(now, group, effects);
    }
}

/// The group without those that a value names. It may name ranks that don't exist: the product refuses such a value.
fn survivors(seat: &Seat, value: &Value) -> Communicator {
    let left = seat.group.ranks().filter(|rank| !value.names(*rank));
    let members = left.filter_map(|rank| seat.group.member(rank)).cloned().collect();
    Communicator { generation: seat.group.generation.next(), members }
}
