//! SC2: at most one accepted success per task.
//!
//! Source: spec 3.1 (at least once execution, at most once effect).

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_machine::Text;
use squall_scheduler::{AttemptId, End, Event};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc2 {
    succeeded: BTreeMap<Text, AttemptId>,
}

impl Judge for Sc2 {
    const PROPERTY: &'static str = "SC2";
    const EVENTS: &'static [&'static str] = &["report_accepted", "task_forgotten"];

    fn judge(&mut self, told: &Told<'_>, _: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Accepted { task, attempt, end: End::Succeeded, .. } => {
                let before = self.succeeded.insert(task.clone(), *attempt)?;
                Some(format!("attempt {attempt} of {task} succeeds, as attempt {before} did"))
            }
            Event::TaskForgotten { task } => {
                self.succeeded.remove(task);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{accepted, tasks};
    use super::*;

    #[test]
    fn one_success_counts() {
        let start = || tasks(Judged::<Sc2>::default()).submit("t", 1).assign("t", 1).succeed("t", 1);
        start().submit("u", 2).assign("u", 2).succeed("u", 2).holds();
        start().tells(accepted("t", 1, End::Succeeded)).violated("succeeds, as attempt 1 did");
    }
}
