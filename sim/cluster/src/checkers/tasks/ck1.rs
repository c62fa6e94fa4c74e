//! CK1: completed seq strictly increases; restore returns the newest complete of accepted attempts.
//!
//! Source: spec 3.5.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck1;

impl Judge for Ck1 {
    const PROPERTY: &'static str = "CK1";
    const EVENTS: &'static [&'static str] = &["completed", "assigned", "save_begun"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        match told.event {
            Event::Completed { task, checkpoint, .. } => {
                let newest = books.tasks.get(task)?.checkpoints.back()?;
                (checkpoint.seq <= newest.seq)
                    .then(|| format!("checkpoint {} of {task} counts after {}", checkpoint.seq, newest.seq))
            }
            Event::SaveBegun { task, attempt, seq, .. } => {
                let restore = books.attempts.get(attempt)?.restore?;
                (*seq <= restore.seq).then(|| {
                    format!("attempt {attempt} of {task} goes on from checkpoint {}, and saves {seq}", restore.seq)
                })
            }
            Event::Assigned { task, attempt, restore, .. } => {
                let newest = books.tasks.get(task)?.checkpoints.back().copied();
                let restore = restore.as_deref().copied();
                if restore.is_some() {
                    findings.reached("task goes on from a checkpoint");
                }
                (restore != newest).then(|| {
                    let (from, newest) = (restore.map(|from| from.seq), newest.map(|newest| newest.seq));
                    format!("attempt {attempt} of {task} goes on from {from:?}, the newest checkpoint is {newest:?}")
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::W;
    use super::super::judge::Judged;
    use super::super::testing::{assigned_with, checkpoint, completed, tasks};
    use super::*;
    use squall_scheduler::{AttemptId, CheckpointSeq};

    #[test]
    fn the_newest_is_restored() {
        let start = || {
            let ran = tasks(Judged::<Ck1>::default()).submit("t", 1).assign("t", 1);
            ran.tells(completed("t", checkpoint(1, 1), &[])).tells(completed("t", checkpoint(1, 3), &[]))
        };
        start().tells(completed("t", checkpoint(1, 3), &[])).violated("checkpoint 3 of t counts after 3");
        let again = |restore| start().lose("t", 1, 1).assign_event(assigned_with("t", 2, 0, restore), 2);
        again(Some(checkpoint(1, 3))).holds();
        let begins = |seq| {
            let (attempt, seq) = (AttemptId(2), CheckpointSeq(seq));
            again(Some(checkpoint(1, 3)))
                .event(W, Event::SaveBegun { task: "t".into(), attempt, seq, progress_micros: 9 })
        };
        begins(4).holds();
        begins(3).violated("goes on from checkpoint 3, and saves 3");
        again(Some(checkpoint(1, 1))).violated("goes on from Some(CheckpointSeq(1))");
        again(None).violated("goes on from None");
    }
}
