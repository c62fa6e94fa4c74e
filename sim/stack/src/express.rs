//! What of a scenario can't be expressed here. The list with its reasons is in `scenarios/README.md`.

use squall::{Action, InvalidKey, Scenario};
use squall_cluster::Cluster;

/// Each key that can't be expressed, with the reason.
pub(crate) fn refuses(scenario: &Scenario<Cluster>) -> Vec<InvalidKey> {
    let mut refused = Vec::new();
    for (index, fault) in scenario.plan.faults.iter().enumerate() {
        if matches!(fault.action, Action::Slow { .. }) {
            let index = index.to_string();
            let problem = "under the stack a process can be paused, but not slowed down: its steps take no time";
            refused.push(InvalidKey::new(&["fault", &index, "slow"], problem).hint("run it in the world"));
        }
    }
    refused
}
