//! OpenAI Responses: the error inside a stream (OpenAI API reference, "Streaming events", `error`).

use bytes::Bytes;
use serde_json::json;

/// The `error` event. It carries an `error` object besides, because openai-python raises on that and passes a bare
/// `type: "error"` on as an ordinary event (openai-python `src/openai/_streaming.py`).
pub fn error_event(code: &str, text: &str) -> Bytes {
    let error = json!({ "type": "error", "code": code, "message": text, "param": null,
        "error": { "type": "server_error", "code": code, "message": text, "param": null } });
    format!("event: error\ndata: {error}\n\n").into()
}
