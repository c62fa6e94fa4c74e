//! What several faults want of one node at once.

use crate::DiskState;
use squall_machine::Span;

/// One aspect of a node that several faults change: the newest change is in force, and when it ends, the newest of the rest.
#[derive(Debug)]
pub(super) struct Layers<T>(Vec<(u64, T)>);

impl<T: Copy> Layers<T> {
    /// From now on this is in force, until it is taken away by its token.
    pub(super) fn push(&mut self, token: u64, value: T) {
        self.0.push((token, value));
    }

    /// Takes a change away. Returns whether there was one of this token.
    pub(super) fn remove(&mut self, token: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|&(of, _)| of != token);
        self.0.len() < before
    }

    /// What is in force; `None` if nothing has changed.
    pub(super) fn top(&self) -> Option<T> {
        self.0.last().map(|&(_, value)| value)
    }
}

impl<T> Default for Layers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Everything that is wrong with one node itself, by what it is wrong with.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The fault that the process died of, while it is down; 0 if it was none.
    pub(super) down_by: u64,
    /// Whether the process is down because it ended itself.
    pub(super) aborted: bool,
    /// The fault that paused the process, while it is paused; 0 if it was none.
    pub(super) paused_by: u64,
    pub(super) steps: Layers<Span>,
    pub(super) drifts: Layers<i32>,
    pub(super) freezes: Layers<()>,
    pub(super) strobes: Layers<i64>,
    pub(super) syncs: Layers<(Span, Span)>,
    pub(super) disks: Layers<DiskState>,
    pub(super) unreadable: Layers<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_in_force_and_each_ends_by_its_own_token() {
        let mut layers = Layers::default();
        assert_eq!(layers.top(), None);
        layers.push(1, "first");
        layers.push(2, "second");
        layers.push(3, "third");
        assert!(layers.remove(2));
        assert!(!layers.remove(2), "it has ended");
        assert_eq!(layers.top(), Some("third"));
        assert!(layers.remove(3));
        assert_eq!(layers.top(), Some("first"));
    }
}
