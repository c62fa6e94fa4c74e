//! Streams of randomness that are named by what they are for.

use squall_machine::Random;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// One stream for each of these, named by what it is and not by its place, so that taking one out of the list leaves what the
/// others draw as it was. Equal ones are counted.
pub(super) fn named<T: Debug>(seed: u64, label: &str, all: &[T]) -> Vec<Random> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let names = all.iter().map(|one| format!("{label} {one:?}"));
    names
        .map(|name| {
            let occurrence = seen.entry(name.clone()).or_default();
            *occurrence += 1;
            Random::numbered(seed, &name, *occurrence)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_one_out_leaves_the_others_alone() {
        let draws = |all: &[&str]| -> Vec<u64> { named(7, "fault", all).iter_mut().map(Random::next).collect() };
        let all = draws(&["a", "b", "b", "c"]);
        assert_eq!(draws(&["b", "b", "c"]), all[1..]);
        assert_eq!(draws(&["a", "b", "c"]), [all[0], all[1], all[3]]);
        assert_ne!(all[1], all[2], "equal ones draw differently");
    }
}
