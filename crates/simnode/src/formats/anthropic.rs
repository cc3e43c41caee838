//! Anthropic messages, as Ollama, llama.cpp and vLLM write them.

use super::{Finish, Spec, Wire, sse_named};
use crate::json::{Null, Object, Raw, arr, obj};
use crate::profile::Engine;
use bytes::Bytes;

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) spec: Spec,
}

impl Message {
    fn id(&self) -> String {
        match self.spec.engine {
            Engine::Llamacpp | Engine::LlamacppRouter => self.spec.id("chatcmpl-", 32),
            Engine::Vllm => format!("chatcmpl-{:016x}", self.spec.seed),
            _ => format!("msg_{:024x}", self.spec.seed),
        }
    }

    fn stop_reason(&self) -> &'static str {
        match self.spec.finish {
            Finish::Stop => "end_turn",
            Finish::Length => "max_tokens",
        }
    }

    fn usage(&self, output: u64) -> Raw {
        let object = Object::new();
        let object =
            if self.spec.is_llamacpp() { object.with("cache_read_input_tokens", &0) } else { object };
        object.with("input_tokens", &self.spec.prompt_tokens).with("output_tokens", &output).end()
    }

    /// The message without its text.
    fn head(&self, content: &[Raw], stop: Option<&str>, output: u64) -> Raw {
        obj! {
            "id": self.id(), "type": "message", "role": "assistant", "content": content,
            "model": self.spec.model, "stop_reason": stop, "stop_sequence": Null, "usage": self.usage(output),
        }
    }
}

impl Wire for Message {
    fn stream_type(&self) -> &'static str {
        match self.spec.engine {
            Engine::Vllm => "text/event-stream; charset=utf-8",
            _ => "text/event-stream",
        }
    }

    fn opening(&self) -> Vec<Bytes> {
        let start = obj! { "type": "message_start", "message": self.head(&[], None, 0) };
        let mut events = vec![sse_named("message_start", &start)];
        if !self.spec.empty {
            let block = obj! {
                "type": "content_block_start", "index": 0, "content_block": obj! { "type": "text", "text": "" },
            };
            events.push(sse_named("content_block_start", &block));
        }
        events
    }

    fn token(&self, _index: usize, text: &str) -> Bytes {
        let delta = obj! { "type": "text_delta", "text": text };
        sse_named("content_block_delta", &obj! { "type": "content_block_delta", "index": 0, "delta": delta })
    }

    fn closing(&self) -> Vec<Bytes> {
        let mut events = Vec::with_capacity(3);
        if !self.spec.empty {
            events.push(sse_named("content_block_stop", &obj! { "type": "content_block_stop", "index": 0 }));
        }
        let delta = obj! { "stop_reason": self.stop_reason(), "stop_sequence": Null };
        let output = self.spec.completion_tokens();
        // llama.cpp repeats only the output tokens here.
        let usage = if self.spec.is_llamacpp() {
            obj! { "output_tokens": output }
        } else {
            self.usage(output)
        };
        events.push(sse_named(
            "message_delta",
            &obj! { "type": "message_delta", "delta": delta, "usage": usage },
        ));
        events.push(sse_named("message_stop", &obj! { "type": "message_stop" }));
        events
    }

    fn failure(&self, message: &str) -> Bytes {
        let error = obj! { "type": "api_error", "message": message };
        sse_named("error", &obj! { "type": "error", "error": error })
    }

    fn unfinished(&self) -> Bytes {
        Bytes::from_static(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"",
        )
    }

    fn whole(&self) -> Bytes {
        let content = if self.spec.empty {
            Vec::new()
        } else {
            arr![obj! { "type": "text", "text": self.spec.text() }]
        };
        Bytes::from(self.head(&content, Some(self.stop_reason()), self.spec.completion_tokens()).0)
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }
}
