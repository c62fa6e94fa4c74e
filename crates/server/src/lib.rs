//! The production shell: drives a node over a clock, a disk and a transport, and decides nothing.
//!
//! Everything that a node decides is decided in its machine. The shell waits for one input at a time, lets the machine take
//! it, hands records to the disk in groups, and lets out what a receipt releases. It is generic over its [edges](edges), so
//! that the same source runs on tokio, sockets and files, and, compiled with `--cfg madsim`, on a simulated clock and network.
#![forbid(unsafe_code)]

pub mod clock;
#[cfg(not(madsim))]
pub mod coordinator;
pub mod driver;
pub mod edges;
pub mod file;
pub mod grpc;
pub mod member;
pub mod memory;

/// The generated protocol, `squall.v1`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated; the comments are in squall.proto"
)]
pub mod proto {
    tonic::include_proto!("squall.v1");
}
