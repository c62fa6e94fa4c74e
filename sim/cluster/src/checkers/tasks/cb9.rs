//! CB9: blame falls on the right keys only; a lost worker counts once.
//!
//! Source: spec 3.3: crash, disconnect, browser -> worker; hardware, out_of_memory -> class; all else -> type; the others are
//! released. A success speaks for all three; who was drained, moved, cancelled or ran out of time says nothing.

use super::books::Books;
use super::judge::{Judge, Told};
use squall::Findings;
use squall_scheduler::{AttemptId, BreakerKey, End, Event, FailureKind, Incarnation, Settlement};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cb9 {
    /// The attempt that ended last, how, and whether it is the first that its incarnation lost.
    ended: Option<(AttemptId, End, bool)>,
    /// The incarnation that was lost last, and that its worker heard of it.
    lost: Option<Incarnation>,
}

/// What a failure of this kind says to the breaker of a key.
fn blamed(kind: FailureKind, key: &BreakerKey) -> Settlement {
    let hit = match kind {
        FailureKind::WorkerCrash | FailureKind::WorkerDisconnected | FailureKind::Browser => {
            matches!(key, BreakerKey::Worker(_))
        }
        FailureKind::Hardware | FailureKind::OutOfMemory => matches!(key, BreakerKey::Class(_)),
        FailureKind::Timeout | FailureKind::Network | FailureKind::Evaluation | FailureKind::Unknown => {
            matches!(key, BreakerKey::Type(_))
        }
    };
    if hit { Settlement::Failure } else { Settlement::Released }
}

impl Judge for Cb9 {
    const PROPERTY: &'static str = "CB9";
    const EVENTS: &'static [&'static str] = &["report_accepted", "fenced", "settled"];

    fn judge(&mut self, told: &Told<'_>, _: &Books, _: &mut Findings) -> Option<String> {
        match told.event {
            Event::Accepted { attempt, end, .. } => self.ended = Some((*attempt, end.clone(), false)),
            Event::Fenced { attempt, end, incarnation, .. } => {
                let first = matches!(end, End::Lost(_)) && self.lost != Some(*incarnation);
                if first {
                    self.lost = Some(*incarnation);
                }
                self.ended = Some((*attempt, end.clone(), first));
            }
            Event::Settled { key, attempt, settlement, .. } => {
                let ended = self.ended.as_ref().filter(|(ended, ..)| ended == attempt);
                let says = match ended {
                    // The time of a probe is over; it says nothing.
                    None => Settlement::Released,
                    Some((_, End::Succeeded, _)) => Settlement::Success,
                    Some((_, End::Failed(kind), _)) | Some((_, End::Lost(kind), true)) => blamed(*kind, key),
                    Some((_, End::Lost(_) | End::Drained | End::Migrated | End::Cancelled | End::Expired, _)) => {
                        Settlement::Released
                    }
                };
                return (*settlement != says).then(|| {
                    format!("attempt {attempt} ended as {ended:?}, and settles {settlement:?} with {key}, not {says:?}")
                });
            }
            _ => {}
        }
        None
    }

    fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judged;
    use super::super::testing::{accepted, fenced, lost, requeued, tasks};
    use super::*;
    use Settlement::{Failure, Released, Success};
    use squall_machine::Span;

    #[test]
    fn blame_falls_where_it_belongs() {
        let start = || tasks(Judged::<Cb9>::default()).submit("t", 1).assign("t", 1);
        let failed = |kind, settlements| start().tells(accepted("t", 1, End::Failed(kind))).settle(1, settlements);
        failed(FailureKind::Browser, [Failure, Released, Released]).holds();
        failed(FailureKind::OutOfMemory, [Released, Failure, Released]).holds();
        failed(FailureKind::Timeout, [Released, Released, Failure]).holds();
        failed(FailureKind::Timeout, [Released, Released, Released]).violated("with type cpu_light, not Failure");
        failed(FailureKind::Hardware, [Released, Failure, Failure]).violated("with type cpu_light, not Released");
        start().tells(accepted("t", 1, End::Succeeded)).settle(1, [Success; 3]).holds();
        start().tells(fenced("t", 1, End::Drained)).settle(1, [Released; 3]).holds();
        start().tells(fenced("t", 1, End::Cancelled)).settle(1, [Released, Released, Success]).violated("not Released");
    }

    #[test]
    fn a_lost_worker_counts_once() {
        let both = || tasks(Judged::<Cb9>::default()).submit("t", 1).submit("u", 2).assign("t", 1).assign("u", 2);
        let one = || both().lose("t", 1, 1).tells(fenced("u", 2, lost()));
        one().settle(2, [Released; 3]).tells(requeued("u", Span::ZERO, (0, 1), None)).holds();
        one().settle(2, [Failure, Released, Released]).violated("with worker w0, not Released");
        both().tells(fenced("t", 1, lost())).settle(1, [Released; 3]).violated("with worker w0, not Failure");
    }
}
