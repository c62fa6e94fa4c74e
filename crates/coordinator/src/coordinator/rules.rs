//! The decisions, without state: who is alive, who takes part, whether a quorum forms, and if not, why.

use crate::{Ask, Epoch, Incarnation, Participant, Quorum};
use alloc::vec::Vec;
use core::fmt;
use squall_machine::{Span, Text};

/// How many names a reason spells out.
const NAMES_SHOWN: usize = 8;

/// The one predicate of liveness: a member is alive iff it was heard of less than `timeout` ago.
pub(super) fn alive(age: Span, timeout: Span) -> bool {
    age < timeout
}

/// Whether a member has failed. At exactly `timeout + grace` it has.
pub(super) fn overdue(age: Span, timeout: Span, grace: Span) -> bool {
    age >= timeout + grace
}

/// Whether an incarnation can't be Active any more, because its last accepted heartbeat is `takeover` ago: its lease, which
/// began when that heartbeat was sent, has run out on any clock.
pub(super) fn lapsed(age: Span, takeover: Span) -> bool {
    age >= takeover
}

/// A healthy replica with an open request.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: &'a Text,
    pub(super) incarnation: Incarnation,
    pub(super) ask: &'a Ask,
    pub(super) waited: Span,
}

/// Whether the previous quorum holds this incarnation. `previous` is sorted by id.
pub(super) fn inside(previous: &[Participant], id: &str, incarnation: Incarnation) -> bool {
    previous
        .binary_search_by(|participant| (*participant.id).cmp(id))
        .is_ok_and(|at| previous[at].incarnation == incarnation)
}

/// Whether the candidates hold this incarnation. They are sorted by id.
pub(super) fn selects(selected: &[Candidate<'_>], id: &str, incarnation: Incarnation) -> bool {
    selected
        .binary_search_by(|candidate| (**candidate.id).cmp(id))
        .is_ok_and(|at| selected[at].incarnation == incarnation)
}

/// The list that would be returned: all candidates, or, if one of them asks `shrink_only` and there was a quorum before,
/// those inside it. Also how many were left out.
pub(super) fn select<'a>(mut candidates: Vec<Candidate<'a>>, previous: &[Participant]) -> (Vec<Candidate<'a>>, usize) {
    let all = candidates.len();
    if !previous.is_empty() && candidates.iter().any(|candidate| candidate.ask.shrink_only) {
        candidates.retain(|candidate| inside(previous, candidate.id, candidate.incarnation));
    }
    let left_out = all - candidates.len();
    (candidates, left_out)
}

/// How a quorum comes about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// The whole previous quorum is there: nobody is waited for.
    Fast,
    /// A majority of the healthy, and all of them or the time is up.
    Full,
}

/// What a quorum lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    /// Fewer than `min_replicas`.
    Replicas,
    /// Not more than half of the healthy replicas.
    Majority,
    /// Healthy replicas that still have time to ask.
    Stragglers,
}

