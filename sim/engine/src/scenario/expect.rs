//! What a scenario file expects to see in the history, as a checker.

use crate::scenario::diagnosis::Keys;
use crate::scenario::field::{Fields, field_text, untagged};
use crate::scenario::file::{ExpectEventTable, PhaseWord};
use crate::scenario::lower::kind_index;
use crate::scenario::nodes::Names;
use crate::{
    Checker, Entry, EntryId, EventOf, Fact, Findings, Interest, InvalidKey, NodeSet, Phase, Scene, System, Truth,
};
use squall_machine::{Kind, Span, Time};
use std::collections::BTreeSet;

/// The id of what a scenario file expects, as a property.
pub const EXPECT: &str = "EXPECT";
/// The id under which a run is reported that no longer reaches the marks of a bug's file.
pub const STALE: &str = "STALE";

/// How much of an event is shown as an example.
const EXAMPLE_CHARS_MAX: usize = 400;
/// How many entries a violation names as evidence.
const EVIDENCE_MAX: usize = 8;

/// One expectation, with every name resolved.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    property: &'static str,
    kind: usize,
    name: &'static str,
    at: NodeSet,
    fields: Fields,
    at_least: u64,
    at_most: Option<u64>,
    from: Span,
    until: Option<Span>,
    after: Option<usize>,
    before: Option<usize>,
    whole_run: bool,
}

impl Expectation {
    /// The expectation of a table.
    pub(crate) fn lower<S: System>(
        table: &ExpectEventTable,
        names: &Names<'_>,
        horizon: Span,
        keys: &Keys,
    ) -> Result<Self, InvalidKey> {
        let kind_of = |name: &str, key: &str| kind_index("event", name, EventOf::<S>::NAMES, &keys.key(key));
        let other = |name: &Option<String>, key: &str| name.as_ref().map(|name| kind_of(name, key)).transpose();
        let kind = kind_of(&table.name, "name")?;
        let at = match &table.at {
            Some(nodes) => names.set(nodes, &keys.key("at"))?,
            None => names.everybody(),
        };
        let (at_least, at_most) = match (table.exactly, table.at_least, table.at_most) {
            (Some(exactly), None, None) => (exactly, Some(exactly)),
            (Some(_), ..) => return Err(keys.key("exactly").invalid("`exactly` stands alone")),
            (None, None, None) => (1, None),
            (None, at_least, at_most) => (at_least.unwrap_or(0), at_most),
        };
        if at_most.is_some_and(|at_most| at_most < at_least) {
            return Err(keys.key("at_most").invalid(format!("fewer than `at_least`, {at_least}")));
        }
        let whole_run = table.phase == Some(PhaseWord::Any);
        let (from, until) = (table.from.map_or(Span::ZERO, |from| from.0), table.until.map(|until| until.0));
        for (key, moment) in [("from", Some(from)), ("until", until)] {
            if !whole_run && moment.is_some_and(|moment| moment > horizon) {
                let problem = format!("this is after the horizon, {horizon}");
                return Err(keys.key(key).invalid(problem).hint("set a longer `horizon`, or `phase = \"any\"`"));
            }
        }
        if until.is_some_and(|until| until < from) {
            return Err(keys.key("until").invalid(format!("comes before `from`, {from}")));
        }
        Ok(Self {
            property: EXPECT,
            kind,
            name: EventOf::<S>::NAMES[kind],
            at,
            fields: table.fields.clone().unwrap_or_default(),
            at_least,
            at_most,
            from,
            until,
            after: other(&table.after, "after")?,
            before: other(&table.before, "before")?,
            whole_run,
        })
    }

    /// The expectation that a mark of a bug's file is reached.
    pub(crate) fn mark<S: System>(name: &str, names: &Names<'_>, keys: &Keys) -> Result<Self, InvalidKey> {
        let kind = kind_index("event", name, EventOf::<S>::NAMES, keys)?;
        Ok(Self {
            property: STALE,
            kind,
            name: EventOf::<S>::NAMES[kind],
            at: names.everybody(),
            fields: Fields::default(),
            at_least: 1,
            at_most: None,
            from: Span::ZERO,
            until: None,
            after: None,
            before: None,
            whole_run: true,
        })
    }

    /// A fresh checker for one run.
    pub(crate) fn checker<S: System>(&self) -> Box<dyn Checker<S>> {
        Box::new(Watcher { expected: self.clone(), state: State::default() })
    }

