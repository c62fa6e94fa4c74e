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
    // Both lists are sorted by id, and an id has one live incarnation.
    let returning = selected.iter().filter(|candidate| inside(previous, candidate.id, candidate.incarnation)).count();
    if !previous.is_empty() && returning == previous.len() {
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
    Majority { asking: usize, healthy: usize, missing: Vec<Text> },
    /// For healthy replicas that still have time to ask.
    Stragglers { asking: usize, healthy: usize, missing: Vec<Text>, join_timeout: Span },
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
                names(f, missing.iter())
            }
            Self::Stragglers { asking, healthy, missing, join_timeout } => {
                write!(
                    f,
                    "{asking} of {healthy} healthy replicas ask, for at most {join_timeout} the rest is awaited: "
                )?;
                names(f, missing.iter())
            }
            Self::Holders { formation, holders, evicting } => {
                let asked = if *evicting { ", and were asked to stop" } else { "" };
                write!(f, "some may still be active in formation {formation}{asked}: ")?;
                names(f, holders.iter().map(|(id, _)| id))
            }
        }
    }
}

fn names<'a>(f: &mut fmt::Formatter<'_>, all: impl ExactSizeIterator<Item = &'a Text>) -> fmt::Result {
    let rest = all.len().saturating_sub(NAMES_SHOWN);
    for (index, name) in all.take(NAMES_SHOWN).enumerate() {
        write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
    }
    if rest > 0 { write!(f, " and {rest} more") } else { Ok(()) }
}
