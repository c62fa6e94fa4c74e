//! The agent: what a worker does about tasks.
//!
//! It offers the worker to the scheduler, runs what it is assigned, saves and restores, and reports. It keeps nothing on a
//! disk: attempts die with the process that runs them, and so does the incarnation that holds their leases; the scheduler
//! fences them then. Nor does it know whether it is still taken for alive. A worker that slept through its own end goes on
//! where it was; what it says counts for nothing, and it learns that from the answers.

mod drain;
mod duty;
mod past;
mod save;
mod stay;

#[cfg(test)]
mod tests;

use crate::contact::Contact;
use crate::{
    AttemptId, Checkpoint, CheckpointSeq, Event, FailureKind, Ignored, Incarnation, Knobs, Message, Offer, Report,
    StoreMessage, Vitals, Work,
};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::convert::Infallible;
use drain::Drain;
use duty::Duty;
use past::Past;
use save::Deletion;
use serde::{Deserialize, Serialize};
use squall_machine::{Address, Effects, Input, Machine, Random, Span, Text, Time, kinds_of_parts};
use stay::Stay;

/// What an agent has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AgentConfig {
    /// What the worker has.
    pub offer: Arc<Offer>,
    /// Where the scheduler is reached.
    pub scheduler: Address,
    /// Where the checkpoint store is reached; `None`: nothing is saved or restored.
    pub store: Option<Address>,
    /// Over how long those who lost the scheduler or the store spread what they ask again.
    pub return_spread: Span,
    /// For its delays. Has to be another one in each life of the process.
    pub seed: u64,
    /// Settings, the same as the scheduler's.
    pub knobs: Arc<Knobs>,
}

/// What the runtime says: the process on the same host that does the work.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeCall {
    /// How the host is; goes with the next beats.
    Vitals(Vitals),
    /// How far an attempt is.
    Progress {
        /// Which.
        attempt: AttemptId,
        /// In millionths; it never goes back.
        micros: u32,
    },
    /// An attempt's state is to be saved. One at a time; answered with [`RuntimeOrder::SaveEnded`] while the attempt runs.
    Save {
        /// Which.
        attempt: AttemptId,
        /// How much of the task the state holds, in millionths.
        progress_micros: u32,
        /// How long it is.
        bytes: u64,
        /// A digest of it.
        digest: u64,
    },
    /// An attempt succeeded.
    Done {
        /// Which.
        attempt: AttemptId,
        /// What it returns.
        result: Arc<[u8]>,
    },
    /// An attempt failed.
    Failed {
        /// Which.
        attempt: AttemptId,
        /// In which way; `None`: the scheduler reads it out of the text.
        kind: Option<FailureKind>,
        /// What is said about it; cut to the longest text there may be.
        text: Text,
    },
}

/// What the runtime is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RuntimeOrder {
    /// To begin with an attempt.
    Run {
        /// Which.
        attempt: AttemptId,
        /// What to do.
        work: Arc<Work>,
        /// How much of the task is done, in millionths: what was restored, or 0.
        from_micros: u32,
    },
    /// To stop an attempt at once; nothing that it says counts any more.
    Halt {
        /// Which.
        attempt: AttemptId,
    },
    /// The last save of an attempt has ended; another one may begin.
    SaveEnded {
        /// Of which attempt.
        attempt: AttemptId,
        /// Which number it had.
        seq: CheckpointSeq,
        /// Whether the checkpoint counts.
        kept: bool,
    },
}

/// What the process around an agent tells it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AgentRequest {
    /// The worker has a new incarnation.
    Began {
        /// Which.
        incarnation: Incarnation,
    },
    /// The worker's incarnation ended.
    Ended,
    /// The worker is to leave once it holds nothing; answered with [`AgentReply::Left`].
    Leave,
    /// The runtime says something.
    Runtime(RuntimeCall),
}

/// What an agent answers the process around it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum AgentReply {
    /// The worker holds nothing and gets nothing: it may leave. Said once.
    Left,
    /// For the runtime.
    Runtime(RuntimeOrder),
}

/// Everything that travels between agents and their partners.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentMessage {
    /// To or from the scheduler.
    Task(Message),
    /// To or from the checkpoint store.
    Store(StoreMessage),
}

