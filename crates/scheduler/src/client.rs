//! The client: whoever submits tasks, and wants to know how they end.
//!
//! It keeps nothing on a disk. What it was promised is kept by the scheduler, and who starts again submits again under the
//! same ids, which changes nothing.

#[cfg(test)]
mod tests;

use crate::contact::Contact;
use crate::{Event, Ignored, Knobs, Message, Outcome, Standing, TaskRefusal, TaskSpec};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use squall_machine::{Address, Effects, Input, Machine, Random, Span, Text, Time};

/// What a client has to know before it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClientConfig {
    /// Where the scheduler is reached.
    pub scheduler: Address,
    /// How often it asks how its tasks are; longer than zero.
    pub poll: Span,
    /// The most tasks that it cares about at a time; at least 1.
    pub open_max: u32,
    /// Over how long clients that lost the scheduler spread what they ask again.
    pub return_spread: Span,
    /// For its delays.
    pub seed: u64,
    /// Settings, the same as the scheduler's.
    pub knobs: Arc<Knobs>,
}

/// What a local user asks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ClientRequest {
    /// Submits a task; answered with [`ClientReply::Admitted`], [`ClientReply::Declined`] or [`ClientReply::Refused`]. An
    /// admitted task is followed until it has ended.
    Submit(Arc<TaskSpec>),
    /// Cancels a task, its own or another client's; answered with [`ClientReply::Cancelled`] or [`ClientReply::Refused`].
    Cancel(Text),
}

/// What a local user is told.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ClientReply {
    /// The task will not be lost; [`ClientReply::Ended`] or [`ClientReply::Missing`] follows.
    Admitted {
        /// Which.
        task: Text,
    },
    /// The scheduler refused the task. After [`TaskRefusal::QueueFull`] it may be submitted again, later. A copy of the
    /// question that was still on its way may be admitted nevertheless.
    Declined {
        /// Which.
        task: Text,
        /// Why.
        refusal: TaskRefusal,
    },
    /// The client refused a request; the scheduler wasn't asked.
    Refused {
        /// Which task.
        task: Text,
        /// Why.
        refusal: ClientRefusal,
    },
    /// The answer to a cancellation.
    Cancelled {
        /// Which.
        task: Text,
        /// Where the task is; it is cancelled if that is how it ended.
        standing: Standing,
    },
    /// An admitted task has ended.
    Ended {
        /// Which.
        task: Text,
        /// How.
        outcome: Outcome,
    },
    /// The scheduler doesn't know an admitted task: it has ended so long ago that it is forgotten.
    Missing {
        /// Which.
        task: Text,
    },
}

/// Why a client refuses a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ClientRefusal {
    /// It cares about as many tasks as it may.
    TooManyOpen,
    /// The task's id is empty or too long.
    BadId,
    /// Another task is open under this id.
    IdTaken,
}

/// A task that the client cares about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Open {
    stage: Stage,
    /// Whether it is to be cancelled. That waits for the answer to its submission: it must not overtake it.
    cancel: bool,
    /// When the question about it is asked again. (stage = submitting, or cancel)
    resend: Option<Time>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// Its submission isn't answered.
    Submitting(Arc<TaskSpec>),
    /// It is promised. Polled until it has ended.
    Admitted,
    /// It was not submitted here. (cancel)
    Foreign,
}

/// The machine of a client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TaskClient {
    config: Arc<ClientConfig>,
    booted: bool,
    contact: Contact,
    phases: Random,
    /// Everything it cares about, at most `open_max`.
    open: BTreeMap<Text, Open>,
    /// The questions about single tasks, by when they are asked again.
    due: BTreeSet<(Time, Text)>,
    /// Those that are admitted.
    admitted: BTreeSet<Text>,
    /// When it asks how they are. (there are any)
    poll: Option<Time>,
}

type Out = Effects<TaskClient>;

