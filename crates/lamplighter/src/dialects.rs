//! Reads and writes wire formats: bytes in, bytes out. Nothing here awaits or touches a socket.
//!
//! Requests pass through unread but for their [`envelope`]; answers pass through with a [`judge`] listening, which knows
//! when a stream is complete. Refusals are dressed in the caller's own error shape.

pub mod conversation;
pub mod envelope;
pub mod heartbeat;
pub mod json;
pub mod judge;
pub mod ndjson;
pub mod sse;
pub mod whole;

mod absent;
mod anthropic;
mod ollama;
mod openai;
mod responses;
mod shown;

pub use absent::says_model_absent;
pub use ollama::{line as ollama_line, show as ollama_show};
pub use responses::id as response_id;
pub use shown::Shown;

use bytes::Bytes;
use lamplighter_core::{operation::Dialect, refusal::Refusal};

/// Content type of every error body and list we write ourselves.
pub const JSON: &str = "application/json; charset=utf-8";

/// The error body of a refusal in the caller's dialect.
#[must_use]
pub fn error_body(dialect: Dialect, refusal: &Refusal, request_id: &str) -> Bytes {
    let text = match refusal.hint() {
        Some(hint) => format!("{} {hint}", refusal.message()),
        None => refusal.message(),
    };
    match dialect {
        Dialect::Openai | Dialect::Responses => openai::error_body(refusal, &text),
        Dialect::Anthropic => anthropic::error_body(refusal, &text, request_id),
        Dialect::Ollama => ollama::error_body(&text),
    }
}

/// What is put into a stream that ends before its answer is complete, so that no client takes it for whole.
#[must_use]
pub fn error_event(dialect: Dialect, code: &str, text: &str) -> Bytes {
    match dialect {
        Dialect::Openai => openai::error_event(code, text),
        Dialect::Responses => responses::error_event(code, text),
        Dialect::Anthropic => anthropic::error_event(text),
        Dialect::Ollama => ollama::error_event(text),
    }
}

/// What ends an event of a stream, also one that has been cut.
#[must_use]
pub fn end_of_event(dialect: Dialect) -> Bytes {
    Bytes::from_static(match dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic => b"\n\n",
        Dialect::Ollama => b"\n",
    })
}

/// The message of a node's error body, in any dialect's shape, cut and in one line.
#[must_use]
pub fn words_of_error(body: &[u8]) -> String {
    words_in_json(body).unwrap_or_else(|| "it gave no reason".into())
}

/// What an error body says for people, in any dialect's shape or as plain text, cut and in one line.
#[must_use]
pub fn said(body: &[u8]) -> Option<String> {
    if whole::is_object(body) { words_in_json(body) } else { plain_words(body) }
}

fn words_in_json(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &value["error"];
    let text = error.as_str().or_else(|| error["message"].as_str())?;
    Some(text.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// What a body says that is no JSON: its first words, if it has any for people. A web page has none.
#[must_use]
pub fn plain_words(body: &[u8]) -> Option<String> {
    let body = body.trim_ascii();
    let text =
        std::str::from_utf8(&body[..body.len().min(600)]).ok().filter(|text| !text.starts_with('<'))?;
    let words: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    (!words.is_empty()).then_some(words)
}

/// The content type of a stream.
#[must_use]
pub fn stream_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic => "text/event-stream",
        Dialect::Ollama => "application/x-ndjson",
    }
}

/// The model lists, in each dialect's shape.
pub mod lists {
    pub use super::{
        anthropic::{model as anthropic_model, models as anthropic_models},
        ollama::{ps, tags},
        openai::{model as openai_model, models as openai_models},
    };
}
