//! One attempt at its worker, from its assignment until its report is answered.

use super::drain::Drain;
use super::past::Fate;
use super::save::Saving;
use super::{Agent, AgentMessage, AgentReply, Out, RuntimeOrder};
use crate::{
    AttemptId, Checkpoint, CheckpointSeq, Event, FailureKind, Ignored, Incarnation, Message, Reception, Report,
    StoreMessage, Work,
};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Text, Time};

/// How often a checkpoint is asked for. A store that stays silent for so long is out of reach, and the task may be better off
/// elsewhere.
pub(super) const FETCHES_MAX: u32 = 8;

/// An attempt, and how far it has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Duty {
    /// Whose it is.
    pub(super) incarnation: Incarnation,
    pub(super) work: Arc<Work>,
    pub(super) progress_micros: u32,
    pub(super) stage: Stage,
    /// The number of the next checkpoint.
    pub(super) next_seq: CheckpointSeq,
    /// The save in progress. (stage = running)
    pub(super) saving: Option<Saving>,
    /// Its newest checkpoints that count, oldest first; so many as are kept of a task.
    pub(super) kept: VecDeque<CheckpointSeq>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stage {
    /// It waits for what it goes on from. `fetches` questions have left; the next one does at `resend`.
    Restoring { checkpoint: Checkpoint, fetches: u32, resend: Time },
    /// The runtime works on it.
    Running,
    /// It is over, says this report, which leaves again at `resend`.
    Over { report: Report, resend: Time },
}

impl Duty {
    /// Whether it isn't over.
    pub(super) fn is_alive(&self) -> bool {
        match self.stage {
            Stage::Restoring { .. } | Stage::Running => true,
            Stage::Over { .. } => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.stage {
            Stage::Restoring { resend, .. } | Stage::Over { resend, .. } => Some(*resend),
            Stage::Running => self.saving.as_ref().map(|saving| saving.resend),
        }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.progress_micros <= 1_000_000, "no more than all of it");
        assert!(self.saving.is_none() || self.stage == Stage::Running, "only what runs saves");
        if let Some(saving) = &self.saving {
            assert!(saving.checkpoint.seq < self.next_seq, "numbers of checkpoints grow");
        }
    }
}

impl Agent {
    pub(super) fn on_assign(
        &mut self,
        now: Time,
        incarnation: Incarnation,
        attempt: AttemptId,
        work: Arc<Work>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.own(incarnation)?;
        self.past.admits(attempt)?;
        if let Some(duty) = self.duties.get_mut(&attempt) {
            match &mut duty.stage {
                Stage::Restoring { .. } => return Err(Ignored::UnderWay),
                Stage::Running => self.say_started(attempt, effects),
                Stage::Over { resend, .. } => *resend = now,
            }
            return Err(Ignored::Repeated);
        }
        if self.duties.len() >= self.config.knobs.leases_max as usize {
            // It is assigned again until it is answered, so it begins once there is room.
            return Err(Ignored::LimitReached);
        }
        let restore = work.restore;
        let duty = Duty {
            incarnation,
            progress_micros: 0,
            stage: Stage::Running,
            next_seq: work.next_seq,
            saving: None,
            kept: VecDeque::new(),
            work,
        };
        self.duties.insert(attempt, duty);
        if self.drain != Drain::No {
            self.conclude(now, attempt, Report::Returned, effects);
            return Ok(());
        }
        match (restore, self.config.store) {
            (None, _) => self.run(attempt, None, effects),
            (Some(_), None) => self.fail(now, attempt, FailureKind::Network, "no checkpoint store", effects),
            (Some(checkpoint), Some(_)) => {
                self.duty(attempt).stage = Stage::Restoring { checkpoint, fetches: 0, resend: now };
            }
        }
        Ok(())
    }

