use super::*;
use BreakerCause::{Elapsed, ProbeFailed, ProbesSucceeded, Reset, Threshold};
use Settlement::{Failure, Released, Success};
use proptest::prelude::*;

/// Opens after 2 failures for 10, 20, 40, 45 s; 2 successes close it; one probe.
const KNOBS: BreakerKnobs = BreakerKnobs {
    threshold: 2,
    first_open: Span::from_secs(10),
    max_open: Span::from_secs(45),
    successes_to_close: 2,
    ..BreakerKnobs::WORKER
};

fn secs(secs: u64) -> Span {
    Span::from_secs(secs)
}

/// One attempt from start to end.
fn attempt(breaker: &mut Breaker, at: u64, number: u64, settlement: Settlement) -> Option<BreakerChange> {
    let generation = breaker.take(AttemptId(number), secs(at + 60));
    breaker.settle(secs(at), AttemptId(number), generation, settlement)
}

/// A breaker that opened at `at`.
fn opened(at: u64) -> Breaker {
    let mut breaker = Breaker::new(KNOBS);
    assert_eq!(attempt(&mut breaker, at, 1, Failure), None);
    assert!(attempt(&mut breaker, at, 2, Failure).is_some());
    breaker
}

#[test]
fn failures_in_a_row_open_it_also_at_time_zero() {
    let mut breaker = Breaker::new(KNOBS);
    assert_eq!((breaker.health(), breaker.permits(), breaker.deadline()), (100, true, None));
    assert_eq!(attempt(&mut breaker, 0, 1, Failure), None);
    assert_eq!(breaker.health(), 90);
    assert_eq!(attempt(&mut breaker, 0, 2, Success), None, "starts the count anew");
    assert_eq!(attempt(&mut breaker, 0, 3, Failure), None);
    assert_eq!(attempt(&mut breaker, 0, 4, Released), None, "says nothing");
    let until = BreakerStage::Open { until: secs(10) };
    let change = BreakerChange {
        from: BreakerStage::Closed,
        to: until,
        generation: Generation(1),
        times_opened: 1,
        cause: Threshold,
    };
    assert_eq!(attempt(&mut breaker, 0, 5, Failure), Some(change));
    assert_eq!((breaker.permits(), breaker.deadline(), breaker.health()), (false, Some(secs(10)), 18));
    assert_eq!(breaker.on_due(Span::from_nanos(secs(10).as_nanos() - 1)), BreakerDue::default());
    let change = breaker.on_due(secs(10)).change.expect("it is time");
    assert_eq!((change.from, change.to, change.cause), (until, BreakerStage::HalfOpen, Elapsed));
}

#[test]
fn probes_close_it_one_after_the_other() {
    let mut breaker = opened(0);
    breaker.on_due(secs(10));
    assert_eq!((breaker.health(), breaker.deadline()), (40, None));
    let generation = breaker.take(AttemptId(3), secs(70));
    assert!(!breaker.permits(), "one probe at a time");
    assert_eq!(breaker.settle(secs(11), AttemptId(3), generation, Success), None);
    assert_eq!((breaker.permits(), breaker.health()), (true, 50), "after a success the next may go");
    let change = attempt(&mut breaker, 12, 4, Success).expect("two successes");
    assert_eq!((change.to, change.cause, change.generation), (BreakerStage::Closed, ProbesSucceeded, Generation(3)));
    assert_eq!((change.times_opened, breaker.health()), (0, 100));
    assert_eq!(attempt(&mut breaker, 13, 5, Failure), None, "counts begin anew");
}

