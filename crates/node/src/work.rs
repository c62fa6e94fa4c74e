//! A stand-in for collective work: each step needs every member of the communicator, and is begun only while the group is
//! active. It makes "active" mean something, to the simulation and to whoever brings real work.

use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};
use squall_machine::{Address, Random, Span, Time, kinds};
use squall_recovery::{Communicator, CommunicatorId, Generation, Peer, Rank};

/// How the stand-in works.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkKnobs {
    /// The shortest that a member computes before it contributes.
    pub step_min: Span,
    /// The longest.
    pub step_max: Span,
    /// After how long an unanswered contribution is sent again.
    pub resend: Span,
}

/// What members say to each other about a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkMessage {
    /// A member has computed its part. To rank 0; sent again until answered.
    Contribute {
        /// The communicator in which it works.
        communicator: CommunicatorId,
        /// Its rank there.
        rank: Rank,
        /// The step, counted from 1 in each communicator.
        step: u64,
    },
    /// The answer: all have contributed.
    Combined {
        /// The communicator.
        communicator: CommunicatorId,
        /// The step.
        step: u64,
    },
}

kinds!(WorkMessage {
    contribute => Contribute { .. },
    combined => Combined { .. },
});

/// Why a message about a step was ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkIgnored {
    /// The receiver doesn't work.
    NotActive,
    /// Another communicator than the one in which the receiver works.
    WrongCommunicator,
    /// A contribution to somebody else than rank 0, or an answer to rank 0.
    WrongRank,
    /// Another step than the one in progress, or an answer that nobody waits for.
    WrongStep,
}

/// What the stand-in tells the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkEvent {
    /// A member begins to compute its part of a step.
    StepStarted {
        /// The generation in which it works.
        generation: Generation,
        /// The communicator.
        communicator: CommunicatorId,
        /// The step, counted from 1 in each communicator.
        step: u64,
    },
    /// A contribution counted at rank 0. The communicator is the one that the message named.
    Contributed {
        /// The communicator.
        communicator: CommunicatorId,
        /// Whose.
        rank: Rank,
        /// The step.
        step: u64,
    },
    /// A step is complete: every member has contributed.
    StepDone {
        /// The generation in which this member works.
        generation: Generation,
        /// The communicator.
        communicator: CommunicatorId,
        /// The step.
        step: u64,
    },
    /// A message about a step was ignored.
    Ignored {
        /// Why.
        reason: WorkIgnored,
    },
}

kinds!(WorkEvent {
    step_started => StepStarted { .. },
    contributed => Contributed { .. },
    step_done => StepDone { .. },
    work_ignored => Ignored { .. },
});

/// What the work wants from the node around it.
pub(crate) trait Sink {
    /// Sends a message.
    fn send(&mut self, to: Address, message: WorkMessage);
    /// Tells the history.
    fn tell(&mut self, event: WorkEvent);
}

/// The steps of one member in the communicator in which it works.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Shift {
    communicator: CommunicatorId,
    rank: Rank,
    step: u64,
    phase: Phase,
    /// Who has contributed to the step in progress. (rank = 0)
    contributed: BTreeSet<Rank>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Its part is ready then.
    Computing { until: Time },
    /// Its part is ready; it is sent again then.
    Waiting { resend_at: Time },
}

/// The work of one process.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Work {
    knobs: WorkKnobs,
    random: Random,
    shift: Option<Shift>,
}

impl Work {
    pub(crate) fn new(knobs: WorkKnobs, seed: u64) -> Self {
        assert!(knobs.step_min <= knobs.step_max, "a range of steps");
        assert!(knobs.resend > Span::ZERO, "repetitions take time");
        Self { knobs, random: Random::new(seed, "work"), shift: None }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.shift.as_ref().map(|shift| match shift.phase {
            Phase::Computing { until } => until,
            Phase::Waiting { resend_at } => resend_at,
        })
    }

