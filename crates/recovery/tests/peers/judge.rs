//! Judges what peers say they did, by the claims of the specification and without a look at their code.

use squall_recovery::{Ballot, Communicator, Event, Generation, Incarnation, Rank, Value, is_quorum};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is true of one process of a node.
#[derive(Default)]
struct Life {
    generation: Generation,
    rank: Rank,
    active: bool,
    incarnation: Incarnation,
    promised: Option<Ballot>,
    decided: BTreeSet<Generation>,
}

/// What was said about one generation, by anybody, dead or alive.
#[derive(Default)]
struct History {
    group: Option<Arc<Communicator>>,
    suspected: BTreeSet<Rank>,
    accepted: BTreeMap<Ballot, (Value, BTreeSet<Rank>)>,
    proposed: BTreeMap<Ballot, Value>,
    decided: Option<Value>,
}

#[derive(Default)]
pub(crate) struct Judge {
    lives: BTreeMap<u64, Life>,
    generations: BTreeMap<Generation, History>,
}

impl Judge {
    pub(crate) fn on_start(&mut self, node: u64) {
        self.lives.insert(node, Life::default());
    }

    pub(crate) fn on_down(&mut self, node: u64) {
        self.lives.remove(&node);
    }

    pub(crate) fn on_event(&mut self, node: u64, event: &Event) {
        match event {
            Event::Installed { group, rank, old_rank, incarnation, communicator } => {
                assert_eq!(*communicator, group.id());
                self.on_installed(node, group, *rank, *old_rank, *incarnation);
            }
            Event::GroupActive { generation, .. } => self.on_active(node, *generation),
            Event::GroupInactive { .. } => self.life(node).active = false,
            Event::Suspected { generation, rank } => {
                self.generations.entry(*generation).or_default().suspected.insert(*rank);
            }
            Event::Promised { generation, ballot } => {
                let life = self.life(node);
                assert!(life.promised < Some(*ballot), "a promise went back to {ballot}");
                assert_eq!(life.generation, *generation);
                life.promised = Some(*ballot);
            }
            Event::Proposed { generation, ballot, value, adopted, counted } => {
                self.on_proposed(*generation, *ballot, value, adopted.is_some(), counted);
            }
            Event::Accepted { generation, ballot, value } => self.on_accepted(node, *generation, *ballot, value),
            Event::Decided { generation, ballot, value, voters, .. } => {
                self.on_decided(node, *generation, *ballot, value, voters);
            }
            Event::SelfFenced { generation, incarnation } => {
                let life = self.life(node);
                assert_eq!(life.incarnation, *incarnation);
                (life.active, life.promised, life.incarnation) = (false, None, Incarnation(0));
                if let Some(group) = self.generations.get(generation).and_then(|history| history.group.as_ref()) {
                    let listed = group.members.iter().any(|member| member.incarnation == *incarnation);
                    assert!(!listed, "a member of {generation} fenced itself");
                }
            }
            Event::RoundStarted { .. }
            | Event::Counted { .. }
            | Event::Cleared { .. }
            | Event::Joining { .. }
            | Event::JoinerKnown { .. }
            | Event::Stalled { .. }
            | Event::RecoveryFailed { .. }
            | Event::FellBehind { .. }
            | Event::Ignored { .. } => {}
        }
    }

    fn life(&mut self, node: u64) -> &mut Life {
        self.lives.get_mut(&node).expect("only who is up speaks")
    }

    fn on_installed(
        &mut self,
        node: u64,
        group: &Arc<Communicator>,
        rank: Rank,
        old_rank: Option<Rank>,
        incarnation: Incarnation,
    ) {
        let known = self.generations.entry(group.generation).or_default().group.get_or_insert_with(|| group.clone());
        assert_eq!(known, group, "one communicator per generation");
        assert_eq!(group.member(rank).map(|member| member.incarnation), Some(incarnation), "its own rank");
        let life = self.life(node);
        let older = (life.generation, old_rank);
        assert!(life.generation < group.generation, "generations go on");
        (life.generation, life.rank, life.incarnation) = (group.generation, rank, incarnation);
        (life.active, life.promised) = (false, None);
        // Members who stay keep their order, and whoever is new comes after them.
        let Some(before) = self.generations.get(&older.0).and_then(|history| history.group.clone()) else { return };
        let places: Vec<Option<Rank>> =
            group.members.iter().map(|member| before.rank_of(&member.id, member.incarnation)).collect();
        let stay: Vec<Rank> = places.iter().flatten().copied().collect();
        assert!(stay.is_sorted(), "order is preserved");
        assert!(places[..stay.len()].iter().all(Option::is_some), "joiners come last");
    }

