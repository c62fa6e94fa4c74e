//! The properties of the cluster, one file each.
//!
//! Checkers read the history and plain-data views; they never call into a machine. An event is published once everything
//! that was recorded before it is durable, and says when it was decided on its node's own clock. So a decision may be told a
//! sync after it was made; one that a crash made undone is never told; and one that was durable, but not yet told when the
//! crash came, is in force without a word. Whatever follows a restart is judged with that in mind.

mod ages;
mod calm;
mod clock;
mod fd1;
mod fd2;
mod fd3;
mod fd4;
mod fd7;
mod table;
#[cfg(test)]
mod testing;

use crate::Cluster;
use squall::{Checker, Entry, Fact, NodeId, Scene};
use squall_coordinator::Event;
use squall_machine::Time;
use std::collections::BTreeMap;

/// The ids of all properties that are judged.
pub const PROPERTIES: &[&str] = &["FD1", "FD2", "FD3", "FD4", "FD7"];

/// Fresh checkers for one run.
#[must_use]
pub fn all(_: &Cluster) -> Vec<Box<dyn Checker<Cluster>>> {
    vec![
        Box::new(fd7::Fd7::default()),
        Box::new(fd1::Fd1::default()),
        Box::new(fd2::Fd2::default()),
        Box::new(fd3::Fd3::default()),
        Box::new(fd4::Fd4::default()),
    ]
}

/// The event of an entry, and when it was decided on its node's own clock.
fn event<'a>(entry: &Entry<'a, Cluster>) -> Option<(Time, &'a Event)> {
    match entry.fact {
        Fact::Event { decided, event } => Some((decided, event)),
        Fact::Truth(_) | Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. } => None,
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
