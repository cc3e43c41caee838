//! How each dialect writes one generation, whole or as a stream of events.

pub(crate) mod anthropic;
pub(crate) mod chat;
pub(crate) mod embeddings;
pub(crate) mod lines;
pub(crate) mod ollama;
pub(crate) mod responses;

use crate::json::{Raw, obj};
use crate::profile::Engine;
use bytes::Bytes;

/// Content type of a JSON answer of Go's gin and of llama.cpp.
pub(crate) const JSON_UTF8: &str = "application/json; charset=utf-8";

/// One dialect's way to write a generation; pure, so that the same request gives the same bytes.
pub(crate) trait Wire: Send + Sync + std::fmt::Debug {
    /// Content type of the stream.
    fn stream_type(&self) -> &'static str;
    /// Events before the first token.
    fn opening(&self) -> Vec<Bytes>;
    /// The event of one token.
    fn token(&self, index: usize, text: &str) -> Bytes;
    /// Events after the last token; the last of them is the terminal marker.
    fn closing(&self) -> Vec<Bytes>;
    /// An error in the middle of the stream, in the dialect's own form.
    fn failure(&self, message: &str) -> Bytes;
    /// The start of an event that never finds its line end.
    fn unfinished(&self) -> Bytes;
    /// The answer in one piece.
    fn whole(&self) -> Bytes;
    /// What there is to say.
    fn spec(&self) -> &Spec;
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
}

impl Finish {
    /// In the words of OpenAI and Ollama.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One generation: all that its bytes depend on.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) engine: Engine,
    /// 64 bits that are the same for the same request, for ids.
    pub(crate) seed: u64,
    /// Model name as the answer says it.
    pub(crate) model: String,
    pub(crate) created_s: u64,
    pub(crate) tokens: Vec<String>,
    pub(crate) finish: Finish,
    pub(crate) prompt_tokens: u64,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// A well-formed answer with nothing in it.
    pub(crate) empty: bool,
    pub(crate) ttft_ns: u64,
    pub(crate) per_token_ns: u64,
    pub(crate) load_ns: u64,
}

impl Spec {
    pub(crate) fn text(&self) -> String {
        self.tokens.concat()
    }

    pub(crate) fn completion_tokens(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// `prefix` and `length` letters and digits that depend on the request alone.
    pub(crate) fn id(&self, prefix: &str, length: usize) -> String {
        const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut state = self.seed;
        let mut id = String::with_capacity(prefix.len() + length);
        id.push_str(prefix);
        for _ in 0..length {
            state = mix(state);
            id.push(char::from(LETTERS[(state % LETTERS.len() as u64) as usize]));
        }
        id
    }

    /// OpenAI's `usage`, in the key order of the engine.
    pub(crate) fn usage(&self) -> Raw {
        let (prompt, completion) = (self.prompt_tokens, self.completion_tokens());
        let total = prompt + completion;
        match self.engine {
            Engine::Llamacpp | Engine::LlamacppRouter => obj! {
                "completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": total,
                "prompt_tokens_details": obj! { "cached_tokens": 0 },
            },
            _ => obj! { "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total },
        }
    }

    /// llama.cpp's `timings`.
    pub(crate) fn timings(&self) -> Raw {
        let count = self.completion_tokens().max(1);
        // At unlimited speed a token is said to take a millisecond.
        let token_ms = if self.per_token_ns == 0 { 1.0 } else { self.per_token_ns as f64 / 1e6 };
        let prompt_ms = (self.ttft_ns as f64 / 1e6).max(1.0);
        let prompt_n = self.prompt_tokens.max(1);
        obj! {
            "cache_n": 0, "prompt_n": prompt_n, "prompt_ms": prompt_ms,
            "prompt_per_token_ms": prompt_ms / prompt_n as f64,
            "prompt_per_second": 1e3 * prompt_n as f64 / prompt_ms,
            "predicted_n": count, "predicted_ms": token_ms * count as f64,
            "predicted_per_token_ms": token_ms, "predicted_per_second": 1e3 / token_ms,
        }
    }

    pub(crate) fn is_llamacpp(&self) -> bool {
        matches!(self.engine, Engine::Llamacpp | Engine::LlamacppRouter)
    }
}

/// splitmix64: well-spread numbers from any seed.
pub(crate) fn mix(seed: u64) -> u64 {
    let state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// An SSE event with data alone.
pub(crate) fn sse(data: &Raw) -> Bytes {
    Bytes::from(format!("data: {}\n\n", data.0))
}

/// An SSE event with its name.
pub(crate) fn sse_named(name: &str, data: &Raw) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {}\n\n", data.0))
}

/// A line of NDJSON.
pub(crate) fn ndjson(data: Raw) -> Bytes {
    let mut line = data.0;
    line.push('\n');
    Bytes::from(line)
}
