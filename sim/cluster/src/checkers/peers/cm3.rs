//! CM3: no message of one generation is consumed in another.
//!
//! Source: spec 2, and the collective work. What counts at a process names the generation, or the communicator, in which that
//! process is; and a step is done only after every member of its communicator has started it.

use super::{recovery, told};
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_node::{PeerNodeEvent, WorkEvent};
use squall_recovery::{CommunicatorId, Event, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cm3 {
    seats: BTreeMap<NodeId, (Generation, CommunicatorId)>,
    sizes: BTreeMap<CommunicatorId, u32>,
    /// Who started each of the newest steps.
    started: BTreeMap<(CommunicatorId, u64), BTreeSet<NodeId>>,
}

/// For how many steps is remembered who started them: nobody is further behind another one.
const STEPS: u64 = 4;

impl Cm3 {
    fn on_work(&mut self, node: NodeId, event: &WorkEvent) -> Option<String> {
        let seat = self.seats.get(&node).map(|(_, communicator)| *communicator);
        match event {
            WorkEvent::StepStarted { communicator, step, .. } => {
                self.started.entry((*communicator, *step)).or_default().insert(node);
                self.started.remove(&(*communicator, step.saturating_sub(STEPS)));
                None
            }
            WorkEvent::Contributed { communicator, rank, step } => (seat != Some(*communicator)).then(|| {
                format!("rank {rank}'s part of step {step} of communicator {communicator} counts in another one")
            }),
            WorkEvent::StepDone { communicator, step, .. } => {
                let (size, started) = (self.sizes.get(communicator)?, self.started.get(&(*communicator, *step)));
                let started = started.map_or(0, BTreeSet::len);
                (seat != Some(*communicator) || started < *size as usize).then(|| {
                    format!("step {step} of communicator {communicator} is done, but {started} of {size} began it")
                })
            }
            WorkEvent::Ignored { .. } => None,
        }
    }
}

impl Checker<Cluster> for Cm3 {
    fn property(&self) -> &'static str {
        "CM3"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        interest.truth(&["up"]);
        interest.events(&["installed", "counted", "step_started", "contributed", "step_done"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, _: &Scene<'_, Cluster>, findings: &mut Findings) {
        if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.seats.remove(&entry.node);
        }
        let problem = match recovery(entry) {
            Some(Event::Installed { communicator, group, .. }) => {
                self.seats.insert(entry.node, (group.generation, *communicator));
                self.sizes.insert(*communicator, group.size());
                None
            }
            Some(Event::Counted { generation, from, .. }) => {
                let here = self.seats.get(&entry.node).map(|(here, _)| *here);
                (here != Some(*generation))
                    .then(|| format!("an answer of rank {from} in generation {generation} counts in another one"))
            }
            _ => match told(entry) {
                Some(PeerNodeEvent::Work(event)) => self.on_work(entry.node, event),
                Some(PeerNodeEvent::Recovery(_)) | None => None,
            },
        };
        if let Some(problem) = problem {
            findings.violated("CM3", entry.at, [entry.id], problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{R, communicator, counted, done, installed, peers, step};
    use super::*;
    use squall_recovery::{Answer, Rank};

    #[test]
    fn answers_and_parts_count_in_their_generation_only() {
        let start = || peers(Cm3::default()).found();
        start().event(R[0], counted(1, (1, 0), 1, Answer::Promise)).holds();
        start().event(R[0], counted(2, (1, 0), 1, Answer::Promise)).violated("counts in another one");
        let part = |members: &[u32], generation| {
            PeerNodeEvent::Work(WorkEvent::Contributed {
                communicator: communicator(generation, members),
                rank: Rank(1),
                step: 1,
            })
        };
        start().event(R[0], part(&[0, 1, 2, 3, 4], 1)).holds();
        start().event(R[0], part(&[0, 1, 2, 3], 2)).violated("counts in another one");
        let next = start().event(R[0], installed(2, 0, &[0, 1, 2, 3], Some(0)));
        next.event(R[0], part(&[0, 1, 2, 3, 4], 1)).violated("counts in another one");
    }

    #[test]
    fn a_step_needs_every_member() {
        let begun =
            |count: usize| (0..count).fold(peers(Cm3::default()).found(), |h, rank| h.event(R[rank], step(1, 1)));
        begun(5).event(R[0], done(1, 1)).holds();
        begun(4).event(R[0], done(1, 1)).violated("4 of 5 began it");
        begun(5).event(R[0], done(1, 2)).violated("0 of 5 began it");
    }
}
