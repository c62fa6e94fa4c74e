//! The `[topology]` of a scenario file: who is there, and who shares a zone or a rack.

use crate::NodeKind;
use schemars::JsonSchema;
use serde::Deserialize;
use squall::{InvalidKey, Layout, NodeId, NodeSet};
use squall_scheduler::{HardwareClass, Offer, Resources};
use std::collections::BTreeMap;

/// The most nodes of one kind: more than a run can hold in reasonable memory is a slip of the pen.
const NODES_MAX: u32 = 10_000;
/// The most local ranks of a replica.
const WORLD_SIZE_MAX: u32 = 1_024;

/// Who is there. The coordinator is `c0`; replicas are `r0`, `r1` and so on, workers `w0`, subscribers `s0`; where there are
/// tasks, the checkpoint store is `k0`, and clients are `q0`. Where the peers decide, there are only replicas, and no `c0`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Who decides about membership.
    pub authority: Authority,
    /// How many replicas there are. Default 3.
    pub replicas: u32,
    /// How many workers there are. Default 0.
    pub workers: u32,
    /// How many processes only listen to notifications. Default 0.
    pub subscribers: u32,
    /// How many clients submit tasks. Default 1. (tasks)
    pub clients: u32,
    /// What workers have; those that aren't named have 8 cores and 32 GiB of memory. (tasks)
    pub hardware: Vec<Hardware>,
    /// How many local ranks each replica has. Default 1.
    pub world_size: u32,
    /// Whether replicas subscribe to notifications, too. Under peers: whether each has two local subscribers, one that reads at
    /// once and one that reads late.
    pub replicas_subscribe: bool,
    /// Whether workers subscribe to notifications, too.
    pub workers_subscribe: bool,
    /// Zones: names of groups with the nodes in them. `"r0..r9"` stands for all from the first to the last.
    pub zones: BTreeMap<String, Vec<String>>,
    /// Racks, like zones: a node can be in one of each.
    pub racks: BTreeMap<String, Vec<String>>,
    /// Nodes whose processes go by the id of another node: two processes under one id.
    pub twins: BTreeMap<String, String>,
    /// Replicas that don't found the first group of peers, but join a running one. (peers)
    pub joiners: Vec<String>,
    /// What peers do about a suspicion. Default "automatic". (peers)
    pub policy: Policy,
}

/// What some workers have.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hardware {
    /// Which workers.
    pub workers: Vec<String>,
    /// Their class: cpu, gpu, tpu, npu, webgpu or webnn. Default "cpu".
    pub class: String,
    /// How many cores each has. Default 8.
    pub cpu: u32,
    /// How much memory each has, in MiB. Default 32768.
    pub memory: u32,
    /// How much storage each has, in MiB. Default 1048576.
    pub storage: u32,
    /// How many accelerators each has. Default 0.
    pub gpus: u32,
    /// What else they can do.
    pub capabilities: Vec<String>,
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
            class: HardwareClass::Cpu.as_str().to_owned(),
            cpu: 8,
            memory: 32_768,
            storage: 1 << 20,
            gpus: 0,
            capabilities: Vec::new(),
        }
    }
}

impl Hardware {
    /// What each of them offers.
    fn offer(&self, path: &[&str]) -> Result<Offer, InvalidKey> {
        let class = self.class.parse::<HardwareClass>();
        let class = class.map_err(|unknown| InvalidKey::new(&[path, &["class"]].concat(), unknown.to_string()))?;
        let thousandths = |count: u32, key: &str| {
            let problem = "is more than can be counted";
            count.checked_mul(1_000).ok_or_else(|| InvalidKey::new(&[path, &[key]].concat(), problem))
        };
        let resources = Resources {
            cpu_millis: thousandths(self.cpu, "cpu")?,
            memory_mib: self.memory,
            storage_mib: self.storage,
            gpu_millis: thousandths(self.gpus, "gpus")?,
        };
        let capabilities = self.capabilities.iter().map(|name| name.as_str().into()).collect();
        Ok(Offer { class, capabilities, resources })
    }
}

/// What peers do about a suspicion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Agree, rebuild, then notify.
    #[default]
    Automatic,
    /// Notify, and wait for the request `recover`.
    Manual,
    /// Stop with an error.
    Abort,
}

impl From<Policy> for squall_recovery::Policy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Automatic => Self::Automatic,
            Policy::Manual => Self::Manual,
            Policy::Abort => Self::Abort,
        }
    }
}

/// Who decides about membership.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// The coordinator.
    #[default]
    Coordinator,
    /// The replicas among themselves.
    Peers,
    /// The replicas among themselves, by the protocol as it was first published, flaws included: the exhibit. It does not ship.
    Published,
}

