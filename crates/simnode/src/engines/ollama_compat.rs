//! Ollama's OpenAI and Anthropic routes: translations in front of its own handlers.

use super::ollama::{canonical, list_or_null, named};
use super::{Dialect, Plan, Reply, json};
use crate::answer::Answer;
use crate::ask::Ask;
use crate::formats::{JSON_UTF8, embeddings};
use crate::json::{Null, Raw, obj};
use crate::node::Node;
use crate::profile::SimModel;

pub(crate) fn reply(node: &Node, ask: &Ask) -> Reply {
    let path = ask.path();
    if path == "/v1/models" {
        let entries: Vec<Raw> = node.residents.models().iter().map(entry).collect();
        return Reply::Now(json(200, JSON_UTF8, obj! { "object": "list", "data": list_or_null(&entries) }));
    }
    if let Some(id) = path.strip_prefix("/v1/models/") {
        let id = decode(id);
        return Reply::Now(match node.residents.find(&canonical(&id)) {
            Some(model) => json(200, JSON_UTF8, entry(&model)),
            None => error(path, 404, &format!("model '{id}' not found")),
        });
    }
    if path == "/v1/audio/transcriptions" {
        return Reply::Now(json(
            200,
            JSON_UTF8,
            obj! { "text": format!("{} heard something", node.profile.name) },
        ));
    }
    if !ask.json().is_some_and(serde_json::Value::is_object) {
        let what = if ask.body.is_empty() { "EOF" } else { "unexpected EOF" };
        return Reply::Now(error(path, 400, what));
    }
    match path {
        "/v1/chat/completions" => chat(node, ask),
        "/v1/completions" => generate(node, ask, Dialect::Completion),
        "/v1/embeddings" => embed(node, ask),
        "/v1/responses" => generate(node, ask, Dialect::Responses),
        _ => messages(node, ask),
    }
}

/// Ollama's `NewError` of the openai and anthropic packages.
pub(crate) fn error(path: &str, status: u16, message: &str) -> Answer {
    if path.starts_with("/v1/messages") {
        let kind = match status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            _ => "api_error",
        };
        let error = obj! { "type": kind, "message": message };
        let body = obj! { "type": "error", "error": error, "request_id": "req_000000000000000000000000" };
        return json(status, JSON_UTF8, body);
    }
    let kind = match status {
        400 => "invalid_request_error",
        404 => "not_found_error",
        _ => "api_error",
    };
    let error = obj! { "message": message, "type": kind, "param": Null, "code": Null };
    json(status, JSON_UTF8, obj! { "error": error })
}

fn entry(model: &SimModel) -> Raw {
    obj! { "id": model.name, "object": "model", "created": model.modified_s, "owned_by": "library" }
}

fn chat(node: &Node, ask: &Ask) -> Reply {
    if !ask.has_items("messages") {
        return Reply::Now(error(ask.path(), 400, "[] is too short - 'messages'"));
    }
    generate(node, ask, Dialect::Chat)
}

fn messages(node: &Node, ask: &Ask) -> Reply {
    let bad = |message: &str| Reply::Now(error(ask.path(), 400, message));
    if ask.text("model").unwrap_or_default().is_empty() {
        return bad("model is required");
    }
    if ask.limit(&["max_tokens"]).unwrap_or_default() == 0 {
        return bad("max_tokens is required and must be positive");
    }
    if !ask.has_items("messages") {
        return bad("messages is required");
    }
    generate(node, ask, Dialect::Messages)
}

fn generate(node: &Node, ask: &Ask, dialect: Dialect) -> Reply {
    let shown = ask.text("model").unwrap_or_default();
    if shown.is_empty() {
        return Reply::Now(error(ask.path(), 400, "model is required"));
    }
    let Some(model) = named(node, ask) else {
        return Reply::Now(error(ask.path(), 404, &format!("model '{shown}' not found")));
    };
    if !node.profile.old && !model.capabilities.iter().any(|can| can == "completion") {
        return Reply::Now(error(ask.path(), 400, &format!("\"{shown}\" does not support chat")));
    }
    Reply::Generate(Box::new(Plan::new(node, ask, dialect, model, shown)))
}

fn embed(node: &Node, ask: &Ask) -> Reply {
    let shown = ask.text("model").unwrap_or_default();
    let inputs = ask.inputs("input");
    if inputs.is_empty() {
        return Reply::Now(error(ask.path(), 400, "invalid input"));
    }
    let Some(model) = named(node, ask) else {
        return Reply::Now(error(
            ask.path(),
            404,
            &format!("model \"{shown}\" not found, try pulling it first"),
        ));
    };
    let answer = json(200, JSON_UTF8, embedding_list(node, ask, shown));
    Reply::Loaded { model: Box::new(model), keep_alive_s: None, answer }
}

/// The list of `/v1/embeddings`, the same for every engine but for its key order.
pub(crate) fn embedding_list(node: &Node, ask: &Ask, shown: &str) -> Raw {
    let dims = ask.limit(&["dimensions"]).unwrap_or(node.profile.embedding_dims);
    let base64 = ask.text("encoding_format") == Some("base64");
    let data: Vec<Raw> = ask
        .inputs("input")
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embeddings::written(&embeddings::vector(text, dims), base64);
            obj! { "object": "embedding", "embedding": vector, "index": index }
        })
        .collect();
    let tokens = ask.prompt_tokens();
    let usage = obj! { "prompt_tokens": tokens, "total_tokens": tokens };
    obj! { "object": "list", "data": data, "model": shown, "usage": usage }
}

/// Percent-decoding of one path segment.
pub(crate) fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = segment.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex.filter(|_| bytes[index] == b'%') {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
