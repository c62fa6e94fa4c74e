//! Bad input, of every kind: file, line, column, the line itself, a hint. And never a panic.

use crate::token::Ring;
use crate::{parsed, scenario};
use squall::Scenario;
use squall_machine::Random;
use std::fs;
use std::path::Path;

/// What each of these shows is kept as a snapshot.
const CASES: &[(&str, &str)] = &[
    ("empty", " \n"),
    ("no toml", "title = "),
    ("no title", "horizon = '1s'"),
    ("unknown key", "titel = 'x'"),
    ("unknown action", "title = 'x'\n[[fault]]\nat = '1s'\ncrsh = 'n1'"),
    ("unknown knob", "title = 'x'\n[knobs]\nremak = '1s'"),
    ("no unit", "title = 'x'\nhorizon = 60"),
    ("no unit as text", "title = 'x'\nhorizon = '60'"),
    ("strange unit", "title = 'x'\nhorizon = '6 parsecs'"),
    ("negative", "title = 'x'\nhorizon = '-6s'"),
    ("too long", "title = 'x'\nhorizon = '99999999999999999999s'"),
    ("much too long", "title = 'x'\nhorizon = '500y'\nwarm_up = '5000000h'"),
    ("a share as a number", "title = 'x'\nnetwork.loss = 0.3"),
    ("a share above one", "title = 'x'\nnetwork.loss = '130%'"),
    ("a delay without a shape", "title = 'x'\nnetwork.delay = { low = '1ms' }"),
    ("a heavy tail from nothing", "title = 'x'\nnetwork.delay = { heavy_tail = '0s..1s' }"),
    ("bandwidth of nothing", "title = 'x'\nnetwork.bandwidth = 0"),
    ("impossible system", "title = 'x'\n[topology]\nnodes = 1"),
    ("no trigger", "title = 'x'\n[[fault]]\ncrash = 'n1'"),
    ("no action", "title = 'x'\n[[fault]]\nat = '1s'"),
    ("two of each", "title = 'x'\n[[fault]]\nat = '1s'\nrate = '1s'\ncrash = 'n1'\npause = 'n2'"),
    ("too late", "title = 'x'\nhorizon = '5s'\n[[fault]]\nat = '1s..6s'\ncrash = 'n1'"),
    ("backwards", "title = 'x'\n[[fault]]\nevery = '1s'\nfrom = '6s'\nuntil = '5s'\ncrash = 'n1'"),
    ("from beside at", "title = 'x'\n[[fault]]\nat = '1s'\nfrom = '6s'\ncrash = 'n1'"),
    ("for ever at once", "title = 'x'\n[[fault]]\nrate = '0s'\ncrash = 'n1'"),
    ("not to be undone", "title = 'x'\n[[fault]]\nat = '1s'\nrestart = 'n1'\nfor = '2s'"),
    ("unknown node", "title = 'x'\n[[fault]]\nat = '1s'\ncut = { from = ['n0', 'n7'] }"),
    ("random side", "title = 'x'\n[[fault]]\nat = '1s'\ncut = { from = 'any', to = '2 of others' }"),
    ("too many", "title = 'x'\n[[fault]]\nat = '1s'\ncrash = '3 of others'"),
    ("unknown message", "title = 'x'\n[[fault]]\nat = '1s'\ndrop_next = { message = 'past' }"),
    ("unknown event", "title = 'x'\n[[fault]]\non = { event = 'hold' }\ncrash = 'n1'"),
    ("key of another trigger", "title = 'x'\n[[fault]]\non = { event = 'held', to = 'n1', nth = 0 }\ncrash = 'n1'"),
    ("nothing to wait for", "title = 'x'\n[[fault]]\non = { nth = 2 }\ncrash = 'n1'"),
    ("unknown request", "title = 'x'\n[[fault]]\nat = '1s'\nrequest = { node = 'n1', what = 'lok' }"),
    ("on two sides", "title = 'x'\n[[fault]]\nat = '1s'\npartition = [['n0', 'n1'], 'others']"),
    ("one side", "title = 'x'\n[[fault]]\nat = '1s'\npartition = [['n0', 'n1']]"),
    ("link to itself", "title = 'x'\n[[fault]]\nat = '1s'\nclog = { from = 'n0', to = 'n0' }"),
    ("nothing degrades", "title = 'x'\n[[fault]]\nat = '1s'\ndegrade = { from = 'n0' }"),
    ("how slow", "title = 'x'\n[[fault]]\nat = '1s'\nslow = 'n0'"),
    ("by how much", "title = 'x'\n[[fault]]\nat = '1s'\ndelay_next = { copies = 3 }"),
    ("no copies", "title = 'x'\n[[fault]]\nat = '1s'\nduplicate_next = { copies = 0, count = 0 }"),
    ("two clocks", "title = 'x'\n[[fault]]\nat = '1s'\nclock = { node = 'n0', freeze = true, step = '1s' }"),
    ("drift", "title = 'x'\n[[fault]]\nat = '1s'\nclock = { node = 'n0', drift_ppm = -2000000 }"),
    ("no disk", "title = 'x'\n[[fault]]\nat = '1s'\ndisk = { node = 'n0', full = false }"),
    ("disk without restart", "title = 'x'\n[[fault]]\nat = '1s'\ncrash = 'n0'\ndisk = 'wiped'"),
    ("unknown disk", "title = 'x'\n[[fault]]\nat = '1s'\nrestart = 'n0'\ndisk = 'new'"),
    ("taken name", "title = 'x'\n[groups]\nothers = ['n0']\nempty = []"),
    ("hazard", "title = 'x'\n[[hazard]]\ngroups = ['zone']\nmean = '0s'\nfactor = 0\ndown = '1s'"),
    ("limits", "title = 'x'\nseeds = 0\n[limits]\nsteps_max = 0"),
    ("guards", "title = 'x'\nguards = ['ME1', 'ME2']"),
    ("violates", "title = 'x'\n[expect]\nverdict = 'pass'\nviolates = 'ME'"),
    (
        "expected event",
        "title = 'x'\n[[expect.event]]\nname = 'hold'\n[[expect.event]]\nname = 'held'\nexactly = 1\nat_least = 2",
    ),
    ("expected too late", "title = 'x'\n[[expect.event]]\nname = 'held'\nuntil = '61s'"),
    ("expected a share", "title = 'x'\n[[expect.event]]\nname = 'held'\nwhere = { number = 0.5 }"),
    ("goodput of nothing", "title = 'x'\n[expect.goodput]\nevent = 'hold'\nat_least = '90%'"),
    ("no goodput", "title = 'x'\n[expect.goodput]\nevent = 'held'\nat = 'n9'\nat_least = '0%'"),
    ("more than all", "title = 'x'\n[expect.goodput]\nevent = 'held'\nat_least = '101%'"),
    ("seed", "title = 'x'\n[regress]\nseed = '0xq'"),
    ("twice", "title = 'x'\ntitle = 'y'"),
    ("deep", "title = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
];

#[test]
fn every_mistake_is_shown_where_it_is() {
    let mut shown = String::new();
    for (name, text) in CASES {
        let diagnosis = parsed(text).err().unwrap_or_else(|| panic!("{name}: this is no mistake"));
        shown.push_str(&format!("## {name}\n{diagnosis}\n\n"));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = std::env::temp_dir().join(format!("squall-files-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a writable folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("a writable folder");
        path
    };
    for (path, wanted) in [
        (folder.join("missing.toml"), "can't be read"),
        (folder.clone(), "is a folder"),
        (write("large.toml", &vec![b'#'; 2 << 20]), "1048576 at most"),
        (write("latin.toml", b"title = 'x'\n# caf\xe9"), "line 2 has a byte that can't be"),
        (write("nothing.toml", b""), "the file is empty"),
    ] {
        let diagnosis = Scenario::<Ring>::load(&path).expect_err("refused");
        assert!(diagnosis.to_string().contains(wanted), "{diagnosis}");
    }
    fs::remove_dir_all(&folder).expect("ours");
}

/// A file with most of the grammar in it.
const RICH: &str = include_str!("rich.toml");

#[test]
fn no_text_makes_the_reader_panic() {
    scenario(RICH);
    let mut random = Random::new(7, "mangle");
    let scraps = [
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ".",
        "..",
        "-",
        "0",
        "9999999999999999999999",
        "\n",
        "é",
        "\u{0}",
        "%",
    ];
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..3_000 {
        let mut text: Vec<char> = RICH.chars().collect();
        for _ in 0..=random.below(3) {
            let from = random.below(text.len() as u64) as usize;
            let until = (from + random.below(12) as usize).min(text.len());
            let scrap = random.pick(&scraps).copied().unwrap_or_default();
            text.splice(from..until, scrap.chars());
        }
        let text: String = text.into_iter().collect();
        match Scenario::<Ring>::parse(Path::new("mangled.toml"), &text) {
            Ok(_) => accepted += 1,
            Err(diagnosis) => {
                assert!(!diagnosis.render(true).is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 1_000 && accepted > 10, "{refused} refused, {accepted} accepted");
}
