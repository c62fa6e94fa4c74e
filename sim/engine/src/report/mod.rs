//! What people and programs read about runs.

mod json;
mod table;
mod trace;

pub use json::{run_line, summary_line};
pub use table::{counted, failure_lines, grouped, task_line};
pub(crate) use table::{wall, word};
pub use trace::{Causes, TraceOptions, entry_lines, trace};
