//! The peer: one process's part in watching, agreeing and rebuilding.
//!
//! Everything that concerns one generation lives in a [`Seat`], which is made anew at each install: what belongs to an older
//! generation can't leak into a newer one.

mod install;
mod invariants;
mod join;
mod lead;
mod seat;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod vote;
mod watch;

use crate::{Cursor, Decision, Event, Generation, Ignored, Knobs, Member, Message, Policy, Session};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use seat::Seat;
use squall_machine::{Address, Durable, Effects, Input, Machine, Random, Text, Time};
use stream::Stream;

pub use seat::Activity;
pub use status::{PeerSizes, PeerStatus, Stage};
pub use stream::{Change, Notice, Subscription};

/// For how many ping intervals a process may not run before it takes the silence of others for its own.
const STALL_PINGS: u64 = 2;

/// What a peer has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerConfig {
    /// Who this process is: its id, the incarnation of this start, and where others reach it. A restarted process has another
    /// incarnation.
    pub member: Member,
    /// The members of the first communicator, the same list at all of them, this process included; `None` for a process that
    /// joins a running group, which every restarted one does.
    pub founders: Option<Arc<[Member]>>,
    /// Whom a process that is no member asks to be admitted: where members may be found.
    pub contacts: Arc<[Address]>,
    /// What to do about a suspicion.
    pub policy: Policy,
    /// For its jitter and its later incarnations. Has to be another one in each life of the process.
    pub seed: u64,
    /// The settings.
    pub knobs: Arc<Knobs>,
}

/// What a local client asks of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerRequest {
    /// To agree and rebuild now, under policy [`Policy::Manual`].
    Recover,
    /// To be told of every change from now on, or after the last notice that was taken; also confirms what was taken.
    Subscribe {
        /// The subscriber's stay.
        session: Session,
        /// The last notice that it took; `None` asks for a snapshot.
        after: Option<Cursor>,
    },
    /// To be told nothing more.
    Unsubscribe {
        /// The subscriber's stay.
        session: Session,
    },
}

/// What a local client is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PeerReply {
    /// The next notice.
    Notice {
        /// To which subscriber.
        session: Session,
        /// What happened.
        notice: Notice,
    },
    /// Where things stand: a cut, nothing up to its cursor follows.
    Snapshot {
        /// To which subscriber.
        session: Session,
        /// What it says.
        subscription: Subscription,
    },
    /// The policy is to abort: the group can't work as it is, and this process stops. Restart it, or the whole job.
    Aborted {
        /// Who is suspected.
        suspects: Arc<[Member]>,
    },
}

/// The machine of one peer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    booted: bool,
    /// The policy is to abort, and it had to.
    stopped: bool,
    /// Who this process is now: the incarnation is drawn anew when it has fenced itself.
    me: Member,
    random: Random,
    /// When the machine last ran.
    ran: Time,
    /// When pings, appeals and repetitions are due.
    next_tick: Time,
    /// When it asks again to be admitted. (no seat)
    join_at: Option<Time>,
    /// The generation that it was invited to join as who it is now; 0 before the first invitation. (no seat)
    invited: Generation,
    /// Its place in the newest generation that it knows.
    seat: Option<Box<Seat>>,
    /// Who asked to be admitted to the next generation, by id, and when last.
    joiners: BTreeMap<Text, (Member, Time)>,
    /// The newest decisions, in the order of generations.
    decisions: VecDeque<Arc<Decision>>,
    /// Messages of later generations, as they came.
    early: VecDeque<(Address, Message)>,
    stream: Stream,
}

type Out = Effects<Peer>;

impl Peer {
    /// A peer that has not booted.
    #[must_use]
    pub fn new(config: PeerConfig) -> Self {
        let me = config.member.clone();
        Self {
            booted: false,
            stopped: false,
            me,
            random: Random::new(config.seed, "peer"),
            ran: Time::ZERO,
            next_tick: Time::ZERO,
            join_at: None,
            invited: Generation(0),
            seat: None,
            joiners: BTreeMap::new(),
            decisions: VecDeque::new(),
            early: VecDeque::new(),
            stream: Stream::default(),
            config: Arc::new(config),
        }
    }

