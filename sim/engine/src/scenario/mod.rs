//! Scenario files: what happens to a system, and what must hold. `scenarios/README.md` is their grammar on one page.

mod diagnosis;
mod expect;
mod fault;
mod field;
mod file;
mod goodput;
mod judge;
mod lower;
mod nodes;
mod values;

pub use diagnosis::Diagnosis;
pub use expect::{EXPECT, STALE};
pub(crate) use field::untagged;
pub use field::{Fields, field_text};
pub use file::{
    BudgetTable, ClockTable, ClocksTable, DegradeTable, DelayTable, DelayValue, DiskFaultTable, DiskTable, DiskValue,
    ExpectEventTable, ExpectGoodputTable, ExpectTable, ExploreTable, FaultTable, File, HazardTable, LimitsTable,
    LinksTable, MomentWord, Need, NextTable, OnTable, PhaseWord, QualityTable, RegressTable, RequestTable, VerdictWord,
};
pub use judge::Status;
pub use nodes::Nodes;
pub use values::{Duration, Durations, Memory, Seed, Share, Shift};

use crate::explore::Bounds;
use crate::{Engine, Fingerprint, Outcome, Plan, RunOptions, System, Verdict};
use diagnosis::{Keys, suggestion};
use expect::Expectation;
use goodput::Bar;
use nodes::Names;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::de::DeTable;
use xxhash_rust::xxh3::xxh3_128;

/// The largest scenario file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How many seeds a sweep takes unless the file or the user says so.
const SEEDS: u64 = 20;
/// The properties that the engine itself judges.
pub const ENGINE_PROPERTIES: [&str; 6] = ["LV5", "HN1", "RB1", "DT1", "DT2", EXPECT];

/// The tables of a system's scenario file, as they are written.
pub type FileOf<S> = File<<S as System>::Topology, <S as System>::Knobs, <S as System>::Workload>;

/// A scenario: a system and what happens to it, ready to run with any seed.
#[derive(Debug)]
pub struct Scenario<S: System> {
    /// Its name: the path of its file below the folder `scenarios`, without the extension.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// What it is about, in a few words.
    pub title: String,
    /// The ids of the properties that it was written for.
    pub guards: Vec<String>,
    /// How many seeds a sweep takes unless it is told.
    pub seeds: u64,
    /// What it needs of its engine.
    pub needs: Vec<Need>,
    /// The system.
    pub system: S,
    /// What happens to it.
    pub plan: Plan,
    /// How far an exhaustive search of it goes; `None`: the file says nothing of one.
    pub explore: Option<Bounds>,
    /// The property that some seed must violate; `None`: everything must hold.
    pub violates: Option<&'static str>,
    /// Which bug it reproduces.
    pub regress: Option<RegressTable>,
    /// The faults of the plan that a sweep must see strike at least once, by index: rates and periods that may not miss.
    pub must_strike: Vec<usize>,
    /// A hash of the text of the file.
    pub digest: Fingerprint,
    /// What drives its runs: the world, unless it was put on another engine.
    pub engine: Engine<S>,
    expectations: Vec<Expectation>,
    goodput: Option<Bar>,
}

impl<S: System> Scenario<S> {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Diagnosis> {
        Self::parse(path, &read(path)?)
    }

