//! The history of a run as a table: a row for each of the things that a system's people think in.

use crate::scenario::{Scenario, Status};
use crate::{Entry, NodeId, NodeSet, Outcome, RunOptions, Scene, System};
use serde_json::{Map, Value, json};
use squall_machine::{Span, Time};
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

/// Gathers rows from a history. One instance per run.
pub trait Table<S: System> {
    /// The names of the columns.
    fn columns(&self) -> &'static [&'static str];

    /// Is shown every entry, in the order of the history.
    fn on_entry(&mut self, entry: &Entry<'_, S>, scene: &Scene<'_, S>);

    /// The rows so far, in the order in which they are to be read.
    fn rows(&self) -> Vec<Row>;
}

/// One row of a [`Table`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What it says, column by column.
    pub cells: Vec<String>,
    /// When it begins.
    pub begin: Time,
    /// When it ends; `None`: not within the run.
    pub end: Option<Time>,
    /// Where it is about.
    pub node: Option<NodeId>,
}

/// Which rows are written, and how.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// As JSON, an object a row, instead of text.
    pub json: bool,
    /// Only the last so many.
    pub limit: Option<usize>,
    /// Only those that last beyond this time.
    pub from: Option<Span>,
    /// Only those that begin by this time.
    pub until: Option<Span>,
    /// Only those about these nodes.
    pub nodes: Option<NodeSet>,
}

impl TableOptions {
    fn shows(&self, row: &Row) -> bool {
        let ends_late = |from: Span| row.end.is_none_or(|end| end >= Time::ZERO + from);
        self.from.is_none_or(ends_late)
            && self.until.is_none_or(|until| row.begin <= Time::ZERO + until)
            && self.nodes.as_ref().is_none_or(|nodes| row.node.is_some_and(|node| nodes.contains(node)))
    }
}

/// Runs a seed and writes one of its tables.
///
/// # Errors
/// If it can't be written.
pub fn write_table<S: System>(
    scenario: &Scenario<S>,
    seed: u64,
    mut table: Box<dyn Table<S>>,
    options: &TableOptions,
    stop: &AtomicBool,
    out: &mut dyn Write,
) -> io::Result<(Outcome, Status)> {
    let mut watch = |entry: &Entry<'_, S>, scene: &Scene<'_, S>| table.on_entry(entry, scene);
    let outcome = scenario.run(seed, RunOptions { watch: Some(&mut watch), stop: Some(stop), ..RunOptions::default() });
    let rows: Vec<Row> = table.rows().into_iter().filter(|row| options.shows(row)).collect();
    let skipped = options.limit.map_or(0, |limit| rows.len().saturating_sub(limit));
    let rows = &rows[skipped..];
    let columns = table.columns();
    if options.json {
        for row in rows {
            writeln!(out, "{}", object(columns, row))?;
        }
    } else {
        for line in aligned(columns, rows) {
            writeln!(out, "{line}")?;
        }
    }
    let status = scenario.judge(&outcome);
    Ok((outcome, status))
}

fn object(columns: &[&str], row: &Row) -> Value {
    let cells = columns.iter().zip(&row.cells).map(|(&column, cell)| (column.to_owned(), json!(cell)));
    let mut object: Map<String, Value> = cells.collect();
    object.insert("begin_ns".to_owned(), json!(row.begin.as_nanos()));
    object.insert("end_ns".to_owned(), json!(row.end.map(Time::as_nanos)));
    Value::Object(object)
}

/// The table as lines, each column as wide as its widest cell.
fn aligned(columns: &[&str], rows: &[Row]) -> Vec<String> {
    let head: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let lines: Vec<&[String]> = std::iter::once(&head[..]).chain(rows.iter().map(|row| &row.cells[..])).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &&[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 2], begin: u64, end: Option<u64>) -> Row {
        let moment = |secs| Time::ZERO + Span::from_secs(secs);
        Row { cells: cells.map(str::to_owned).to_vec(), begin: moment(begin), end: end.map(moment), node: None }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["t1", "failed"], 1, Some(2)), row(["a-long-one", ""], 2, None)];
        assert_eq!(aligned(&["task", "fate"], &rows), ["task        fate", "t1          failed", "a-long-one"]);
        assert_eq!(
            object(&["task", "fate"], &rows[0]),
            json!({ "task": "t1", "fate": "failed", "begin_ns": 1_000_000_000u64, "end_ns": 2_000_000_000u64 })
        );
    }

    #[test]
    fn a_row_is_shown_if_it_lies_in_the_time_asked_for() {
        let between = |from: u64, until: u64| TableOptions {
            from: Some(Span::from_secs(from)),
            until: Some(Span::from_secs(until)),
            ..TableOptions::default()
        };
        let done = row(["", ""], 3, Some(5));
        let shown = |from, until| between(from, until).shows(&done);
        assert_eq!([shown(0, 2), shown(0, 3), shown(4, 4), shown(5, 9), shown(6, 9)], [false, true, true, true, false]);
        assert!(between(6, 9).shows(&row(["", ""], 3, None)), "it goes on");
        let nodes = Some([NodeId(1)].into_iter().collect());
        assert!(!TableOptions { nodes, ..TableOptions::default() }.shows(&done), "it is about nobody");
    }
}
