//! A checker that judges what is told about tasks by the books.

use super::books::{Books, Moment, SharedBooks};
use super::told;
use crate::Cluster;
use squall::{Checker, Entry, Fact, Findings, Interest, Scene, Truth};
use squall_machine::Time;
use squall_scheduler::{Event, Knobs};

/// What somebody told about tasks.
pub(super) struct Told<'a> {
    pub(super) event: &'a Event,
    /// Whether the scheduler says it; otherwise a worker or a client does.
    pub(super) scheduler: bool,
    /// When it was decided: on the clock of its node, and in the scheduler's time.
    pub(super) decided: Time,
    pub(super) at: Moment,
    pub(super) knobs: &'a Knobs,
}

/// One property of tasks.
pub(super) trait Judge: Default {
    /// Its id in the catalogue.
    const PROPERTY: &'static str;
    /// The events that it judges, or learns from beside the books.
    const EVENTS: &'static [&'static str];

    /// What is wrong with what was told, the books being as they were before it.
    fn judge(&mut self, told: &Told<'_>, books: &Books, findings: &mut Findings) -> Option<String>;

    /// The coordinator starts again: what it doesn't keep on its disk begins anew.
    fn restart(&mut self) {}
}

/// The checker of one property.
#[derive(Debug, Default)]
pub(super) struct Judged<J> {
    books: SharedBooks,
    judge: J,
}

impl<J: Judge> Judged<J> {
    /// One that goes by these books.
    pub(super) fn with(books: SharedBooks) -> Self {
        Self { books, judge: J::default() }
    }
}

impl<J: Judge> Checker<Cluster> for Judged<J> {
    fn property(&self) -> &'static str {
        J::PROPERTY
    }

    fn interest(&self, interest: &mut Interest<Cluster>) {
        self.books.interest(interest);
        interest.truth(&["up"]);
        interest.events(J::EVENTS);
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>, findings: &mut Findings) {
        let scheduler = entry.node == scene.system.coordinator();
        if let (true, Fact::Truth(Truth::Up { .. })) = (scheduler, &entry.fact) {
            self.judge.restart();
        }
        if let Some((decided, event)) = told(entry) {
            let books = self.books.look();
            let told =
                Told { event, scheduler, decided, at: books.moment(decided), knobs: scene.system.scheduler_knobs() };
            if let Some(problem) = self.judge.judge(&told, &books, findings) {
                findings.violated(J::PROPERTY, entry.at, [entry.id], problem);
            }
        }
        self.books.follow(entry, scene);
    }
}
