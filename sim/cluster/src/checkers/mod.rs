//! The properties of the cluster, one file each.
//!
//! Checkers read the history and plain-data views; they never call into a machine. An event is published once everything
//! that was recorded before it is durable, and says when it was decided on its node's own clock. So a decision may be told a
//! sync after it was made; one that a crash made undone is never told; and one that was durable, but not yet told when the
//! crash came, is in force without a word. Whatever follows a restart is judged with that in mind.

mod ages;
mod calm;
mod candidates;
mod clock;
mod cr1;
mod cr1_promises;
mod fd1;
mod fd2;
mod fd3;
mod fd4;
mod fd5;
mod fd6;
mod fd7;
mod holders;
mod lv2;
mod lv3;
mod lv6;
mod mg1;
mod mg2;
mod nt1;
mod nt2;
mod nt3;
mod nt4;
mod nt5;
mod nt6;
pub(crate) mod peers;
mod qu1;
mod qu2;
mod qu3;
mod qu4;
mod qu5;
mod qu6;
mod qu7;
mod rb2;
mod requests;
mod stream;
mod table;
mod tasks;
#[cfg(test)]
mod testing;
mod waiters;
mod withdrawals;

use crate::{Authority, Cluster};
use squall::{Checker, Entry, Fact, NodeId, Scene};
use squall_coordinator::Event;
use squall_machine::Time;
use std::collections::BTreeMap;

/// The ids of all properties that are judged.
pub const PROPERTIES: &[&str] = &[
    "AC1", "AC2", "AG1", "AG10", "AG2", "AG3", "AG4", "AG5", "AG6", "AG7", "AG8", "AG9", "CB1", "CB10", "CB11", "CB2",
    "CB3", "CB4", "CB5", "CB6", "CB7", "CB8", "CB9", "CK1", "CK2", "CK3", "CK4", "CK5", "CK6", "CM1", "CM2", "CM3",
    "CM4", "CM5", "CM6", "CR1", "FD1", "FD2", "FD3", "FD4", "FD5", "FD6", "FD7", "LV1", "LV2", "LV3", "LV4", "LV6",
    "MG1", "MG2", "NT1", "NT2", "NT3", "NT4", "NT5", "NT6", "QU1", "QU2", "QU3", "QU4", "QU5", "QU6", "QU7", "RB2",
    "SC1", "SC10", "SC11", "SC12", "SC13", "SC15", "SC16", "SC17", "SC18", "SC19", "SC2", "SC20", "SC3", "SC4", "SC5",
    "SC6", "SC7", "SC8", "SC9", "SH1",
];

/// Fresh checkers for one run. One entry can violate several properties; the first in this order names the cause best.
#[must_use]
pub fn all(cluster: &Cluster) -> Vec<Box<dyn Checker<Cluster>>> {
    match cluster.authority() {
        Authority::Coordinator => of_coordinator(cluster.tasks().is_some()),
        // The exhibit reads its watch now and then. That it suspects late is the least of its flaws, and would hide the others;
        // and it takes no suspicion back.
        Authority::Published => peers::all(),
        Authority::Peers => peers::all().into_iter().chain(peers::of_product()).collect(),
    }
}

fn of_coordinator(with_tasks: bool) -> Vec<Box<dyn Checker<Cluster>>> {
    let ages = ages::SharedAges::default();
    let of_tasks = if with_tasks { tasks::all(&ages) } else { Vec::new() };
    let readers: Vec<Box<dyn Checker<Cluster>>> = vec![
        Box::new(fd3::Fd3::default()),
        Box::new(fd4::Fd4::default()),
        Box::new(fd7::Fd7::default()),
        Box::new(fd2::Fd2::with(ages.reader())),
        Box::new(fd5::Fd5::default()),
        Box::new(fd6::Fd6::with(ages.reader())),
        Box::new(nt1::Nt1::default()),
        Box::new(nt3::Nt3::default()),
        Box::new(nt4::Nt4::default()),
        Box::new(nt5::Nt5::default()),
        Box::new(nt2::Nt2::default()),
        Box::new(nt6::Nt6),
        Box::new(qu6::Qu6::default()),
        Box::new(qu7::Qu7::default()),
        Box::new(qu1::Qu1::with(ages.reader())),
        Box::new(qu2::Qu2::with(ages.reader())),
        Box::new(lv3::Lv3::with(ages.reader())),
    ];
    let others: Vec<Box<dyn Checker<Cluster>>> = vec![
        // After all readers of the ages.
        Box::new(fd1::Fd1::with(ages)),
        Box::new(qu3::Qu3::default()),
        Box::new(qu4::Qu4::default()),
        Box::new(qu5::Qu5::default()),
        Box::new(mg1::Mg1::default()),
        Box::new(mg2::Mg2::default()),
        Box::new(cr1::Cr1::default()),
        Box::new(cr1_promises::Promises::default()),
        Box::new(lv2::Lv2::default()),
        Box::new(lv6::Lv6::default()),
        Box::new(rb2::Rb2::default()),
    ];
    readers.into_iter().chain(of_tasks).chain(others).collect()
}

/// The event of an entry, and when it was decided on its node's own clock.
fn event<'a>(entry: &Entry<'a, Cluster>) -> Option<(Time, &'a Event)> {
    match entry.fact {
        Fact::Event { decided, event: crate::Event::Coordinator(event) } => Some((decided, event)),
        Fact::Event {
            event: crate::Event::Peer(_) | crate::Event::Task(_) | crate::Event::Store(_) | crate::Event::Listener(_),
            ..
        }
        | Fact::Truth(_)
        | Fact::Sent { .. }
        | Fact::Delivered { .. }
        | Fact::Dropped { .. } => None,
    }
}

/// Where each member runs: its id is the name of its node.
#[derive(Debug, Default)]
struct Names {
    nodes: BTreeMap<String, NodeId>,
}

impl Names {
    fn learn(&mut self, scene: &Scene<'_, Cluster>) {
        if self.nodes.is_empty() {
            let all = (0..scene.nodes.len() as u32).map(NodeId);
            self.nodes = all.map(|node| (scene.system.name(node).to_owned(), node)).collect();
        }
    }

    fn node(&self, member: &str) -> Option<NodeId> {
        self.nodes.get(member).copied()
    }
}
