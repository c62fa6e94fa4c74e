//! Attempts that need no more attention, remembered so that late messages about them change nothing.

use crate::{AttemptId, Ignored};
use alloc::collections::VecDeque;

/// How many attempts are remembered. The scheduler gives a worker far fewer within the life of a message.
const PAST_MAX: usize = 1_024;

/// Why an attempt needs no more attention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Fate {
    /// Its report was answered.
    Answered,
    /// It was fenced, perhaps before it came.
    Stopped,
}

/// The newest of them, oldest first.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Past {
    attempts: VecDeque<(AttemptId, Fate)>,
}

impl Past {
    pub(super) fn remember(&mut self, attempt: AttemptId, fate: Fate) {
        assert!(!self.holds(attempt), "attempt {attempt} is over once");
        if self.attempts.len() == PAST_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back((attempt, fate));
    }

    pub(super) fn holds(&self, attempt: AttemptId) -> bool {
        self.attempts.iter().any(|(past, _)| *past == attempt)
    }

    /// Whether an attempt may still begin.
    pub(super) fn admits(&self, attempt: AttemptId) -> Result<(), Ignored> {
        match self.attempts.iter().find(|(past, _)| *past == attempt) {
            None => Ok(()),
            Some((_, Fate::Answered)) => Err(Ignored::Over),
            Some((_, Fate::Stopped)) => Err(Ignored::Fenced),
        }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.attempts.len() <= PAST_MAX, "no more than may be");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut past = Past::default();
        past.remember(AttemptId(1), Fate::Stopped);
        past.remember(AttemptId(2), Fate::Answered);
        let admitted = [1, 2, 3].map(|attempt| past.admits(AttemptId(attempt)));
        assert_eq!(admitted, [Err(Ignored::Fenced), Err(Ignored::Over), Ok(())]);
        for attempt in 3..=PAST_MAX as u64 + 1 {
            past.remember(AttemptId(attempt), Fate::Answered);
        }
        past.assert_invariants();
        assert_eq!((past.holds(AttemptId(1)), past.holds(AttemptId(2))), (false, true));
    }
}
