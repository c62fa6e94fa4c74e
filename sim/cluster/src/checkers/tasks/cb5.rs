//! CB5: an old generation's result returns the permit and counts nothing.
//!
//! Source: spec 3.3. A settlement says whether it counted: if its generation is the breaker's, and it is no mere release. (That
//! the breaker then goes by what counted, and by nothing else, is CB6's.)

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb5;

impl Judge for Cb5 {
    const PROPERTY: &'static str = "CB5";
    const EVENTS: &'static [&'static str] = &["settled"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let Event::Settled { key, attempt, generation, settlement, counted } = told.event else { return None };
        let model = books.breakers.model(key);
        if *generation < model.generation {
            findings.reached("result of an older generation");
        }
        let counts = model.counts(*generation, *settlement);
        (*counted != counts).then(|| {
            format!(
                "{settlement:?} of attempt {attempt} for {key}, generation {generation} of {}, counted: {counted}",
                model.generation
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{changed, settled, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerStage::{Closed, Open};
    use squall_scheduler::{BreakerCause, Settlement};

    #[test]
    fn only_the_current_generation_counts() {
        let start = || tasks(Judged::<Cb5>::default()).submit("t", 1).assign("t", 1);
        let fails = |counted| settled(worker_key(), 1, 0, Settlement::Failure, counted);
        start().tells(fails(true)).holds();
        start().tells(fails(false)).violated("counted: false");
        let open = Open { until: Span::from_secs(60) };
        let opened = || start().tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold));
        opened().tells(fails(false)).holds();
        opened().tells(fails(true)).violated("generation 0 of 1, counted: true");
        start().tells(settled(worker_key(), 1, 0, Settlement::Released, true)).violated("Released of attempt 1");
    }
}
