//! An answer that came in one piece: is it one?

use super::{
    json::Cursor,
    judge::{Judge, Standing, is_error},
    words_of_error,
};
use lamplighter_core::operation::Dialect;

/// Up to this size it is read through; of a longer one (embeddings are) only the ends are looked at.
const READ_CAP: usize = 64 << 10;

/// What is wrong with an answer that came in one piece with a status of success; `None` when nothing is.
///
/// It is a JSON object and no error. Some servers send a stream under another content type: that is complete or not, as streams
/// are.
#[must_use]
pub fn trouble(dialect: Dialect, body: &[u8]) -> Option<String> {
    if is_object(body) {
        let is_error = body.len() <= READ_CAP && is_error(dialect, body);
        return is_error.then(|| format!("it answered with an error: {}", words_of_error(body)));
    }
    let mut judge = Judge::new(dialect);
    if judge.push(body).is_ok() {
        judge.finish();
    }
    match judge.standing() {
        Standing::Complete => None,
        Standing::NodeError => Some(format!("it answered with an error: {}", words_of_error(body))),
        Standing::Unfinished => Some("what it answered is no JSON object".into()),
    }
}

/// Is it one JSON object?
#[must_use]
pub fn is_object(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    if !(body.starts_with(b"{") && body.ends_with(b"}")) {
        return false;
    }
    let mut cursor = Cursor::new(body);
    body.len() > READ_CAP || cursor.value().is_ok() && cursor.is_at_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_answer_and_what_is_none() {
        let chat = r#" {"choices":[{"message":{"content":"error"},"finish_reason":"stop"}],"error":null} "#;
        let large = format!("{{\"data\":[\"{}\"]}}", "x".repeat(READ_CAP));
        for (dialect, body) in [
            (Dialect::Openai, chat),
            (Dialect::Openai, large.as_str()),
            (Dialect::Responses, r#"{"error":null,"status":"completed"}"#),
            (Dialect::Anthropic, r#"{"type":"message","content":[]}"#),
            (Dialect::Ollama, "{\"done\":true}\n"),
            (Dialect::Ollama, "{\"done\":false}\n{\"done\":true}\n"),
            (Dialect::Openai, "data: {}\n\ndata: [DONE]\n\n"),
        ] {
            assert_eq!(trouble(dialect, body.as_bytes()), None, "{body}");
        }
        for (dialect, body) in [
            (Dialect::Openai, ""),
            (Dialect::Openai, "{\"choices\":["),
            (Dialect::Openai, "{\"choices\":[}}"),
            (Dialect::Openai, "<html>no</html>"),
            (Dialect::Openai, "null"),
            (Dialect::Openai, "[{}]"),
            (Dialect::Openai, "{}{}"),
            (Dialect::Openai, "data: {\"choices\":[]}\n\n"),
            (Dialect::Openai, "{\"error\":{\"message\":\"no\"}}"),
            (Dialect::Ollama, "{\"error\":\"no\"}"),
            (Dialect::Ollama, "{\"done\":false}\n{\"done\":fal"),
            (Dialect::Anthropic, "{\"type\":\"error\",\"error\":{\"message\":\"no\"}}"),
            (Dialect::Openai, "\u{feff}"),
            (Dialect::Openai, &large[..large.len() - 1]),
        ] {
            assert!(trouble(dialect, body.as_bytes()).is_some(), "{body}");
        }
    }
}
