//! What of a scenario can't be expressed here. The list with its reasons is in `scenarios/README.md`.

use squall::scenario::Need;
use squall::{Action, InvalidKey, Scenario};
use squall_cluster::Cluster;

/// The most nodes: the coordinator has a port for each.
const NODES_MAX: usize = 4_096;
const ELSEWHERE: &str = "run it in the world";

/// Each key that can't be expressed, with the reason.
pub(crate) fn refuses(scenario: &Scenario<Cluster>) -> Vec<InvalidKey> {
    let mut refused = Vec::new();
    for (index, need) in scenario.needs.iter().enumerate() {
        let problem = match need {
            Need::ExactTime => "under the stack calls take microseconds that no file can foresee",
        };
        refused.push(InvalidKey::new(&["needs", &index.to_string()], problem).hint(ELSEWHERE));
    }
    if scenario.system.authority().is_of_peers() {
        let problem =
            "under the stack there are only clusters with a coordinator: the shell has no transport for peers yet";
        refused.push(InvalidKey::new(&["topology", "authority"], problem).hint(ELSEWHERE));
    }
    if scenario.system.tasks().is_some() {
        let problem = "under the stack there are no tasks: the shell has no calls for tasks yet";
        refused.push(InvalidKey::new(&["workload", "tasks"], problem).hint(ELSEWHERE));
    }
    if scenario.plan.nodes.len() > NODES_MAX {
        let problem =
            format!("under the stack there are at most {NODES_MAX} nodes: the coordinator has a port for each");
        refused.push(InvalidKey::new(&["topology"], problem).hint(ELSEWHERE));
    }
    for (index, fault) in scenario.plan.faults.iter().enumerate() {
        if matches!(fault.action, Action::Slow { .. }) {
            let index = index.to_string();
            let problem = "under the stack a process can be paused, but not slowed down: its steps take no time";
            refused.push(InvalidKey::new(&["fault", &index, "slow"], problem).hint(ELSEWHERE));
        }
    }
    refused
}
