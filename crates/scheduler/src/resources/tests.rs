use super::*;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

const fn resources(cpu_millis: u32, memory_mib: u32, storage_mib: u32, gpu_millis: u32) -> Resources {
    Resources { cpu_millis, memory_mib, storage_mib, gpu_millis }
}

#[test]
fn each_resource_is_looked_at_on_its_own() {
    let has = resources(4_000, 8_192, 100, 1_000);
    assert_eq!(has.covers(&has), Ok(()), "exactly all of it");
    for (need, resource) in [
        (resources(4_001, 0, 0, 0), Resource::Cpu),
        (resources(0, 8_193, 0, 0), Resource::Memory),
        (resources(0, 0, 101, 0), Resource::Storage),
        (resources(0, 0, 0, 1_001), Resource::Gpu),
        (resources(u32::MAX, u32::MAX, u32::MAX, u32::MAX), Resource::Cpu),
    ] {
        assert_eq!(has.covers(&need).map_err(|shortage| shortage.resource), Err(resource), "{need:?}");
    }
    let shortage = has.covers(&resources(1, 9_000, 0, 0)).map_err(|shortage| shortage.to_string());
    assert_eq!(shortage, Err("memory: 9000 needed, 8192 available (MiB)".to_string()));
}

#[test]
fn what_is_released_can_be_reserved_again_and_is_released_once() {
    let all = resources(1_000, 64, 0, 0);
    let mut account = Account::new(all);
    assert_eq!(account.reserve(AttemptId(1), all), Ok(()));
    let short = Shortage { resource: Resource::Cpu, needed: 1, available: 0 };
    assert_eq!(account.reserve(AttemptId(2), resources(1, 0, 0, 0)), Err(short));
    assert_eq!(account.release(AttemptId(2)), None, "a refused one holds nothing");
    assert_eq!(account.release(AttemptId(1)), Some(all));
    assert_eq!(account.release(AttemptId(1)), None);
    assert_eq!((account.available(), account.leases().count()), (all, 0));
    account.assert_invariants();
}

#[test]
fn amounts_at_the_end_of_their_range_are_counted_right() {
    let all = resources(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
    let mut account = Account::new(all);
    assert_eq!(account.reserve(AttemptId(1), all), Ok(()));
    assert!(account.reserve(AttemptId(2), all).is_err());
    assert_eq!(account.reserve(AttemptId(3), Resources::default()), Ok(()), "nothing always fits");
    account.assert_invariants();
}

#[test]
#[should_panic(expected = "reserved twice")]
fn an_attempt_reserves_once() {
    let mut account = Account::new(resources(10, 10, 10, 10));
    account.reserve(AttemptId(1), resources(1, 1, 1, 1)).expect("there is room");
    account.reserve(AttemptId(1), resources(1, 1, 1, 1)).expect("there is room");
}

/// What a step does to the books: reserve so much for this attempt, or release it.
#[derive(Clone, Debug)]
enum Deed {
    Reserve(u64, Resources),
    Release(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let amount = || 0..6u32;
    let need = (amount(), amount(), amount(), amount())
        .prop_map(|(cpu, memory, storage, gpu)| resources(cpu, memory, storage, gpu));
    let deed = prop_oneof![
        (0..12u64, need).prop_map(|(attempt, need)| Deed::Reserve(attempt, need)),
        (0..12u64).prop_map(Deed::Release),
    ];
    prop::collection::vec(deed, 0..60)
}

proptest! {
    #[test]
    fn books_agree_with_a_list_that_is_summed_anew(deeds in deeds()) {
        let total = resources(12, 10, 9, 8);
        let mut account = Account::new(total);
        let mut list: Vec<(u64, Resources)> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Reserve(attempt, need) => {
                    if list.iter().any(|(holder, _)| *holder == attempt) {
                        continue;
                    }
                    let fits = (0..4).all(|index| {
                        let sum: u32 = list.iter().map(|(_, held)| held.each()[index].1).sum();
                        sum + need.each()[index].1 <= total.each()[index].1
                    });
                    prop_assert_eq!(account.reserve(AttemptId(attempt), need).is_ok(), fits);
                    if fits {
                        list.push((attempt, need));
                    }
                }
                Deed::Release(attempt) => {
                    let place = list.iter().position(|(holder, _)| *holder == attempt);
                    prop_assert_eq!(account.release(AttemptId(attempt)), place.map(|place| list.remove(place).1));
                }
            }
            account.assert_invariants();
            for index in 0..4 {
                let sum: u32 = list.iter().map(|(_, held)| held.each()[index].1).sum();
                prop_assert_eq!(account.reserved().each()[index].1, sum);
                prop_assert_eq!(account.available().each()[index].1, total.each()[index].1 - sum);
            }
        }
    }
}
