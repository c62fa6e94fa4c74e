//! An agent, a real store and a scripted scheduler, with a network between them that loses, repeats and reorders.

use super::*;
use crate::{Store, StoreEvent, StoreKnobs};
use alloc::collections::BTreeMap;
use alloc::format;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// The scheduler assigns a task, or an open assignment again.
    Assign {
        slot: usize,
    },
    /// The scheduler fences what holds a task, and says so.
    Fence {
        slot: usize,
    },
    /// The runtime ends an attempt.
    Finish {
        pick: usize,
        succeeds: bool,
    },
    /// The runtime saves.
    Save {
        pick: usize,
    },
    /// The network delivers, loses or copies a message.
    Deliver {
        pick: usize,
    },
    Lose {
        pick: usize,
    },
    Copy {
        pick: usize,
    },
    /// Time passes.
    Pass {
        millis: u64,
    },
    /// The worker is declared failed, and doesn't know.
    Declare,
    /// The worker gets a new incarnation.
    Renew,
    /// The worker is to leave.
    Leave,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (slot, pick) = (0..3_usize, 0..16_usize);
    let op = prop_oneof![
        6 => slot.clone().prop_map(|slot| Op::Assign { slot }),
        2 => slot.prop_map(|slot| Op::Fence { slot }),
        3 => (pick.clone(), any::<bool>()).prop_map(|(pick, succeeds)| Op::Finish { pick, succeeds }),
        4 => pick.clone().prop_map(|pick| Op::Save { pick }),
        24 => pick.clone().prop_map(|pick| Op::Deliver { pick }),
        4 => pick.clone().prop_map(|pick| Op::Lose { pick }),
        4 => pick.prop_map(|pick| Op::Copy { pick }),
        6 => (1..3_000_u64).prop_map(|millis| Op::Pass { millis }),
        1 => Just(Op::Declare),
        1 => Just(Op::Renew),
        1 => Just(Op::Leave),
    ];
    proptest::collection::vec(op, 0..150)
}

#[derive(Clone, PartialEq, Debug)]
enum Fate {
    Open { started: bool },
    Accepted,
    Fenced,
}

/// An attempt, as the scripted scheduler knows it.
#[derive(Clone, Debug)]
struct Attempt {
    slot: usize,
    incarnation: Incarnation,
    work: Arc<Work>,
    fate: Fate,
}

impl Attempt {
    fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Open { .. })
    }
}

/// A message on its way, by who gets it.
#[derive(Clone, Debug)]
enum Flight {
    Agent(AgentMessage),
    Scheduler(Message),
    Store(StoreMessage),
}

struct Play {
    bench: Bench,
    store: Store,
    /// What was ever complete in the store.
    stored: Vec<(Text, Checkpoint)>,
    flights: Vec<Flight>,
    /// The incarnation that the scheduler takes for alive, and whether it offered itself and drains.
    alive: Option<Incarnation>,
    offered: bool,
    draining: bool,
    attempts: BTreeMap<u64, Attempt>,
    /// How many tasks of each slot have succeeded, and the newest checkpoint of the one after them.
    slots: [(u32, Option<Checkpoint>); 3],
    ran: BTreeSet<u64>,
    halted: BTreeSet<u64>,
    reported: BTreeMap<u64, Report>,
    answered: BTreeSet<u64>,
}

impl Play {
    fn new() -> Self {
        let mut store = Store::new(Arc::new(StoreKnobs::default()));
        store.step(Time::ZERO, Input::Boot(Durable::empty()), &mut Effects::new());
        let mut play = Self {
            bench: Bench::with(config(Knobs { checkpoints_kept: 2, ..Knobs::default() })),
            store,
            stored: Vec::new(),
            flights: Vec::new(),
            alive: None,
            offered: false,
            draining: false,
            attempts: BTreeMap::new(),
            slots: [(0, None); 3],
            ran: BTreeSet::new(),
            halted: BTreeSet::new(),
            reported: BTreeMap::new(),
            answered: BTreeSet::new(),
        };
        play.renew(OWN);
        play
    }

