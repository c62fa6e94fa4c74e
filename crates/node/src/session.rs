//! A member's stay with the coordinator: registration, heartbeats, leaving.

#[cfg(test)]
mod tests;

use crate::MemberNode;
use crate::contact::Contact;
use crate::member::MemberConfig;
use alloc::sync::Arc;
use squall_coordinator::{BootId, Event, Ignored, Incarnation, Message, Role};
use squall_machine::{Effects, Random, Span, Time};

/// Registers until it is granted an incarnation, then beats until the incarnation ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MemberSession {
    config: Arc<MemberConfig>,
    phases: Random,
    boot: Option<BootId>,
    phase: Phase,
    /// The newest incarnation that this process was granted. An older one never counts again.
    newest: Option<Incarnation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    /// The process has not booted.
    Off,
    /// It asks for an incarnation, the next time at `resend`.
    Registering { resend: Time },
    /// It has one and beats.
    Member(Beats),
    /// It has said that it leaves, and says so again at `resend`; it beats until that is answered.
    Leaving { beats: Beats, resend: Time },
    /// It says nothing any more.
    Stopped { incarnation: Option<Incarnation>, superseded: bool },
}

/// The heartbeats of an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Beats {
    pub(crate) incarnation: Incarnation,
    /// The number of the newest heartbeat; 0 before the first.
    pub(crate) seq: u64,
    /// When the next one is due.
    pub(crate) next: Time,
}

impl MemberSession {
    pub(crate) fn new(config: Arc<MemberConfig>) -> Self {
        let phases = Random::new(config.seed, "heartbeat phase");
        Self { config, phases, boot: None, phase: Phase::Off, newest: None }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The incarnation in use.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.beats().map(|beats| beats.incarnation)
    }

    pub(crate) fn beats(&self) -> Option<Beats> {
        match self.phase {
            Phase::Member(beats) | Phase::Leaving { beats, .. } => Some(beats),
            Phase::Off | Phase::Registering { .. } | Phase::Stopped { .. } => None,
        }
    }

    pub(crate) fn on_boot(&mut self, now: Time) {
        assert!(self.phase == Phase::Off, "a process boots once");
        self.boot = Some(BootId(Random::new(self.config.seed, "boot id").next()));
        self.phase = Phase::Registering { resend: now };
    }

    /// Whether a grant is the one that this process waits for; if so it is used from now on.
    pub(crate) fn on_granted(
        &mut self,
        now: Time,
        boot: BootId,
        incarnation: Incarnation,
        effects: &mut Effects<MemberNode>,
    ) -> Result<(), Ignored> {
        if self.boot != Some(boot) || !matches!(self.phase, Phase::Registering { .. }) {
            return Err(Ignored::StaleAnswer);
        }
        if self.newest.is_some_and(|newest| incarnation <= newest) {
            return Err(Ignored::StaleAnswer);
        }
        self.newest = Some(incarnation);
        self.phase = Phase::Member(Beats { incarnation, seq: 0, next: now });
        effects.event(Event::Joined { member: self.config.id.clone(), incarnation, boot });
        Ok(())
    }

    /// The incarnation has ended, says the coordinator: who is alive comes back as a new one, who was leaving is done.
    /// Returns whether the process goes on.
    pub(crate) fn on_ended(&mut self, now: Time, contact: &mut Contact, effects: &mut Effects<MemberNode>) -> bool {
        match self.phase {
            Phase::Member(_) => {
                self.phase = Phase::Registering { resend: contact.return_at(now) };
                true
            }
            Phase::Leaving { .. } => {
                self.transition_to_stopped(false, effects);
                false
            }
            Phase::Off | Phase::Registering { .. } | Phase::Stopped { .. } => {
                panic!("only an incarnation in use can end")
            }
        }
    }

    /// The process is to leave: tells the coordinator, or stops at once if there is nothing to leave.
    pub(crate) fn leave(&mut self, now: Time, effects: &mut Effects<MemberNode>) {
        match self.phase {
            Phase::Member(beats) => self.phase = Phase::Leaving { beats, resend: now },
            Phase::Off | Phase::Registering { .. } => self.transition_to_stopped(false, effects),
            Phase::Leaving { .. } | Phase::Stopped { .. } => {}
        }
    }

    pub(crate) fn transition_to_stopped(&mut self, superseded: bool, effects: &mut Effects<MemberNode>) {
        assert!(!matches!(self.phase, Phase::Stopped { .. }), "a process stops once");
        let incarnation = self.incarnation();
        self.phase = Phase::Stopped { incarnation, superseded };
        effects.event(Event::Stopped { member: self.config.id.clone(), incarnation, superseded });
    }

    /// Sends what is due; returns the number of the heartbeat, if one left.
    pub(crate) fn send_due(
        &mut self,
        now: Time,
        contact: &mut Contact,
        effects: &mut Effects<MemberNode>,
    ) -> Option<u64> {
        let to = self.config.coordinator;
        match &mut self.phase {
            Phase::Registering { resend } if now >= *resend => {
                contact.on_sent(now);
                *resend = contact.next_resend(now);
                effects.send(to, self.register());
            }
            Phase::Leaving { beats, resend } if now >= *resend => {
                contact.on_sent(now);
                *resend = contact.next_resend(now);
                effects.send(to, Message::Leave { incarnation: beats.incarnation });
            }
            Phase::Off
            | Phase::Registering { .. }
            | Phase::Member(_)
            | Phase::Leaving { .. }
            | Phase::Stopped { .. } => {}
        }
        let interval = self.interval();
        let (Phase::Member(beats) | Phase::Leaving { beats, .. }) = &mut self.phase else { return None };
        if now < beats.next {
            return None;
        }
        beats.seq += 1;
        beats.next = match beats.seq {
            // The first one claims the grant at once; the phase of all others is drawn, so that members that were granted
            // together don't beat together.
            1 => now + self.phases.span(Span::from_nanos(1), interval),
            _ if beats.next + interval > now => beats.next + interval,
            _ => now + interval,
        };
        let (incarnation, seq) = (beats.incarnation, beats.seq);
        contact.on_sent(now);
        effects.send_volatile(to, Message::Heartbeat { incarnation, seq, wall: effects.wall() });
        Some(seq)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Off | Phase::Stopped { .. } => None,
            Phase::Registering { resend } => Some(resend),
            Phase::Member(beats) => Some(beats.next),
            Phase::Leaving { beats, resend } => Some(beats.next.min(resend)),
        }
    }

    pub(crate) fn assert_invariants(&self) {
        assert_eq!(self.boot.is_none(), self.phase == Phase::Off, "a process draws its boot id when it starts");
        if let Some(incarnation) = self.incarnation() {
            assert_eq!(self.newest, Some(incarnation), "only the newest incarnation is in use");
        }
    }

    fn interval(&self) -> Span {
        match self.config.role {
            Role::Replica => self.config.knobs.replica_heartbeat,
            Role::Worker => self.config.knobs.worker_heartbeat,
        }
    }

    fn register(&self) -> Message {
        let MemberConfig { id, role, address, capacity, .. } = &*self.config;
        Message::Register {
            id: id.clone(),
            boot: self.boot.unwrap_or_default(),
            role: *role,
            address: address.clone(),
            capacity: *capacity,
        }
    }
}
