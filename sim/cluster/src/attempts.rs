//! The history of tasks as a table: a row for each attempt, with what became of it and what came next.

use crate::Cluster;
use squall::report::{Row, Table};
use squall::{Entry, Fact, NodeId, Scene};
use squall_machine::{Span, Text, Time};
use squall_scheduler::{AttemptId, End, Event, Outcome, Strategy, Task, TaskState, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Follows what the scheduler tells. A task that ends without an attempt has a row of its own.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    rows: Vec<Line>,
    /// The row of each attempt that hasn't ended.
    open: BTreeMap<AttemptId, usize>,
    /// The row of the attempt of each task that ended last, as long as nothing was said about what comes next.
    ended: BTreeMap<Text, usize>,
    /// The attempts that a process which started again has found so far.
    found: BTreeSet<AttemptId>,
}

#[derive(Debug)]
struct Line {
    task: Text,
    attempt: Option<AttemptId>,
    worker: Text,
    node: Option<NodeId>,
    begin: Time,
    end: Option<Time>,
    fate: &'static str,
    why: String,
    next: String,
}

impl Line {
    /// It runs.
    fn new(task: Text, attempt: Option<AttemptId>, worker: Text, begin: Time) -> Self {
        let (why, next) = (String::new(), String::new());
        Self { task, attempt, worker, node: None, begin, end: None, fate: "runs", why, next }
    }
}

const fn fate(end: &End) -> &'static str {
    match end {
        End::Succeeded => "succeeded",
        End::Failed(_) => "failed",
        End::Lost(_) => "lost",
        End::Drained => "drained",
        End::Migrated => "migrated",
        End::Cancelled => "cancelled",
        End::Expired => "expired",
    }
}

/// Why it ended so, if that isn't the word for it.
fn why(end: &End, reported: bool) -> String {
    match (end, reported) {
        (End::Failed(kind), true) | (End::Lost(kind), _) => kind.to_string(),
        (End::Failed(kind), false) => format!("{kind}, not reported"),
        (End::Drained, true) => "given back".to_owned(),
        (End::Drained, false) => "its worker left".to_owned(),
        (End::Succeeded | End::Migrated | End::Cancelled | End::Expired, _) => String::new(),
    }
}

fn ends(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { .. } => "task succeeded".to_owned(),
        Outcome::Failed(Verdict::Escalated(kind)) => format!("task failed: escalated, {kind}"),
        Outcome::Failed(Verdict::Poison) => "task failed: poison".to_owned(),
        Outcome::Failed(Verdict::Deadline) => "task failed: deadline".to_owned(),
        Outcome::Cancelled => "task cancelled".to_owned(),
    }
}

fn goes_on(strategy: Option<Strategy>, delay: Span) -> String {
    let what = strategy.map_or("again", Strategy::as_str);
    if delay == Span::ZERO { what.to_owned() } else { format!("{what} in {}", seconds(delay)) }
}

/// Seconds to the millisecond: columns of times are easier to compare than the shortest text for each.
fn seconds(span: Span) -> String {
    let millis = span.as_millis();
    format!("{}.{:03}s", millis / 1_000, millis % 1_000)
}

impl Attempts {
    fn open(&mut self, at: Time, (task, attempt, worker): (&Text, AttemptId, &Text), scene: &Scene<'_, Cluster>) {
        let node = scene.plan.nodes.iter().position(|name| **name == **worker).map(|index| NodeId(index as u32));
        self.open.insert(attempt, self.rows.len());
        self.rows.push(Line { node, ..Line::new(task.clone(), Some(attempt), worker.clone(), at) });
    }

    fn end(&mut self, at: Time, (task, attempt): (&Text, AttemptId), end: &End, reported: bool) {
        let Some(index) = self.open.remove(&attempt) else { return };
        let row = &mut self.rows[index];
        (row.end, row.fate, row.why) = (Some(at), fate(end), why(end, reported));
        self.ended.insert(task.clone(), index);
    }

    fn next(&mut self, at: Time, task: &Text, next: String) {
        match self.ended.remove(task) {
            Some(index) => self.rows[index].next = next,
            None => {
                let line = Line::new(task.clone(), None, "-".into(), at);
                self.rows.push(Line { end: Some(at), fate: "waited", next, ..line });
            }
        }
    }

