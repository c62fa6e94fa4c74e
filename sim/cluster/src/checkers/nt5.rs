//! NT5: snapshot + stream has no gap, also when nobody listened, also across restarts of either side.
//!
//! Source: spec 1.2. The coordinator's numbering has no gap and no number twice (but for what a crash left untold). A
//! snapshot is exactly the set of failures that was current at its cursor: members whose newest incarnation ended by failure
//! and isn't forgotten, which is so for `forget_after`. It never goes back behind what its session has taken. Sets are compared by a hash that is kept per
//! version, so a snapshot costs its length only.

use super::stream::{Stands, Stream};
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_coordinator::{Cursor, Failure, Incarnation};
use squall_machine::{Span, Text, Time};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many versions of the set are remembered.
const VERSIONS: usize = 16_384;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Nt5 {
    stream: Stream,
    stands: Stands,
    /// The current failures, and when each was told.
    failures: BTreeMap<Text, (Failure, Time)>,
    hash: u64,
    /// The set at each cursor; several if something was forgotten in between.
    versions: VecDeque<(Cursor, u64)>,
    /// Something happened at a restart that was never told: the set is not known any more.
    lost: bool,
    /// When each failure that is remembered was decided, or the coordinator restarted since.
    ended: BTreeMap<Incarnation, Time>,
}

fn hash(failure: &Failure) -> u64 {
    let mut hasher = DefaultHasher::new();
    failure.hash(&mut hasher);
    hasher.finish()
}

impl Nt5 {
    fn remove(&mut self, member: &Text) {
        if let Some((failure, _)) = self.failures.remove(member) {
            self.hash = self.hash.wrapping_sub(hash(&failure));
        }
    }

    fn follow(&mut self, entry: &Entry<'_, Cluster>, told: &Event) {
        match told {
            Event::Failed { member, incarnation, cause, cursor, .. } => {
                self.remove(member);
                let failure =
                    Failure { member: member.clone(), incarnation: *incarnation, cause: *cause, cursor: *cursor };
                self.hash = self.hash.wrapping_add(hash(&failure));
                self.failures.insert(member.clone(), (failure, entry.at));
            }
            Event::Began { member, .. } => self.remove(member),
            Event::Forgotten { member, incarnation }
                if self.failures.get(member).is_some_and(|(failure, _)| failure.incarnation == *incarnation) =>
            {
                self.remove(member);
            }
            _ => return,
        }
        self.versions.push_back((self.stream.newest, self.hash));
        if self.versions.len() > VERSIONS {
            self.versions.pop_front();
        }
    }

    /// A failure is remembered for as long as it is to be. Returns for how long it was, if that is too short.
    fn forgotten(&mut self, decided: Time, told: &Event, forget_after: Span) -> Option<(Incarnation, Span)> {
        match told {
            Event::Failed { incarnation, .. } => {
                self.ended.insert(*incarnation, decided);
            }
            Event::Stalled { restarted: true, .. } => self.ended.values_mut().for_each(|ended| *ended = decided),
            Event::Forgotten { incarnation, .. } => {
                let remembered = decided.since(self.ended.remove(incarnation)?);
                return (remembered < forget_after).then_some((*incarnation, remembered));
            }
            _ => {}
        }
        None
    }

    /// Whether the set at this cursor was this one.
    fn was(&self, cursor: Cursor, hash: u64) -> bool {
        let from = self.versions.partition_point(|(at, _)| *at < cursor);
        let mut versions = self.versions.range(from..).take_while(|(at, _)| *at == cursor);
        versions.any(|(_, version)| *version == hash) || cursor == Cursor(0) && hash == 0
    }

