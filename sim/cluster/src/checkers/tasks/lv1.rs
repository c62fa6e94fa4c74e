//! LV1: every task ends if one eligible worker is in the core.
//!
//! Source: properties, liveness. Judged at the end of the liveness phase, which lasts as long as the bound: whoever hasn't
//! ended is named with its obstacle. Eligible is who has what the task needs when it is idle.

use super::books::{Books, Place, SharedBooks};
use super::fit::could;
use crate::{Cluster, NodeKind, convergence};
use squall::{Checker, Entry, EntryId, Fact, Findings, Interest, Phase, Scene, Truth};
use squall_machine::{Text, Time};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lv1 {
    books: SharedBooks,
    judged: Option<Time>,
}

impl Lv1 {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, judged: None }
    }

    /// The tasks that have not ended, though somebody of the core could do them, and why not.
    fn open(books: &Books, scene: &Scene<'_, Cluster>) -> Vec<(Text, String)> {
        let workers = scene.core.iter().filter(|&node| scene.system.kind(node) == NodeKind::Worker);
        let names: Vec<&str> = workers.map(|node| scene.system.name(node)).collect();
        let hosts: Vec<_> = books.hosts.values().filter(|host| names.contains(&&*host.id) && !host.draining).collect();
        let able = books.open().filter(|(_, row)| hosts.iter().any(|host| could(host, row)));
        able.map(|(id, row)| {
            let why = match &row.place {
                Place::Leased(attempt) => format!("attempt {attempt} holds it"),
                place => format!("{place:?}, held back by {:?}", row.obstacle),
            };
            (id.clone(), why)
        })
        .collect()
    }
}

impl Checker<Cluster> for Lv1 {
    fn property(&self) -> &'static str {
        "LV1"
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.truth(&["phase"]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, _: &mut Findings) {
        if let Fact::Truth(Truth::Phase { phase: Phase::Liveness, .. }) = entry.fact {
            self.judged = Some(entry.at);
        }
        self.books.follow(entry, scene);
    }

    fn on_end(&mut self, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let (delay, sync) = (scene.plan.network.delay.longest(), scene.plan.disk.sync_max);
        let bound = convergence::bound(scene.system, delay, sync);
        if self.judged.is_none_or(|judged| scene.now.since(judged) < bound) {
            return;
        }
        let open = Self::open(&self.books.look(), scene);
        if let Some((task, why)) = open.first() {
            let none: [EntryId; 0] = [];
            let message = format!("{task} has not ended, nor have {} others: {why}", open.len() - 1);
            findings.violated("LV1", scene.now, none, message);
        }
    }

    fn settled(&self, scene: &Scene<'_, Cluster>) -> bool {
        Self::open(&self.books.look(), scene).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::History;
    use super::super::testing::{spec, tasks};
    use super::*;
    use squall_scheduler::{Event, TaskSpec};
    use std::sync::Arc;

    #[test]
    fn every_task_ends_that_can() {
        let start = || tasks(Lv1::default()).submit("t", 1).at(1_000).liveness();
        let end = |history: History<Lv1>| history.at(1 << 40).end();
        end(start()).violated("t has not ended, nor have 0 others: Waiting");
        end(start().assign("t", 1)).violated("attempt 1 holds it");
        end(start().assign("t", 1).succeed("t", 1)).holds();
        start().at(2_000).end().holds();
        let gpu = Arc::new(TaskSpec { class: "gpu".into(), ..spec("t") });
        end(tasks(Lv1::default()).tells(Event::Submitted { spec: gpu, number: 1 }).liveness()).holds();
    }
}
