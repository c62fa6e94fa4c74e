//! CB8: the three permits of an assignment are taken together or not at all.
//!
//! Source: spec 3.3. Between the three permits of an attempt and its assignment nothing else is told.

use super::books::Books;
use super::breakers::keys;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, BreakerKey, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb8 {
    /// The permits that were taken for an attempt that isn't assigned yet.
    taken: Option<(AttemptId, Vec<BreakerKey>)>,
}

impl Judge for Cb8 {
    const PROPERTY: &'static str = "CB8";
    const EVENTS: &'static [&'static str] =
        &["permitted", "assigned", "settled", "requeued", "terminal", "report_accepted", "fenced", "reserved"];

    fn judge(&mut self, told: &Told<'_>, _: &Books, _: &mut Findings) -> Option<String> {
        if !told.scheduler {
            return None;
        }
        match told.event {
            Event::Permitted { key, attempt, .. } => {
                if let Some((holder, keys)) = &mut self.taken
                    && holder == attempt
                {
                    keys.push(key.clone());
                    return None;
                }
                let alone = self.taken.replace((*attempt, vec![key.clone()]))?;
                Some(format!("attempt {} took {:?}, and isn't assigned", alone.0, alone.1))
            }
            Event::Assigned { attempt, worker, shape, kind, .. } => {
                let taken = self.taken.take();
                let (mut needed, mut held) = (keys(worker, shape.class, *kind).to_vec(), Vec::new());
                if let Some((holder, keys)) = taken
                    && holder == *attempt
                {
                    held = keys;
                }
                needed.sort();
                held.sort();
                (needed != held).then(|| format!("attempt {attempt} begins with permits of {held:?}, not {needed:?}"))
            }
            _ => {
                let (attempt, keys) = self.taken.take()?;
                Some(format!("attempt {attempt} took {keys:?}, and isn't assigned"))
            }
        }
    }

    fn restart(&mut self) {
        self.taken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{assigned, permitted, tasks, three};
    use super::*;

    #[test]
    fn three_or_none() {
        let start = || tasks(Judged::<Cb8>::default()).submit("t", 1).submit("u", 2);
        start().assign("t", 1).assign("u", 2).holds();
        let two = || {
            let taken = three().into_iter().take(2);
            taken.fold(start(), |history, key| history.tells(permitted(key, 1, 0, false)))
        };
        two().tells(assigned("t", 1)).violated("attempt 1 begins with permits of");
        two().assign("u", 2).violated("and isn't assigned");
    }
}
