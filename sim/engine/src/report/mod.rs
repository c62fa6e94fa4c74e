//! What people and programs read about runs.

mod json;
mod rows;
mod table;
mod trace;

pub use json::{run_line, summary_line};
pub use rows::{Row, Table, TableOptions, write_table};
pub use table::{account_lines, counted, failure_lines, grouped, task_line};
pub(crate) use table::{quoted, wall, word};
pub use trace::{Causes, TraceOptions, entry_lines, trace};
pub(crate) use trace::{json_entry, text_line};