#[test]
fn any_failed_probe_reopens_it_for_longer_until_a_close() {
    let mut breaker = opened(0);
    let mut at = 0;
    for (n, open) in [(1, 10), (2, 20), (3, 40), (4, 45), (5, 45)] {
        assert_eq!((breaker.times_opened(), breaker.deadline()), (n, Some(secs(at + open))));
        assert_eq!(breaker.health(), 20 - 2 * n);
        at += open;
        assert!(breaker.on_due(secs(at)).change.is_some());
        assert_eq!(attempt(&mut breaker, at, u64::from(n) * 10, Success), None);
        let change = attempt(&mut breaker, at, u64::from(n) * 10 + 1, Failure).expect("it failed");
        assert_eq!((change.from, change.cause), (BreakerStage::HalfOpen, ProbeFailed));
    }
    breaker.on_due(secs(at + 45));
    attempt(&mut breaker, at + 45, 90, Success);
    attempt(&mut breaker, at + 45, 91, Success);
    attempt(&mut breaker, at + 45, 92, Failure);
    let change = attempt(&mut breaker, at + 45, 93, Failure).expect("it opens again");
    assert_eq!((change.times_opened, change.to), (1, BreakerStage::Open { until: secs(at + 55) }));
}

#[test]
fn a_result_of_an_older_generation_counts_nothing() {
    let mut breaker = Breaker::new(KNOBS);
    let slow = breaker.take(AttemptId(1), secs(60));
    attempt(&mut breaker, 0, 2, Failure);
    attempt(&mut breaker, 0, 3, Failure);
    breaker.on_due(secs(10));
    breaker.take(AttemptId(4), secs(70));
    let before = breaker.clone();
    for settlement in [Success, Failure, Released] {
        assert_eq!(breaker.settle(secs(11), AttemptId(1), slow, settlement), None);
        assert_eq!(breaker, before, "it neither frees the probe's permit nor counts");
    }
}

#[test]
fn a_probe_that_outlives_its_permit_makes_room_and_counts_nothing() {
    let mut breaker = opened(0);
    breaker.on_due(secs(10));
    let generation = breaker.take(AttemptId(3), secs(70));
    assert_eq!(breaker.deadline(), Some(secs(70)));
    assert_eq!(breaker.on_due(secs(69)), BreakerDue::default());
    assert_eq!(breaker.on_due(secs(70)).expired, [AttemptId(3)]);
    assert_eq!((breaker.permits(), breaker.deadline()), (true, None));
    assert_eq!(breaker.settle(secs(71), AttemptId(3), generation, Failure), None);
    assert_eq!(breaker.stage(), BreakerStage::HalfOpen);
    breaker.take(AttemptId(4), secs(131));
    assert_eq!(breaker.settle(secs(72), AttemptId(4), generation, Released), None);
    assert!(breaker.permits(), "a released probe makes room");
}

#[test]
fn a_reset_closes_whatever_it_was() {
    for make in [
        || Breaker::new(KNOBS),
        || opened(0),
        || {
            let mut breaker = opened(0);
            breaker.on_due(secs(10));
            breaker
        },
    ] {
        let mut breaker = make();
        let (from, generation) = (breaker.stage(), breaker.generation());
        let to = BreakerStage::Closed;
        let expected = BreakerChange { from, to, generation: generation.next(), times_opened: 0, cause: Reset };
        assert_eq!(breaker.reset(), expected);
        breaker.assert_invariants();
    }
}

#[test]
fn a_restored_breaker_goes_on_where_its_last_change_left_it() {
    let mut breaker = opened(3);
    let mut restored = Breaker::restored(KNOBS, breaker.stage(), breaker.generation(), breaker.times_opened());
    assert_eq!(restored, breaker, "an open one has no counts to lose");
    breaker.on_due(secs(13));
    restored.on_due(secs(13));
    let generation = restored.take(AttemptId(3), secs(73));
    let again = Breaker::restored(KNOBS, restored.stage(), restored.generation(), restored.times_opened());
    assert_eq!(again, breaker, "probes are taken again by whoever knows of them");
    let mut again = again;
    assert_eq!(again.take(AttemptId(3), secs(73)), generation);
    assert_eq!(again, restored);
}

#[test]
#[should_panic(expected = "a permit is taken only where one is given")]
fn nothing_is_taken_from_an_open_breaker() {
    opened(0).take(AttemptId(9), secs(60));
}

/// A permit that was taken and not settled, as its holder sees it.
struct Held {
    attempt: AttemptId,
    generation: Generation,
    expires: Span,
    expired: bool,
}

