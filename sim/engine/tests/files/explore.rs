//! The explorer reaches every state once, by a shortest path, whatever the number of threads.

use super::token::Ring;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall::explore::{End, ExploreOptions, Explored, explore};
use squall::scenario::Duration;
use squall::{Breach, Checker, InvalidKey, Layout, Ledger, NodeId, NodeSet, NodeState, Scenario, Start, System, Told};
use squall_machine::{Effects, Input, Machine, Random, Span, Time, kinds};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// One node sends, another one receives.
#[derive(Debug)]
struct Toy {
    table: Table,
}

/// What they do.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// How many different messages are sent at the start.
    messages: u32,
    /// Whether the receiver remembers in which order they came.
    ordered: bool,
    /// Whether it records each.
    records: bool,
    /// When it wakes once.
    alarm: Option<Duration>,
    /// After how many it panics.
    panics_at: Option<usize>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Node {
    sends: u32,
    ordered: bool,
    records: bool,
    alarm: Option<Time>,
    panics_at: Option<usize>,
    taken: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
enum Message {
    Number(u32),
}

kinds!(Message { number => Number(..) });

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Took { number: u32 },
    Found { records: usize },
}

kinds!(Event { took => Took { .. }, found => Found { .. } });

impl Machine for Node {
    type Message = Message;
    type Request = ();
    type Reply = ();
    type Record = u32;
    type Snapshot = ();
    type Event = Event;

    fn step(&mut self, now: Time, input: Input<Self>, effects: &mut Effects<Self>) {
        match input {
            Input::Boot(durable) => {
                (0..self.sends).for_each(|number| effects.send(NodeId(1).address(0), Message::Number(number)));
                if !durable.records.is_empty() {
                    effects.event(Event::Found { records: durable.records.len() });
                }
            }
            Input::Receive { message: Message::Number(number), .. } => {
                self.taken.push(number);
                if !self.ordered {
                    self.taken.sort_unstable();
                    self.taken.dedup();
                }
                if self.records {
                    effects.record(number);
                    effects.event(Event::Took { number });
                }
            }
            Input::Request(()) => {}
            Input::Wake => self.alarm = self.alarm.filter(|alarm| *alarm > now),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.alarm
    }

    fn snapshot(&self) {}

    fn assert_invariants(&self) {
        assert!(self.panics_at != Some(self.taken.len()), "that many can't be");
    }
}

/// What was told to be durable is found by the next life.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Promised {
    took: usize,
}

impl Ledger<Toy> for Promised {
    fn judge(&mut self, _: &Toy, _: NodeId, told: &Told<'_, Toy>) -> Result<(), Breach> {
        match told {
            Told::Event(Event::Took { .. }) => self.took += 1,
            Told::Event(Event::Found { records }) if *records < self.took => {
                return Err(Breach::of("TOY", format!("{} were told, {records} are found", self.took)));
            }
            Told::Event(Event::Found { .. }) | Told::Up { .. } | Told::Down => {}
        }
        Ok(())
    }
}

impl System for Toy {
    type Node = Node;
    type View = ();
    type Ledger = Promised;
    type Topology = Table;
    type Knobs = Nothing;
    type Workload = Nothing;

    const NAME: &'static str = "toy";
    const REQUESTS: &'static [&'static str] = &[];
    const PROPERTIES: &'static [&'static str] = &["TOY"];

    fn new(table: Table, _: Nothing, _: Nothing) -> Result<Self, InvalidKey> {
        Ok(Self { table })
    }

    fn layout(&self) -> Layout {
        Layout { nodes: vec!["a".to_owned(), "b".to_owned()], groups: BTreeMap::new() }
    }

    fn boot(&self, start: &Start) -> Node {
        let (table, receives) = (self.table.clone(), start.node == NodeId(1));
        Node {
            sends: if receives { 0 } else { table.messages },
            ordered: table.ordered,
            records: table.records,
            alarm: table.alarm.filter(|_| receives).map(|alarm| Time::ZERO + alarm.0),
            panics_at: table.panics_at,
            taken: Vec::new(),
        }
    }

    fn request(&self, _: NodeId, _: &str) -> Option<()> {
        None
    }

    fn view(&self, _: &Node, _: Time) {}

    fn checkers(&self) -> Vec<Box<dyn Checker<Self>>> {
        Vec::new()
    }

    fn core(&self, nodes: &[NodeState], _: &mut Random) -> NodeSet {
        NodeSet::first(nodes.len())
    }

    fn liveness_bound(&self, _: Span, _: Span) -> Span {
        Span::from_secs(1)
    }
}