    fn wanted(&self) -> String {
        let count = match (self.at_least, self.at_most) {
            (least, Some(most)) if least == most => format!("exactly {least}"),
            (0, Some(most)) => format!("at most {most}"),
            (least, Some(most)) => format!("{least} to {most}"),
            (least, None) => format!("at least {least}"),
        };
        let mut text = format!("expected {count} `{}`", self.name);
        for (path, value) in &self.fields.0 {
            text.push_str(&format!(" {path}={value}"));
        }
        if self.from > Span::ZERO {
            text.push_str(&format!(" from {}", self.from));
        }
        if let Some(until) = self.until {
            text.push_str(&format!(" until {until}"));
        }
        text
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct State {
    count: u64,
    seen: Vec<EntryId>,
    /// Events of the kind that were shown but didn't have the fields.
    unlike: u64,
    /// The fields of one of them, for a hint.
    example: Option<String>,
    /// Which of the wanted fields any event of the kind had, whatever its value.
    known: BTreeSet<String>,
    started: bool,
    ended: bool,
    judged: bool,
}

#[derive(Debug)]
struct Watcher {
    expected: Expectation,
    state: State,
}

impl Watcher {
    fn on_event<S: System>(&mut self, entry: &Entry<'_, S>, event: &EventOf<S>, findings: &mut Findings) {
        let (expected, kind) = (&self.expected, event.kind());
        let counts = kind == expected.kind
            && !self.state.ended
            && (expected.after.is_none() || self.state.started)
            && expected.at.contains(entry.node)
            && entry.at >= Time::ZERO + expected.from
            && expected.until.is_none_or(|until| entry.at <= Time::ZERO + until);
        if counts && self.fits(event) {
            self.state.count += 1;
            if self.state.seen.len() < EVIDENCE_MAX {
                self.state.seen.push(entry.id);
            }
            let expected = &self.expected;
            if expected.at_most == Some(self.state.count - 1) {
                let message = format!("{}, this is one more", expected.wanted());
                // The first few, and the one too many.
                let before = self.state.seen.iter().copied().filter(|seen| *seen != entry.id);
                let evidence = before.chain([entry.id]);
                findings.violated(expected.property, entry.at, evidence, message);
            }
        }
        self.state.started |= self.expected.after == Some(kind);
        self.state.ended |= self.expected.before == Some(kind);
    }

    fn fits<E: serde::Serialize>(&mut self, event: &E) -> bool {
        if self.expected.fields.0.is_empty() {
            return true;
        }
        let Ok(json) = serde_json::to_value(event) else { return false };
        for path in self.expected.fields.0.keys() {
            if !self.state.known.contains(path) && field_text(&json, path).is_some() {
                self.state.known.insert(path.clone());
            }
        }
        let fits = self.expected.fields.shown_by(&json);
        if !fits {
            self.state.unlike += 1;
            self.state.example.get_or_insert_with(|| untagged(&json).to_string());
        }
        fits
    }

    fn judge_end(&mut self, now: Time, findings: &mut Findings) {
        if std::mem::replace(&mut self.state.judged, true) {
            return;
        }
        self.state.ended = true;
        let (expected, state) = (&self.expected, &self.state);
        if state.count >= expected.at_least {
            return;
        }
        let mut message = format!("{}, saw {}", expected.wanted(), state.count);
        if let Some(example) = &state.example {
            let unknown = expected.fields.0.keys().find(|path| !state.known.contains(*path));
            message.push_str(&match unknown {
                Some(path) => format!("; none of {} others has a field `{path}`, the first: ", state.unlike),
                None => format!("; {} others had other values, the first: ", state.unlike),
            });
            message.extend(example.chars().take(EXAMPLE_CHARS_MAX));
        }
        findings.violated(expected.property, now, state.seen.iter().copied(), message);
    }
}

impl<S: System> Checker<S> for Watcher {
    fn property(&self) -> &'static str {
        self.expected.property
    }

    fn interest(&self, interest: &mut Interest<S>) {
        interest.truth(&["phase"]);
        let kinds = [Some(self.expected.kind), self.expected.after, self.expected.before];
        for kind in kinds.into_iter().flatten() {
            interest.events(&[EventOf::<S>::NAMES[kind]]);
        }
    }

    fn on_entry(&mut self, entry: &Entry<'_, S>, _: &Scene<'_, S>, findings: &mut Findings) {
        match &entry.fact {
            Fact::Event { event, .. } => self.on_event(entry, event, findings),
            Fact::Truth(Truth::Phase { phase: Phase::Stabilisation, .. }) if !self.expected.whole_run => {
                self.judge_end(entry.at, findings);
            }
            Fact::Truth(_) | Fact::Sent { .. } | Fact::Delivered { .. } | Fact::Dropped { .. } => {}
        }
    }

    fn on_end(&mut self, scene: &Scene<'_, S>, findings: &mut Findings) {
        // A run that ended early shows nothing about what would have come.
        let cut_short = scene.phase < Phase::Stabilisation && scene.now < Time::ZERO + scene.plan.horizon;
        if !cut_short {
            self.judge_end(scene.now, findings);
        }
    }

    fn settled(&self, _: &Scene<'_, S>) -> bool {
        !self.expected.whole_run || self.state.count >= self.expected.at_least
    }
}
