//! The production shell under a simulated runtime.
//!
//! Coordinator, members and subscribers are driven by the same shell that ships, over the same gRPC, as nodes of madsim's
//! simulated network and clock. Scenario files, triggers, disks, history, checkers and verdict are the engine's: a
//! [`Stage`](squall::Stage) plays the plan, and this crate runs the processes for it.
//!
//! What madsim does: processes that die, pause and resume, links that carry nothing (each direction), loss and latency of the
//! network. What a layer between shell and transport does for it, message by message: scripted drops, delays and copies,
//! and links of another quality. Disks and clocks are the engine's, behind the shell's own edges.
//!
//! Everything here needs `--cfg madsim`; without it the crate is empty.
#![cfg(madsim)]
#![forbid(unsafe_code)]

mod edges;
mod express;
mod life;
mod play;
mod watched;

use squall::Engine;
use squall_cluster::Cluster;

/// The engine of this crate.
#[must_use]
pub fn engine() -> Engine<Cluster> {
    Engine { name: "stack", refuses: express::refuses, play: play::play }
}