    /// Who this process is now.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.me
    }

    /// The communicator in which this process may work now, its name and the rank of this process in it.
    #[must_use]
    pub fn active(&self) -> Option<(&Arc<crate::Communicator>, crate::CommunicatorId, crate::Rank)> {
        let seat = self.seat.as_ref().filter(|seat| seat.activity == Activity::Active)?;
        Some((&seat.group, seat.id, seat.rank))
    }

    fn on_boot(&mut self, now: Time, durable: Durable<Self>, effects: &mut Out) {
        assert!(!self.booted, "a process boots once");
        assert_eq!(self.config.knobs.validate(), Ok(()), "settings are checked before a peer is built");
        // Nothing is ever recorded: what a restarted process finds tells it nothing, so it comes as somebody new.
        assert!(durable.records.is_empty(), "a peer keeps no records");
        self.booted = true;
        self.ran = now;
        self.next_tick = now + self.config.knobs.ping;
        match self.config.founders.clone() {
            Some(members) => {
                let group = Arc::new(crate::Communicator { generation: Generation(1), members });
                assert!(
                    group.is_possible(self.config.knobs.members_max),
                    "founders are checked before a peer is built"
                );
                self.install(now, group, None, None, effects);
            }
            None => self.begin_to_join(now, effects),
        }
    }

    /// What every step begins with: the process notices its own silence, then whatever is due.
    fn on_entry(&mut self, now: Time, effects: &mut Out) {
        let gap = now.since(self.ran);
        self.ran = now;
        if gap > self.config.knobs.ping * STALL_PINGS {
            effects.event(Event::Stalled { gap });
            self.forgive(now, gap);
        }
        if self.next_tick <= now {
            self.on_tick(now, effects);
        }
        if self.stopped {
            return;
        }
        if self.seat.as_ref().and_then(|seat| seat.lead.as_ref()).is_some_and(|lead| lead.deadline <= now) {
            self.on_deadline(now, effects);
        }
        if self.seat.as_ref().and_then(|seat| seat.retry_at).is_some_and(|at| at <= now) {
            self.on_retry(now, effects);
        }
        if self.join_at.is_some_and(|at| at <= now) {
            self.ask_to_join(now, effects);
        }
    }

    /// The process didn't run, so nobody could be heard: its own gap never kills anybody.
    fn forgive(&mut self, now: Time, gap: squall_machine::Span) {
        self.joiners.values_mut().for_each(|(_, asked)| *asked = now);
        let Some(seat) = &mut self.seat else { return };
        seat.watch.values_mut().for_each(|watched| watched.heard = now);
        if let Some(lead) = &mut seat.lead {
            lead.deadline += gap;
        }
    }

    fn on_tick(&mut self, now: Time, effects: &mut Out) {
        self.next_tick = now + self.config.knobs.ping;
        let ttl = self.config.knobs.joiner_ttl;
        self.joiners.retain(|_, (_, asked)| now.since(*asked) < ttl);
        self.look(now, effects);
        self.need_round(now, effects);
        self.ask(now, effects);
    }

    fn on_receive(&mut self, now: Time, from: Address, message: Message, effects: &mut Out) {
        if let Err(reason) = self.take(now, from, message, effects) {
            ignore(reason, effects);
        }
    }

    fn take(&mut self, now: Time, from: Address, message: Message, effects: &mut Out) -> Result<(), Ignored> {
        if let Some(stamp) = message.stamp() {
            return self.on_stamped(now, from, stamp, message, effects);
        }
        match message {
            Message::Decision { decision } => self.on_decision(now, from, decision, effects),
            Message::Welcome { communicator } => self.on_welcome(now, communicator, effects),
            Message::Join { member, generation } => self.on_join(now, member, generation, effects),
            Message::Invite { generation } => self.on_invite(now, generation, effects),
            Message::Ping { .. }
            | Message::Pong { .. }
            | Message::Appeal { .. }
            | Message::Collect { .. }
            | Message::Promise { .. }
            | Message::Outbid { .. }
            | Message::Propose { .. }
            | Message::Accept { .. }
            | Message::CatchUp { .. } => unreachable!("stamped messages were dealt with"),
        }
    }

    /// Messages of the generations that have ended, or not begun, don't count; those of this one do.
    fn on_stamped(
        &mut self,
        now: Time,
        from: Address,
        stamp: crate::Stamp,
        message: Message,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        if let Some(decision) = self.decided(stamp.generation) {
            if decision.communicator != stamp.communicator {
                return Err(Ignored::WrongCommunicator);
            }
            effects.send(from, Message::Decision { decision });
            return Err(Ignored::StaleGeneration);
        }
        let Some(seat) = &mut self.seat else { return Err(Ignored::NotAMember) };
        if stamp.generation > seat.group.generation {
            return self.on_early(from, stamp.generation, message, effects);
        }
        if stamp.generation < seat.group.generation {
            let communicator = seat.group.clone();
            effects.send(from, Message::Welcome { communicator });
            return Err(Ignored::StaleGeneration);
        }
        if stamp.communicator != seat.id {
            return Err(Ignored::WrongCommunicator);
        }
        if stamp.rank == seat.rank || stamp.rank.0 >= seat.group.size() {
            return Err(Ignored::ImpossibleRank);
        }
        self.on_heard(stamp.rank, effects);
        let rank = stamp.rank;
        match message {
            Message::Ping { seq, .. } => self.on_ping(rank, seq, effects),
            Message::Pong { seq, .. } => return self.on_pong(now, rank, seq, effects),
            Message::Appeal { seq, .. } => self.on_appeal(now, rank, seq, effects),
            Message::Collect { ballot, .. } => return self.on_collect(now, rank, ballot, effects),
            Message::Promise { ballot, vow, .. } => return self.on_promise(now, rank, ballot, vow, effects),
            Message::Outbid { ballot, promised, .. } => {
                return self.on_outbid(now, rank, ballot, promised, effects);
            }
            Message::Propose { ballot, value, .. } => return self.on_propose(now, rank, ballot, *value, effects),
            Message::Accept { ballot, .. } => return self.on_accept(now, rank, ballot, effects),
            // The sender is in this generation, as everybody here: nothing was decided yet.
            Message::CatchUp { .. } => return Err(Ignored::StaleNews),
            Message::Decision { .. } | Message::Join { .. } | Message::Invite { .. } | Message::Welcome { .. } => {
                unreachable!("they have no stamp")
            }
        }
        Ok(())
    }

    /// A message of a later generation: it waits, and its sender is asked for what was missed.
    fn on_early(
        &mut self,
        from: Address,
        seen: Generation,
        message: Message,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let Some(seat) = &self.seat else { return Err(Ignored::NotAMember) };
        assert!(seen > seat.group.generation, "only later generations are early");
        effects.event(Event::FellBehind { generation: seat.group.generation, seen });
        effects.send(from, Message::CatchUp { stamp: seat.stamp() });
        if self.early.len() >= self.config.knobs.early_max as usize {
            return Err(Ignored::EarlyGeneration);
        }
        self.early.push_back((from, message));
        Ok(())
    }

    /// What waited for the generation that has begun, or is over by now.
    fn take_early(&mut self, now: Time, effects: &mut Out) {
        while !self.stopped
            && let Some(index) = self.early.iter().position(|(_, message)| self.is_due(message))
        {
            if let Some((from, message)) = self.early.remove(index) {
                self.on_receive(now, from, message, effects);
            }
        }
    }

    /// Whether an early message isn't early any more.
    fn is_due(&self, message: &Message) -> bool {
        let generation = match message {
            Message::Decision { decision } => Some(decision.generation),
            other => other.stamp().map(|stamp| stamp.generation),
        };
        let here = self.seat.as_ref().map(|seat| seat.group.generation);
        here.is_none() || generation <= here
    }

    fn on_request(&mut self, now: Time, request: PeerRequest, effects: &mut Out) -> Result<(), Ignored> {
        match request {
            PeerRequest::Recover => self.on_recover(now, effects),
            PeerRequest::Subscribe { session, after } => self.on_subscribe(session, after, effects),
            PeerRequest::Unsubscribe { session } => self.stream.on_unsubscribe(session),
        }
    }

    /// The decision about a generation, if it is known and kept.
    fn decided(&self, generation: Generation) -> Option<Arc<Decision>> {
        let index = self.decisions.binary_search_by_key(&generation, |decision| decision.generation).ok()?;
        self.decisions.get(index).cloned()
    }
}

