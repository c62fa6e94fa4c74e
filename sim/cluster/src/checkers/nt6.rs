//! NT6: a subscriber that never reads delays neither ticks nor others; queues stay bounded.
//!
//! Source: spec 1.2. From what the coordinator shows of itself once a second: no session has more unconfirmed notices than
//! the knob allows, the ring of kept notices and the number of sessions stay within theirs, and a session isn't kept
//! waiting for itself while it lags. That ticks come in time is FD1's; that others are notified in time is NT2's.

use crate::{Cluster, ClusterView};
use squall::{Checker, EntryId, Findings, Interest, NodeId, Scene};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt6;

impl Checker<Cluster> for Nt6 {
    fn property(&self) -> &'static str {
        "NT6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.views();
    }

    fn on_view(&mut self, _: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Coordinator(status, _) = view else { return };
        let knobs = scene.system.knobs();
        let none: [EntryId; 0] = [];
        for session in &status.sessions {
            if session.queued > u64::from(knobs.subscriber_queue) {
                let message = format!(
                    "{} notices are queued for one session, at most {} may be",
                    session.queued, knobs.subscriber_queue
                );
                findings.violated("NT6", scene.now, none, message);
            }
        }
        let (notices, sessions) = (status.sizes.notices, status.sizes.sessions);
        if notices > knobs.notices_kept as usize {
            let message = format!("{notices} notices are kept, at most {} may be", knobs.notices_kept);
            findings.violated("NT6", scene.now, none, message);
        }
        if sessions > knobs.sessions_max as usize {
            let message = format!("{sessions} sessions are open, at most {} may be", knobs.sessions_max);
            findings.violated("NT6", scene.now, none, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, coordinator_view, history, status};
    use super::*;
    use squall_coordinator::{Cursor, Session, SessionStatus};

    #[test]
    fn queues_stay_within_their_knobs() {
        let queued = |queued| {
            let mut status = status();
            let session = Session(1);
            status.sessions.push(SessionStatus { session, acked: Cursor(0), queued, behind: 9, lagging: false });
            coordinator_view(status)
        };
        history(Nt6).view(C, &queued(256)).holds();
        history(Nt6).view(C, &queued(257)).violated("257 notices are queued");
        let mut many = status();
        many.sizes.notices = 4_097;
        history(Nt6).view(C, &coordinator_view(many)).violated("4097 notices are kept");
    }
}
