//! How much gets done in spite of all faults: what a scenario file expects beside the same seed without them.

use crate::outcome::Goodput;
use crate::scenario::diagnosis::Keys;
use crate::scenario::expect::EXPECT;
use crate::scenario::field::Fields;
use crate::scenario::file::ExpectGoodputTable;
use crate::scenario::lower::kind_index;
use crate::scenario::nodes::Names;
use crate::{
    Checker, Engine, Entry, EventOf, Fact, Findings, Interest, InvalidKey, NodeSet, Outcome, Phase, Plan, RunOptions,
    Scene, System, Verdict, Violation,
};
use squall_machine::{Kind, Ratio, Time};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

/// Of how many seeds the figure without faults is remembered: a failing seed is run several times, and its calm one once.
const CALM_KEPT: usize = 256;

/// What a piece of work is, and how much of it has to get done, with every name resolved.
#[derive(Debug)]
pub(crate) struct Bar {
    kind: usize,
    at: NodeSet,
    fields: Fields,
    at_least: Ratio,
    /// The same plan without its faults and hazards.
    calm: Plan,
    /// What got done without faults, by seed.
    known: Mutex<BTreeMap<u64, u64>>,
}

impl Bar {
    /// The bar of a table.
    pub(crate) fn lower<S: System>(
        table: &ExpectGoodputTable,
        names: &Names<'_>,
        plan: &Plan,
        keys: &Keys,
    ) -> Result<Self, InvalidKey> {
        let at_least = table.at_least.ratio();
        if at_least.is_zero() {
            return Err(keys.key("at_least").invalid("any run reaches that").hint("a share such as \"90%\""));
        }
        Ok(Self {
            kind: kind_index("event", &table.event, EventOf::<S>::NAMES, &keys.key("event"))?,
            at: match &table.at {
                Some(nodes) => names.set(nodes, &keys.key("at"))?,
                None => names.everybody(),
            },
            fields: table.fields.clone().unwrap_or_default(),
            at_least,
            calm: Plan { faults: Vec::new(), hazards: Vec::new(), stabilise: false, ..plan.clone() },
            known: Mutex::default(),
        })
    }

    /// Counts the work that gets done up to the horizon.
    pub(crate) fn counter<S: System>(&self) -> (Box<dyn Checker<S>>, Rc<Cell<u64>>) {
        let done = Rc::new(Cell::new(0));
        let (kind, at, fields) = (self.kind, self.at.clone(), self.fields.clone());
        (Box::new(Counter { kind, at, fields, done: done.clone() }), done)
    }

    /// Holds what got done in a run that passed against the same seed without faults.
    pub(crate) fn judge<'a, S: System>(
        &'a self,
        (engine, system): (&Engine<S>, &'a S),
        done: u64,
        outcome: &mut Outcome,
        options: RunOptions<'a, S>,
    ) {
        let calm = match self.calm(engine, system, outcome.seed, options) {
            Ok(calm) => calm,
            Err(why) => {
                outcome.verdict = Verdict::Inconclusive;
                outcome.remark = Some(format!("the same seed without faults: {why}"));
                return;
            }
        };
        let goodput = Goodput { done, calm };
        outcome.goodput = Some(goodput);
        let (part, whole) = (u128::from(self.at_least.numerator()), u128::from(self.at_least.denominator()));
        let reached = calm > 0 && u128::from(done) * whole >= u128::from(calm) * part;
        if !reached {
            let name = EventOf::<S>::NAMES[self.kind];
            let message = if calm == 0 {
                format!("not even without faults is there a `{name}` that counts")
            } else {
                format!("expected a goodput of at least {part}/{whole}, got {goodput}, counted by `{name}`")
            };
            outcome.verdict = Verdict::Violated;
            outcome.violations.push(Violation {
                property: EXPECT,
                at: Time::ZERO + self.calm.horizon,
                message,
                evidence: Vec::new(),
            });
        }
    }

    /// What gets done without faults; why that can't be said.
    fn calm<'a, S: System>(
        &'a self,
        engine: &Engine<S>,
        system: &'a S,
        seed: u64,
        options: RunOptions<'a, S>,
    ) -> Result<u64, String> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&calm) = known().get(&seed) {
            return Ok(calm);
        }
        let (counter, done) = self.counter();
        let options = RunOptions { checkers: false, extra: vec![counter], watch: None, ..options };
        let outcome = (engine.play)(system, &self.calm, seed, options);
        if outcome.verdict != Verdict::Pass {
            let violation = outcome.violations.into_iter().next().map(|violation| violation.message);
            return Err(outcome.remark.or(violation).unwrap_or_else(|| outcome.verdict.name().to_owned()));
        }
        let mut known = known();
        known.insert(seed, done.get());
        if known.len() > CALM_KEPT {
            known.pop_first();
        }
        Ok(done.get())
    }
}

struct Counter {
    kind: usize,
    at: NodeSet,
    fields: Fields,
    done: Rc<Cell<u64>>,
}

impl<S: System> Checker<S> for Counter {
    fn property(&self) -> &'static str {
        EXPECT
    }

    fn interest(&self, interest: &mut Interest<S>) {
        interest.events(&[EventOf::<S>::NAMES[self.kind]]);
    }

    fn on_entry(&mut self, entry: &Entry<'_, S>, scene: &Scene<'_, S>, _: &mut Findings) {
        if let Fact::Event { event, .. } = &entry.fact
            && event.kind() == self.kind
            && scene.phase < Phase::Stabilisation
            && self.at.contains(entry.node)
            && (self.fields.0.is_empty() || serde_json::to_value(event).is_ok_and(|json| self.fields.shown_by(&json)))
        {
            self.done.set(self.done.get() + 1);
        }
    }
}
