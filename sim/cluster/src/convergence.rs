//! What is healed after the fault phase, and how long it may take until everything is well again.

use crate::checkers::peers::termination_bound;
use crate::{Cluster, NodeKind, Tasks};
use squall::{NodeId, NodeSet};
use squall_machine::{Random, Span};

/// The nodes to be healed: the coordinator, all subscribers, some worker, and enough training replicas that a quorum can
/// form of them alone: at least `min_replicas`, and more of them than of replicas that never ask.
///
/// Half of the runs heal every member, so that convergence of the whole is seen as often as that of a part.
///
/// Of peers, half of the runs heal all, and the others a random majority: whether a quorum is left among them is for the
/// checkers to see.
pub(crate) fn core(cluster: &Cluster, random: &mut Random) -> NodeSet {
    if cluster.authority().is_of_peers() {
        return core_of_peers(cluster.kinds.len(), random);
    }
    let all = |kind: NodeKind| -> Vec<NodeId> {
        (0u32..).map(NodeId).take(cluster.kinds.len()).filter(|&node| cluster.kind(node) == kind).collect()
    };
    let (mut training, mut idle): (Vec<_>, Vec<_>) =
        all(NodeKind::Replica).into_iter().partition(|&node| cluster.trains(node));
    let mut workers = all(NodeKind::Worker);
    let enough = (cluster.knobs().min_replicas as usize).max(1);
    if random.below(2) == 0 && training.len() >= enough {
        random.shuffle(&mut training);
        training.truncate(random.range(enough as u64, training.len() as u64) as usize);
        random.shuffle(&mut idle);
        idle.truncate(random.below(training.len() as u64) as usize);
        workers = match &cluster.work {
            // What waits may need any kind of hardware that there is.
            Some(work) => work.alike.iter().flat_map(|alike| some(alike.iter().collect(), random)).collect(),
            None => some(workers, random),
        };
    }
    let always = [NodeKind::Coordinator, NodeKind::Subscriber, NodeKind::Store, NodeKind::Client];
    let always = always.into_iter().flat_map(all);
    always.chain(training).chain(idle).chain(workers).collect()
}

/// At least one of these, if there are any.
fn some(mut nodes: Vec<NodeId>, random: &mut Random) -> Vec<NodeId> {
    random.shuffle(&mut nodes);
    nodes.truncate(random.range(1, (nodes.len() as u64).max(1)) as usize);
    nodes
}

/// How long convergence may take: 2 D + takeover + join_timeout + return spread + 2 ticks + 4 L by the catalogue, with D
/// the detection bound of the slowest kind of member.
///
/// The rest is slack for what the catalogue doesn't count: a core member may be in its longest step, or in a vote that
/// nobody completes, when the phase begins; its client may rest before it asks again; a subscriber speaks once per poll;
/// and whatever was lost just before is said again after `resend`, thrice until the coordinator counts as lost.
pub(crate) fn bound(cluster: &Cluster, delay: Span, sync: Span) -> Span {
    if cluster.authority().is_of_peers() {
        return bound_of_peers(cluster, delay);
    }
    let knobs = cluster.knobs();
    let timeout = if cluster.kinds.contains(&NodeKind::Worker) {
        knobs.replica_timeout.max(knobs.worker_timeout)
    } else {
        knobs.replica_timeout
    };
    let detection = timeout + knobs.grace + knobs.tick + delay + sync;
    let catalogue =
        detection * 2 + knobs.takeover + knobs.join_timeout + knobs.return_spread + knobs.tick * 2 + delay * 4;
    let workload = cluster.workload();
    let client = workload.step_longest() + knobs.vote_timeout + workload.retry.high + workload.patience.high;
    let speaking = knobs.poll * 2 + knobs.resend * 8 + sync * 8;
    // Clocks may be fast or slow by the drift that the leases allow for.
    let drift = (catalogue + client) / (1_000_000 / u64::from(knobs.drift_ppm_max.max(1)));
    catalogue + client + speaking + drift + cluster.tasks().map_or(Span::ZERO, |tasks| bound_of_tasks(cluster, tasks))
}

