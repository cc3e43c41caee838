//! Ollama's own `/api/chat` and `/api/generate`: NDJSON, with metrics in the last object.

use super::{Spec, Wire, ndjson};
use crate::clock::rfc3339;
use crate::json::{Object, Raw, obj};
use bytes::Bytes;

/// A native generation; `chat` decides between `message` and `response`.
#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) spec: Spec,
    pub(crate) chat: bool,
}

impl Native {
    /// One object; `index` steps its time, so that the bytes depend on the request alone.
    fn object(&self, index: usize, text: &str) -> Object {
        let spec = &self.spec;
        let passed = spec.load_ns + spec.ttft_ns + spec.per_token_ns * index as u64;
        let at = rfc3339(spec.created_s * 1_000_000_000 + passed);
        let object = Object::new().with("model", &spec.model).with("created_at", &at);
        if self.chat {
            object.with("message", &obj! { "role": "assistant", "content": text })
        } else {
            object.with("response", &text)
        }
    }

    fn last(&self, text: &str) -> Raw {
        let spec = &self.spec;
        let count = spec.completion_tokens();
        // A real runner never takes no time at all; zero would be left out.
        let eval = (spec.per_token_ns * count).max(1_000_000);
        let prompt = spec.ttft_ns.max(1_000_000);
        let object =
            self.object(spec.tokens.len(), text).with("done", &true).with("done_reason", &spec.finish.word());
        let object = if self.chat { object } else { object.with("context", &vec![1_u64, 2, 3]) };
        object
            .with("total_duration", &(spec.load_ns + prompt + eval))
            .with_some("load_duration", (spec.load_ns > 0).then_some(spec.load_ns))
            .with_some("prompt_eval_count", (spec.prompt_tokens > 0).then_some(spec.prompt_tokens))
            .with("prompt_eval_duration", &prompt)
            .with_some("eval_count", (count > 0).then_some(count))
            .with("eval_duration", &eval)
            .end()
    }
}

impl Wire for Native {
    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn opening(&self) -> Vec<Bytes> {
        Vec::new()
    }

    fn token(&self, index: usize, text: &str) -> Bytes {
        ndjson(self.object(index, text).with("done", &false).end())
    }

    fn closing(&self) -> Vec<Bytes> {
        vec![ndjson(self.last(""))]
    }

    fn failure(&self, message: &str) -> Bytes {
        ndjson(obj! { "error": message })
    }

    fn unfinished(&self) -> Bytes {
        Bytes::from_static(b"{\"response\":\"")
    }

    fn whole(&self) -> Bytes {
        Bytes::from(self.last(&self.spec.text()).0)
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }
}