    fn on_active(&mut self, node: u64, generation: Generation) {
        let life = self.life(node);
        assert_eq!(life.generation, generation);
        assert!(life.promised.is_none(), "who promised doesn't work");
        life.active = true;
        for (&older, history) in self.generations.range(..generation) {
            let Some(group) = &history.group else { continue };
            let working = self.lives.values().filter(|life| life.active && life.generation == older);
            let working: BTreeSet<Rank> = working.map(|life| life.rank).collect();
            assert!(!is_quorum(&working, group.size()), "a quorum of {older} works beside {generation}");
        }
    }

    fn on_proposed(
        &mut self,
        generation: Generation,
        ballot: Ballot,
        value: &Value,
        adopted: bool,
        counted: &BTreeSet<Rank>,
    ) {
        let history = self.generations.entry(generation).or_default();
        let size = history.group.as_ref().expect("a known generation").size();
        assert!(is_quorum(counted, size), "a proposal without a quorum of promises");
        assert!(history.proposed.insert(ballot, value.clone()).is_none(), "one proposal per ballot");
        if !adopted {
            for dead in value.dead.iter() {
                assert!(history.suspected.contains(dead), "{dead} is dead, and nobody suspected it");
                assert!(!counted.contains(dead), "{dead} is dead, and its promise counted");
            }
        }
        for (older, (chosen, voters)) in history.accepted.range(..ballot) {
            assert!(!is_quorum(voters, size) || chosen == value, "{older} was accepted by a quorum, {ballot} differs");
        }
    }

    fn on_accepted(&mut self, node: u64, generation: Generation, ballot: Ballot, value: &Value) {
        let life = self.life(node);
        assert!(life.promised <= Some(ballot), "accepted below the promise");
        let rank = life.rank;
        let history = self.generations.entry(generation).or_default();
        assert_eq!(history.proposed.get(&ballot), Some(value), "accepted what nobody proposed");
        let size = history.group.as_ref().expect("a known generation").size();
        let (_, voters) = history.accepted.entry(ballot).or_insert_with(|| (value.clone(), BTreeSet::new()));
        voters.insert(rank);
        if is_quorum(voters, size) {
            let later = history.proposed.range(ballot..);
            assert!(later.into_iter().all(|(_, proposed)| proposed == value), "a later ballot proposed otherwise");
        }
    }

    fn on_decided(
        &mut self,
        node: u64,
        generation: Generation,
        ballot: Ballot,
        value: &Value,
        voters: &BTreeSet<Rank>,
    ) {
        assert!(self.life(node).decided.insert(generation), "decided twice");
        let history = self.generations.entry(generation).or_default();
        let decided = history.decided.get_or_insert_with(|| value.clone());
        assert_eq!(decided, value, "one decision per generation");
        let size = history.group.as_ref().expect("a known generation").size();
        let accepted = history.accepted.get(&ballot).filter(|(accepted, _)| accepted == value);
        let (_, accepted) = accepted.expect("decided what was never accepted");
        assert!(is_quorum(voters, size) && voters.is_subset(accepted), "decided without a quorum");
    }

    /// Whether whoever is left can go on: a quorum is left of the newest generation that one of them has installed, and of
    /// each that may follow from what was accepted in it. (A decision that only the dead knew helps nobody.)
    pub(crate) fn can_go_on(&self) -> bool {
        let alive: BTreeSet<Incarnation> = self.lives.values().map(|life| life.incarnation).collect();
        let members = self.lives.values().filter(|life| life.incarnation != Incarnation(0));
        let Some(newest) = members.map(|life| life.generation).max() else { return false };
        let Some(history) = self.generations.get(&newest) else { return false };
        let Some(group) = &history.group else { return false };
        let mut next = history.accepted.values().map(|(value, _)| group.successor(value));
        survives(group, &alive) && next.all(|group| survives(&group, &alive))
    }
}

fn survives(group: &Communicator, alive: &BTreeSet<Incarnation>) -> bool {
    let lives = |rank: &Rank| group.member(*rank).is_some_and(|member| alive.contains(&member.incarnation));
    is_quorum(&group.ranks().filter(lives).collect(), group.size())
}
