//! What the explorer judges along each path of a cluster: safety that events alone can tell.
//!
//! Less than what the checkers judge in the world, which see truth, messages and views as well; but on every path of a tiny
//! cluster. Each part remembers no more than its properties need.

mod agreement;
mod votes;

use crate::Cluster;
use agreement::Agreement;
use squall::{Breach, Ledger, NodeId, Told};
use squall_coordinator::{BootId, Change, Cursor, Epoch, Event, Incarnation, Quorum, QuorumId, Session};
use squall_machine::Text;
use squall_node::PeerNodeEvent;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ClusterLedger {
    incarnations: Incarnations,
    notices: Notices,
    quorums: Quorums,
    agreement: Agreement,
}

impl Ledger<Cluster> for ClusterLedger {
    fn judge(&mut self, cluster: &Cluster, node: NodeId, told: &Told<'_, Cluster>) -> Result<(), Breach> {
        match told {
            Told::Up { life } => {
                self.quorums.doubt |= *life > 1 && node == cluster.coordinator();
                Ok(())
            }
            Told::Down => {
                self.quorums.active.remove(&node);
                self.agreement.forget(node);
                Ok(())
            }
            Told::Event(
                crate::Event::Peer(PeerNodeEvent::Work(_))
                | crate::Event::Task(_)
                | crate::Event::Store(_)
                | crate::Event::Listener(_),
            ) => Ok(()),
            Told::Event(crate::Event::Peer(PeerNodeEvent::Recovery(event))) => {
                self.agreement.judge(cluster, node, event)
            }
            Told::Event(crate::Event::Coordinator(event)) => {
                self.incarnations.judge(event)?;
                self.notices.judge(event)?;
                self.quorums.judge(cluster, node, event, &self.incarnations.ended)
            }
        }
    }
}

type Members = Vec<(Text, Incarnation, Text)>;

fn members(quorum: &Quorum) -> Members {
    quorum.members.iter().map(|one| (one.id.clone(), one.incarnation, one.ask.address.clone())).collect()
}

/// FD3: incarnations are granted once, and evidence of an ended one changes nothing. FD4: an ended one never comes back.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Incarnations {
    granted: BTreeMap<Incarnation, (Text, BootId)>,
    ended: BTreeSet<Incarnation>,
}

impl Incarnations {
    fn judge(&mut self, event: &Event) -> Result<(), Breach> {
        let ended = |who: &Incarnation| self.ended.contains(who);
        match event {
            Event::Granted { member, incarnation, boot } => {
                let whose = (member.clone(), *boot);
                let first = self.granted.entry(*incarnation).or_insert_with(|| whose.clone());
                if *first != whose || self.ended.contains(incarnation) {
                    let message = format!("incarnation {incarnation} is granted to {member}, and was {}'s", first.0);
                    return Err(Breach::of("FD3", message));
                }
            }
            Event::Began { incarnation, .. } if ended(incarnation) => {
                return Err(Breach::of("FD4", format!("incarnation {incarnation} begins after its end")));
            }
            Event::HeartbeatAccepted { incarnation, .. } | Event::Requested { incarnation, .. }
                if ended(incarnation) =>
            {
                let message = format!("incarnation {incarnation} is heard after its end");
                return Err(Breach::of("FD3", message));
            }
            Event::Failed { incarnation, .. } | Event::Left { incarnation, .. } => {
                let twice = || Breach::of("FD4", format!("incarnation {incarnation} ends twice"));
                return if self.ended.insert(*incarnation) { Ok(()) } else { Err(twice()) };
            }
            _ => {}
        }
        Ok(())
    }
}

/// NT1: at most one notification per incarnation and session.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Notices {
    failures: BTreeMap<Incarnation, Cursor>,
    taken: BTreeMap<Session, Cursor>,
}

