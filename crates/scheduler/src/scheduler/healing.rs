//! Self-healing: what attempts came to is observed where they end, and each change of a setting is recorded and told.

use super::{Out, Scheduler};
use crate::{
    Adaptable, AdaptationReason, Adapted, AdaptedState, Blame, BreakerKey, BreakerKnobs, Climb, Event, Ladder, Record,
    Strategy,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use squall_machine::Text;

impl Scheduler {
    /// The settings of a breaker that are in force.
    pub(super) fn breaker_knobs(&self, key: &BreakerKey) -> BreakerKnobs {
        match &self.adaptation {
            Some(adaptation) => *adaptation.settings().breaker(key.kind()),
            None => *self.knobs.breaker(key),
        }
    }

    /// The order of a ladder that is in force, if it isn't the specification's.
    pub(super) fn changed_order(&self, ladder: Ladder) -> Option<Arc<[Strategy]>> {
        self.adaptation.as_ref().and_then(|adaptation| adaptation.settings().changed_order(ladder))
    }

    /// A permit was settled, and that said something about its breaker.
    pub(super) fn observe_result(&mut self, kind: Blame, probe: bool, success: bool, effects: &mut Out) {
        let Some(adaptation) = &mut self.adaptation else { return };
        let adapted = if probe { adaptation.on_probe(kind, success) } else { adaptation.on_result(kind, success) };
        if let Some(change) = adapted {
            self.adapted(change, effects);
        }
    }

    /// Where a task stands on its ladder; `None` also if nobody observes.
    pub(super) fn observed_climb(&self, id: &Text) -> Option<Arc<Climb>> {
        self.adaptation.as_ref().and_then(|_| self.durable.tasks[id].climb.clone())
    }

    /// An attempt of a task succeeded or failed; `climb`: the step that it followed.
    pub(super) fn observe_step(&mut self, climb: Option<Arc<Climb>>, success: bool, effects: &mut Out) {
        let (Some(adaptation), Some(climb)) = (&mut self.adaptation, climb) else { return };
        if let Some(change) = adaptation.on_step(climb.ladder, climb.strategy, success) {
            self.adapted(change, effects);
        }
    }

    /// A setting has just changed: recorded, told, and breakers go by it from now on.
    fn adapted(&mut self, change: Adapted, effects: &mut Out) {
        match change.what {
            Adaptable::Threshold(kind) | Adaptable::FirstOpen(kind) => {
                let adaptation = self.adaptation.as_ref().expect("what adapts is on");
                let knobs = *adaptation.settings().breaker(kind);
                let of_kind = self.breakers.iter_mut().filter(|(key, _)| key.kind() == kind);
                of_kind.for_each(|(_, breaker)| breaker.adjust(knobs));
            }
            // Tasks that climb keep the order they began with.
            Adaptable::Order(_) => {}
        }
        self.tell_adapted(change, effects);
    }

    fn tell_adapted(&mut self, change: Adapted, effects: &mut Out) {
        let number = self.durable.adapted.get(&change.what).map_or(0, |state| state.changes) + 1;
        let change = Box::new(change);
        self.commit(Record::Adapted { change: change.clone(), number }, effects);
        effects.event(Event::Adapted { change, number });
    }

    /// Takes over what earlier lives adapted. What can't be under the configuration of this one is as configured again.
    pub(super) fn restore_settings(&mut self, effects: &mut Out) {
        let configured = self.knobs.adaptable();
        for (what, AdaptedState { value, .. }) in self.durable.adapted.clone() {
            let lawful = self.adaptation.as_mut().is_some_and(|adaptation| adaptation.recall(what, &value));
            if !lawful {
                let (to, reason) = (configured.value(what), AdaptationReason::Reconfigured);
                self.tell_adapted(Adapted { what, from: value, to, reason }, effects);
            }
        }
    }
}
