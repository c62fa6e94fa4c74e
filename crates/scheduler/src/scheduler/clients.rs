//! What clients ask: to submit, to cancel, and where tasks are.

use super::{Out, Scheduler, ignore};
use crate::knobs::SPAN_MAX;
use crate::{
    End, Event, HardwareClass, Ignored, Message, Next, Outcome, Record, Resources, Shape, Slack, Standing, Task,
    TaskRefusal, TaskSpec, TaskState, Verdict,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Span, Text};

impl Scheduler {
    pub(super) fn on_submit(&mut self, at: Span, from: Address, spec: Arc<TaskSpec>, effects: &mut Out) {
        if spec.id.len() > self.knobs.text_bytes_max as usize {
            // No client of ours says it, and whoever does isn't told it back.
            return ignore(Ignored::TooLong, None, effects);
        }
        let task = spec.id.clone();
        if let Some(known) = self.durable.tasks.get(&task) {
            if known.digest != spec.digest() {
                return Self::decline(from, task, TaskRefusal::IdTaken, effects);
            }
            ignore(Ignored::Repeated, None, effects);
            return effects.send(from, Message::Admitted { task });
        }
        let shape = match self.examine(&spec) {
            Ok(shape) => shape,
            Err(refusal) => return Self::decline(from, task, refusal, effects),
        };
        self.commit(Record::Submitted { at, spec: spec.clone(), shape }, effects);
        if let Some(deadline) = spec.deadline {
            self.deadlines.insert((at + deadline, task.clone()));
        }
        self.queue.insert(&self.durable.tasks[&task]);
        self.counters.on_submit();
        effects.event(Event::Submitted { spec, number: self.durable.submitted });
        effects.send(from, Message::Admitted { task });
    }

    fn decline(from: Address, task: Text, refusal: TaskRefusal, effects: &mut Out) {
        effects.event(Event::Declined { task: task.clone(), refusal });
        effects.send(from, Message::Declined { task, refusal });
    }

    /// Whether a task can be accepted, and how it runs at first.
    fn examine(&self, spec: &TaskSpec) -> Result<Shape, TaskRefusal> {
        let text = self.knobs.text_bytes_max as usize;
        if spec.class.len() > text
            || spec.payload.len() > self.knobs.payload_bytes_max as usize
            || spec.capabilities.len() > self.knobs.capabilities_max as usize
            || spec.capabilities.iter().any(|capability| capability.len() > text)
        {
            return Err(TaskRefusal::TooLong);
        }
        let class: HardwareClass = spec.class.parse().map_err(|_| TaskRefusal::UnknownClass)?;
        let mut spans = [spec.deadline, spec.run_limit, spec.checkpoint_interval].into_iter().flatten();
        if spec.id.is_empty()
            || spec.resources == Resources::default()
            || spec.batch_size == 0
            || spans.any(|span| span == Span::ZERO || span > SPAN_MAX)
            || spec.slack_millis.is_some_and(|millis| Slack::from_millis(millis).is_none())
        {
            return Err(TaskRefusal::Malformed);
        }
        if self.queue.len() + self.delayed.len() >= self.knobs.queued_max as usize {
            return Err(TaskRefusal::QueueFull);
        }
        Ok(Shape { class, precision: spec.precision, batch_size: spec.batch_size })
    }

    pub(super) fn on_cancel(&mut self, at: Span, from: Address, task: Text, effects: &mut Out) {
        match self.durable.tasks.get(&task).map(|task| &task.state) {
            None => ignore(Ignored::UnknownTask, None, effects),
            Some(TaskState::Terminal { .. }) => ignore(Ignored::Repeated, None, effects),
            Some(TaskState::Waiting { .. }) => self.close(at, &task, Outcome::Cancelled, effects),
            Some(TaskState::Leased(lease)) => {
                let attempt = lease.attempt;
                self.fence(at, &task, attempt, &End::Cancelled, Next::Ends(Outcome::Cancelled), effects);
            }
        }
        let standing = self.standing(&task);
        effects.send(from, Message::CancelAnswer { task, standing });
    }

    pub(super) fn on_poll(&self, from: Address, tasks: &[Text], effects: &mut Out) {
        if tasks.len() > self.knobs.poll_max as usize {
            return ignore(Ignored::TooLong, None, effects);
        }
        let standings: Vec<(Text, Standing)> = tasks.iter().map(|task| (task.clone(), self.standing(task))).collect();
        effects.send(from, Message::Standings { tasks: standings.into() });
    }

    fn standing(&self, task: &Text) -> Standing {
        match self.durable.tasks.get(task).map(|task| &task.state) {
            None => Standing::Unknown,
            Some(TaskState::Waiting { .. }) => Standing::Waiting,
            Some(TaskState::Leased(lease)) => Standing::Running { attempt: lease.attempt },
            Some(TaskState::Terminal { outcome, .. }) => Standing::Ended(outcome.clone()),
        }
    }

    /// Ends a task that nobody works on.
    fn close(&mut self, at: Span, id: &Text, outcome: Outcome, effects: &mut Out) {
        self.unwait(id);
        self.commit(Record::Closed { at, task: id.clone(), outcome }, effects);
        self.finish(at, id, effects);
    }

    /// A task has just ended.
    pub(super) fn finish(&mut self, at: Span, id: &Text, effects: &mut Out) {
        let Task { state, spec, submitted, failures, losses, .. } = &self.durable.tasks[id];
        let TaskState::Terminal { outcome, .. } = state else { unreachable!("{id} has not ended") };
        if let Some(deadline) = spec.deadline {
            self.deadlines.remove(&(*submitted + deadline, id.clone()));
        }
        let (failures, losses) = (*failures, *losses);
        self.counters.on_outcome(at, id, outcome);
        effects.event(Event::Terminal { task: id.clone(), outcome: outcome.clone(), failures, losses });
        self.await_clear(at, id);
    }

    /// Ends the tasks whose deadline has passed.
    pub(super) fn expire(&mut self, at: Span, effects: &mut Out) {
        while let Some((when, id)) = self.deadlines.first().cloned() {
            if when > at {
                return;
            }
            let outcome = Outcome::Failed(Verdict::Deadline);
            match &self.durable.tasks[&id].state {
                TaskState::Terminal { .. } => unreachable!("a task that has ended has no deadline"),
                TaskState::Waiting { .. } => self.close(at, &id, outcome, effects),
                TaskState::Leased(lease) => {
                    let attempt = lease.attempt;
                    self.fence(at, &id, attempt, &End::Expired, Next::Ends(outcome), effects);
                }
            }
        }
    }
}
