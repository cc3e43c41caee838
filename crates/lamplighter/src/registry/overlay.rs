//! What is known of nodes besides what probes tell: that one is being woken, that one belongs to another network.

use lamplighter_core::{
    fleet::{Node, NodeId},
    node::{Stage, State},
};
use std::collections::{HashMap, HashSet};

/// While a node wakes it is looked at this often, milliseconds.
const WAKING_MS: u64 = 500;
/// A node that belongs to another network is not looked at; in a day somebody may have moved it.
const ELSEWHERE_MS: u64 = 24 * 3_600_000;

/// What is known of nodes besides what probes tell.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    waking: HashMap<NodeId, Stage>,
    elsewhere: HashSet<NodeId>,
}

impl Overlay {
    /// A wake has come so far, or is over. True when that is news.
    pub(super) fn waking(&mut self, node: NodeId, stage: Option<Stage>) -> bool {
        match stage {
            Some(stage) => self.waking.insert(node, stage) != Some(stage),
            None => self.waking.remove(&node).is_some(),
        }
    }

    /// Is it being woken?
    pub(super) fn is_waking(&self, node: NodeId) -> bool {
        self.waking.contains_key(&node)
    }

    /// These belong to other networks than the one we are on. True when that is news.
    pub(super) fn elsewhere(&mut self, nodes: HashSet<NodeId>) -> bool {
        std::mem::replace(&mut self.elsewhere, nodes.clone()) != nodes
    }

    /// Those that are on other networks.
    pub(super) fn all_elsewhere(&self) -> HashSet<NodeId> {
        self.elsewhere.clone()
    }

    /// Is it on another network?
    pub(super) fn is_elsewhere(&self, node: NodeId) -> bool {
        self.elsewhere.contains(&node)
    }

    /// Milliseconds until the next look, where probes alone would say `next_ms`.
    pub(super) fn pace(&self, node: NodeId, next_ms: u64) -> u64 {
        if self.is_elsewhere(node) {
            ELSEWHERE_MS
        } else if self.is_waking(node) {
            next_ms.min(WAKING_MS)
        } else {
            next_ms
        }
    }

    /// Shows it on top of what probes tell.
    pub(super) fn show(&self, node: &mut Node) {
        if self.is_elsewhere(node.id) {
            node.state = State::Away;
            node.why = Some("it belongs to another network than the one you are on".into());
        } else if let Some(stage) = self.waking.get(&node.id)
            && !node.state.takes_requests()
            && !matches!(node.state, State::Waking(_) | State::Refusing)
        {
            node.state = State::Waking(*stage);
            node.why = None;
        }
    }
}
