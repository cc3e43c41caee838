//! Loads a model into a node's memory and takes it out again, where the engine can be asked to.

use http::{HeaderValue, header};
use lamplighter_core::{model::Model, node::Engine, node_url::NodeUrl};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest time for a load: Ollama's own limit is 5 minutes without progress (`OLLAMA_LOAD_TIMEOUT`).
const LOAD_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Longest time for an unload.
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Can a model be loaded and unloaded there by asking? llama.cpp only as a router, which lists models that are not loaded or
/// more than one.
#[must_use]
pub fn can_load(engine: Engine, models: &[Model]) -> bool {
    match engine {
        Engine::Ollama => true,
        Engine::Llamacpp => models.len() > 1 || models.iter().any(|model| model.loaded == Some(false)),
        Engine::Vllm | Engine::Lmstudio | Engine::Openai => false,
    }
}

/// Loads a model and waits until it is in memory.
///
/// Ollama: `/api/generate` without a prompt, `/api/embed` without input for models that only embed (ollama
/// `server/routes.go`). llama.cpp's router: `POST /models/load` (llama.cpp `tools/server/README.md`).
///
/// # Errors
/// In words for a person: what the node said, or why it cannot be asked.
pub async fn load(
    http: &Client,
    url: &NodeUrl,
    key: Option<&HeaderValue>,
    engine: Engine,
    model: &Model,
) -> Result<(), String> {
    let (path, body) = match engine {
        Engine::Ollama if model.embeds_only() => ("/api/embed", json!({ "model": model.name, "input": [] })),
        Engine::Ollama => ("/api/generate", json!({ "model": model.name, "stream": false })),
        Engine::Llamacpp => ("/models/load", json!({ "model": model.name })),
        Engine::Vllm | Engine::Lmstudio | Engine::Openai => return Err(cannot(engine)),
    };
    post(http, url, key, path, &body, LOAD_TIMEOUT).await
}

/// Takes a model out of memory.
///
/// Ollama: the same with `keep_alive: 0`. llama.cpp's router: `POST /models/unload`.
///
/// # Errors
/// In words for a person: what the node said, or why it cannot be asked.
pub async fn unload(
    http: &Client,
    url: &NodeUrl,
    key: Option<&HeaderValue>,
    engine: Engine,
    model: &Model,
) -> Result<(), String> {
    let (path, body) = match engine {
        Engine::Ollama if model.embeds_only() => {
            ("/api/embed", json!({ "model": model.name, "input": [], "keep_alive": 0 }))
        }
        Engine::Ollama => ("/api/generate", json!({ "model": model.name, "keep_alive": 0, "stream": false })),
        Engine::Llamacpp => ("/models/unload", json!({ "model": model.name })),
        Engine::Vllm | Engine::Lmstudio | Engine::Openai => return Err(cannot(engine)),
    };
    post(http, url, key, path, &body, UNLOAD_TIMEOUT).await
}

fn cannot(engine: Engine) -> String {
    format!(
        "{} keeps the models it was started with: they cannot be loaded or unloaded by asking",
        engine.title()
    )
}

async fn post(
    http: &Client,
    url: &NodeUrl,
    key: Option<&HeaderValue>,
    path: &str,
    body: &Value,
    limit: Duration,
) -> Result<(), String> {
    let mut request = http.post(url.join(path)).json(body).timeout(limit);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, key);
    }
    let answer = request.send().await.map_err(|error| {
        if error.is_timeout() {
            format!("it did not finish in {} s", limit.as_secs())
        } else {
            "it does not answer".into()
        }
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(format!("it said {}: {}", status.as_u16(), said(answer).await))
}

/// The message of an error body, in any of the engines' shapes, cut.
async fn said(mut answer: Response) -> String {
    let mut body = Vec::new();
    while body.len() < 16 << 10 {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &value["error"];
    let text = error.as_str().or_else(|| error["message"].as_str()).unwrap_or("no reason given");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
