//! What a client asks for, and in which dialect.

use serde::{Deserialize, Serialize};

/// A wire format that clients speak and that nodes may speak natively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI: chat completions, completions, embeddings, models.
    Openai,
    /// OpenAI's Responses API.
    Responses,
    /// Anthropic's Messages API.
    Anthropic,
    /// Ollama's own API.
    Ollama,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 4] = [Self::Openai, Self::Responses, Self::Anthropic, Self::Ollama];

    /// Its name in sentences.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Openai => "OpenAI's API",
            Self::Responses => "OpenAI's Responses API",
            Self::Anthropic => "Anthropic's Messages API",
            Self::Ollama => "Ollama's API",
        }
    }
}

/// The dialects that a node speaks natively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct Dialects {
    /// OpenAI's API.
    pub openai: bool,
    /// OpenAI's Responses API.
    pub responses: bool,
    /// Anthropic's Messages API.
    pub anthropic: bool,
    /// `/v1/messages/count_tokens` too (Ollama has the one and not the other).
    pub count_tokens: bool,
    /// Ollama's own API.
    pub ollama: bool,
}

impl Dialects {
    /// Is `dialect` spoken?
    #[must_use]
    pub fn speaks(self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Openai => self.openai,
            Dialect::Responses => self.responses,
            Dialect::Anthropic => self.anthropic,
            Dialect::Ollama => self.ollama,
        }
    }

    /// Can this operation be passed through unchanged?
    #[must_use]
    pub fn serves(self, operation: Operation) -> bool {
        match operation {
            Operation::CountTokens => self.count_tokens,
            other => self.speaks(other.dialect()),
        }
    }
}

/// A request that names a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /api/chat`
    OllamaChat,
    /// `POST /api/generate`
    OllamaGenerate,
    /// `POST /api/embed`
    OllamaEmbed,
    /// `POST /api/embeddings`
    OllamaEmbeddings,
    /// `POST /api/show`
    OllamaShow,
}

impl Operation {
    /// The dialect it belongs to.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings => Dialect::Openai,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::OllamaChat
            | Self::OllamaGenerate
            | Self::OllamaEmbed
            | Self::OllamaEmbeddings
            | Self::OllamaShow => Dialect::Ollama,
        }
    }

    /// The path on a node that speaks the dialect.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::OllamaChat => "/api/chat",
            Self::OllamaGenerate => "/api/generate",
            Self::OllamaEmbed => "/api/embed",
            Self::OllamaEmbeddings => "/api/embeddings",
            Self::OllamaShow => "/api/show",
        }
    }

    /// Does an answer stream when the body does not say? True for Ollama's generations (ollama `api/types.go`).
    #[must_use]
    pub fn streams_by_default(self) -> bool {
        matches!(self, Self::OllamaChat | Self::OllamaGenerate)
    }

    /// Which kind of place it takes on a node.
    #[must_use]
    pub fn lane(self) -> Lane {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Messages
            | Self::OllamaChat
            | Self::OllamaGenerate => Lane::Generate,
            Self::Embeddings | Self::OllamaEmbed | Self::OllamaEmbeddings => Lane::Embed,
            Self::CountTokens | Self::OllamaShow => Lane::Free,
        }
    }
}

/// The kinds of places on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A generation: counted per loaded model.
    Generate,
    /// An embedding: slots of its own.
    Embed,
    /// Costs the node next to nothing and takes no place.
    Free,
}
