//! Scenario files: what is wrong with them is shown where it is, everything that a plan can say can be written, and sweeps
//! mean what they claim.

mod bad;
mod explore;
mod good;
mod goodput;
mod sweeps;
#[expect(dead_code, reason = "the example is a program of its own")]
#[path = "../../examples/token.rs"]
mod token;

use squall::{Diagnosis, Scenario};
use std::path::Path;
use token::Ring;

/// The scenario of a text.
fn parsed(text: &str) -> Result<Scenario<Ring>, Diagnosis> {
    Scenario::parse(Path::new("scenarios/test/case.toml"), text)
}

/// The scenario of a text that has to be right.
fn scenario(text: &str) -> Scenario<Ring> {
    parsed(text).unwrap_or_else(|diagnosis| panic!("{diagnosis}"))
}
