//! A client's process: the task client that is shipped, and a user who submits what the workload says.
//!
//! The user is closed-loop: it submits nothing new while too much is open, comes back when the queue was full, and cancels or
//! submits again by what it was told.

use crate::node::Order;
use crate::tasks::{Script, Tasks};
use squall_machine::{Effects, Input, Machine, Random, Span, Text, Time};
use squall_scheduler::{ClientReply, ClientRequest, Event, Message, TaskClient, TaskRefusal, TaskSpec};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

/// The most errands that a user keeps in mind; it forgets what comes beyond.
const ERRANDS_MAX: usize = 100_000;
/// How often a user tries to submit a second time what is still open.
const DUPLICATE_TRIES: u32 = 64;

/// A client and its user.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Submitter {
    client: TaskClient,
    user: User,
}

/// Who submits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct User {
    tasks: Arc<Tasks>,
    /// What its tasks' ids begin with.
    name: Text,
    random: Random,
    booted: Time,
    /// How many tasks it has submitted.
    submitted: u64,
    /// When it submits the next one.
    next: Option<Time>,
    /// Submissions that nobody has answered.
    asked: BTreeMap<Text, Arc<TaskSpec>>,
    /// What it means to do later, in the order of times; the second number tells errands of one moment apart.
    errands: BTreeMap<(Time, u64), Errand>,
    /// How many errands there ever were.
    errand: u64,
    /// Whether it begins nothing new.
    quiet: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Errand {
    Cancel(Text),
    /// The queue was full.
    Retry(Arc<TaskSpec>),
    /// The same once more.
    Duplicate {
        spec: Arc<TaskSpec>,
        tries: u32,
    },
}

impl Submitter {
    /// The user of the `life`-th process of the client called `name`.
    pub(crate) fn new(client: TaskClient, tasks: Arc<Tasks>, name: &str, life: u32, seed: u64) -> Self {
        let user = User {
            tasks,
            name: if life == 1 { name.into() } else { format!("{name}.{life}").into() },
            random: Random::new(seed, "tasks"),
            booted: Time::ZERO,
            submitted: 0,
            next: None,
            asked: BTreeMap::new(),
            errands: BTreeMap::new(),
            errand: 0,
            quiet: false,
        };
        Self { client, user }
    }

    /// The task client.
    #[must_use]
    pub fn client(&self) -> &TaskClient {
        &self.client
    }

    fn client_step(&mut self, now: Time, input: Input<TaskClient>, effects: &mut Effects<Self>) {
        let mut inner = Effects::new();
        inner.set_wall(effects.wall());
        self.client.step(now, input, &mut inner);
        effects.take_over(&mut inner, |reply, _| self.user.on_reply(now, reply));
    }

    /// Lets the user do what is due. Everything it does leads to a pause, so this comes to an end.
    fn user_step(&mut self, now: Time, effects: &mut Effects<Self>) {
        let mut requests = Vec::new();
        self.user.submit_due(now, &self.client, &mut requests);
        self.user.errands_due(now, &self.client, &mut requests);
        for request in requests {
            self.client_step(now, Input::Request(request), effects);
        }
    }
}

impl User {
    fn on_boot(&mut self, now: Time) {
        self.booted = now;
        self.next = Some(now + self.tasks.from.0);
    }

    /// From now on it begins nothing new, and follows what it has begun.
    fn on_quiet(&mut self) {
        self.quiet = true;
        self.next = None;
        self.errands.retain(|_, errand| matches!(errand, Errand::Cancel(_)));
    }

