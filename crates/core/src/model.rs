//! Models as nodes list them, and what makes two names the same.

use serde::{Deserialize, Serialize};

/// The key under which a model name is known: `x` and `x:latest` are one model (ollama `docs/api.md`, model names).
///
/// Only a tag is cut, so `registry:5000/x` keeps its port and `x:7b` its tag.
#[must_use]
pub fn key(name: &str) -> &str {
    name.strip_suffix(":latest").filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// Splits `model@node` as it is written: the model and the node that it would be pinned to. Models are called so too
/// (`qwen3-4b@4bit`, `claude-sonnet-4@20250514`): what a name means in a house, `Fleet::asked` decides.
///
/// The part after the last `@` counts as a node only when it is a valid node name; `hf.co/a@b/c` stays a model.
#[must_use]
pub fn split_pin(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('@') {
        Some((model, node)) if !model.is_empty() && crate::node::is_node_name(node) => (model, Some(node)),
        _ => (name, None),
    }
}

/// What a model can do, in Ollama's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Writes text.
    Completion,
    /// Calls tools.
    Tools,
    /// Fills in the middle.
    Insert,
    /// Reads images.
    Vision,
    /// Makes embeddings.
    Embedding,
    /// Thinks before it answers.
    Thinking,
    /// Makes images.
    Image,
    /// Hears or speaks.
    Audio,
}

impl Capability {
    /// Reads Ollama's word; `None` for words not known yet.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "completion" => Self::Completion,
            "tools" => Self::Tools,
            "insert" => Self::Insert,
            "vision" => Self::Vision,
            "embedding" => Self::Embedding,
            "thinking" => Self::Thinking,
            "image" => Self::Image,
            "audio" => Self::Audio,
            _ => return None,
        })
    }

    /// Ollama's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Tools => "tools",
            Self::Insert => "insert",
            Self::Vision => "vision",
            Self::Embedding => "embedding",
            Self::Thinking => "thinking",
            Self::Image => "image",
            Self::Audio => "audio",
        }
    }
}

/// One model on one node. Whatever the engine does not tell is `None`, never a guess.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Model {
    /// The name exactly as the node lists it.
    pub name: String,
    /// Other names under which the node answers for it (llama.cpp `aliases`).
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Digest of the manifest, 64 hex digits: equal digests are equal models (Ollama only).
    pub digest: Option<String>,
    /// Bytes on disk.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub size_bytes: Option<u64>,
    /// Longest context in tokens: what is in force when loaded, else what the model was trained for.
    pub context_tokens: Option<u32>,
    /// What it can do; empty when the engine does not tell.
    pub capabilities: Vec<Capability>,
    /// Resident in memory? `None` when the engine does not tell.
    pub loaded: Option<bool>,
    /// Bytes in video memory while loaded.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub vram_bytes: Option<u64>,
    /// Bytes in all memory while loaded; more than `vram_bytes` means that it spilled to the CPU.
    #[cfg_attr(feature = "ts", ts(type = "number | null"))]
    pub loaded_bytes: Option<u64>,
    /// When the engine will unload it, RFC 3339, as the engine writes it.
    pub expires_at: Option<String>,
    /// When it last changed, RFC 3339, as the engine writes it.
    pub modified_at: Option<String>,
    /// Model family, for example `llama`.
    pub family: Option<String>,
    /// Number of parameters as the engine writes it, for example `7.6B`.
    pub parameter_size: Option<String>,
    /// Quantization, for example `Q4_K_M`.
    pub quantization: Option<String>,
    /// Answered by somebody else's machines although the node is ours (Ollama `:cloud`).
    #[serde(default)]
    pub remote: bool,
}

impl Model {
    /// Known to make embeddings only: such a model is never offered for chat.
    #[must_use]
    pub fn embeds_only(&self) -> bool {
        self.capabilities.contains(&Capability::Embedding)
            && !self.capabilities.contains(&Capability::Completion)
    }

    /// Does the node answer to `name` (with or without `:latest`) for this model?
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        key(&self.name) == key(name) || self.aliases.iter().any(|alias| key(alias) == key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_the_bare_name() {
        assert_eq!(key("llama3:latest"), key("llama3"));
        assert_ne!(key("llama3:8b"), key("llama3"));
        assert_eq!(key(":latest"), ":latest");
        assert_eq!(key("registry:5000/x"), "registry:5000/x");
    }

    #[test]
    fn a_pin_is_a_node_name_after_the_last_at() {
        assert_eq!(split_pin("llama3.2:3b@nas"), ("llama3.2:3b", Some("nas")));
        assert_eq!(split_pin("hf.co/a@b/c"), ("hf.co/a@b/c", None));
        assert_eq!(split_pin("@nas"), ("@nas", None));
        assert_eq!(split_pin("x@Upper"), ("x@Upper", None));
    }
}
