//! Who is behind in a quorum, and who helps whom: arithmetic on a list, equal at every replica.

use crate::{Participant, Quorum, RankQuorum};
use alloc::vec::Vec;

/// The view that local rank `group_rank` of replica `id` has of a quorum; `None` if the replica isn't in it, or if the list
/// isn't one that a coordinator forms: sorted by id, each id once.
///
/// A replica has to recover if it is behind, or if everybody is at step 0, `init_sync` is set and it isn't the primary, so
/// that all begin with the same weights. Primary and sources are rotated by the local rank, so that the ranks of one
/// replica don't all load the same one.
#[must_use]
pub fn recovery_assignment(quorum: &Quorum, id: &str, group_rank: u32, init_sync: bool) -> Option<RankQuorum> {
    let members = &quorum.members;
    if !members.is_sorted_by(|left, right| left.id < right.id) {
        return None;
    }
    let replica_rank = members.iter().position(|member| *member.id == *id)? as u32;
    let max_step = members.iter().map(|member| member.ask.step).max()?;
    let at_max_step = ranks(members, |_, member| member.ask.step == max_step);
    let primary = at_max_step[group_rank as usize % at_max_step.len()];

    let force = init_sync && max_step == 0;
    let behind = ranks(members, |rank, member| member.ask.step != max_step || (force && rank != primary));
    let up_to_date = ranks(members, |rank, _| behind.binary_search(&rank).is_err());
    assert!(up_to_date.contains(&primary), "the primary is never behind");

    let source = |index: usize| up_to_date[(index + group_rank as usize) % up_to_date.len()];
    let recover_from = behind.iter().position(|&rank| rank == replica_rank).map(source);
    let recover_to: Vec<u32> =
        behind.iter().enumerate().filter(|&(index, _)| source(index) == replica_rank).map(|(_, &rank)| rank).collect();
    assert!(recover_from.is_none() || recover_to.is_empty(), "who has to recover helps nobody");

    Some(RankQuorum {
        quorum_id: quorum.id,
        formation: quorum.formation,
        replica_rank,
        replica_count: members.len() as u32,
        max_step,
        primary_store: members[primary as usize].ask.store_address.clone(),
        heal: recover_from.is_some(),
        at_max_step,
        recover_from,
        recover_to,
    })
}