/// The breaker as the specification tells it, from a list of what counted since the last change.
struct Model {
    stage: BreakerStage,
    counted: Vec<Settlement>,
    generation: u64,
    opened: u32,
}

impl Model {
    fn change(&mut self, stage: BreakerStage) {
        (self.stage, self.generation) = (stage, self.generation + 1);
        self.counted.clear();
    }

    fn open(&mut self, at: Span) {
        self.opened += 1;
        let seconds = (10 * 2u64.pow(self.opened.min(20) - 1)).min(45);
        self.change(BreakerStage::Open { until: at + secs(seconds) });
    }

    fn close(&mut self) {
        self.opened = 0;
        self.change(BreakerStage::Closed);
    }

    fn count(&mut self, at: Span, settlement: Settlement) {
        self.counted.push(settlement);
        let told = || self.counted.iter().filter(|settlement| **settlement != Released);
        match self.stage {
            BreakerStage::Closed => {
                let row = told().rev().take_while(|settlement| **settlement == Failure).count();
                if row == 2 {
                    self.open(at);
                }
            }
            BreakerStage::HalfOpen if told().any(|settlement| *settlement == Failure) => self.open(at),
            BreakerStage::HalfOpen if told().count() == 2 => self.close(),
            BreakerStage::HalfOpen | BreakerStage::Open { .. } => {}
        }
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(
        probes in 1..4u32,
        deeds in prop::collection::vec((0..8u32, 0..15u64, 0..3usize, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut breaker = Breaker::new(BreakerKnobs { probes, ..KNOBS });
        let mut model = Model { stage: BreakerStage::Closed, counted: Vec::new(), generation: 0, opened: 0 };
        let mut held: Vec<Held> = Vec::new();
        let mut at = Span::ZERO;
        for (number, (deed, gap, settlement, which)) in deeds.into_iter().enumerate() {
            at += secs(gap);
            let due = breaker.on_due(at);
            let half_open = model.stage == BreakerStage::HalfOpen;
            if matches!(model.stage, BreakerStage::Open { until } if until <= at) {
                model.change(BreakerStage::HalfOpen);
            }
            let current = |held: &Held| held.generation.0 == model.generation;
            let overdue = |held: &&Held| half_open && current(held) && !held.expired && held.expires <= at;
            let expired: Vec<AttemptId> = held.iter().filter(overdue).map(|held| held.attempt).collect();
            prop_assert_eq!(&due.expired, &expired);
            prop_assert_eq!(due.change.is_some(), breaker.stage() == BreakerStage::HalfOpen && !half_open);
            let live = held.iter().filter(|held| current(held) && !held.expired && held.expires > at).count();
            let permits = match model.stage {
                BreakerStage::Closed => true,
                BreakerStage::Open { .. } => false,
                BreakerStage::HalfOpen => live < probes as usize,
            };
            prop_assert_eq!(breaker.permits(), permits);
            held.iter_mut().for_each(|held| held.expired |= expired.contains(&held.attempt));
            match deed {
                0..4 if permits => {
                    let (attempt, expires) = (AttemptId(number as u64), at + secs(5));
                    let generation = breaker.take(attempt, expires);
                    held.push(Held { attempt, generation, expires, expired: false });
                }
                4..8 if !held.is_empty() => {
                    let held = held.remove(which.index(held.len()));
                    let settlement = [Success, Failure, Released][settlement];
                    let change = breaker.settle(at, held.attempt, held.generation, settlement);
                    let before = model.generation;
                    // One that expired still reports, some day, and counts nothing.
                    if held.generation.0 == model.generation && !held.expired {
                        model.count(at, settlement);
                    }
                    prop_assert_eq!(change.map(|change| change.generation.0), (model.generation != before).then_some(model.generation));
                }
                _ => {}
            }
            prop_assert_eq!(
                (breaker.stage(), breaker.generation().0, breaker.times_opened()),
                (model.stage, model.generation, model.opened)
            );
            breaker.assert_invariants();
        }
    }
}
