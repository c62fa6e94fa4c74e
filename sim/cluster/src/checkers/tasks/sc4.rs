//! SC4: at most one unfenced lease per task.
//!
//! Source: spec 3.1 (each execution is an attempt with a lease of its own).

use super::books::{Books, Place};
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc4;

impl Judge for Sc4 {
    const PROPERTY: &'static str = "SC4";
    const EVENTS: &'static [&'static str] = &["assigned", "running"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        match told.event {
            Event::Assigned { task, attempt, .. } => match books.tasks.get(task)?.place {
                Place::Leased(holder) => Some(format!("attempt {attempt} of {task} begins while {holder} holds it")),
                Place::Waiting { .. } | Place::Between | Place::Ended(_) => None,
            },
            // A worker may run what was fenced, as long as it doesn't know; nobody minds.
            Event::Running { task, attempt, .. } => {
                let place = &books.tasks.get(task)?.place;
                if matches!(place, Place::Leased(holder) if holder != attempt) {
                    findings.reached("a fenced attempt runs beside the current one");
                }
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::tasks;
    use super::*;

    #[test]
    fn a_task_has_one_lease() {
        let start = || tasks(Judged::<Sc4>::default()).submit("t", 1).assign("t", 1);
        start().lose("t", 1, 1).assign("t", 2).holds();
        start().assign("t", 2).violated("attempt 2 of t begins while 1 holds it");
    }
}
