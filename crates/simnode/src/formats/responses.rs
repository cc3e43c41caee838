//! OpenAI responses: llama.cpp's short events as recorded, the published shape for the others.

use super::{Finish, Spec, Wire, sse_named};
use crate::json::{Null, Object, Raw, arr, obj};
use crate::profile::Engine;
use bytes::Bytes;

/// One response with one text item.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) spec: Spec,
}

impl Response {
    fn id(&self) -> String {
        self.spec.id("resp_", 32)
    }

    fn item_id(&self) -> String {
        self.spec.id("msg_", 32)
    }

    fn part(&self, text: &str) -> Raw {
        obj! { "type": "output_text", "annotations": arr![], "logprobs": arr![], "text": text }
    }

    fn item(&self, status: &str, content: &[Raw]) -> Raw {
        obj! {
            "id": self.item_id(), "type": "message", "role": "assistant", "status": status, "content": content,
        }
    }

    fn output(&self) -> Vec<Raw> {
        if self.spec.empty {
            Vec::new()
        } else {
            arr![self.item("completed", &[self.part(&self.spec.text())])]
        }
    }

    /// The response object at one moment of its life.
    fn body(&self, status: &str, output: &[Raw], usage: Option<Raw>) -> Raw {
        let spec = &self.spec;
        let cut = status == "incomplete";
        let reason = cut.then(|| obj! { "reason": "max_output_tokens" });
        let object = Object::new()
            .with("id", &self.id())
            .with("object", &"response")
            .with("created_at", &spec.created_s)
            .with("status", &status)
            .with("model", &spec.model)
            .with("output", &output);
        if spec.is_llamacpp() {
            return object.with_some("usage", usage).end();
        }
        object
            .with("error", &Null)
            .with("incomplete_details", &reason)
            .with("instructions", &Null)
            .with("metadata", &obj! {})
            .with("parallel_tool_calls", &true)
            .with("temperature", &1.0)
            .with("tool_choice", &"auto")
            .with("tools", &arr![])
            .with("top_p", &1.0)
            .with("usage", &usage)
            .end()
    }

    fn usage(&self) -> Raw {
        let (input, output) = (self.spec.prompt_tokens, self.spec.completion_tokens());
        let object = Object::new()
            .with("input_tokens", &input)
            .with("output_tokens", &output)
            .with("total_tokens", &(input + output))
            .with("input_tokens_details", &obj! { "cached_tokens": 0 });
        if self.spec.is_llamacpp() {
            return object.end();
        }
        object.with("output_tokens_details", &obj! { "reasoning_tokens": 0 }).end()
    }

    /// `completed`; cut by the limit the published shape says `incomplete`, llama.cpp does not.
    fn end_status(&self) -> &'static str {
        match self.spec.finish {
            Finish::Length if !self.spec.is_llamacpp() => "incomplete",
            Finish::Stop | Finish::Length => "completed",
        }
    }

    /// An event; llama.cpp numbers and places none of them.
    fn event(&self, kind: &str, number: usize, place: &[(&str, usize)], fields: &[(&str, Raw)]) -> Bytes {
        let mut object = Object::new().with("type", &kind);
        if !self.spec.is_llamacpp() {
            object = object.with("sequence_number", &number);
            for (key, value) in place {
                object = object.with(key, value);
            }
        }
        for (key, value) in fields {
            object = object.with(key, value);
        }
        sse_named(kind, &object.end())
    }
}

const ITEM: &[(&str, usize)] = &[("output_index", 0)];
const PART: &[(&str, usize)] = &[("output_index", 0), ("content_index", 0)];

fn raw(text: &str) -> Raw {
    crate::json::text(&text)
}

impl Wire for Response {
    fn stream_type(&self) -> &'static str {
        match self.spec.engine {
            Engine::Vllm => "text/event-stream; charset=utf-8",
            _ => "text/event-stream",
        }
    }

    fn opening(&self) -> Vec<Bytes> {
        let begun = if self.spec.is_llamacpp() {
            obj! { "id": self.id(), "object": "response", "status": "in_progress" }
        } else {
            self.body("in_progress", &[], None)
        };
        let mut events = vec![
            self.event("response.created", 0, &[], &[("response", begun.clone())]),
            self.event("response.in_progress", 1, &[], &[("response", begun)]),
        ];
        if !self.spec.empty {
            let item = self.item("in_progress", &[]);
            events.push(self.event("response.output_item.added", 2, ITEM, &[("item", item)]));
            let fields = [("item_id", raw(&self.item_id())), ("part", self.part(""))];
            events.push(self.event("response.content_part.added", 3, PART, &fields));
        }
        events
    }

    fn token(&self, index: usize, text: &str) -> Bytes {
        let fields = [("item_id", raw(&self.item_id())), ("delta", raw(text))];
        self.event("response.output_text.delta", 4 + index, PART, &fields)
    }

    fn closing(&self) -> Vec<Bytes> {
        let mut number = 4 + self.spec.tokens.len();
        let mut events = Vec::with_capacity(4);
        if !self.spec.empty {
            let (id, text) = (raw(&self.item_id()), self.spec.text());
            let fields = [("item_id", id.clone()), ("text", raw(&text))];
            events.push(self.event("response.output_text.done", number, PART, &fields));
            let fields = [("item_id", id), ("part", self.part(&text))];
            events.push(self.event("response.content_part.done", number + 1, PART, &fields));
            let item = self.item("completed", &[self.part(&text)]);
            events.push(self.event("response.output_item.done", number + 2, ITEM, &[("item", item)]));
            number += 3;
        }
        let body = self.body(self.end_status(), &self.output(), Some(self.usage()));
        let kind = format!("response.{}", self.end_status());
        events.push(self.event(&kind, number, &[], &[("response", body)]));
        events
    }

    fn failure(&self, message: &str) -> Bytes {
        let error = obj! { "code": "server_error", "message": message };
        let body = obj! {
            "id": self.id(), "object": "response", "created_at": self.spec.created_s, "status": "failed",
            "model": self.spec.model, "output": arr![], "error": error,
        };
        self.event("response.failed", 0, &[], &[("response", body)])
    }

    fn unfinished(&self) -> Bytes {
        Bytes::from_static(
            b"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"",
        )
    }

    fn whole(&self) -> Bytes {
        Bytes::from(self.body(self.end_status(), &self.output(), Some(self.usage())).0)
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }
}
