//! Ollama's routes (ollama `server/routes.go`, `GenerateRoutes`).

use super::{
    House,
    openai::{inference, json},
};
use crate::dialects::lists;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::HeaderMap;
use lamplighter_core::operation::Operation;
use serde_json::json;

/// The version that clients are told when no Ollama node has told one. Clients compare it (VS Code's Copilot wants at least
/// 0.6.4), so it is a plain one of a release whose routes we have.
const VERSION: &str = "0.13.0";

/// `/` and `/api/…`
pub fn routes() -> Router<House> {
    Router::new()
        .route("/", get(async || "Ollama is running"))
        .route("/api/version", get(version))
        .route("/api/tags", get(tags))
        .route("/api/ps", get(ps))
        .route("/api/show", post(async |s, r| inference(Operation::OllamaShow, s, r).await))
        .route("/api/chat", post(async |s, r| inference(Operation::OllamaChat, s, r).await))
        .route("/api/generate", post(async |s, r| inference(Operation::OllamaGenerate, s, r).await))
        .route("/api/embed", post(async |s, r| inference(Operation::OllamaEmbed, s, r).await))
        .route("/api/embeddings", post(async |s, r| inference(Operation::OllamaEmbeddings, s, r).await))
        .merge(super::manage::routes())
}

/// The lowest version among the Ollama nodes: what a client concludes from it must hold on each of them.
async fn version(State(house): State<House>, headers: HeaderMap) -> Response {
    let house = house.proxy.registry.house();
    let nodes = house.fleet.nodes.iter().filter(|node| node.state.takes_requests() && node.dialects.ollama);
    let told =
        nodes.filter_map(|node| node.version.as_deref()).filter_map(|text| Some((semver(text)?, text)));
    let lowest = told.min().map_or(VERSION, |(_, text)| text);
    json(&json!({ "version": lowest }), &headers)
}

fn semver(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(str::parse);
    let three = [parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?];
    parts.next().is_none().then_some(three)
}

async fn tags(State(house): State<House>, headers: HeaderMap) -> Response {
    let now = house.proxy.registry.house();
    json(&lists::tags(house.proxy.shown(&now.fleet)), &headers).into_response()
}

async fn ps(State(house): State<House>, headers: HeaderMap) -> Response {
    json(&lists::ps(&house.proxy.registry.house().fleet), &headers).into_response()
}