    /// The peer may have become active, inactive, or active elsewhere.
    pub(crate) fn follow(&mut self, now: Time, peer: &Peer, sink: &mut impl Sink) {
        let Some((group, communicator, rank)) = peer.active() else {
            self.shift = None;
            return;
        };
        if self.shift.as_ref().is_none_or(|shift| shift.communicator != communicator) {
            let phase = Phase::Computing { until: now };
            self.shift = Some(Shift { communicator, rank, step: 0, phase, contributed: BTreeSet::new() });
            self.begin(now, group.generation, sink);
        }
        if self.deadline().is_some_and(|due| due <= now) {
            self.on_due(now, group, sink);
        }
    }

    fn begin(&mut self, now: Time, generation: Generation, sink: &mut impl Sink) {
        let until = now + self.random.span(self.knobs.step_min, self.knobs.step_max);
        let Some(shift) = &mut self.shift else { return };
        shift.step += 1;
        shift.phase = Phase::Computing { until };
        shift.contributed.clear();
        sink.tell(WorkEvent::StepStarted { generation, communicator: shift.communicator, step: shift.step });
    }

    /// Its part is ready, or was sent and not answered.
    fn on_due(&mut self, now: Time, group: &Communicator, sink: &mut impl Sink) {
        let resend_at = now + self.knobs.resend;
        let Some(shift) = &mut self.shift else { return };
        shift.phase = Phase::Waiting { resend_at };
        let (communicator, rank, step) = (shift.communicator, shift.rank, shift.step);
        if rank == Rank(0) {
            self.count(now, group, (communicator, rank), sink);
        } else if let Some(first) = group.member(Rank(0)) {
            sink.send(first.address, WorkMessage::Contribute { communicator, rank, step });
        }
    }

    /// A part arrived at rank 0, for the communicator that its message named.
    fn count(&mut self, now: Time, group: &Communicator, (named, rank): (CommunicatorId, Rank), sink: &mut impl Sink) {
        let Some(shift) = &mut self.shift else { return };
        let (communicator, step) = (shift.communicator, shift.step);
        if shift.contributed.insert(rank) {
            sink.tell(WorkEvent::Contributed { communicator: named, rank, step });
        }
        if shift.contributed.len() < group.members.len() {
            return;
        }
        for member in group.members.iter().skip(1) {
            sink.send(member.address, WorkMessage::Combined { communicator, step });
        }
        sink.tell(WorkEvent::StepDone { generation: group.generation, communicator, step });
        self.begin(now, group.generation, sink);
    }

    pub(crate) fn on_message(&mut self, now: Time, peer: &Peer, message: WorkMessage, sink: &mut impl Sink) {
        if let Err(reason) = self.take(now, peer, message, sink) {
            sink.tell(WorkEvent::Ignored { reason });
        }
    }

    fn take(&mut self, now: Time, peer: &Peer, message: WorkMessage, sink: &mut impl Sink) -> Result<(), WorkIgnored> {
        let (Some((group, here, own)), Some(shift)) = (peer.active(), &self.shift) else {
            return Err(WorkIgnored::NotActive);
        };
        assert_eq!(shift.communicator, here, "work follows the peer");
        match message {
            WorkMessage::Contribute { communicator, rank, step } => {
                if communicator != here {
                    return Err(WorkIgnored::WrongCommunicator);
                }
                let Some(member) = group.member(rank).filter(|_| own == Rank(0) && rank != own) else {
                    return Err(WorkIgnored::WrongRank);
                };
                if step < shift.step {
                    // It missed the answer.
                    sink.send(member.address, WorkMessage::Combined { communicator, step });
                    return Err(WorkIgnored::WrongStep);
                }
                if step > shift.step {
                    return Err(WorkIgnored::WrongStep);
                }
                self.count(now, group, (communicator, rank), sink);
            }
            WorkMessage::Combined { communicator, step } => {
                if communicator != here {
                    return Err(WorkIgnored::WrongCommunicator);
                }
                if own == Rank(0) {
                    return Err(WorkIgnored::WrongRank);
                }
                if step != shift.step || matches!(shift.phase, Phase::Computing { .. }) {
                    return Err(WorkIgnored::WrongStep);
                }
                sink.tell(WorkEvent::StepDone { generation: group.generation, communicator, step });
                self.begin(now, group.generation, sink);
            }
        }
        Ok(())
    }
}
