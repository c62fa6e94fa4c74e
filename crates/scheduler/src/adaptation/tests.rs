use super::*;
use alloc::string::ToString;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

/// Judges by ten results.
fn adaptation() -> Adaptation {
    Adaptation::new(AdaptationKnobs { sample: 10, ..AdaptationKnobs::default() }, Settings::default())
}

/// The first change that so many successes and then failures bring.
fn first<T>(successes: u32, failures: u32, mut on: impl FnMut(bool) -> Option<T>) -> Option<T> {
    let results = core::iter::repeat_n(true, successes as usize).chain(core::iter::repeat_n(false, failures as usize));
    results.map(&mut on).fold(None, Option::or)
}

#[test]
fn thresholds_follow_results_one_at_a_time() {
    for (successes, failures, to) in
        [(4, 6, Some(4)), (5, 5, None), (9, 1, None), (10, 0, Some(6)), (0, 9, None), (0, 10, Some(4))]
    {
        let mut adaptation = adaptation();
        let adapted = first(successes, failures, |success| adaptation.on_result(Blame::Worker, success));
        let told = adapted.as_ref().map(|adapted| (adapted.what, adapted.from.clone(), adapted.to.clone()));
        let expected = to.map(|to| (Adaptable::Threshold(Blame::Worker), Setting::Count(5), Setting::Count(to)));
        assert_eq!(told, expected, "{successes} successes, {failures} failures");
        assert_eq!(adaptation.settings().breaker(Blame::Worker).threshold, to.unwrap_or(5));
        assert_eq!(adaptation.settings().breaker(Blame::Class), &BreakerKnobs::CLASS, "others stay");
    }
}

#[test]
fn times_to_be_open_follow_probes_up_to_their_bounds() {
    let mut adaptation = adaptation();
    let mut lengths = Vec::new();
    for _ in 0..6 {
        if let Some(adapted) = first(0, 10, |success| adaptation.on_probe(Blame::Worker, success)) {
            lengths.push(adapted.to);
        }
    }
    let expected = [75_000, 93_750, 117_187, 120_000].map(|millis| Setting::Length(Span::from_millis(millis)));
    assert_eq!(lengths, expected, "a quarter longer each time, up to twice the first");
    let adapted = first(10, 0, |success| adaptation.on_probe(Blame::Worker, success)).expect("all succeeded");
    assert_eq!(adapted.to, Setting::Length(Span::from_secs(96)));
    assert_eq!(adapted.reason.to_string(), "good results: 10 of 10 succeeded");
    for _ in 0..20 {
        first(10, 0, |success| adaptation.on_probe(Blame::Worker, success));
    }
    assert_eq!(adaptation.settings().breaker(Blame::Worker).first_open, Span::from_secs(30), "half of the first");
}

#[test]
fn a_step_that_does_clearly_better_changes_places_with_the_one_before_it() {
    use Strategy::{DelayedRetry, OtherWorker, ReducedBatch};
    let mut adaptation = adaptation();
    assert_eq!(first(5, 5, |success| adaptation.on_step(Ladder::Cpu, DelayedRetry, success)), None);
    assert_eq!(first(6, 4, |success| adaptation.on_step(Ladder::Cpu, OtherWorker, success)), None, "10 % isn't more");
    assert_eq!(first(10, 0, |success| adaptation.on_step(Ladder::Gpu, OtherWorker, success)), None, "another ladder");
    let adapted = first(1, 0, |success| adaptation.on_step(Ladder::Cpu, OtherWorker, success)).expect("7 of 11");
    assert_eq!(adapted.what, Adaptable::Order(Ladder::Cpu));
    assert_eq!(adapted.from, Setting::Order(Vec::from([DelayedRetry, OtherWorker, ReducedBatch])));
    assert_eq!(adapted.to, Setting::Order(Vec::from([OtherWorker, DelayedRetry, ReducedBatch])));
    let reason = "the later step does better: 7 of 11 succeeded, 5 of 10 succeeded of the earlier one";
    assert_eq!(adapted.reason.to_string(), reason);
    assert_eq!(adaptation.settings().order(Ladder::Cpu), [OtherWorker, DelayedRetry, ReducedBatch]);
    assert_eq!(adaptation.settings().order(Ladder::Gpu), Ladder::Gpu.steps());
    assert_eq!(
        first(1, 0, |success| adaptation.on_step(Ladder::Cpu, DelayedRetry, success)),
        None,
        "counts begin anew"
    );
}

