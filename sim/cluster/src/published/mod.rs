//! The exhibit: the recovery protocol as it was first published, flaws included. It is nothing that ships. It shows what the
//! harness is for: `scenarios/negative/published_*.toml` break it in one way each, and the product holds in the same files.
//!
//! Ranks watch each other. Whoever learns of a failure takes part in a recovery: the leader, the lowest rank that isn't in its own
//! dead set, collects one vote after the other, takes the union of the dead sets and tells it to one survivor after the other;
//! everybody else sends its vote to whom it takes for the leader, and waits. Then all rebuild without the dead.
//!
//! It speaks in the product's messages and tells the product's events, so the very same faults strike it, and the very same
//! checkers judge it:
//!
//! | published | here |
//! |---|---|
//! | a beat of the watch | [`Message::Ping`]; it isn't answered |
//! | a vote with a dead set | [`Message::Promise`]; its sender promises, and accepts its own dead set as the value |
//! | the union, to one survivor | [`Message::Decision`] |
//! | a send that succeeded | [`Message::Accept`] came back in time; a send error is the absence of one |
//! | nothing | the stamp, but for its rank: it tells checkers where a sender is, and no receiver of votes and unions reads it |
//! | the epoch | the round of the ballot in [`Vow::accepted`]: seconds of a local calendar, which nobody compares |
//!
//! Each flaw is a place that begins with the word FLAW, says what is wrong, and what the product does instead.
//!
//! [`Message::Ping`]: squall_recovery::Message::Ping
//! [`Message::Promise`]: squall_recovery::Message::Promise
//! [`Message::Decision`]: squall_recovery::Message::Decision
//! [`Message::Accept`]: squall_recovery::Message::Accept
//! [`Vow::accepted`]: squall_recovery::Vow::accepted

mod agree;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use agree::{Stage, Vote};
use squall_machine::{Effects, Input, Machine, Random, Span, Time};
use squall_node::{PeerNodeEvent, WorkEvent};
use squall_recovery::{
    Communicator, Event, Generation, Ignored, Inactivity, Knobs, Member, Message, PeerRequest, Rank, Stamp,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use watch::Watch;

type Out = Effects<Published>;

/// What such a process has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PublishedConfig {
    /// Itself.
    pub(crate) member: Member,
    /// The members of the first group in the order of their ranks; `None` if it isn't one of them.
    pub(crate) founders: Option<Arc<[Member]>>,
    /// The shortest and the longest step of work.
    pub(crate) step: (Span, Span),
    /// For the lengths of its steps.
    pub(crate) seed: u64,
    /// `ping`: the period of the watch. `peer_timeout`: a silence that is a failure, and how long a send may take.
    /// `round_deadline`: how long the leader waits for each vote, and a follower for everything.
    pub(crate) knobs: Arc<Knobs>,
}

/// One process of the exhibit.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Published {
    config: PublishedConfig,
    random: Random,
    booted: bool,
    /// It has ended in an error.
    stopped: bool,
    seat: Option<Box<Seat>>,
}

/// Its place in a group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Seat {
    group: Arc<Communicator>,
    rank: Rank,
    watch: Watch,
    stage: Stage,
    /// Votes that came, by the ranks that they name. At most one for each rank of the first group.
    votes: BTreeMap<Rank, Vote>,
    /// The step that is computed, and when it ends, while the group is active.
    work: Option<(u64, Time)>,
}

impl Seat {
    fn stamp(&self) -> Stamp {
        Stamp { generation: self.group.generation, communicator: self.group.id(), rank: self.rank }
    }
}

impl Published {
    /// A process that has not booted.
    pub(crate) fn new(config: PublishedConfig) -> Self {
        let random = Random::new(config.seed, "published");
        Self { config, random, booted: false, stopped: false, seat: None }
    }

    fn on_boot(&mut self, now: Time, effects: &mut Out) {
        assert!(!self.booted, "a life boots once");
        self.booted = true;
        match self.config.founders.clone() {
            Some(members) => self.install(now, Communicator { generation: Generation(1), members }, effects),
            // FLAW: a restarted process has no way back. The product admits it as another incarnation.
            None => tell(effects, Event::Joining { incarnation: self.config.member.incarnation }),
        }
    }

    /// A group is in force here. Nobody asks whether it is anywhere else.
    fn install(&mut self, now: Time, group: Communicator, effects: &mut Out) {
        let me = &self.config.member;
        let Some(rank) = group.rank_of(&me.id, me.incarnation) else {
            self.fail(&[], effects);
            return;
        };
        let group = Arc::new(group);
        let old = self.seat.take();
        let old_rank = old.as_ref().map(|seat| seat.rank);
        let (watch, votes) = match old {
            None => (Watch::new(now, &group, rank), BTreeMap::new()),
            // FLAW: votes that nobody has read yet are kept, and count in the next recovery. In the product an answer counts at its
            // own ballot and generation only.
            Some(seat) => (seat.watch.rebuilt(now, &group, rank, self.config.knobs.round_deadline), seat.votes),
        };
        let (communicator, incarnation) = (group.id(), me.incarnation);
        tell(effects, Event::Installed { communicator, group: group.clone(), rank, old_rank, incarnation });
        let seat = Seat { group, rank, watch, stage: Stage::Idle, votes, work: None };
        self.seat = Some(Box::new(seat));
        self.activate(now, effects);
    }