/// Whether the selected candidates are a quorum. All counts are on the returned list.
pub(super) fn judge(
    selected: &[Candidate<'_>],
    healthy: usize,
    previous: &[Participant],
    min_replicas: u32,
    join_timeout: Span,
) -> Result<Pace, Lack> {
    assert!(selected.len() <= healthy, "every candidate is healthy");
    if selected.is_empty() || selected.len() < min_replicas as usize {
        return Err(Lack::Replicas);
    }
    let whole = selected.len() >= previous.len()
        && previous.iter().all(|member| selects(selected, &member.id, member.incarnation));
    if !previous.is_empty() && whole {
        return Ok(Pace::Fast);
    }
    if selected.len() * 2 <= healthy {
        return Err(Lack::Majority);
    }
    if selected.len() < healthy && first_wait(selected) < join_timeout {
        return Err(Lack::Stragglers);
    }
    Ok(Pace::Full)
}

/// How long the first of the candidates has waited.
pub(super) fn first_wait(selected: &[Candidate<'_>]) -> Span {
    selected.iter().map(|candidate| candidate.waited).max().unwrap_or(Span::ZERO)
}

/// Whether the quorum gets a new number: somebody else is in it, somebody has moved, or a commit failed.
pub(super) fn number_grows(previous: Option<&Quorum>, members: &[Participant]) -> bool {
    let Some(previous) = previous else {
        return true;
    };
    let same = previous.members.len() == members.len()
        && previous.members.iter().zip(members).all(|(old, new)| {
            old.id == new.id && old.incarnation == new.incarnation && old.ask.address == new.ask.address
        });
    !same || members.iter().any(|participant| participant.ask.commit_failures > 0)
}

/// Why no quorum forms.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Waiting {
    /// Nobody asks.
    Nobody,
    /// For more healthy replicas to ask.
    Replicas { asking: usize, min: u32, left_out: usize },
    /// For more than half of the healthy replicas.
    Majority { asking: usize, healthy: usize, missing: Names },
    /// For healthy replicas that still have time to ask.
    Stragglers { asking: usize, healthy: usize, missing: Names, join_timeout: Span },
    /// For incarnations that may still be Active in the newest formation, sorted by member. They are asked to stop once the
    /// first candidate has waited long enough.
    Holders { formation: Epoch, holders: Vec<(Text, Incarnation)>, evicting: bool },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => Ok(()),
            Self::Replicas { asking, min, left_out } => {
                write!(f, "{asking} healthy replicas ask, at least {} are needed", (*min).max(1))?;
                if *left_out > 0 {
                    write!(f, "; {left_out} more are left out by shrink_only")?;
                }
                Ok(())
            }
            Self::Majority { asking, healthy, missing } => {
                write!(f, "{asking} of {healthy} healthy replicas ask, more than half are needed; missing: ")?;
                missing.fmt(f)
            }
            Self::Stragglers { asking, healthy, missing, join_timeout } => {
                write!(
                    f,
                    "{asking} of {healthy} healthy replicas ask, for at most {join_timeout} the rest is awaited: "
                )?;
                missing.fmt(f)
            }
            Self::Holders { formation, holders, evicting } => {
                let asked = if *evicting { ", and were asked to stop" } else { "" };
                write!(f, "some may still be active in formation {formation}{asked}: ")?;
                holders.iter().map(|(id, _)| id).collect::<Names>().fmt(f)
            }
        }
    }
}

/// The first few names of a list, and how many more there are: a reason is for people.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Names {
    shown: Vec<Text>,
    more: usize,
}

