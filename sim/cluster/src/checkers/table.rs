//! Rows by incarnation, for checkers that are shown every heartbeat.

use squall_coordinator::Incarnation;
use std::collections::{BTreeMap, VecDeque};

/// How far a number may lie above the oldest row to be kept in the dense part. A machine that invents numbers must not
/// make its checkers allocate.
const SPREAD_MAX: u64 = 1 << 18;

/// Rows by incarnation. Incarnations come from a counter, so a row is found by subtraction.
#[derive(Debug)]
pub(super) struct Table<T> {
    base: u64,
    dense: VecDeque<Option<T>>,
    strays: BTreeMap<u64, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { base: 0, dense: VecDeque::new(), strays: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    fn index(&self, incarnation: Incarnation) -> Option<usize> {
        incarnation.0.checked_sub(self.base).filter(|&above| above < SPREAD_MAX).map(|above| above as usize)
    }

    /// The row of an incarnation.
    pub(super) fn row(&self, incarnation: Incarnation) -> Option<&T> {
        match self.index(incarnation).and_then(|index| self.dense.get(index)) {
            Some(Some(row)) => Some(row),
            Some(None) | None if self.strays.is_empty() => None,
            Some(None) | None => self.strays.get(&incarnation.0),
        }
    }

    /// The row of an incarnation, to be changed.
    pub(super) fn row_mut(&mut self, incarnation: Incarnation) -> Option<&mut T> {
        match self.index(incarnation) {
            Some(index) if matches!(self.dense.get(index), Some(Some(_))) => self.dense[index].as_mut(),
            Some(_) | None => self.strays.get_mut(&incarnation.0),
        }
    }

    /// Puts a row there. Returns the one that was there before.
    pub(super) fn insert(&mut self, incarnation: Incarnation, row: T) -> Option<T> {
        if self.dense.is_empty() {
            self.base = incarnation.0;
        }
        let Some(index) = self.index(incarnation) else {
            return self.strays.insert(incarnation.0, row);
        };
        while self.dense.len() <= index {
            self.dense.push_back(None);
        }
        self.dense[index].replace(row)
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, incarnation: Incarnation) -> Option<T> {
        let taken = match self.index(incarnation) {
            Some(index) => self.dense.get_mut(index).and_then(Option::take),
            None => None,
        };
        while matches!(self.dense.front(), Some(None)) {
            self.dense.pop_front();
            self.base += 1;
        }
        taken.or_else(|| self.strays.remove(&incarnation.0))
    }

    /// All rows, in order but for strays, which come last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Incarnation, &T)> {
        let dense = (self.base..).zip(&self.dense).filter_map(|(number, row)| Some((number, row.as_ref()?)));
        dense
            .chain(self.strays.iter().map(|(&number, row)| (number, row)))
            .map(|(number, row)| (Incarnation(number), row))
    }

    /// All rows, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.dense.iter_mut().flatten().chain(self.strays.values_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_wherever_their_numbers_lie() {
        let mut table = Table::default();
        for number in [7, 3, 9, u64::MAX] {
            assert_eq!(table.insert(Incarnation(number), number), None);
        }
        assert_eq!(table.insert(Incarnation(9), 10), Some(9));
        assert_eq!(table.iter().map(|(who, _)| who.0).collect::<Vec<_>>(), [7, 9, 3, u64::MAX]);
        assert_eq!(table.remove(Incarnation(7)), Some(7));
        assert_eq!(table.remove(Incarnation(7)), None);
        assert_eq!(table.row(Incarnation(9)), Some(&10));
        assert_eq!(table.row_mut(Incarnation(3)).copied(), Some(3));
        assert_eq!(table.remove(Incarnation(3)), Some(3));
        assert_eq!(table.row(Incarnation(8)), None);
        assert_eq!(table.values_mut().count(), 2);
    }
}
