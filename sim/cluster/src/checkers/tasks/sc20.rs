//! SC20: who asks is answered. A client's submission is promised or refused, a cancellation is answered, and it learns the end of
//! what was promised; a worker that offers itself is known, and one that wants to leave, and holds nothing, leaves.
//!
//! Source: spec 0.2 (requests are re-sent until they are answered) and 3.1 (cancel, drain); an id of our own. Judged like SC18,
//! while who asks, the coordinator and all links are left in peace for long enough.

use super::books::{Books, Place, SharedBooks};
use super::told;
use crate::Cluster;
use crate::checkers::calm::{Calm, sync_max};
use crate::checkers::event;
use squall::{Checker, Entry, Fact, Findings, Interest, NodeId, Scene, Truth};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{Event, Incarnation, Message};
use std::collections::{BTreeMap, BTreeSet};

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wait {
    /// The answer to its submission.
    Submission,
    /// The answer to its cancellation.
    Cancellation,
    /// The word that a task has ended which was promised to it.
    End,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sc20 {
    books: SharedBooks,
    calm: Calm,
    /// What each client waits for, and since when.
    waits: BTreeMap<(NodeId, Text, Wait), Time>,
    /// What was promised to clients, and hasn't ended as far as was told.
    promised: BTreeMap<Text, BTreeSet<NodeId>>,
    /// The newest incarnation of each worker that offered itself, and since when it does.
    offers: BTreeMap<NodeId, (Incarnation, Time)>,
    /// The workers that want to leave, and since when.
    leaving: BTreeMap<NodeId, Time>,
}

fn bound(scene: &Scene<'_, Cluster>) -> Span {
    let (knobs, members) = (scene.system.scheduler_knobs(), scene.system.knobs());
    let travel = scene.plan.network.delay.longest() + sync_max(scene.plan);
    let poll = scene.system.tasks().map_or(Span::ZERO, |tasks| tasks.poll.0);
    // While the scheduler seems to be lost, each question is asked again after a rest, and that is drawn.
    (poll + members.return_spread + knobs.resend) * 8 + travel * 12
}

impl Sc20 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, ..Self::default() }
    }

    fn asks(&mut self, node: NodeId, message: &Message, at: Time) {
        let (task, wait) = match message {
            Message::Submit { spec } => (spec.id.clone(), Wait::Submission),
            Message::Cancel { task } => (task.clone(), Wait::Cancellation),
            Message::Offer { incarnation, .. } => {
                let known = self.offers.entry(node).or_insert((*incarnation, at));
                if known.0 != *incarnation {
                    *known = (*incarnation, at);
                }
                return;
            }
            Message::Drain { .. } => {
                self.leaving.entry(node).or_insert(at);
                return;
            }
            _ => return,
        };
        self.waits.entry((node, task, wait)).or_insert(at);
    }

    fn answered(&mut self, node: NodeId, task: &Text, wait: Wait) {
        self.waits.remove(&(node, task.clone(), wait));
    }

    fn ends(&mut self, task: &Text, at: Time) {
        for node in self.promised.remove(task).unwrap_or_default() {
            self.waits.insert((node, task.clone(), Wait::End), at);
        }
    }

    fn follow(&mut self, node: NodeId, told: &Event, at: Time) {
        match told {
            Event::Acknowledged { task } => {
                self.answered(node, task, Wait::Submission);
                self.promised.entry(task.clone()).or_default().insert(node);
                let open =
                    |books: &Books| books.tasks.get(task).is_some_and(|row| !matches!(row.place, Place::Ended(_)));
                if !open(&self.books.look()) {
                    self.ends(task, at);
                }
            }
            Event::Denied { task, .. } => {
                self.answered(node, task, Wait::Submission);
                self.answered(node, task, Wait::Cancellation);
            }
            Event::CancelAnswered { task, .. } => self.answered(node, task, Wait::Cancellation),
            Event::Learned { task, .. } | Event::Missing { task } => {
                self.answered(node, task, Wait::End);
                // An end that nobody told, or a task that is gone.
                self.promised.remove(task);
            }
            Event::Terminal { task, .. } => self.ends(task, at),
            Event::Recovered { .. } => {
                let books = self.books.look();
                let gone = self.promised.keys().filter(|task| !books.found.tasks.contains_key(*task));
                let gone: Vec<Text> = gone.cloned().collect();
                drop(books);
                gone.iter().for_each(|task| self.ends(task, at));
            }
            _ => {}
        }
    }

    /// A process has stopped, or starts anew: what it asked is asked no more.
    fn forget(&mut self, node: NodeId) {
        self.leaving.remove(&node);
        self.offers.remove(&node);
        self.waits.retain(|(who, ..), _| *who != node);
        self.promised.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
    }

    /// A worker that should be known.
    fn unknown(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let books = self.books.look();
        // That an incarnation has ended is learned from the next heartbeat at the latest, or by its own silence.
        let bound = bound(scene) + scene.system.knobs().worker_timeout;
        let full = books.hosts.len() >= scene.system.scheduler_knobs().workers_max as usize;
        self.offers.iter().filter(|(node, _)| !full && !self.leaving.contains_key(node)).find_map(|(node, offer)| {
            let (incarnation, since) = offer;
            if *since + bound >= scene.now || books.hosts.contains_key(incarnation) {
                return None;
            }
            let late = self.calm.pair_since(*node, scene)?.max(*since) + bound < scene.now;
            late.then(|| format!("{} offers itself, and the scheduler doesn't know it", scene.system.name(*node)))
        })
    }

    /// A worker that should have left.
    fn stays(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let (books, bound) = (self.books.look(), bound(scene));
        self.leaving.iter().find_map(|(node, since)| {
            let name = scene.system.name(*node);
            let host = books.hosts.values().find(|host| *host.id == *name).filter(|host| host.leases.is_empty())?;
            let late = self.calm.pair_since(*node, scene)?.max(*since).max(host.changed) + bound < scene.now;
            late.then(|| format!("{name} wants to leave, holds nothing, and is here"))
        })
    }

    /// A client that waits for too long.
    fn problem(&self, scene: &Scene<'_, Cluster>) -> Option<String> {
        let bound = bound(scene);
        self.waits.iter().find_map(|((node, task, wait), since)| {
            if *since + bound >= scene.now {
                return None;
            }
            let late = self.calm.pair_since(*node, scene)?.max(*since) + bound < scene.now;
            let what = match wait {
                Wait::Submission => "has submitted it, and isn't answered",
                Wait::Cancellation => "wants to cancel it, and isn't answered",
                Wait::End => "doesn't learn that it has ended",
            };
            late.then(|| format!("{task}: its client {} {what}", scene.system.name(*node)))
        })
    }
}

