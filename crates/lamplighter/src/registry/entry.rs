//! What the registry knows of one node.

use super::{
    Around, Facts, Remembered, Watched,
    canary::{Clearing, Flight},
    forbidden::Forbidden,
    gpu::Gpu,
};
use crate::{
    clock, engines,
    places::Places,
    upstream::{Upstream, Wanted},
};
use lamplighter_core::{
    config::NodeConfig,
    fleet::{Node, NodeId, Told},
    health::{Blocked, Health, Marks, Report},
    model::{Model, key},
    naps::Naps,
    node::{Engine, State},
    patience::Patience,
    room,
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
    pub(super) naps: Naps,
    facts: Option<Facts>,
    version: Option<String>,
    told: Told,
    /// What it lists, and what of that is offered: all but what it has refused lately.
    listed: Vec<Model>,
    models: Arc<[Model]>,
    /// Models that the node refused although it listed them, and when.
    drifted: Vec<(String, u64)>,
    /// Models that it cannot serve for a while, and until when.
    blocked: Vec<(Blocked, u64)>,
    forbidden: Forbidden,
    vram_seen: u64,
    gpu: Gpu,
    probe_ms: Option<u32>,
    pub(super) upstream: Option<Arc<Upstream>>,
    places: Arc<Places>,
    patience: Patience,
}

impl Entry {
    pub(super) fn new(
        id: NodeId,
        config: NodeConfig,
        key: Result<Option<String>, String>,
        unwatch: CancellationToken,
        health: Health,
        upstream: Option<Arc<Upstream>>,
        around: &Around,
    ) -> Self {
        Self {
            id,
            config: Arc::new(config),
            key,
            unwatch,
            health,
            naps: Naps::default(),
            facts: None,
            version: None,
            told: Told::default(),
            listed: Vec::new(),
            models: Arc::default(),
            drifted: Vec::new(),
            blocked: Vec::new(),
            forbidden: Forbidden::default(),
            vram_seen: 0,
            gpu: Gpu::default(),
            probe_ms: None,
            upstream,
            places: around.places.clone(),
            patience: around.patience,
        }
    }

    /// What is worth remembering of it, when anything was seen.
    pub(super) fn remembered(&self) -> Option<Remembered> {
        let facts = self.facts.as_ref()?;
        Some(Remembered {
            engine: Some(facts.engine),
            version: self.version.clone(),
            dialects: facts.dialects,
            models: self.listed.clone(),
            vram_bytes: Some(self.vram_seen),
        })
    }

