//! Orders about models on nodes: load one into memory, take it out again.

use crate::{
    engines,
    registry::{House, Registry},
    upstream::Upstream,
};
use lamplighter_core::{
    fleet::Node,
    model::Model,
    node::{Engine, State},
};
use std::sync::Arc;

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDone {
    /// There is no node of that name.
    NoNode(String),
    /// The node is not up.
    NotUp(String, State),
    /// The node sleeps, and can be woken to load the model.
    Sleeps {
        /// The node.
        node: String,
        /// The model as asked for.
        model: String,
        /// Asleep, or on its way up.
        state: State,
    },
    /// The node does not list that model.
    NoModel {
        /// The node.
        node: String,
        /// The model as asked for.
        model: String,
    },
    /// The node said no, or nothing; in words.
    Failed(String),
}

/// Carries out orders.
#[derive(Debug, Clone)]
pub struct Models {
    registry: Registry,
    http: reqwest::Client,
}

impl Models {
    /// On the registry's nodes.
    #[must_use]
    pub fn new(registry: Registry, http: reqwest::Client) -> Self {
        Self { registry, http }
    }

    /// Loads a model into a node's memory, and returns when it is there.
    ///
    /// # Errors
    /// [`NotDone`].
    pub async fn load(&self, node: &str, model: &str) -> Result<(), NotDone> {
        let house = self.registry.house();
        if let Some(it) = house.fleet.node(node).filter(|it| it.sleeps()) {
            return Err(NotDone::Sleeps { node: node.into(), model: model.into(), state: it.state });
        }
        let target = Target::find(&house, node)?;
        let listed = target.model(model)?;
        let url = &target.node.config.url;
        let loaded = engines::load(&self.http, url, target.upstream.key(), target.engine, &listed).await;
        self.registry.look_at(target.node.id);
        loaded.map_err(|why| target.failed("loaded", &listed, &why))
    }

    /// Takes a model out of a node's memory; without one, every model that is in it.
    ///
    /// # Errors
    /// [`NotDone`]; what was taken out before stays out.
    pub async fn unload(&self, node: &str, model: Option<&str>) -> Result<(), NotDone> {
        let target = Target::find(&self.registry.house(), node)?;
        if !engines::can_load(target.engine, &target.node.models) {
            let engine = target.engine.title();
            return Err(NotDone::Failed(format!(
                "{engine} on {node} cannot be asked to take a model out of memory."
            )));
        }
        let models = match model {
            Some(model) => vec![target.model(model)?],
            None => target.node.models.iter().filter(|model| model.loaded == Some(true)).cloned().collect(),
        };
        let mut unloaded = Ok(());
        for model in &models {
            let url = &target.node.config.url;
            let done = engines::unload(&self.http, url, target.upstream.key(), target.engine, model).await;
            unloaded = done.map_err(|why| target.failed("unloaded", model, &why));
            if unloaded.is_err() {
                break;
            }
        }
        // What is loaded has changed: everybody should see it at once.
        self.registry.look_at(target.node.id);
        unloaded
    }
}

/// A node that can be asked now.
struct Target {
    node: Node,
    upstream: Arc<Upstream>,
    engine: Engine,
}

impl Target {
    fn find(house: &House, name: &str) -> Result<Self, NotDone> {
        let at = house.fleet.nodes.iter().position(|node| node.name() == name);
        let at = at.ok_or_else(|| NotDone::NoNode(name.into()))?;
        let node = house.fleet.nodes[at].clone();
        match (house.upstreams[at].clone(), node.engine) {
            (Some(upstream), Some(engine)) if node.state.takes_requests() => {
                Ok(Self { node, upstream, engine })
            }
            _ => Err(NotDone::NotUp(name.into(), node.state)),
        }
    }

    fn model(&self, name: &str) -> Result<Model, NotDone> {
        let found = self.node.models.iter().find(|model| model.answers_to(name)).cloned();
        found.ok_or_else(|| NotDone::NoModel { node: self.node.name().into(), model: name.into() })
    }

    fn failed(&self, what: &str, model: &Model, why: &str) -> NotDone {
        NotDone::Failed(format!("{} was not {what} on {}: {why}.", model.name, self.node.name()))
    }
}
