//! Which value a leader proposes.

use crate::{Ballot, Communicator, Member, Rank, Value, Vow};
use alloc::collections::{BTreeMap, BTreeSet};
use squall_machine::Text;

/// The value to propose, and the ballot at which it was accepted if it is an older one.
///
/// If somebody accepted a value, a quorum may have, and then it is decided though nobody may know: the one of the highest
/// ballot is proposed unchanged, whoever it names (Lamport, The Part-Time Parliament, 1998). Else the dead are all that
/// anybody suspects, minus everybody whose promise was counted; known joiners join, as far as nobody who is left has their
/// id and there is room. Of two joiners of one id the one that the lower rank knows is taken.
///
/// `vows` are the counted promises, the leader's own among them.
#[must_use]
pub fn choose(group: &Communicator, vows: &BTreeMap<Rank, Vow>, members_max: u32) -> (Value, Option<Ballot>) {
    let accepted = vows.values().filter_map(|vow| vow.accepted.as_ref());
    if let Some((ballot, value)) = accepted.max_by_key(|(ballot, _)| *ballot) {
        return (value.clone(), Some(*ballot));
    }
    let suspected: BTreeSet<Rank> = vows.values().flat_map(|vow| vow.suspects.iter().copied()).collect();
    let dead: BTreeSet<Rank> = suspected.into_iter().filter(|rank| !vows.contains_key(rank)).collect();
    let left = group.ranks().filter(|rank| !dead.contains(rank)).filter_map(|rank| group.member(rank));
    let taken: BTreeSet<&Text> = left.map(|member| &member.id).collect();
    let mut joined: BTreeMap<&Text, &Member> = BTreeMap::new();
    for joiner in vows.values().flat_map(|vow| vow.joiners.iter()) {
        if !taken.contains(&joiner.id) {
            joined.entry(&joiner.id).or_insert(joiner);
        }
    }
    let room = (members_max as usize).saturating_sub(taken.len());
    let joined = joined.into_values().take(room).cloned().collect();
    (Value { dead: dead.into_iter().collect(), joined }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::tests::{group, named, value};
    use crate::is_quorum;
    use alloc::vec::Vec;

    fn vow(suspects: &[u32], accepted: Option<(u64, u32, &[u32])>) -> Vow {
        Vow {
            suspects: suspects.iter().copied().map(Rank).collect(),
            joiners: [].into(),
            accepted: accepted.map(|(round, leader, dead)| (Ballot { round, leader: Rank(leader) }, value(dead, &[]))),
        }
    }

    fn vows(list: &[(u32, Vow)]) -> BTreeMap<Rank, Vow> {
        list.iter().map(|(rank, vow)| (Rank(*rank), vow.clone())).collect()
    }

    #[test]
    fn the_value_of_the_highest_ballot_is_adopted_unchanged() {
        let some = vows(&[
            (0, vow(&[4], Some((3, 1, &[2])))),
            (1, vow(&[], Some((3, 2, &[0])))),
            (2, vow(&[3], Some((2, 4, &[])))),
        ]);
        let adopted = (value(&[0], &[]), Some(Ballot { round: 3, leader: Rank(2) }));
        assert_eq!(choose(&group(5), &some, 9), adopted, "it names a promiser, and stands");
    }

    #[test]
    fn whose_promise_counted_is_not_dead_whoever_suspects_it() {
        // Every set of promisers that is a quorum, up to five ranks, all suspected by everybody.
        for size in 1..=5u32 {
            for bits in 0..1u32 << size {
                let counted: BTreeSet<Rank> = (0..size).filter(|rank| bits >> rank & 1 == 1).map(Rank).collect();
                if !is_quorum(&counted, size) {
                    continue;
                }
                let everybody: Vec<u32> = (0..size).collect();
                let vows = counted.iter().map(|rank| (*rank, vow(&everybody, None))).collect();
                let (value, adopted) = choose(&group(size), &vows, 9);
                let dead: BTreeSet<Rank> = (0..size).map(Rank).filter(|rank| !counted.contains(rank)).collect();
                assert_eq!((value.dead.iter().copied().collect(), adopted), (dead, None));
                assert_eq!(value.check(&group(size), 9), Ok(()), "what is chosen can be decided");
            }
        }
    }

    #[test]
    fn only_suspects_are_dead() {
        let (chosen, _) =
            choose(&group(5), &vows(&[(0, vow(&[3], None)), (1, vow(&[], None)), (2, vow(&[1], None))]), 9);
        assert_eq!(chosen, value(&[3], &[]), "rank 4 is silent, but nobody suspects it");
        let (chosen, _) = choose(&group(2), &vows(&[(0, vow(&[1], None)), (1, vow(&[0], None))]), 9);
        assert_eq!(chosen, value(&[], &[]), "a false alarm");
    }

    #[test]
    fn joiners_are_united_as_far_as_their_ids_are_free() {
        let mut list = vows(&[(0, vow(&[2], None)), (1, vow(&[], None))]);
        let knows = |joiners: &[Member]| Vow { joiners: joiners.iter().cloned().collect(), ..vow(&[2], None) };
        list.insert(Rank(0), knows(&[named("z", 1), named("m1", 50), named("m2", 60)]));
        list.insert(Rank(1), knows(&[named("a", 3), named("z", 2)]));
        let joined = [named("a", 3), named("m2", 60), named("z", 1)];
        assert_eq!(choose(&group(3), &list, 9), (value(&[2], &joined), None), "m1 lives, m2 is dead");
        assert_eq!(choose(&group(3), &list, 4), (value(&[2], &joined[..2]), None), "there is room for two");
    }
}
