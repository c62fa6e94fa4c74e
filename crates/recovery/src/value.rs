//! What is decided about a generation: who of it is dead, and who joins.

use crate::{Communicator, Member, Rank, is_quorum};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// The difference between a communicator and its successor. Both lists may be empty: then it was a false alarm.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Value {
    /// Who is dead, by rank, ascending.
    pub dead: Arc<[Rank]>,
    /// Who joins, by id, ascending.
    pub joined: Arc<[Member]>,
}

/// Why a value can't be decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidValue {
    /// The dead are not in ascending order, or one of them is no member.
    Dead,
    /// Who is left is no quorum. A fresh value never names who promised, and a quorum promised.
    TooFewLeft,
    /// The joiners are not in ascending order, or one has the id of a survivor.
    Joined,
    /// The successor would have too many members.
    TooMany,
}

impl Value {
    /// Whether it names a rank dead.
    #[must_use]
    pub fn names(&self, rank: Rank) -> bool {
        self.dead.binary_search(&rank).is_ok()
    }

    /// Whether it can be decided about `group`, whose successor may have `members_max` members.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, group: &Communicator, members_max: u32) -> Result<(), InvalidValue> {
        let in_range = self.dead.last().is_none_or(|last| last.0 < group.size());
        if !in_range || !self.dead.is_sorted_by(|a, b| a < b) {
            return Err(InvalidValue::Dead);
        }
        let left: BTreeSet<Rank> = group.ranks().filter(|rank| !self.names(*rank)).collect();
        if !is_quorum(&left, group.size()) {
            return Err(InvalidValue::TooFewLeft);
        }
        let taken: BTreeSet<&str> =
            left.iter().filter_map(|rank| group.member(*rank)).map(|member| &*member.id).collect();
        let free = self.joined.iter().all(|joiner| !taken.contains(&*joiner.id));
        if !free || !self.joined.is_sorted_by(|a, b| a.id < b.id) {
            return Err(InvalidValue::Joined);
        }
        if left.len() + self.joined.len() > members_max as usize {
            return Err(InvalidValue::TooMany);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communicator::tests::{group, named, value};

    #[test]
    fn a_value_leaves_a_quorum_and_admits_strangers_only() {
        let (a, b, again) = (named("a", 1), named("b", 2), named("m1", 77));
        for (dead, joined, expected) in [
            (&[][..], &[][..], Ok(())),
            (&[4], &[], Ok(())),
            (&[0, 1], &[], Ok(())),
            (&[0, 1, 2], &[], Err(InvalidValue::TooFewLeft)),
            (&[0, 1, 2, 3, 4], &[], Err(InvalidValue::TooFewLeft)),
            (&[5], &[], Err(InvalidValue::Dead)),
            (&[2, 1], &[], Err(InvalidValue::Dead)),
            (&[1, 1], &[], Err(InvalidValue::Dead)),
            (&[], &[a.clone(), b.clone()], Ok(())),
            (&[], &[b.clone(), a.clone()], Err(InvalidValue::Joined)),
            (&[], &[a.clone(), named("a", 9)], Err(InvalidValue::Joined)),
            (&[], core::slice::from_ref(&again), Err(InvalidValue::Joined)),
            (&[1], core::slice::from_ref(&again), Ok(())),
            (&[], &[a.clone(), b.clone(), named("c", 3)], Err(InvalidValue::TooMany)),
            (&[4], &[a, b, named("c", 3)], Ok(())),
        ] {
            assert_eq!(value(dead, joined).check(&group(5), 7), expected, "dead {dead:?}, joined {joined:?}");
        }
        assert_eq!(value(&[2, 3], &[]).check(&group(4), 9), Ok(()), "half with rank 0");
        assert_eq!(value(&[0, 1], &[]).check(&group(4), 9), Err(InvalidValue::TooFewLeft), "half without it");
    }
}