    /// The attempt begins in earnest.
    fn run(&mut self, attempt: AttemptId, restored: Option<Checkpoint>, effects: &mut Out) {
        let from_micros = restored.map_or(0, |checkpoint| checkpoint.progress_micros);
        let duty = self.duty(attempt);
        duty.stage = Stage::Running;
        duty.progress_micros = from_micros;
        let (incarnation, work) = (duty.incarnation, duty.work.clone());
        let task = work.task.clone();
        if let Some(checkpoint) = restored {
            effects.event(Event::Restored { task: task.clone(), attempt, checkpoint });
        }
        effects.event(Event::Running { incarnation, task, attempt });
        effects.reply(AgentReply::Runtime(RuntimeOrder::Run { attempt, work, from_micros }));
        self.say_started(attempt, effects);
    }

    fn say_started(&self, attempt: AttemptId, effects: &mut Out) {
        let Duty { incarnation, work, .. } = &self.duties[&attempt];
        let (incarnation, task) = (*incarnation, work.task.clone());
        self.tell(Message::Started { incarnation, task, attempt }, effects);
    }

    /// What the store holds of the checkpoint that an attempt goes on from.
    pub(super) fn on_fetched(
        &mut self,
        now: Time,
        task: &str,
        attempt: AttemptId,
        found: Option<Checkpoint>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let duty = self.duties.get(&attempt).filter(|duty| *duty.work.task == *task).ok_or(Ignored::StaleAnswer)?;
        let Stage::Restoring { checkpoint, .. } = duty.stage else { return Err(Ignored::StaleAnswer) };
        match found {
            Some(found) if found == checkpoint => self.run(attempt, Some(checkpoint), effects),
            Some(_) => self.fail(now, attempt, FailureKind::Unknown, "another checkpoint than the one named", effects),
            None => self.fail(now, attempt, FailureKind::Unknown, "the checkpoint isn't in the store", effects),
        }
        Ok(())
    }

    /// The attempt, if the runtime may speak of it.
    pub(super) fn runs(&mut self, attempt: AttemptId) -> Result<&mut Duty, Ignored> {
        let duty = self.duties.get_mut(&attempt).ok_or(Ignored::UnknownAttempt)?;
        match duty.stage {
            Stage::Running => Ok(duty),
            Stage::Restoring { .. } => Err(Ignored::Malformed),
            Stage::Over { .. } => Err(Ignored::Over),
        }
    }

    pub(super) fn duty(&mut self, attempt: AttemptId) -> &mut Duty {
        self.duties.get_mut(&attempt).expect("an attempt that is known")
    }

    pub(super) fn on_progress(&mut self, attempt: AttemptId, micros: u32) -> Result<(), Ignored> {
        let duty = self.runs(attempt)?;
        if micros > 1_000_000 {
            return Err(Ignored::Malformed);
        }
        if micros < duty.progress_micros {
            return Err(Ignored::Stale);
        }
        duty.progress_micros = micros;
        Ok(())
    }

    pub(super) fn on_done(
        &mut self,
        now: Time,
        attempt: AttemptId,
        result: Arc<[u8]>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let most = self.config.knobs.result_bytes_max as usize;
        let duty = self.runs(attempt)?;
        if result.len() > most {
            // The scheduler would never take it, and the task would wait for its time limit.
            let text = format!("a result of {} bytes, where {most} may be", result.len());
            self.fail(now, attempt, FailureKind::Evaluation, &text, effects);
        } else {
            duty.progress_micros = 1_000_000;
            self.conclude(now, attempt, Report::Succeeded { result }, effects);
        }
        Ok(())
    }

    fn fail(&mut self, now: Time, attempt: AttemptId, kind: FailureKind, text: &str, effects: &mut Out) {
        let text = self.cut(text);
        self.conclude(now, attempt, Report::Failed { kind: Some(kind), text }, effects);
    }

    /// As much of a text as may be sent.
    pub(super) fn cut(&self, text: &str) -> Text {
        let end = text.floor_char_boundary(self.config.knobs.text_bytes_max as usize);
        text[..end].into()
    }

