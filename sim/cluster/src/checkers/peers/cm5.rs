//! CM5: no instant with two groups active (all members of each Active in it) of one history; no quorum of an older generation
//! Active beside a member Active in a newer one.
//!
//! Source: spec 2 (Inactive from the first suspicion or promise; an install needs a quorum's promises). The second half implies
//! the first. Judged whenever a process becomes Active; one that is down is Active nowhere. And who becomes Active has heard all
//! members in that generation, so all of them have installed it.

use super::fold::decides;
use super::recovery;
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, NodeId, Scene};
use squall_recovery::{Event, Generation, Rank};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm5 {
    active: BTreeMap<NodeId, (Generation, Rank, EntryId)>,
    sizes: BTreeMap<Generation, u32>,
    /// How many have installed each generation.
    installed: BTreeMap<Generation, u32>,
}

/// The generations that are remembered.
const GENERATIONS: usize = 64;

impl Cm5 {
    /// An older generation of which a quorum works, while somebody works in a newer one.
    fn beside(&self) -> Option<(Generation, Generation)> {
        let newest = self.active.values().map(|(generation, ..)| *generation).max()?;
        let mut working: BTreeMap<Generation, BTreeSet<Rank>> = BTreeMap::new();
        for (generation, rank, _) in self.active.values().filter(|(generation, ..)| *generation < newest) {
            working.entry(*generation).or_default().insert(*rank);
        }
        let older =
            working.into_iter().find(|(older, ranks)| decides(ranks, self.sizes.get(older).copied().unwrap_or(0)));
        older.map(|(older, _)| (older, newest))
    }
}

impl Checker<Cluster> for Cm5 {
    fn property(&self) -> &'static str {
        "CM5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up", "down"]);
        interest.events(&["installed", "group_active", "group_inactive", "self_fenced"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(_) = entry.fact {
            self.active.remove(&entry.node);
        }
        if let Some(Event::Installed { group, .. }) = recovery(entry) {
            *self.installed.entry(group.generation).or_default() += 1;
            if self.installed.len() > GENERATIONS {
                self.installed.pop_first();
            }
        }
        match recovery(entry) {
            Some(Event::Installed { .. } | Event::GroupInactive { .. } | Event::SelfFenced { .. }) => {
                self.active.remove(&entry.node);
            }
            Some(Event::GroupActive { generation, rank, size, .. }) => {
                self.sizes.insert(*generation, *size);
                self.active.insert(entry.node, (*generation, *rank, entry.id));
                let installed = self.installed.get(generation).copied().unwrap_or(0);
                if installed < *size {
                    let message = format!("generation {generation} works, but {installed} of {size} have installed it");
                    return findings.violated("CM5", entry.at, [entry.id], message);
                }
                if let Some((older, newer)) = self.beside() {
                    let mut evidence: Vec<EntryId> =
                        self.active.values().filter(|(at, ..)| *at == older).map(|(.., told)| *told).collect();
                    evidence.push(entry.id);
                    let message = format!("a quorum works in generation {older} beside a member of generation {newer}");
                    findings.violated("CM5", entry.at, evidence, message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, active, installed, peers};
    use super::*;
    use squall_recovery::Inactivity;

    #[test]
    fn one_group_works_at_a_time() {
        let start = || (0..5).fold(peers(Cm5::default()).found(), |h, rank| h.event(R[rank], active(1, rank as u32)));
        let leaves = |history: super::super::super::testing::History<Cm5>, ranks: &[usize]| {
            let inactive = Event::GroupInactive { generation: Generation(1), cause: Inactivity::Promise };
            ranks.iter().fold(history, |history, rank| history.event(R[*rank], inactive.clone()))
        };
        // All have installed generation 2, and still say that they work in generation 1.
        let next = |history: super::super::super::testing::History<Cm5>, still: &[usize]| {
            let all = [0, 1, 2, 3, 4];
            let installs = |history: super::super::super::testing::History<Cm5>, rank: usize| {
                history.event(R[rank], installed(2, rank as u32, &all, Some(rank as u32)))
            };
            let history = (0..5).fold(history, installs);
            still.iter().fold(history, |history, rank| history.event(R[*rank], active(1, *rank as u32)))
        };
        next(leaves(start(), &[0, 1, 2]), &[3, 4]).event(R[0], active(2, 0)).holds();
        next(start(), &[2, 3, 4]).event(R[0], active(2, 0)).violated("a quorum works in generation 1");
        next(start(), &[2, 3, 4]).down(R[2]).event(R[0], active(2, 0)).holds();
    }

    #[test]
    fn work_waits_until_all_have_installed() {
        let four = || {
            (0..4).fold(peers(Cm5::default()), |h, rank| {
                h.event(R[rank], installed(1, rank as u32, &[0, 1, 2, 3, 4], None))
            })
        };
        four().event(R[0], active(1, 0)).violated("4 of 5 have installed it");
        four().event(R[4], installed(1, 4, &[0, 1, 2, 3, 4], None)).event(R[0], active(1, 0)).holds();
    }
}
