//! SC3: an accepted report is the current, unfenced (attempt, worker, incarnation); a rejected one has no side effect.
//!
//! Source: spec 3.1. Neither is a report of the current attempt rejected: that would lose it. "No side effect": nothing else
//! is said about the attempt in the step that rejects its report. And what is accepted was reported: by the worker, of this
//! attempt, and with this end; its task ends with the very result that was returned. A repeat of the report that counted last is
//! known as that.

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_machine::{Text, Time};
use squall_scheduler::{AttemptId, End, Event, Incarnation, Outcome, Report};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc3 {
    /// The attempt whose report was rejected last, and when.
    rejected: Option<(Time, AttemptId)>,
    /// The attempt that was heard to have begun last, and when.
    started: Option<(Time, AttemptId)>,
    /// What workers have reported of attempts: the result of a success, nothing of a failure.
    reported: BTreeMap<AttemptId, Option<Arc<[u8]>>>,
    /// Whose report of which task's attempt counted.
    accepted: BTreeMap<AttemptId, (Incarnation, Text)>,
}

/// Reports of attempts that are so much older than the newest are forgotten.
const REPORTED_MAX: u64 = 1 << 16;

/// What isn't current about an attempt of this task.
fn stale(books: &Books, task: Option<&Text>, attempt: AttemptId, incarnation: Incarnation) -> Option<&'static str> {
    let Some(held) = books.attempts.get(&attempt) else { return Some("doesn't hold its task any more") };
    if task.is_some_and(|task| held.task != *task) {
        return Some("is another task's");
    }
    if books.tasks.get(&held.task).is_none_or(|row| row.place != Place::Leased(attempt)) {
        return Some("isn't the one that holds its task");
    }
    (held.incarnation != incarnation).then_some("is another incarnation's")
}