fn explored<S: System>(text: &str, jobs: usize) -> Explored {
    let scenario = Scenario::<S>::parse(Path::new("scenarios/test/case.toml"), &format!("title = \"t\"\n{text}"));
    let scenario = scenario.unwrap_or_else(|diagnosis| panic!("{diagnosis}"));
    let stop = AtomicBool::new(false);
    explore(&scenario, &ExploreOptions { jobs, seed: 0, stop: &stop }, |_, _| {}).expect("an explorable file")
}

/// How many states and moves, and how deep; everything has to hold.
fn counts(text: &str) -> (u64, u64, u32) {
    let explored = explored::<Toy>(text, 1);
    assert_eq!(explored.end, End::Complete, "{text}");
    (explored.states, explored.moves, explored.depth)
}

#[test]
fn every_order_of_arrivals_is_reached_and_equal_states_are_one() {
    // Each subset of five messages, and each missing one of it as a move.
    assert_eq!(counts("topology = { messages = 5 }\nexplore = {}"), (32, 80, 5));
    // Each ordered choice of up to four: 1 + 4 + 12 + 24 + 24; every one but the first is reached by one move.
    assert_eq!(counts("topology = { messages = 4, ordered = true }\nexplore = {}"), (65, 64, 4));
    assert_eq!(counts("topology = { messages = 4, ordered = true }\nexplore = { depth = 2 }"), (17, 16, 2));
}

#[test]
fn one_copy_arrives_once_more() {
    // Three messages. Nothing doubled: 8. One of those taken is still on its way: 3 * 4. That copy has come, too: 7.
    let (states, _, depth) = counts("topology = { messages = 3 }\nexplore = { duplicates = 1 }");
    assert_eq!((states, depth), (8 + 12 + 7, 4));
}

#[test]
fn time_passes_before_or_after_an_arrival_unless_it_is_bounded() {
    let alarm = "topology = { messages = 1, alarm = \"1s\" }\n";
    // Taken or not, times woken or not.
    assert_eq!(counts(&format!("{alarm}explore = {{ wakes = 1 }}")), (4, 4, 2));
    assert_eq!(counts(&format!("{alarm}explore = {{ time = \"999ms\" }}")), (2, 1, 1));
    // It arrives or is lost, and then the clock goes on.
    let bounded = format!("{alarm}explore = {{ wakes = 1, delay = \"10ms\", losses = 1 }}");
    assert_eq!(counts(&bounded), (5, 4, 2));
    assert_eq!(counts(&format!("{alarm}explore = {{ wakes = 1, delay = \"10ms\" }}")), (3, 2, 2));
}

#[test]
fn a_process_dies_with_and_without_what_it_had_not_synced() {
    let file = "topology = { messages = 1, records = true }\nbudget = { spared = \"a\" }\n";
    // On its way; written; synced; dead without the record; dead with it, told or not.
    assert_eq!(counts(&format!("{file}explore = {{ crashes = 1 }}")), (6, 6, 3));
    // Without crashes nobody can tell when a disk is done.
    assert_eq!(counts(&format!("{file}explore = {{}}")), (2, 1, 1));
    // Back again, it finds at least what was told.
    let (states, ..) = counts(&format!("{file}explore = {{ crashes = 1, restarts = 1 }}"));
    assert!(states > 6, "{states}");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    for text in [
        "topology = { messages = 7, ordered = true }\nexplore = {}",
        "topology = { messages = 3, records = true }\nexplore = { crashes = 1, restarts = 1, duplicates = 1 }",
        "topology = { messages = 7, ordered = true, panics_at = 6 }\nexplore = {}",
    ] {
        let seen = |jobs| {
            let Explored { end, states, moves, depth, .. } = explored::<Toy>(text, jobs);
            (end, states, moves, depth)
        };
        let one = seen(1);
        assert_eq!(one, seen(2), "{text}");
        assert_eq!(one, seen(5), "{text}");
        assert!(one.1 > 1_000, "{text}: {} states", one.1);
    }
}

