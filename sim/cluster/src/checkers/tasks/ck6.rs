//! CK6: at least one complete checkpoint is kept while the task lives.
//!
//! Source: spec 3.5 (keep 5). The oldest go first, none that is needed goes, and no more are kept than are to be.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ck6;

impl Judge for Ck6 {
    const PROPERTY: &'static str = "CK6";
    const EVENTS: &'static [&'static str] = &["completed"];

    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String> {
        let Event::Completed { task, checkpoint, pruned, .. } = told.event else { return None };
        let known = books.tasks.get(task)?.checkpoints.iter().map(|known| known.seq).chain([checkpoint.seq]);
        let known: Vec<_> = known.collect();
        let keep = told.knobs.checkpoints_kept.max(1) as usize;
        let (gone, _) = known.split_at(known.len().saturating_sub(keep));
        if !gone.is_empty() {
            findings.reached("old checkpoints pruned");
        }
        (gone != pruned).then(|| format!("of {known:?} of {task}, {keep} are to be kept, but {pruned:?} go"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{checkpoint, completed, tasks};
    use super::*;

    #[test]
    fn the_newest_five_are_kept() {
        let five = || {
            (1..=5).fold(tasks(Judged::<Ck6>::default()).submit("t", 1).assign("t", 1), |history, seq| {
                history.tells(completed("t", checkpoint(1, seq), &[]))
            })
        };
        let sixth = |pruned: &[u64]| five().tells(completed("t", checkpoint(1, 6), pruned));
        sixth(&[1]).tells(completed("t", checkpoint(1, 7), &[2])).holds();
        sixth(&[]).violated("5 are to be kept, but [] go");
        sixth(&[6]).violated("but [CheckpointSeq(6)] go");
        sixth(&[1, 2]).violated("are to be kept");
    }
}