    /// Reads a scenario from the text of its file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnosis> {
        let of_toml = |error: toml::de::Error| Diagnosis::of_toml(path, text, &error);
        let of_keys = |invalid| Diagnosis::of_keys(path, text, invalid);
        if text.trim().is_empty() {
            let hint = "a scenario starts with `title = \"..\"`";
            return Err(Diagnosis::of_file(path, "the file is empty", Some(hint)));
        }
        let tree = DeTable::parse(text).map_err(of_toml)?;
        let file: FileOf<S> = serde::Deserialize::deserialize(toml::de::Deserializer::from(tree)).map_err(of_toml)?;
        Self::build(path, text, file).map_err(of_keys)
    }

    fn build(path: &Path, text: &str, mut file: FileOf<S>) -> Result<Self, Vec<crate::InvalidKey>> {
        let (topology, knobs, workload) =
            (std::mem::take(&mut file.topology), std::mem::take(&mut file.knobs), std::mem::take(&mut file.workload));
        let system = S::new(topology, knobs, workload).map_err(|invalid| vec![invalid])?;
        let lowered = lower::lower::<S>(&file, system.layout());
        let (plan, explore, mut problems) = (lowered.plan, lowered.explore, lowered.problems);
        let names = Names { nodes: &plan.nodes, groups: &plan.groups };
        let mut expectations = Vec::new();
        let root = Keys::root();
        for (index, table) in file.expect.event.iter().enumerate() {
            let keys = root.key("expect").key("event").at(index);
            match Expectation::lower::<S>(table, &names, plan.horizon, &keys) {
                Ok(expectation) => expectations.push(expectation),
                Err(invalid) => problems.push(invalid),
            }
        }
        let bar = file.expect.goodput.as_ref();
        let bar = bar.map(|table| Bar::lower::<S>(table, &names, &plan, &root.key("expect").key("goodput")));
        let goodput = bar.transpose().unwrap_or_else(|invalid| {
            problems.push(invalid);
            None
        });
        for (index, mark) in file.regress.iter().flat_map(|regress| &regress.marks).enumerate() {
            match Expectation::mark::<S>(mark, &names, &root.key("regress").key("marks").at(index)) {
                Ok(expectation) => expectations.push(expectation),
                Err(invalid) => problems.push(invalid),
            }
        }
        for (index, guard) in file.guards.iter().enumerate() {
            problems.extend(property::<S>(guard, &root.key("guards").at(index)).err());
        }
        let violates = file.expect.violates.as_ref().map(|id| property::<S>(id, &root.key("expect").key("violates")));
        if violates.is_some() && file.expect.verdict.is_some() {
            problems.push(root.key("expect").key("verdict").invalid("`verdict` and `violates` exclude each other"));
        }
        let violates = violates.transpose().unwrap_or_else(|invalid| {
            problems.push(invalid);
            None
        });
        if file.title.trim().is_empty() {
            problems.push(root.key("title").invalid("a title says what the scenario is about"));
        }
        if file.seeds == Some(0) {
            problems.push(root.key("seeds").invalid("a sweep over no seeds shows nothing").hint("1 or more"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let generated = file.fault.iter().enumerate().filter(|(_, fault)| fault.every.or(fault.rate).is_some());
        Ok(Self {
            name: name_of(path),
            path: path.to_owned(),
            title: file.title,
            guards: file.guards,
            seeds: file.seeds.map_or(SEEDS, u64::from),
            needs: file.needs,
            must_strike: generated.filter(|(_, fault)| fault.may_miss != Some(true)).map(|(index, _)| index).collect(),
            system,
            plan,
            explore,
            violates,
            regress: file.regress,
            digest: Fingerprint(xxh3_128(text.as_bytes())),
            engine: Engine::world(),
            expectations,
            goodput,
        })
    }

    /// The same scenario with its runs driven by another engine.
    ///
    /// # Errors
    /// Everything in it that the engine can't express.
    pub fn on(mut self, engine: Engine<S>) -> Result<Self, Diagnosis> {
        let refused = (engine.refuses)(&self);
        self.engine = engine;
        if refused.is_empty() {
            return Ok(self);
        }
        let text = read(&self.path).unwrap_or_default();
        Err(Diagnosis::of_keys(&self.path, &text, refused))
    }

    /// The nodes that a selector names.
    ///
    /// # Errors
    /// If it names nobody, or somebody at random.
    pub fn nodes(&self, nodes: &Nodes) -> Result<crate::NodeSet, crate::InvalidKey> {
        Names { nodes: &self.plan.nodes, groups: &self.plan.groups }.set(nodes, &Keys::root())
    }

    /// Runs it with a seed; what the file expects is checked as well. Where it asks for a goodput, a run that passed is
    /// followed by one of the same seed without faults, once for each seed.
    #[must_use]
    pub fn run<'a>(&'a self, seed: u64, mut options: RunOptions<'a, S>) -> Outcome {
        options.extra.extend(self.expectations.iter().map(Expectation::checker));
        let Some(bar) = self.goodput.as_ref().filter(|_| options.checkers) else {
            return (self.engine.play)(&self.system, &self.plan, seed, options);
        };
        let (counter, done) = bar.counter();
        options.extra.push(counter);
        let calm = RunOptions { stop: options.stop, ..RunOptions::default() };
        let mut outcome = (self.engine.play)(&self.system, &self.plan, seed, options);
        if outcome.verdict == Verdict::Pass {
            bar.judge((&self.engine, &self.system), done.get(), &mut outcome, calm);
        }
        outcome
    }
}

/// The id of a property that is judged.
fn property<S: System>(id: &str, keys: &Keys) -> Result<&'static str, crate::InvalidKey> {
    let known = || S::PROPERTIES.iter().copied().chain(ENGINE_PROPERTIES);
    known().find(|known| *known == id).ok_or_else(|| crate::InvalidKey {
        hint: suggestion(id, known()),
        ..keys.invalid(format!("no property is called `{id}`"))
    })
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Diagnosis> {
    let broken = |text: String| Diagnosis::of_file(path, text, None);
    let unreadable = |error: std::io::Error| broken(format!("can't be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(broken("is a folder, not a scenario file".to_owned()));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let text = format!("has {} bytes; a scenario file has {FILE_BYTES_MAX} at most", metadata.len());
        return Err(broken(text));
    }
    let (mut bytes, file) = (Vec::new(), fs::File::open(path).map_err(unreadable)?);
    // Pipes and devices don't tell their size beforehand.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(broken(format!("has more than {FILE_BYTES_MAX} bytes, the most a scenario file has")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        broken(format!("is not UTF-8 text: line {line} has a byte that can't be"))
    })
}

/// What a scenario is called: its path below the nearest folder `scenarios`, without the extension.
fn name_of(path: &Path) -> String {
    let plain = path.with_extension("");
    let parts: Vec<String> = plain.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let start = parts.iter().rposition(|part| part == "scenarios").map_or(0, |index| index + 1);
    let below = parts.get(start..).filter(|below| !below.is_empty()).unwrap_or(&parts);
    below.iter().filter(|part| *part != "." && *part != "/").cloned().collect::<Vec<_>>().join("/")
}

/// The JSON Schema (draft 7) of a system's scenario files.
#[must_use]
pub fn schema<S: System>() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<FileOf<S>>()
}
