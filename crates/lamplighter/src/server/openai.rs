//! OpenAI's routes.

use super::{House, call};
use crate::{answer, dialects, dialects::lists, proxy};
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, header};
use lamplighter_core::{
    operation::{Dialect, Operation},
    refusal::Refusal,
};
use serde_json::Value;

/// `/v1/…`
pub fn routes() -> Router<House> {
    Router::new()
        .route("/v1/models", get(models))
        // Names contain slashes, and clients do not always encode them.
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(async |s, r| inference(Operation::ChatCompletions, s, r).await))
        .route("/v1/completions", post(async |s, r| inference(Operation::Completions, s, r).await))
        .route("/v1/embeddings", post(async |s, r| inference(Operation::Embeddings, s, r).await))
        .route("/v1/responses", post(async |s, r| inference(Operation::Responses, s, r).await))
}

/// Any operation that names a model.
pub async fn inference(operation: Operation, State(house): State<House>, request: Request) -> Response {
    match call::read(operation, request).await {
        Ok(call) => proxy::serve(&house.proxy, call).await,
        Err((refusal, id)) => answer::refuse(operation.dialect(), &refusal, &id),
    }
}

/// A list that we write ourselves.
pub fn json(value: &Value, headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let to = response.headers_mut();
    to.insert(header::CONTENT_TYPE, HeaderValue::from_static(dialects::JSON));
    if let Ok(id) = HeaderValue::try_from(call::request_id(headers)) {
        to.insert(answer::REQUEST_ID, id);
    }
    response
}

/// Anthropic's clients ask for the same path and say who they are (Anthropic API reference, "Versions").
fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

async fn models(State(house): State<House>, headers: HeaderMap) -> Response {
    let now = house.proxy.registry.house();
    let shown = house.proxy.shown(&now.fleet);
    json(
        &if is_anthropic(&headers) { lists::anthropic_models(shown) } else { lists::openai_models(shown) },
        &headers,
    )
}

async fn model(State(house): State<House>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let now = house.proxy.registry.house();
    let shown = house.proxy.shown(&now.fleet);
    let (dialect, found) = if is_anthropic(&headers) {
        (Dialect::Anthropic, lists::anthropic_model(shown, &id))
    } else {
        (Dialect::Openai, lists::openai_model(shown, &id))
    };
    match found {
        Some(value) => json(&value, &headers),
        None => {
            let model = call::printable(&id, 200);
            let refusal = Refusal::ModelUnknown { similar: vec![], model, no_node: None };
            answer::refuse(dialect, &refusal, &call::request_id(&headers))
        }
    }
}