fn ranks(members: &[Participant], belongs: impl Fn(u32, &Participant) -> bool) -> Vec<u32> {
    (0u32..).zip(members).filter(|(rank, member)| belongs(*rank, member)).map(|(rank, _)| rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, Epoch, Incarnation, Number, QuorumId};
    use alloc::format;
    use alloc::string::ToString;
    use alloc::sync::Arc;
    use alloc::vec;

    fn quorum(steps: &[u64]) -> Quorum {
        let member = |(index, &step): (usize, &u64)| Participant {
            id: format!("r{index}").into(),
            incarnation: Incarnation(index as u64 + 1),
            number: Number(1),
            ask: Arc::new(Ask {
                address: format!("a{index}").into(),
                store_address: format!("s{index}").into(),
                step,
                world_size: 1,
                shrink_only: false,
                commit_failures: 0,
                data: "".into(),
            }),
        };
        Quorum { id: QuorumId(7), formation: Epoch(9), members: steps.iter().enumerate().map(member).collect() }
    }

    /// One line: who is primary, who recovers from whom, whom it helps.
    fn check(steps: &[u64], replica: usize, group_rank: u32, init_sync: bool, expected: &str) {
        let view =
            recovery_assignment(&quorum(steps), &format!("r{replica}"), group_rank, init_sync).expect("a member");
        let from = view.recover_from.map_or("-".to_string(), |rank| rank.to_string());
        let line = format!(
            "max {} {:?} {} from {from} to {:?}",
            view.max_step, view.at_max_step, view.primary_store, view.recover_to
        );
        assert_eq!(line, expected, "steps {steps:?}, replica {replica}, local rank {group_rank}");
        assert_eq!(view.heal, view.recover_from.is_some());
        assert_eq!((view.replica_rank as usize, view.replica_count as usize), (replica, steps.len()));
        assert_eq!((view.quorum_id, view.formation), (QuorumId(7), Epoch(9)));
    }

    #[test]
    fn everybody_up_to_date() {
        check(&[5, 5, 5], 0, 0, true, "max 5 [0, 1, 2] s0 from - to []");
        check(&[5, 5, 5], 0, 1, true, "max 5 [0, 1, 2] s1 from - to []");
        check(&[5, 5, 5], 2, 4, true, "max 5 [0, 1, 2] s1 from - to []");
    }

    #[test]
    fn who_is_behind_recovers_from_those_at_the_highest_step_in_turn() {
        check(&[5, 3, 5, 0], 1, 0, false, "max 5 [0, 2] s0 from 0 to []");
        check(&[5, 3, 5, 0], 3, 0, false, "max 5 [0, 2] s0 from 2 to []");
        check(&[5, 3, 5, 0], 0, 0, false, "max 5 [0, 2] s0 from - to [1]");
        check(&[5, 3, 5, 0], 2, 0, false, "max 5 [0, 2] s0 from - to [3]");
        check(&[5, 3, 5, 0], 1, 1, false, "max 5 [0, 2] s2 from 2 to []");
        check(&[5, 3, 5, 0], 0, 1, false, "max 5 [0, 2] s2 from - to [3]");
        check(&[1, 1, 2], 2, 0, false, "max 2 [2] s2 from - to [0, 1]");
    }

    #[test]
    fn at_step_zero_all_but_the_primary_take_its_weights() {
        check(&[0, 0, 0], 0, 0, true, "max 0 [0, 1, 2] s0 from - to [1, 2]");
        check(&[0, 0, 0], 1, 0, true, "max 0 [0, 1, 2] s0 from 0 to []");
        check(&[0, 0, 0], 0, 1, true, "max 0 [0, 1, 2] s1 from 1 to []");
        check(&[0, 0, 0], 0, 0, false, "max 0 [0, 1, 2] s0 from - to []");
        check(&[0], 0, 3, true, "max 0 [0] s0 from - to []");
    }

    #[test]
    fn strangers_and_unsorted_lists_get_no_view() {
        assert_eq!(recovery_assignment(&quorum(&[1, 1]), "r2", 0, true), None);
        assert_eq!(recovery_assignment(&quorum(&[]), "r0", 0, true), None);
        let mut twisted = quorum(&[1, 1]);
        twisted.members = vec![twisted.members[1].clone(), twisted.members[0].clone()].into();
        assert_eq!(recovery_assignment(&twisted, "r0", 0, true), None);
        twisted.members = vec![twisted.members[0].clone(), twisted.members[0].clone()].into();
        assert_eq!(recovery_assignment(&twisted, "r1", 0, true), None);
    }

    #[test]
    fn all_small_quorums_are_consistent_between_their_members() {
        for replicas in 1..=4usize {
            for code in 0..3usize.pow(replicas as u32) {
                let steps: Vec<u64> = (0..replicas).map(|digit| (code / 3usize.pow(digit as u32) % 3) as u64).collect();
                for (group_rank, init_sync) in (0..4).flat_map(|rank| [(rank, false), (rank, true)]) {
                    consistent(&steps, group_rank, init_sync);
                }
            }
        }
    }

    fn consistent(steps: &[u64], group_rank: u32, init_sync: bool) {
        let quorum = quorum(steps);
        let views: Vec<RankQuorum> = (0..steps.len())
            .map(|index| recovery_assignment(&quorum, &format!("r{index}"), group_rank, init_sync).expect("a member"))
            .collect();
        let highest = steps.iter().copied().max().expect("not empty");
        for (rank, view) in (0u32..).zip(&views) {
            assert_eq!((view.max_step, &view.at_max_step), (highest, &views[0].at_max_step));
            assert_eq!(view.primary_store, views[0].primary_store);
            assert!(steps[rank as usize] == highest || view.heal, "who is behind recovers");
            if init_sync && highest == 0 {
                let primary = *view.primary_store == *format!("s{rank}");
                assert_eq!(view.heal, !primary, "at step 0 all but the primary recover");
            }
            if let Some(source) = view.recover_from {
                assert!(!views[source as usize].heal && steps[source as usize] == highest);
                assert!(views[source as usize].recover_to.contains(&rank));
            }
            for &target in &view.recover_to {
                assert_eq!(views[target as usize].recover_from, Some(rank));
            }
        }
        let helped: Vec<usize> = views.iter().filter(|view| !view.heal).map(|view| view.recover_to.len()).collect();
        let (least, most) = (helped.iter().min(), helped.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "the load is shared: {helped:?}");
    }
}
