//! One test binary: every scenario file with its first seeds, and what holds for the workspace as a whole.
#![forbid(unsafe_code)]

mod arrows;
mod determinism;
mod exhibit;

use libtest_mimic::{Arguments, Trial};
use squall_cluster::Cluster;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = squall::suite::trials::<Cluster>("scenarios");
    trials.extend(arrows::trials());
    trials.extend(determinism::trials());
    trials.extend(exhibit::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
