//! CB2: no permit while Open before its time.
//!
//! Source: spec 3.3. Time alone opens nothing: a breaker whose time has come says that it is half open, and permits then.

use super::books::Books;
use super::breakers::Stage;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb2;

impl Judge for Cb2 {
    const PROPERTY: &'static str = "CB2";
    const EVENTS: &'static [&'static str] = &["permitted"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, _: &mut Findings) -> Option<String> {
        let Event::Permitted { key, attempt, generation, .. } = told.event else { return None };
        let model = books.breakers.model(key);
        if model.stage == Stage::Open {
            return Some(format!("attempt {attempt} has a permit of {key}, which is open"));
        }
        (model.generation != *generation).then(|| {
            format!("attempt {attempt} has a permit of {key} in generation {generation}, not {}", model.generation)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{changed, permitted, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerCause;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};

    #[test]
    fn what_is_open_permits_nothing() {
        let open = Open { until: Span::from_secs(60) };
        let start = || {
            tasks(Judged::<Cb2>::default()).tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold))
        };
        start().tells(permitted(worker_key(), 1, 1, false)).violated("which is open");
        let half = || start().tells(changed(worker_key(), open, HalfOpen, (2, 1), BreakerCause::Elapsed));
        half().tells(permitted(worker_key(), 1, 2, true)).holds();
        half().tells(permitted(worker_key(), 1, 1, true)).violated("in generation 1, not 2");
    }
}
