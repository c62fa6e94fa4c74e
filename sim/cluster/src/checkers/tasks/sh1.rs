//! SH1: adapted values stay inside their bounds and name their reason.
//!
//! Source: spec 3.3, self-healing. What attempts, probes and the steps of ladders came to is counted here once more; where a
//! sample of it asks for a change, exactly that change has to be told before anything else, and no other is. Changes of a
//! setting are numbered, so a restart may find more of them than were told, but none less. Where self-healing is off nothing
//! adapts.

use super::books::Books;
use super::breakers::Stage;
use super::judge::{Judge, Told};
use super::ladders::picked;
use super::tallies::{Tallies, inside};
use super::tuning::Changed;
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{Adaptable, Adapted, AttemptId, End, Event, Knobs, Ladder, Settlement, Strategy};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sh1 {
    tallies: Tallies,
    /// The step that the attempts of a task follow, once it has failed.
    walks: BTreeMap<Text, (Ladder, Option<Strategy>)>,
    /// What has to be told before anything else.
    due: Option<Adapted>,
}

impl Sh1 {
    /// What of a change that was told can't be.
    fn change_problem(&mut self, change: &Adapted, number: u64, books: &Books, knobs: &Knobs) -> Option<String> {
        let (what, due) = (change.what, self.due.take());
        if !inside(what, &change.to, knobs) {
            return Some(format!("{what:?} becomes {:?}, outside its bounds", change.to));
        }
        if due.as_ref() != Some(change) {
            return Some(format!("{change:?} is told, but {due:?} is due"));
        }
        let known = books.tuning.changed.get(&what).map_or(0, |(_, number)| *number);
        (number != known + 1).then(|| format!("change {number} of {what:?} follows change {known}"))
    }

    /// What of the settings that a restart found can't be.
    fn found_problem(told: &Changed, found: &Changed, knobs: &Knobs) -> Option<String> {
        for (what, (value, number)) in told {
            let kept = found.get(what).is_some_and(|(now, count)| count > number || count == number && now == value);
            if !kept {
                return Some(format!(
                    "{what:?} was {value:?} by change {number}, and is found as {:?}",
                    found.get(what)
                ));
            }
        }
        let outside = found.iter().find(|(what, (value, _))| !inside(**what, value, knobs));
        outside.map(|(what, (value, _))| format!("{what:?} is found as {value:?}, outside its bounds"))
    }

    /// An attempt failed or succeeded: the step that it followed did, if there was one.
    fn on_end(&mut self, task: &Text, end: &End, attempt: AttemptId, books: &Books, knobs: &Knobs) {
        let success = match end {
            End::Succeeded => true,
            End::Failed(_) => false,
            End::Lost(_) | End::Drained | End::Migrated | End::Cancelled | End::Expired => return,
        };
        match (self.walks.get(task), end) {
            (Some(&(ladder, Some(done))), _) => {
                self.due = self.tallies.on_step((ladder, done), success, &books.tuning, knobs);
            }
            (None, End::Failed(kind)) => {
                if let Some(held) = books.attempts.get(&attempt) {
                    self.walks.insert(task.clone(), (picked(*kind, held.class), None));
                }
            }
            _ => {}
        }
    }
}

