//! The checkpoint store: what was saved survives the workers that saved it, and is seen whole or not at all.
//!
//! A checkpoint arrives in parts. Each part is one durable record, and the checkpoint is visible once all of them are there,
//! never before: there is no record that says "complete", so no crash can part it from what it speaks of. Whoever saves is
//! answered when the last part is synced. Where a checkpoint's bytes would be, here is their digest.

mod message;
mod shelf;

#[cfg(test)]
mod tests;

pub use message::{Part, StoreMessage};
pub use shelf::{OVER_MAX, Save, Shelf, StoreRecord, StoreSnapshot};

use crate::{AttemptId, Checkpoint, CheckpointSeq, InvalidKnob};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use serde::{Deserialize, Serialize};
use squall_machine::{Address, Durable, Effects, Input, Machine, Text, Time, kinds};

/// The settings of a checkpoint store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StoreKnobs {
    /// The most tasks that anything is stored of.
    pub tasks_max: u32,
    /// The most checkpoints of a task, complete or not.
    pub saves_max: u32,
    /// The most of them that aren't complete.
    pub incomplete_max: u32,
    /// The most bytes of a task's checkpoints, all together.
    pub bytes_max: u64,
    /// The most parts of a checkpoint.
    pub parts_max: u32,
    /// The longest task id, in bytes.
    pub text_bytes_max: u32,
}

impl Default for StoreKnobs {
    fn default() -> Self {
        Self {
            tasks_max: 100_000,
            saves_max: 16,
            incomplete_max: 4,
            bytes_max: 1 << 40,
            parts_max: 64,
            text_bytes_max: 1_024,
        }
    }
}

impl StoreKnobs {
    /// Checks each setting.
    ///
    /// # Errors
    /// The first setting that can't be, and what would be right.
    pub fn validate(&self) -> Result<(), InvalidKnob> {
        let limits = [
            ("store_tasks_max", u64::from(self.tasks_max)),
            ("store_saves_max", u64::from(self.saves_max)),
            ("store_incomplete_max", u64::from(self.incomplete_max)),
            ("store_bytes_max", self.bytes_max),
            ("store_parts_max", u64::from(self.parts_max)),
            ("store_text_bytes_max", u64::from(self.text_bytes_max)),
        ];
        match limits.iter().find(|(_, limit)| *limit == 0) {
            Some((knob, _)) => Err(InvalidKnob { knob, problem: "must be at least 1".into() }),
            None => Ok(()),
        }
    }
}

/// Why the store ignored or refused an input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreIgnored {
    /// Not a message for a store.
    WrongDirection,
    /// The part isn't what was sent: its seal doesn't fit.
    Corrupt,
    /// A number in it is out of its range.
    Malformed,
    /// The task's id is longer than its limit.
    TooLong,
    /// Parts of another content are stored under this name.
    Mismatch,
    /// It is stored already; a complete checkpoint is acknowledged again.
    Repeated,
    /// There is nothing to delete.
    NothingThere,
    /// There is no room for it, and nothing that may go.
    Full,
    /// Its task has ended.
    Over,
}

/// What the store tells the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum StoreEvent {
    /// A part is stored.
    PartStored {
        /// Of which task.
        task: Text,
        /// Of which checkpoint.
        checkpoint: Checkpoint,
        /// Which part.
        index: u32,
        /// Of how many.
        count: u32,
    },
    /// All parts of a checkpoint are stored: from now on it is visible.
    Stored {
        /// Of which task.
        task: Text,
        /// Which checkpoint.
        checkpoint: Checkpoint,
    },
    /// At its start, the store found a checkpoint on its disk that isn't complete.
    Torn {
        /// Of which task.
        task: Text,
        /// Which checkpoint.
        checkpoint: Checkpoint,
        /// How many parts are there.
        parts: u32,
        /// Of how many.
        count: u32,
    },
    /// A checkpoint that wasn't complete made room for another one of its task.
    Dropped {
        /// Of which task.
        task: Text,
        /// Which checkpoint.
        checkpoint: Checkpoint,
    },
    /// What is no longer needed of a task was deleted.
    Deleted {
        /// Which task.
        task: Text,
        /// All checkpoints with lower numbers.
        below: CheckpointSeq,
        /// How many those were, complete or not.
        saves: u32,
    },
    /// A task has ended, and nothing of it is here.
    Cleared {
        /// Which task.
        task: Text,
        /// The newest attempt that there was.
        until: AttemptId,
        /// How many checkpoints went, complete or not.
        saves: u32,
    },
    /// Somebody asked for a checkpoint.
    Fetched {
        /// Of which task.
        task: Text,
        /// For which attempt.
        reader: AttemptId,
        /// What was there; `None` if it isn't there, or not complete.
        checkpoint: Option<Checkpoint>,
    },
    /// An input was ignored or refused.
    Ignored {
        /// Why.
        reason: StoreIgnored,
    },
}

kinds!(StoreEvent {
    part_stored => PartStored { .. },
    save_stored => Stored { .. },
    save_torn => Torn { .. },
    save_dropped => Dropped { .. },
    saves_deleted => Deleted { .. },
    saves_cleared => Cleared { .. },
    save_fetched => Fetched { .. },
    store_ignored => Ignored { .. },
});

