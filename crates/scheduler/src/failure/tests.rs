use super::*;
use alloc::collections::BTreeSet;
use alloc::format;

#[test]
fn kinds_are_told_by_whole_words() {
    use FailureKind::{
        Browser, Evaluation, Hardware, Network, OutOfMemory, Timeout, Unknown, WorkerCrash, WorkerDisconnected,
    };
    for (text, expected) in [
        ("", Unknown),
        ("zoom", Unknown),
        ("the room is full", Unknown),
        ("bloom filter misconfigured", Unknown),
        ("oom", OutOfMemory),
        ("OOM", OutOfMemory),
        ("container was OOM-killed", OutOfMemory),
        ("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB", OutOfMemory),
        ("cuda error: out_of_memory", OutOfMemory),
        ("java.lang.OutOfMemoryError", OutOfMemory),
        ("browser tab ran out of memory", OutOfMemory),
        ("out of the memory", Unknown),
        ("out of memorial", Unknown),
        ("CUDA error: an illegal memory access", Hardware),
        ("uncorrectable ECC error", Hardware),
        ("the project was executed", Unknown),
        ("webgpu: device lost", Hardware),
        ("browser process crashed", Browser),
        ("Firefox timed out", Browser),
        ("worker crashed", WorkerCrash),
        ("segmentation fault (core dumped)", WorkerCrash),
        ("worker disconnected: connection reset", WorkerDisconnected),
        ("connection timed out", Network),
        ("network unreachable", Network),
        ("timed out after 30 s", Timeout),
        ("TIMEOUT", Timeout),
        ("mistimed output", Unknown),
        ("evaluation took too long: timeout", Timeout),
        ("evaluation failed", Evaluation),
        ("loss is NaN", Evaluation),
        ("banana", Unknown),
        ("something else", Unknown),
    ] {
        assert_eq!(classify(text), expected, "{text:?}");
    }
}

#[test]
fn each_phrase_tells_its_kind_and_is_there_once() {
    let mut seen = BTreeSet::new();
    for (kind, phrases) in PHRASES {
        for phrase in phrases {
            assert!(seen.insert(phrase), "{phrase:?} twice");
            assert_eq!(classify(phrase), kind, "{phrase:?}");
            assert_eq!(classify(&format!("x{phrase}x")), FailureKind::Unknown, "{phrase:?} inside other words");
        }
    }
}

#[test]
fn the_scan_ends_at_its_limit_and_never_inside_a_word_or_letter() {
    let far = |filler: &str, times: usize| format!("{}oom", filler.repeat(times));
    assert_eq!(classify(&far(" ", SCAN_BYTES_MAX - 3)), FailureKind::OutOfMemory, "the last word that fits");
    assert_eq!(classify(&far(" ", SCAN_BYTES_MAX - 2)), FailureKind::Unknown, "cut in the middle");
    assert_eq!(classify(&format!("{}oomph", " ".repeat(SCAN_BYTES_MAX - 3))), FailureKind::Unknown, "cut to a word");
    assert_eq!(classify(&"ö".repeat(SCAN_BYTES_MAX)), FailureKind::Unknown);
    assert_eq!(classify(&format!("x{}", "–".repeat(SCAN_BYTES_MAX))), FailureKind::Unknown);
    assert_eq!(classify("zöoom"), FailureKind::Unknown, "letters of any script make words");
    assert_eq!(classify("»oom«"), FailureKind::OutOfMemory);
}

#[test]
fn blame_falls_as_specified() {
    use Blame::{Class, Type, Worker};
    let expected = [Worker, Worker, Type, Type, Class, Class, Worker, Type, Type];
    for (kind, blame) in FailureKind::ALL.iter().zip(expected) {
        assert_eq!(kind.blame(), blame, "{kind:?}");
    }
}
