//! What was seen of a node earlier: enough to list it while it sleeps.

use lamplighter_core::{model::Model, node::Engine, node_url::NodeUrl, operation::Dialects};
use std::collections::HashMap;

/// What was seen of a node earlier.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Its engine.
    pub engine: Option<Engine>,
    /// The engine's version.
    pub version: Option<String>,
    /// What it spoke natively.
    pub dialects: Dialects,
    /// Its models.
    pub models: Vec<Model>,
    /// Video memory seen in use, bytes.
    pub vram_bytes: Option<u64>,
}

/// What is remembered of all nodes, by address: names are given anew, and at another address it may be another machine.
pub type Memory = HashMap<NodeUrl, Remembered>;