    /// Works once all members were heard in this group.
    fn activate(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        if seat.work.is_some() || seat.stage != Stage::Idle || !seat.watch.has_heard_all() {
            return;
        }
        let (generation, communicator, rank) = (seat.group.generation, seat.group.id(), seat.rank);
        tell(effects, Event::GroupActive { generation, communicator, rank, size: seat.group.size() });
        self.work(now, 1, effects);
    }

    fn work(&mut self, now: Time, step: u64, effects: &mut Out) {
        let Some(seat) = &mut self.seat else { return };
        seat.work = Some((step, now + self.random.span(self.config.step.0, self.config.step.1)));
        let (generation, communicator) = (seat.group.generation, seat.group.id());
        effects.event(PeerNodeEvent::Work(WorkEvent::StepStarted { generation, communicator, step }));
    }

    /// FLAW: any timeout and any send that fails ends the process. In the product a deadline means that the silent are suspected,
    /// and the next ballot starts.
    fn fail(&mut self, dead: &[Rank], effects: &mut Out) {
        let generation = self.seat.as_ref().map_or(Generation(0), |seat| seat.group.generation);
        self.stopped = true;
        tell(effects, Event::RecoveryFailed { generation, suspects: dead.into() });
    }

    /// Everything whose time has come.
    fn on_due(&mut self, now: Time, effects: &mut Out) {
        let Some(seat) = self.seat.as_ref().filter(|_| !self.stopped) else { return };
        if seat.stage.until().is_some_and(|until| until <= now) {
            let dead = seat.stage.dead().to_vec();
            self.fail(&dead, effects);
            return;
        }
        self.watch(now, effects);
        let due = self.seat.as_ref().and_then(|seat| seat.work).filter(|(_, until)| *until <= now);
        if let Some((step, _)) = due {
            self.work(now, step + 1, effects);
        }
    }

    fn on_message(&mut self, now: Time, message: Message, from: squall_machine::Address, effects: &mut Out) {
        let taken = match (&self.seat, self.stopped) {
            (_, true) => Err(Ignored::Stopped),
            (None, false) => Err(Ignored::NotAMember),
            (Some(_), false) => match message {
                Message::Ping { stamp, .. } => self.on_beat(now, stamp, from, effects),
                Message::Promise { stamp, ballot, vow } => self.on_vote(now, stamp, ballot, &vow, effects),
                Message::Decision { decision } => self.on_decision(now, &decision, from, effects),
                Message::Accept { stamp, .. } => self.on_sent(now, stamp, effects),
                Message::Pong { .. }
                | Message::Appeal { .. }
                | Message::Collect { .. }
                | Message::Outbid { .. }
                | Message::Propose { .. }
                | Message::CatchUp { .. }
                | Message::Join { .. }
                | Message::Invite { .. }
                | Message::Welcome { .. } => Err(Ignored::StaleAnswer),
            },
        };
        if let Err(reason) = taken {
            tell(effects, Event::Ignored { reason });
        }
    }

    /// No step is begun any more.
    fn rest(seat: &mut Seat, effects: &mut Out) {
        if seat.work.take().is_some() {
            let generation = seat.group.generation;
            tell(effects, Event::GroupInactive { generation, cause: Inactivity::Suspicion });
        }
    }
}

fn tell(effects: &mut Out, event: Event) {
    effects.event(PeerNodeEvent::Recovery(event));
}

impl Machine for Published {
    type Message = Message;
    type Request = PeerRequest;
    type Reply = Infallible;
    type Record = Infallible;
    type Snapshot = ();
    type Event = PeerNodeEvent;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(_) => self.on_boot(now, effects),
            Input::Receive { from, message } => {
                self.on_due(now, effects);
                self.on_message(now, message, from, effects);
            }
            Input::Request(_) => tell(effects, Event::Ignored { reason: Ignored::NothingToRecover }),
            Input::Wake => self.on_due(now, effects),
        }
    }

    fn deadline(&self) -> Option<Time> {
        let seat = self.seat.as_ref().filter(|_| !self.stopped)?;
        let work = seat.work.map(|(_, until)| until);
        [Some(seat.watch.next()), seat.stage.until(), work].into_iter().flatten().min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        let Some(seat) = &self.seat else { return };
        assert!(self.booted, "only a booted process is a member");
        assert_eq!(
            seat.group.member(seat.rank).map(|member| &member.id),
            Some(&self.config.member.id),
            "its rank is its own"
        );
        assert!(seat.work.is_none() || seat.stage == Stage::Idle, "nobody works during a recovery");
    }
}