impl<'a> FromIterator<&'a Text> for Names {
    fn from_iter<I: IntoIterator<Item = &'a Text>>(all: I) -> Self {
        let mut names = Self::default();
        for name in all {
            if names.shown.len() < NAMES_SHOWN {
                names.shown.push(name.clone());
            } else {
                names.more += 1;
            }
        }
        names
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.shown.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Number, QuorumId};
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    const TIMEOUT: Span = Span::from_secs(5);
    const NANO: Span = Span::from_nanos(1);

    #[test]
    fn boundaries_are_where_the_specification_has_them() {
        let table = [(TIMEOUT.minus(NANO), true, false), (TIMEOUT, false, true), (TIMEOUT + NANO, false, true)];
        for (age, is_alive, is_over) in table {
            assert_eq!(alive(age, TIMEOUT), is_alive, "{age}");
            assert_eq!(overdue(age, TIMEOUT, Span::ZERO), is_over, "{age}");
            assert_eq!(overdue(age + TIMEOUT, TIMEOUT, TIMEOUT), is_over, "{age}");
            assert_eq!(lapsed(age, TIMEOUT), is_over, "{age}");
        }
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let missing: Vec<Text> = (0..10).map(|index| Text::from(format!("r{index}"))).collect();
        let waiting = Waiting::Majority { asking: 1, healthy: 11, missing: missing.iter().collect() };
        let expected = "1 of 11 healthy replicas ask, more than half are needed; missing: r0, r1, r2, r3, r4, r5, r6, r7 and 2 more";
        assert_eq!(waiting.to_string(), expected);
        assert_eq!(Waiting::Nobody.to_string(), "");
    }

    fn ask(shrink_only: bool, commit_failures: u64, address: &str) -> Ask {
        let (address, empty) = (Text::from(address), Text::from(""));
        Ask { address, store_address: empty.clone(), step: 0, world_size: 1, shrink_only, commit_failures, data: empty }
    }

    fn participant(id: &str, incarnation: u64, ask: Ask) -> Participant {
        Participant { id: id.into(), incarnation: Incarnation(incarnation), number: Number(1), ask: ask.into() }
    }

    #[test]
    fn a_number_grows_with_any_change_of_who_and_where() {
        let member = |id, incarnation, address| participant(id, incarnation, ask(false, 0, address));
        let before = vec![member("a", 1, "x"), member("b", 2, "y")];
        let quorum = Quorum { id: QuorumId(1), formation: Epoch(1), members: before.clone().into() };
        assert!(number_grows(None, &before));
        assert!(!number_grows(Some(&quorum), &before));
        for changed in [
            vec![member("a", 1, "x")],
            vec![member("a", 1, "x"), member("b", 3, "y")],
            vec![member("a", 1, "x"), member("b", 2, "z")],
            vec![member("a", 1, "x"), member("c", 2, "y")],
            vec![member("a", 1, "x"), member("b", 2, "y"), member("c", 4, "w")],
            vec![member("a", 1, "x"), participant("b", 2, ask(false, 1, "y"))],
        ] {
            assert!(number_grows(Some(&quorum), &changed), "{changed:?}");
        }
    }

    /// A replica: in the previous quorum with this incarnation or an older one or not at all; asking, for shrink_only.
    #[derive(Clone, Debug)]
    struct Replica {
        before: Option<bool>,
        gone: bool,
        asks: Option<(bool, u64)>,
    }

    fn replica() -> impl Strategy<Value = Replica> {
        let before = prop_oneof![3 => Just(Some(true)), 1 => Just(Some(false)), 2 => Just(None)];
        let asks = proptest::option::weighted(0.7, (proptest::bool::weighted(0.15), 0..12u64));
        (before, proptest::bool::weighted(0.15), asks).prop_map(|(before, gone, asks)| Replica { before, gone, asks })
    }

    /// The rules as the specification words them, over plain lists.
    fn naive(replicas: &[Replica], min_replicas: usize, join_timeout: u64) -> (Vec<usize>, Result<Pace, ()>) {
        let here: Vec<usize> = (0..replicas.len()).filter(|&at| !replicas[at].gone).collect();
        let asking: Vec<usize> = here.iter().copied().filter(|&at| replicas[at].asks.is_some()).collect();
        let was_quorum = replicas.iter().any(|replica| replica.before.is_some());
        let shrink = asking.iter().any(|&at| replicas[at].asks.is_some_and(|(shrink_only, _)| shrink_only));
        let stays = |at: &usize| !shrink || !was_quorum || replicas[*at].before == Some(true);
        let list: Vec<usize> = asking.into_iter().filter(stays).collect();
        let fast = was_quorum
            && (0..replicas.len()).all(|at| match replicas[at].before {
                None => true,
                Some(same) => same && list.contains(&at),
            });
        let majority = list.len() > here.len() / 2;
        let all_here = here.iter().all(|at| list.contains(at));
        let waited = list.iter().any(|&at| replicas[at].asks.is_some_and(|(_, waited)| waited >= join_timeout));
        let enough = !list.is_empty() && list.len() >= min_replicas;
        let verdict = if enough && fast {
            Ok(Pace::Fast)
        } else if enough && majority && (all_here || waited) {
            Ok(Pace::Full)
        } else {
            Err(())
        };
        (list, verdict)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_rules_are_the_naive_ones(
            replicas in proptest::collection::vec(replica(), 0..7),
            min_replicas in 0..5u32,
            join_timeout in 1..12u64,
        ) {
            let ids: Vec<Text> = (0..replicas.len()).map(|at| Text::from(format!("r{at}"))).collect();
            let asks: Vec<Ask> =
                replicas.iter().map(|replica| ask(replica.asks.is_some_and(|(shrink, _)| shrink), 0, "")).collect();
            let candidates: Vec<Candidate<'_>> = (0..replicas.len())
                .filter(|&at| !replicas[at].gone)
                .filter_map(|at| {
                    let waited = Span::from_nanos(replicas[at].asks?.1);
                    Some(Candidate { id: &ids[at], incarnation: Incarnation(100 + at as u64), ask: &asks[at], waited })
                })
                .collect();
            let previous: Vec<Participant> = (0..replicas.len())
                .filter_map(|at| {
                    let incarnation = if replicas[at].before? { 100 + at as u64 } else { at as u64 };
                    Some(participant(&ids[at], incarnation, ask(false, 0, "")))
                })
                .collect();
            let healthy = replicas.iter().filter(|replica| !replica.gone).count();
            let asking = candidates.len();
            let (selected, left_out) = select(candidates, &previous);
            let verdict = judge(&selected, healthy, &previous, min_replicas, Span::from_nanos(join_timeout));
            let (list, expected) = naive(&replicas, min_replicas as usize, join_timeout);
            let found: Vec<usize> = selected.iter().map(|candidate| candidate.incarnation.0 as usize - 100).collect();
            prop_assert_eq!(found, list);
            prop_assert_eq!(left_out, asking - selected.len());
            prop_assert_eq!(verdict.map_err(|_| ()), expected);
        }
    }
}