/// The machine of a checkpoint store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    knobs: Arc<StoreKnobs>,
    booted: bool,
    /// All there is. Written by `commit` alone.
    durable: StoreSnapshot,
}

type Out = Effects<Store>;

impl Store {
    /// A store that has not booted.
    ///
    /// # Panics
    /// If a setting can't be.
    #[must_use]
    pub fn new(knobs: Arc<StoreKnobs>) -> Self {
        assert_eq!(knobs.validate(), Ok(()), "settings are checked before a store is built");
        Self { knobs, booted: false, durable: StoreSnapshot::default() }
    }

    /// The complete checkpoint of this attempt under this number.
    #[must_use]
    pub fn complete(&self, task: &str, attempt: AttemptId, seq: CheckpointSeq) -> Option<Checkpoint> {
        let save = self.durable.tasks.get(task)?.saves.get(&(seq, attempt))?;
        save.is_complete().then_some(save.checkpoint)
    }

    /// The only writer of durable state.
    fn commit(&mut self, record: StoreRecord, effects: &mut Out) {
        self.durable.apply(&record);
        effects.record(record);
    }

    fn on_boot(&mut self, durable: Durable<Self>, effects: &mut Out) {
        assert!(!self.booted, "a process boots once");
        self.booted = true;
        self.durable = durable.snapshot.unwrap_or_default();
        for record in &durable.records {
            self.durable.apply(record);
        }
        for (task, shelf) in &self.durable.tasks {
            for save in shelf.saves.values().filter(|save| !save.is_complete()) {
                effects.event(StoreEvent::Torn {
                    task: task.clone(),
                    checkpoint: save.checkpoint,
                    parts: save.parts.len() as u32,
                    count: save.count,
                });
            }
        }
    }

    /// A part of a checkpoint. Who saves is answered when all parts are stored, or none ever will be.
    fn on_put(&mut self, from: Address, part: Part, effects: &mut Out) -> Result<(), StoreIgnored> {
        if !part.is_intact() {
            // Whose it is can't be known, either. It is sent again.
            return Err(StoreIgnored::Corrupt);
        }
        let Checkpoint { attempt, seq, .. } = part.checkpoint;
        let task = part.task.clone();
        let complete = StoreMessage::Complete { task: task.clone(), attempt, seq };
        match self.admit(&part, effects) {
            Ok(()) => {}
            Err(StoreIgnored::Repeated) => {
                if self.complete(&task, attempt, seq).is_some() {
                    effects.send(from, complete);
                }
                return Err(StoreIgnored::Repeated);
            }
            Err(reason) => {
                effects.send(from, StoreMessage::Refused { task, attempt, seq, reason });
                return Err(reason);
            }
        }
        let Part { checkpoint, index, count, .. } = part;
        self.commit(StoreRecord::Part(part), effects);
        effects.event(StoreEvent::PartStored { task: task.clone(), checkpoint, index, count });
        if self.complete(&task, attempt, seq).is_some() {
            effects.event(StoreEvent::Stored { task, checkpoint });
            effects.send(from, complete);
        }
        Ok(())
    }

    /// Whether a part may be stored. Makes room for it.
    fn admit(&mut self, part: &Part, effects: &mut Out) -> Result<(), StoreIgnored> {
        if part.task.len() > self.knobs.text_bytes_max as usize {
            return Err(StoreIgnored::TooLong);
        }
        let counted = (1..=self.knobs.parts_max).contains(&part.count) && part.index < part.count;
        if !counted || !part.checkpoint.is_possible() || part.task.is_empty() {
            return Err(StoreIgnored::Malformed);
        }
        if self.durable.is_over(&part.task, part.checkpoint.attempt) {
            return Err(StoreIgnored::Over);
        }
        let Some(shelf) = self.durable.tasks.get(&part.task) else {
            let room = self.durable.tasks.len() < self.knobs.tasks_max as usize;
            let fits = part.checkpoint.bytes <= self.knobs.bytes_max;
            return (room && fits).then_some(()).ok_or(StoreIgnored::Full);
        };
        if let Some(save) = shelf.saves.get(&part.key()) {
            if save.checkpoint != part.checkpoint || save.count != part.count {
                return Err(StoreIgnored::Mismatch);
            }
            return if save.parts.contains(&part.index) { Err(StoreIgnored::Repeated) } else { Ok(()) };
        }
        self.make_room(part, effects)
    }

