//! What the registry asks of a node beyond looking: one token from a model that is in memory, and room in that memory.

use crate::{clock, engines, upstream::Upstream};
use http::HeaderValue;
use lamplighter_core::{canary::Song, model::Model, node::Engine, node_url::NodeUrl};
use std::{sync::Arc, time::Duration};

/// Time for all that is to leave a node's memory: the request that needs the room waits.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(15);

/// One canary.
pub(super) struct Flight {
    pub(super) http: reqwest::Client,
    pub(super) url: NodeUrl,
    pub(super) key: Option<HeaderValue>,
    /// `None` when nothing may be asked there.
    pub(super) engine: Option<Engine>,
    pub(super) model: Arc<str>,
    pub(super) limit_ms: u64,
    pub(super) whole_ms: u64,
}

/// Sends it. Never longer than its limit.
///
/// Its silence says nothing while the node may be at work on something else: most engines take one request at a time unless told
/// otherwise, and the canary waits behind it. vLLM answers beside whatever it does.
pub(super) async fn fly(flight: Flight, upstream: Option<&Upstream>) -> Song {
    let Flight { http, url, key, engine, model, limit_ms, whole_ms } = flight;
    let Some(engine) = engine else { return Song::Unclear };
    let (limit, since_ms) = (Duration::from_millis(limit_ms), clock::mono_ms());
    let song = engines::one_token(&http, &url, key.as_ref(), engine, &model, limit).await;
    let is_busy = || upstream.is_some_and(|upstream| upstream.pulse.may_be_generating(since_ms, whole_ms));
    let song = if song == Song::Silent && engine != Engine::Vllm && is_busy() { Song::Unclear } else { song };
    tracing::info!(node = %url, %model, ?song, "asked for one token");
    song
}

/// Models to take out of one node's memory.
pub(super) struct Clearing {
    pub(super) http: reqwest::Client,
    pub(super) url: NodeUrl,
    pub(super) key: Option<HeaderValue>,
    pub(super) engine: Engine,
    pub(super) models: Vec<Model>,
}

/// Takes them out, as far as that goes within the bound: it is a hint, and what follows finds out what it was worth.
pub(super) async fn clear(clearing: Clearing) {
    let Clearing { http, url, key, engine, models } = clearing;
    let all = async {
        for model in &models {
            if let Err(why) = engines::unload(&http, &url, key.as_ref(), engine, model).await {
                tracing::warn!(node = %url, model = model.name, why, "not unloaded");
            }
        }
    };
    if tokio::time::timeout(CLEAR_TIMEOUT, all).await.is_err() {
        tracing::warn!(node = %url, "unloading takes too long");
    }
}
