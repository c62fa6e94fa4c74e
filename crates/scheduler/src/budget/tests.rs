use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

fn millis(millis: u64) -> Span {
    Span::from_millis(millis)
}

#[test]
fn the_floor_is_always_allowed_and_no_more_where_nothing_else_starts() {
    let mut budget = RetryBudget::new(RetryBudgetKnobs::default());
    for retry in 0..10 {
        assert!(budget.may_retry(millis(5)), "retry {retry}");
        budget.on_start(millis(5), true);
    }
    assert!(!budget.may_retry(millis(5)) && !budget.may_retry(millis(10_005)));
    assert_eq!(budget.next_at(millis(5)), Some(millis(10_100)), "when the first bucket has left");
    assert!(budget.may_retry(millis(10_100)));
    assert_eq!(budget.next_at(millis(10_200)), Some(millis(10_200)), "at once");
}

#[test]
fn a_fifth_of_the_starts_may_be_retries() {
    let mut budget = RetryBudget::new(RetryBudgetKnobs::default());
    for _ in 0..400 {
        budget.on_start(millis(1_000), false);
    }
    let mut retries = 0;
    while budget.may_retry(millis(1_001)) {
        budget.on_start(millis(1_001), true);
        retries += 1;
    }
    assert_eq!(retries, 100, "100 of 500");
    assert!(budget.may_retry(Span::from_secs(60)));
}

#[test]
fn without_a_floor_only_other_starts_make_room() {
    let knobs = RetryBudgetKnobs { floor: 0, ..RetryBudgetKnobs::default() };
    let mut budget = RetryBudget::new(knobs);
    assert_eq!((budget.may_retry(Span::ZERO), budget.next_at(Span::ZERO)), (false, None));
    for starts in 0..4 {
        assert!(!budget.may_retry(millis(3)), "the one of {starts} and itself");
        budget.on_start(millis(3), false);
    }
    assert!(budget.may_retry(millis(3)), "one of five");
    // The bucket of 0 to 100 ms counts while all of it is inside the window.
    assert!(budget.may_retry(Span::from_nanos(millis(10_000).as_nanos() - 1)));
    assert!(!budget.may_retry(millis(10_000)));
}

#[test]
fn no_more_is_remembered_than_a_window() {
    let mut budget = RetryBudget::new(RetryBudgetKnobs::default());
    for tick in 0..10_000u64 {
        budget.on_start(millis(tick * 37), tick % 9 == 0);
        assert!(budget.buckets.len() <= 102, "{}", budget.buckets.len());
    }
}

proptest! {
    #[test]
    fn every_window_keeps_to_the_budget_and_nothing_waits_a_bucket_too_long(
        gaps in prop::collection::vec((0..2_500u64, any::<bool>()), 1..300),
        share in 0..6u32,
        floor in 0..4u32,
        window in 300..3_000u64,
    ) {
        let share = Ratio::new(share, 10).expect("a share");
        let window = Span::from_nanos(window);
        let mut budget = RetryBudget::new(RetryBudgetKnobs { share, floor, window });
        let width = Span::from_nanos(window.as_nanos() / 100);
        let mut list: Vec<(Span, bool)> = Vec::new();
        let mut at = Span::ZERO;
        for (gap, retry) in gaps {
            // Mostly within a bucket or two, sometimes further than a window.
            at += Span::from_nanos(if gap < 2_000 { gap % 16 } else { gap });
            // Retries since `retries_from`, and starts since `starts_from`, with the one that is asked for.
            let within = |retries_from: Span, starts_from: Span| {
                let retries = 1 + list.iter().filter(|(moment, retry)| *retry && *moment >= retries_from).count() as u32;
                let starts = 1 + list.iter().filter(|(moment, _)| *moment >= starts_from).count() as u32;
                retries <= floor || retries * share.denominator() <= starts * share.numerator()
            };
            let begin = at.minus(window);
            let allowed = budget.may_retry(at);
            if allowed {
                // Whether a moment exactly a window ago is inside is a matter of taste: it holds either way.
                let after_begin = if at > window { begin + Span::from_nanos(1) } else { begin };
                prop_assert!(within(begin, after_begin), "the window that ends at {at}");
            } else {
                prop_assert!(!within(begin.minus(width), begin + width), "refused without need at {at}");
            }
            match budget.next_at(at) {
                Some(moment) if moment > at => {
                    prop_assert!(!allowed && budget.may_retry(moment));
                    prop_assert!(!budget.may_retry(moment.minus(Span::from_nanos(1))));
                }
                Some(moment) => prop_assert!(allowed && moment == at),
                None => prop_assert!(!allowed && floor == 0),
            }
            if !retry || allowed {
                budget.on_start(at, retry);
                list.push((at, retry));
            }
        }
    }
}