    /// Drops the oldest checkpoints of the task that aren't complete, until a new one fits. What is complete is never
    /// dropped: somebody may count on it.
    fn make_room(&mut self, part: &Part, effects: &mut Out) -> Result<(), StoreIgnored> {
        loop {
            let shelf = self.durable.tasks.get(&part.task);
            let Some(shelf) = shelf else { return Ok(()) };
            let incomplete = shelf.saves.values().filter(|save| !save.is_complete());
            let bytes = shelf.bytes().saturating_add(part.checkpoint.bytes);
            if shelf.saves.len() < self.knobs.saves_max as usize
                && incomplete.clone().count() < self.knobs.incomplete_max as usize
                && bytes <= self.knobs.bytes_max
            {
                return Ok(());
            }
            let spared: u64 = incomplete.clone().map(|save| save.checkpoint.bytes).sum();
            if bytes.saturating_sub(spared) > self.knobs.bytes_max {
                return Err(StoreIgnored::Full);
            }
            let oldest = incomplete.min_by_key(|save| save.number).ok_or(StoreIgnored::Full)?;
            let (task, checkpoint) = (part.task.clone(), oldest.checkpoint);
            let Checkpoint { attempt, seq, .. } = checkpoint;
            self.commit(StoreRecord::Dropped { task: task.clone(), attempt, seq }, effects);
            effects.event(StoreEvent::Dropped { task, checkpoint });
        }
    }

    fn on_delete(
        &mut self,
        from: Address,
        task: Text,
        below: CheckpointSeq,
        effects: &mut Out,
    ) -> Result<(), StoreIgnored> {
        let shelf = self.durable.tasks.get(&task);
        let saves = shelf.map_or(0, |shelf| shelf.saves.range(..Shelf::first(below)).count() as u32);
        if saves > 0 {
            self.commit(StoreRecord::Deleted { task: task.clone(), below }, effects);
            effects.event(StoreEvent::Deleted { task: task.clone(), below, saves });
        }
        effects.send(from, StoreMessage::Deleted { task, below });
        if saves > 0 { Ok(()) } else { Err(StoreIgnored::NothingThere) }
    }

    fn on_clear(&mut self, from: Address, task: Text, until: AttemptId, effects: &mut Out) -> Result<(), StoreIgnored> {
        if task.len() > self.knobs.text_bytes_max as usize {
            return Err(StoreIgnored::TooLong);
        }
        let shelf = self.durable.tasks.get(&task);
        let old = shelf.into_iter().flat_map(|shelf| shelf.saves.keys()).filter(|(_, attempt)| *attempt <= until);
        let saves = old.count() as u32;
        if saves > 0 || !self.durable.is_over(&task, until) {
            self.commit(StoreRecord::Cleared { task: task.clone(), until }, effects);
        }
        effects.event(StoreEvent::Cleared { task: task.clone(), until, saves });
        effects.send(from, StoreMessage::Cleared { task, until });
        Ok(())
    }

    fn on_message(&mut self, from: Address, message: StoreMessage, effects: &mut Out) -> Result<(), StoreIgnored> {
        match message {
            StoreMessage::Put { part } => self.on_put(from, *part, effects),
            StoreMessage::Fetch { task, attempt, seq, reader } => {
                let checkpoint = self.complete(&task, attempt, seq);
                effects.event(StoreEvent::Fetched { task: task.clone(), reader, checkpoint });
                let checkpoint = checkpoint.map(Box::new);
                effects.send(from, StoreMessage::Fetched { task, reader, checkpoint });
                Ok(())
            }
            StoreMessage::Delete { task, below } => self.on_delete(from, task, below, effects),
            StoreMessage::Clear { task, until } => self.on_clear(from, task, until, effects),
            StoreMessage::Complete { .. }
            | StoreMessage::Refused { .. }
            | StoreMessage::Fetched { .. }
            | StoreMessage::Cleared { .. }
            | StoreMessage::Deleted { .. } => Err(StoreIgnored::WrongDirection),
        }
    }
}

impl Machine for Store {
    type Message = StoreMessage;
    type Request = Infallible;
    type Reply = Infallible;
    type Record = StoreRecord;
    type Snapshot = StoreSnapshot;
    type Event = StoreEvent;

    fn step(&mut self, _: Time, input: Input<Self>, effects: &mut Out) {
        match input {
            Input::Boot(durable) => self.on_boot(durable, effects),
            Input::Receive { from, message } => {
                assert!(self.booted, "an input before boot");
                if let Err(reason) = self.on_message(from, message, effects) {
                    effects.event(StoreEvent::Ignored { reason });
                }
            }
            Input::Request(never) => match never {},
            Input::Wake => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn snapshot(&self) -> StoreSnapshot {
        self.durable.clone()
    }

    fn assert_invariants(&self) {
        assert!(self.durable.tasks.len() <= self.knobs.tasks_max as usize, "no more tasks than may be");
        assert!(self.durable.endings.len() <= OVER_MAX, "no more endings than may be remembered");
        assert_eq!(self.durable.endings.len(), self.durable.over.len(), "each ending once");
        for shelf in self.durable.tasks.values() {
            shelf.assert_invariants();
            assert!(shelf.saves.len() <= self.knobs.saves_max as usize, "no more checkpoints than may be");
            assert!(shelf.bytes() <= self.knobs.bytes_max, "no more bytes than may be");
            let incomplete: Vec<&Save> = shelf.saves.values().filter(|save| !save.is_complete()).collect();
            assert!(incomplete.len() <= self.knobs.incomplete_max as usize, "no more incomplete ones than may be");
        }
    }
}
