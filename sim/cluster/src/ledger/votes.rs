//! What peers propose and accept, as far as events alone tell it.

use crate::Cluster;
use crate::checkers::peers::decides;
use squall::{Breach, NodeId};
use squall_recovery::{Ballot, Communicator, Event, Generation, Rank, Value};
use std::collections::{BTreeMap, BTreeSet};

/// AG9: a decision has a quorum of acceptances at one ballot. AG10: what a quorum accepted is all that later ballots propose.
///
/// An acceptance is kept with the generation and the ballot at which it counts, and stays when its voter dies: what was chosen is
/// chosen. Ballots of one generation are few, and generations too, in what can be searched.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Votes {
    proposed: BTreeMap<(Generation, Ballot), Value>,
    accepted: BTreeMap<(Generation, Ballot), BTreeMap<Rank, Value>>,
}

impl Votes {
    /// `group` is that of the event's generation.
    pub(super) fn judge(
        &mut self,
        cluster: &Cluster,
        node: NodeId,
        group: &Communicator,
        event: &Event,
    ) -> Result<(), Breach> {
        match event {
            Event::Proposed { generation, ballot, value, .. } => {
                if self.proposed.insert((*generation, *ballot), value.clone()).is_some() {
                    let message = format!("ballot {ballot} of generation {generation} has two proposals");
                    return Err(Breach::of("AG10", message));
                }
                self.one_choice(group)
            }
            Event::Accepted { generation, ballot, value } => {
                let own = group.members.iter().position(|member| *member.id == *cluster.name(node));
                let Some(rank) = own.map(|index| Rank(index as u32)) else { return Ok(()) };
                self.accepted.entry((*generation, *ballot)).or_default().insert(rank, value.clone());
                self.one_choice(group)
            }
            Event::Decided { generation, ballot, value, voters, .. } => {
                self.chosen_by(*generation, *ballot, value, voters, group.size())
            }
            _ => Ok(()),
        }
    }

    fn chosen_by(
        &self,
        generation: Generation,
        ballot: Ballot,
        value: &Value,
        voters: &BTreeSet<Rank>,
        size: u32,
    ) -> Result<(), Breach> {
        let accepted = self.accepted.get(&(generation, ballot));
        let said = |voter: &&Rank| accepted.and_then(|accepted| accepted.get(voter)) != Some(value);
        let problem = if !decides(voters, size) {
            format!("{voters:?} of {size} members are no quorum")
        } else if let Some(liar) = voters.iter().find(said) {
            format!("rank {liar} never accepted it")
        } else {
            return Ok(());
        };
        Err(Breach::of("AG9", format!("generation {generation} is decided at ballot {ballot}, but {problem}")))
    }

    /// Every proposal above a ballot at which a quorum accepted names the same value.
    fn one_choice(&self, group: &Communicator) -> Result<(), Breach> {
        let generation = group.generation;
        for ((_, ballot), accepted) in self.accepted.iter().filter(|((whose, _), _)| *whose == generation) {
            for value in accepted.values() {
                let voters = accepted.iter().filter(|(_, said)| *said == value).map(|(rank, _)| *rank).collect();
                let later =
                    || self.proposed.range((generation, *ballot)..).take_while(|((of, _), _)| *of == generation);
                let other = later().find(|((_, at), proposed)| at > ballot && *proposed != value);
                if let Some(((_, at), proposed)) = other.filter(|_| decides(&voters, group.size())) {
                    let message = format!(
                        "ballot {at} of generation {generation} proposes {proposed:?}, but a quorum accepted {value:?} at {ballot}"
                    );
                    return Err(Breach::of("AG10", message));
                }
            }
        }
        Ok(())
    }
}