impl Checker<Cluster> for Sc20 {
    fn property(&self) -> &'static str {
        "SC20"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        Calm::interest(interest);
        interest.events(&["acknowledged", "denied", "cancel_answered", "learned", "missing", "terminal"]);
        interest.events(&["tasks_recovered", "ticked", "stopped"]);
        interest.sent(&["submit", "cancel", "offer", "drain"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        self.calm.follow(entry, scene);
        let mut problem = None;
        if let Some((_, told)) = told(entry) {
            self.follow(entry.node, told, entry.at);
        } else if let Some((_, squall_coordinator::Event::Ticked {})) = event(entry) {
            problem = self.problem(scene).or_else(|| self.stays(scene)).or_else(|| self.unknown(scene));
        } else if let Some((_, squall_coordinator::Event::Stopped { .. })) = event(entry) {
            self.forget(entry.node);
        } else if let Fact::Sent { message: crate::Message::Task(message), .. } = entry.fact {
            self.asks(entry.node, message, entry.at);
        } else if let Fact::Truth(Truth::Up { .. }) = entry.fact {
            self.forget(entry.node);
        }
        if let Some(problem) = problem {
            findings.violated("SC20", entry.at, [entry.id], problem);
        }
        self.books.follow(entry, scene);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{C, History, S, W};
    use super::super::testing::{I, offer, spec, success, tasks, terminal};
    use super::*;
    use squall_coordinator::Event::Ticked;
    use squall_scheduler::{Outcome, Standing, TaskRefusal};
    use std::sync::Arc;

    fn submits() -> History<Sc20> {
        tasks(Sc20::default()).at(1_000).sends_from(S, C, Message::Submit { spec: Arc::new(spec("t")) })
    }

    fn promised() -> History<Sc20> {
        submits().submit("t", 1).client(Event::Acknowledged { task: "t".into() })
    }

    fn ticks(history: History<Sc20>) -> History<Sc20> {
        history.at(100_000).coordinator(Ticked {})
    }

    #[test]
    fn a_submission_is_answered() {
        ticks(submits()).violated("t: its client s0 has submitted it, and isn't answered");
        let again = submits().at(90_000).sends_from(S, C, Message::Submit { spec: Arc::new(spec("t")) });
        ticks(again).violated("isn't answered");
        ticks(promised()).holds();
        ticks(submits().client(Event::Denied { task: "t".into(), refusal: TaskRefusal::QueueFull })).holds();
        ticks(submits().at(90_000).truth(C, Truth::Pause)).holds();
        submits().at(5_000).coordinator(Ticked {}).holds();
    }

    #[test]
    fn a_cancellation_is_answered() {
        let cancels = || promised().sends_from(S, C, Message::Cancel { task: "t".into() });
        ticks(cancels()).violated("t: its client s0 wants to cancel it, and isn't answered");
        let standing = Standing::Ended(Outcome::Cancelled);
        ticks(cancels().client(Event::CancelAnswered { task: "t".into(), standing })).holds();
    }

    #[test]
    fn who_offers_itself_is_known() {
        let offers = |incarnation| {
            let message = Message::Offer { incarnation: Incarnation(incarnation), offer: offer() };
            tasks(Sc20::default()).at(1_000).sends_from(W, C, message)
        };
        ticks(offers(I.0)).holds();
        ticks(offers(11)).violated("w0 offers itself, and the scheduler doesn't know it");
        ticks(offers(11).worker(11).offered(11)).holds();
        ticks(offers(11).down(W).up(W)).holds();
        let withdrawn = offers(11).sends_from(W, C, Message::Drain { incarnation: Incarnation(11) }).dies();
        ticks(withdrawn).holds();
        let incarnation = Some(squall_coordinator::Incarnation(11));
        let stopped = squall_coordinator::Event::Stopped { member: "w0".into(), incarnation, superseded: false };
        ticks(offers(11).event(W, stopped)).holds();
        offers(11).at(20_000).coordinator(Ticked {}).holds();
    }

    #[test]
    fn who_holds_nothing_leaves() {
        let drains = |history: History<Sc20>| history.sends_from(W, C, Message::Drain { incarnation: I });
        let idle = || drains(promised());
        ticks(idle()).violated("w0 wants to leave, holds nothing, and is here");
        ticks(idle().dies()).holds();
        ticks(idle().down(W).up(W)).holds();
        ticks(drains(promised().assign("t", 1))).holds();
    }

    #[test]
    fn the_end_of_what_was_promised_is_learned() {
        let ended = |history: History<Sc20>| history.assign("t", 1).succeed("t", 1);
        let learned = || Event::Learned { task: "t".into(), outcome: success(1) };
        ticks(ended(promised())).violated("t: its client s0 doesn't learn that it has ended");
        ticks(ended(promised()).client(learned())).holds();
        ticks(ended(promised()).client(Event::Missing { task: "t".into() })).holds();
        // The answer to its submission comes after the end.
        let late = || ended(submits().submit("t", 1)).client(Event::Acknowledged { task: "t".into() });
        ticks(late()).violated("doesn't learn that it has ended");
        ticks(late().client(learned())).holds();
        // It was promised to nobody who is there.
        ticks(
            ended(submits().submit("t", 1)).client(Event::Denied { task: "t".into(), refusal: TaskRefusal::IdTaken }),
        )
        .holds();
    }

    #[test]
    fn what_ended_without_a_word_is_learned_too() {
        let recovered = Event::Recovered {
            uptime: Span::from_secs(1),
            attempt: squall_scheduler::AttemptId(1),
            submitted: 1,
            ended: 1,
        };
        let found = || promised().assign("t", 1).down(C).up(C).tells(recovered.clone());
        ticks(found()).violated("doesn't learn that it has ended");
        ticks(found().client(Event::Learned { task: "t".into(), outcome: Outcome::Cancelled })).holds();
        ticks(promised().tells(terminal("u", Outcome::Cancelled, 0, 0))).holds();
    }
}
