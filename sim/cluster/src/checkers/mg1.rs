//! MG1: recovery assignment as the spec's formulas; all ranks of a group get consistent answers or errors.
//!
//! Source: spec 1.4. For every quorum that a local rank is answered, its part is computed anew, straight from the formulas,
//! out of the quorum that its replica received. A rank is answered once per call, only when all ranks have called, and only
//! if the step that it called with is the one that was asked for: ranks that disagree get errors.

use super::{Event, event};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_coordinator::{Incarnation, Quorum, RankAnswer, RankError, RankQuorum};
use std::collections::BTreeMap;

/// What is known about the ranks of one replica.
#[derive(Debug, Default)]
struct Group {
    received: Option<(Incarnation, Quorum)>,
    /// The step of each rank that waits.
    asked: BTreeMap<u32, u64>,
    /// The answers that the last quorum gave, by rank.
    answered: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mg1 {
    groups: BTreeMap<NodeId, Group>,
}

/// The part of local rank `group_rank` of the replica with this incarnation.
fn expected(quorum: &Quorum, who: Incarnation, group_rank: u32, init_sync: bool) -> Option<RankQuorum> {
    let mut sorted: Vec<_> = quorum.members.iter().collect();
    sorted.sort_by(|left, right| left.id.cmp(&right.id));
    let mine = sorted.iter().position(|member| member.incarnation == who)?;
    let max_step = sorted.iter().map(|member| member.ask.step).max()?;
    let mut at_max_step = Vec::new();
    for (rank, member) in sorted.iter().enumerate() {
        if member.ask.step == max_step {
            at_max_step.push(rank);
        }
    }
    let turn = group_rank as usize;
    let primary = at_max_step[turn % at_max_step.len()];
    let (mut recovering, mut up_to_date) = (Vec::new(), Vec::new());
    for (rank, member) in sorted.iter().enumerate() {
        let fresh = max_step == 0 && init_sync && rank != primary;
        if member.ask.step < max_step || fresh { recovering.push(rank) } else { up_to_date.push(rank) }
    }
    let mut pairs = Vec::new();
    for (index, &rank) in recovering.iter().enumerate() {
        pairs.push((rank, up_to_date[(index + turn) % up_to_date.len()]));
    }
    let recover_from = pairs.iter().find(|(rank, _)| *rank == mine).map(|(_, source)| *source as u32);
    Some(RankQuorum {
        quorum_id: quorum.id,
        formation: quorum.formation,
        replica_rank: mine as u32,
        replica_count: sorted.len() as u32,
        max_step,
        at_max_step: at_max_step.iter().map(|&rank| rank as u32).collect(),
        primary_store: sorted[primary].ask.store_address.clone(),
        heal: recovering.contains(&mine),
        recover_from,
        recover_to: pairs.iter().filter(|(_, source)| *source == mine).map(|(rank, _)| *rank as u32).collect(),
    })
}

impl Group {
    fn problem(&mut self, rank: u32, told: &RankQuorum, world_size: u32, init_sync: bool) -> Option<String> {
        let Some((who, quorum)) = &self.received else {
            return Some("without a quorum being received".to_owned());
        };
        let Some(expected) = expected(quorum, *who, rank, init_sync) else {
            return Some(format!("with formation {}, of which its replica is no member", quorum.formation));
        };
        if *told != expected {
            return Some(format!("{told:?}, but by the formulas it is {expected:?}"));
        }
        let Some(step) = self.asked.remove(&rank) else { return Some("without having asked".to_owned()) };
        let asked = quorum.members.iter().find(|member| member.incarnation == *who).map(|member| member.ask.step);
        if asked.is_some_and(|asked| asked != step) {
            return Some(format!("a quorum for step {asked:?}, but it asked for step {step}"));
        }
        self.answered += 1;
        // Those that are answered together with it still wait.
        let together = self.answered as usize + self.asked.len();
        (together < world_size as usize)
            .then(|| format!("a quorum, though only {together} of {world_size} ranks had asked"))
    }
}

impl Checker<Cluster> for Mg1 {
    fn property(&self) -> &'static str {
        "MG1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["received", "rank_asked", "rank_answered"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.groups.remove(&entry.node);
        }
        let Some((_, told)) = event(entry) else { return };
        let group = self.groups.entry(entry.node).or_default();
        match told {
            Event::Received { incarnation, quorum, .. } => {
                group.received = Some((*incarnation, quorum.clone()));
                group.answered = 0;
            }
            Event::RankAsked { rank, step } => {
                group.asked.insert(*rank, *step);
            }
            // The older call of a rank that called again; the newer one waits.
            Event::RankAnswered { answer: RankAnswer::Error(RankError::Replaced), .. } => {}
            Event::RankAnswered { rank, answer: RankAnswer::Error(_) } => {
                group.asked.remove(rank);
            }
            Event::RankAnswered { rank, answer: RankAnswer::Quorum(view) } => {
                let world_size = scene.system.world_size(entry.node);
                let init_sync = scene.system.workload().init_sync;
                if view.heal {
                    findings.reached("replica recovers");
                }
                if let Some(problem) = group.problem(*rank, view, world_size, init_sync) {
                    let message = format!("rank {rank} of {} is answered {problem}", scene.system.name(entry.node));
                    findings.violated("MG1", entry.at, [entry.id], message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{History, R, history, quorum};
    use super::*;
    use squall_coordinator::Number;

    fn start() -> History<Mg1> {
        let quorum = quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        let received = Event::Received { incarnation: Incarnation(2), number: Number(1), quorum };
        history(Mg1::default()).event(R[1], Event::RankAsked { rank: 0, step: 0 }).event(R[1], received)
    }

    fn answer(change: impl FnOnce(&mut RankQuorum)) -> Event {
        let mut view =
            expected(&quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]), Incarnation(2), 0, true).expect("a member");
        change(&mut view);
        Event::RankAnswered { rank: 0, answer: RankAnswer::Quorum(view) }
    }

    #[test]
    fn at_step_zero_the_primary_helps_all_others() {
        let quorum = quorum(1, 1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        let primary = expected(&quorum, Incarnation(1), 0, true).expect("a member");
        assert_eq!((primary.heal, primary.recover_from, primary.recover_to), (false, None, vec![1, 2]));
        let other = expected(&quorum, Incarnation(2), 0, true).expect("a member");
        assert_eq!((other.heal, other.recover_from, &*other.primary_store), (true, Some(0), "s0"));
        let turned = expected(&quorum, Incarnation(2), 1, true).expect("a member");
        assert_eq!((turned.heal, &*turned.primary_store), (false, "s1"));
        assert_eq!(expected(&quorum, Incarnation(9), 0, true), None);
    }

    #[test]
    fn answers_follow_the_formulas() {
        start().event(R[1], answer(|_| {})).holds();
        start().event(R[1], answer(|view| view.recover_from = Some(2))).violated("by the formulas");
        start().event(R[1], answer(|view| view.max_step = 1)).violated("by the formulas");
        start().event(R[1], answer(|_| {})).event(R[1], answer(|_| {})).violated("without having asked");
        start().event(R[1], Event::RankAsked { rank: 0, step: 7 }).event(R[1], answer(|_| {})).violated("for step 7");
        history(Mg1::default()).event(R[1], answer(|_| {})).violated("without a quorum");
    }
}
