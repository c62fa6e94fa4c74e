//! Who asks, who works, and who doesn't have to, as the replicas tell it.

use super::{Event, event};
use crate::workload::Shrink;
use crate::{Cluster, NodeKind};
use squall::scenario::Share;
use squall::{Entry, Fact, Interest, NodeId, Phase, Scene, Truth};
use squall_machine::Time;
use std::collections::BTreeMap;

/// Where one replica stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replica {
    /// Since when it waits for a quorum.
    pub(super) asking: Option<Time>,
    /// Whether it works in a formation.
    pub(super) active: bool,
    /// When it last received a quorum.
    pub(super) received: Option<Time>,
    /// Its process has left or was superseded.
    pub(super) stopped: bool,
    /// It was told to train no more, or to train though it would not by itself.
    pub(super) trains: Option<bool>,
}

/// Where all replicas stand.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    replicas: BTreeMap<NodeId, Replica>,
    /// When the faults ended.
    pub(super) healed: Option<Time>,
    /// When liveness began to be judged.
    pub(super) judged: Option<Time>,
}

impl Waiters {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["phase", "up", "down", "request"]);
        interest.events(&["asked", "received", "active", "inactive", "gave_up", "stopped", "rank_answered"]);
    }

    /// Whether bounds on waiting mean something with this workload: `shrink_only` keeps others out for as long as somebody
    /// asks it, and a client that gives up begins anew.
    pub(super) fn judges(scene: &Scene<'_, Cluster>) -> bool {
        let workload = scene.system.workload();
        workload.shrink_only == Shrink::Share(Share::default())
            && workload.withdraw == Share::default()
            && workload.rank_disagreement == Share::default()
    }

    /// Where a replica stands.
    pub(super) fn of(&self, node: NodeId) -> Replica {
        self.replicas.get(&node).copied().unwrap_or_default()
    }

    /// The replicas of the core whose processes are there to ask.
    pub(super) fn core<'a>(&'a self, scene: &'a Scene<'_, Cluster>) -> impl Iterator<Item = (NodeId, Replica)> + 'a {
        let replicas = scene.core.iter().filter(|&node| scene.system.kind(node) == NodeKind::Replica);
        replicas.map(|node| (node, self.of(node))).filter(|(_, replica)| !replica.stopped)
    }

    /// Whether a replica asks for quorums again and again.
    pub(super) fn trains(node: NodeId, replica: Replica, scene: &Scene<'_, Cluster>) -> bool {
        scene.system.workload().steps_max.is_none() && replica.trains.unwrap_or_else(|| scene.system.trains(node))
    }

    /// Whether the liveness phase has lasted as long as it may.
    pub(super) fn over(&self, scene: &Scene<'_, Cluster>) -> bool {
        let bound =
            crate::convergence::bound(scene.system, scene.plan.network.delay.longest(), scene.plan.disk.sync_max);
        self.judged.is_some_and(|judged| scene.now.since(judged) >= bound)
    }

    /// Takes an entry in.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>) {
        if let Fact::Truth(Truth::Phase { phase, .. }) = entry.fact {
            match phase {
                Phase::WarmUp | Phase::Faults => {}
                Phase::Stabilisation => self.healed = Some(entry.at),
                Phase::Liveness => self.judged = Some(entry.at),
            }
            return;
        }
        let replica = self.replicas.entry(entry.node).or_default();
        if let Fact::Truth(truth) = entry.fact {
            match truth {
                Truth::Up { .. } | Truth::Down { .. } => *replica = Replica::default(),
                Truth::Request { name: "rest" } => replica.trains = Some(false),
                Truth::Request { name: "train" } => replica.trains = Some(true),
                Truth::Request { name: "drain" | "leave" } => replica.stopped = true,
                _ => {}
            }
            return;
        }
        match event(entry) {
            Some((_, Event::Asked { .. })) => {
                replica.asking.get_or_insert(entry.at);
            }
            Some((_, Event::Received { .. })) => replica.received = Some(entry.at),
            Some((_, Event::Active { .. })) => (replica.active, replica.asking) = (true, None),
            Some((_, Event::Inactive { .. })) => replica.active = false,
            Some((_, Event::GaveUp { .. } | Event::RankAnswered { .. })) => replica.asking = None,
            Some((_, Event::Stopped { .. })) => replica.stopped = true,
            _ => {}
        }
    }
}
