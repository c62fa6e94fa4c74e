//! Who has been left in peace since when, by ground truth: bounds hold only where no fault touches.

use crate::Cluster;
use squall::{Action, DiskChange, DiskState, Entry, Fact, Interest, NodeId, Phase, Plan, Scene, Truth};
use squall_machine::{Ratio, Span, Time};

/// What troubles a node, and when something last did.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    down: bool,
    paused: bool,
    disk: bool,
    clock: bool,
    /// How long each of its steps takes.
    step: Span,
    last: Time,
}

/// Follows every fault of a run.
#[derive(Debug, Default)]
pub(super) struct Calm {
    nodes: Vec<Trouble>,
    /// How many link faults are in force; all of them count for all nodes.
    links: usize,
    links_last: Time,
}

impl Calm {
    /// What has to be shown to [`follow`](Self::follow).
    pub(super) fn interest(interest: &mut Interest<Cluster>) {
        interest.truth(&["phase", "up", "down", "pause", "resume", "slow", "link", "clock", "disk"]);
    }

    /// Since when the process at `node` runs undisturbed and every link is whole; `None` if that isn't so now.
    ///
    /// From stabilisation on this is only meant for nodes of the core: the others are isolated.
    pub(super) fn since(&self, node: NodeId) -> Option<Time> {
        let own = self.own_since(node)?;
        (self.links == 0).then_some(own.max(self.links_last))
    }

    /// Since when the process, the clock and the disk of `node` have been left in peace, whatever the links do; `None` if they
    /// are not now.
    pub(super) fn own_since(&self, node: NodeId) -> Option<Time> {
        let trouble = self.nodes.get(node.index())?;
        let troubled = trouble.down || trouble.paused || trouble.step > Span::ZERO || trouble.disk || trouble.clock;
        (!troubled).then_some(trouble.last)
    }

    /// Since when both ends of a member's conversation with the coordinator have been left in peace.
    pub(super) fn pair_since(&self, node: NodeId, scene: &Scene<'_, Cluster>) -> Option<Time> {
        if scene.phase >= Phase::Stabilisation && !scene.core.contains(node) {
            return None;
        }
        Some(self.since(node)?.max(self.since(scene.system.coordinator())?))
    }

    /// Whether the process at `node` runs at full speed, whatever the links and disks do.
    pub(super) fn runs(&self, node: NodeId) -> bool {
        self.nodes
            .get(node.index())
            .is_some_and(|trouble| !(trouble.down || trouble.paused || trouble.step > Span::ZERO))
    }

    /// When something last happened to the process, the clock or the disk of `node`; later than now while the last step of
    /// a slow process is in progress.
    pub(super) fn last(&self, node: NodeId) -> Time {
        self.nodes.get(node.index()).map_or(Time::ZERO, |trouble| trouble.last)
    }

    /// Takes in an entry of truth.
    pub(super) fn follow(&mut self, entry: &Entry<'_, Cluster>, scene: &Scene<'_, Cluster>) {
        let Fact::Truth(truth) = entry.fact else { return };
        if self.nodes.len() < scene.nodes.len() {
            let silent =
                Trouble { down: true, paused: false, disk: false, clock: false, step: Span::ZERO, last: Time::ZERO };
            self.nodes.resize(scene.nodes.len(), silent);
        }
        let trouble = &mut self.nodes[entry.node.index()];
        match truth {
            Truth::Up { .. } => (trouble.down, trouble.paused) = (false, false),
            Truth::Down { .. } => (trouble.down, trouble.paused) = (true, false),
            Truth::Pause => trouble.paused = true,
            Truth::Resume => trouble.paused = false,
            Truth::Slow { step } => {
                // The step in progress takes as long as it was to take.
                trouble.last = trouble.last.max(entry.at + trouble.step);
                trouble.step = *step;
            }
            Truth::Clock { frozen, .. } => trouble.clock = *frozen,
            Truth::Disk { state } => trouble.disk = *state != DiskState::Working,
            Truth::Link { fault, begins } => return self.follow_link(*fault, *begins, entry.at, scene.plan),
            Truth::Phase { phase: Phase::Stabilisation, .. } => {
                (self.links, self.links_last) = (0, entry.at);
                return;
            }
            Truth::Phase { .. } | Truth::Request { .. } => return,
        }
        trouble.last = trouble.last.max(entry.at);
    }

    fn follow_link(&mut self, fault: u32, begins: bool, at: Time, plan: &Plan) {
        self.links_last = at;
        let heals = plan.faults.get(fault as usize).is_some_and(|fault| matches!(fault.action, Action::Heal(_)));
        match begins {
            true if heals => {}
            true => self.links += 1,
            false => self.links = self.links.saturating_sub(1),
        }
    }
}

/// The longest that a message takes if it isn't lost, where no fault touches; `None` if it can be lost without one.
pub(super) fn delay_max(plan: &Plan) -> Option<Span> {
    let network = &plan.network;
    let certain = network.loss == Ratio::ZERO && network.corrupt == Ratio::ZERO && network.bandwidth.is_none();
    let singled = plan.faults.iter().any(|fault| matches!(fault.action, Action::Next { .. }));
    // A message that is held back waits for up to ten further delays.
    let times = if network.reorder == Ratio::ZERO { 1 } else { 11 };
    (certain && !singled).then(|| network.delay.longest() * times)
}

/// The longest that any disk of the run takes for a sync while it works.
pub(super) fn sync_max(plan: &Plan) -> Span {
    let changed = plan.faults.iter().filter_map(|fault| match &fault.action {
        Action::Disk { change: DiskChange::Sync { max, .. }, .. } => Some(*max),
        _ => None,
    });
    changed.fold(plan.disk.sync_max, Span::max)
}
