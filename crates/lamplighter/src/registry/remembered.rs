//! What an earlier run saw of a node: enough to list it while it sleeps.

use lamplighter_core::{model::Model, node::Engine, operation::Dialects};
use std::collections::HashMap;

/// What an earlier run saw of a node.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Its address then. At another address it may be another machine, and what is remembered does not count.
    pub url: String,
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

/// What is remembered of all nodes, by name.
pub type Memory = HashMap<String, Remembered>;