    fn problem(&self, cursor: Cursor, failures: &[Failure], scene: &Scene<'_, Cluster>) -> Option<String> {
        if cursor > self.stream.newest {
            return (!self.stream.doubt).then(|| format!("covers up to {cursor}, which was never told"));
        }
        let sum = failures.iter().fold(0u64, |sum, failure| sum.wrapping_add(hash(failure)));
        let oldest = self.versions.front().map_or(Cursor(0), |(at, _)| *at);
        if self.was(cursor, sum) || self.lost || self.stream.doubt || cursor < oldest {
            return None;
        }
        if self.stream.restarted {
            // What was forgotten just before a crash may not have been told.
            let old = scene.system.knobs().forget_after / 2;
            let (told, now) = (&self.failures, scene.now);
            let missing = told.values().filter(|(failure, _)| !failures.contains(failure));
            let excused = missing.into_iter().all(|(_, at)| now.since(*at) >= old);
            let real = failures.iter().all(|failure| told.get(&failure.member).is_some_and(|(own, _)| own == failure));
            if cursor < self.stream.newest || real && excused {
                return None;
            }
        }
        let current: Vec<_> = self.failures.values().map(|(failure, _)| (&*failure.member, failure.cursor.0)).collect();
        let shown: Vec<_> = failures.iter().map(|failure| (&*failure.member, failure.cursor.0)).collect();
        Some(format!(
            "at {cursor} shows {shown:?}, which was not the set then; at {} it is {current:?}",
            self.stream.newest
        ))
    }
}

impl Checker<Cluster> for Nt5 {
    fn property(&self) -> &'static str {
        "NT5"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        Stream::interest(interest);
        Stands::interest(interest);
        interest.events(&["forgotten", "stalled"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let newest = self.stream.newest;
        if let Some(problem) = self.stream.follow(entry, scene) {
            findings.violated("NT5", entry.at, [entry.id], problem);
        }
        self.lost |= self.stream.newest.0 > newest.0 + 1;
        if let Some((decided, told)) = event(entry) {
            if let Some((who, after)) = self.forgotten(decided, told, scene.system.knobs().forget_after) {
                let message = format!("the failure of incarnation {who} is forgotten after {after}");
                findings.violated("NT5", entry.at, [entry.id], message);
            }
            self.follow(entry, told);
            if let Event::Resynced { session, cursor, failures, .. } = told {
                let taken = self.stands.of(entry.node, *session).and_then(|stand| stand.taken());
                let back =
                    taken.filter(|taken| cursor < taken).map(|taken| format!("at {cursor} goes back behind {taken}"));
                if let Some(problem) = back.or_else(|| self.problem(*cursor, failures, scene)) {
                    findings.violated("NT5", entry.at, [entry.id], format!("a snapshot {problem}"));
                }
            }
        }
        self.stands.follow(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, S, history, opened, resynced};
    use super::*;

    /// r0 and r1 have failed.
    fn start() -> History<Nt5> {
        let both = history(Nt5::default()).event(S, opened()).begin(0, 1).begin(1, 2);
        both.fail(0, 1, 1, Span::ZERO).fail(1, 2, 2, Span::ZERO)
    }

    #[test]
    fn the_numbering_has_no_gap() {
        start().fail(2, 3, 3, Span::ZERO).holds();
        start().fail(2, 3, 4, Span::ZERO).violated("a gap");
        start().fail(2, 3, 2, Span::ZERO).violated("numbered after 2");
        start().down(C).up(C).fail(2, 3, 5, Span::ZERO).fail(0, 4, 7, Span::ZERO).violated("a gap");
    }

    #[test]
    fn a_snapshot_is_the_set_at_its_cursor() {
        start().event(S, resynced(2, &[(0, 1, 1), (1, 2, 2)])).holds();
        start().event(S, resynced(1, &[(0, 1, 1)])).holds();
        start().event(S, resynced(1, &[(0, 1, 1), (1, 2, 2)])).violated("not the set then");
        start().event(S, resynced(2, &[(1, 2, 2)])).violated("not the set then");
        start().event(S, resynced(3, &[])).violated("never told");
        start()
            .event(S, resynced(2, &[(0, 1, 1), (1, 2, 2)]))
            .event(S, resynced(1, &[(0, 1, 1)]))
            .violated("goes back");
    }

    #[test]
    fn what_is_forgotten_leaves_the_set() {
        let forgotten = Event::Forgotten { member: "r0".into(), incarnation: Incarnation(1) };
        let late = start().at(3_600_000).coordinator(forgotten.clone());
        late.event(S, resynced(2, &[(1, 2, 2)])).holds();
        start().at(3_599_999).coordinator(forgotten).violated("is forgotten after 3599.999s");
    }
}