#[test]
fn what_cannot_be_is_named() {
    type Change = fn(&mut AdaptationKnobs);
    let bounds = |change: fn(&mut BreakerBounds)| {
        let mut bounds = BreakerBounds::around(&BreakerKnobs::TYPE);
        change(&mut bounds);
        let settings = Settings::default();
        let knobs = AdaptationKnobs { bounds: [(Blame::Type, bounds)].into(), ..AdaptationKnobs::default() };
        knobs.validate(&settings).map_err(|(name, _)| name)
    };
    assert_eq!(bounds(|_| {}), Ok(()));
    assert_eq!(bounds(|bounds| bounds.threshold_min = 11), Err("bounds"));
    assert_eq!(bounds(|bounds| bounds.threshold_min = 0), Err("bounds"));
    assert_eq!(bounds(|bounds| bounds.first_open_max = Span::from_secs(299)), Err("bounds"));
    assert_eq!(bounds(|bounds| bounds.first_open_max = Span::from_secs(3_601)), Err("bounds"), "beyond max_open");
    let cases: [(Change, &str); 2] =
        [(|knobs| knobs.sample = 0, "sample"), (|knobs| knobs.poor = share(91, 100), "poor")];
    let settings = Settings::default();
    for (change, knob) in cases {
        let mut knobs = AdaptationKnobs::default();
        assert_eq!(knobs.validate(&settings), Ok(()));
        change(&mut knobs);
        assert_eq!(knobs.validate(&settings).map_err(|(name, _)| name), Err(knob));
    }
}

#[test]
fn what_an_earlier_life_adapted_is_taken_over_inside_the_bounds() {
    use Strategy::{DelayedRetry, OtherWorker, ReducedBatch};
    let order = |steps: &[Strategy]| Setting::Order(steps.to_vec());
    for (what, value, lawful) in [
        (Adaptable::Threshold(Blame::Worker), Setting::Count(3), true),
        (Adaptable::Threshold(Blame::Worker), Setting::Count(10), true),
        (Adaptable::Threshold(Blame::Worker), Setting::Count(2), false),
        (Adaptable::Threshold(Blame::Worker), Setting::Count(11), false),
        (Adaptable::Threshold(Blame::Worker), Setting::Length(Span::from_secs(60)), false),
        (Adaptable::FirstOpen(Blame::Worker), Setting::Length(Span::from_secs(120)), true),
        (Adaptable::FirstOpen(Blame::Worker), Setting::Length(Span::from_secs(121)), false),
        (Adaptable::Order(Ladder::Cpu), order(&[ReducedBatch, OtherWorker, DelayedRetry]), true),
        (Adaptable::Order(Ladder::Cpu), order(&[OtherWorker, OtherWorker, DelayedRetry]), false),
        (Adaptable::Order(Ladder::Cpu), order(&[OtherWorker, DelayedRetry]), false),
    ] {
        let mut adaptation = adaptation();
        let before = adaptation.settings().value(what);
        assert_eq!(adaptation.recall(what, &value), lawful, "{what:?} {value:?}");
        assert_eq!(adaptation.settings().value(what), if lawful { value } else { before });
    }
}

#[test]
fn what_is_no_step_of_a_ladder_says_nothing() {
    let mut adaptation = adaptation();
    let before = adaptation.clone();
    assert_eq!(adaptation.on_step(Ladder::OutOfMemory, Strategy::DelayedRetry, false), None);
    assert_eq!(adaptation, before);
}

proptest! {
    #[test]
    fn whatever_is_observed_settings_stay_inside_their_bounds_and_can_be_replayed(
        seen in prop::collection::vec((0..3u32, 0..3usize, 0..10usize, 0..8usize, any::<u8>()), 0..1_500),
        lean in any::<u8>(),
    ) {
        let mut adaptation = adaptation();
        let mut replayed = Settings::default();
        for (door, kind, ladder, strategy, luck) in seen {
            let (kind, ladder, success) = (Blame::ALL[kind], Ladder::ALL[ladder], luck < lean);
            let adapted = match door {
                0 => adaptation.on_result(kind, success),
                1 => adaptation.on_probe(kind, success),
                _ => adaptation.on_step(ladder, Strategy::ALL[strategy], strategy % 2 == 0),
            };
            if let Some(adapted) = adapted {
                prop_assert!(adapted.from != adapted.to);
                replayed.apply(&adapted);
            }
            prop_assert_eq!(&replayed, adaptation.settings());
            adaptation.assert_invariants();
        }
    }
}
