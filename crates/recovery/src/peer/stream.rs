//! What local subscribers are told: one bounded ring of numbered notices for all, and a window on it for each.

use super::{Out, Peer, PeerReply, members_of};
use crate::{Communicator, Cursor, Generation, Ignored, Member, Rank, Session};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// One entry of the stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Its place in the stream; numbered without gaps from 1 in each life of the process.
    pub cursor: Cursor,
    /// What happened.
    pub change: Change,
}

/// What a notice tells.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The group was rebuilt.
    Installed {
        /// The generation from now on.
        generation: Generation,
        /// The rank of this process before, if it was a member.
        old_rank: Option<Rank>,
        /// Its rank from now on.
        new_rank: Rank,
        /// How many members there are.
        size: u32,
        /// Who was found dead; empty also if that was missed.
        dead: Arc<[Member]>,
        /// Who joined; empty also if that was missed.
        joined: Arc<[Member]>,
    },
    /// Members are newly suspected, and nothing is done about it until somebody asks. (policy = manual)
    Suspected {
        /// In which generation.
        generation: Generation,
        /// Who.
        members: Arc<[Member]>,
    },
    /// This process was excluded, and asks to be admitted again.
    Fenced {
        /// The generation in which it is no member.
        generation: Generation,
    },
}

/// Where things stand at one point of the stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Subscription {
    /// The last notice that it covers.
    pub cursor: Cursor,
    /// How many notices were missed, if the subscriber fell behind; `None` at its beginning.
    pub lagged: Option<u64>,
    /// The communicator in force, and the rank of this process in it; `None` while it is no member.
    pub group: Option<(Arc<Communicator>, Rank)>,
    /// Who is suspected.
    pub suspects: Arc<[Member]>,
}

/// `acked <= sent <= newest`, and `sent - acked` never exceeds the subscriber's queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Window {
    acked: Cursor,
    sent: Cursor,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Stream {
    newest: Cursor,
    /// The newest notices, without gaps up to `newest`.
    notices: VecDeque<Notice>,
    sessions: BTreeMap<Session, Window>,
}

impl Stream {
    pub(super) fn push(&mut self, change: Change, kept: u32) {
        self.newest = self.newest.next();
        if self.notices.len() >= kept as usize {
            self.notices.pop_front();
        }
        self.notices.push_back(Notice { cursor: self.newest, change });
    }

    pub(super) fn on_suspected(&mut self, generation: Generation, members: Arc<[Member]>, kept: u32) {
        self.push(Change::Suspected { generation, members }, kept);
    }

    pub(super) fn on_unsubscribe(&mut self, session: Session) -> Result<(), Ignored> {
        self.sessions.remove(&session).map(|_| ()).ok_or(Ignored::ImpossibleCursor)
    }

    pub(super) fn subscribers(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn kept(&self) -> usize {
        self.notices.len()
    }

    /// The notice after a cursor, if it is still kept.
    fn after(&self, cursor: Cursor) -> Option<&Notice> {
        let oldest = self.notices.front()?.cursor;
        self.notices.get(cursor.next().0.checked_sub(oldest.0)? as usize)
    }

    pub(super) fn check(&self, queue: u32, kept: u32, subscribers_max: u32) {
        assert!(self.notices.len() <= kept as usize, "too many notices");
        assert!(self.sessions.len() <= subscribers_max as usize, "too many subscribers");
        assert!(self.notices.back().is_none_or(|notice| notice.cursor == self.newest), "the newest notice is the last");
        for window in self.sessions.values() {
            assert!(window.acked <= window.sent && window.sent <= self.newest, "a window outside of the stream");
            assert!(window.sent.0 - window.acked.0 <= u64::from(queue), "a queue that is longer than its limit");
        }
    }
}

impl Peer {
    pub(super) fn on_subscribe(
        &mut self,
        session: Session,
        after: Option<Cursor>,
        effects: &mut Out,
    ) -> Result<(), Ignored> {
        let known = self.stream.sessions.contains_key(&session);
        if !known && self.stream.sessions.len() >= self.config.knobs.subscribers_max as usize {
            return Err(Ignored::LimitReached);
        }
        let Some(after) = after else {
            self.cut(session, None, effects);
            return Ok(());
        };
        if after > self.stream.newest {
            return Err(Ignored::ImpossibleCursor);
        }
        let fresh = Window { acked: after, sent: after };
        let window = self.stream.sessions.entry(session).or_insert(fresh);
        // Who confirms nothing new, or goes back, wants what followed once more.
        let repeats = after <= window.acked;
        *window = if repeats { fresh } else { Window { acked: after, sent: window.sent.max(after) } };
        Ok(())
    }

    /// Tells a subscriber where things stand; nothing up to there follows.
    fn cut(&mut self, session: Session, lagged: Option<u64>, effects: &mut Out) {
        let cursor = self.stream.newest;
        let seat = self.seat.as_ref();
        let subscription = Subscription {
            cursor,
            lagged,
            group: seat.map(|seat| (seat.group.clone(), seat.rank)),
            suspects: seat.map(|seat| members_of(&seat.group, seat.suspects.iter().copied())).unwrap_or_default(),
        };
        self.stream.sessions.insert(session, Window { acked: cursor, sent: cursor });
        effects.reply(PeerReply::Snapshot { session, subscription });
    }

    /// Tells every subscriber what is new, as far as its window has room. A window that stays full delays nobody: who reads
    /// on after too long gets a cut.
    pub(super) fn publish(&mut self, effects: &mut Out) {
        let queue = u64::from(self.config.knobs.subscriber_queue);
        let newest = self.stream.newest;
        let waiting = self.stream.sessions.iter().filter(|(_, window)| window.sent < newest);
        let sessions: alloc::vec::Vec<Session> = waiting.map(|(session, _)| *session).collect();
        for session in sessions {
            while let Some(window) = self.stream.sessions.get(&session).copied() {
                if window.sent >= newest || window.sent.0 - window.acked.0 >= queue {
                    break;
                }
                let Some(notice) = self.stream.after(window.sent).cloned() else {
                    self.cut(session, Some(newest.0 - window.sent.0), effects);
                    break;
                };
                let sent = notice.cursor;
                self.stream.sessions.insert(session, Window { sent, ..window });
                effects.reply(PeerReply::Notice { session, notice });
            }
        }
    }
}
