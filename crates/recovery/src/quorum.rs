//! Who is enough to decide.

use crate::Rank;
use alloc::collections::BTreeSet;

/// Whether `voters` are a quorum of a communicator of `size` members: more than half of them, or exactly half with rank 0.
///
/// Any two quorums share a member: two majorities do, a majority and a half do, and two halves share rank 0. Ranks that
/// don't exist make no quorum.
#[must_use]
pub fn is_quorum(voters: &BTreeSet<Rank>, size: u32) -> bool {
    if voters.last().is_none_or(|last| last.0 >= size) {
        return false;
    }
    let doubled = voters.len() as u64 * 2;
    doubled > u64::from(size) || doubled == u64::from(size) && voters.contains(&Rank(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Every set of ranks below `size`.
    fn sets(size: u32) -> Vec<BTreeSet<Rank>> {
        (0..1u32 << size).map(|bits| (0..size).filter(|rank| bits >> rank & 1 == 1).map(Rank).collect()).collect()
    }

    #[test]
    fn exactly_the_majorities_and_the_halves_with_rank_0() {
        for (size, quorums) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16)] {
            let found = sets(size).iter().filter(|voters| is_quorum(voters, size)).count();
            assert_eq!(found, quorums, "of {size}");
        }
        let set = |ranks: &[u32]| ranks.iter().copied().map(Rank).collect();
        for (ranks, size, expected) in [
            (&[][..], 0, false),
            (&[], 1, false),
            (&[0], 1, true),
            (&[0], 2, true),
            (&[1], 2, false),
            (&[1, 2], 3, true),
            (&[0], 3, false),
            (&[0, 3], 4, true),
            (&[2, 3], 4, false),
            (&[1, 2, 3], 4, true),
            (&[0, 1, 5], 5, false),
        ] {
            assert_eq!(is_quorum(&set(ranks), size), expected, "{ranks:?} of {size}");
        }
    }

    #[test]
    fn any_two_quorums_share_a_member() {
        for size in 1..=6 {
            let quorums: Vec<_> = sets(size).into_iter().filter(|voters| is_quorum(voters, size)).collect();
            for one in &quorums {
                assert!(quorums.iter().all(|other| !one.is_disjoint(other)), "{one:?} of {size}");
            }
        }
    }

    #[test]
    fn more_voters_never_unmake_a_quorum() {
        for size in 1..=5 {
            for voters in sets(size).into_iter().filter(|voters| is_quorum(voters, size)) {
                for rank in (0..size).map(Rank) {
                    let mut more = voters.clone();
                    more.insert(rank);
                    assert!(is_quorum(&more, size), "{more:?} of {size}");
                }
            }
        }
    }
}
