//! QU4: equal quorum_id => equal members at all receivers.
//!
//! Source: spec 1.3. Every quorum that a replica receives has to be one that the coordinator told (unless a crash kept it
//! from telling), in every field, and has to hold the receiver by the request that it answers, which is the last one that it
//! made and didn't give up; and no number stands for two lists of (id, incarnation, address), wherever it is seen.

use super::qu3::list;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Epoch, Incarnation, Number, Quorum, QuorumId};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// How many formations are remembered. An answer can't be older: its receiver would have heard of a newer one.
const KEPT: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu4 {
    lists: BTreeMap<QuorumId, (u64, EntryId)>,
    formations: BTreeMap<Epoch, (u64, EntryId)>,
    restarted: bool,
    /// What each node waits for.
    open: BTreeMap<NodeId, (Incarnation, Number)>,
    /// The last list that was found right. Receivers in one world share it, so that most needn't be hashed again.
    right: Option<Quorum>,
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn same<K: Ord + Copy>(
    known: &mut BTreeMap<K, (u64, EntryId)>,
    key: K,
    hash: u64,
    told: EntryId,
) -> Result<(), EntryId> {
    let &mut (first, by) = known.entry(key).or_insert((hash, told));
    if known.len() > KEPT {
        known.pop_first();
    }
    if first == hash { Ok(()) } else { Err(by) }
}

impl Qu4 {
    fn seen(&mut self, entry: &Entry<'_, Cluster>, quorum: &Quorum, findings: &mut Findings) {
        let shared = |right: &Quorum| Arc::ptr_eq(&right.members, &quorum.members);
        if self
            .right
            .as_ref()
            .is_some_and(|right| (right.id, right.formation) == (quorum.id, quorum.formation) && shared(right))
        {
            return;
        }
        if let Err(first) = same(&mut self.formations, quorum.formation, hash(quorum), entry.id) {
            let message = format!("formation {} is not the one that was seen first", quorum.formation);
            findings.violated("QU4", entry.at, [first, entry.id], message);
        } else if let Err(first) = same(&mut self.lists, quorum.id, hash(&list(quorum)), entry.id) {
            let message = format!("quorum {} has other members than where it was seen first", quorum.id);
            findings.violated("QU4", entry.at, [first, entry.id], message);
        } else {
            self.right = Some(quorum.clone());
        }
    }

    fn on_received(
        &mut self,
        entry: &Entry<'_, Cluster>,
        (who, number): (Incarnation, Number),
        quorum: &Quorum,
        findings: &mut Findings,
    ) {
        let forgotten = self.formations.first_key_value().is_some_and(|(oldest, _)| quorum.formation < *oldest);
        if !self.formations.contains_key(&quorum.formation) && !self.restarted && !forgotten {
            let message = format!("formation {} is received, but was never told", quorum.formation);
            return findings.violated("QU4", entry.at, [entry.id], message);
        }
        if !quorum.members.iter().any(|member| (member.incarnation, member.number) == (who, number)) {
            let message = format!("incarnation {who} receives formation {}, which isn't its own", quorum.formation);
            return findings.violated("QU4", entry.at, [entry.id], message);
        }
        if self.open.remove(&entry.node) != Some((who, number)) {
            let message =
                format!("incarnation {who} receives an answer to request {number}, for which it doesn't wait");
            return findings.violated("QU4", entry.at, [entry.id], message);
        }
        if !forgotten {
            self.seen(entry, quorum, findings);
        }
    }
}

impl Checker<Cluster> for Qu4 {
    fn property(&self) -> &'static str {
        "QU4"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["formed", "received", "asked", "gave_up"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { life, .. }) = entry.fact {
            self.restarted |= *life > 1 && entry.node == scene.system.coordinator();
        }
        match event(entry) {
            Some((_, Event::Formed { quorum, .. })) => self.seen(entry, quorum, findings),
            Some((_, Event::Asked { incarnation, number, .. })) => {
                self.open.insert(entry.node, (*incarnation, *number));
            }
            Some((_, Event::GaveUp { .. })) => {
                self.open.remove(&entry.node);
            }
            Some((_, Event::Received { incarnation, number, quorum })) => {
                self.on_received(entry, (*incarnation, *number), quorum, findings);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, history, quorum};
    use super::*;

    fn received(incarnation: u64, number: u64, quorum: Quorum) -> Event {
        Event::Received { incarnation: Incarnation(incarnation), number: Number(number), quorum }
    }

    #[test]
    fn everybody_receives_what_was_told() {
        let both = || quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        let start = || history(Qu4::default()).ask(0, 1, 1, 1).ask(1, 2, 1, 1).form(both(), 2, false);
        start().event(R[0], received(1, 1, both())).event(R[1], received(2, 1, both())).holds();
        start().ask(0, 1, 2, 1).event(R[0], received(1, 1, both())).violated("for which it doesn't wait");
        let gave_up = Event::GaveUp { incarnation: Incarnation(1), through: Number(1) };
        start().event(R[0], gave_up).event(R[0], received(1, 1, both())).violated("for which it doesn't wait");
        start().event(R[0], received(1, 1, quorum(1, 1, &[(0, 1, 1)]))).violated("not the one that was seen first");
        start().event(R[0], received(1, 2, both())).violated("isn't its own");
        start().event(R[2], received(3, 1, both())).violated("isn't its own");
        start().event(R[0], received(1, 1, quorum(1, 2, &[(0, 1, 1)]))).violated("never told");
        start().form(quorum(1, 2, &[(0, 1, 2)]), 2, true).violated("has other members");
    }
}
