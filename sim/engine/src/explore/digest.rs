//! 128-bit digests, and what is addressed by them.

use std::hash::{Hash, Hasher};
use xxhash_rust::xxh3::Xxh3;

/// A digest of a value by its `Hash` implementation, and how many bytes that wrote.
pub(super) fn digest(value: &impl Hash) -> (u128, usize) {
    let mut counting = Counting { hash: Xxh3::new(), bytes: 0 };
    value.hash(&mut counting);
    (counting.hash.digest128(), counting.bytes)
}

struct Counting {
    hash: Xxh3,
    bytes: usize,
}

impl Hasher for Counting {
    fn write(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len();
    }

    fn finish(&self) -> u64 {
        self.hash.digest()
    }
}

/// Where a key lies among slots, or the free one where it would: linear probing. `at` tells the key in a slot.
pub(super) fn position(slots: usize, key: u128, at: impl Fn(usize) -> Option<u128>) -> usize {
    let mask = slots - 1;
    let mut position = key as usize & mask;
    while at(position).is_some_and(|found| found != key) {
        position = (position + 1) & mask;
    }
    position
}

/// Whether so many of the slots being used calls for twice as many: from seven eighths on, probing takes long.
pub(super) const fn crowded(used: usize, slots: usize) -> bool {
    used * 8 > slots * 7
}

/// A power of two.
pub(super) const SLOTS_MIN: usize = 16;

/// A set of digests, none of them zero.
#[derive(Debug)]
pub(super) struct Digests {
    slots: Vec<u128>,
    used: usize,
}

impl Digests {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; SLOTS_MIN], used: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u128>()
    }

    fn position(&self, digest: u128) -> usize {
        position(self.slots.len(), digest, |slot| Some(self.slots[slot]).filter(|found| *found != 0))
    }

    pub(super) fn contains(&self, digest: u128) -> bool {
        self.slots[self.position(digest)] == digest
    }

    /// Puts it in. Returns whether it is new.
    pub(super) fn insert(&mut self, digest: u128) -> bool {
        assert!(digest != 0, "zero marks what is free");
        let position = self.position(digest);
        if self.slots[position] == digest {
            return false;
        }
        self.slots[position] = digest;
        self.used += 1;
        if crowded(self.used, self.slots.len()) {
            let doubled = vec![0; self.slots.len() * 2];
            for digest in std::mem::replace(&mut self.slots, doubled).into_iter().filter(|digest| *digest != 0) {
                let position = self.position(digest);
                self.slots[position] = digest;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_set_holds_each_key_once_however_it_grew() {
        let (mut slots, mut model) = (Digests::new(), BTreeSet::new());
        for number in 0..5_000u64 {
            // Many equal keys, and many different ones for one slot.
            let key = u128::from(number % 1_700 + 1) << if number % 3 == 0 { 0 } else { 70 };
            assert_eq!(slots.insert(key), model.insert(key));
        }
        assert_eq!(slots.used, model.len());
        assert!(model.iter().all(|&key| slots.contains(key)));
        assert!(!slots.contains(9_999));
    }

    #[test]
    fn a_digest_tells_values_apart_and_counts_what_it_read() {
        assert_eq!(digest(&(1u32, 2u32)), digest(&(1u32, 2u32)));
        assert_ne!(digest(&(1u32, 2u32)).0, digest(&(2u32, 1u32)).0);
        assert_eq!(digest(&7u64).1, 8);
    }
}
