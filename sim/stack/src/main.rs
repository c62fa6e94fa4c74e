//! `squall-stack`: the command line of the cluster, whose processes are production shells under a simulated runtime.
#![forbid(unsafe_code)]

#[cfg(not(madsim))]
compile_error!(
    "squall-stack drives the production shell on a simulated clock and network, and has to be built for that: \
     run `cargo stack` in the workspace, without a variable RUSTFLAGS, which would take the place of its flags"
);

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    squall::cli::main_of(&squall::Program { engine: squall_stack::engine(), elsewhere: &[] })
}
