//! A disk for nodes that keep nothing across restarts.

use crate::edges::{Disk, DiskError};
use squall_machine::{Batch, Durable, Machine, Synced};

/// Forgets everything when the process ends. A subscriber with it opens a new session each time it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemoryDisk;

impl<M> Disk<M> for MemoryDisk
where
    M: Machine<Record: Send, Snapshot: Send> + Send + 'static,
{
    async fn load(&mut self) -> Result<Durable<M>, DiskError> {
        Ok(Durable::empty())
    }

    async fn write(&mut self, group: Vec<Batch<M>>) -> Result<Synced, DiskError> {
        let last = group.into_iter().next_back().expect("a group isn't empty");
        Ok(last.pledge.synced())
    }

    async fn compact(&mut self, _snapshot: M::Snapshot) -> Result<(), DiskError> {
        Ok(())
    }
}
