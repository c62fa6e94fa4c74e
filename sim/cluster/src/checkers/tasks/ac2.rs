//! AC2: each Reserved has exactly one Released.
//!
//! Source: spec 3.4 (released exactly once per attempt). It comes back as much as was taken, of the same incarnation, in the step
//! in which the attempt ends: before anything is said of what becomes of the task.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, Event, Incarnation, Resources};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ac2 {
    reserved: BTreeMap<AttemptId, (Incarnation, Resources)>,
}

impl Judge for Ac2 {
    const PROPERTY: &'static str = "AC2";
    const EVENTS: &'static [&'static str] = &["reserved", "released", "requeued", "terminal"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Reserved { attempt, incarnation, resources } => {
                let before = self.reserved.insert(*attempt, (*incarnation, *resources))?;
                Some(format!("{resources:?} is set aside for attempt {attempt}, which holds {before:?}"))
            }
            Event::Released { attempt, incarnation, resources } => {
                let held = self.reserved.remove(attempt);
                (held != Some((*incarnation, *resources))).then(|| {
                    format!("{resources:?} of {incarnation} comes back from attempt {attempt}, which held {held:?}")
                })
            }
            Event::Requeued { task, .. } | Event::Terminal { task, .. } => {
                let (attempt, _) = books.tasks.get(task)?.last.as_ref()?;
                let held = self.reserved.get(attempt)?;
                Some(format!("attempt {attempt} of {task} is over, and {held:?} is still set aside for it"))
            }
            _ => None,
        }
    }

    fn restart(&mut self) {
        self.reserved.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{NEED, fenced, lost, requeued, tasks};
    use super::*;
    use squall_machine::Span;

    #[test]
    fn what_was_taken_comes_back_once() {
        let start = || tasks(Judged::<Ac2>::default()).submit("t", 1).assign("t", 1);
        start().succeed("t", 1).holds();
        start().lose("t", 1, 1).assign("t", 2).holds();
        start().released(1).released(1).violated("which held None");
        let other = Event::Released { attempt: AttemptId(1), incarnation: Incarnation(9), resources: NEED };
        start().tells(other).violated("of 9 comes back");
        start().assign("t", 1).violated("which holds");
        let kept = start().tells(fenced("t", 1, lost())).tells(requeued("t", Span::ZERO, (0, 1), None));
        kept.violated("is still set aside for it");
    }
}