    fn renew(&mut self, incarnation: Incarnation) {
        self.declare();
        let given = self.bench.request(AgentRequest::Began { incarnation });
        self.note(given);
        (self.alive, self.offered, self.draining) = (Some(incarnation), false, false);
    }

    fn declare(&mut self) {
        self.alive = None;
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.is_open()) {
            attempt.fate = Fate::Fenced;
        }
    }

    fn tell_agent(&mut self, message: Message) {
        self.flights.push(Flight::Agent(AgentMessage::Task(message)));
    }

    /// Judges what the agent did, and takes over what it said.
    fn note(&mut self, given: Given) {
        for event in &given.events {
            match event {
                Event::Running { incarnation, attempt, .. } => {
                    assert_eq!(*incarnation, self.attempts[&attempt.0].incarnation, "whose attempt it is");
                    assert_eq!(self.bench.agent.incarnation(), Some(*incarnation), "who it is");
                    assert!(self.ran.insert(attempt.0), "{attempt} begins once");
                    assert!(!self.halted.contains(&attempt.0), "{attempt} was stopped");
                }
                Event::Restored { attempt, checkpoint, .. } => {
                    assert_eq!(Some(*checkpoint), self.attempts[&attempt.0].work.restore, "what it was told");
                }
                Event::Reported { attempt, report, .. } => {
                    let before = self.reported.insert(attempt.0, report.clone());
                    assert!(before.is_none() && !self.halted.contains(&attempt.0), "{attempt} ends once");
                }
                Event::Halted { attempt, .. } => {
                    assert!(!self.reported.contains_key(&attempt.0), "{attempt} ends once");
                    assert!(self.halted.insert(attempt.0), "{attempt} ends once");
                }
                Event::Answered { attempt, .. } => {
                    assert!(self.reported.contains_key(&attempt.0), "an answer to nothing");
                    assert!(self.answered.insert(attempt.0), "{attempt} is answered once");
                }
                Event::Ignored { .. } | Event::SaveBegun { .. } | Event::SaveEnded { .. } => {}
                other => panic!("not an agent's: {other:?}"),
            }
        }
        let runs = given.orders().iter().filter(|order| matches!(order, RuntimeOrder::Run { .. })).count();
        let running = given.events.iter().filter(|event| matches!(event, Event::Running { .. })).count();
        assert_eq!(runs, running, "what runs is told the runtime");
        for message in given.messages {
            self.flights.push(match message {
                AgentMessage::Task(message) => {
                    if let Message::Report { attempt, report, .. } = &message {
                        assert_eq!(self.reported.get(&attempt.0), Some(report), "the same report each time");
                    }
                    if let Message::Saved { task, checkpoint, .. } = &message {
                        let stored = self.stored.contains(&(task.clone(), **checkpoint));
                        assert!(stored, "announced before it is complete");
                    }
                    Flight::Scheduler(message)
                }
                AgentMessage::Store(message) => Flight::Store(message),
            });
        }
    }

    fn deliver(&mut self, flight: Flight) {
        match flight {
            Flight::Agent(message) => {
                let given = self.bench.step(Input::Receive { from: SCHEDULER, message });
                self.note(given);
            }
            Flight::Scheduler(message) => self.on_message(message),
            Flight::Store(message) => {
                let mut effects = Effects::new();
                self.store.step(Time::ZERO, Input::Receive { from: Address(0), message }, &mut effects);
                self.store.assert_invariants();
                let (mut outbox, mut answers) = (Outbox::<Store>::new(), Vec::new());
                let stored = &mut self.stored;
                let mut answer = |released| match released {
                    Released::Message { message, .. } => answers.push(Flight::Agent(AgentMessage::Store(message))),
                    Released::Event { event: StoreEvent::Stored { task, checkpoint }, .. } => {
                        stored.push((task, checkpoint));
                    }
                    Released::Reply(_) | Released::Event { .. } => {}
                };
                if let Some(batch) = outbox.drain(Time::ZERO, &mut effects, &mut answer) {
                    outbox.confirm(batch.pledge.synced(), answer);
                }
                self.flights.extend(answers);
            }
        }
    }

    /// The attempt, if it holds its task.
    fn open(&mut self, attempt: AttemptId, incarnation: Incarnation) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&attempt.0).expect("only what was assigned is spoken of");
        assert_eq!(attempt.incarnation, incarnation, "under whom it was assigned");
        attempt.is_open().then_some(attempt)
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Offer { incarnation, .. } if self.alive == Some(incarnation) => {
                self.offered = true;
                self.tell_agent(Message::Offered { incarnation });
            }
            Message::Beat { incarnation, .. } if self.alive == Some(incarnation) && !self.offered => {
                self.tell_agent(Message::Introduce { incarnation });
            }
            Message::Beat { incarnation, running, .. } if self.alive == Some(incarnation) => {
                for (attempt, _) in running.iter() {
                    if self.open(*attempt, incarnation).is_none() {
                        self.tell_agent(Message::Stop { incarnation, attempt: *attempt });
                    }
                }
            }
            Message::Offer { .. } | Message::Beat { .. } => {}
            Message::Started { incarnation, attempt, .. } => match self.open(attempt, incarnation) {
                Some(open) => open.fate = Fate::Open { started: true },
                None => self.tell_agent(Message::Stop { incarnation, attempt }),
            },
            Message::Report { incarnation, attempt, report, .. } => {
                let accepted = self.attempts[&attempt.0].fate == Fate::Accepted;
                let reception = match self.open(attempt, incarnation) {
                    Some(open) => {
                        open.fate = Fate::Accepted;
                        let slot = open.slot;
                        if let Report::Succeeded { .. } = report {
                            self.slots[slot] = (self.slots[slot].0 + 1, None);
                        }
                        Reception::Accepted
                    }
                    None if accepted => Reception::AlreadyAccepted,
                    None => FENCED,
                };
                self.tell_agent(Message::Received { attempt, reception });
            }
            Message::Saved { incarnation, checkpoint, .. } => {
                let checkpoint = *checkpoint;
                let Checkpoint { attempt, seq, .. } = checkpoint;
                let reception = match self.open(attempt, incarnation).map(|open| open.slot) {
                    Some(slot) => match self.slots[slot].1 {
                        Some(newest) if newest == checkpoint => Reception::AlreadyAccepted,
                        Some(newest) if newest.seq >= seq => Reception::Rejected(Ignored::Stale),
                        Some(_) | None => {
                            self.slots[slot].1 = Some(checkpoint);
                            Reception::Accepted
                        }
                    },
                    None => FENCED,
                };
                self.tell_agent(Message::Kept { attempt, seq, reception });
            }
            Message::Drain { incarnation } => {
                self.draining |= self.alive == Some(incarnation);
                if !self.attempts.values().any(|held| held.incarnation == incarnation && held.is_open()) {
                    self.tell_agent(Message::Drained { incarnation });
                }
            }
            other => panic!("not for a scheduler: {other:?}"),
        }
    }

    fn assign(&mut self, slot: usize) {
        let Some(incarnation) = self.alive.filter(|_| self.offered) else { return };
        let open = self.attempts.iter().find(|(_, known)| known.slot == slot && known.is_open());
        let (attempt, work) = match open {
            Some((attempt, known)) => (*attempt, known.work.clone()),
            None if self.draining => return,
            None => {
                let attempt = self.attempts.len() as u64 + 1;
                let (life, restore) = self.slots[slot];
                let work = Arc::new(Work { task: format!("s{slot}.{life}").into(), ..work(restore) });
                let fate = Fate::Open { started: false };
                self.attempts.insert(attempt, Attempt { slot, incarnation, work: work.clone(), fate });
                (attempt, work)
            }
        };
        self.tell_agent(Message::Assign { incarnation, attempt: AttemptId(attempt), work });
    }

    /// Some attempt that the runtime works on.
    fn pick(&self, pick: usize) -> Option<AttemptId> {
        let on =
            self.ran.iter().filter(|attempt| !self.halted.contains(attempt) && !self.reported.contains_key(attempt));
        let on: Vec<u64> = on.copied().collect();
        (!on.is_empty()).then(|| AttemptId(on[pick % on.len()]))
    }

    fn call(&mut self, call: RuntimeCall) {
        let given = self.bench.call(call);
        self.note(given);
    }

    fn play(&mut self, op: Op) {
        let flight = |play: &Self, pick: usize| (!play.flights.is_empty()).then(|| pick % play.flights.len());
        match op {
            Op::Assign { slot } => self.assign(slot),
            Op::Fence { slot } => {
                let mut fenced = Vec::new();
                for (attempt, known) in
                    self.attempts.iter_mut().filter(|(_, known)| known.slot == slot && known.is_open())
                {
                    known.fate = Fate::Fenced;
                    fenced.push((AttemptId(*attempt), known.incarnation));
                }
                for (attempt, incarnation) in fenced {
                    self.tell_agent(Message::Stop { incarnation, attempt });
                }
            }
            Op::Finish { pick, succeeds } => {
                let Some(attempt) = self.pick(pick) else { return };
                self.call(match succeeds {
                    true => RuntimeCall::Done { attempt, result: [1].into() },
                    false => RuntimeCall::Failed { attempt, kind: None, text: "no".into() },
                });
            }
            Op::Save { pick } => {
                let Some(attempt) = self.pick(pick) else { return };
                self.call(RuntimeCall::Save { attempt, progress_micros: 5, bytes: 10, digest: 3 });
            }
            Op::Deliver { pick } => {
                if let Some(index) = flight(self, pick) {
                    let flight = self.flights.remove(index);
                    self.deliver(flight);
                }
            }
            Op::Lose { pick } => {
                if let Some(index) = flight(self, pick) {
                    self.flights.remove(index);
                }
            }
            Op::Copy { pick } => {
                if let Some(index) = flight(self, pick) {
                    self.flights.push(self.flights[index].clone());
                }
            }
            Op::Pass { millis } => {
                let given = self.bench.pass(millis);
                self.note(given);
            }
            Op::Declare => self.declare(),
            Op::Renew if self.bench.agent.has_left() => {}
            Op::Renew => self.renew(self.bench.agent.newest.next()),
            Op::Leave => {
                let given = self.bench.request(AgentRequest::Leave);
                self.note(given);
            }
        }
    }

    /// Everything arrives from now on, and the runtime brings everything to its end.
    fn settle(&mut self) {
        for _ in 0..40 {
            for flight in core::mem::take(&mut self.flights) {
                self.deliver(flight);
            }
            while let Some(attempt) = self.pick(0) {
                self.call(RuntimeCall::Done { attempt, result: [1].into() });
            }
            for slot in 0..3 {
                if self.is_open(slot) {
                    self.assign(slot);
                }
            }
            let given = self.bench.pass(700);
            self.note(given);
        }
    }

    fn is_open(&self, slot: usize) -> bool {
        self.attempts.values().any(|attempt| attempt.slot == slot && attempt.is_open())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every attempt that the worker began ends once, by one report that is answered or by a halt; and whatever is assigned
    /// to who is alive ends.
    #[test]
    fn each_attempt_is_reported_once_and_answered(ops in ops()) {
        let mut play = Play::new();
        for op in ops {
            play.play(op);
        }
        let left = play.bench.agent.drain != Drain::No;
        play.settle();
        prop_assert!((0..3).all(|slot| !play.is_open(slot)), "an assignment without an end");
        prop_assert_eq!(play.bench.agent.running().count(), 0);
        prop_assert_eq!(play.bench.agent.unanswered().count(), 0);
        prop_assert_eq!(&play.answered, &play.reported.keys().copied().collect());
        for (id, attempt) in &play.attempts {
            let ended = play.reported.contains_key(id) || play.halted.contains(id);
            prop_assert!(ended || !play.ran.contains(id), "attempt {} runs for ever", id);
            prop_assert!(play.reported.contains_key(id) || attempt.fate != Fate::Accepted, "attempt {} was never over", id);
        }
        prop_assert!(!left || play.alive.is_none() || play.bench.agent.has_left());
    }
}
