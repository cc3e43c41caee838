//! OpenAI Responses: the error inside a stream (OpenAI API reference, "Streaming events", `error`).

use bytes::Bytes;
use memchr::memmem;
use serde_json::json;

/// The `error` event. It carries an `error` object besides, because openai-python raises on that and passes a bare
/// `type: "error"` on as an ordinary event (openai-python `src/openai/_streaming.py`).
pub fn error_event(code: &str, text: &str) -> Bytes {
    let error = json!({ "type": "error", "code": code, "message": text, "param": null,
        "error": { "type": "server_error", "code": code, "message": text, "param": null } });
    format!("event: error\ndata: {error}\n\n").into()
}

/// The id of the answer that begins here: that of the response itself comes first, in a whole answer as in the first event of a
/// stream (OpenAI API reference, "The Response object", `response.created`).
pub fn id(beginning: &[u8]) -> Option<&str> {
    let beginning = &beginning[..beginning.len().min(4096)];
    let after = &beginning[memmem::find(beginning, b"\"id\"")? + 4..];
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let id = std::str::from_utf8(&value[..memchr::memchr(b'"', value)?]).ok()?;
    (id.starts_with("resp_") && !id.contains('\\')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_whole_answer_and_of_a_stream() {
        assert_eq!(
            id(br#"{"object":"response", "id" : "resp_1f","output":[{"id":"msg_2"}]}"#),
            Some("resp_1f")
        );
        let event = br#"event: response.created
data: {"type":"response.created","response":{"id":"resp_7","object":"response"}}"#;
        assert_eq!(id(event), Some("resp_7"));
        for none in [
            &b"{}"[..],
            br#"{"id":"msg_1"}"#,
            br#"{"id":7}"#,
            br#"{"id":"resp_\u0041"}"#,
            br#"{"id":"resp_1"#,
        ] {
            assert_eq!(id(none), None, "{}", String::from_utf8_lossy(none));
        }
    }
}
