//! SC15: the strategy of each retry is the next of its ladder.
//!
//! Source: spec 3.2. The first failure picks the ladder, in the order that is in force then, and the task keeps to it; where 3
//! failures of its kind, class or worker within an hour make a pattern, the walk starts one step further. Ladders and what a step
//! makes of a task are written down here once more. Who is to go to another worker goes to the same one only if it alone is
//! eligible.

use super::books::{Attempt, Books, Moment};
use super::breakers::nanos;
use super::judge::{Judge, Told};
use super::ladders::{picked, step, steps};
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{End, Event, FailureKind, HardwareClass, Knobs, Ladder, Strategy};
use std::collections::{BTreeMap, VecDeque};

/// Who fails alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Group {
    Kind(FailureKind),
    Class(HardwareClass),
    Worker(Text),
}

/// The way of a task that has failed.
#[derive(Clone, PartialEq, Debug)]
struct Walk {
    ladder: Ladder,
    steps: Vec<Strategy>,
    /// The place from which its next step is looked for.
    from: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc15 {
    walks: BTreeMap<Text, Walk>,
    /// The last failures of each group, as many as make a pattern.
    failures: BTreeMap<Group, VecDeque<Moment>>,
    /// The walk that the failure which was just told begins or goes on with.
    next: Option<(Text, Walk)>,
    /// The workers at which tasks have failed, and that they are to leave.
    left: BTreeMap<Text, Text>,
}

impl Sc15 {
    fn fail(&mut self, told: &Told<'_>, task: &Text, kind: FailureKind, held: &Attempt, books: &Books) {
        let (class, worker) = (held.class, &held.worker);
        let groups = [Group::Kind(kind), Group::Class(class), Group::Worker(worker.clone())];
        let walk = match self.walks.get(task) {
            Some(walk) => walk.clone(),
            None => {
                let pattern = groups.iter().any(|group| self.repeats(group, told.at, told.knobs));
                let ladder = picked(kind, class);
                Walk { ladder, steps: books.tuning.steps(ladder), from: usize::from(pattern) }
            }
        };
        self.next = Some((task.clone(), walk));
        self.left.insert(task.clone(), worker.clone());
        for group in groups {
            let moments = self.failures.entry(group).or_default();
            moments.push_back(told.at);
            let surplus = moments.len().saturating_sub(told.knobs.patterns.failures as usize);
            moments.drain(..surplus);
        }
    }

