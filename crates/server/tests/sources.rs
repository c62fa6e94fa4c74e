//! What would make the shell depend on more than seed and inputs is kept out of its sources. The first two aren't visible to
//! lints: macros expand before them, and the type is the same in both worlds.
#![cfg(not(madsim))]

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What is wrong with a source.
fn faults(text: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    for (at, _) in text.match_indices("select! {") {
        if !text[at..].split_once('{').is_some_and(|(_, body)| body.trim_start().starts_with("biased;")) {
            faults.push("a select without `biased;` polls in a random order");
        }
    }
    for (word, fault) in [
        ("sync::watch", "a watch wakes its readers in a random order: use a channel or a oneshot"),
        ("thread_rng", "randomness of the host: use squall_machine::Random"),
        ("std::thread", "threads run in any order: use the runtime's blocking tasks, in the real edges only"),
    ] {
        if text.contains(word) {
            faults.push(fault);
        }
    }
    faults
}

#[test]
fn nothing_in_the_shell_is_left_to_chance() {
    let mut found = Vec::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
    assert!(found.len() > 10, "where are the sources? {found:?}");
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a source");
        assert_eq!(faults(&text), Vec::<&str>::new(), "{}", path.display());
    }
}

#[test]
fn what_is_looked_for_would_be_found() {
    assert_eq!(faults("tokio::select! {\n    biased;\n    a = b => {}\n}"), Vec::<&str>::new());
    assert_eq!(faults("tokio::select! {\n    a = b => {}\n}").len(), 1);
    assert_eq!(faults("use tokio::sync::watch;").len(), 1);
}