/// How long it may take until every open task has ended, with one worker for all of them, one after the other, and each of
/// them failing and losing its worker as often as it may. Breakers that open in between do so at their longest, once per
/// failure of one task; while they are, nothing runs, so the others wait for the same.
///
/// That is generous: a run ends when all have ended.
fn bound_of_tasks(cluster: &Cluster, tasks: &Tasks) -> Span {
    let knobs = cluster.scheduler_knobs();
    let retries = tasks.mix.iter().map(|mix| mix.max_retries.unwrap_or(knobs.max_retries)).max().unwrap_or(0);
    let attempts = u64::from(retries) + u64::from(knobs.max_losses) + 2;
    let limits = tasks.mix.iter().map(|mix| mix.run_limit.map_or(knobs.run_limit, |limit| limit.0));
    let limit = limits.max().unwrap_or(knobs.run_limit);
    let run = if tasks.hangs() { limit } else { limit.min(tasks.longest() * 2) } + knobs.beat;
    let breakers = [&knobs.worker_breaker, &knobs.class_breaker, &knobs.type_breaker];
    let open = breakers.into_iter().map(|breaker| breaker.max_open).max().unwrap_or(Span::ZERO);
    let wait = knobs.retry.cap * 2 + open + knobs.probe_max.max(run * 3) + cluster.knobs().worker_timeout;
    let clients = cluster.kinds.iter().filter(|kind| **kind == NodeKind::Client).count() as u64;
    let most = tasks.count.unwrap_or(u64::MAX).min(u64::from(tasks.open_max)) * clients;
    wait * attempts + run * attempts * most
}

fn core_of_peers(count: usize, random: &mut Random) -> NodeSet {
    let mut nodes: Vec<NodeId> = (0u32..).map(NodeId).take(count).collect();
    if random.below(2) == 0 {
        random.shuffle(&mut nodes);
        nodes.truncate(random.range(count as u64 / 2 + 1, count as u64) as usize);
    }
    nodes.into_iter().collect()
}

/// Twice the bound of termination: whoever is excluded on the way has to be admitted once more, and asks for it regularly.
fn bound_of_peers(cluster: &Cluster, delay: Span) -> Span {
    let knobs = cluster.peer_knobs();
    termination_bound(cluster, delay) * 2 + (knobs.join + knobs.joiner_ttl) * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, Topology, Workload};
    use squall::System;

    fn cluster(replicas: u32, min_replicas: u32, idle: &[&str]) -> Cluster {
        let topology = Topology { replicas, workers: 3, subscribers: 2, ..Topology::default() };
        let settings = Settings { min_replicas: Some(min_replicas), ..Settings::default() };
        let idle = idle.iter().map(|&name| name.to_owned()).collect();
        Cluster::new(topology, settings, Workload { idle, ..Workload::default() }).expect("a valid cluster")
    }

    #[test]
    fn a_quorum_can_form_of_every_core() {
        for (replicas, min_replicas, idle) in
            [(5, 1, &[][..]), (5, 3, &["r0", "r1"]), (5, 5, &[]), (4, 1, &["r0", "r1", "r3"])]
        {
            let cluster = cluster(replicas, min_replicas, idle);
            let mut sizes = std::collections::BTreeSet::new();
            for seed in 0..200 {
                let core = core(&cluster, &mut Random::new(seed, "core"));
                let count = |kind: NodeKind| core.iter().filter(|&node| cluster.kind(node) == kind).count();
                let training = core.iter().filter(|&node| cluster.trains(node)).count();
                assert_eq!((count(NodeKind::Coordinator), count(NodeKind::Subscriber)), (1, 2));
                assert!(count(NodeKind::Worker) >= 1);
                assert!(training >= min_replicas as usize);
                sizes.insert(core.len());
            }
            assert!(sizes.len() > 1, "both whole and partial cores are drawn");
        }
    }
}
