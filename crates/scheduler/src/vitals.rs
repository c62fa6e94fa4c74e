//! Whether a worker is well enough for new work.

use crate::named::named;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

named! {
    /// What is measured at a worker.
    Vital, "vital sign" {
        /// Use of its cores.
        Cpu => "cpu",
        /// Use of its main memory.
        Memory => "memory",
        /// Use of its disk.
        Disk => "disk",
        /// Use of the memory of its accelerators.
        GpuMemory => "gpu memory",
        /// The temperature of its hottest accelerator.
        GpuTemperature => "gpu temperature",
    }
}

/// One figure for each vital sign: what a worker reports, or the limits. In thousandths of a percent, the temperature in
/// thousandths of a degree C; what a worker doesn't have is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Vitals {
    /// Use of its cores.
    pub cpu: u32,
    /// Use of its main memory.
    pub memory: u32,
    /// Use of its disk.
    pub disk: u32,
    /// Use of the memory of its accelerators.
    pub gpu_memory: u32,
    /// The temperature of its hottest accelerator; below freezing is 0.
    pub gpu_temperature: u32,
}

impl Vitals {
    /// The limits of the specification. At a limit a worker is well, above it isn't.
    pub const LIMITS: Self =
        Self { cpu: 95_000, memory: 95_000, disk: 95_000, gpu_memory: 95_000, gpu_temperature: 85_000 };

    /// Each figure beside what it is.
    #[must_use]
    pub const fn each(&self) -> [(Vital, u32); 5] {
        [
            (Vital::Cpu, self.cpu),
            (Vital::Memory, self.memory),
            (Vital::Disk, self.disk),
            (Vital::GpuMemory, self.gpu_memory),
            (Vital::GpuTemperature, self.gpu_temperature),
        ]
    }

    /// What is above its limit; nothing at a worker that is well.
    #[must_use]
    pub fn issues(&self, limits: &Self) -> Vec<Issue> {
        let pairs = self.each().into_iter().zip(limits.each());
        let above = pairs.filter(|((_, figure), (_, limit))| figure > limit);
        above.map(|((vital, figure), (_, limit))| Issue { vital, figure, limit }).collect()
    }
}

/// One reason why a worker isn't well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Issue {
    /// What is too high.
    pub vital: Vital,
    /// How high it is, in the unit of [`Vitals`].
    pub figure: u32,
    /// How high it may be.
    pub limit: u32,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.vital {
            Vital::Cpu | Vital::Memory | Vital::Disk | Vital::GpuMemory => "%",
            Vital::GpuTemperature => "degrees C",
        };
        write!(f, "{} is {}.{:03} {unit}, ", self.vital, self.figure / 1_000, self.figure % 1_000)?;
        write!(f, "above its limit of {}.{:03} {unit}", self.limit / 1_000, self.limit % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn strictly_above_a_limit_is_an_issue() {
        let limits = Vitals::LIMITS;
        assert_eq!(limits.issues(&limits), []);
        let first = |vitals: Vitals| {
            let issues = vitals.issues(&limits);
            assert!(issues.len() <= 1, "{issues:?}");
            issues.first().map(|issue| (issue.vital, issue.limit))
        };
        let well = Vitals::default();
        for (vitals, expected) in [
            (well, None),
            (Vitals { cpu: 95_000, ..well }, None),
            (Vitals { cpu: 95_001, ..well }, Some((Vital::Cpu, 95_000))),
            (Vitals { memory: 95_001, ..well }, Some((Vital::Memory, 95_000))),
            (Vitals { disk: 95_001, ..well }, Some((Vital::Disk, 95_000))),
            (Vitals { gpu_memory: u32::MAX, ..well }, Some((Vital::GpuMemory, 95_000))),
            (Vitals { gpu_temperature: 85_000, ..well }, None),
            (Vitals { gpu_temperature: 85_001, ..well }, Some((Vital::GpuTemperature, 85_000))),
        ] {
            assert_eq!(first(vitals), expected, "{vitals:?}");
        }
    }

    #[test]
    fn issues_read_as_people_speak() {
        let hot = Vitals { cpu: 96_500, gpu_temperature: 90_000, ..Vitals::default() };
        let texts: Vec<_> = hot.issues(&Vitals::LIMITS).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "cpu is 96.500 %, above its limit of 95.000 %",
                "gpu temperature is 90.000 degrees C, above its limit of 85.000 degrees C",
            ]
        );
    }
}
