//! QU2: size rules hold for the returned list; never empty.
//!
//! Source: spec 1.3. At each Formed the candidates are recomputed (alive replicas with an open request, sorted by id; with a
//! `shrink_only` among them and a quorum before, only that one's members), and the returned list has to be exactly these.
//! It has at least `min_replicas`; and either holds every member of the previous quorum (the fast path), or more than half
//! of the healthy replicas and then all of them or the first has waited `join_timeout`. After a restart some replicas may
//! have ended without a word, so the number of the healthy is known within bounds only.

use super::ages::SharedAges;
use super::candidates::Candidates;
use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Findings, Interest, Scene};
use squall_coordinator::{Incarnation, Quorum};
use squall_machine::{Span, Time};
use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu2 {
    ages: SharedAges,
    candidates: Candidates,
}

struct Formed<'a> {
    quorum: &'a Quorum,
    healthy: u32,
    fast: bool,
    waited: Span,
    decided: Time,
}

impl Qu2 {
    /// One that goes by these ages.
    pub(super) fn with(ages: SharedAges) -> Self {
        Self { ages, ..Self::default() }
    }

    fn problem(&self, formed: &Formed<'_>, scene: &Scene<'_, Cluster>) -> Option<String> {
        let knobs = scene.system.knobs();
        let members = &formed.quorum.members;
        let list: BTreeSet<Incarnation> = members.iter().map(|member| member.incarnation).collect();
        if members.is_empty() {
            return Some("is empty".to_owned());
        }
        if !members.is_sorted_by(|left, right| left.id < right.id) {
            return Some("isn't sorted by id".to_owned());
        }
        if members.len() < knobs.min_replicas as usize {
            return Some(format!("has {} members, fewer than min_replicas {}", members.len(), knobs.min_replicas));
        }
        let ages = self.ages.look();
        let candidates = self.candidates.list(&ages, knobs, formed.decided);
        let doubt = self.candidates.doubt;
        if !doubt && list != candidates {
            return Some(format!("has incarnations {list:?}, but the candidates are {candidates:?}"));
        }
        let (least, most) = Candidates::healthy(&ages, knobs, formed.decided);
        if formed.healthy < least || formed.healthy > most {
            return Some(format!("counts {} healthy replicas, but {least} to {most} are", formed.healthy));
        }
        let waited = self.candidates.waited(list.iter().copied(), formed.decided);
        if waited != formed.waited {
            return Some(format!("says that its first member waited {}, but it waited {waited}", formed.waited));
        }
        if formed.fast {
            let whole = self.candidates.previous.as_ref().is_some_and(|previous| previous.is_subset(&list));
            return (!whole && !doubt).then(|| "takes the fast path without the whole previous quorum".to_owned());
        }
        let (size, healthy) = (members.len() as u32, formed.healthy);
        if size * 2 <= healthy {
            return Some(format!("has {size} of {healthy} healthy replicas, not more than half"));
        }
        (size < healthy && waited < knobs.join_timeout)
            .then(|| format!("has {size} of {healthy} healthy replicas after {waited}, before join_timeout"))
    }

    fn on_formed(
        &self,
        entry: &Entry<'_, Cluster>,
        formed: &Formed<'_>,
        scene: &Scene<'_, Cluster>,
        findings: &mut Findings,
    ) {
        if let Some(problem) = self.problem(formed, scene) {
            let message = format!("formation {} {problem}", formed.quorum.formation);
            findings.violated("QU2", entry.at, [entry.id], message);
        }
        if formed.fast {
            findings.reached("fast path");
        }
        if formed.quorum.members.iter().any(|member| member.ask.shrink_only) {
            findings.reached("shrink only");
        }
    }
}

impl Checker<Cluster> for Qu2 {
    fn property(&self) -> &'static str {
        "QU2"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.ages.interest(interest);
        Candidates::interest(interest);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        match event(entry) {
            Some((_, Event::HeartbeatAccepted { .. })) => return self.ages.follow(entry, scene),
            Some((decided, Event::Formed { quorum, healthy, fast, waited })) => {
                let formed = Formed { quorum, healthy: *healthy, fast: *fast, waited: *waited, decided };
                self.on_formed(entry, &formed, scene, findings);
            }
            _ => {}
        }
        self.ages.follow(entry, scene);
        self.candidates.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, history, quorum};
    use super::*;

    /// Three healthy replicas, two of which ask.
    fn start() -> History<Qu2> {
        let three = history(Qu2::default()).at(100).begin(0, 1).begin(1, 2).begin(2, 3);
        three.at(1_000).ask(0, 1, 1, 1).ask(1, 2, 1, 1)
    }

    fn waited(history: History<Qu2>, quorum: Quorum, healthy: u32, fast: bool, secs: u64) -> History<Qu2> {
        history.coordinator(Event::Formed { quorum, healthy, fast, waited: Span::from_secs(secs) })
    }

    fn beats(history: History<Qu2>, until: u64) -> History<Qu2> {
        (2..=until)
            .fold(history, |history, second| history.at(second * 1_000).beat(1, second).beat(2, second).beat(3, second))
    }

    #[test]
    fn the_list_is_that_of_the_candidates() {
        start().ask(2, 3, 1, 1).form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]), 3, false).holds();
        start().ask(2, 3, 1, 1).form(quorum(1, 1, &[(0, 1, 1), (2, 3, 1)]), 3, false).violated("the candidates are");
        start().form(quorum(1, 1, &[(1, 2, 1), (0, 1, 1)]), 3, false).violated("isn't sorted");
        start().form(quorum(1, 1, &[]), 3, false).violated("is empty");
        start().ask(2, 3, 1, 1).form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]), 2, false).violated("healthy");
    }

    #[test]
    fn stragglers_are_waited_for() {
        let two = || quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]);
        start().form(two(), 3, false).violated("before join_timeout");
        waited(beats(start(), 61), two(), 3, false, 60).holds();
        waited(beats(start(), 60), two(), 3, false, 59).violated("before join_timeout");
        waited(beats(start(), 60), two(), 3, false, 60).violated("it waited 59s");
        let one = history(Qu2::default()).at(100).begin(0, 1).begin(1, 2).begin(2, 3).at(1_000).ask(0, 1, 1, 1);
        waited(beats(one, 61), quorum(1, 1, &[(0, 1, 1)]), 3, false, 60).violated("not more than half");
    }

    #[test]
    fn the_fast_path_needs_the_whole_previous_quorum() {
        let three = || start().ask(2, 3, 1, 1).form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]), 3, false);
        let all = quorum(1, 2, &[(0, 1, 2), (1, 2, 2), (2, 3, 2)]);
        three().ask(0, 1, 2, 2).ask(1, 2, 2, 2).ask(2, 3, 2, 2).form(all, 3, true).holds();
        let two = quorum(2, 2, &[(0, 1, 2), (1, 2, 2)]);
        three().ask(0, 1, 2, 2).ask(1, 2, 2, 2).form(two, 3, true).violated("without the whole previous");
    }
}
