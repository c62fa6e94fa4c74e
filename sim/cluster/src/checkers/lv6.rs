//! LV6: "not converged" always names what it waits for.
//!
//! Source: spec 1.3 (why no quorum forms is always available as text) and properties, liveness. At the end of each tick: if
//! a request is open, the coordinator's last reason isn't empty. In each view of a member: if it waits for an incarnation, a
//! quorum, or its local ranks, it says for what.

use super::requests::Requests;
use super::{Event, event};
use crate::{Cluster, ClusterView};
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_node::MemberPhase;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv6 {
    requests: Requests,
    /// Whether the coordinator's last reason was a reason.
    explained: bool,
}

impl Checker<Cluster> for Lv6 {
    fn property(&self) -> &'static str {
        "LV6"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Requests::interest(interest);
        interest.events(&["waiting", "ticked"]);
        interest.views();
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact
            && entry.node == scene.system.coordinator()
        {
            self.explained = false;
        }
        match event(entry) {
            Some((_, Event::Waiting { reason })) => self.explained = !reason.is_empty(),
            Some((_, Event::Ticked {})) if !self.explained => {
                if let Some((who, open)) = self.requests.open.first_key_value() {
                    let message = format!("incarnation {who} waits for a quorum, and nothing says why");
                    findings.violated("LV6", entry.at, [open.told, entry.id], message);
                }
            }
            _ => {}
        }
        self.requests.follow(entry, scene);
    }

    fn on_view(&mut self, node: NodeId, view: &ClusterView, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let waits = match view {
            ClusterView::Member(status) => {
                let waits = match status.phase {
                    MemberPhase::Stopped => false,
                    MemberPhase::Member => status.open_request.is_some() || status.waiting_ranks > 0,
                    MemberPhase::Off | MemberPhase::Registering | MemberPhase::Leaving => true,
                };
                waits && status.waits_for.is_empty()
            }
            ClusterView::Coordinator(status, _) => !status.open.is_empty() && status.waiting.is_empty(),
            ClusterView::Observer(_) | ClusterView::Peer(_) | ClusterView::Store | ClusterView::Client { .. } => false,
        };
        if waits {
            let none: [EntryId; 0] = [];
            let message = format!("{} waits, and doesn't say for what", scene.system.name(node));
            findings.violated("LV6", scene.now, none, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, coordinator_view, history, status};
    use super::*;
    use squall_coordinator::{Incarnation, Number, OpenRequest};
    use squall_machine::Span;

    fn waiting(reason: &str) -> Event {
        Event::Waiting { reason: reason.into() }
    }

    #[test]
    fn who_waits_is_told_why() {
        let start = || history(Lv6::default()).begin(0, 1).ask(0, 1, 1, 1);
        start().coordinator(waiting("for r1")).coordinator(Event::Ticked {}).holds();
        start().coordinator(Event::Ticked {}).violated("nothing says why");
        start().coordinator(waiting("for r1")).coordinator(waiting("")).coordinator(Event::Ticked {}).violated("why");
    }

    #[test]
    fn a_view_says_what_is_waited_for() {
        let shown = |reason: &str| {
            let mut status = status();
            let (incarnation, number) = (Incarnation(1), Number(1));
            status.open.push(OpenRequest { incarnation, number, waited: Span::ZERO });
            status.waiting = reason.into();
            history(Lv6::default()).view(C, &coordinator_view(status))
        };
        shown("for r1").holds();
        shown("").violated("c0 waits");
    }
}
