//! SC12: equal state and seed => equal choice.
//!
//! Source: spec 3.4. That two runs of one seed are equal is held for every run of this project; judged here is that a choice
//! says by which rule it was made, that it is the rule that is set, and that there was somebody to choose.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{Event, Placement};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc12;

impl Judge for Sc12 {
    const PROPERTY: &'static str = "SC12";
    const EVENTS: &'static [&'static str] = &["assigned"];

    fn judge(&mut self, told: &Told<'_>, _: &Books, _: &mut Findings) -> Option<String> {
        let Event::Assigned { task, attempt, choice, .. } = told.event else { return None };
        let by_turn = choice.placement == Placement::RoundRobin;
        let problem = if choice.eligible == 0 {
            "though nobody was eligible"
        } else if choice.figure_micros.is_some() == by_turn {
            "by a figure that its rule doesn't have, or without the one that it has"
        } else if choice.placement != told.knobs.placement && !by_turn {
            "by another rule than is set"
        } else {
            return None;
        };
        Some(format!("attempt {attempt} of {task} is placed {problem}: {choice:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{assigned, tasks};
    use super::*;
    use squall_scheduler::Choice;

    #[test]
    fn a_choice_is_by_the_rule() {
        let chosen = |placement, eligible, figure_micros| {
            let mut event = assigned("t", 1);
            if let Event::Assigned { choice, .. } = &mut event {
                *choice = Choice { placement, eligible, figure_micros };
            }
            tasks(Judged::<Sc12>::default()).submit("t", 1).assign_event(event, 1)
        };
        chosen(Placement::Rts, 1, Some(3)).holds();
        chosen(Placement::RoundRobin, 1, None).holds();
        chosen(Placement::Rts, 0, Some(3)).violated("nobody was eligible");
        chosen(Placement::Rts, 1, None).violated("without the one that it has");
        chosen(Placement::LeastLoaded, 1, Some(3)).violated("by another rule than is set");
    }
}
