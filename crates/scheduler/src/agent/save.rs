//! Checkpoints: stored in parts, then announced; and what the store needn't keep.

use super::{Agent, AgentMessage, AgentReply, Out, RuntimeOrder};
use crate::{
    AttemptId, Checkpoint, CheckpointSeq, Event, Ignored, Incarnation, Message, Part, Reception, StoreMessage,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use squall_machine::{Text, Time};

/// In how many parts a checkpoint is stored.
pub(super) const PARTS: u32 = 3;

/// How often the store is asked to forget something. What it keeps in spite of that costs room, nothing else.
pub(super) const DELETES_MAX: u32 = 4;

/// A checkpoint on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Saving {
    pub(super) checkpoint: Checkpoint,
    /// Whether it is complete in the store, so that the scheduler may hear of it.
    stored: bool,
    pub(super) resend: Time,
}

/// Something that the store shall forget.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Deletion {
    below: CheckpointSeq,
    /// How often the store was asked.
    asked: u32,
    pub(super) resend: Time,
}

impl Agent {
    /// The runtime has a state to save. Its number is given here.
    pub(super) fn on_save(&mut self, now: Time, checkpoint: Checkpoint, effects: &mut Out) -> Result<(), Ignored> {
        let (attempt, progress_micros) = (checkpoint.attempt, checkpoint.progress_micros);
        let store = self.config.store;
        let duty = self.runs(attempt)?;
        store.ok_or(Ignored::NoStore)?;
        if duty.saving.is_some() {
            return Err(Ignored::UnderWay);
        }
        let seq = duty.next_seq;
        let checkpoint = Checkpoint { seq, ..checkpoint };
        if !checkpoint.is_possible() {
            return Err(Ignored::Malformed);
        }
        duty.next_seq = seq.next();
        duty.progress_micros = duty.progress_micros.max(progress_micros);
        duty.saving = Some(Saving { checkpoint, stored: false, resend: now });
        effects.event(Event::SaveBegun { task: duty.work.task.clone(), attempt, seq, progress_micros });
        Ok(())
    }

    /// The save in progress, if it is this one.
    fn saving(&mut self, attempt: AttemptId, seq: CheckpointSeq) -> Result<&mut Saving, Ignored> {
        let saving = self.duties.get_mut(&attempt).and_then(|duty| duty.saving.as_mut());
        saving.filter(|saving| saving.checkpoint.seq == seq).ok_or(Ignored::StaleAnswer)
    }

    /// A checkpoint is complete in the store: now it may be announced.
    pub(super) fn on_complete(
        &mut self,
        now: Time,
        task: &str,
        attempt: AttemptId,
        seq: CheckpointSeq,
    ) -> Result<(), Ignored> {
        self.of_task(task, attempt)?;
        let saving = self.saving(attempt, seq)?;
        if saving.stored {
            return Err(Ignored::StaleAnswer);
        }
        saving.stored = true;
        saving.resend = now;
        Ok(())
    }

    /// The store won't have a checkpoint.
    pub(super) fn on_refused(
        &mut self,
        task: &str,
        attempt: AttemptId,
        seq: CheckpointSeq,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.of_task(task, attempt)?;
        if self.saving(attempt, seq)?.stored {
            return Err(Ignored::StaleAnswer);
        }
        self.end_save(attempt, seq, false, effects);
        Ok(())
    }

    fn of_task(&self, task: &str, attempt: AttemptId) -> Result<(), Ignored> {
        let of_task = self.duties.get(&attempt).is_some_and(|duty| *duty.work.task == *task);
        of_task.then_some(()).ok_or(Ignored::StaleAnswer)
    }

    fn end_save(&mut self, attempt: AttemptId, seq: CheckpointSeq, kept: bool, effects: &mut Out) {
        let duty = self.duty(attempt);
        duty.saving = None;
        effects.event(Event::SaveEnded { task: duty.work.task.clone(), attempt, seq, kept });
        effects.reply(AgentReply::Runtime(RuntimeOrder::SaveEnded { attempt, seq, kept }));
    }

    /// What became of an announced checkpoint.
    pub(super) fn on_kept(
        &mut self,
        now: Time,
        attempt: AttemptId,
        seq: CheckpointSeq,
        reception: Reception,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        if !self.saving(attempt, seq)?.stored {
            return Err(Ignored::StaleAnswer);
        }
        match reception {
            Reception::Accepted | Reception::AlreadyAccepted => {
                self.end_save(attempt, seq, true, effects);
                self.prune(now, attempt, seq, effects);
            }
            Reception::Rejected(
                Ignored::Fenced
                | Ignored::Over
                | Ignored::UnknownAttempt
                | Ignored::UnknownTask
                | Ignored::UnknownWorker
                | Ignored::WrongWorker,
            ) => self.halt(attempt, effects),
            Reception::Rejected(
                Ignored::WrongDirection
                | Ignored::Stale
                | Ignored::Repeated
                | Ignored::StaleAnswer
                | Ignored::Malformed
                | Ignored::TooLong
                | Ignored::LimitReached
                | Ignored::UnderWay
                | Ignored::NoStore,
            ) => self.end_save(attempt, seq, false, effects),
        }
        Ok(())
    }

