//! What workers and tasks are made of: hardware classes, task types, precisions.

use crate::named::named;
use squall_machine::Span;

named! {
    /// The hardware that a worker offers and a task asks for.
    HardwareClass, "hardware class" {
        /// Processor cores.
        Cpu => "cpu",
        /// Graphics processors.
        Gpu => "gpu",
        /// Tensor processors.
        Tpu => "tpu",
        /// Neural processors.
        Npu => "npu",
        /// Graphics processors through a browser.
        Webgpu => "webgpu",
        /// Neural networks through a browser.
        Webnn => "webnn",
    }
}

named! {
    /// What kind of work a task is; what is learnt of run times and failures of one helps to judge the next.
    TaskType, "task type" {
        /// Little work on a processor.
        CpuLight => "cpu_light",
        /// Much work on a processor.
        CpuHeavy => "cpu_heavy",
        /// Work that is bound by memory.
        MemoryHeavy => "memory_heavy",
        /// Inference on an accelerator.
        GpuInference => "gpu_inference",
        /// Training on an accelerator.
        GpuTraining => "gpu_training",
        /// Anything else.
        Mixed => "mixed",
    }
}

named! {
    /// The number format that a task computes in.
    Precision, "precision" {
        /// 32 bit floating point.
        Fp32 => "fp32",
        /// 16 bit floating point with the exponent of 32 bit.
        Bf16 => "bf16",
        /// 16 bit floating point.
        Fp16 => "fp16",
        /// 8 bit integers.
        Int8 => "int8",
    }
}

impl TaskType {
    /// How long such a task is expected to run before one was seen.
    #[must_use]
    pub const fn initial_tau(self) -> Span {
        Span::from_secs(match self {
            Self::CpuLight => 5,
            Self::CpuHeavy => 15,
            Self::MemoryHeavy => 20,
            Self::GpuInference | Self::Mixed => 10,
            Self::GpuTraining => 60,
        })
    }
}

impl Precision {
    /// The next cheaper one; `None` below the cheapest.
    #[must_use]
    pub const fn reduced(self) -> Option<Self> {
        match self {
            Self::Fp32 => Some(Self::Fp16),
            Self::Fp16 | Self::Bf16 => Some(Self::Int8),
            Self::Int8 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_name_leads_back_to_its_value() {
        for (value, name) in HardwareClass::ALL.iter().zip(HardwareClass::NAMES) {
            assert_eq!((value.as_str(), name.parse()), (*name, Ok(*value)));
        }
        for (value, name) in TaskType::ALL.iter().zip(TaskType::NAMES) {
            assert_eq!((value.as_str(), name.parse()), (*name, Ok(*value)));
        }
        for (value, name) in Precision::ALL.iter().zip(Precision::NAMES) {
            assert_eq!((value.as_str(), name.parse()), (*name, Ok(*value)));
        }
        assert_eq!((HardwareClass::ALL.len(), TaskType::ALL.len(), Precision::ALL.len()), (6, 6, 4));
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let unknown = "fpga".parse::<HardwareClass>().map_err(|error| error.to_string());
        let told = "unknown hardware class \"fpga\": there are cpu, gpu, tpu, npu, webgpu, webnn";
        assert_eq!(unknown, Err(told.to_string()));
        assert!("CPU".parse::<HardwareClass>().is_err() && "".parse::<TaskType>().is_err());
        let endless = "x".repeat(1 << 20);
        assert_eq!(endless.parse::<Precision>().map_err(|error| error.given.len()), Err(64));
    }

    #[test]
    fn run_times_begin_as_specified() {
        for (task_type, secs) in TaskType::ALL.iter().zip([5, 15, 20, 10, 60, 10]) {
            assert_eq!(task_type.initial_tau(), Span::from_secs(secs), "{task_type}");
        }
    }

    #[test]
    fn precision_falls_to_eight_bits_and_ends_there() {
        use Precision::{Bf16, Fp16, Fp32, Int8};
        for (from, to) in [(Fp32, Some(Fp16)), (Fp16, Some(Int8)), (Bf16, Some(Int8)), (Int8, None)] {
            assert_eq!(from.reduced(), to, "{from}");
        }
    }
}
