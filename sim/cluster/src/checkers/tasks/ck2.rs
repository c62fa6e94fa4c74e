//! CK2: a fenced attempt's checkpoint is refused.
//!
//! Source: spec 3.5. Only the attempt that holds its task, for the incarnation that saves, may complete one; and the attempt
//! named in it is the one that saved it.

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck2;

impl Judge for Ck2 {
    const PROPERTY: &'static str = "CK2";
    const EVENTS: &'static [&'static str] = &["completed", "save_rejected"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let Event::Completed { task, incarnation, checkpoint, .. } = told.event else {
            if let Event::SaveRejected { repeated: false, .. } = told.event {
                findings.reached("checkpoint refused");
            }
            return None;
        };
        let attempt = checkpoint.attempt;
        let holds = books.tasks.get(task).is_some_and(|row| row.place == Place::Leased(attempt));
        let own = books.attempts.get(&attempt).is_some_and(|held| held.incarnation == *incarnation);
        (!holds || !own).then(|| {
            format!("checkpoint {} of attempt {attempt} of {task} counts, which doesn't hold it", checkpoint.seq)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{checkpoint, completed, tasks};
    use super::*;
    use squall_scheduler::Incarnation;

    #[test]
    fn only_the_holder_saves() {
        let start = || tasks(Judged::<Ck2>::default()).submit("t", 1).assign("t", 1);
        start().tells(completed("t", checkpoint(1, 1), &[])).holds();
        start().lose("t", 1, 1).tells(completed("t", checkpoint(1, 1), &[])).violated("which doesn't hold it");
        let other = Event::Completed {
            task: "t".into(),
            incarnation: Incarnation(9),
            checkpoint: checkpoint(1, 1),
            pruned: Vec::new(),
        };
        start().tells(other).violated("checkpoint 1 of attempt 1 of t");
    }
}
