//! Signs of life for a client that waits: each in its own dialect, none of them an answer.
//!
//! Clients give up on silence (undici after 300 s, some after 30 s), and a long prompt or a queue is silent for minutes.

use bytes::Bytes;
use lamplighter_core::{config::SignsOfLife, operation::Operation};
use serde_json::json;
use std::time::Duration;

/// A client hears something at least this often.
pub const EVERY: Duration = Duration::from_secs(10);

/// How one stream's client is told that we are still there.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    operation: Operation,
    model: String,
    way: SignsOfLife,
}

impl Heartbeat {
    /// For a stream of that operation, about the model as the client named it; `way` is for OpenAI's clients. `None` where nothing
    /// streams.
    #[must_use]
    pub fn of(operation: Operation, model: &str, way: SignsOfLife) -> Option<Self> {
        let streams = match operation {
            Operation::ChatCompletions
            | Operation::Completions
            | Operation::Responses
            | Operation::Messages
            | Operation::OllamaChat
            | Operation::OllamaGenerate => true,
            Operation::Embeddings
            | Operation::CountTokens
            | Operation::OllamaEmbed
            | Operation::OllamaEmbeddings
            | Operation::OllamaShow => false,
        };
        streams.then(|| Self { operation, model: model.to_owned(), way })
    }

    /// One sign of life, at `now_ms` since 1970. Whole by itself: it may stand between any two events.
    ///
    /// OpenAI: an SSE comment, without a blank line behind it, which openai-python up to 2.37 took for an event; or, where the
    /// owner wants that, a chunk with nothing in it (OpenAI API reference, "The chat completion chunk object"). Anthropic:
    /// `ping` (Anthropic API reference, "Streaming messages"). Ollama has no comment: an object with nothing in it.
    #[must_use]
    pub fn bytes(&self, now_ms: u64) -> Bytes {
        let created_at = || {
            let now = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(0));
            now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
        };
        let line = |value: serde_json::Value| Bytes::from(format!("{value}\n"));
        match self.operation {
            Operation::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            Operation::OllamaChat => line(json!({ "model": self.model, "created_at": created_at(),
                "message": { "role": "assistant", "content": "" }, "done": false })),
            Operation::OllamaGenerate => line(json!({ "model": self.model, "created_at": created_at(),
                "response": "", "done": false })),
            Operation::ChatCompletions if self.way == SignsOfLife::EmptyDelta => self.chunk(
                "chat.completion.chunk",
                now_ms,
                &json!({ "index": 0, "delta": {}, "finish_reason": null }),
            ),
            Operation::Completions if self.way == SignsOfLife::EmptyDelta => self.chunk(
                "text_completion",
                now_ms,
                &json!({ "index": 0, "text": "", "finish_reason": null }),
            ),
            _ => Bytes::from_static(b": still here\n"),
        }
    }
}

impl Heartbeat {
    fn chunk(&self, object: &str, now_ms: u64, choice: &serde_json::Value) -> Bytes {
        let chunk = json!({ "id": "chatcmpl-lamplighter", "object": object, "created": now_ms / 1_000,
            "model": self.model, "choices": [choice] });
        Bytes::from(format!("data: {chunk}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::judge::{Judge, Standing};

    /// Nobody takes a sign of life for an answer, least of all its end.
    #[test]
    fn a_heartbeat_finishes_nothing() {
        for operation in [
            Operation::ChatCompletions,
            Operation::Completions,
            Operation::Responses,
            Operation::Messages,
            Operation::OllamaChat,
            Operation::OllamaGenerate,
        ] {
            for way in SignsOfLife::ALL {
                let beat = Heartbeat::of(operation, "say \"m\"", way).unwrap().bytes(1_787_308_200_123);
                let mut judge = Judge::new(operation.dialect());
                judge.push(&[beat.clone(), beat.clone()].concat()).unwrap();
                judge.finish();
                assert_eq!(judge.standing(), Standing::Unfinished, "{operation:?} {way:?}");
            }
        }
        let comment = SignsOfLife::Comment;
        assert!(Heartbeat::of(Operation::Embeddings, "m", comment).is_none());
        let beat = Heartbeat::of(Operation::OllamaChat, "m", comment).unwrap().bytes(1_787_308_200_123);
        let value: serde_json::Value = serde_json::from_slice(&beat).unwrap();
        assert_eq!(value["created_at"], "2026-08-21T10:30:00.123Z");
    }
}