impl Authority {
    /// Whether the replicas decide among themselves, in whatever way.
    #[must_use]
    pub const fn is_of_peers(self) -> bool {
        match self {
            Self::Coordinator => false,
            Self::Peers | Self::Published => true,
        }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            authority: Authority::Coordinator,
            replicas: 3,
            workers: 0,
            subscribers: 0,
            clients: 1,
            hardware: Vec::new(),
            world_size: 1,
            replicas_subscribe: false,
            workers_subscribe: false,
            zones: BTreeMap::new(),
            racks: BTreeMap::new(),
            twins: BTreeMap::new(),
            joiners: Vec::new(),
            policy: Policy::Automatic,
        }
    }
}

impl Topology {
    /// The kinds of the nodes in the order of their ids, each with its index among its kind. With `tasks`, there is a
    /// checkpoint store, and there are clients.
    pub(crate) fn nodes(&self, tasks: bool) -> Vec<(NodeKind, u32)> {
        let kinds = match self.authority {
            Authority::Coordinator => vec![
                (NodeKind::Coordinator, 1),
                (NodeKind::Replica, self.replicas),
                (NodeKind::Worker, self.workers),
                (NodeKind::Subscriber, self.subscribers),
                (NodeKind::Store, u32::from(tasks)),
                (NodeKind::Client, if tasks { self.clients } else { 0 }),
            ],
            Authority::Peers | Authority::Published => vec![(NodeKind::Peer, self.replicas)],
        };
        kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |index| (kind, index))).collect()
    }

    /// Names and groups.
    ///
    /// # Errors
    /// The first key that contradicts itself or another one.
    pub(crate) fn layout(&self, tasks: bool) -> Result<Layout, InvalidKey> {
        self.counts(tasks)?;
        let kinds = self.nodes(tasks);
        let nodes: Vec<String> = kinds.iter().map(|&(kind, index)| format!("{}{index}", kind.letter())).collect();
        let of = |wanted: &[NodeKind]| -> NodeSet {
            (0u32..).zip(&kinds).filter(|(_, (kind, _))| wanted.contains(kind)).map(|(id, _)| NodeId(id)).collect()
        };
        let mut groups = BTreeMap::from([
            ("coordinator".to_owned(), of(&[NodeKind::Coordinator])),
            ("replicas".to_owned(), of(&[NodeKind::Replica, NodeKind::Peer])),
            ("workers".to_owned(), of(&[NodeKind::Worker])),
            ("subscribers".to_owned(), of(&[NodeKind::Subscriber])),
            ("members".to_owned(), of(&[NodeKind::Replica, NodeKind::Worker, NodeKind::Peer])),
        ]);
        if tasks {
            groups.insert("stores".to_owned(), of(&[NodeKind::Store]));
            groups.insert("clients".to_owned(), of(&[NodeKind::Client]));
            for (offer, workers) in self.offers(&nodes)? {
                let class = groups.entry(offer.class.as_str().to_owned()).or_default();
                workers.iter().for_each(|node| class.insert(node));
            }
        }
        for (key, table) in [("zones", &self.zones), ("racks", &self.racks)] {
            let mut taken = NodeSet::default();
            for (name, members) in table {
                if groups.contains_key(name) || nodes.contains(name) {
                    return Err(InvalidKey::new(
                        &["topology", key, name],
                        format!("{name} is the name of something else"),
                    )
                    .hint("choose a name that no node and no other group has"));
                }
                groups.insert(name.clone(), group(&["topology", key, name], members, &nodes, &mut taken)?);
            }
        }
        self.check_twins(&kinds, &nodes)?;
        Ok(Layout { nodes, groups })
    }

    /// What workers offer, each with the workers that do; every worker is in one of them.
    ///
    /// # Errors
    /// The first entry that can't be.
    pub(crate) fn offers(&self, nodes: &[String]) -> Result<Vec<(Offer, NodeSet)>, InvalidKey> {
        let mut rest = NodeSet::default();
        let workers = nodes.iter().position(|name| name == "w0").unwrap_or(0) as u32;
        (workers..workers + self.workers).map(NodeId).for_each(|node| rest.insert(node));
        let mut offers = Vec::new();
        for (index, hardware) in self.hardware.iter().enumerate() {
            let index = index.to_string();
            let path = ["topology", "hardware", &index];
            let mut some = NodeSet::default();
            for name in &hardware.workers {
                for node in named(name, nodes).map_err(|problem| unknown(&path, problem, nodes))? {
                    if !rest.contains(node) {
                        let name = &nodes[node.index()];
                        let problem = format!("{name} is no worker, or has its hardware already");
                        return Err(InvalidKey::new(&path, problem));
                    }
                    rest.remove(node);
                    some.insert(node);
                }
            }
            offers.push((hardware.offer(&path)?, some));
        }
        offers.push((Hardware::default().offer(&["topology", "hardware"])?, rest));
        Ok(offers)
    }

    fn check_twins(&self, kinds: &[(NodeKind, u32)], nodes: &[String]) -> Result<(), InvalidKey> {
        for (twin, of) in &self.twins {
            let path = ["topology", "twins", twin];
            let find = |name: &str| nodes.iter().position(|node| node == name).map(|index| kinds[index].0);
            let unknown = |name: &str| unknown(&path, format!("no node is called {name}"), nodes);
            let twin_kind = find(twin).ok_or_else(|| unknown(twin))?;
            let kind = find(of).ok_or_else(|| unknown(of))?;
            let registers = matches!(kind, NodeKind::Replica | NodeKind::Worker);
            if twin_kind != kind || !registers || twin == of || self.twins.contains_key(of) {
                return Err(InvalidKey::new(&path, format!("{twin} can't go by the id of {of}"))
                    .hint("name another replica for a replica, another worker for a worker, and no twin"));
            }
        }
        Ok(())
    }

    /// Keys that mean nothing under the authority in force.
    fn check_authority(&self) -> Result<(), InvalidKey> {
        let of_product = [("joiners", !self.joiners.is_empty()), ("policy", self.policy != Policy::Automatic)];
        let of_coordinator = [
            ("workers", self.workers > 0),
            ("subscribers", self.subscribers > 0),
            ("world_size", self.world_size != 1),
            ("workers_subscribe", self.workers_subscribe),
            ("twins", !self.twins.is_empty()),
            ("clients", self.clients != 1),
            ("hardware", !self.hardware.is_empty()),
        ];
        let set: Vec<(&str, bool)> = match self.authority {
            Authority::Coordinator => of_product.to_vec(),
            Authority::Peers => of_coordinator.to_vec(),
            Authority::Published => {
                [&of_product[..], &of_coordinator[..], &[("replicas_subscribe", self.replicas_subscribe)]].concat()
            }
        };
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(InvalidKey::new(&["topology", key], "has no meaning under this authority")
                .hint("leave it out, or choose another topology.authority")),
            None => Ok(()),
        }
    }

    /// The replicas that found the first group of peers, by their nodes.
    ///
    /// # Errors
    /// If a joiner isn't there, or nobody founds.
    pub(crate) fn founders(&self, nodes: &[String]) -> Result<NodeSet, InvalidKey> {
        let path = ["topology", "joiners"];
        let mut founders = NodeSet::first(nodes.len());
        for joiner in &self.joiners {
            for node in named(joiner, nodes).map_err(|problem| unknown(&path, problem, nodes))? {
                founders.remove(node);
            }
        }
        if founders.is_empty() {
            return Err(InvalidKey::new(&path, "nobody founds the group they would join"));
        }
        Ok(founders)
    }

    fn counts(&self, tasks: bool) -> Result<(), InvalidKey> {
        self.check_authority()?;
        let about_tasks = [("clients", self.clients != 1), ("hardware", !self.hardware.is_empty())];
        if let Some((key, _)) = about_tasks.iter().find(|(_, is_set)| *is_set && !tasks) {
            return Err(InvalidKey::new(&["topology", key], "has no meaning without tasks")
                .hint("leave it out, or add [workload.tasks]"));
        }
        for (key, count) in [
            ("replicas", self.replicas),
            ("workers", self.workers),
            ("subscribers", self.subscribers),
            ("clients", self.clients),
        ] {
            if count > NODES_MAX {
                return Err(InvalidKey::new(&["topology", key], format!("{count} is more than {NODES_MAX}")));
            }
        }
        if self.world_size == 0 || self.world_size > WORLD_SIZE_MAX {
            return Err(InvalidKey::new(&["topology", "world_size"], "a replica has 1 to 1024 local ranks"));
        }
        if self.replicas + self.workers + self.subscribers == 0 {
            return Err(InvalidKey::new(&["topology", "replicas"], "nobody is there but the coordinator")
                .hint("give at least one replica, worker or subscriber"));
        }
        Ok(())
    }
}

