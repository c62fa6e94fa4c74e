//! Whether a partner still answers, and how patiently it is asked again.

use squall_machine::{Random, Span, Time};

/// After how many re-sends without any answer the partner counts as lost.
const RESENDS_BEFORE_LOST: u64 = 3;

/// One side's view of its connection to another. While it is lost, everything that waits for an answer is sent again at
/// random moments: when the other side comes back, those who wait for it don't all come at one instant.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Contact {
    random: Random,
    resend: Span,
    spread: Span,
    /// When the first question left after the last word that was heard.
    asked: Option<Time>,
}

impl Contact {
    /// With whom nothing was spoken yet. `label` names the stream of its delays.
    pub(crate) fn new(seed: u64, label: &str, resend: Span, spread: Span) -> Self {
        assert!(resend > Span::ZERO, "repetitions take time");
        Self { random: Random::new(seed, label), resend, spread, asked: None }
    }

    /// The other side said something.
    pub(crate) fn on_heard(&mut self) {
        self.asked = None;
    }

    /// A question leaves; returns when it leaves again, if it isn't answered.
    pub(crate) fn ask(&mut self, now: Time) -> Time {
        let asked = *self.asked.get_or_insert(now);
        if now.since(asked) >= self.resend * RESENDS_BEFORE_LOST {
            now + self.random.span(self.resend, self.resend + self.spread)
        } else {
            now + self.resend
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const RESEND: Span = Span::from_millis(500);
    const SPREAD: Span = Span::from_secs(2);

    #[test]
    fn whoever_answers_is_asked_at_a_steady_pace() {
        let mut contact = Contact::new(1, "test", RESEND, SPREAD);
        let start = Time::ZERO + Span::from_secs(9);
        for question in 0..3 {
            let at = start + RESEND * question;
            assert_eq!(contact.ask(at), at + RESEND, "question {question}");
        }
        let lost = start + RESEND * 3;
        let spread = contact.ask(lost);
        assert!((lost + RESEND..=lost + RESEND + SPREAD).contains(&spread));
        assert_ne!(spread, lost + RESEND, "by chance 1 in 2,000,000,000");
        contact.on_heard();
        assert_eq!(contact.ask(lost), lost + RESEND);
    }

    #[test]
    fn a_thousand_that_lost_their_partner_at_one_instant_come_back_spread_out() {
        // After a minute of silence, each 100 ms slot of what arrives is counted.
        let end = Time::ZERO + Span::from_secs(60);
        let mut slots = vec![0_u32; 26];
        for seed in 0..1_000 {
            let mut contact = Contact::new(seed, "test", RESEND, SPREAD);
            let mut at = Time::ZERO;
            while at < end {
                at = contact.ask(at);
            }
            slots[(at.since(end).as_millis() / 100) as usize] += 1;
        }
        assert!(slots.iter().all(|&arrivals| arrivals <= 200), "{slots:?}");
    }
}
