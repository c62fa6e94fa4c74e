//! The session of the README, run as it is written there.

use std::path::Path;

#[test]
fn the_readme_tells_the_truth() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).expect("the root of the project");
    let cases = trycmd::TestCases::new();
    cases.register_bin("squall", Path::new(env!("CARGO_BIN_EXE_squall")));
    cases.case("README.md");
}