kinds_of_parts!(AgentMessage { Task(Message), Store(StoreMessage) });

/// The machine of a worker's agent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Agent {
    config: Arc<AgentConfig>,
    booted: bool,
    scheduler: Contact,
    store: Contact,
    phases: Random,
    /// The newest incarnation there was; 0 before the first.
    newest: Incarnation,
    /// The incarnation in use.
    stay: Option<Stay>,
    drain: Drain,
    vitals: Vitals,
    /// Attempts that run, or whose report nobody has answered. At most `leases_max`.
    duties: BTreeMap<AttemptId, Duty>,
    past: Past,
    /// What the store shall forget, by task. At most `leases_max`.
    deletions: BTreeMap<Text, Deletion>,
}

type Out = Effects<Agent>;

impl Agent {
    /// An agent that has not booted.
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        let AgentConfig { return_spread, seed, ref knobs, .. } = config;
        Self {
            booted: false,
            scheduler: Contact::new(seed, "scheduler contact", knobs.resend, return_spread),
            store: Contact::new(seed, "store contact", knobs.resend, return_spread),
            phases: Random::new(seed, "beat phase"),
            newest: Incarnation(0),
            stay: None,
            drain: Drain::No,
            vitals: Vitals::default(),
            duties: BTreeMap::new(),
            past: Past::default(),
            deletions: BTreeMap::new(),
            config: Arc::new(config),
        }
    }

    /// The incarnation in use.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.stay.as_ref().map(|stay| stay.incarnation)
    }

    /// The attempts that run, or wait for what they go on from, with how far they are, in millionths.
    pub fn running(&self) -> impl Iterator<Item = (AttemptId, u32)> {
        self.duties.iter().filter(|(_, duty)| duty.is_alive()).map(|(attempt, duty)| (*attempt, duty.progress_micros))
    }

    /// The attempts that are over, and whose report nobody has answered.
    pub fn unanswered(&self) -> impl Iterator<Item = AttemptId> {
        self.duties.iter().filter(|(_, duty)| !duty.is_alive()).map(|(attempt, _)| *attempt)
    }

    /// Whether it has told that the worker may leave.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.drain == Drain::Left
    }

    fn tell(&self, message: Message, effects: &mut Out) {
        effects.send(self.config.scheduler, AgentMessage::Task(message));
    }

    fn own(&self, incarnation: Incarnation) -> Result<(), Ignored> {
        if self.incarnation() == Some(incarnation) { Ok(()) } else { Err(Ignored::UnknownWorker) }
    }

    fn on_task_message(&mut self, now: Time, message: Message, effects: &mut Out) -> Result<(), Ignored> {
        match message {
            Message::Offered { incarnation } => self.on_offered(incarnation),
            Message::Introduce { incarnation } => self.on_introduce(now, incarnation),
            Message::Assign { incarnation, attempt, work } => self.on_assign(now, incarnation, attempt, work, effects),
            Message::Stop { incarnation, attempt } => self.on_stop(incarnation, attempt, effects),
            Message::Received { attempt, reception } => self.on_received(attempt, reception, effects),
            Message::Kept { attempt, seq, reception } => self.on_kept(now, attempt, seq, reception, effects),
            Message::Drained { incarnation } => self.on_drained(incarnation, effects),
            Message::Clear { incarnation, task, until } => self.on_clear(incarnation, task, until, effects),
            Message::Submit { .. }
            | Message::Cancel { .. }
            | Message::Poll { .. }
            | Message::Admitted { .. }
            | Message::Declined { .. }
            | Message::CancelAnswer { .. }
            | Message::Standings { .. }
            | Message::Offer { .. }
            | Message::Beat { .. }
            | Message::Started { .. }
            | Message::Report { .. }
            | Message::Saved { .. }
            | Message::Drain { .. }
            | Message::Cleared { .. } => Err(Ignored::WrongDirection),
        }
    }

    fn on_store_message(&mut self, now: Time, message: StoreMessage, effects: &mut Out) -> Result<(), Ignored> {
        match message {
            StoreMessage::Complete { task, attempt, seq } => self.on_complete(now, &task, attempt, seq),
            StoreMessage::Refused { task, attempt, seq, reason: _ } => self.on_refused(&task, attempt, seq, effects),
            StoreMessage::Fetched { task, reader, checkpoint } => {
                self.on_fetched(now, &task, reader, checkpoint.map(|found| *found), effects)
            }
            StoreMessage::Deleted { task, below } => self.on_deleted(&task, below),
            StoreMessage::Cleared { task, until: _ } => self.on_cleared(task, effects),
            StoreMessage::Put { .. }
            | StoreMessage::Fetch { .. }
            | StoreMessage::Delete { .. }
            | StoreMessage::Clear { .. } => Err(Ignored::WrongDirection),
        }
    }

    fn on_request(&mut self, now: Time, request: AgentRequest, effects: &mut Out) -> Result<(), Ignored> {
        match request {
            AgentRequest::Began { incarnation } => self.on_began(now, incarnation, effects),
            AgentRequest::Ended => self.on_ended(effects),
            AgentRequest::Leave => self.on_leave(now, effects),
            AgentRequest::Runtime(call) => self.on_call(now, call, effects),
        }
    }

    fn on_call(&mut self, now: Time, call: RuntimeCall, effects: &mut Out) -> Result<(), Ignored> {
        match call {
            RuntimeCall::Vitals(vitals) => {
                self.vitals = vitals;
                Ok(())
            }
            RuntimeCall::Progress { attempt, micros } => self.on_progress(attempt, micros),
            RuntimeCall::Save { attempt, progress_micros, bytes, digest } => {
                let checkpoint = Checkpoint { attempt, seq: CheckpointSeq(0), progress_micros, bytes, digest };
                self.on_save(now, checkpoint, effects)
            }
            RuntimeCall::Done { attempt, result } => self.on_done(now, attempt, result, effects),
            RuntimeCall::Failed { attempt, kind, text } => {
                self.runs(attempt)?;
                self.conclude(now, attempt, Report::Failed { kind, text: self.cut(&text) }, effects);
                Ok(())
            }
        }
    }

    /// Sends what is due.
    fn send_due(&mut self, now: Time, effects: &mut Out) {
        self.send_stay(now, effects);
        self.send_drain(now, effects);
        self.send_duties(now, effects);
        self.send_deletions(now, effects);
    }
}