impl Judge for Sc3 {
    const PROPERTY: &'static str = "SC3";
    const EVENTS: &'static [&'static str] =
        &["report_accepted", "report_rejected", "fenced", "released", "settled", "started", "reported", "terminal"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let effect = |attempt: &AttemptId| {
            let rejected = self.rejected.filter(|(at, of)| told.scheduler && (*at, *of) == (told.decided, *attempt));
            rejected.map(|_| format!("the report of attempt {attempt} is rejected, and has an effect"))
        };
        match told.event {
            Event::Reported { attempt, report, .. } => {
                let result = match report {
                    Report::Succeeded { result } => Some(result.clone()),
                    Report::Failed { .. } | Report::Returned => None,
                };
                self.reported.insert(*attempt, result);
                let old = AttemptId(books.newest.0.saturating_sub(REPORTED_MAX));
                while self.reported.first_key_value().is_some_and(|(attempt, _)| *attempt < old) {
                    self.reported.pop_first();
                }
                while self.accepted.first_key_value().is_some_and(|(attempt, _)| *attempt < old) {
                    self.accepted.pop_first();
                }
                None
            }
            Event::Accepted { task, attempt, incarnation, end } => {
                self.accepted.insert(*attempt, (*incarnation, task.clone()));
                // A report that overtakes the word that its attempt has begun says both.
                if self.started == Some((told.decided, *attempt)) {
                    findings.reached("report before acknowledgement");
                }
                let reported = self.reported.get(attempt);
                // A result that can't be kept is a failure.
                if reported.is_none() || *end == End::Succeeded && reported == Some(&None) {
                    return Some(format!(
                        "attempt {attempt} of {task} ends as {end:?}, which its worker didn't report"
                    ));
                }
                effect(attempt).or_else(|| {
                    let stale = stale(books, Some(task), *attempt, *incarnation)?;
                    Some(format!("a report of attempt {attempt} of {task} is accepted, which {stale}"))
                })
            }
            Event::Rejected { attempt, incarnation, repeated, .. } => {
                if *repeated {
                    findings.reached("duplicate report answered");
                }
                self.rejected = Some((told.decided, *attempt));
                let counted = self.accepted.get(attempt).filter(|(who, _)| who == incarnation && !*repeated);
                let newest = |task: &Text| {
                    books.tasks.get(task).is_some_and(|row| row.last.as_ref().is_some_and(|(last, _)| last == attempt))
                };
                if counted.is_some_and(|(_, task)| newest(task)) {
                    return Some(format!(
                        "the report of attempt {attempt} counted, and its repeat is taken for another"
                    ));
                }
                let current = stale(books, None, *attempt, *incarnation).is_none();
                current.then(|| format!("the report of attempt {attempt}, which is current, is rejected"))
            }
            Event::Terminal { task, outcome: Outcome::Succeeded { attempt, result }, .. } => {
                let returned = self.reported.get(attempt)?.as_ref()?;
                (returned != result).then(|| format!("{task} ends with another result than attempt {attempt} returned"))
            }
            Event::Started { attempt, .. } => {
                let effect = effect(attempt);
                self.started = Some((told.decided, *attempt));
                effect
            }
            Event::Fenced { attempt, .. } | Event::Released { attempt, .. } | Event::Settled { attempt, .. } => {
                effect(attempt)
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        (self.rejected, self.started) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{I, accepted, assigned, fenced, lost, tasks};
    use super::*;
    use crate::checkers::testing::{History, W};
    use squall_scheduler::Ignored;

    fn rejected(attempt: u64, repeated: bool) -> Event {
        let reason = if repeated { Ignored::Repeated } else { Ignored::Fenced };
        Event::Rejected { attempt: AttemptId(attempt), incarnation: I, repeated, reason }
    }

    fn reports(history: History<Judged<Sc3>>, attempt: u64) -> History<Judged<Sc3>> {
        let report = Report::Succeeded { result: Arc::from([]) };
        let (task, attempt, progress_micros) = ("t".into(), AttemptId(attempt), 1_000_000);
        history.event(W, Event::Reported { incarnation: I, task, attempt, report, progress_micros })
    }

    fn start() -> History<Judged<Sc3>> {
        reports(tasks(Judged::<Sc3>::default()).submit("t", 1).assign("t", 1), 1)
    }

    #[test]
    fn only_the_current_attempt_reports() {
        start().succeed("t", 1).holds();
        reports(start(), 2).tells(accepted("t", 2, End::Succeeded)).violated("doesn't hold its task any more");
        let next = start().lose("t", 1, 1).assign("t", 2);
        next.tells(accepted("t", 2, End::Succeeded)).violated("which its worker didn't report");
        start().tells(accepted("u", 1, End::Succeeded)).violated("is another task's");
        let late = Event::Accepted {
            task: "t".into(),
            attempt: AttemptId(1),
            incarnation: Incarnation(9),
            end: End::Succeeded,
        };
        start().tells(late).violated("is another incarnation's");
        let again = || start().lose("t", 1, 1).tells(assigned("t", 2));
        again().tells(accepted("t", 1, End::Succeeded)).violated("doesn't hold its task any more");
        again().at(200).tells(rejected(1, false)).holds();
    }

    #[test]
    fn a_task_ends_with_what_was_returned() {
        let outcome = Outcome::Succeeded { attempt: AttemptId(1), result: Arc::from([7]) };
        let ends = super::super::testing::terminal("t", outcome, 0, 0);
        let accepts = || start().tells(accepted("t", 1, End::Succeeded));
        accepts().tells(ends).violated("t ends with another result than attempt 1 returned");
    }

    #[test]
    fn what_is_rejected_has_no_effect() {
        start().succeed("t", 1).at(200).tells(rejected(1, true)).holds();
        start().succeed("t", 1).at(200).tells(rejected(1, false)).violated("its repeat is taken for another");
        start().tells(rejected(1, false)).violated("which is current, is rejected");
        let late = || start().lose("t", 1, 1).at(200).tells(rejected(1, false));
        late().tells(fenced("t", 1, lost())).violated("and has an effect");
        late().released(1).violated("and has an effect");
    }
}