impl Machine for Peer {
    type Message = Message;
    type Request = PeerRequest;
    type Reply = PeerReply;
    type Record = Infallible;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Out) {
        debug_assert!(effects.is_empty(), "the effects of the last step were not drained");
        assert_eq!(matches!(input, Input::Boot(_)), !self.booted, "boot comes first, and once");
        if self.stopped {
            return match input {
                Input::Boot(_) | Input::Receive { .. } | Input::Request(_) => ignore(Ignored::Stopped, effects),
                Input::Wake => {}
            };
        }
        match input {
            Input::Boot(durable) => self.on_boot(now, durable, effects),
            Input::Receive { from, message } => {
                self.on_entry(now, effects);
                if self.stopped {
                    return ignore(Ignored::Stopped, effects);
                }
                self.on_receive(now, from, message, effects);
            }
            Input::Request(request) => {
                self.on_entry(now, effects);
                if self.stopped {
                    return ignore(Ignored::Stopped, effects);
                }
                if let Err(reason) = self.on_request(now, request, effects) {
                    ignore(reason, effects);
                }
            }
            Input::Wake => self.on_entry(now, effects),
        }
        self.take_early(now, effects);
        self.publish(effects);
    }

    fn deadline(&self) -> Option<Time> {
        if !self.booted || self.stopped {
            return None;
        }
        let seat = self.seat.as_ref();
        let deadline = seat.and_then(|seat| seat.lead.as_ref()).map(|lead| lead.deadline);
        let retry = seat.and_then(|seat| seat.retry_at);
        [Some(self.next_tick), deadline, retry, self.join_at].into_iter().flatten().min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        self.check();
    }
}

fn ignore(reason: Ignored, effects: &mut Out) {
    effects.event(Event::Ignored { reason });
}

/// The members that these ranks have in a group.
fn members_of(group: &crate::Communicator, ranks: impl IntoIterator<Item = crate::Rank>) -> Arc<[Member]> {
    ranks.into_iter().filter_map(|rank| group.member(rank).cloned()).collect::<Vec<_>>().into()
}