impl Notices {
    fn judge(&mut self, event: &Event) -> Result<(), Breach> {
        match event {
            Event::Failed { incarnation, cursor, .. } => self.numbered(*incarnation, *cursor),
            Event::Notified { session, notice } => {
                if matches!(notice.change, Change::Failed(_)) {
                    self.numbered(notice.incarnation, notice.cursor)?;
                }
                let before = self.taken.insert(*session, notice.cursor);
                match before.filter(|before| notice.cursor <= *before) {
                    None => Ok(()),
                    Some(before) => {
                        let message = format!("notice {} is taken again after {before}", notice.cursor);
                        Err(Breach::of("NT1", message))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn numbered(&mut self, who: Incarnation, cursor: Cursor) -> Result<(), Breach> {
        let first = *self.failures.entry(who).or_insert(cursor);
        if first == cursor {
            return Ok(());
        }
        Err(Breach::of("NT1", format!("the failure of incarnation {who} is notice {cursor}, and {first} before")))
    }
}

/// QU2: size rules hold. QU3: numbers grow with the list of members. QU4: a number stands for one list, everywhere. QU5: nobody
/// is Active while a newer formation leaves it out. QU6: nobody is in a formation after its end.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Quorums {
    newest: Option<Quorum>,
    lists: BTreeMap<QuorumId, Members>,
    active: BTreeMap<NodeId, (Incarnation, Epoch)>,
    /// A formation may have been made, and not told, before the coordinator died.
    doubt: bool,
}

impl Quorums {
    fn judge(
        &mut self,
        cluster: &Cluster,
        node: NodeId,
        event: &Event,
        ended: &BTreeSet<Incarnation>,
    ) -> Result<(), Breach> {
        match event {
            Event::Formed { quorum, .. } => {
                self.sizes(cluster, quorum)?;
                if let Some(gone) = quorum.members.iter().find(|member| ended.contains(&member.incarnation)) {
                    let message = format!("formation {} holds {}, which has ended", quorum.formation, gone.incarnation);
                    return Err(Breach::of("QU6", message));
                }
                self.numbers(quorum)?;
                self.newest = Some(quorum.clone());
                self.doubt = false;
                self.known(quorum)?;
            }
            Event::Received { quorum, .. } => self.known(quorum)?,
            Event::Active { incarnation, formation, .. } => {
                self.active.insert(node, (*incarnation, *formation));
            }
            Event::Inactive { .. } => {
                self.active.remove(&node);
            }
            _ => return Ok(()),
        }
        self.one_group()
    }

    fn sizes(&self, cluster: &Cluster, quorum: &Quorum) -> Result<(), Breach> {
        let (size, least) = (quorum.members.len(), cluster.knobs().min_replicas as usize);
        if size == 0 || size < least {
            return Err(Breach::of("QU2", format!("formation {} has {size} members", quorum.formation)));
        }
        if !quorum.members.is_sorted_by(|left, right| left.id < right.id) {
            return Err(Breach::of("QU2", format!("formation {} isn't sorted by id", quorum.formation)));
        }
        Ok(())
    }

    fn numbers(&self, quorum: &Quorum) -> Result<(), Breach> {
        let id = quorum.id;
        let Some(newest) = &self.newest else {
            let wrong = id != QuorumId(1) && !self.doubt;
            return if wrong { Err(Breach::of("QU3", format!("the first quorum has number {id}"))) } else { Ok(()) };
        };
        let changed = members(newest) != members(quorum);
        let failed = quorum.members.iter().any(|member| member.ask.commit_failures > 0);
        let grows = id > newest.id;
        let wrong = id < newest.id || (changed || failed) && !grows || grows && !(changed || failed || self.doubt);
        if wrong || quorum.formation <= newest.formation {
            let message = format!(
                "formation {} with number {id} follows formation {} with number {}",
                quorum.formation, newest.formation, newest.id
            );
            return Err(Breach::of("QU3", message));
        }
        Ok(())
    }

    fn known(&mut self, quorum: &Quorum) -> Result<(), Breach> {
        let list = members(quorum);
        let first = self.lists.entry(quorum.id).or_insert_with(|| list.clone());
        if *first == list {
            return Ok(());
        }
        Err(Breach::of("QU4", format!("quorum {} has other members than where it was seen first", quorum.id)))
    }

    fn one_group(&self) -> Result<(), Breach> {
        let Some(newest) = &self.newest else { return Ok(()) };
        let left_out = |(who, formation): &&(Incarnation, Epoch)| {
            *formation < newest.formation && !newest.members.iter().any(|member| member.incarnation == *who)
        };
        match self.active.values().find(left_out) {
            None => Ok(()),
            Some((who, formation)) => {
                let message = format!(
                    "incarnation {who} is Active in formation {formation}, and formation {} leaves it out",
                    newest.formation
                );
                Err(Breach::of("QU5", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall::System;
    use squall_coordinator::{Ask, Cause, Inactivity, Number, Participant, Role};
    use squall_machine::Span;
    use std::sync::Arc;

    const C: NodeId = NodeId(0);
    const R0: NodeId = NodeId(1);

    fn quorum(id: u64, formation: u64, of: &[u64]) -> Quorum {
        let member = |&incarnation: &u64| Participant {
            id: format!("r{incarnation}").into(),
            incarnation: Incarnation(incarnation),
            number: Number(formation),
            ask: Arc::new(ask()),
        };
        Quorum { id: QuorumId(id), formation: Epoch(formation), members: of.iter().map(member).collect() }
    }

    fn ask() -> Ask {
        Ask {
            address: "a".into(),
            store_address: "s".into(),
            step: 0,
            world_size: 1,
            shrink_only: false,
            commit_failures: 0,
            data: "".into(),
        }
    }

    fn formed(id: u64, formation: u64, of: &[u64]) -> (NodeId, Event) {
        let (healthy, waited) = (of.len() as u32, Span::ZERO);
        (C, Event::Formed { quorum: quorum(id, formation, of), healthy, fast: false, waited })
    }

    fn received(id: u64, formation: u64, of: &[u64]) -> (NodeId, Event) {
        let quorum = quorum(id, formation, of);
        (R0, Event::Received { incarnation: Incarnation(1), number: Number(1), quorum })
    }

    fn failed(who: u64, cursor: u64) -> (NodeId, Event) {
        let (member, incarnation) = ("r0".into(), Incarnation(who));
        let (role, cause) = (Role::Replica, Cause::Timeout);
        (C, Event::Failed { member, incarnation, role, cause, cursor: Cursor(cursor), age: Span::ZERO })
    }

    fn granted(who: u64, member: &str) -> (NodeId, Event) {
        (C, Event::Granted { member: member.into(), incarnation: Incarnation(who), boot: BootId(7) })
    }

    fn beat(who: u64) -> (NodeId, Event) {
        (C, Event::HeartbeatAccepted { incarnation: Incarnation(who), seq: 1 })
    }

    fn active(who: u64, formation: u64) -> (NodeId, Event) {
        let (incarnation, formation) = (Incarnation(who), Epoch(formation));
        (R0, Event::Active { incarnation, formation, quorum_id: QuorumId(1) })
    }

    fn told(event: &Event) -> crate::Event {
        event.clone().into()
    }

    fn check(events: &[(NodeId, Event)]) -> Option<&'static str> {
        let knobs = crate::Settings { min_replicas: Some(1), ..crate::Settings::default() };
        let cluster = Cluster::new(crate::Topology::default(), knobs, crate::Workload::default());
        let (cluster, mut ledger) = (cluster.expect("the defaults"), ClusterLedger::default());
        let mut judged = events.iter().map(|(node, event)| ledger.judge(&cluster, *node, &Told::Event(&told(event))));
        let last = judged.len() - 1;
        let early = judged.by_ref().take(last).find_map(Result::err);
        assert_eq!(early, None, "only the last event may be wrong");
        judged.next().and_then(Result::err).map(|breach| breach.property)
    }

    #[test]
    fn each_property_holds_and_breaks() {
        let inactive =
            (R0, Event::Inactive { incarnation: Incarnation(1), formation: Epoch(1), cause: Inactivity::Lapsed });
        for (events, breach) in [
            (vec![granted(1, "r0"), granted(1, "r0"), granted(2, "r1")], None),
            (vec![granted(1, "r0"), granted(1, "r1")], Some("FD3")),
            (vec![failed(1, 1), beat(2)], None),
            (vec![failed(1, 1), beat(1)], Some("FD3")),
            (vec![failed(1, 1), failed(1, 1)], Some("FD4")),
            (vec![formed(1, 1, &[])], Some("QU2")),
            (vec![formed(1, 1, &[2, 1])], Some("QU2")),
            (vec![formed(2, 1, &[1])], Some("QU3")),
            (vec![formed(1, 1, &[1, 2]), formed(1, 2, &[1, 2]), formed(2, 3, &[1])], None),
            (vec![formed(1, 1, &[1, 2]), formed(1, 2, &[1])], Some("QU3")),
            (vec![formed(1, 1, &[1, 2]), formed(2, 2, &[1, 2])], Some("QU3")),
            (vec![formed(1, 2, &[1, 2]), formed(2, 1, &[1])], Some("QU3")),
            (vec![formed(1, 1, &[1, 2]), received(1, 1, &[1, 2])], None),
            (vec![formed(1, 1, &[1, 2]), received(1, 1, &[1])], Some("QU4")),
            (vec![formed(1, 1, &[1, 2]), active(1, 1), inactive, formed(2, 2, &[2])], None),
            (vec![formed(1, 1, &[1, 2]), active(1, 1), formed(2, 2, &[2])], Some("QU5")),
            (vec![formed(1, 1, &[1, 2]), formed(2, 2, &[2]), active(1, 1)], Some("QU5")),
            (vec![failed(1, 1), formed(1, 1, &[1])], Some("QU6")),
        ] {
            assert_eq!(check(&events), breach, "{events:?}");
        }
    }

    #[test]
    fn a_failure_is_numbered_once_and_taken_once() {
        let taken = |cursor: u64, who: u64| {
            let change = Change::Failed(Cause::Timeout);
            let (member, incarnation) = ("r0".into(), Incarnation(who));
            let notice = squall_coordinator::Notice { cursor: Cursor(cursor), member, incarnation, change };
            (R0, Event::Notified { session: Session::default(), notice })
        };
        assert_eq!(check(&[failed(1, 1), taken(1, 1), failed(2, 2), taken(2, 2)]), None);
        assert_eq!(check(&[failed(1, 1), taken(1, 1), taken(1, 1)]), Some("NT1"));
        assert_eq!(check(&[failed(1, 1), taken(2, 1)]), Some("NT1"));
    }

    #[test]
    fn who_died_is_not_active() {
        let knobs = crate::Settings::default();
        let cluster =
            Cluster::new(crate::Topology::default(), knobs, crate::Workload::default()).expect("the defaults");
        let mut ledger = ClusterLedger::default();
        for (node, event) in [formed(1, 1, &[1, 2]), active(1, 1)] {
            assert_eq!(ledger.judge(&cluster, node, &Told::Event(&told(&event))), Ok(()));
        }
        assert_eq!(ledger.judge(&cluster, R0, &Told::Down), Ok(()));
        let (node, event) = formed(2, 2, &[2]);
        assert_eq!(ledger.judge(&cluster, node, &Told::Event(&told(&event))), Ok(()));
    }
}
