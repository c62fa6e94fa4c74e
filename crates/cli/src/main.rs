//! `squall`: the command line of the cluster in the simulated world.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    squall::cli::main::<squall_cluster::Cluster>()
}