    /// Takes over what was seen earlier. What is in memory there now is not known.
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
        self.gpu.remember(&seen.models);
        self.offer();
    }

    /// Would nothing about how it is reached and watched change? A name is only what people call it.
    pub(super) fn is_watched_as(&self, watched: &Watched) -> bool {
        let (mine, new) = (&self.config, &watched.config);
        mine.url == new.url && mine.engine == new.engine && self.key == watched.key
    }

    /// Its owner has written something else about it.
    pub(super) fn rewrite(&mut self, config: NodeConfig) {
        if self.config.keep_awake != config.keep_awake {
            self.naps.forgive();
        }
        let (was, means) = (self.config.silence_means(), config.silence_means());
        self.config = Arc::new(config);
        if was != means {
            // The next probe of one that is gone may be a minute away, and until then nothing would wake it.
            self.change(|health| health.silence_means(means, clock::now()));
        }
    }

    /// Goes on as what `before` was: the same server, reached or watched in another way.
    pub(super) fn follow(&mut self, before: &mut Self) {
        std::mem::swap(&mut self.gpu, &mut before.gpu);
    }

    pub(super) fn forget_connections(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.purge();
        }
    }

    /// Is no request open there?
    pub(super) fn is_idle(&self) -> bool {
        self.upstream.as_ref().is_none_or(|upstream| upstream.pulse.open() == 0)
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
            changed |= self.gpu.looked(&self.listed);
            changed |= self.unblock_loaded();
            changed |= self.offer();
            self.places.sees(self.id, &room::loaded(&self.listed), u64::from(look.took_ms));
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
        if report == Report::Answered
            && let Some(upstream) = &self.upstream
        {
            upstream.pulse.beat();
        }
        let presence = self.config.silence_means();
        self.change(|health| health.fold(report, presence, clock::now()))
    }

    /// Changes what is believed of it, with all that follows. True when others see another node then.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Health) -> bool) -> bool {
        let (was, answered, was_gray) = (self.health.state, self.health.answers(), self.health.is_gray());
        let changed = change(&mut self.health);
        let is = self.health.state;
        if was != is {
            let why = self.health.why.as_deref().unwrap_or("");
            tracing::info!(node = self.config.name, from = was.word(), to = is.word(), why, "node");
        }
        if let Some(upstream) = &self.upstream {
            match (answered, self.health.answers()) {
                (true, false) => {
                    // Closed sockets end their requests at once: what is still open has been left hanging.
                    if is == State::Asleep && upstream.pulse.open() > 0 && self.naps.napped(clock::mono_ms())
                    {
                        tracing::warn!(node = self.config.name, "it falls asleep while it answers");
                    }
                    self.gpu.gone();
                    upstream.is_gone();
                }
                (false, true) => upstream.is_back(),
                _ => {}
            }
            if was_gray != self.health.is_gray() {
                upstream.is_gray(!was_gray);
            }
        }
        if self.health.has_risen() {
            self.places.slow_start(self.id);
        }
        changed
    }

    /// When it has something to do by itself, by the monotonic clock.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.blocked
            .iter()
            .map(|(_, until_ms)| *until_ms)
            .chain(self.health.next_ms())
            .chain(self.naps.next_ms())
            .min()
    }

    /// Time passes.
    pub(super) fn tick(&mut self) -> bool {
        let (now, before) = (clock::now(), self.blocked.len());
        for (over, _) in self.blocked.extract_if(.., |(_, until_ms)| *until_ms <= now.mono_ms) {
            self.forbidden.forgive(&over.model);
        }
        let forgotten = self.naps.tick(now.mono_ms);
        forgotten | (before != self.blocked.len()) | self.change(|health| health.tick(now))
    }

    /// It cannot serve that model for a while.
    pub(super) fn block(&mut self, model: &str, why: String) -> bool {
        let model = key(model).to_owned();
        tracing::warn!(node = self.config.name, model, why, "not asked for this model for a while");
        self.blocked.retain(|(blocked, _)| blocked.model != model);
        self.blocked.push((Blocked { model, why }, clock::mono_ms() + self.patience.blocked_ms));
        true
    }

    /// Can it be asked for that model?
    pub(super) fn offers(&self, model: &str) -> bool {
        self.health.state.takes_requests() && self.models.iter().any(|listed| listed.answers_to(model))
    }

    /// It forbids a request for that model. Where others have it, too, some in a row are enough; alone it goes on to be asked, since
    /// its own words are all that there is to tell.
    pub(super) fn forbids(&mut self, model: &str, others: bool) -> bool {
        if self.forbidden.again(model) == 1 {
            // A key that is no good is refused there as well.
            self.want_look(Wanted::Full);
        }
        let blocks = others && self.forbidden.is_habit(model);
        blocks && self.block(model, "cannot serve it: refused (403) again and again".into())
    }

    /// A request for that model went well.
    pub(super) fn worked(&mut self, model: &str) -> bool {
        self.forbidden.forgive(model);
        if let Some(upstream) = self.upstream.as_ref().filter(|_| self.forbidden.counts()) {
            // To be told of the next one, too, which may be for another model.
            upstream.pulse.has_failed();
        }
        self.change(|health| health.worked(model, clock::now()))
    }

    /// What is in memory can be served: somebody has made room. What is forbidden stays so.
    fn unblock_loaded(&mut self) -> bool {
        let before = self.blocked.len();
        let loaded =
            |model: &str| self.listed.iter().any(|m| m.loaded == Some(true) && key(&m.name) == model);
        let forbidden = &self.forbidden;
        self.blocked.retain(|(blocked, _)| forbidden.is_habit(&blocked.model) || !loaded(&blocked.model));
        before != self.blocked.len()
    }

    /// The model to send a canary for, if one is due.
    pub(super) fn canary(&mut self) -> Option<Arc<str>> {
        self.health.canary(clock::now())
    }

    /// What a canary for that model needs to know. It loads nothing, and costs nobody money.
    pub(super) fn flight(&self, http: reqwest::Client, patience: Patience, model: Arc<str>) -> Flight {
        let listed = self.listed.iter().find(|listed| listed.answers_to(&model));
        let may = listed.is_some_and(|m| m.loaded != Some(false) && !m.remote && !m.embeds_only());
        Flight {
            http,
            url: self.config.url.clone(),
            key: self.upstream.as_ref().and_then(|upstream| upstream.key().cloned()),
            engine: self.engine().filter(|_| may && !self.config.url.is_cloud()),
            model,
            limit_ms: patience.canary_ms,
            whole_ms: patience.whole_silent_ms,
        }
    }

    /// The models that may leave its memory so that `model` fits: those that nobody here uses. `None` when the engine cannot be
    /// asked to.
    pub(super) fn clearing(&self, http: reqwest::Client, places: &Places, model: &str) -> Option<Clearing> {
        let engine = self.engine().filter(|engine| engines::can_load(*engine, &self.models))?;
        let in_use = places.with_room(|room| room.models_on(self.id));
        let idle = |m: &&Model| {
            m.loaded == Some(true)
                && !m.answers_to(model)
                && !in_use.iter().any(|used| **used == *key(&m.name))
        };
        let models = self.listed.iter().filter(idle).cloned().collect();
        let key = self.upstream.as_ref().and_then(|upstream| upstream.key().cloned());
        Some(Clearing { http, url: self.config.url.clone(), key, engine, models })
    }

    fn engine(&self) -> Option<Engine> {
        self.facts.as_ref().map(|facts| facts.engine).or(self.config.engine)
    }

    pub(super) fn show(&self) -> Node {
        let vram_seen = (self.vram_seen > 0).then_some(self.vram_seen);
        Node {
            id: self.id,
            config: self.config.clone(),
            engine: self.engine(),
            version: self.version.clone(),
            dialects: self.facts.as_ref().map(|facts| facts.dialects).unwrap_or_default(),
            state: self.health.state,
            since_ms: self.health.since_ms,
            why: self.health.why.clone(),
            suspect: self.health.suspect,
            marks: Marks {
                blocked: self.blocked.iter().map(|(blocked, _)| blocked.clone()).collect(),
                ..self.health.marks()
            },
            reachable: self.health.answers_somehow(),
            gpu_lost: self.gpu.is_lost(),
            naps: self.naps.is_habit(),
            told: self.told,
            models: self.models.clone(),
            vram_bytes: self.config.vram_bytes.or(vram_seen),
            probe_ms: self.probe_ms,
        }
    }
}