#[test]
fn a_panic_is_a_violation_and_is_told_with_what_led_to_it() {
    let explored = explored::<Toy>("topology = { messages = 3, ordered = true, panics_at = 2 }\nexplore = {}", 1);
    let End::Violated(found) = explored.end else { panic!("{explored:?}") };
    assert_eq!((found.breach.property, found.moves), ("RB1", 2));
    assert!(found.breach.message.contains("that many can't be"), "{}", found.breach.message);
    assert!(found.trace.last().is_some_and(|line| line.contains("number <- a")), "{:#?}", found.trace);
}

#[test]
fn a_limit_of_memory_or_states_is_inconclusive() {
    let many = "topology = { messages = 7, ordered = true }\n";
    for limit in ["memory = \"100KiB\"", "states = 100"] {
        let explored = explored::<Toy>(&format!("{many}explore = {{ {limit} }}"), 2);
        assert!(matches!(explored.end, End::Limit(_)), "{limit}: {:?}", explored.end);
        assert!((1..13_700).contains(&explored.states), "{limit}: {}", explored.states);
    }
    assert_eq!(counts(&format!("{many}explore = {{}}")).0, 13_700);
}

#[test]
fn whoever_interrupts_gets_what_was_found_so_far() {
    let text = "title = \"t\"\ntopology = { messages = 3 }\nexplore = {}";
    let scenario = Scenario::<Toy>::parse(Path::new("case.toml"), text).expect("a right file");
    let stop = AtomicBool::new(true);
    let explored = explore(&scenario, &ExploreOptions { jobs: 1, seed: 0, stop: &stop }, |_, _| {});
    let explored = explored.expect("an explorable file");
    assert_eq!((explored.end, explored.states), (End::Interrupted, 1));
}

const HASTY: &str = "topology.nodes = 2\nknobs.remake = \"100ms\"\n";

#[test]
fn a_planted_bug_is_found_by_a_shortest_path() {
    // The first node passes the token and loses patience as soon as the second one holds it.
    let explored = explored::<Ring>(&format!("{HASTY}explore = {{ wakes = 5, crashes = 1 }}"), 1);
    let End::Violated(found) = explored.end else { panic!("{explored:?}") };
    assert_eq!((found.breach.property, found.moves), ("ME1", 3));
    insta::assert_snapshot!(found.trace.join("\n"));
    assert_eq!(found.entries.len(), found.trace.len());
}

#[test]
fn the_same_ring_without_haste_holds() {
    let explored = explored::<Ring>("topology.nodes = 3\nexplore = { wakes = 9, crashes = 1, duplicates = 2 }", 2);
    assert_eq!(explored.end, End::Complete);
    assert!(explored.states > 50, "{}", explored.states);
}

#[test]
fn what_can_not_be_explored_says_why() {
    let refused = |text: &str| {
        let scenario = Scenario::<Ring>::parse(Path::new("case.toml"), &format!("title = \"t\"\n{text}"));
        let stop = AtomicBool::new(false);
        let options = ExploreOptions { jobs: 1, seed: 0, stop: &stop };
        match scenario {
            Err(diagnosis) => diagnosis.to_string(),
            Ok(scenario) => explore(&scenario, &options, |_, _| {}).expect_err("refused").to_string(),
        }
    };
    for (text, part) in [
        ("", "no bounds"),
        ("explore = {}\nfault = [{ at = \"1s\", crash = \"n0\" }]", "at none that is scripted"),
        ("explore = {}\ntopology.nodes = 65", "65 nodes are too many"),
        ("explore = { losses = 1 }", "covers every loss"),
        ("explore = { memory = \"0B\" }", "a limit of 0"),
        ("explore = { memory = \"1MB\" }", "no amount of memory"),
        ("explore = { crash = 1 }", "unknown"),
    ] {
        let told = refused(text);
        assert!(told.contains(part), "{text}: {told}");
    }
}
