//! What a worker has, and which attempt holds what of it.

use crate::AttemptId;
use alloc::collections::BTreeMap;
use core::fmt;
use serde::{Deserialize, Serialize};

/// An amount of each resource: what a task needs, or what a worker has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// MiB of main memory.
    pub memory_mib: u32,
    /// MiB of storage.
    pub storage_mib: u32,
    /// Thousandths of an accelerator.
    pub gpu_millis: u32,
}

/// The name of a resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Cores.
    Cpu,
    /// Main memory.
    Memory,
    /// Storage.
    Storage,
    /// Accelerators.
    Gpu,
}

/// The first resource of which there isn't enough.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Shortage {
    /// Which.
    pub resource: Resource,
    /// How much was asked for, in the unit of its field in [`Resources`].
    pub needed: u32,
    /// How much there is.
    pub available: u32,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = match self.resource {
            Resource::Cpu => ("cpu", "thousandths of a core"),
            Resource::Memory => ("memory", "MiB"),
            Resource::Storage => ("storage", "MiB"),
            Resource::Gpu => ("gpu", "thousandths of an accelerator"),
        };
        write!(f, "{name}: {} needed, {} available ({unit})", self.needed, self.available)
    }
}

impl core::error::Error for Shortage {}

impl Resources {
    /// Each amount beside its name.
    #[must_use]
    pub const fn each(&self) -> [(Resource, u32); 4] {
        [
            (Resource::Cpu, self.cpu_millis),
            (Resource::Memory, self.memory_mib),
            (Resource::Storage, self.storage_mib),
            (Resource::Gpu, self.gpu_millis),
        ]
    }

    /// Whether `need` can be taken from this.
    ///
    /// # Errors
    /// The first resource of which there isn't enough.
    pub fn covers(&self, need: &Self) -> Result<(), Shortage> {
        for ((resource, needed), (_, available)) in need.each().into_iter().zip(self.each()) {
            if needed > available {
                return Err(Shortage { resource, needed, available });
            }
        }
        Ok(())
    }

    /// Both together; `None` if an amount would be too large to count.
    #[must_use]
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_millis: self.cpu_millis.checked_add(other.cpu_millis)?,
            memory_mib: self.memory_mib.checked_add(other.memory_mib)?,
            storage_mib: self.storage_mib.checked_add(other.storage_mib)?,
            gpu_millis: self.gpu_millis.checked_add(other.gpu_millis)?,
        })
    }

    /// This without `other`; `None` if it isn't covered.
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_millis: self.cpu_millis.checked_sub(other.cpu_millis)?,
            memory_mib: self.memory_mib.checked_sub(other.memory_mib)?,
            storage_mib: self.storage_mib.checked_sub(other.storage_mib)?,
            gpu_millis: self.gpu_millis.checked_sub(other.gpu_millis)?,
        })
    }
}

/// The books of one worker's resources. At most one lease per attempt; bounded by what the worker has, or, for tasks that
/// need nothing, by whoever assigns.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Account {
    total: Resources,
    reserved: Resources,
    leases: BTreeMap<AttemptId, Resources>,
}

impl Account {
    /// The books of a worker that has `total` and does nothing yet.
    #[must_use]
    pub fn new(total: Resources) -> Self {
        Self { total, ..Self::default() }
    }

    /// What the worker has.
    #[must_use]
    pub const fn total(&self) -> Resources {
        self.total
    }

    /// What is held by attempts.
    #[must_use]
    pub const fn reserved(&self) -> Resources {
        self.reserved
    }

    /// What is left.
    ///
    /// # Panics
    /// If more is reserved than there is: a bug.
    #[must_use]
    pub fn available(&self) -> Resources {
        self.total.checked_sub(&self.reserved).expect("no more is reserved than there is")
    }

    /// Who holds how much, in the order of attempts.
    pub fn leases(&self) -> impl Iterator<Item = (AttemptId, Resources)> {
        self.leases.iter().map(|(attempt, held)| (*attempt, *held))
    }

    /// Whether `need` could be reserved now.
    ///
    /// # Errors
    /// The first resource of which there isn't enough.
    pub fn fits(&self, need: &Resources) -> Result<(), Shortage> {
        self.available().covers(need)
    }

    /// Reserves `need` for `attempt`: all of it or, on an error, nothing.
    ///
    /// # Errors
    /// The first resource of which there isn't enough.
    ///
    /// # Panics
    /// If the attempt holds something already: an attempt is assigned once.
    pub fn reserve(&mut self, attempt: AttemptId, need: Resources) -> Result<(), Shortage> {
        self.fits(&need)?;
        let before = self.leases.insert(attempt, need);
        assert!(before.is_none(), "attempt {attempt} reserved twice");
        self.reserved = self.reserved.checked_add(&need).expect("what fits can be counted");
        Ok(())
    }

    /// Gives back what `attempt` holds, and tells how much that was; `None` if it holds nothing, for instance because it
    /// gave it back before.
    pub fn release(&mut self, attempt: AttemptId) -> Option<Resources> {
        let held = self.leases.remove(&attempt)?;
        self.reserved = self.reserved.checked_sub(&held).expect("a lease is part of what is reserved");
        Some(held)
    }

    /// Checks that leases and sum agree, and that no more is reserved than there is.
    ///
    /// # Panics
    /// If they don't.
    pub fn assert_invariants(&self) {
        let sum = self.leases.values().try_fold(Resources::default(), |sum, held| sum.checked_add(held));
        assert_eq!(sum, Some(self.reserved), "the leases are what is reserved");
        assert_eq!(self.total.covers(&self.reserved), Ok(()), "no more is reserved than there is");
    }
}

#[cfg(test)]
mod tests;
