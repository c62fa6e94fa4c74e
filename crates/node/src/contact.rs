//! Whether the coordinator still answers, and how patiently it is asked again.

use squall_coordinator::Knobs;
use squall_machine::{Random, Span, Time};

/// After how many re-sends without any answer the coordinator counts as lost.
const RESENDS_BEFORE_LOST: u64 = 3;

/// A member's view of its connection. While it is lost, everything that waits for an answer is sent again at random
/// moments: when the coordinator comes back, its members don't come back at one instant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Contact {
    random: Random,
    resend: Span,
    return_spread: Span,
    /// When the first message left after the last one that was heard.
    silent_since: Option<Time>,
}

impl Contact {
    pub(crate) fn new(seed: u64, knobs: &Knobs) -> Self {
        Self {
            random: Random::new(seed, "contact"),
            resend: knobs.resend,
            return_spread: knobs.return_spread,
            silent_since: None,
        }
    }

    /// Something left that wants an answer.
    pub(crate) fn on_sent(&mut self, now: Time) {
        self.silent_since.get_or_insert(now);
    }

    /// The coordinator said something.
    pub(crate) fn on_heard(&mut self) {
        self.silent_since = None;
    }

    /// Whether the coordinator has been silent for so long that it is taken for gone.
    pub(crate) fn is_lost(&self, now: Time) -> bool {
        self.silent_since.is_some_and(|since| now.since(since) >= self.resend * RESENDS_BEFORE_LOST)
    }

    /// When a request that leaves now leaves again, if it isn't answered.
    pub(crate) fn next_resend(&mut self, now: Time) -> Time {
        if self.is_lost(now) {
            now + self.random.span(self.resend, self.resend + self.return_spread)
        } else {
            now + self.resend
        }
    }

    /// When a member that has to come back does so: uniformly over `return_spread`.
    pub(crate) fn return_at(&mut self, now: Time) -> Time {
        now + self.random.span(Span::ZERO, self.return_spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn silence_begins_with_the_first_unanswered_message_and_ends_with_any_answer() {
        let mut contact = Contact::new(1, &Knobs::default());
        let lost = Span::from_millis(1_500);
        let start = Time::ZERO + Span::from_secs(9);
        assert!(!contact.is_lost(start + Span::from_secs(60)), "nothing was asked");
        contact.on_sent(start);
        contact.on_sent(start + Span::from_secs(1));
        assert!(!contact.is_lost(Time::from_nanos((start + lost).as_nanos() - 1)));
        assert!(contact.is_lost(start + lost));
        assert_eq!(contact.next_resend(start), start + Span::from_millis(500));
        assert!(contact.next_resend(start + lost) >= start + lost + Span::from_millis(500));
        contact.on_heard();
        assert!(!contact.is_lost(start + Span::from_secs(60)));
    }

    #[test]
    fn a_thousand_members_that_lost_the_coordinator_at_one_instant_come_back_spread_out() {
        let knobs = Knobs::default();
        // A fault of a minute, all began to wait at the same moment; then each 100 ms slot of what arrives is counted.
        let mut slots = vec![0u32; 100];
        for seed in 0..1_000 {
            let mut contact = Contact::new(seed, &knobs);
            let mut at = Time::ZERO;
            contact.on_sent(at);
            while at < Time::ZERO + Span::from_secs(60) {
                at = contact.next_resend(at);
            }
            slots[(at.since(Time::ZERO + Span::from_secs(60)).as_millis() / 100) as usize] += 1;
        }
        assert!(slots.iter().all(|&members| members <= 200), "{slots:?}");
        let mut returns = vec![0u32; 21];
        for seed in 0..1_000 {
            let at = Contact::new(seed, &knobs).return_at(Time::ZERO);
            returns[(at.since(Time::ZERO).as_millis() / 100) as usize] += 1;
        }
        assert!(returns[..20].iter().all(|&members| (20..=100).contains(&members)), "{returns:?}");
    }
}
