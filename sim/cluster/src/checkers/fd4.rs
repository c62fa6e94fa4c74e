//! FD4: an ended incarnation never comes back; a new one begins only with a heartbeat that carries its own grant.
//!
//! Source: spec 1.1. Judged at each Began: its incarnation hasn't begun or ended before, is the newest of its member, was
//! granted to this member, and its process uses it, since only who uses a grant sends heartbeats that carry it. When it
//! begins, every older one of its member has ended.

use super::{Event, Names, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::{Cause, Incarnation};
use squall_machine::Text;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fd4 {
    names: Names,
    granted: BTreeMap<Incarnation, Text>,
    joined: BTreeSet<Incarnation>,
    live: BTreeMap<Text, Incarnation>,
    newest: BTreeMap<Text, Incarnation>,
    ended: BTreeSet<Incarnation>,
    restarted: bool,
}

impl Fd4 {
    /// What is wrong with this beginning.
    fn problem(&self, member: &Text, who: Incarnation, scene: &Scene<'_, Cluster>) -> Option<String> {
        if self.ended.contains(&who) {
            return Some("has ended before".to_owned());
        }
        if self.newest.get(member).is_some_and(|newest| who <= *newest) {
            return Some(format!("isn't above {}, which began before", self.newest[member]));
        }
        if let Some(older) = self.live.get(member).filter(|_| !self.restarted) {
            return Some(format!("begins while {older} of the same member lives"));
        }
        match self.granted.get(&who) {
            Some(to) if to != member => return Some(format!("was granted to {to}")),
            None if !self.restarted => return Some("was never granted".to_owned()),
            Some(_) | None => {}
        }
        // Who subscribes has a disk, which may hold back the word of its joining, but not its heartbeats.
        let tells = self.names.node(member).is_none_or(|node| !scene.system.subscribes(node));
        (tells && !self.joined.contains(&who)).then(|| "is used by no process, so no heartbeat carries it".to_owned())
    }
}

impl Checker<Cluster> for Fd4 {
    fn property(&self) -> &'static str {
        "FD4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["granted", "joined", "began", "failed", "left", "forgotten"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { life, .. }) = entry.fact {
            self.restarted |= *life > 1 && entry.node == scene.system.coordinator();
        }
        let Some((_, told)) = event(entry) else { return };
        match told {
            Event::Granted { member, incarnation, .. } => {
                self.granted.insert(*incarnation, member.clone());
            }
            Event::Joined { incarnation, .. } => {
                self.joined.insert(*incarnation);
            }
            Event::Began { member, incarnation, .. } => {
                self.names.learn(scene);
                if let Some(problem) = self.problem(member, *incarnation, scene) {
                    let message = format!("incarnation {incarnation} of {member} begins, but {problem}");
                    findings.violated("FD4", entry.at, [entry.id], message);
                }
                self.live.insert(member.clone(), *incarnation);
                self.newest.insert(member.clone(), *incarnation);
            }
            Event::Failed { member, incarnation, .. } | Event::Left { member, incarnation } => {
                if matches!(told, Event::Failed { cause: Cause::Superseded, .. }) {
                    findings.reached("member superseded");
                }
                self.ended.insert(*incarnation);
                if self.live.get(member) == Some(incarnation) {
                    self.live.remove(member);
                }
            }
            Event::Forgotten { incarnation, .. } => {
                if !self.ended.contains(incarnation) {
                    findings.reached("grant never claimed");
                }
                self.ended.remove(incarnation);
                self.joined.remove(incarnation);
                self.granted.remove(incarnation);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failed, history};
    use super::*;
    use squall_coordinator::{BootId, Role};
    use squall_machine::Span;

    fn began(member: &str, incarnation: u64) -> Event {
        let incarnation = Incarnation(incarnation);
        Event::Began { member: member.into(), incarnation, role: Role::Replica, returned: None }
    }

    #[test]
    fn an_incarnation_begins_once_by_its_own_heartbeat() {
        let start = || history(Fd4::default()).begin(0, 1);
        let superseded = Event::Failed {
            member: "r0".into(),
            incarnation: Incarnation(1),
            role: Role::Replica,
            cause: Cause::Superseded,
            cursor: squall_coordinator::Cursor(1),
            age: Span::ZERO,
        };
        start().coordinator(superseded).begin(0, 2).holds();
        start().coordinator(failed(0, 1, 1, Span::from_secs(5))).coordinator(began("r0", 1)).violated("has ended");
        start().coordinator(began("r0", 1)).violated("isn't above");
        start().coordinator(began("r1", 7)).violated("never granted");
        let granted = Event::Granted { member: "r1".into(), incarnation: Incarnation(2), boot: BootId(2) };
        start().coordinator(granted.clone()).coordinator(began("r1", 2)).violated("no heartbeat carries it");
        start().coordinator(granted).coordinator(began("r2", 2)).violated("granted to r1");
    }

    #[test]
    fn the_older_one_ends_first() {
        let grant = Event::Granted { member: "r0".into(), incarnation: Incarnation(2), boot: BootId(2) };
        history(Fd4::default()).begin(0, 1).coordinator(grant).coordinator(began("r0", 2)).violated("lives");
    }
}
