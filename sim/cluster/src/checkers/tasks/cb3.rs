//! CB3: unsettled probes <= limit.
//!
//! Source: spec 3.3. A permit of a breaker that is half open is a probe, and says so.

use super::books::Books;
use super::breakers::Stage;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb3;

impl Judge for Cb3 {
    const PROPERTY: &'static str = "CB3";
    const EVENTS: &'static [&'static str] = &["permitted"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let Event::Permitted { key, attempt, probe, .. } = told.event else { return None };
        let model = books.breakers.model(key);
        let limit = told.knobs.breaker(key).probes as usize;
        if *probe != (model.stage == Stage::HalfOpen) {
            return Some(format!(
                "attempt {attempt} takes a permit of {key}, probe: {probe}, but it is {:?}",
                model.stage
            ));
        }
        if *probe {
            findings.reached("probe of a half-open breaker");
        }
        (*probe && model.probes.len() >= limit)
            .then(|| format!("attempt {attempt} probes {key}, which {} others do; {limit} may", model.probes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{changed, permitted, settled, tasks, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::BreakerStage::{Closed, HalfOpen, Open};
    use squall_scheduler::{BreakerCause, Settlement};

    #[test]
    fn one_probe_at_a_time() {
        let open = Open { until: Span::from_secs(60) };
        let half = || {
            tasks(Judged::<Cb3>::default())
                .tells(changed(worker_key(), Closed, open, (1, 1), BreakerCause::Threshold))
                .tells(changed(worker_key(), open, HalfOpen, (2, 1), BreakerCause::Elapsed))
                .tells(permitted(worker_key(), 1, 2, true))
        };
        half().tells(permitted(worker_key(), 2, 2, true)).violated("which 1 others do; 1 may");
        half().tells(permitted(worker_key(), 2, 2, false)).violated("but it is HalfOpen");
        let back = || half().tells(settled(worker_key(), 1, 2, Settlement::Success, true));
        back().tells(permitted(worker_key(), 2, 2, true)).holds();
    }
}