impl Judge for Sh1 {
    const PROPERTY: &'static str = "SH1";
    const EVENTS: &'static [&'static str] = &[
        "report_accepted",
        "fenced",
        "settled",
        "requeued",
        "terminal",
        "permitted",
        "assigned",
        "adapted",
        "task_recalled",
        "tasks_recovered",
    ];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        // What an attempt held is free, and its breaker changes, before a setting does.
        if !told.scheduler || matches!(told.event, Event::Released { .. } | Event::BreakerChanged { .. }) {
            return None;
        }
        if let Event::Adapted { change, number } = told.event {
            if !told.knobs.self_healing {
                return Some(format!("{:?} adapts, although self-healing is off", change.what));
            }
            findings.reached(match change.what {
                Adaptable::Threshold(_) => "a threshold adapted",
                Adaptable::FirstOpen(_) => "a first time to be open adapted",
                Adaptable::Order(_) => "the order of a ladder adapted",
            });
            return self.change_problem(change, *number, books, told.knobs);
        }
        if let Event::Recovered { .. } = told.event {
            // What a lost disk held can't be known.
            let judged = Some(&books.tuning).filter(|_| !books.disk_lost);
            return judged.and_then(|tuning| Self::found_problem(&tuning.changed, &tuning.found, told.knobs));
        }
        if !told.knobs.self_healing {
            return None;
        }
        if let Some(due) = self.due.take() {
            return Some(format!("{due:?} is due, and isn't told"));
        }
        match told.event {
            Event::Accepted { task, attempt, end, .. } | Event::Fenced { task, attempt, end, .. } => {
                self.on_end(task, end, *attempt, books, told.knobs);
            }
            Event::Settled { key, generation, settlement, .. } => {
                let model = books.breakers.model(key);
                if model.counts(*generation, *settlement) {
                    let probe = model.stage == Stage::HalfOpen;
                    let success = *settlement == Settlement::Success;
                    self.due = self.tallies.on_result(key.kind(), probe, success, &books.tuning, told.knobs);
                }
            }
            Event::Requeued { task, strategy: Some(strategy), .. } => {
                if let Some((_, done)) = self.walks.get_mut(task) {
                    *done = Some(*strategy);
                }
            }
            Event::Terminal { task, .. } => drop(self.walks.remove(task)),
            Event::TaskRecalled { task } => {
                if let Some(climb) = &task.climb {
                    self.walks.insert(task.spec.id.clone(), (climb.ladder, Some(climb.strategy)));
                }
            }
            _ => {}
        }
        None
    }

    fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, history_with_tasks};
    use super::super::judge::Judged;
    use super::super::testing::{accepted, requeued, success, terminal};
    use super::*;
    use Settlement::{Failure, Released, Success};
    use squall::scenario::Share;
    use squall_machine::Span;
    use squall_scheduler::{AdaptationReason, Blame, FailureKind, Setting, Tally};

    type Played = History<Judged<Sh1>>;

    /// Judging by so many results; steps alone if `poor` is nothing.
    fn start(sample: u32, poor: &str, good: &str) -> Played {
        let share = |text: &str| Some(text.parse::<Share>().expect("a share"));
        let table = crate::AdaptationTable {
            sample: Some(sample),
            poor: share(poor),
            good: share(good),
            ..crate::AdaptationTable::default()
        };
        let settings =
            crate::Settings { self_healing: Some(true), adaptation: Some(table), ..crate::Settings::default() };
        history_with_tasks(Judged::<Sh1>::default(), settings).at(100).worker(10).offered(10)
    }

    fn threshold(from: u32, to: u32, failures: u64, number: u64) -> Event {
        let reason = AdaptationReason::ResultsPoor(Tally { successes: 0, failures });
        let (from, to) = (Setting::Count(from), Setting::Count(to));
        let change = Box::new(Adapted { what: Adaptable::Threshold(Blame::Type), from, to, reason });
        Event::Adapted { change, number }
    }

    /// A task fails for the first time, and its type is to blame.
    fn failed(history: Played, number: u64, told: Option<Event>) -> Played {
        let task = format!("t{number}");
        let ended = history
            .submit(&task, number)
            .assign(&task, number)
            .tells(accepted(&task, number, End::Failed(FailureKind::Evaluation)))
            .released(number)
            .settle(number, [Released, Released, Failure]);
        told.into_iter().fold(ended, History::tells).tells(requeued(
            &task,
            Span::from_secs(5),
            (1, 0),
            Some(Strategy::DelayedRetry),
        ))
    }

    fn three() -> Played {
        (1..=3).fold(start(4, "50%", "90%"), |history, number| failed(history, number, None))
    }

    #[test]
    fn a_sample_of_failures_lowers_a_threshold_by_one() {
        failed(three(), 4, Some(threshold(10, 9, 4, 1))).holds();
        failed(three(), 4, None).violated("is due, and isn't told");
        failed(three(), 4, Some(threshold(10, 8, 4, 1))).violated("is told, but Some(Adapted");
        failed(three(), 4, Some(threshold(10, 9, 5, 1))).violated("is told, but Some(Adapted");
        failed(three(), 4, Some(threshold(10, 4, 4, 1))).violated("outside its bounds");
        failed(three(), 4, Some(threshold(10, 9, 4, 2))).violated("follows change 0");
        three().tells(threshold(10, 9, 3, 1)).violated("but None is due");
    }

    #[test]
    fn where_it_is_off_nothing_adapts() {
        let off = || super::super::testing::tasks(Judged::<Sh1>::default());
        (1..=60).fold(off(), |history, number| failed(history, number, None)).holds();
        off().tells(threshold(10, 9, 50, 1)).violated("although self-healing is off");
    }

    #[test]
    fn a_restart_finds_what_was_told_or_more() {
        let what = Adaptable::Threshold(Blame::Type);
        let found = |count: u32, changes| {
            let history = failed(three(), 4, Some(threshold(10, 9, 4, 1))).down(C).up(C);
            let told = Event::SettingRecalled { what, value: Setting::Count(count), changes };
            let recovered =
                Event::Recovered { uptime: Span::from_secs(1), attempt: AttemptId(4), submitted: 4, ended: 0 };
            if changes == 0 { history.tells(recovered) } else { history.tells(told).tells(recovered) }
        };
        found(9, 1).holds();
        found(8, 2).holds();
        found(0, 0).violated("and is found as None");
        found(10, 1).violated("was Count(9) by change 1");
        found(4, 2).violated("outside its bounds");
        // It takes a whole sample to change it again.
        let third = |history| (5..=7).fold(history, |history, number| failed(history, number, None));
        failed(third(found(9, 1)), 8, Some(threshold(9, 8, 4, 2))).holds();
        third(found(9, 1)).tells(threshold(9, 8, 3, 2)).violated("but None is due");
    }

    /// A task fails twice, the second time after it waited, and succeeds on another worker.
    fn climbs(history: Played, number: u64, told: Option<Event>) -> Played {
        let task = format!("t{number}");
        let strategies = [Strategy::DelayedRetry, Strategy::OtherWorker];
        let twice = (1..).zip(strategies).fold(history.submit(&task, number), |history, (failures, strategy)| {
            let attempt = number * 3 + u64::from(failures);
            history
                .assign(&task, attempt)
                .tells(accepted(&task, attempt, End::Failed(FailureKind::Evaluation)))
                .released(attempt)
                .settle(attempt, [Released, Released, Failure])
                .tells(requeued(&task, Span::from_secs(5), (failures, 0), Some(strategy)))
        });
        let last = number * 3 + 3;
        let ended = twice.assign(&task, last).tells(accepted(&task, last, End::Succeeded)).released(last);
        told.into_iter().fold(ended, History::tells).settle(last, [Success; 3]).tells(terminal(
            &task,
            success(last),
            2,
            0,
        ))
    }

    #[test]
    fn a_step_that_does_better_changes_places() {
        use Strategy::{DelayedRetry, OtherWorker, ReducedBatch};
        let of = |successes, failures| Tally { successes, failures };
        let swapped = |earlier| Event::Adapted {
            change: Box::new(Adapted {
                what: Adaptable::Order(Ladder::Cpu),
                from: Setting::Order(vec![DelayedRetry, OtherWorker, ReducedBatch]),
                to: Setting::Order(vec![OtherWorker, DelayedRetry, ReducedBatch]),
                reason: AdaptationReason::DoesBetter { earlier, later: of(2, 0) },
            }),
            number: 1,
        };
        let one = || climbs(start(2, "0%", "100%"), 1, None);
        climbs(one(), 2, Some(swapped(of(0, 2)))).holds();
        climbs(one(), 2, None).violated("is due, and isn't told");
        climbs(one(), 2, Some(swapped(of(1, 1)))).violated("is told, but Some(Adapted");
        climbs(start(2, "0%", "100%"), 1, Some(swapped(of(0, 1)))).violated("but None is due");
    }
}
