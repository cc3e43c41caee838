//! Anthropic's shapes that we write ourselves: errors and model lists (Anthropic API reference, "Errors" and "Models").

use super::Shown;
use bytes::Bytes;
use lamplighter_core::{operation::Dialect, refusal::Refusal};
use serde_json::{Value, json};

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`
pub fn error_body(refusal: &Refusal, text: &str, request_id: &str) -> Bytes {
    let kind = match refusal.status() {
        400 | 405 | 408 | 415 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": text }, "request_id": request_id })
        .to_string()
        .into()
}

/// `event: error` inside a stream. No `message_stop` follows.
pub fn error_event(text: &str) -> Bytes {
    let error = json!({ "type": "error", "error": { "type": "api_error", "message": text } });
    format!("event: error\ndata: {error}\n\n").into()
}

/// `GET /v1/models` for a client that sends `anthropic-version`.
#[must_use]
pub fn models(shown: Shown<'_>) -> Value {
    let listed = shown.entries(Dialect::Anthropic).map(|entry| value(&entry.name));
    let aliases = shown.aliases(Dialect::Anthropic).map(|(name, _)| value(name));
    let data: Vec<Value> = aliases.chain(listed).collect();
    let end = |at: Option<&Value>| at.map(|model| model["id"].clone());
    json!({ "first_id": end(data.first()), "last_id": end(data.last()), "has_more": false, "data": data })
}

/// `GET /v1/models/{id}` for a client that sends `anthropic-version`.
#[must_use]
pub fn model(shown: Shown<'_>, name: &str) -> Option<Value> {
    shown.named(name, Dialect::Anthropic).map(|named| value(named.name()))
}

fn value(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z" })
}