impl Machine for Agent {
    type Message = AgentMessage;
    type Request = AgentRequest;
    type Reply = AgentReply;
    type Record = Infallible;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Out) {
        assert_eq!(self.booted, !matches!(input, Input::Boot(_)), "a process boots once, and first");
        let heard = match input {
            Input::Boot(_) => {
                self.booted = true;
                Ok(())
            }
            Input::Receive { from: _, message: AgentMessage::Task(message) } => {
                self.scheduler.on_heard();
                self.on_task_message(now, message, effects)
            }
            Input::Receive { from: _, message: AgentMessage::Store(message) } => {
                self.store.on_heard();
                self.on_store_message(now, message, effects)
            }
            Input::Request(request) => self.on_request(now, request, effects),
            Input::Wake => Ok(()),
        };
        if let Err(reason) = heard {
            effects.event(Event::Ignored { reason, incarnation: self.incarnation() });
        }
        self.send_due(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        let stay = self.stay.as_ref().map(Stay::deadline);
        let duties = self.duties.values().filter_map(Duty::deadline);
        let deletions = self.deletions.values().map(|deletion| deletion.resend);
        duties.chain(deletions).chain(stay).chain(self.drain.deadline()).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        let most = self.config.knobs.leases_max as usize;
        assert!(self.duties.len() <= most && self.deletions.len() <= most, "no more than may be");
        self.past.assert_invariants();
        for (attempt, duty) in &self.duties {
            duty.assert_invariants();
            assert!(!self.past.holds(*attempt), "attempt {attempt} is over and isn't");
            let own = self.incarnation() == Some(duty.incarnation);
            assert!(own || !duty.is_alive(), "attempt {attempt} has outlived its incarnation");
            assert!(duty.incarnation <= self.newest, "an attempt of an incarnation to come");
        }
        if let Some(stay) = &self.stay {
            assert_eq!(stay.incarnation, self.newest, "only the newest incarnation is in use");
            assert!(!self.has_left() || self.running().next().is_none(), "who has left runs nothing");
        } else {
            assert!(!self.drain.is_under_way(), "who isn't here has nothing to drain");
        }
    }
}
