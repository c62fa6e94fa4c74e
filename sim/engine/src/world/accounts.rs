//! What processes have done, asked of them when a run is over.

use super::World;
use crate::System;
use serde_json::Value;
use std::collections::BTreeMap;

impl<S: System> World<'_, S> {
    /// The accounts of the processes that run now, by the name of their node. Shells keep theirs to themselves.
    pub(super) fn accounts(&self) -> BTreeMap<String, Value> {
        let mut accounts = BTreeMap::new();
        for (name, place) in self.plan.nodes.iter().zip(&self.places) {
            let Some(process) = &place.process else { continue };
            if let Some(account) = self.system.account(&process.machine, place.clock.local(self.now)) {
                accounts.insert(name.clone(), account);
            }
        }
        accounts
    }
}