impl TaskClient {
    /// A client that has not booted.
    ///
    /// # Panics
    /// If a setting can't be.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        assert!(config.poll > Span::ZERO && config.open_max > 0, "settings are checked before a client is built");
        Self {
            booted: false,
            contact: Contact::new(config.seed, "client contact", config.knobs.resend, config.return_spread),
            phases: Random::new(config.seed, "poll phase"),
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            admitted: BTreeSet::new(),
            poll: None,
            config: Arc::new(config),
        }
    }

    /// How many tasks it cares about.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The admitted tasks whose end it doesn't know.
    pub fn admitted(&self) -> impl Iterator<Item = &Text> {
        self.admitted.iter()
    }

    fn on_request(&mut self, now: Time, request: ClientRequest, effects: &mut Out) -> Result<(), Ignored> {
        match request {
            ClientRequest::Submit(spec) => self.on_submit(now, spec, effects),
            ClientRequest::Cancel(task) => self.on_cancel(now, task, effects),
        }
    }

    fn on_submit(&mut self, now: Time, spec: Arc<TaskSpec>, effects: &mut Out) -> Result<(), Ignored> {
        let task = spec.id.clone();
        self.check(&task, effects)?;
        match self.open.get(&task).map(|open| &open.stage) {
            Some(Stage::Submitting(asked)) if *asked == spec => return Err(Ignored::Repeated),
            // The scheduler knows whether it is the same task.
            None | Some(Stage::Foreign) => {}
            Some(Stage::Submitting(_) | Stage::Admitted) => {
                effects.reply(ClientReply::Refused { task, refusal: ClientRefusal::IdTaken });
                return Err(Ignored::UnderWay);
            }
        }
        let cancel = self.open.get(&task).is_some_and(|open| open.cancel);
        self.set(task, Open { stage: Stage::Submitting(spec), cancel, resend: Some(now) });
        Ok(())
    }

    fn on_cancel(&mut self, now: Time, task: Text, effects: &mut Out) -> Result<(), Ignored> {
        self.check(&task, effects)?;
        let open = self.open.get(&task).cloned();
        let open = open.unwrap_or(Open { stage: Stage::Foreign, cancel: false, resend: None });
        if open.cancel {
            return Err(Ignored::Repeated);
        }
        let resend = open.resend.or(Some(now));
        self.set(task, Open { cancel: true, resend, ..open });
        Ok(())
    }

    /// Whether a request can be taken.
    fn check(&self, task: &Text, effects: &mut Out) -> Result<(), Ignored> {
        let most = self.config.knobs.text_bytes_max as usize;
        let (refusal, reason) = if task.is_empty() || task.len() > most {
            (ClientRefusal::BadId, Ignored::TooLong)
        } else if !self.open.contains_key(task) && self.open.len() >= self.config.open_max as usize {
            (ClientRefusal::TooManyOpen, Ignored::LimitReached)
        } else {
            return Ok(());
        };
        effects.reply(ClientReply::Refused { task: task.clone(), refusal });
        Err(reason)
    }

    /// The only writer of what it cares about, together with `forget`.
    fn set(&mut self, task: Text, open: Open) {
        self.forget(&task);
        if let Some(at) = open.resend {
            self.due.insert((at, task.clone()));
        }
        if open.stage == Stage::Admitted {
            self.admitted.insert(task.clone());
        }
        self.open.insert(task, open);
    }

    fn forget(&mut self, task: &Text) {
        let Some(open) = self.open.remove(task) else { return };
        if let Some(at) = open.resend {
            self.due.remove(&(at, task.clone()));
        }
        self.admitted.remove(task);
    }

    fn on_message(&mut self, now: Time, message: Message, effects: &mut Out) -> Result<(), Ignored> {
        match message {
            Message::Admitted { task } => self.on_admitted(now, task, effects),
            Message::Declined { task, refusal } => self.on_declined(task, refusal, effects),
            Message::CancelAnswer { task, standing } => self.on_cancel_answer(task, standing, effects),
            Message::Standings { tasks } => self.on_standings(&tasks, effects),
            Message::Submit { .. }
            | Message::Cancel { .. }
            | Message::Poll { .. }
            | Message::Offer { .. }
            | Message::Beat { .. }
            | Message::Started { .. }
            | Message::Report { .. }
            | Message::Saved { .. }
            | Message::Drain { .. }
            | Message::Cleared { .. }
            | Message::Clear { .. }
            | Message::Offered { .. }
            | Message::Introduce { .. }
            | Message::Assign { .. }
            | Message::Stop { .. }
            | Message::Received { .. }
            | Message::Kept { .. }
            | Message::Drained { .. } => Err(Ignored::WrongDirection),
        }
    }

    /// The submission of this task awaits its answer; whether it is to be cancelled.
    fn submitting(&self, task: &Text) -> Result<bool, Ignored> {
        match self.open.get(task) {
            Some(Open { stage: Stage::Submitting(_), cancel, .. }) => Ok(*cancel),
            Some(Open { stage: Stage::Admitted | Stage::Foreign, .. }) | None => Err(Ignored::StaleAnswer),
        }
    }

    fn on_admitted(&mut self, now: Time, task: Text, effects: &mut Out) -> Result<(), Ignored> {
        let cancel = self.submitting(&task)?;
        effects.event(Event::Acknowledged { task: task.clone() });
        effects.reply(ClientReply::Admitted { task: task.clone() });
        self.set(task, Open { stage: Stage::Admitted, cancel, resend: cancel.then_some(now) });
        if self.poll.is_none() {
            self.poll = Some(now + self.phases.span(Span::from_nanos(1), self.config.poll));
        }
        Ok(())
    }

    fn on_declined(&mut self, task: Text, refusal: TaskRefusal, effects: &mut Out) -> Result<(), Ignored> {
        let cancel = self.submitting(&task)?;
        effects.event(Event::Denied { task: task.clone(), refusal });
        effects.reply(ClientReply::Declined { task: task.clone(), refusal });
        self.forget(&task);
        if cancel {
            // What was never taken needs no cancelling.
            effects.reply(ClientReply::Cancelled { task, standing: Standing::Unknown });
        }
        Ok(())
    }

    fn on_cancel_answer(&mut self, task: Text, standing: Standing, effects: &mut Out) -> Result<(), Ignored> {
        let open = self.open.get(&task).filter(|open| open.cancel).cloned().ok_or(Ignored::StaleAnswer)?;
        match (&open.stage, &standing) {
            (_, Standing::Waiting | Standing::Running { .. }) => return Err(Ignored::Malformed),
            // It speaks of the time before the submission was admitted.
            (Stage::Submitting(_), _) | (Stage::Admitted, Standing::Unknown) => return Err(Ignored::StaleAnswer),
            (Stage::Admitted, Standing::Ended(_)) | (Stage::Foreign, Standing::Unknown | Standing::Ended(_)) => {}
        }
        effects.event(Event::CancelAnswered { task: task.clone(), standing: standing.clone() });
        effects.reply(ClientReply::Cancelled { task: task.clone(), standing: standing.clone() });
        if open.stage == Stage::Admitted {
            self.set(task.clone(), Open { cancel: false, resend: None, ..open });
            self.conclude(&task, &standing, effects);
        } else {
            self.forget(&task);
        }
        Ok(())
    }

    fn on_standings(&mut self, tasks: &[(Text, Standing)], effects: &mut Out) -> Result<(), Ignored> {
        if tasks.len() > self.config.knobs.poll_max as usize {
            return Err(Ignored::TooLong);
        }
        let mut asked = true;
        for (task, standing) in tasks {
            if self.admitted.contains(task) {
                self.conclude(task, standing, effects);
            } else {
                asked = false;
            }
        }
        asked.then_some(()).ok_or(Ignored::StaleAnswer)
    }

    /// Where an admitted task is. If that is final, only a cancellation that nobody has answered is still asked about.
    fn conclude(&mut self, task: &Text, standing: &Standing, effects: &mut Out) {
        match standing {
            Standing::Waiting | Standing::Running { .. } => return,
            Standing::Ended(outcome) => {
                effects.event(Event::Learned { task: task.clone(), outcome: outcome.clone() });
                effects.reply(ClientReply::Ended { task: task.clone(), outcome: outcome.clone() });
            }
            Standing::Unknown => {
                effects.event(Event::Missing { task: task.clone() });
                effects.reply(ClientReply::Missing { task: task.clone() });
            }
        }
        let open = self.open[task].clone();
        assert!(open.stage == Stage::Admitted, "{task}: only what was promised is followed");
        if open.cancel {
            self.set(task.clone(), Open { stage: Stage::Foreign, ..open });
        } else {
            self.forget(task);
        }
    }

    fn send_due(&mut self, now: Time, effects: &mut Out) {
        let to = self.config.scheduler;
        while let Some((_, task)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            let again = self.contact.ask(now);
            let open = self.open[&task].clone();
            effects.send(
                to,
                match &open.stage {
                    Stage::Submitting(spec) => Message::Submit { spec: spec.clone() },
                    Stage::Admitted | Stage::Foreign => Message::Cancel { task: task.clone() },
                },
            );
            self.set(task, Open { resend: Some(again), ..open });
        }
        if self.admitted.is_empty() {
            self.poll = None;
        }
        if self.poll.is_some_and(|poll| poll <= now) {
            let pause = self.contact.ask(now).since(now).minus(self.config.knobs.resend);
            self.poll = Some(now + self.config.poll + pause);
            let all: Vec<Text> = self.admitted.iter().cloned().collect();
            for tasks in all.chunks(self.config.knobs.poll_max as usize) {
                effects.send(to, Message::Poll { tasks: tasks.into() });
            }
        }
    }
}