/// The nodes of one zone or rack; those of the others of its table are `taken`.
fn group(path: &[&str], members: &[String], nodes: &[String], taken: &mut NodeSet) -> Result<NodeSet, InvalidKey> {
    let mut set = NodeSet::default();
    for member in members {
        for node in named(member, nodes).map_err(|problem| unknown(path, problem, nodes))? {
            if taken.contains(node) {
                let name = &nodes[node.index()];
                return Err(
                    InvalidKey::new(path, format!("{name} is named twice")).hint("a node is in one of them only")
                );
            }
            taken.insert(node);
            set.insert(node);
        }
    }
    Ok(set)
}

fn unknown(path: &[&str], problem: String, nodes: &[String]) -> InvalidKey {
    let first = nodes.first().map_or("c0", String::as_str);
    let last = nodes.last().map_or("c0", String::as_str);
    InvalidKey::new(path, problem).hint(format!("the nodes are {first} to {last}"))
}

/// The nodes that `text` names: one by its name, or all of `"r0..r9"`.
pub(crate) fn named(text: &str, nodes: &[String]) -> Result<Vec<NodeId>, String> {
    let find = |name: &str| {
        let index = nodes.iter().position(|node| node == name);
        index.map(|index| index as u32).ok_or_else(|| format!("no node is called {name}"))
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (find(first)?, find(last)?);
    if first > last {
        return Err(format!("{text} is empty: the first node has to come before the last"));
    }
    Ok((first..=last).map(NodeId).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(members: &[&str]) -> Topology {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        Topology {
            workers: 2,
            subscribers: 1,
            zones: BTreeMap::from([("a".to_owned(), members)]),
            ..Topology::default()
        }
    }

    #[test]
    fn nodes_and_groups_have_their_names() {
        let layout = zones(&["r0..r1", "w1"]).layout(false).expect("a valid topology");
        assert_eq!(layout.nodes, ["c0", "r0", "r1", "r2", "w0", "w1", "s0"]);
        let group = |name: &str| layout.groups[name].iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(group("coordinator"), [0]);
        assert_eq!(group("replicas"), [1, 2, 3]);
        assert_eq!(group("members"), [1, 2, 3, 4, 5]);
        assert_eq!(group("subscribers"), [6]);
        assert_eq!(group("a"), [1, 2, 5]);
    }

    #[test]
    fn peers_are_replicas_without_a_coordinator() {
        let joiners = vec!["r2".to_owned()];
        let topology = Topology { authority: Authority::Peers, joiners, ..Topology::default() };
        let layout = topology.layout(false).expect("a valid topology");
        assert_eq!(layout.nodes, ["r0", "r1", "r2"]);
        assert_eq!(layout.groups["replicas"].len(), 3);
        assert_eq!(topology.founders(&layout.nodes), Ok(NodeSet::first(2)));
        let none = Topology { joiners: vec!["r0..r2".to_owned()], ..topology };
        assert_eq!(
            none.founders(&layout.nodes).map_err(|invalid| invalid.path.join(".")),
            Err("topology.joiners".to_owned())
        );
    }

    #[test]
    fn contradictions_are_named_by_their_key() {
        let path = |topology: Topology| topology.layout(false).map_err(|invalid| invalid.path.join("."));
        assert_eq!(path(zones(&["r7"])), Err("topology.zones.a".to_owned()));
        assert_eq!(path(zones(&["r0", "r0"])), Err("topology.zones.a".to_owned()));
        assert_eq!(path(zones(&["r1..r0"])), Err("topology.zones.a".to_owned()));
        let alias = Topology { racks: BTreeMap::from([("r1".to_owned(), vec![])]), ..Topology::default() };
        assert_eq!(path(alias), Err("topology.racks.r1".to_owned()));
        let peers = Topology { authority: Authority::Peers, workers: 1, ..Topology::default() };
        assert_eq!(path(peers), Err("topology.workers".to_owned()));
        let manual = Topology { policy: Policy::Manual, ..Topology::default() };
        assert_eq!(path(manual), Err("topology.policy".to_owned()));
        let alone = Topology { replicas: 0, ..Topology::default() };
        assert_eq!(path(alone), Err("topology.replicas".to_owned()));
    }

    #[test]
    fn with_tasks_there_are_a_store_clients_and_classes() {
        let hardware = vec![Hardware {
            workers: vec!["w1..w2".to_owned()],
            class: "gpu".to_owned(),
            gpus: 2,
            ..Hardware::default()
        }];
        let topology = Topology { replicas: 0, workers: 4, clients: 2, hardware, ..Topology::default() };
        let layout = topology.layout(true).expect("a valid topology");
        assert_eq!(layout.nodes, ["c0", "w0", "w1", "w2", "w3", "k0", "q0", "q1"]);
        let group = |name: &str| layout.groups[name].iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!((group("gpu"), group("cpu")), (vec![2, 3], vec![1, 4]));
        assert_eq!((group("stores"), group("clients")), (vec![5], vec![6, 7]));
        let offers = topology.offers(&layout.nodes).expect("valid hardware");
        assert_eq!(offers[0].0.resources.gpu_millis, 2_000);
        assert_eq!(offers[1].1.len(), 2);
        let path = |topology: &Topology, tasks| topology.layout(tasks).map_err(|invalid| invalid.path.join("."));
        assert_eq!(path(&topology, false), Err("topology.clients".to_owned()));
        let twice = vec![topology.hardware[0].clone(), topology.hardware[0].clone()];
        assert_eq!(path(&Topology { hardware: twice, ..topology }, true), Err("topology.hardware.1".to_owned()));
    }
}
