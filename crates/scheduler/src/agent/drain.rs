//! Leaving by plan: no new work, then none at all.

use super::{Agent, Out};
use crate::{Ignored, Incarnation, Message};
use squall_machine::Time;

/// Whether the worker leaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Drain {
    /// It doesn't.
    No,
    /// It asks for no more work, again at `resend`, and finishes what it has.
    UnderWay { resend: Time },
    /// It holds nothing, and has said so.
    Left,
}

impl Drain {
    pub(super) fn is_under_way(self) -> bool {
        matches!(self, Self::UnderWay { .. })
    }

    pub(super) fn deadline(self) -> Option<Time> {
        match self {
            Self::No | Self::Left => None,
            Self::UnderWay { resend } => Some(resend),
        }
    }
}

impl Agent {
    pub(super) fn on_leave(&mut self, now: Time, effects: &mut Out) -> Result<(), Ignored> {
        if self.drain != Drain::No {
            return Err(Ignored::Repeated);
        }
        match &mut self.stay {
            Some(stay) => {
                stay.withdraw();
                self.drain = Drain::UnderWay { resend: now };
            }
            // Without an incarnation there is no lease.
            None => self.transition_to_left(effects),
        }
        Ok(())
    }

    /// The worker holds no lease any more. What still runs was fenced, and the word of that was lost.
    pub(super) fn on_drained(&mut self, incarnation: Incarnation, effects: &mut Out) -> Result<(), Ignored> {
        self.own(incarnation)?;
        if !self.drain.is_under_way() {
            return Err(Ignored::StaleAnswer);
        }
        self.halt_all(effects);
        self.transition_to_left(effects);
        Ok(())
    }

    pub(super) fn send_drain(&mut self, now: Time, effects: &mut Out) {
        let (Drain::UnderWay { resend }, Some(stay)) = (&mut self.drain, &self.stay) else { return };
        if now >= *resend {
            *resend = self.scheduler.ask(now);
            let incarnation = stay.incarnation;
            self.tell(Message::Drain { incarnation }, effects);
        }
    }
}