    /// A process that died may have ended attempts, or begun some, without a word.
    fn recovered(&mut self, at: Time) {
        let found = std::mem::take(&mut self.found);
        for (attempt, index) in std::mem::take(&mut self.open) {
            if found.contains(&attempt) {
                self.open.insert(attempt, index);
            } else {
                let row = &mut self.rows[index];
                (row.end, row.fate, row.why) = (Some(at), "unknown", "ended before a restart, untold".to_owned());
            }
        }
        self.ended.clear();
    }

    fn recall(&mut self, at: Time, task: &Task, scene: &Scene<'_, Cluster>) {
        if let TaskState::Leased(lease) = &task.state {
            self.found.insert(lease.attempt);
            if !self.open.contains_key(&lease.attempt) {
                self.open(at, (&task.spec.id, lease.attempt, &lease.worker), scene);
            }
        }
    }
}

impl Table<Cluster> for Attempts {
    fn columns(&self) -> &'static [&'static str] {
        &["task", "attempt", "worker", "begin", "end", "fate", "why", "next"]
    }

    fn on_entry(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        let Fact::Event { event: crate::Event::Task(event), .. } = &entry.fact else { return };
        let at = entry.at;
        match event {
            Event::Assigned { task, attempt, worker, .. } => self.open(at, (task, *attempt, worker), scene),
            Event::Accepted { task, attempt, end, .. } => self.end(at, (task, *attempt), end, true),
            Event::Fenced { task, attempt, end, .. } => self.end(at, (task, *attempt), end, false),
            Event::Requeued { task, delay, strategy, .. } => self.next(at, task, goes_on(*strategy, *delay)),
            Event::Terminal { task, outcome, .. } => self.next(at, task, ends(outcome)),
            Event::TaskRecalled { task } => self.recall(at, task, scene),
            Event::Recovered { .. } => self.recovered(at),
            _ => {}
        }
    }

    fn rows(&self) -> Vec<Row> {
        let moment = |at: Time| seconds(at.since(Time::ZERO));
        let row = |line: &Line| Row {
            cells: vec![
                line.task.to_string(),
                line.attempt.map_or("-".to_owned(), |attempt| attempt.to_string()),
                line.worker.to_string(),
                moment(line.begin),
                line.end.map_or("-".to_owned(), moment),
                line.fate.to_owned(),
                line.why.clone(),
                line.next.clone(),
            ],
            begin: line.begin,
            end: line.end,
            node: line.node,
        };
        self.rows.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_machine::Text;
    use squall_scheduler::FailureKind;

    fn story(table: &Attempts) -> Vec<String> {
        let told = |row: &Row| {
            let cell = |column: usize| row.cells[column].as_str();
            [1, 5, 6, 7].map(cell).join(" ").trim_end().to_owned()
        };
        table.rows().iter().map(told).collect()
    }

    /// Attempts 1, 2, .. of tasks `t1`, `t2`, .. run.
    fn running(count: u64) -> Attempts {
        let mut table = Attempts::default();
        for number in 1..=count {
            table.open.insert(AttemptId(number), table.rows.len());
            let (task, worker) = (format!("t{number}").into(), Text::from("w0"));
            table.rows.push(Line::new(task, Some(AttemptId(number)), worker, Time::ZERO));
        }
        table
    }

    #[test]
    fn what_became_of_an_attempt_is_followed_by_what_comes_next() {
        let (mut table, at) = (running(3), Time::ZERO + Span::from_secs(1));
        let [one, two] = ["t1", "t2"].map(Text::from);
        table.end(at, (&one, AttemptId(1)), &End::Failed(FailureKind::Timeout), false);
        table.next(at, &one, goes_on(Some(Strategy::DelayedRetry), Span::from_millis(5_250)));
        table.end(at, (&two, AttemptId(2)), &End::Drained, true);
        table.next(at, &two, goes_on(None, Span::ZERO));
        table.next(at, &"t9".into(), ends(&Outcome::Cancelled));
        let expected = [
            "1 failed timeout, not reported delayed_retry in 5.250s",
            "2 drained given back again",
            "3 runs",
            "- waited  task cancelled",
        ];
        assert_eq!(story(&table), expected);
    }

    #[test]
    fn a_restart_ends_what_it_does_not_find() {
        let mut table = running(2);
        table.found.insert(AttemptId(2));
        table.recovered(Time::ZERO + Span::from_secs(1));
        assert_eq!(story(&table), ["1 unknown ended before a restart, untold", "2 runs"]);
        table.end(Time::ZERO, (&"t2".into(), AttemptId(2)), &End::Succeeded, true);
        assert_eq!(story(&table)[1], "2 succeeded");
    }
}
