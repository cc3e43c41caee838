//! What a simulated node is: its engine, its models, its speed and its limits.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr};

/// The engine whose contract a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Ollama: native API and its OpenAI and Anthropic translations.
    Ollama,
    /// llama-server with one model, whose name in a request is ignored.
    Llamacpp,
    /// llama-server as router over a folder of models.
    LlamacppRouter,
    /// Any server with only the OpenAI routes.
    Openai,
    /// vLLM's OpenAI-compatible server.
    Vllm,
    /// LM Studio's server (its shapes are from its documentation, not recorded).
    Lmstudio,
}

/// One model on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimModel {
    /// Name as the engine lists it, for Ollama with its tag.
    pub name: String,
    /// Digest of the manifest: 64 hex digits.
    pub digest: String,
    /// Size on disk in bytes; also what it takes of the VRAM.
    pub size: u64,
    /// Context length in tokens.
    pub context_length: u64,
    /// Model family, such as `llama`.
    pub family: String,
    /// Parameter count as text, such as `3.2B`.
    pub parameter_size: String,
    /// Quantisation level, such as `Q4_K_M`.
    pub quantization: String,
    /// What it can do, in Ollama's words: `completion`, `tools`, `vision`, `embedding`…
    pub capabilities: Vec<String>,
    /// In memory when the node starts.
    pub loaded: bool,
    /// What it answers; the node's own sentence when absent.
    pub text: Option<String>,
    /// The far host of a cloud model.
    pub remote_host: Option<String>,
    /// Last change, in seconds since 1970.
    pub modified_s: u64,
}

impl SimModel {
    /// A 2 GB model that completes text and calls tools, not loaded, its digest made from its name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let digest = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            digest,
            size: 2_019_393_189,
            context_length: 8192,
            family: "llama".into(),
            parameter_size: "3.2B".into(),
            quantization: "Q4_K_M".into(),
            capabilities: vec!["completion".into(), "tools".into()],
            loaded: false,
            text: None,
            remote_host: None,
            modified_s: 1_767_225_600,
            name,
        }
    }

    /// Sets the manifest digest (64 hex digits, no prefix).
    #[must_use]
    pub fn digest(mut self, digest: impl Into<String>) -> Self {
        self.digest = digest.into();
        self
    }

    /// Sets the size in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// Sets whether it is in memory at the start.
    #[must_use]
    pub fn loaded(mut self, loaded: bool) -> Self {
        self.loaded = loaded;
        self
    }

    /// Sets the context length in tokens.
    #[must_use]
    pub fn context_length(mut self, tokens: u64) -> Self {
        self.context_length = tokens;
        self
    }

    /// Sets its capabilities, in Ollama's words.
    #[must_use]
    pub fn capabilities<I: IntoIterator<Item = S>, S: Into<String>>(mut self, words: I) -> Self {
        self.capabilities = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the exact text it answers.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Makes it a cloud model that runs on `host`.
    #[must_use]
    pub fn remote_host(mut self, host: impl Into<String>) -> Self {
        self.remote_host = Some(host.into());
        self
    }
}

impl Default for SimModel {
    fn default() -> Self {
        Self::new("model:latest")
    }
}

/// A whole node before it starts. Set fields through the methods of the same name, or directly.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The engine it speaks.
    pub engine: Engine,
    /// Its name, spoken in its answers.
    pub name: String,
    /// Its models at the start.
    pub models: Vec<SimModel>,
    /// Models `/api/pull` can bring.
    pub library: Vec<SimModel>,
    /// Address to listen on.
    pub ip: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Time from the start of a generation to its first token, in ms.
    pub ttft_ms: u64,
    /// Tokens per second; `None` is as fast as the wire takes them.
    pub tok_s: Option<f64>,
    /// Number of tokens of an answer without explicit text.
    pub tokens: usize,
    /// What every model without its own text answers.
    pub text: Option<String>,
    /// Generations at once per loaded model (llama-server: its slots).
    pub parallel: usize,
    /// Requests that may wait for a slot; `None` is no limit.
    pub max_queue: Option<usize>,
    /// Time to load a model, in ms.
    pub load_ms: u64,
    /// How long an idle model stays loaded, in s; negative is for ever.
    pub keep_alive_s: i64,
    /// VRAM in bytes; models beyond it are evicted, or spill when alone. `None` is no limit.
    pub vram: Option<u64>,
    /// Loaded models at once (llama-server router); `None` is no limit.
    pub models_max: Option<usize>,
    /// Key a caller must show.
    pub api_key: Option<String>,
    /// Keep what was seen and sent; off for benchmarks.
    pub record: bool,
    /// An older version, without the newer routes and fields.
    pub old: bool,
    /// Serves embeddings (llama-server: started for them).
    pub embeddings: bool,
    /// Length of an embedding.
    pub embedding_dims: usize,
    /// `/v1/responses` exists (generic OpenAI server).
    pub responses: bool,
    /// `/v1/messages` exists (generic OpenAI server).
    pub messages: bool,
    /// Time after the start in which llama-server is still loading, in ms.
    pub starting_ms: u64,
    /// Idle connections are closed after so many ms; `None` keeps them.
    pub idle_close_ms: Option<u64>,
    /// Refuse foreign names in `Host` and `Origin`, as Ollama on loopback does.
    pub host_guard: bool,
    /// The version it reports.
    pub version: String,
}