    /// The one way in which an attempt gets its report.
    pub(super) fn conclude(&mut self, now: Time, attempt: AttemptId, report: Report, effects: &mut Out) {
        let duty = self.duty(attempt);
        assert!(duty.is_alive(), "attempt {attempt} ends once");
        duty.stage = Stage::Over { report: report.clone(), resend: now };
        duty.saving = None;
        let (incarnation, task) = (duty.incarnation, duty.work.task.clone());
        let progress_micros = duty.progress_micros;
        effects.event(Event::Reported { incarnation, task, attempt, report, progress_micros });
    }

    /// Ends an attempt that is fenced. Nothing is reported: its task went on without it.
    pub(super) fn halt(&mut self, attempt: AttemptId, effects: &mut Out) {
        let duty = self.duties.remove(&attempt).expect("an attempt that is known");
        assert!(duty.is_alive(), "only what isn't over can be halted");
        self.past.remember(attempt, Fate::Stopped);
        effects.event(Event::Halted { task: duty.work.task.clone(), attempt });
        if duty.stage == Stage::Running {
            effects.reply(AgentReply::Runtime(RuntimeOrder::Halt { attempt }));
        }
    }

    /// An attempt is fenced; perhaps it hasn't come yet.
    pub(super) fn on_stop(
        &mut self,
        incarnation: Incarnation,
        attempt: AttemptId,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.own(incarnation)?;
        self.past.admits(attempt)?;
        match self.duties.get(&attempt) {
            None => self.past.remember(attempt, Fate::Stopped),
            Some(duty) if duty.is_alive() => self.halt(attempt, effects),
            // What becomes of its report is said in answer to that.
            Some(_) => return Err(Ignored::Over),
        }
        Ok(())
    }

    pub(super) fn on_received(
        &mut self,
        attempt: AttemptId,
        reception: Reception,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let duty = self.duties.get(&attempt).ok_or(Ignored::StaleAnswer)?;
        let Stage::Over { .. } = &duty.stage else { return Err(Ignored::StaleAnswer) };
        self.duties.remove(&attempt);
        self.past.remember(attempt, Fate::Answered);
        effects.event(Event::Answered { attempt, reception });
        Ok(())
    }

    pub(super) fn send_duties(&mut self, now: Time, effects: &mut Out) {
        let due = self.duties.iter().filter(|(_, duty)| duty.deadline().is_some_and(|at| now >= at));
        let due: Vec<AttemptId> = due.map(|(attempt, _)| *attempt).collect();
        for attempt in due {
            match &self.duties[&attempt].stage {
                Stage::Restoring { .. } => self.send_fetch(now, attempt, effects),
                Stage::Running => self.send_save(now, attempt, effects),
                Stage::Over { .. } => self.send_report(now, attempt, effects),
            }
        }
    }

    fn send_report(&mut self, now: Time, attempt: AttemptId, effects: &mut Out) {
        let again = self.scheduler.ask(now);
        let duty = self.duty(attempt);
        let Stage::Over { report, resend } = &mut duty.stage else { return };
        *resend = again;
        let (incarnation, task, report) = (duty.incarnation, duty.work.task.clone(), report.clone());
        self.tell(Message::Report { incarnation, task, attempt, report }, effects);
    }

    fn send_fetch(&mut self, now: Time, attempt: AttemptId, effects: &mut Out) {
        let Some(store) = self.config.store else { return };
        let duty = self.duties.get_mut(&attempt).expect("an attempt that is known");
        let Stage::Restoring { checkpoint, fetches, resend } = &mut duty.stage else { return };
        if *fetches == FETCHES_MAX {
            self.fail(now, attempt, FailureKind::Network, "the checkpoint store doesn't answer", effects);
            return self.send_report(now, attempt, effects);
        }
        *fetches += 1;
        *resend = self.store.ask(now);
        let (task, Checkpoint { attempt: author, seq, .. }) = (duty.work.task.clone(), *checkpoint);
        let fetch = StoreMessage::Fetch { task, attempt: author, seq, reader: attempt };
        effects.send(store, AgentMessage::Store(fetch));
    }
}
