//! SC6: task failures <= max_retries + 1, losses <= max_losses + 1, drains charged to nobody.
//!
//! Source: spec 3.2. Failures and losses are counted here by how attempts ended, and compared with what is told; a task goes
//! on until its budget is used up, and not beyond. Who drains is let go once it holds nothing: what runs is finished or moves
//! (3.1).

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{Event, Outcome, Verdict};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc6;

impl Judge for Sc6 {
    const PROPERTY: &'static str = "SC6";
    const EVENTS: &'static [&'static str] = &["assigned", "requeued", "terminal", "drained"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let (task, told_failures, told_losses, outcome) = match told.event {
            Event::Assigned { task, failures, .. } => (task, *failures, None, None),
            Event::Requeued { task, failures, losses, .. } => (task, *failures, Some(*losses), None),
            Event::Terminal { task, failures, losses, outcome } => (task, *failures, Some(*losses), Some(outcome)),
            Event::Drained { incarnation } => {
                let held = books.hosts.get(incarnation)?.leases.first()?;
                return Some(format!("incarnation {incarnation} is drained, and attempt {held} runs there"));
            }
            _ => return None,
        };
        let row = books.tasks.get(task)?;
        let told_losses = told_losses.unwrap_or(row.losses);
        if (told_failures, told_losses) != (row.failures, row.losses) {
            return Some(format!(
                "{task} is told to have {told_failures} failures and {told_losses} losses, but it had {} and {}",
                row.failures, row.losses
            ));
        }
        let retries = row.spec.max_retries.unwrap_or(told.knobs.max_retries);
        let (failed, poisoned) = (row.failures > retries, row.losses > told.knobs.max_losses);
        match outcome {
            None if failed => {
                Some(format!("{task} goes on after {} failures; {retries} retries are allowed", row.failures))
            }
            None if poisoned => Some(format!("{task} goes on after it lost {} workers", row.losses)),
            Some(Outcome::Failed(Verdict::Escalated(_))) if row.failures != retries + 1 => {
                Some(format!("{task} is escalated after {} failures; {retries} retries are allowed", row.failures))
            }
            Some(Outcome::Failed(Verdict::Poison)) => {
                findings.reached("poison reached");
                let early = row.losses != told.knobs.max_losses + 1;
                early.then(|| format!("{task} is poison after it lost {} workers", row.losses))
            }
            None | Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{accepted, fenced, lost, requeued, tasks, terminal};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{End, FailureKind, Strategy};

    fn failed(times: u32) -> crate::checkers::testing::History<Judged<Sc6>> {
        (1..=times).fold(tasks(Judged::default()).submit("t", 1), |history, failures| {
            let attempt = u64::from(failures);
            let assigned = super::super::testing::assigned_with("t", attempt, failures - 1, None);
            let ended = history.assign_event(assigned, attempt);
            let next = requeued("t", Span::from_secs(5), (failures, 0), Some(Strategy::DelayedRetry));
            let ended = ended.tells(accepted("t", attempt, End::Failed(FailureKind::Evaluation)));
            if failures == times { ended } else { ended.tells(next) }
        })
    }

    #[test]
    fn who_drains_finishes_first() {
        let drained = || Event::Drained { incarnation: super::super::testing::I };
        let start = || tasks(Judged::<Sc6>::default()).submit("t", 1).assign("t", 1);
        start().tells(drained()).violated("incarnation 10 is drained, and attempt 1 runs there");
        start().succeed("t", 1).tells(drained()).holds();
    }

    #[test]
    fn failures_are_counted_and_limited() {
        let again = |failures| requeued("t", Span::from_secs(5), (failures, 0), Some(Strategy::DelayedRetry));
        let escalated = || Outcome::Failed(Verdict::Escalated(FailureKind::Evaluation));
        failed(3).tells(again(3)).holds();
        failed(3).tells(again(2)).violated("2 failures and 0 losses, but it had 3 and 0");
        failed(4).tells(again(4)).violated("goes on after 4 failures");
        failed(4).tells(terminal("t", escalated(), 4, 0)).holds();
        failed(3).tells(terminal("t", escalated(), 3, 0)).violated("is escalated after 3 failures");
    }

    #[test]
    fn losses_are_counted_apart_and_drains_not_at_all() {
        let drained =
            || tasks(Judged::<Sc6>::default()).submit("t", 1).assign("t", 1).tells(fenced("t", 1, End::Drained));
        drained().tells(requeued("t", Span::ZERO, (0, 0), None)).holds();
        drained().tells(requeued("t", Span::ZERO, (0, 1), None)).violated("0 failures and 1 losses");
        let lost = |times: u32| {
            (1..=times).fold(tasks(Judged::<Sc6>::default()).submit("t", 1), |history, losses| {
                let attempt = u64::from(losses);
                let ended = history.assign("t", attempt).tells(fenced("t", attempt, lost()));
                if losses == times { ended } else { ended.tells(requeued("t", Span::ZERO, (0, losses), None)) }
            })
        };
        lost(4).tells(terminal("t", Outcome::Failed(Verdict::Poison), 0, 4)).holds();
        lost(4).tells(requeued("t", Span::ZERO, (0, 4), None)).violated("goes on after it lost 4 workers");
        lost(3).tells(terminal("t", Outcome::Failed(Verdict::Poison), 0, 3)).violated("is poison after it lost 3");
    }
}
