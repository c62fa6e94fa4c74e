//! CB4: each permit is settled exactly once within its life, whatever happens to it.
//!
//! Source: spec 3.3. A permit lives until its attempt ends, and is settled in that step, before anything is said of what
//! becomes of the task. That of a probe is taken back after max(60 s, 3 tau) at the latest, and not before.

use super::books::{Books, Moment};
use super::breakers::nanos;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, BreakerKey, Event, Settlement};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb4;

impl Cb4 {
    /// A permit comes back although its attempt goes on.
    fn early(
        told: &Told<'_>,
        books: &Books,
        (attempt, key): (AttemptId, &BreakerKey),
        (taken, probe): (Moment, bool),
    ) -> Option<String> {
        books.attempts.get(&attempt)?;
        if !probe {
            return Some(format!("the permit of {key} comes back from attempt {attempt}, which goes on"));
        }
        let short = told.at - taken < nanos(told.knobs.probe_max);
        short.then(|| format!("the permit of {key} is taken back from attempt {attempt} too early"))
    }
}

impl Judge for Cb4 {
    const PROPERTY: &'static str = "CB4";
    const EVENTS: &'static [&'static str] = &["permitted", "settled", "requeued", "terminal"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let permits = &books.breakers.permits;
        match told.event {
            Event::Permitted { key, attempt, .. } => permits
                .contains_key(&(*attempt, key.clone()))
                .then(|| format!("attempt {attempt} takes a permit of {key}, and has one")),
            Event::Settled { key, attempt, generation, settlement, .. } => {
                let Some(permit) = permits.get(&(*attempt, key.clone())) else {
                    return Some(format!("attempt {attempt} gives back a permit of {key}, and has none"));
                };
                if permit.generation != *generation {
                    return Some(format!(
                        "the permit of {key} is of generation {}, not {generation}",
                        permit.generation
                    ));
                }
                if *settlement == Settlement::Released && books.attempts.contains_key(attempt) {
                    findings.reached("half-open with an expired probe");
                }
                Self::early(told, books, (*attempt, key), (permit.taken, permit.probe))
            }
            Event::Requeued { task, .. } | Event::Terminal { task, .. } => {
                let (attempt, _) = books.tasks.get(task)?.last.as_ref()?;
                let first = (*attempt, BreakerKey::Worker("".into()));
                let (_, key) = permits.range(first..).map(|(held, _)| held).find(|(holder, _)| holder == attempt)?;
                Some(format!("attempt {attempt} of {task} is over, and keeps its permit of {key}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{accepted, requeued, settled, tasks, three, worker_key};
    use super::*;
    use squall_machine::Span;
    use squall_scheduler::{End, Settlement};

    #[test]
    fn what_was_taken_comes_back_once() {
        let start = || tasks(Judged::<Cb4>::default()).submit("t", 1).assign("t", 1);
        start().succeed("t", 1).submit("u", 2).assign("u", 2).holds();
        let over = || start().tells(accepted("t", 1, End::Drained)).released(1);
        let again = || requeued("t", Span::ZERO, (0, 0), None);
        over().settle(1, [Settlement::Released; 3]).tells(again()).holds();
        let kept = three()
            .into_iter()
            .take(2)
            .fold(over(), |history, key| history.tells(settled(key, 1, 0, Settlement::Released, false)));
        kept.tells(again()).violated("keeps its permit of type cpu_light");
        start().tells(settled(worker_key(), 1, 0, Settlement::Released, false)).violated("which goes on");
        let over = over().settle(1, [Settlement::Released; 3]);
        over.tells(settled(worker_key(), 1, 0, Settlement::Released, false)).violated("and has none");
    }
}
