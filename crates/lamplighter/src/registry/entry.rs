//! What the registry knows of one node.

use super::{Facts, Remembered, Watched};
use crate::{
    clock, engines,
    upstream::{Upstream, Wanted},
};
use lamplighter_core::{
    config::NodeConfig,
    fleet::{Node, NodeId, Told},
    health::{Health, Report},
    model::{Model, key},
    node::State,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A model that a node has refused is not offered there for this long, even when the node goes on listing it.
const DRIFT_MS: u64 = 30_000;

/// One node.
pub(super) struct Entry {
    pub(super) id: NodeId,
    pub(super) config: Arc<NodeConfig>,
    key: Result<Option<String>, String>,
    /// Ends its watcher.
    pub(super) unwatch: CancellationToken,
    pub(super) health: Health,
    facts: Option<Facts>,
    version: Option<String>,
    told: Told,
    /// What it lists, and what of that is offered: all but what it has refused lately.
    listed: Vec<Model>,
    models: Arc<[Model]>,
    /// Models that the node refused although it listed them, and when.
    drifted: Vec<(String, u64)>,
    vram_seen: u64,
    probe_ms: Option<u32>,
    pub(super) upstream: Option<Arc<Upstream>>,
}

impl Entry {
    pub(super) fn new(
        id: NodeId,
        config: NodeConfig,
        key: Result<Option<String>, String>,
        unwatch: CancellationToken,
        health: Health,
        upstream: Option<Arc<Upstream>>,
    ) -> Self {
        Self {
            id,
            config: Arc::new(config),
            key,
            unwatch,
            health,
            facts: None,
            version: None,
            told: Told::default(),
            listed: Vec::new(),
            models: Arc::default(),
            drifted: Vec::new(),
            vram_seen: 0,
            probe_ms: None,
            upstream,
        }
    }

    /// Takes over what an earlier run saw. What is in memory there now is not known.
    pub(super) fn remember(&mut self, seen: &Remembered) {
        let forget_loaded = |model: &Model| Model {
            loaded: model.loaded.map(|_| false),
            vram_bytes: None,
            expires_at: None,
            ..model.clone()
        };
        self.facts = seen.engine.map(|engine| Facts { engine, dialects: seen.dialects });
        self.version.clone_from(&seen.version);
        self.listed = seen.models.iter().map(forget_loaded).collect();
        self.vram_seen = seen.vram_bytes.unwrap_or(0);
        self.offer();
    }

    /// Would nothing about how it is reached and watched change?
    pub(super) fn is_same_server(&self, watched: &Watched) -> bool {
        let (mine, new) = (&self.config, &watched.config);
        mine.name == new.name && mine.url == new.url && mine.engine == new.engine && self.key == watched.key
    }

    pub(super) fn forget_connections(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.purge();
        }
    }

    pub(super) fn want_look(&self, wanted: Wanted) {
        if let Some(upstream) = &self.upstream {
            upstream.pulse.want_look(wanted);
        }
    }

    pub(super) fn looked(&mut self, look: engines::Look, facts: Option<Facts>) -> bool {
        let mut changed = false;
        if look.report == Report::Answered {
            // Shown rounded, so that jitter of a millisecond is no news.
            self.probe_ms = Some(look.took_ms);
            if facts.is_some() {
                changed |= std::mem::replace(&mut self.facts, facts.clone()) != facts;
            }
            if look.version.is_some() {
                changed |= std::mem::replace(&mut self.version, look.version.clone()) != look.version;
            }
            changed |= std::mem::replace(&mut self.told, look.told) != look.told;
            if let Some(listing) = look.listing {
                self.listed = listing;
            }
            changed |= self.offer();
        }
        changed | self.fold(look.report)
    }

    /// Works out what is offered. True when that has changed.
    fn offer(&mut self) -> bool {
        // Use of video memory without spill shows how much there is at least.
        let resident =
            self.listed.iter().filter(|m| m.loaded == Some(true)).map(|m| m.vram_bytes.unwrap_or(0)).sum();
        self.vram_seen = self.vram_seen.max(resident);
        let now_ms = clock::mono_ms();
        self.drifted.retain(|(_, at_ms)| at_ms + DRIFT_MS > now_ms);
        let drifted = |listed: &Model| self.drifted.iter().any(|(model, _)| key(model) == key(&listed.name));
        if self.listed.iter().filter(|listed| !drifted(listed)).eq(self.models.iter()) {
            return false;
        }
        self.models = self.listed.iter().filter(|listed| !drifted(listed)).cloned().collect();
        true
    }

    pub(super) fn drift(&mut self, model: &str) -> bool {
        tracing::warn!(node = self.config.name, model, "the node does not have a model that it listed");
        self.drifted.push((model.to_owned(), clock::mono_ms()));
        if let Some(upstream) = &self.upstream {
            upstream.pulse.want_look(Wanted::Full);
        }
        self.offer()
    }

    pub(super) fn fold(&mut self, report: Report) -> bool {
        let was = self.health.state;
        let answered = report == Report::Answered;
        let mut changed = self.health.fold(report, self.config.presence, clock::wall_ms());
        changed |= self.health.recover(clock::wall_ms(), clock::mono_ms());
        let is = self.health.state;
        self.log_change(was);
        if let Some(upstream) = &self.upstream {
            if answered {
                upstream.pulse.beat();
            }
            match (was.takes_requests(), is.takes_requests()) {
                (true, false) => upstream.is_gone(),
                (false, true) => upstream.is_back(),
                _ => {}
            }
        }
        changed
    }

    pub(super) fn log_change(&self, was: State) {
        let is = self.health.state;
        if was != is {
            let why = self.health.why.as_deref().unwrap_or("");
            tracing::info!(node = self.config.name, from = was.word(), to = is.word(), why, "node");
        }
    }

    pub(super) fn show(&self) -> Node {
        let vram_seen = (self.vram_seen > 0).then_some(self.vram_seen);
        Node {
            id: self.id,
            config: self.config.clone(),
            engine: self.facts.as_ref().map(|facts| facts.engine).or(self.config.engine),
            version: self.version.clone(),
            dialects: self.facts.as_ref().map(|facts| facts.dialects).unwrap_or_default(),
            state: self.health.state,
            since_ms: self.health.since_ms,
            why: self.health.why.clone(),
            suspect: self.health.suspect,
            reachable: self.health.answers_somehow(),
            told: self.told,
            models: self.models.clone(),
            vram_bytes: self.config.vram_bytes.or(vram_seen),
            probe_ms: self.probe_ms,
        }
    }
}
