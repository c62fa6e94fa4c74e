//! One incarnation of the worker at the scheduler: its offer and its beats.

use super::drain::Drain;
use super::{Agent, AgentMessage, AgentReply, Out};
use crate::{AttemptId, Ignored, Incarnation, Message};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Span, Time};

/// The incarnation in use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Stay {
    pub(super) incarnation: Incarnation,
    /// When it offers itself, again; `None` once that is answered, or if it gives itself up.
    offer: Option<Time>,
    /// The number of the newest beat; 0 before the first.
    seq: u64,
    /// When the next one is due.
    next: Time,
}

impl Stay {
    pub(super) fn deadline(&self) -> Time {
        self.offer.map_or(self.next, |offer| offer.min(self.next))
    }

    /// It wants no more work, so it has nothing to offer.
    pub(super) fn withdraw(&mut self) {
        self.offer = None;
    }
}

impl Agent {
    pub(super) fn on_began(&mut self, now: Time, incarnation: Incarnation, effects: &mut Out) -> Result<(), Ignored> {
        if incarnation <= self.newest {
            return Err(Ignored::Stale);
        }
        if self.stay.is_some() {
            self.on_ended(effects)?;
        }
        self.newest = incarnation;
        let offer = (self.drain == Drain::No).then_some(now);
        self.stay = Some(Stay { incarnation, offer, seq: 0, next: now });
        Ok(())
    }

    /// What runs is halted: its leases are gone. What has ended is reported still; that may have reached the scheduler
    /// before the end did, and only its answer tells.
    pub(super) fn on_ended(&mut self, effects: &mut Out) -> Result<(), Ignored> {
        self.stay.take().ok_or(Ignored::UnknownWorker)?;
        self.halt_all(effects);
        if self.drain.is_under_way() {
            self.transition_to_left(effects);
        }
        Ok(())
    }

    pub(super) fn halt_all(&mut self, effects: &mut Out) {
        let alive: Vec<AttemptId> = self.running().map(|(attempt, _)| attempt).collect();
        for attempt in alive {
            self.halt(attempt, effects);
        }
    }

    pub(super) fn transition_to_left(&mut self, effects: &mut Out) {
        assert_ne!(self.drain, Drain::Left, "who leaves says so once");
        self.drain = Drain::Left;
        effects.reply(AgentReply::Left);
    }

    pub(super) fn on_offered(&mut self, incarnation: Incarnation) -> Result<(), Ignored> {
        self.own(incarnation)?;
        let offer = self.stay.as_mut().and_then(|stay| stay.offer.take());
        offer.map(|_| ()).ok_or(Ignored::StaleAnswer)
    }

    /// The scheduler hears beats of a worker that it doesn't know.
    pub(super) fn on_introduce(&mut self, now: Time, incarnation: Incarnation) -> Result<(), Ignored> {
        self.own(incarnation)?;
        if self.drain != Drain::No {
            return Err(Ignored::Over);
        }
        let Some(stay) = &mut self.stay else { return Err(Ignored::UnknownWorker) };
        if stay.offer.is_some() {
            return Err(Ignored::UnderWay);
        }
        stay.offer = Some(now);
        Ok(())
    }

    pub(super) fn send_stay(&mut self, now: Time, effects: &mut Out) {
        let running: Vec<(AttemptId, u32)> = match &self.stay {
            Some(stay) if now >= stay.next => self.running().collect(),
            Some(_) | None => Vec::new(),
        };
        let Some(stay) = &mut self.stay else { return };
        let (to, incarnation, beat) = (self.config.scheduler, stay.incarnation, self.config.knobs.beat);
        if stay.offer.is_some_and(|offer| now >= offer) {
            stay.offer = Some(self.scheduler.ask(now));
            let offer = self.config.offer.clone();
            effects.send(to, AgentMessage::Task(Message::Offer { incarnation, offer }));
        }
        if now < stay.next {
            return;
        }
        stay.seq += 1;
        stay.next = match stay.seq {
            // The phase of all but the first is drawn, so that workers that began together don't beat together.
            1 => now + self.phases.span(Span::from_nanos(1), beat),
            _ if stay.next + beat > now => stay.next + beat,
            _ => now + beat,
        };
        let (seq, vitals, running) = (stay.seq, self.vitals, Arc::from(running));
        effects.send_volatile(to, AgentMessage::Task(Message::Beat { incarnation, seq, vitals, running }));
    }
}
