//! Kinds of failures: how they are told from text, and whom they are charged to.

use crate::named::named;
use alloc::vec::Vec;

named! {
    /// Why an attempt failed.
    FailureKind, "kind of failure" {
        /// The worker's process ended.
        WorkerCrash => "worker_crash",
        /// The worker is out of reach.
        WorkerDisconnected => "worker_disconnected",
        /// It took too long.
        Timeout => "timeout",
        /// The network failed on the way to something that the task needs.
        Network => "network",
        /// There was not enough memory.
        OutOfMemory => "out_of_memory",
        /// An accelerator or another part of the machine failed.
        Hardware => "hardware",
        /// The browser, or its runtime, failed.
        Browser => "browser",
        /// The task's own computation failed.
        Evaluation => "evaluation",
        /// Nothing above.
        Unknown => "unknown",
    }
}

named! {
    /// Whose circuit breaker counts a failure; the permits of the other two are released. There is one kind of breakers for
    /// each.
    Blame, "kind of breakers" {
        /// The worker's.
        Worker => "worker",
        /// The hardware class's.
        Class => "class",
        /// The task type's.
        Type => "type",
    }
}

impl FailureKind {
    /// Who is to blame for it.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::WorkerCrash | Self::WorkerDisconnected | Self::Browser => Blame::Worker,
            Self::Hardware | Self::OutOfMemory => Blame::Class,
            Self::Timeout | Self::Network | Self::Evaluation | Self::Unknown => Blame::Type,
        }
    }
}

/// How much of a text is read, in bytes. A word that this limit cuts through isn't read.
const SCAN_BYTES_MAX: usize = 1_024;

/// The phrases that tell a kind, words apart by one space. The first kind with a phrase in the text is the answer, so what
/// names a cause comes before what names its effect: memory before the device that lacked it, the browser before the
/// process that it is, the worker before its connection, the connection before the time that it cost.
const PHRASES: [(FailureKind, &[&str]); 8] = [
    (
        FailureKind::OutOfMemory,
        &[
            "oom",
            "oomkilled",
            "out of memory",
            "outofmemory",
            "outofmemoryerror",
            "memoryerror",
            "enomem",
            "cannot allocate memory",
            "bad alloc",
            "allocation failed",
            "memory exhausted",
            "insufficient memory",
        ],
    ),
    (
        FailureKind::Hardware,
        &[
            "hardware",
            "ecc",
            "xid",
            "nvlink",
            "cuda error",
            "device lost",
            "device side assert",
            "gpu fault",
            "gpu lost",
            "fell off the bus",
            "machine check",
            "overheated",
            "thermal shutdown",
        ],
    ),
    (
        FailureKind::Browser,
        &[
            "browser",
            "chrome",
            "chromium",
            "firefox",
            "safari",
            "webgl",
            "webgpu",
            "webnn",
            "tab crashed",
            "page crashed",
        ],
    ),
    (
        FailureKind::WorkerCrash,
        &[
            "worker crash",
            "worker crashed",
            "worker died",
            "process crashed",
            "process died",
            "segfault",
            "segmentation fault",
            "sigsegv",
            "sigabrt",
            "sigbus",
            "sigkill",
            "core dumped",
        ],
    ),
    (
        FailureKind::WorkerDisconnected,
        &[
            "worker disconnected",
            "worker disconnect",
            "worker lost",
            "worker unreachable",
            "heartbeat lost",
            "heartbeat missed",
        ],
    ),
    (
        FailureKind::Network,
        &[
            "network",
            "connection",
            "socket",
            "dns",
            "unreachable",
            "broken pipe",
            "econnreset",
            "econnrefused",
            "no route to host",
        ],
    ),
    (
        FailureKind::Timeout,
        &["timeout", "timeouts", "timed out", "time out", "time limit exceeded", "deadline exceeded", "etimedout"],
    ),
    (
        FailureKind::Evaluation,
        &[
            "evaluation",
            "assertion",
            "assertionerror",
            "valueerror",
            "typeerror",
            "nan",
            "diverged",
            "division by zero",
            "invalid input",
            "shape mismatch",
        ],
    ),
];

/// The kind that a text tells of, by whole words, whatever their case: "zoom" is not out of memory, "OOM-killed" is.
///
/// A word is a run of letters and digits; everything else separates. Where phrases of several kinds occur, this order
/// decides: out of memory, hardware, browser, worker crash, worker disconnected, network, timeout, evaluation; a text with
/// none of them is unknown. Only the first 1,024 bytes are read.
#[must_use]
pub fn classify(text: &str) -> FailureKind {
    let words = words(text);
    let tells = |phrase: &&str| {
        let length = phrase.split(' ').count();
        words.windows(length).any(|window| {
            window.iter().zip(phrase.split(' ')).all(|(word, expected)| word.eq_ignore_ascii_case(expected))
        })
    };
    let told = PHRASES.iter().find(|(_, phrases)| phrases.iter().any(tells));
    told.map_or(FailureKind::Unknown, |(kind, _)| *kind)
}

/// The whole words at the beginning of `text`, as far as the limit of the scan.
fn words(text: &str) -> Vec<&str> {
    let mut end = text.len().min(SCAN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (read, rest) = text.split_at(end);
    let cut = rest.starts_with(char::is_alphanumeric);
    let read = if cut { read.trim_end_matches(char::is_alphanumeric) } else { read };
    read.split(|symbol: char| !symbol.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests;
