//! SC9: after an acknowledged cancel: no success, no new assignment.
//!
//! Source: spec 3.1 (cancel is final once acknowledged). A cancel is acknowledged when its client hears that the task has
//! ended by it; and the answer to a cancel is never that the task goes on.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{End, Event, Ignored, Outcome, Standing};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc9 {
    cancelled: BTreeSet<Text>,
}

impl Judge for Sc9 {
    const PROPERTY: &'static str = "SC9";
    const EVENTS: &'static [&'static str] = &[
        "cancel_answered",
        "assigned",
        "report_accepted",
        "task_recalled",
        "learned",
        "task_forgotten",
        "task_ignored",
    ];

    fn judge(&mut self, told: &Told<'_>, _: &Books, _: &mut Findings) -> Option<String> {
        let undone = |task: &Text, how: &str| {
            self.cancelled.contains(task).then(|| format!("{task} was cancelled, as its client knows, and {how}"))
        };
        match told.event {
            Event::CancelAnswered { task, standing } => match standing {
                Standing::Waiting | Standing::Running { .. } => {
                    Some(format!("{task} is cancelled, and goes on: {standing:?}"))
                }
                Standing::Ended(Outcome::Cancelled) => {
                    self.cancelled.insert(task.clone());
                    None
                }
                Standing::Unknown | Standing::Ended(Outcome::Succeeded { .. } | Outcome::Failed(_)) => None,
            },
            // The only answer that no client can take says that a task which was to be cancelled goes on.
            Event::Ignored { reason: Ignored::Malformed, incarnation: None } if !told.scheduler => {
                Some("a client asks for a cancel, and is answered that its task goes on".to_owned())
            }
            Event::Assigned { task, .. } => undone(task, "is assigned"),
            Event::Accepted { task, end: End::Succeeded, .. } => undone(task, "succeeds"),
            Event::Learned { task, outcome: Outcome::Succeeded { .. } } => undone(task, "succeeds"),
            Event::TaskRecalled { task } => undone(&task.spec.id, "is open after a restart"),
            Event::TaskForgotten { task } => {
                self.cancelled.remove(task);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{accepted, assigned, fenced, tasks, terminal};
    use super::*;

    #[test]
    fn what_is_cancelled_stays_so() {
        let answered = |standing| Event::CancelAnswered { task: "t".into(), standing };
        let start = || tasks(Judged::<Sc9>::default()).submit("t", 1).assign("t", 1);
        let ended = || start().tells(fenced("t", 1, End::Cancelled)).tells(terminal("t", Outcome::Cancelled, 0, 0));
        let cancelled = || ended().client(answered(Standing::Ended(Outcome::Cancelled)));
        cancelled().holds();
        cancelled().tells(assigned("t", 2)).violated("and is assigned");
        cancelled().tells(accepted("t", 1, End::Succeeded)).violated("and succeeds");
        start().client(answered(Standing::Waiting)).violated("and goes on");
        let told = Event::Ignored { reason: Ignored::Malformed, incarnation: None };
        start().client(told.clone()).violated("and is answered that its task goes on");
        start().tells(told).holds();
        start().succeed("t", 1).client(answered(Standing::Ended(super::super::testing::success(1)))).holds();
    }
}
