//! What a node is: its name, engine, presence and the states it can be in, in the words used everywhere.

use serde::{Deserialize, Serialize};

/// The server software that answers on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Ollama: its own API, plus OpenAI's and (newer) Anthropic's.
    Ollama,
    /// vLLM's OpenAI-compatible server.
    Vllm,
    /// llama.cpp's `llama-server`, with a single model or as a router.
    Llamacpp,
    /// LM Studio.
    Lmstudio,
    /// Anything else that answers OpenAI's API.
    Openai,
}

impl Engine {
    /// Every engine, in the order in which they are explained to people.
    pub const ALL: [Engine; 5] = [Self::Ollama, Self::Vllm, Self::Llamacpp, Self::Lmstudio, Self::Openai];

    /// The word used in the configuration file and in the control API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Llamacpp => "llamacpp",
            Self::Lmstudio => "lmstudio",
            Self::Openai => "openai",
        }
    }

    /// The name as its makers write it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::Vllm => "vLLM",
            Self::Llamacpp => "llama.cpp",
            Self::Lmstudio => "LM Studio",
            Self::Openai => "OpenAI-compatible",
        }
    }

    /// Generations that one loaded model takes at once when neither the configuration nor the node says otherwise.
    ///
    /// Ollama: `OLLAMA_NUM_PARALLEL` is 1 by default (ollama `envconfig/config.go`). llama.cpp tells its slot count itself;
    /// 1 until it has. vLLM batches continuously. LM Studio's server runs four predictions in parallel by default.
    #[must_use]
    pub fn default_slots(self) -> u32 {
        match self {
            Self::Ollama | Self::Llamacpp => 1,
            Self::Vllm => 64,
            Self::Lmstudio => 4,
            Self::Openai => 16,
        }
    }
}

/// How a node comes and goes, as its owner describes it. Only `always-on` machines alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Should answer at any hour: silence is a problem.
    AlwaysOn,
    /// Sleeps by plan.
    Sleeps,
    /// A laptop, a phone: silence is normal.
    ComesAndGoes,
}

impl Presence {
    /// Every presence, as in the configuration file.
    pub const ALL: [Presence; 3] = [Self::AlwaysOn, Self::Sleeps, Self::ComesAndGoes];

    /// The word used in the configuration file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AlwaysOn => "always-on",
            Self::Sleeps => "sleeps",
            Self::ComesAndGoes => "comes-and-goes",
        }
    }
}

/// How far a waking node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The magic packet is on its way.
    Packet,
    /// The machine answers on the network.
    Reachable,
    /// The engine's API answers.
    Api,
    /// The engine is loading its model.
    Loading,
}

/// What we believe of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", content = "stage", rename_all = "lowercase")]
pub enum State {
    /// Not asked yet.
    Unknown,
    /// Answers probes.
    Up,
    /// Answers probes, but fails or crawls at work, or flaps.
    Degraded,
    /// Answers, but not for us: 401 or 403, not a model server, or a key that is missing here.
    Refusing,
    /// Wakeable, and quiet on its own network.
    Asleep,
    /// On its way up.
    Waking(Stage),
    /// Comes and goes, and is gone now; or we are on another network.
    Away,
    /// Should be there and is not.
    Down,
}

impl State {
    /// May requests be sent there now? `degraded` may, but goes last.
    #[must_use]
    pub fn takes_requests(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }

    /// The word shown to people and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Refusing => "refusing",
            Self::Asleep => "asleep",
            Self::Waking(_) => "waking",
            Self::Away => "away",
            Self::Down => "down",
        }
    }
}

/// Is `name` a valid node name: `[a-z0-9-]{1,40}`?
#[must_use]
pub fn is_node_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
