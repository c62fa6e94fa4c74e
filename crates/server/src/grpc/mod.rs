//! Messages carried by gRPC calls: the coordinator's side, and that of members and subscribers.

pub mod client;
pub mod server;
mod switchboard;
pub mod wire;
