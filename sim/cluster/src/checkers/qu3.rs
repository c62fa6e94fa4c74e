//! QU3: quorum_id grows iff the (id, incarnation, address) list changed or a commit failure was reported; never repeats,
//! also across restarts.
//!
//! Source: spec 1.3. Judged between consecutive formations, which also rise in their epochs. A formation that was durable
//! but never told before a crash shows as a skipped epoch: then the number only may not go back or stand for two lists.

use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, Scene, Truth};
use squall_coordinator::{Epoch, Incarnation, Quorum};
use squall_machine::Text;

type List = Vec<(Text, Incarnation, Text)>;

#[derive(Debug)]
struct Previous {
    quorum: Quorum,
    list: List,
    told: EntryId,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Qu3 {
    previous: Option<Previous>,
    epoch: Option<Epoch>,
    restarted: bool,
    /// A formation may have been made without a word.
    doubt: bool,
}

pub(super) fn list(quorum: &Quorum) -> List {
    let member =
        |member: &squall_coordinator::Participant| (member.id.clone(), member.incarnation, member.ask.address.clone());
    quorum.members.iter().map(member).collect()
}

impl Qu3 {
    fn problem(&self, quorum: &Quorum, list: &List) -> Option<String> {
        let Some(previous) = &self.previous else {
            return (quorum.id.0 != 1 && !self.restarted).then(|| format!("the first quorum has number {}", quorum.id));
        };
        let (id, before) = (quorum.id, previous.quorum.id);
        if quorum.formation <= previous.quorum.formation {
            let (formation, earlier) = (quorum.formation, previous.quorum.formation);
            return Some(format!("formation {formation} follows formation {earlier}"));
        }
        if id < before {
            return Some(format!("number {id} follows {before}"));
        }
        let changed = *list != previous.list;
        let failed = quorum.members.iter().any(|member| member.ask.commit_failures > 0);
        if id == before && (changed || failed) {
            let why = if changed { "the list changed" } else { "a commit failed" };
            return Some(format!("number {id} is used again, although {why}"));
        }
        (id > before && !changed && !failed && !self.doubt)
            .then(|| format!("number {before} grows to {id}, although nothing changed"))
    }
}

impl Checker<Cluster> for Qu3 {
    fn property(&self) -> &'static str {
        "QU3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["reset", "formed"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { life, .. }) = entry.fact {
            self.restarted |= *life > 1 && entry.node == scene.system.coordinator();
        }
        match event(entry) {
            Some((_, Event::Reset { epoch, .. })) => {
                self.doubt |= self.restarted && self.epoch.is_some_and(|known| *epoch > known.next());
                self.epoch = Some(*epoch);
            }
            Some((_, Event::Formed { quorum, .. })) => {
                let list = list(quorum);
                if let Some(problem) = self.problem(quorum, &list) {
                    let earlier = self.previous.as_ref().map(|previous| previous.told);
                    findings.violated("QU3", entry.at, earlier.into_iter().chain([entry.id]), problem);
                }
                self.previous = Some(Previous { quorum: quorum.clone(), list, told: entry.id });
                self.epoch = Some(quorum.formation.next());
                self.doubt = false;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{C, History, history, quorum};
    use super::*;
    use std::sync::Arc;

    fn start() -> History<Qu3> {
        history(Qu3::default()).form(quorum(1, 1, &[(0, 1, 1), (1, 2, 1)]), 2, false)
    }

    fn failing(id: u64) -> Quorum {
        let mut quorum = quorum(id, 2, &[(0, 1, 2), (1, 2, 2)]);
        let mut members = quorum.members.to_vec();
        let mut ask = (*members[0].ask).clone();
        ask.commit_failures = 1;
        members[0].ask = Arc::new(ask);
        quorum.members = members.into();
        quorum
    }

    #[test]
    fn the_number_grows_with_the_list_and_with_failed_commits_only() {
        start().form(quorum(1, 2, &[(0, 1, 2), (1, 2, 2)]), 2, true).holds();
        start().form(quorum(2, 2, &[(0, 1, 2), (1, 2, 2)]), 2, true).violated("nothing changed");
        start().form(quorum(2, 2, &[(0, 1, 2)]), 2, true).holds();
        start().form(quorum(1, 2, &[(0, 1, 2), (1, 5, 1)]), 2, true).violated("the list changed");
        start().form(failing(2), 2, true).holds();
        start().form(failing(1), 2, true).violated("a commit failed");
        start().form(quorum(2, 1, &[(0, 1, 2)]), 2, true).violated("follows formation 1");
        history(Qu3::default()).form(quorum(2, 1, &[(0, 1, 1)]), 1, false).violated("first quorum");
    }

    #[test]
    fn a_restart_may_skip_numbers_but_not_go_back() {
        let restarted = |epoch| {
            let reset = Event::Reset { epoch: Epoch(epoch), failed: Arc::from([]) };
            start().form(quorum(2, 2, &[(0, 1, 2)]), 2, true).down(C).up(C).coordinator(reset)
        };
        restarted(5).form(quorum(4, 5, &[(0, 1, 2)]), 2, true).holds();
        restarted(4).form(quorum(4, 4, &[(0, 1, 2)]), 2, true).violated("nothing changed");
        restarted(5).form(quorum(1, 5, &[(0, 1, 2)]), 2, true).violated("number 1 follows 2");
        restarted(5).form(quorum(2, 5, &[(1, 2, 2)]), 2, true).violated("the list changed");
    }
}
