//! Who listens: one ring of numbered notices for all, and a window on it per session.

use super::{Coordinator, Out, ignore};
use crate::{Cursor, Event, Failure, Ignored, Message, Notice, Session};
use alloc::sync::Arc;
use alloc::vec::Vec;
use squall_machine::{Address, Time};

/// A session's window on the stream: `acked <= sent <= newest`, and `sent - acked` never exceeds the subscriber's queue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Listener {
    /// The last notice that the subscriber confirmed, or that a snapshot covers.
    pub(super) acked: Cursor,
    /// The last notice that was sent, or that a snapshot covers.
    pub(super) sent: Cursor,
    pub(super) heard: Time,
    pub(super) address: Address,
    pub(super) phase: Phase,
    /// Its window was full at the last tick, more waited, and it has confirmed nothing since.
    pub(super) stuck: bool,
}

/// What a session gets next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Phase {
    /// The next notice.
    Streaming,
    /// The next notice; the snapshot at `acked` is not confirmed, and is sent anew to whoever is behind it.
    Cut,
    /// Nothing, until it is heard of; then a snapshot.
    Lagging,
}

impl Coordinator {
    pub(super) fn on_subscribe(
        &mut self,
        now: Time,
        from: Address,
        session: Session,
        after: Option<Cursor>,
        effects: &mut Out,
    ) {
        let Some(listener) = self.sessions.get_mut(&session) else {
            return self.open_session(now, from, session, after, effects);
        };
        listener.heard = now;
        listener.address = from;
        let acked = listener.acked;
        match after {
            Some(after) if after > self.durable.cursor => {
                ignore(Ignored::ImpossibleCursor, None, effects);
                return self.cut(session, None, effects);
            }
            _ if listener.phase == Phase::Lagging => return self.cut(session, after, effects),
            _ if listener.phase == Phase::Cut && after < Some(acked) => return self.cut(session, after, effects),
            Some(after) if after > acked => {
                listener.acked = after;
                listener.sent = listener.sent.max(after);
                listener.stuck = false;
            }
            // The snapshot has arrived; what was sent after it may still be on its way.
            Some(after) if after == acked && listener.phase == Phase::Cut => {}
            // It says again what it has confirmed already: what was sent since is lost, or late.
            Some(after) if after == acked => listener.sent = acked,
            Some(_) | None => return ignore(Ignored::OutOfOrder, None, effects),
        }
        listener.phase = Phase::Streaming;
        self.serve(session, after, effects);
    }

    pub(super) fn on_unsubscribe(&mut self, session: Session, effects: &mut Out) {
        if self.sessions.remove(&session).is_none() {
            return ignore(Ignored::UnknownSession, None, effects);
        }
        effects.event(Event::Unsubscribed { session });
    }

    /// Sends what is new to every session whose window has room.
    pub(super) fn announce(&mut self, effects: &mut Out) {
        let sessions: Vec<Session> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.push(session, effects);
        }
    }

    pub(super) fn end_silent_sessions(&mut self, now: Time, effects: &mut Out) {
        let ttl = self.knobs.session_ttl;
        self.sessions.retain(|&session, listener| {
            let keep = now.since(listener.heard) < ttl;
            if !keep {
                effects.event(Event::Unsubscribed { session });
            }
            keep
        });
    }

    /// Whoever confirms nothing for a whole tick, with a full window and more to come, has fallen behind.
    pub(super) fn find_lagging(&mut self, effects: &mut Out) {
        let (newest, queue) = (self.durable.cursor, self.knobs.subscriber_queue);
        for (&session, listener) in &mut self.sessions {
            let full = listener.sent.0 - listener.acked.0 >= u64::from(queue) && newest > listener.sent;
            if full && listener.stuck {
                lag(session, listener, newest, effects);
            }
            listener.stuck = full && listener.phase != Phase::Lagging;
        }
    }

    /// A session that isn't known, perhaps because the coordinator restarted: it resumes if what it needs is still there.
    fn open_session(
        &mut self,
        now: Time,
        address: Address,
        session: Session,
        after: Option<Cursor>,
        effects: &mut Out,
    ) {
        if self.sessions.len() >= self.knobs.sessions_max as usize {
            return ignore(Ignored::LimitReached, None, effects);
        }
        let newest = self.durable.cursor;
        let possible = after.filter(|&after| after <= newest);
        if possible != after {
            ignore(Ignored::ImpossibleCursor, None, effects);
        }
        let start = possible.unwrap_or(newest);
        let (phase, stuck) = (Phase::Streaming, false);
        self.sessions.insert(session, Listener { acked: start, sent: start, heard: now, address, phase, stuck });
        effects.event(Event::Subscribed { session, cursor: start });
        match possible {
            None => self.cut(session, None, effects),
            Some(_) => self.serve(session, possible, effects),
        }
    }

    /// Sends what is next to a session that is heard of right now; who needs what isn't kept any more gets a snapshot.
    fn serve(&mut self, session: Session, after: Option<Cursor>, effects: &mut Out) {
        self.push(session, effects);
        if self.sessions[&session].phase == Phase::Lagging {
            self.cut(session, after, effects);
        }
    }

    /// Sends a fresh snapshot. Nothing up to its cursor follows.
    fn cut(&mut self, session: Session, after: Option<Cursor>, effects: &mut Out) {
        let cursor = self.durable.cursor;
        let failures: Arc<[Failure]> = self.durable.failures.values().cloned().collect();
        let listener = self.sessions.get_mut(&session).expect("only a session is sent a snapshot");
        (listener.acked, listener.sent, listener.phase, listener.stuck) = (cursor, cursor, Phase::Cut, false);
        let lagged = after.map(|after| cursor.0 - after.0);
        effects.send(listener.address, Message::Snapshot { session, cursor, lagged, failures });
    }

    /// Sends what the session's window has room for.
    fn push(&mut self, session: Session, effects: &mut Out) {
        let newest = self.durable.cursor;
        let listener = self.sessions.get_mut(&session).expect("only a session is sent notices");
        while listener.phase != Phase::Lagging
            && listener.sent < newest
            && listener.sent.0 - listener.acked.0 < u64::from(self.knobs.subscriber_queue)
        {
            let back = (newest.0 - listener.sent.0) as usize;
            let Some(at) = self.durable.notices.len().checked_sub(back) else {
                lag(session, listener, newest, effects);
                return;
            };
            let notice: Notice = self.durable.notices[at].clone();
            assert_eq!(notice.cursor, listener.sent.next(), "the ring has no gaps");
            listener.sent = notice.cursor;
            effects.send(listener.address, Message::Notification { session, notice });
        }
    }
}

fn lag(session: Session, listener: &mut Listener, newest: Cursor, effects: &mut Out) {
    listener.phase = Phase::Lagging;
    listener.stuck = false;
    effects.event(Event::Lagged { session, after: listener.acked, newest });
}