    fn repeats(&self, group: &Group, at: Moment, knobs: &Knobs) -> bool {
        let Some(moments) = self.failures.get(group) else { return false };
        let recent = moments.iter().filter(|moment| at - **moment < nanos(knobs.patterns.window)).count();
        recent >= knobs.patterns.failures as usize
    }
}

impl Judge for Sc15 {
    const PROPERTY: &'static str = "SC15";
    const EVENTS: &'static [&'static str] =
        &["report_accepted", "fenced", "requeued", "assigned", "terminal", "task_recalled", "task_forgotten"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        match told.event {
            Event::Accepted { task, attempt, end: End::Failed(kind), .. }
            | Event::Fenced { task, attempt, end: End::Failed(kind), .. } => {
                let held = books.attempts.get(attempt)?;
                self.fail(told, task, *kind, held, books);
                None
            }
            Event::Requeued { task, strategy, shape, .. } => {
                let row = books.tasks.get(task)?;
                let Some((_, walk)) = self.next.take_if(|(failed, _)| failed == task) else {
                    let changed = strategy.is_some() || *shape != row.shape;
                    return changed.then(|| format!("{task} has not failed, and goes on by {strategy:?} as {shape:?}"));
                };
                if *strategy != Some(Strategy::OtherWorker) {
                    self.left.remove(task);
                }
                let (place, expected, becomes) = step(&walk.steps, walk.from, row.shape, row.spec.degradable);
                if walk.from > 0 && !self.walks.contains_key(task) {
                    findings.reached("a pattern of failures");
                }
                let ladder = walk.ladder;
                self.walks.insert(task.clone(), Walk { from: place + 1, ..walk });
                let right = *strategy == Some(expected) && *shape == becomes;
                (!right).then(|| {
                    format!(
                        "{task} goes on by {strategy:?} as {shape:?}; step {place} of ladder {ladder} is {expected:?}, as {becomes:?}"
                    )
                })
            }
            Event::Assigned { task, attempt, worker, choice, .. } => {
                let same = self.left.get(task) == Some(worker) && choice.eligible > 1;
                same.then(|| {
                    format!(
                        "{task} is to go to another worker, and attempt {attempt} to {worker} again; {} are eligible",
                        choice.eligible
                    )
                })
            }
            Event::Terminal { task, .. } | Event::TaskForgotten { task } => {
                self.walks.remove(task);
                self.left.remove(task);
                self.next.take_if(|(failed, _)| failed == task);
                None
            }
            Event::TaskRecalled { task } => {
                let before = self.walks.remove(&task.spec.id);
                match &task.avoid {
                    Some(worker) => self.left.insert(task.spec.id.clone(), worker.clone()),
                    None => self.left.remove(&task.spec.id),
                };
                let climb = task.climb.as_ref()?;
                let (ladder, from) = (climb.ladder, usize::from(climb.step) + 1);
                let order = climb.order.as_ref().map(|order| order.to_vec());
                let walk = Walk { ladder, steps: order.unwrap_or_else(|| steps(ladder).to_vec()), from };
                let id = task.spec.id.clone();
                let other = before.filter(|before| (before.ladder, &before.steps) != (walk.ladder, &walk.steps));
                let problem = other.map(|before| format!("{id} began {before:?}, and is found on {walk:?}"));
                self.walks.insert(id, walk);
                problem
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        (self.failures, self.next) = (BTreeMap::new(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::judge::Judged;
    use super::super::testing::{SHAPE, accepted, adapted, assigned_with, tasks};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{Adaptable, Precision, Setting, Shape};

    fn fail(
        history: History<Judged<Sc15>>,
        task: &str,
        attempt: u64,
        kind: FailureKind,
        (strategy, shape): (Strategy, Shape),
    ) -> History<Judged<Sc15>> {
        let ended = history.assign(task, attempt).tells(accepted(task, attempt, End::Failed(kind)));
        ended.tells(Event::Requeued {
            task: task.into(),
            delay: Span::from_secs(5),
            failures: 1,
            losses: 0,
            strategy: Some(strategy),
            shape,
        })
    }

    fn start() -> History<Judged<Sc15>> {
        (1..=4).fold(tasks(Judged::<Sc15>::default()), |history, number| history.submit(&format!("t{number}"), number))
    }

    #[test]
    fn a_task_climbs_its_ladder() {
        let less = Shape { batch_size: 4, ..SHAPE };
        let cheaper = Shape { precision: Precision::Fp16, ..less };
        let cheapest = Shape { precision: Precision::Int8, ..less };
        let memory = FailureKind::OutOfMemory;
        let one = || fail(start(), "t1", 1, memory, (Strategy::ReducedBatch, less));
        let two = || fail(one(), "t1", 2, FailureKind::Network, (Strategy::ReducedPrecision, cheaper));
        two().holds();
        // There is no other class: the last possible step repeats.
        fail(two(), "t1", 3, memory, (Strategy::ReducedPrecision, cheapest)).holds();
        fail(two(), "t1", 3, memory, (Strategy::OtherClass, cheaper)).violated("step 1 of ladder out_of_memory");
        fail(start(), "t1", 1, memory, (Strategy::ReducedBatch, SHAPE)).violated("goes on by Some(ReducedBatch)");
        fail(start(), "t1", 1, FailureKind::Timeout, (Strategy::RetryAtOnce, SHAPE)).holds();
        fail(start(), "t1", 1, FailureKind::Unknown, (Strategy::OtherWorker, SHAPE)).violated("is DelayedRetry");
        start().assign("t1", 1).lose("t1", 1, 1).holds();
    }

    #[test]
    fn another_worker_is_another_one_if_there_is_one() {
        let failed = || {
            let one = fail(start(), "t1", 1, FailureKind::Unknown, (Strategy::DelayedRetry, SHAPE));
            fail(one, "t1", 2, FailureKind::Unknown, (Strategy::OtherWorker, SHAPE))
        };
        let again = |eligible| {
            let mut event = assigned_with("t1", 3, 2, None);
            if let Event::Assigned { choice, .. } = &mut event {
                choice.eligible = eligible;
            }
            event
        };
        failed().assign_event(again(1), 3).holds();
        failed().assign_event(again(2), 3).violated("is to go to another worker, and attempt 3 to w0 again");
    }

    #[test]
    fn a_pattern_starts_one_step_further() {
        let first = (Strategy::DelayedRetry, SHAPE);
        let three = || {
            (1..=3).fold(start(), |history, number| {
                fail(history, &format!("t{number}"), number, FailureKind::Unknown, first)
            })
        };
        fail(three(), "t4", 4, FailureKind::Unknown, (Strategy::OtherWorker, SHAPE)).holds();
        fail(three(), "t4", 4, FailureKind::Unknown, first).violated("is OtherWorker");
        fail(three().at(3_600_100), "t4", 4, FailureKind::Unknown, first).holds();
    }

    #[test]
    fn a_task_keeps_the_order_it_began_with() {
        use Strategy::{DelayedRetry, OtherWorker, ReducedBatch};
        let to = Setting::Order(vec![OtherWorker, DelayedRetry, ReducedBatch]);
        let from = Setting::Order(vec![DelayedRetry, OtherWorker, ReducedBatch]);
        let order = || adapted(Adaptable::Order(Ladder::Cpu), from.clone(), to.clone());
        let unknown = FailureKind::Unknown;
        let changed = || fail(start(), "t1", 1, unknown, (DelayedRetry, SHAPE)).tells(order());
        fail(changed(), "t2", 2, unknown, (OtherWorker, SHAPE)).holds();
        fail(changed(), "t2", 2, unknown, (DelayedRetry, SHAPE)).violated("is OtherWorker");
        fail(changed(), "t1", 2, unknown, (OtherWorker, SHAPE)).holds();
        fail(changed(), "t1", 2, unknown, (DelayedRetry, SHAPE)).violated("step 1 of ladder cpu is OtherWorker");
    }
}
