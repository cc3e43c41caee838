//! Asks a node for one token of a model that is in its memory: the proof of work that its lists are not.

use http::{HeaderValue, header};
use lamplighter_core::{canary::Song, node::Engine, node_url::NodeUrl};
use reqwest::Client;
use serde_json::{Value, json};
use std::time::Duration;

/// An answer of one token is small; what is larger is none.
const CAP: usize = 64 << 10;

/// Asks for one token, on a connection that no request of a client uses; at most for `limit`.
///
/// Ollama: `/api/generate` with `num_predict: 1`, which changes nothing that would load the model anew (ollama
/// `docs/api.md`). All others: OpenAI's chat with `max_tokens: 1`.
pub async fn one_token(
    http: &Client,
    url: &NodeUrl,
    key: Option<&HeaderValue>,
    engine: Engine,
    model: &str,
    limit: Duration,
) -> Song {
    let (path, body) = match engine {
        Engine::Ollama => (
            "/api/generate",
            json!({ "model": model, "prompt": "Hi", "stream": false, "options": { "num_predict": 1 } }),
        ),
        Engine::Vllm | Engine::Llamacpp | Engine::Lmstudio | Engine::Openai => (
            "/v1/chat/completions",
            json!({ "model": model, "max_tokens": 1, "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
    };
    // The client's own limit is that of a probe.
    let mut request = http.post(url.join(path)).json(&body).timeout(limit);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, key);
    }
    tokio::time::timeout(limit, song(request)).await.unwrap_or(Song::Silent)
}

async fn song(request: reqwest::RequestBuilder) -> Song {
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        // Gone is not gray: the probes will say so.
        Err(error) if error.is_connect() => return Song::Unclear,
        Err(_) => return Song::Silent,
    };
    match answer.status().as_u16() {
        200..=299 => {}
        500 | 502 | 504 => return Song::Silent,
        _ => return Song::Unclear,
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > CAP {
            return Song::Unclear;
        }
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else { return Song::Silent };
    let generated = body["choices"].as_array().is_some_and(|choices| !choices.is_empty())
        || body["response"].is_string() && body["done"] == true;
    if generated { Song::Sang } else { Song::Silent }
}