impl Machine for TaskClient {
    type Message = Message;
    type Request = ClientRequest;
    type Reply = ClientReply;
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
            Input::Receive { from: _, message } => {
                self.contact.on_heard();
                self.on_message(now, message, effects)
            }
            Input::Request(request) => self.on_request(now, request, effects),
            Input::Wake => Ok(()),
        };
        if let Err(reason) = heard {
            effects.event(Event::Ignored { reason, incarnation: None });
        }
        self.send_due(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at).into_iter().chain(self.poll).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        assert!(self.open.len() <= self.config.open_max as usize, "no more than may be open");
        let mut due = 0;
        // Most of what is open is admitted, and nothing else about it is to be looked up.
        let admitted = self.open.iter().filter(|(_, open)| open.stage == Stage::Admitted).map(|(task, _)| task);
        assert!(admitted.eq(&self.admitted), "what is followed is what is admitted");
        for (task, open) in &self.open {
            let submitting = matches!(open.stage, Stage::Submitting(_));
            assert_eq!(
                open.resend.is_some(),
                submitting || open.cancel,
                "{task}: asked exactly while it isn't answered"
            );
            assert!(open.stage != Stage::Foreign || open.cancel, "{task}: another's, and nothing to ask");
            if let Some(at) = open.resend {
                assert!(self.due.contains(&(at, task.clone())), "{task}: its next question is due");
                due += 1;
            }
        }
        assert_eq!(due, self.due.len(), "each question is about an open task");
        assert_eq!(self.poll.is_some(), !self.admitted.is_empty(), "it asks while there is something to ask for");
    }
}