impl Profile {
    /// A node of `engine` called `name`, without models, as fast as it can.
    pub fn new(engine: Engine, name: impl Into<String>) -> Self {
        let llama = matches!(engine, Engine::Llamacpp | Engine::LlamacppRouter);
        Self {
            engine,
            name: name.into(),
            models: Vec::new(),
            library: Vec::new(),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            ttft_ms: 0,
            tok_s: None,
            tokens: 16,
            text: None,
            parallel: match engine {
                Engine::Ollama => 1,
                Engine::Openai | Engine::Vllm => 256,
                Engine::Llamacpp | Engine::LlamacppRouter | Engine::Lmstudio => 4,
            },
            max_queue: (engine == Engine::Ollama).then_some(512),
            load_ms: 0,
            keep_alive_s: if engine == Engine::Ollama { 300 } else { -1 },
            vram: None,
            models_max: None,
            api_key: None,
            record: true,
            old: false,
            embeddings: !llama && engine != Engine::Vllm,
            embedding_dims: 8,
            responses: false,
            messages: false,
            starting_ms: 0,
            // cpp-httplib says so in `Keep-Alive: timeout=5`, uvicorn does it unsaid; Go's server has no such limit.
            idle_close_ms: match engine {
                Engine::Llamacpp | Engine::LlamacppRouter | Engine::Vllm => Some(5000),
                Engine::Ollama | Engine::Openai | Engine::Lmstudio => None,
            },
            host_guard: engine == Engine::Ollama,
            version: match engine {
                Engine::Vllm => "0.32.0".into(),
                _ => "0.30.0".into(),
            },
        }
    }

    /// An Ollama node.
    pub fn ollama(name: impl Into<String>) -> Self {
        Self::new(Engine::Ollama, name)
    }

    /// A llama-server with one model.
    pub fn llamacpp(name: impl Into<String>) -> Self {
        Self::new(Engine::Llamacpp, name)
    }

    /// A llama-server in router mode.
    pub fn llamacpp_router(name: impl Into<String>) -> Self {
        Self::new(Engine::LlamacppRouter, name)
    }

    /// A server with only the OpenAI routes.
    pub fn openai(name: impl Into<String>) -> Self {
        Self::new(Engine::Openai, name)
    }

    /// A vLLM server.
    pub fn vllm(name: impl Into<String>) -> Self {
        Self::new(Engine::Vllm, name)
    }

    /// An LM Studio server.
    pub fn lmstudio(name: impl Into<String>) -> Self {
        Self::new(Engine::Lmstudio, name)
    }

    /// Adds a model.
    #[must_use]
    pub fn model(mut self, model: SimModel) -> Self {
        self.models.push(model);
        self
    }

    /// Makes it an older version: no `/v1/responses`, `/v1/messages`, `/api/status`, capabilities, context lengths.
    #[must_use]
    pub fn old(mut self, old: bool) -> Self {
        self.old = old;
        if old {
            self.version = "0.5.7".into();
        }
        self
    }

    /// Sets the listening port; 0 takes a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
}

/// Setters named as their fields.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty),* $(,)?) => {
        impl Profile {$(
            $(#[$doc])*
            #[must_use]
            pub fn $field(mut self, value: $type) -> Self {
                self.$field = value;
                self
            }
        )*}
    };
}
setters! {
    /// Sets the models `/api/pull` can bring.
    library: Vec<SimModel>,
    /// Sets the address to listen on.
    ip: IpAddr,
    /// Sets the time to the first token, in ms.
    ttft_ms: u64,
    /// Sets the number of tokens of an answer.
    tokens: usize,
    /// Sets the generations at once per loaded model.
    parallel: usize,
    /// Sets how many requests may wait for a slot.
    max_queue: Option<usize>,
    /// Sets the time to load a model, in ms.
    load_ms: u64,
    /// Sets how long an idle model stays loaded, in s; negative is for ever.
    keep_alive_s: i64,
    /// Sets whether requests and answers are kept.
    record: bool,
    /// Sets whether embeddings are served.
    embeddings: bool,
    /// Sets the length of an embedding.
    embedding_dims: usize,
    /// Sets whether `/v1/responses` exists (generic OpenAI server).
    responses: bool,
    /// Sets whether `/v1/messages` exists (generic OpenAI server).
    messages: bool,
    /// Sets how long llama-server is still loading after its start, in ms.
    starting_ms: u64,
    /// Sets after how many idle ms a connection is closed.
    idle_close_ms: Option<u64>,
    /// Sets whether foreign names in `Host` and `Origin` are refused.
    host_guard: bool,
}

impl Profile {
    /// Sets the speed in tokens per second.
    #[must_use]
    pub fn tok_s(mut self, rate: f64) -> Self {
        self.tok_s = (rate > 0.0).then_some(rate);
        self
    }

    /// Sets the text of every answer.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Sets the key a caller must show.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets the VRAM in bytes.
    #[must_use]
    pub fn vram(mut self, bytes: u64) -> Self {
        self.vram = Some(bytes);
        self
    }

    /// Sets how many models llama-server's router keeps loaded.
    #[must_use]
    pub fn models_max(mut self, count: usize) -> Self {
        self.models_max = Some(count);
        self
    }

    /// Sets the version it reports.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}
