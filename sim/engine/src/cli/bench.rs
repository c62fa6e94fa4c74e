//! `bench`: how fast the world is, beside its own floor.

use crate::System;
use crate::Verdict;
use crate::bench::Measured;
use crate::cli::args::BenchArguments;
use crate::cli::ui::Ui;
use crate::cli::{BAD_INPUT, NOTHING, OK};
use crate::report::grouped;
use crate::scenario::Status;

pub(crate) fn bench<S: System>(arguments: &BenchArguments, ui: &mut Ui) -> u8 {
    let simulated = arguments.simulated.map(|simulated| simulated.0);
    if S::BENCHES.is_empty() {
        ui.error(format_args!("{} has no benches", S::NAME));
        return NOTHING;
    }
    ui.line(format_args!(
        "{:<20} {:>14} {:>14} {:>14} {:>8}",
        "messages a second", "checked", "unchecked", "floor", "ratio"
    ));
    let measured = crate::bench::bench::<S>(simulated, |measured| ui.line(format_args!("{}", line(measured))));
    match measured {
        Ok(all) if all.iter().all(|measured| measured.verdict == Verdict::Pass) => OK,
        Ok(_) => {
            ui.error(format_args!("a run that doesn't hold measures nothing"));
            Status::Violated.exit_code()
        }
        Err(diagnosis) => {
            ui.diagnoses(&[diagnosis]);
            BAD_INPUT
        }
    }
}

fn line(measured: &Measured) -> String {
    let percent = measured.per_second.saturating_mul(100) / measured.floor_per_second.max(1);
    let memory = measured.peak_kib.map(|kib| format!("  {} KiB at most", grouped(kib))).unwrap_or_default();
    format!(
        "{:<20} {:>14} {:>14} {:>14} {percent:>7}%{memory}  {}",
        measured.name,
        grouped(measured.per_second),
        grouped(measured.unchecked_per_second),
        grouped(measured.floor_per_second),
        measured.verdict.name(),
    )
}
