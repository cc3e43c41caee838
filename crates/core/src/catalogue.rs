//! The merged model list: who offers what, of all nodes that take requests now, and of those that could be woken.

use crate::{fleet::Node, model, operation::Dialect};
use std::collections::{BTreeMap, HashMap};

/// One node's offer of a model: positions in the fleet's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Position in `Fleet::nodes`.
    pub node: usize,
    /// Position in that node's `models`.
    pub model: usize,
}

/// All offers of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as the first node writes it.
    pub name: String,
    /// Who has it, in the order of the configuration.
    pub offers: Vec<Offer>,
    /// Two nodes hold different contents under this name.
    pub drift: bool,
}

/// The merged list. Immutable: rebuilt when a node changes.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
    /// Other names of listed models (llama.cpp `aliases`) → key of the entry.
    other_names: HashMap<String, String>,
    /// Any name of a model → who answers to it, one offer per node.
    holders: HashMap<String, Vec<Offer>>,
    /// Per node: positions of the models that it has in memory. A node may list thousands, and holds a few.
    residents: Vec<Vec<usize>>,
}

impl Catalogue {
    /// Merges the lists of all nodes that take requests, and of those that sleep and can be woken.
    #[must_use]
    pub fn merge(nodes: &[Node]) -> Self {
        let resident = |node: &Node| {
            let loaded = node.models.iter().enumerate().filter(|(_, model)| model.loaded == Some(true));
            if node.state.takes_requests() { loaded.map(|(at, _)| at).collect() } else { vec![] }
        };
        let mut catalogue = Self { residents: nodes.iter().map(resident).collect(), ..Self::default() };
        for (node_at, node) in
            nodes.iter().enumerate().filter(|(_, node)| node.state.takes_requests() || node.sleeps())
        {
            for (model_at, listed) in node.models.iter().enumerate() {
                for name in std::iter::once(&listed.name).chain(&listed.aliases) {
                    let holders = catalogue.holders.entry(model::key(name).to_owned()).or_default();
                    if holders.last().is_none_or(|last| last.node != node_at) {
                        holders.push(Offer { node: node_at, model: model_at });
                    }
                }
                let key = model::key(&listed.name);
                let entry = catalogue.entries.entry(key.to_owned()).or_insert_with(|| Entry {
                    name: listed.name.clone(),
                    offers: Vec::new(),
                    drift: false,
                });
                if entry.offers.iter().any(|offer| offer.node == node_at) {
                    continue; // a node that lists a name twice offers it once
                }
                entry.drift |= entry.offers.iter().any(|offer| {
                    let other = &nodes[offer.node].models[offer.model].digest;
                    matches!((other, &listed.digest), (Some(a), Some(b)) if a != b)
                });
                entry.offers.push(Offer { node: node_at, model: model_at });
                for alias in &listed.aliases {
                    catalogue
                        .other_names
                        .entry(model::key(alias).to_owned())
                        .or_insert_with(|| key.to_owned());
                }
            }
        }
        catalogue
    }

    /// Finds a model by any of its names, with or without `:latest`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let key = model::key(name);
        self.entries.get(key).or_else(|| self.entries.get(self.other_names.get(key)?))
    }

    /// The nodes that answer to `name`, or would if they were awake, in order: each with the first of its models that does.
    #[must_use]
    pub fn holders(&self, name: &str) -> &[Offer] {
        self.holders.get(model::key(name)).map_or(&[], Vec::as_slice)
    }

    /// What the node at that position of `Fleet::nodes` has in memory: positions in its `models`.
    #[must_use]
    pub fn residents(&self, node: usize) -> &[usize] {
        self.residents.get(node).map_or(&[], Vec::as_slice)
    }

    /// Every model, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Every model that some node serves in `dialect`.
    pub fn in_dialect<'a>(&'a self, nodes: &'a [Node], dialect: Dialect) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .values()
            .filter(move |entry| entry.offers.iter().any(|offer| nodes[offer.node].dialects.speaks(dialect)))
    }

    /// How many models there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
