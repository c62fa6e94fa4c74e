//! CK3: an incomplete checkpoint is never restored.
//!
//! Source: spec 3.5. A task is sent on from a checkpoint that counted, and its worker goes on from exactly that one: what
//! was saved in part, or torn, or by a fenced attempt never counted.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck3;

impl Judge for Ck3 {
    const PROPERTY: &'static str = "CK3";
    const EVENTS: &'static [&'static str] = &["assigned", "restored"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Assigned { task, attempt, restore: Some(restore), .. } => {
                let complete = books.tasks.get(task)?.checkpoints.contains(restore);
                (!complete).then(|| {
                    format!("attempt {attempt} of {task} is to go on from {restore:?}, which isn't complete and kept")
                })
            }
            Event::Restored { task, attempt, checkpoint } => {
                let restore = books.attempts.get(attempt)?.restore;
                (restore != Some(*checkpoint))
                    .then(|| format!("attempt {attempt} of {task} goes on from {checkpoint:?}, not from {restore:?}"))
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
    use squall_scheduler::Checkpoint;

    #[test]
    fn what_is_restored_is_complete() {
        let again = |restore| {
            let ran = tasks(Judged::<Ck3>::default()).submit("t", 1).assign("t", 1);
            let saved = ran.tells(completed("t", checkpoint(1, 1), &[])).lose("t", 1, 1);
            saved.assign_event(assigned_with("t", 2, 0, Some(restore)), 2)
        };
        let torn = Checkpoint { digest: 9, ..checkpoint(1, 1) };
        again(torn).violated("which isn't complete");
        let restored =
            |checkpoint| Event::Restored { task: "t".into(), attempt: squall_scheduler::AttemptId(2), checkpoint };
        again(checkpoint(1, 1)).event(W, restored(checkpoint(1, 1))).holds();
        again(checkpoint(1, 1)).event(W, restored(torn)).violated("attempt 2 of t goes on from");
    }
}