    /// Of a task only its newest checkpoints are kept. Once so many of this attempt alone count, nobody goes back behind the
    /// first of them.
    fn prune(&mut self, now: Time, attempt: AttemptId, seq: CheckpointSeq, effects: &mut Out) {
        let most = self.config.knobs.checkpoints_kept as usize;
        let duty = self.duty(attempt);
        assert!(duty.kept.back().is_none_or(|newest| *newest < seq), "checkpoints count in order");
        duty.kept.push_back(seq);
        if duty.kept.len() > most {
            duty.kept.pop_front();
        }
        if let (true, Some(&oldest)) = (duty.kept.len() == most, duty.kept.front()) {
            let task = duty.work.task.clone();
            self.delete(now, task, oldest, effects);
        }
    }

    /// Has the store forget the checkpoints of a task with lower numbers.
    pub(super) fn delete(&mut self, now: Time, task: Text, below: CheckpointSeq, effects: &mut Out) {
        if self.config.store.is_none() {
            return;
        }
        let room = self.deletions.len() < self.config.knobs.leases_max as usize;
        match self.deletions.get_mut(&task) {
            Some(deletion) if deletion.below >= below => {}
            Some(deletion) => *deletion = Deletion { below, asked: 0, resend: now },
            None if room => {
                self.deletions.insert(task, Deletion { below, asked: 0, resend: now });
            }
            // It stays in the store.
            None => effects.event(Event::Ignored { reason: Ignored::LimitReached, incarnation: self.incarnation() }),
        }
    }

    pub(super) fn on_deleted(&mut self, task: &Text, below: CheckpointSeq) -> Result<(), Ignored> {
        if self.deletions.get(task).is_none_or(|deletion| deletion.below != below) {
            return Err(Ignored::StaleAnswer);
        }
        self.deletions.remove(task);
        Ok(())
    }

    /// A task has ended. Passed on at once, and forgotten: the scheduler asks until it is answered.
    pub(super) fn on_clear(
        &mut self,
        incarnation: Incarnation,
        task: Text,
        until: AttemptId,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        self.own(incarnation)?;
        self.deletions.remove(&task);
        match self.config.store {
            Some(store) => effects.send(store, AgentMessage::Store(StoreMessage::Clear { task, until })),
            // What is stored nowhere is nowhere.
            None => self.tell(Message::Cleared { incarnation, task }, effects),
        }
        Ok(())
    }

    pub(super) fn on_cleared(&self, task: Text, effects: &mut Out) -> Result<(), Ignored> {
        let incarnation = self.incarnation().ok_or(Ignored::UnknownWorker)?;
        self.tell(Message::Cleared { incarnation, task }, effects);
        Ok(())
    }

    pub(super) fn send_save(&mut self, now: Time, attempt: AttemptId, effects: &mut Out) {
        let Some(store) = self.config.store else { return };
        let duty = self.duties.get_mut(&attempt).expect("an attempt that is known");
        let Some(saving) = &mut duty.saving else { return };
        let (task, checkpoint, incarnation) = (duty.work.task.clone(), saving.checkpoint, duty.incarnation);
        if saving.stored {
            saving.resend = self.scheduler.ask(now);
            return self.tell(Message::Saved { incarnation, task, checkpoint: Box::new(checkpoint) }, effects);
        }
        saving.resend = self.store.ask(now);
        for index in 0..PARTS {
            let part = Part::new(task.clone(), checkpoint, index, PARTS);
            effects.send(store, AgentMessage::Store(StoreMessage::Put { part: Box::new(part) }));
        }
    }

    pub(super) fn send_deletions(&mut self, now: Time, effects: &mut Out) {
        let Some(store) = self.config.store else { return };
        let due = self.deletions.iter().filter(|(_, deletion)| now >= deletion.resend);
        let due: Vec<Text> = due.map(|(task, _)| task.clone()).collect();
        for task in due {
            let deletion = self.deletions.get_mut(&task).expect("it is due");
            if deletion.asked == DELETES_MAX {
                self.deletions.remove(&task);
                continue;
            }
            deletion.asked += 1;
            deletion.resend = self.store.ask(now);
            let below = deletion.below;
            effects.send(store, AgentMessage::Store(StoreMessage::Delete { task, below }));
        }
    }
}
