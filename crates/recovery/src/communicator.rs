//! A group of members with ranks, and how one follows from another.

use crate::{Generation, Incarnation, Rank, Value};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};
use squall_machine::{Address, Text};
use xxhash_rust::xxh3::Xxh3;

/// One member of a communicator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its id, unique within a communicator.
    pub id: Text,
    /// Which stay of that id.
    pub incarnation: Incarnation,
    /// Where every other member reaches it.
    pub address: Address,
}

/// Names a communicator: a function of its generation and members only, so that equal groups have equal names
/// everywhere without a word between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CommunicatorId(pub u64);

impl fmt::Display for CommunicatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An ordered list of members with a generation. A member's rank is its place in the list.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Communicator {
    /// Which successor of the first one, which has generation 1.
    pub generation: Generation,
    /// The members in the order of their ranks. Never empty, no id twice.
    pub members: Arc<[Member]>,
}

impl Communicator {
    /// How many members it has.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.members.len() as u32
    }

    /// All ranks in order.
    pub fn ranks(&self) -> impl Iterator<Item = Rank> + use<> {
        (0..self.size()).map(Rank)
    }

    /// The member of a rank; `None` if there is no such rank.
    #[must_use]
    pub fn member(&self, rank: Rank) -> Option<&Member> {
        self.members.get(rank.0 as usize)
    }

    /// The rank of an incarnation of an id; `None` if it isn't a member.
    #[must_use]
    pub fn rank_of(&self, id: &str, incarnation: Incarnation) -> Option<Rank> {
        let is_it = |member: &Member| &*member.id == id && member.incarnation == incarnation;
        self.members.iter().position(is_it).map(|index| Rank(index as u32))
    }

    /// Its name: a hash (xxh3, 64 bit) of generation, ids and incarnations in the order of ranks.
    #[must_use]
    pub fn id(&self) -> CommunicatorId {
        let mut hash = Xxh3::new();
        hash.update(&self.generation.0.to_le_bytes());
        for member in &*self.members {
            hash.update(&(member.id.len() as u64).to_le_bytes());
            hash.update(member.id.as_bytes());
            hash.update(&member.incarnation.0.to_le_bytes());
        }
        CommunicatorId(hash.digest())
    }

    /// Whether it can be: at least one member, at most `members_max`, no id twice, and a generation that has a successor.
    #[must_use]
    pub fn is_possible(&self, members_max: u32) -> bool {
        let mut ids: Vec<&Text> = self.members.iter().map(|member| &member.id).collect();
        ids.sort_unstable();
        let distinct = ids.is_sorted_by(|a, b| a < b);
        let counted = !self.members.is_empty() && self.members.len() <= members_max as usize;
        counted && distinct && self.generation > Generation(0) && self.generation < Generation(u64::MAX)
    }

    /// What follows from it by this decision: survivors keep their order, joiners follow in the order of their ids.
    ///
    /// # Panics
    /// If the value was never valid for this communicator.
    #[must_use]
    pub fn successor(&self, value: &Value) -> Self {
        assert_eq!(value.check(self, u32::MAX), Ok(()), "only valid values are decided");
        let survivors = self.ranks().filter(|rank| !value.names(*rank));
        let survivors = survivors.filter_map(|rank| self.member(rank)).cloned();
        let members = survivors.chain(value.joined.iter().cloned()).collect();
        Self { generation: self.generation.next(), members }
    }

    /// The rank that a surviving `rank` has after this decision; `None` if it is dead.
    #[must_use]
    pub fn renumbered(&self, rank: Rank, value: &Value) -> Option<Rank> {
        let survives = self.member(rank).is_some() && !value.names(rank);
        let before = value.dead.iter().filter(|dead| **dead < rank).count() as u32;
        survives.then(|| Rank(rank.0 - before))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::format;

    /// `m0`, `m1` and so on, in generation 3.
    pub(crate) fn group(size: u32) -> Communicator {
        let members = (0..size).map(|rank| named(&format!("m{rank}"), u64::from(rank) + 10)).collect();
        Communicator { generation: Generation(3), members }
    }

    pub(crate) fn named(id: &str, incarnation: u64) -> Member {
        Member { id: id.into(), incarnation: Incarnation(incarnation), address: Address(incarnation) }
    }

    pub(crate) fn value(dead: &[u32], joined: &[Member]) -> Value {
        Value { dead: dead.iter().copied().map(Rank).collect(), joined: joined.iter().cloned().collect() }
    }

    #[test]
    fn survivors_keep_their_order_and_joiners_follow() {
        // Every set of dead that leaves a quorum, up to five ranks, with and without joiners.
        for size in 1..=5u32 {
            for bits in 0..1u32 << size {
                let dead: Vec<u32> = (0..size).filter(|rank| bits >> rank & 1 == 1).collect();
                for joined in [&[][..], &[named("a", 7), named("z", 8)]] {
                    let (group, value) = (group(size), value(&dead, joined));
                    if value.check(&group, 100).is_err() {
                        continue;
                    }
                    let next = group.successor(&value);
                    let alive = (0..size).filter(|rank| !dead.contains(rank));
                    let mut expected: Vec<Member> = alive.map(|rank| group.members[rank as usize].clone()).collect();
                    for rank in group.ranks() {
                        let place = expected.iter().position(|member| *member == group.members[rank.0 as usize]);
                        assert_eq!(group.renumbered(rank, &value), place.map(|place| Rank(place as u32)));
                    }
                    expected.extend(joined.iter().cloned());
                    assert_eq!(*next.members, *expected);
                    assert_eq!(next.generation, Generation(4));
                }
            }
        }
        assert_eq!(group(3).renumbered(Rank(3), &value(&[], &[])), None);
    }

    #[test]
    fn the_name_is_a_function_of_generation_and_members_only() {
        let base = group(3);
        assert_eq!(base.id(), group(3).id());
        let mut moved = group(3);
        moved.members = moved.members.iter().cloned().map(|m| Member { address: Address(99), ..m }).collect();
        assert_eq!(base.id(), moved.id(), "where somebody is reached doesn't matter");
        let later = Communicator { generation: Generation(4), ..base.clone() };
        let mut swapped = group(3);
        swapped.members = [1, 0, 2].map(|index: usize| base.members[index].clone()).into();
        let other = Communicator { members: [named("m0", 99)].into(), ..base.clone() };
        let shifted = Communicator { members: [named("m", 10), named("0m1", 11)].into(), ..base.clone() };
        let glued = Communicator { members: [named("m0", 10), named("m1", 11)].into(), ..base.clone() };
        let mut names: Vec<CommunicatorId> =
            [&base, &later, &swapped, &other, &shifted, &glued, &group(2), &group(4)].map(Communicator::id).into();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7, "only group(2) and the glued list are one");
    }

    #[test]
    fn the_name_never_changes_between_versions() {
        assert_eq!(group(3).id(), CommunicatorId(GOLDEN));
    }

    const GOLDEN: u64 = 8_774_718_491_910_045_343;

    #[test]
    fn a_member_is_found_by_id_and_incarnation() {
        assert_eq!(group(3).rank_of("m1", Incarnation(11)), Some(Rank(1)));
        assert_eq!(group(3).rank_of("m1", Incarnation(12)), None);
        assert_eq!(group(3).rank_of("m7", Incarnation(11)), None);
    }

    #[test]
    fn impossible_lists_are_known() {
        assert!(group(1).is_possible(1) && group(5).is_possible(5));
        assert!(!group(0).is_possible(5) && !group(6).is_possible(5));
        let twice = Communicator { members: [named("a", 1), named("b", 2), named("a", 3)].into(), ..group(1) };
        assert!(!twice.is_possible(5));
        assert!(!Communicator { generation: Generation(0), ..group(1) }.is_possible(5));
        assert!(!Communicator { generation: Generation(u64::MAX), ..group(1) }.is_possible(5));
    }
}
