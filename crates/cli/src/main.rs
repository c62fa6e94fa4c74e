//! `squall`: the command line of the cluster in the simulated world.
#![forbid(unsafe_code)]

use squall::{Elsewhere, Engine, Program};
use squall_cluster::Cluster;

/// The production shell under a simulated runtime, which needs every crate built for that.
const STACK: Elsewhere = Elsewhere {
    engine: "stack",
    program: "squall-stack",
    manifest: "sim/stack/Cargo.toml",
    folder: "target/madsim/stack",
    build: &[
        "build",
        "--profile=stack",
        "--package=squall-stack",
        "--features=stack",
        "--config=build.rustflags=['--cfg','madsim']",
        "--target-dir=target/madsim",
    ],
};

fn main() -> std::process::ExitCode {
    squall::cli::main_of(&Program { engine: Engine::<Cluster>::world(), elsewhere: &[STACK] })
}
