//! A durable subscription to the coordinator's notifications.

#[cfg(test)]
mod tests;

use crate::{Bookmark, Record};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use squall_coordinator::{Cursor, Event, Failure, Ignored, Knobs, Message, Notice, Session};
use squall_machine::{Address, Effects, Machine, Random, Time};

/// How much faster than `resend` a subscriber may speak when it took or missed something.
const HURRY: u64 = 5;

/// Takes each notification once, in order, and survives restarts of its process.
///
/// What was taken is recorded before the history hears of it, so a crash in between takes it again, and nobody hears of it
/// twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Subscription {
    coordinator: Address,
    knobs: Arc<Knobs>,
    random: Random,
    bookmark: Option<Bookmark>,
    /// When it speaks next; `None` before boot and after closing.
    due: Option<Time>,
    last_sent: Option<Time>,
    /// Notices that overtook the next one, at most a subscriber's queue of them: they wait for it, or every one of them
    /// would have to be sent again.
    early: BTreeMap<Cursor, Notice>,
}

impl Subscription {
    pub(crate) fn new(coordinator: Address, knobs: Arc<Knobs>, seed: u64) -> Self {
        let random = Random::new(seed, "subscription");
        Self { coordinator, knobs, random, bookmark: None, due: None, last_sent: None, early: BTreeMap::new() }
    }

    /// Resumes the session on the disk, or opens a new one.
    pub(crate) fn on_boot<M>(&mut self, now: Time, bookmark: Option<Bookmark>, effects: &mut Effects<M>)
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        assert!(self.bookmark.is_none(), "a process boots once");
        self.bookmark = Some(bookmark.unwrap_or_else(|| {
            let session = Session(self.random.next());
            effects.record(Record::Opened { session });
            effects.event(Event::SessionOpened { session });
            Bookmark { session, taken: None }
        }));
        self.due = Some(now);
    }

    /// A notification counts only if it is the next one; one that came too early counts when its turn has come.
    pub(crate) fn on_notification<M>(
        &mut self,
        now: Time,
        session: Session,
        notice: Notice,
        effects: &mut Effects<M>,
    ) -> Result<(), Ignored>
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        let bookmark = self.bookmark_of(session)?;
        let Some(taken) = bookmark.taken else { return Err(Ignored::OutOfOrder) };
        if notice.cursor > taken.next() {
            // Something in between is late or lost: what was taken tells the coordinator where to go on.
            self.hurry(now);
            let is_full = self.early.len() >= self.knobs.subscriber_queue as usize;
            if is_full || self.early.contains_key(&notice.cursor) {
                return Err(Ignored::OutOfOrder);
            }
            self.early.insert(notice.cursor, notice);
            return Ok(());
        }
        if notice.cursor <= taken {
            return Err(Ignored::OutOfOrder);
        }
        self.take(now, notice.cursor, effects);
        effects.event(Event::Notified { session, notice });
        self.take_early(now, session, effects);
        Ok(())
    }

    /// Takes the notices whose turn has come. What a cut covers is forgotten.
    fn take_early<M>(&mut self, now: Time, session: Session, effects: &mut Effects<M>)
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        while let Some(taken) = self.taken()
            && let Some((cursor, notice)) = self.early.pop_first()
        {
            if cursor > taken.next() {
                self.early.insert(cursor, notice);
                return;
            }
            if cursor > taken {
                self.take(now, cursor, effects);
                effects.event(Event::Notified { session, notice });
            }
        }
    }

    /// A snapshot counts only if it covers more than what was taken.
    pub(crate) fn on_snapshot<M>(
        &mut self,
        now: Time,
        session: Session,
        cut: Cut,
        effects: &mut Effects<M>,
    ) -> Result<(), Ignored>
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        let bookmark = self.bookmark_of(session)?;
        if bookmark.taken.is_some_and(|taken| cut.cursor <= taken) {
            return Err(Ignored::OutOfOrder);
        }
        self.take(now, cut.cursor, effects);
        let Cut { cursor, lagged, failures } = cut;
        effects.event(Event::Resynced { session, cursor, lagged, failures });
        self.take_early(now, session, effects);
        Ok(())
    }

    /// The coordinator has numbered its notifications up to `newest`: if that is more than what was taken, the last ones
    /// may be lost, and nothing after them would tell.
    pub(crate) fn on_newest(&mut self, now: Time, newest: Cursor) {
        if self.taken().is_some_and(|taken| newest > taken) {
            self.hurry(now);
        }
    }

    /// Says what was taken, if it is time to.
    pub(crate) fn send_due<M>(&mut self, now: Time, effects: &mut Effects<M>)
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        let Some(bookmark) = self.bookmark else { return };
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        effects.send(self.coordinator, Message::Subscribe { session: bookmark.session, after: bookmark.taken });
        self.last_sent = Some(now);
        // Drawn, so that those who once spoke at one instant don't do so for ever.
        self.due = Some(now + self.random.span(self.knobs.poll / 2, self.knobs.poll));
    }

    /// Ends the session, best effort; what was taken stays on the disk.
    pub(crate) fn close<M>(&mut self, effects: &mut Effects<M>)
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        if let Some(bookmark) = self.bookmark.filter(|_| self.due.is_some()) {
            effects.send(self.coordinator, Message::Unsubscribe { session: bookmark.session });
        }
        self.due = None;
        self.early.clear();
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due
    }

    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        self.bookmark
    }

    pub(crate) fn taken(&self) -> Option<Cursor> {
        self.bookmark.and_then(|bookmark| bookmark.taken)
    }

    pub(crate) fn assert_invariants(&self) {
        assert!(self.due.is_none() || self.bookmark.is_some(), "only an open session speaks");
        assert!(self.early.len() <= self.knobs.subscriber_queue as usize, "what came early is bounded");
        let first = self.early.keys().next().copied();
        assert!(
            first.is_none_or(|first| self.taken().is_some_and(|taken| first > taken.next())),
            "the next one is taken"
        );
    }

    fn bookmark_of(&self, session: Session) -> Result<Bookmark, Ignored> {
        if self.due.is_none() {
            return Err(Ignored::Stopped);
        }
        self.bookmark.filter(|bookmark| bookmark.session == session).ok_or(Ignored::StaleSession)
    }

    fn take<M>(&mut self, now: Time, cursor: Cursor, effects: &mut Effects<M>)
    where
        M: Machine<Message = Message, Record = Record, Event = Event>,
    {
        if let Some(bookmark) = &mut self.bookmark {
            assert!(bookmark.taken.is_none_or(|taken| taken < cursor), "cursors only rise");
            bookmark.taken = Some(cursor);
        }
        effects.record(Record::Taken { cursor });
        self.hurry(now);
    }

    /// Speaks soon, but not again and again within one round trip.
    fn hurry(&mut self, now: Time) {
        let earliest = self.last_sent.map_or(now, |sent| now.max(sent + self.knobs.resend / HURRY));
        self.due = self.due.map(|due| due.min(earliest));
    }
}

/// What a snapshot says.
pub(crate) struct Cut {
    pub(crate) cursor: Cursor,
    pub(crate) lagged: Option<u64>,
    pub(crate) failures: Arc<[Failure]>,
}