    fn on_reply(&mut self, now: Time, reply: ClientReply) {
        match reply {
            ClientReply::Declined { task, refusal: TaskRefusal::QueueFull } => {
                let Some(spec) = self.asked.remove(&task) else { return };
                if !self.quiet {
                    let pause = self.random.span(self.tasks.retry.low, self.tasks.retry.high);
                    self.plan(now + pause.max(MOMENT), Errand::Retry(spec));
                }
            }
            ClientReply::Admitted { task } | ClientReply::Declined { task, .. } | ClientReply::Refused { task, .. } => {
                self.asked.remove(&task);
            }
            ClientReply::Cancelled { .. } | ClientReply::Ended { .. } | ClientReply::Missing { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.errands.first_key_value().map(|((at, _), _)| *at).into_iter().chain(self.next).min()
    }

    fn plan(&mut self, at: Time, errand: Errand) {
        if self.errands.len() < ERRANDS_MAX {
            self.errand += 1;
            self.errands.insert((at, self.errand), errand);
        }
    }

    fn submit_due(&mut self, now: Time, client: &TaskClient, requests: &mut Vec<ClientRequest>) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        let after = now.since(self.booted);
        let last = self.tasks.until.is_some_and(|until| after >= until.0);
        if last || self.tasks.count.is_some_and(|count| self.submitted >= count) {
            self.next = None;
            return;
        }
        let factor = self.tasks.overload_at(after).map_or(1, |overload| u64::from(overload.factor));
        let pause = match self.tasks.rate {
            Some(mean) => self.random.exponential(mean.0),
            None => self.random.span(self.tasks.every.low, self.tasks.every.high),
        };
        self.next = Some(now + (pause / factor).max(MOMENT));
        if client.open() < self.tasks.open_max as usize {
            self.submit(now, requests);
        }
    }

    fn submit(&mut self, now: Time, requests: &mut Vec<ClientRequest>) {
        self.submitted += 1;
        let spec = Arc::new(self.draw(now));
        let (cancels, duplicates) = (self.tasks.cancel.ratio(), self.tasks.duplicate.ratio());
        if self.random.chance(cancels) {
            let pause = self.random.span(self.tasks.cancel_after.low, self.tasks.cancel_after.high);
            self.plan(now + pause.max(MOMENT), Errand::Cancel(spec.id.clone()));
        }
        if self.random.chance(duplicates) {
            let pause = self.random.span(self.tasks.duplicate_after.low, self.tasks.duplicate_after.high);
            self.plan(now + pause.max(MOMENT), Errand::Duplicate { spec: spec.clone(), tries: 0 });
        }
        self.ask(spec, requests);
    }

    fn ask(&mut self, spec: Arc<TaskSpec>, requests: &mut Vec<ClientRequest>) {
        self.asked.insert(spec.id.clone(), spec.clone());
        requests.push(ClientRequest::Submit(spec));
    }

    /// The next task.
    fn draw(&mut self, now: Time) -> TaskSpec {
        let tasks = self.tasks.clone();
        let kind = tasks.pick(&mut self.random);
        let mix = &tasks.mix[kind];
        let overload = tasks.overload_at(now.since(self.booted));
        let poison = self.random.chance(mix.poison.ratio()) || mix.poison_tasks.contains(&self.submitted);
        let script = Script {
            seed: self.random.next(),
            kind: kind as u16,
            duration: self.random.span(mix.duration.low, mix.duration.high),
            fails: overload.and_then(|overload| overload.fails).unwrap_or(mix.fails).ratio(),
            poison,
            hangs: mix.hanging_tasks.contains(&self.submitted),
        };
        let deadline = mix.deadline.map(|range| self.random.span(range.low, range.high));
        TaskSpec {
            id: format!("{}-{}", self.name, self.submitted).into(),
            kind: mix.task_type(),
            class: mix.class.as_str().into(),
            resources: mix.resources(),
            capabilities: mix.capabilities.iter().map(|name| name.as_str().into()).collect(),
            priority: mix.priority,
            payload: script.encode(),
            max_retries: mix.max_retries,
            deadline,
            run_limit: mix.run_limit.map(|limit| limit.0),
            checkpoint_interval: mix.checkpoint_interval.map(|interval| interval.0),
            batch_size: mix.batch_size,
            precision: mix.precision(),
            degradable: mix.degradable(),
            slack_millis: mix.slack_millis,
        }
    }

    fn errands_due(&mut self, now: Time, client: &TaskClient, requests: &mut Vec<ClientRequest>) {
        while let Some(entry) = self.errands.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Errand::Cancel(task) => requests.push(ClientRequest::Cancel(task)),
                Errand::Retry(spec) => self.ask(spec, requests),
                Errand::Duplicate { spec, tries } => {
                    let open = self.asked.contains_key(&spec.id) || client.admitted().any(|task| *task == spec.id);
                    if !open {
                        self.ask(spec, requests);
                    } else if tries < DUPLICATE_TRIES {
                        let pause = self.random.span(self.tasks.duplicate_after.low, self.tasks.duplicate_after.high);
                        self.plan(now + pause.max(MOMENT), Errand::Duplicate { spec, tries: tries + 1 });
                    }
                }
            }
        }
    }
}

/// The shortest pause: who never pauses would submit for ever within one moment.
const MOMENT: Span = Span::from_millis(1);

impl Machine for Submitter {
    type Message = Message;
    type Request = Order;
    type Reply = Infallible;
    type Record = Infallible;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(_) => {
                self.client_step(now, Input::Boot(squall_machine::Durable::empty()), effects);
                self.user.on_boot(now);
            }
            Input::Receive { from, message } => self.client_step(now, Input::Receive { from, message }, effects),
            Input::Request(Order::Quiet) => self.user.on_quiet(),
            Input::Request(
                Order::Leave
                | Order::Train
                | Order::Rest
                | Order::Recover
                | Order::Sicken
                | Order::Migrate
                | Order::ResetBreakers,
            ) => unreachable!("the system asks no client for this"),
            Input::Wake => self.client_step(now, Input::Wake, effects),
        }
        self.user_step(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        self.client.deadline().into_iter().chain(self.user.deadline()).min()
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        self.client.assert_invariants();
        assert!(self.user.errands.len() <= ERRANDS_MAX, "no more than a user keeps in mind");
    }
}
