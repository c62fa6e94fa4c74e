//! Checkpoints: which of them count.

use super::{Out, Scheduler};
use crate::{AttemptId, Checkpoint, Event, Ignored, Incarnation, Keeping, Message, Reception, Record, TaskState};
use alloc::vec::Vec;
use squall_machine::{Address, Text};

impl Scheduler {
    /// A checkpoint is complete in the store. It counts if its attempt still holds its task.
    pub(super) fn on_saved(
        &mut self,
        from: Address,
        incarnation: Incarnation,
        task: &Text,
        checkpoint: Checkpoint,
        effects: &mut Out,
    ) {
        let Checkpoint { attempt, seq, .. } = checkpoint;
        let verdict = self.judge_saved(incarnation, task, &checkpoint);
        let reception = match verdict {
            Ok(Keeping::Accepted { pruned }) => {
                self.commit(Record::Kept { task: task.clone(), checkpoint }, effects);
                let pruned: Vec<_> = pruned.iter().map(|old| old.seq).collect();
                effects.event(Event::Completed { task: task.clone(), incarnation, checkpoint, pruned });
                Reception::Accepted
            }
            Ok(Keeping::AlreadyAccepted) => self.refuse_save(attempt, seq, true, Ignored::Repeated, effects),
            Ok(Keeping::Stale) => self.refuse_save(attempt, seq, false, Ignored::Stale, effects),
            Err(reason) => {
                let answer = self.refuse_save(attempt, seq, false, reason, effects);
                effects.send(from, Message::Stop { incarnation, attempt });
                answer
            }
        };
        effects.send(from, Message::Kept { attempt, seq, reception });
    }

    fn refuse_save(
        &self,
        attempt: AttemptId,
        seq: crate::CheckpointSeq,
        repeated: bool,
        reason: Ignored,
        effects: &mut Out,
    ) -> Reception {
        effects.event(Event::SaveRejected { attempt, seq, repeated, reason });
        if repeated { Reception::AlreadyAccepted } else { Reception::Rejected(reason) }
    }

    fn judge_saved(&self, incarnation: Incarnation, id: &Text, checkpoint: &Checkpoint) -> Result<Keeping, Ignored> {
        let task = self.durable.tasks.get(id).ok_or(Ignored::UnknownTask)?;
        // A repeat of what counted is answered as such, also when its attempt is over.
        if task.checkpoints.kept().any(|kept| kept == checkpoint) {
            return Ok(Keeping::AlreadyAccepted);
        }
        let TaskState::Leased(lease) = &task.state else { return Err(Ignored::Fenced) };
        if lease.attempt != checkpoint.attempt {
            return Err(if checkpoint.attempt > self.durable.attempt {
                Ignored::UnknownAttempt
            } else {
                Ignored::Fenced
            });
        }
        if lease.incarnation != incarnation {
            return Err(Ignored::WrongWorker);
        }
        if !checkpoint.is_possible() {
            return Err(Ignored::Malformed);
        }
        Ok(task.checkpoints.clone().accept(*checkpoint, self.knobs.checkpoints_kept))
    }
}
