//! LV6, for peers: "not converged" always names what it waits for.
//!
//! Source: properties, liveness. From the views: a process that runs and doesn't work says for what it waits.

use crate::{Cluster, ClusterView};
use squall::{Checker, EntryId, Findings, Interest, NodeId, Scene};
use squall_recovery::{Activity, Stage};

/// See the module.
#[derive(Debug)]
pub(super) struct Lv6;

impl Checker<Cluster> for Lv6 {
    fn property(&self) -> &'static str {
        "LV6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.views();
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Peer(status) = view else { return };
        let works = status.activity == Some(Activity::Active);
        let waits = matches!(status.stage, Stage::Joining | Stage::Member) && !works;
        if waits && status.waits_for.is_empty() {
            let none: [EntryId; 0] = [];
            let message = format!("{} doesn't work, and doesn't say what it waits for", scene.system.name(node));
            findings.violated("LV6", scene.now, none, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, peers, status_with};
    use super::*;

    #[test]
    fn who_waits_says_for_what() {
        let shown = |activity, reason: &str| {
            let view = status_with(|status| {
                status.activity = activity;
                status.waits_for = reason.to_owned();
            });
            peers(Lv6).view(R[0], &view)
        };
        shown(Some(Activity::Active), "").holds();
        shown(Some(Activity::Inactive), "for rank 0").holds();
        shown(Some(Activity::Inactive), "").violated("r0 doesn't work");
        shown(None, "").violated("r0 doesn't work");
    }
}
