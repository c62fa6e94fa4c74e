//! RB2, for peers: all maps and queues bounded.
//!
//! Source: design (everything that grows has a named limit). From the views: every size is within its knob, or within the size of
//! the group that it belongs to.

use crate::{Cluster, ClusterView};
use squall::{Checker, EntryId, Findings, Interest, NodeId, Scene};

/// See the module.
#[derive(Debug)]
pub(super) struct Rb2;

impl Checker<Cluster> for Rb2 {
    fn property(&self) -> &'static str {
        "RB2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.views();
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let ClusterView::Peer(status) = view else { return };
        let (knobs, sizes) = (scene.system.peer_knobs(), status.sizes);
        let members = status.group.as_ref().map_or(0, |group| group.members.len());
        let checks = [
            ("members", members, knobs.members_max as usize),
            ("watched members", sizes.watched, members.saturating_sub(1)),
            ("suspects", status.suspects.len(), members.saturating_sub(1)),
            ("joiners", sizes.joiners, knobs.joiners_max as usize),
            ("decisions", sizes.decisions, knobs.decisions_kept as usize),
            ("early messages", sizes.early, knobs.early_max as usize),
            ("notices", sizes.notices, knobs.notices_kept as usize),
            ("subscribers", sizes.subscribers, knobs.subscribers_max as usize),
        ];
        if let Some((what, size, limit)) = checks.into_iter().find(|(_, size, limit)| size > limit) {
            let none: [EntryId; 0] = [];
            let message = format!("{} keeps too much: {what}: {size}, at most {limit}", scene.system.name(node));
            findings.violated("RB2", scene.now, none, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, peers, status_with};
    use super::*;

    #[test]
    fn sizes_stay_within_their_limits() {
        let sized = |change: fn(&mut squall_recovery::PeerSizes)| {
            peers(Rb2).view(R[0], &status_with(|status| change(&mut status.sizes)))
        };
        sized(|sizes| sizes.early = 64).holds();
        sized(|sizes| sizes.early = 65).violated("early messages: 65, at most 64");
        sized(|sizes| sizes.watched = 5).violated("watched members: 5, at most 4");
        sized(|sizes| sizes.decisions = 65).violated("decisions: 65");
    }
}
