//! Nodes and sets of them.

use serde::Serialize;
use squall_machine::Address;

/// A place in the simulated world where a process can run: its index in the list of nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The node's place in the list of nodes.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The node's address after it moved `moves` times. Messages to an older one reach nobody.
    #[must_use]
    pub const fn address(self, moves: u32) -> Address {
        Address((moves as u64) << 32 | self.0 as u64)
    }

    /// The node that an address belongs or belonged to, and after how many moves.
    #[must_use]
    pub const fn of_address(address: Address) -> (Self, u32) {
        (Self(address.0 as u32), (address.0 >> 32) as u32)
    }
}

/// The number of an entry in the history of a run, from 1; 0 stands for the run itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
pub struct EntryId(pub u64);

/// A set of nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// The set of the first `count` nodes.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count as u32).map(NodeId).collect()
    }

    /// Whether `node` is in it.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.words.get(node.index() / 64).is_some_and(|word| word >> (node.index() % 64) & 1 == 1)
    }

    /// Puts `node` into it.
    pub fn insert(&mut self, node: NodeId) {
        let word = node.index() / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (node.index() % 64);
    }

    /// Takes `node` out of it.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(word) = self.words.get_mut(node.index() / 64) {
            *word &= !(1 << (node.index() % 64));
        }
    }

    /// Its nodes in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| NodeId(index as u32 * 64 + bit))
        })
    }

    /// How many nodes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set: NodeSet = [3, 64, 200].map(NodeId).into_iter().collect();
        assert_eq!(set.len(), 3);
        assert!(set.contains(NodeId(64)) && !set.contains(NodeId(65)) && !set.contains(NodeId(9_999)));
        set.remove(NodeId(64));
        assert_eq!(set.iter().collect::<Vec<_>>(), [NodeId(3), NodeId(200)]);
        assert!(NodeSet::first(0).is_empty());
    }

    #[test]
    fn an_address_names_its_node_and_its_moves() {
        assert_eq!(NodeId::of_address(NodeId(7).address(3)), (NodeId(7), 3));
    }
}
