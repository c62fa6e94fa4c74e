//! Which states were reached, and how.

use crate::explore::digest::Digests;

/// How many parts the set of visited states has. Each grows by itself, and is filled by one thread at a time.
pub(super) const SHARDS: usize = 16;

/// The part in which a digest lies.
pub(super) const fn shard(digest: u128) -> usize {
    (digest >> 124) as usize
}

const _: () = assert!(SHARDS == 16, "the upper four bits of a digest name its shard");

/// The digests of all states.
#[derive(Debug)]
pub(super) struct Visited {
    pub(super) shards: Vec<Digests>,
}

impl Visited {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Digests::new()).collect() }
    }

    pub(super) fn contains(&self, digest: u128) -> bool {
        self.shards[shard(digest)].contains(digest)
    }

    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(Digests::bytes).sum()
    }
}

/// How each state was first reached, by its number.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// In pieces of one length, so that growing copies nothing.
    pieces: Vec<Vec<Step>>,
}

/// The state before, and the move, as a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) parent: u32,
    pub(super) by: u32,
}

const PIECE: usize = 1 << 16;

impl Log {
    pub(super) fn push(&mut self, step: Step) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(step),
            Some(_) | None => {
                // The first piece is all there is of most small searches.
                let mut piece = Vec::with_capacity(if self.pieces.is_empty() { 0 } else { PIECE });
                piece.push(step);
                self.pieces.push(piece);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.capacity() * size_of::<Step>()).sum()
    }

    /// The moves that lead from the first state to this one.
    pub(super) fn path_to(&self, state: u32) -> Vec<u32> {
        let (mut moves, mut at) = (Vec::new(), state);
        while at != 0 {
            let step = self.pieces[at as usize / PIECE][at as usize % PIECE];
            assert!(step.parent < at, "a state is reached from an earlier one");
            moves.push(step.by);
            at = step.parent;
        }
        moves.reverse();
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_the_first_state_in_order() {
        let mut log = Log::default();
        for number in 0..(PIECE as u32 + 10) {
            log.push(Step { parent: number / 2, by: number });
        }
        assert_eq!(log.len(), PIECE + 10);
        assert_eq!(log.path_to(0), [0u32; 0]);
        assert_eq!(log.path_to(5), [1, 2, 5]);
        assert_eq!(log.path_to(PIECE as u32 + 2).last(), Some(&(PIECE as u32 + 2)));
    }
}
