//! The fleet: all that routing needs to know, as one immutable value.

use crate::{
    alias::{self, Alias, Names, Target},
    catalogue::Catalogue,
    config::NodeConfig,
    health::Marks,
    model::{self, Model},
    node::{Engine, State},
    operation::Dialects,
};
use std::sync::Arc;

/// A node's identity while this gateway runs; it outlives a change of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// What an engine tells of itself. `None` is "not told", never a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Generations it takes at once (llama.cpp).
    pub slots: Option<u32>,
    /// Models it holds in memory at once (llama.cpp's router); 0 is no limit.
    pub models_max: Option<u32>,
    /// Who is at work and who waits in the engine itself, ours and those of others (vLLM, llama.cpp).
    pub queue: Option<Queue>,
}

/// Requests in an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// At work.
    pub running: u32,
    /// Waiting for their turn.
    pub waiting: u32,
    /// How full the engine's memory for prompts is, where it tells (vLLM): a new one waits when it is.
    pub cache_percent: Option<u8>,
}

/// One node as routing sees it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its identity while this gateway runs.
    pub id: NodeId,
    /// What its owner wrote.
    pub config: Arc<NodeConfig>,
    /// The engine that answers there; what the owner wrote, else what was found out.
    pub engine: Option<Engine>,
    /// The engine's version as it tells it.
    pub version: Option<String>,
    /// What it speaks natively.
    pub dialects: Dialects,
    /// What we believe of it.
    pub state: State,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// Why it is in this state, when it is not simply up.
    pub why: Option<String>,
    /// A request could not connect since the last good probe.
    pub suspect: bool,
    /// What requests met there lately.
    pub marks: Marks,
    /// Something there answers, even if it is only a port that refuses.
    pub reachable: bool,
    /// Its models used its GPU before it slept, and run without it now.
    pub gpu_lost: bool,
    /// It has fallen asleep while it answered, twice within ten minutes.
    pub naps: bool,
    /// What it tells of itself, beyond its models.
    pub told: Told,
    /// Its models as last seen; kept while it is away, so that we can say where a model is.
    pub models: Arc<[Model]>,
    /// Video memory in bytes: as written, else the largest amount seen in use without spill.
    pub vram_bytes: Option<u64>,
    /// Round-trip time of the last good probe, milliseconds.
    pub probe_ms: Option<u32>,
}

impl Node {
    /// A node of which nothing is known yet.
    #[must_use]
    pub fn new(id: NodeId, config: Arc<NodeConfig>) -> Self {
        Self {
            id,
            engine: config.engine,
            version: None,
            dialects: Dialects::default(),
            state: State::Unknown,
            since_ms: 0,
            why: None,
            suspect: false,
            reachable: false,
            gpu_lost: false,
            naps: false,
            marks: Marks::default(),
            told: Told::default(),
            models: Arc::default(),
            vram_bytes: config.vram_bytes,
            probe_ms: None,
            config,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Does it sleep, and can it be woken? Then its models are listed, marked: asking for one may wake it.
    ///
    /// Right after the start a machine that requests wake counts as asleep, too, until it has been looked at: what an earlier run
    /// saw of it is listed at once. Whoever would wake it waits for the look ([`Node::is_unseen`]).
    #[must_use]
    pub fn sleeps(&self) -> bool {
        self.config.wake.is_some()
            && match self.state {
                State::Asleep | State::Waking(_) => true,
                State::Unknown => self.config.requests_wake(),
                State::Up | State::Degraded | State::Refusing | State::Away | State::Down => false,
            }
    }

    /// Has nothing been heard of it yet, nor the lack of it?
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.state == State::Unknown
    }

    /// Generations per loaded model that are sent there at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let default = || self.engine.map_or(1, Engine::default_slots);
        self.config.max_concurrent.or(self.told.slots).unwrap_or_else(default).max(1)
    }
}

/// The fleet at one moment.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Grows with every change.
    pub seq: u64,
    /// The nodes in the order of the configuration.
    pub nodes: Vec<Node>,
    /// Who offers what, of the nodes that take requests and of those that can be woken.
    pub catalogue: Catalogue,
    /// The aliases in the order of the configuration.
    pub aliases: Arc<[Alias]>,
    /// Where the configuration was read from, for messages.
    pub config_path: Option<String>,
}

impl Fleet {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// What a name asks for: the model, and the node that it is pinned to by `model@node`. That is a pin when a node is called so
    /// and no node lists a model of the whole name; else it is a model's name like any other.
    #[must_use]
    pub fn asked<'n>(&self, name: &'n str) -> (&'n str, Option<&'n str>) {
        match model::split_pin(name) {
            (model, Some(node)) if self.node(node).is_some() && !self.lists(name) => (model, Some(node)),
            _ => (name, None),
        }
    }

    /// Has some node listed a model of that name, even if it is gone now?
    fn lists(&self, name: &str) -> bool {
        // The catalogue has those of all others.
        let is_gone = |node: &&Node| !node.state.takes_requests() && !node.sleeps();
        let lists = |node: &Node| node.models.iter().any(|listed| listed.answers_to(name));
        !self.catalogue.holders(name).is_empty() || self.nodes.iter().filter(is_gone).any(lists)
    }

    /// The alias that a name means: one of that very name, else a wildcard, when no node lists a model of it.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&Alias> {
        alias::find(&self.aliases, name, |name| self.lists(name))
    }

    /// The models that a name stands for, in order: itself when no alias has that name.
    #[must_use]
    pub fn targets<'a>(&'a self, name: &'a str) -> Vec<Target<'a>> {
        let names = Names { split: &|name| self.asked(name), is_listed: &|name| self.lists(name) };
        alias::resolve(&self.aliases, name, names)
    }

    /// The node of that identity.
    #[must_use]
    pub fn by_id(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}
