//! What recovery costs in the quiet case, in time and in messages: one crash, no other fault, equal delays.

use squall::{Fact, RunOptions, Scenario};
use squall_cluster::{Cluster, Event, Message};
use squall_machine::{Kind, Span, Time};
use squall_node::{PeerNodeEvent, PeerNodeMessage};
use squall_recovery::Event as Recovery;
use std::collections::BTreeMap;
use std::path::Path;

/// One way, every way: so all that a thousand ranks say at once arrives at once.
const DELAY: Span = Span::from_millis(10);
/// How many seeds are looked at.
const SEEDS: u64 = 5;

fn scenario(ranks: u32) -> Scenario<Cluster> {
    let text = format!(
        r#"
title     = "one of {ranks} dies"
horizon   = "14s"
stabilise = false
[topology]
authority = "peers"
replicas  = {ranks}
[network]
delay = "{DELAY}..{DELAY}"
[workload]
step = "60s..60s"
[limits]
steps_per_instant_max = 4000000
[[fault]]
at    = "5s"
crash = "r{}"
"#,
        ranks / 2 + 1
    );
    Scenario::parse(Path::new("recovery.toml"), &text).expect("a valid file")
}

/// What a run showed.
#[derive(Default)]
struct Seen {
    /// When the last survivor began to suspect, before the first of them installed.
    suspected: Time,
    /// When the last survivor installed, and how many did.
    installed: Time,
    installs: u32,
    /// How many messages of each kind were sent; of pings and their answers, those between 1 s and 4 s.
    sent: BTreeMap<&'static str, u64>,
}

fn see(ranks: u32, seed: u64) -> Seen {
    let scenario = scenario(ranks);
    let mut seen = Seen::default();
    let calm = Time::ZERO + Span::from_secs(1)..Time::ZERO + Span::from_secs(4);
    let mut watch = |entry: &squall::Entry<'_, Cluster>, _: &squall::Scene<'_, Cluster>| match &entry.fact {
        Fact::Event { event: Event::Peer(PeerNodeEvent::Recovery(event)), .. } => match event {
            Recovery::Suspected { .. } if seen.installs == 0 => seen.suspected = entry.at,
            Recovery::Installed { group, .. } if group.generation.0 == 2 => {
                seen.installed = entry.at;
                seen.installs += 1;
            }
            _ => {}
        },
        Fact::Sent { message: Message::Peer(PeerNodeMessage::Recovery(message)), .. } => {
            let watching = matches!(message.kind_name(), "ping" | "pong");
            if !watching || calm.contains(&entry.at) {
                *seen.sent.entry(message.kind_name()).or_default() += 1;
            }
        }
        _ => {}
    };
    let outcome = scenario.run(seed, RunOptions { watch: Some(&mut watch), ..RunOptions::default() });
    assert!(outcome.violations.is_empty(), "{ranks} ranks, seed {seed}: {:?}", outcome.violations);
    assert_eq!(seen.installs, ranks - 1, "{ranks} ranks, seed {seed}: not all installed");
    seen
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is read for")]
#[test]
fn one_crash_is_installed_within_three_round_trips_after_the_last_suspicion() {
    for seed in 0..SEEDS {
        let seen = see(64, seed);
        let took = seen.installed.since(seen.suspected);
        assert!(took <= DELAY * 6, "seed {seed}: installed {took} after the last suspicion");
        println!("64 ranks, seed {seed}: installed everywhere {took} after the last suspicion");
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is read for")]
#[expect(clippy::disallowed_methods, reason = "a larger test, for whoever asks for it")]
#[test]
fn messages_per_member_do_not_grow_with_the_group() {
    // A thousand ranks take a while: `SQUALL_RANKS=1024` adds them.
    let more = std::env::var("SQUALL_RANKS").ok();
    let more = more.map(|ranks| ranks.parse::<u32>().expect("SQUALL_RANKS is a number"));
    let mut rows = Vec::new();
    for ranks in [8, 64, 256].into_iter().chain(more) {
        let seen = see(ranks, 0);
        let sum = |kinds: &[&str]| -> u64 { kinds.iter().filter_map(|kind| seen.sent.get(kind)).sum() };
        let watch = sum(&["ping", "pong"]) * 1_000 / u64::from(ranks);
        let agreement: u64 =
            sum(&["appeal", "collect", "promise", "outbid", "propose", "accept", "decision", "catch_up"]);
        let agreement = agreement * 1_000 / u64::from(ranks);
        println!(
            "{ranks} ranks: {watch} thousandths of a watch message, {agreement} of agreement per member: {:?}",
            seen.sent
        );
        rows.push((ranks, watch, agreement));
    }
    let [(_, watch, agreement), .., (_, watch_most, agreement_most)] = rows[..] else {
        panic!("several sizes are measured");
    };
    assert!(watch_most * 10 <= watch * 11, "watching grows with the group: {rows:?}");
    assert!(agreement_most <= agreement * 2, "agreement per member grows with the group: {rows:?}");
}
