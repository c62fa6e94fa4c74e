//! The order in which attempts to decide outbid each other.

use crate::Rank;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One attempt of one leader. Ordered by round, then by leader, so that no two attempts of one generation are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// The round, from 1.
    pub round: u64,
    /// Who leads it.
    pub leader: Rank,
}

impl Ballot {
    /// The highest round that a message may name. Nobody gets there by deciding; without a limit one forged round would
    /// leave no room above it.
    pub const ROUND_MAX: u64 = 1 << 40;

    /// The first ballot of `leader` above everything that it `promised` or was told of in a refusal.
    ///
    /// # Panics
    /// If there is no round left: 2^40 of them were used up in one generation.
    #[must_use]
    pub fn above(promised: Option<Self>, refused: u64, leader: Rank) -> Self {
        let round = promised.map_or(0, |ballot| ballot.round).max(refused) + 1;
        assert!(round <= Self::ROUND_MAX, "rounds ran out");
        Self { round, leader }
    }

    /// Whether a member could have made it.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        self.round > 0 && self.round < Self::ROUND_MAX
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, leader: u32) -> Ballot {
        Ballot { round, leader: Rank(leader) }
    }

    #[test]
    fn rounds_come_before_leaders() {
        let ordered = [ballot(1, 0), ballot(1, 4), ballot(2, 0), ballot(2, 3), ballot(3, 1)];
        assert!(ordered.is_sorted_by(|a, b| a < b));
        assert!(None < Some(ballot(1, 0)), "no promise is below every ballot");
    }

    #[test]
    fn the_next_ballot_is_above_everything_known() {
        for (promised, refused, round) in
            [(None, 0, 1), (Some(ballot(1, 4)), 0, 2), (Some(ballot(3, 0)), 7, 8), (Some(ballot(9, 2)), 7, 10)]
        {
            for leader in 0..5 {
                let next = Ballot::above(promised, refused, Rank(leader));
                assert_eq!(next, ballot(round, leader));
                assert!(Some(next) > promised && next.round > refused);
            }
        }
    }

    #[test]
    fn round_zero_and_rounds_without_end_are_impossible() {
        assert!(!ballot(0, 0).is_possible() && ballot(1, 0).is_possible());
        assert!(!ballot(Ballot::ROUND_MAX, 0).is_possible() && !ballot(u64::MAX, 0).is_possible());
    }
}
