//! OpenAI chat completions and plain completions, with the differences between the engines.

use super::{Spec, Wire, sse};
use crate::json::{Null, Raw, arr, obj};
use crate::profile::Engine;
use bytes::Bytes;

/// A chat completion, or with `plain` a text completion.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) spec: Spec,
    pub(crate) plain: bool,
}

impl Chat {
    fn id(&self) -> String {
        let spec = &self.spec;
        match spec.engine {
            // Ollama's ids are a number below 999 and repeat.
            Engine::Ollama if self.plain => format!("cmpl-{}", spec.seed % 999),
            Engine::Ollama => format!("chatcmpl-{}", spec.seed % 999),
            Engine::Vllm if self.plain => format!("cmpl-{:016x}", spec.seed),
            Engine::Vllm => format!("chatcmpl-{:016x}", spec.seed),
            Engine::Openai | Engine::Lmstudio if self.plain => spec.id("cmpl-", 24),
            _ => spec.id("chatcmpl-", 32),
        }
    }

    fn fingerprint(&self) -> &'static str {
        match self.spec.engine {
            Engine::Ollama => "fp_ollama",
            Engine::Llamacpp | Engine::LlamacppRouter => "b11434-unknown",
            Engine::Vllm => "vllm-0.32.0-fc215f93",
            Engine::Openai | Engine::Lmstudio => "fp_simulated",
        }
    }

    /// One stream event with these choices; `tail` is `usage` in its last form.
    fn chunk(&self, choices: &[Raw], last: bool, usage: bool) -> Bytes {
        let spec = &self.spec;
        let object = if self.plain { "text_completion" } else { "chat.completion.chunk" };
        let usage = usage.then(|| spec.usage());
        let built = if spec.is_llamacpp() {
            crate::json::Object::new()
                .with("choices", &choices)
                .with("created", &spec.created_s)
                .with("id", &self.id())
                .with("model", &spec.model)
                .with("system_fingerprint", &self.fingerprint())
                .with("object", &object)
                .with_some("usage", usage)
                .with_some("timings", last.then(|| spec.timings()))
        } else {
            crate::json::Object::new()
                .with("id", &self.id())
                .with("object", &object)
                .with("created", &spec.created_s)
                .with("model", &spec.model)
                .with("system_fingerprint", &self.fingerprint())
                .with("choices", &choices)
                .with_some("usage", usage)
        };
        sse(&built.end())
    }

    fn delta(&self, delta: Raw, finish: Option<&str>) -> Vec<Raw> {
        if self.spec.is_llamacpp() {
            arr![obj! { "finish_reason": finish, "index": 0, "delta": delta }]
        } else {
            arr![obj! { "index": 0, "delta": delta, "logprobs": Null, "finish_reason": finish }]
        }
    }

    fn piece(&self, text: &str, finish: Option<&str>) -> Vec<Raw> {
        if self.spec.is_llamacpp() {
            arr![obj! { "text": text, "index": 0, "logprobs": Null, "finish_reason": finish }]
        } else {
            arr![obj! { "index": 0, "text": text, "logprobs": Null, "finish_reason": finish }]
        }
    }
}

impl Wire for Chat {
    fn stream_type(&self) -> &'static str {
        match self.spec.engine {
            Engine::Vllm => "text/event-stream; charset=utf-8",
            _ => "text/event-stream",
        }
    }

    fn opening(&self) -> Vec<Bytes> {
        if self.spec.empty {
            return vec![self.chunk(&[], false, false)];
        }
        if self.plain {
            return Vec::new();
        }
        let role = if self.spec.is_llamacpp() {
            obj! { "role": "assistant", "content": Null }
        } else {
            obj! { "role": "assistant", "content": "" }
        };
        vec![self.chunk(&self.delta(role, None), false, false)]
    }

    fn token(&self, _index: usize, text: &str) -> Bytes {
        let choices =
            if self.plain { self.piece(text, None) } else { self.delta(obj! { "content": text }, None) };
        self.chunk(&choices, false, false)
    }

    fn closing(&self) -> Vec<Bytes> {
        let mut events = Vec::with_capacity(3);
        if !self.spec.empty {
            let finish = Some(self.spec.finish.word());
            let choices = if self.plain { self.piece("", finish) } else { self.delta(obj! {}, finish) };
            events.push(self.chunk(&choices, !self.spec.include_usage, false));
        }
        if self.spec.include_usage {
            events.push(self.chunk(&[], true, true));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn failure(&self, message: &str) -> Bytes {
        let kind = "server_error";
        if self.spec.is_llamacpp() {
            return sse(&obj! { "error": obj! { "code": 500, "message": message, "type": kind } });
        }
        sse(&obj! { "error": obj! { "message": message, "type": kind, "param": Null, "code": Null } })
    }

    fn unfinished(&self) -> Bytes {
        Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"")
    }

    fn whole(&self) -> Bytes {
        let spec = &self.spec;
        let finish = spec.finish.word();
        let object = if self.plain { "text_completion" } else { "chat.completion" };
        let message = obj! { "role": "assistant", "content": spec.text() };
        let choices = match (spec.empty, self.plain) {
            (true, _) => Vec::new(),
            (false, true) => self.piece(&spec.text(), Some(finish)),
            (false, false) if spec.is_llamacpp() => {
                arr![obj! { "finish_reason": finish, "index": 0, "message": message }]
            }
            (false, false) => {
                arr![obj! { "index": 0, "message": message, "logprobs": Null, "finish_reason": finish }]
            }
        };
        let built = if spec.is_llamacpp() {
            obj! {
                "choices": choices, "created": spec.created_s, "model": spec.model,
                "system_fingerprint": self.fingerprint(), "object": object, "usage": spec.usage(),
                "id": self.id(), "timings": spec.timings(),
            }
        } else {
            obj! {
                "id": self.id(), "object": object, "created": spec.created_s, "model": spec.model,
                "system_fingerprint": self.fingerprint(), "choices": choices, "usage": spec.usage(),
            }
        };
        Bytes::from(built.0)
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }
}
