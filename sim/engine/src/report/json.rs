//! One line of JSON per run, and one for the whole sweep.

use crate::scenario::Status;
use crate::sweep::Ran;
use crate::{Scenario, System, Violation};
use serde_json::{Value, json};

/// The line of one run.
#[must_use]
pub fn run_line<S: System>(scenario: &Scenario<S>, ran: &Ran) -> Value {
    let outcome = &ran.outcome;
    json!({
        "scenario": scenario.name,
        "seed": outcome.seed,
        "engine": scenario.engine.name,
        "verdict": outcome.verdict.name(),
        "status": ran.status,
        "fingerprint": outcome.fingerprint.to_string(),
        "events": outcome.entries,
        "messages": outcome.messages.sent,
        "sim_ns": outcome.sim_ns,
        "wall_ns": ran.wall_ns,
        "goodput": outcome.goodput,
        "violations": outcome.violations.iter().map(violation).collect::<Vec<_>>(),
        "accounts": outcome.accounts,
        "remark": ran.remark,
    })
}

fn violation(violation: &Violation) -> Value {
    json!({
        "property": violation.property,
        "at_ns": violation.at.as_nanos(),
        "message": violation.message,
        "evidence": violation.evidence,
    })
}

/// The last line of a sweep: what all its scenarios add up to.
#[must_use]
pub fn summary_line(totals: &crate::cli::Totals, worst: Status) -> Value {
    json!({
        "summary": {
            "status": worst,
            "scenarios": totals.scenarios,
            "scenarios_passed": totals.scenarios_passed,
            "runs": totals.runs,
            "passed": totals.passed,
            "failed": totals.failed,
            "inconclusive": totals.inconclusive,
            "messages": totals.messages,
            "steps": totals.steps,
            "sim_ns": totals.sim_ns,
            "wall_ns": totals.wall_ns,
        }
    })
}
