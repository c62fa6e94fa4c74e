//! Naming nodes in a scenario file: one, several, a group, everybody, or some of a group.

use crate::scenario::diagnosis::{Keys, suggestion};
use crate::{InvalidKey, NodeId, NodeSet, Targets};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A selection of nodes: `"r0"`, `"r0..r9"` with both ends, a group's name, `"all"` or `"*"`, `"any"`, `"2 of replicas"`, or a list of names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Nodes {
    /// One selector.
    One(String),
    /// Names of nodes and groups together.
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Selector;
        impl<'de> Visitor<'de> for Selector {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nodes: a name, a group, \"all\", \"any\", \"2 of GROUP\", or a list of names")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Nodes, E> {
                Ok(Nodes::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nodes, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Nodes::List(names))
            }
        }
        deserializer.deserialize_any(Selector)
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(text) => text.serialize(serializer),
            Self::List(names) => names.serialize(serializer),
        }
    }
}

impl JsonSchema for Nodes {
    fn schema_name() -> Cow<'static, str> {
        "Nodes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A node, a group, \"all\" or \"*\", \"any\", \"2 of GROUP\", or a list of nodes and groups.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

/// What names mean.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    pub(crate) nodes: &'a [String],
    pub(crate) groups: &'a BTreeMap<String, NodeSet>,
}

impl Names<'_> {
    /// Everybody.
    pub(crate) fn everybody(&self) -> NodeSet {
        NodeSet::first(self.nodes.len())
    }

    /// The node or group of that name.
    fn named(&self, name: &str, keys: &Keys) -> Result<NodeSet, InvalidKey> {
        if name == "*" || name == "all" {
            return Ok(self.everybody());
        }
        if let Some(index) = self.nodes.iter().position(|node| node == name) {
            return Ok([NodeId(index as u32)].into_iter().collect());
        }
        if let Some(group) = self.groups.get(name) {
            return Ok(group.clone());
        }
        if let Some((first, last)) = name.split_once("..") {
            let place = |end: &str| self.nodes.iter().position(|node| node == end.trim());
            return match (place(first), place(last)) {
                (Some(first), Some(last)) if first <= last => {
                    Ok((first..=last).map(|index| NodeId(index as u32)).collect())
                }
                _ => Err(keys.invalid(format!("`{name}` isn't from one node to a later one")).hint("\"r0..r9\"")),
            };
        }
        let known = || self.nodes.iter().chain(self.groups.keys()).map(String::as_str);
        let mut invalid = keys.invalid(format!("there is no node or group `{name}`"));
        invalid.hint = suggestion(name, known());
        Err(invalid)
    }

    /// The selected nodes, of which the fault may draw some when it strikes.
    pub(crate) fn targets(&self, nodes: &Nodes, keys: &Keys) -> Result<Targets, InvalidKey> {
        let (among, count) = match nodes {
            Nodes::One(text) if text == "any" => (self.everybody(), Some(1)),
            Nodes::One(text) => match text.split_once(" of ") {
                Some((count, group)) => {
                    let among = self.named(group.trim(), keys)?;
                    (among, self.count(count.trim(), keys)?)
                }
                None => (self.named(text.trim(), keys)?, None),
            },
            Nodes::List(_) => (self.set(nodes, keys)?, None),
        };
        if among.is_empty() {
            return Err(keys.invalid("nobody is selected"));
        }
        if count.is_some_and(|count| count as usize > among.len()) {
            return Err(keys.invalid(format!("there are only {} to choose from", among.len())));
        }
        Ok(Targets { among, count })
    }

    fn count(&self, text: &str, keys: &Keys) -> Result<Option<u32>, InvalidKey> {
        match text {
            "all" => Ok(None),
            "any" => Ok(Some(1)),
            number => match number.parse() {
                Ok(0) => Err(keys.invalid("none of them is nobody").hint("write 1 or more")),
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(keys.invalid(format!("`{number}` is no number")).hint("it looks like \"2 of replicas\"")),
            },
        }
    }

    /// The selected nodes, where no drawing is possible.
    pub(crate) fn set(&self, nodes: &Nodes, keys: &Keys) -> Result<NodeSet, InvalidKey> {
        let set: NodeSet = match nodes {
            Nodes::One(text) if text == "any" || text.contains(" of ") => {
                return Err(keys.invalid("these nodes have to be named").hint(
                    "random ones can be crashed, paused, slowed, drained or isolated, but not be a side of a link",
                ));
            }
            Nodes::One(text) => self.named(text.trim(), keys)?,
            Nodes::List(names) => {
                let mut set = NodeSet::default();
                for (index, name) in names.iter().enumerate() {
                    for node in self.named(name.trim(), &keys.at(index))?.iter() {
                        set.insert(node);
                    }
                }
                set
            }
        };
        if set.is_empty() { Err(keys.invalid("nobody is selected")) } else { Ok(set) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(text: &str) -> Result<(Vec<u32>, Option<u32>), String> {
        let nodes: Vec<String> = ["c", "r0", "r1", "r2"].map(str::to_owned).into();
        let groups = BTreeMap::from([
            ("replicas".to_owned(), (1..4).map(NodeId).collect()),
            ("nobody".to_owned(), NodeSet::default()),
        ]);
        let names = Names { nodes: &nodes, groups: &groups };
        names
            .targets(&Nodes::One(text.to_owned()), &Keys::root())
            .map(|targets| (targets.among.iter().map(|node| node.0).collect(), targets.count))
            .map_err(|invalid| format!("{}; {}", invalid.problem, invalid.hint.unwrap_or_default()))
    }

    #[test]
    fn selectors_mean_what_they_say() {
        assert_eq!(selected("r1"), Ok((vec![2], None)));
        assert_eq!(selected("replicas"), Ok((vec![1, 2, 3], None)));
        assert_eq!(selected("2 of replicas"), Ok((vec![1, 2, 3], Some(2))));
        assert_eq!(selected("any of replicas"), Ok((vec![1, 2, 3], Some(1))));
        assert_eq!(selected("r0..r2"), Ok((vec![1, 2, 3], None)));
        assert_eq!(selected("any"), Ok((vec![0, 1, 2, 3], Some(1))));
        assert_eq!(selected("*"), selected("all"));
        assert_eq!(selected("r4"), Err("there is no node or group `r4`; did you mean `r0`?".to_owned()));
        for wrong in [
            "",
            "4 of replicas",
            "0 of replicas",
            "-1 of replicas",
            "two of replicas",
            "nobody",
            "2 of",
            "r2..r0",
            "r0..",
            "..",
            "2 of r0..r9",
        ] {
            assert!(selected(wrong).is_err(), "{wrong}");
        }
    }
}
