//! What each engine answers on each of its routes.

pub(crate) mod guard;
pub(crate) mod llamacpp;
pub(crate) mod ollama;
pub(crate) mod ollama_compat;
pub(crate) mod openai;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::formats::{Finish, Spec, Wire};
use crate::node::Node;
use crate::profile::{Engine, SimModel};
use crate::residents::Refusal;
use bytes::Bytes;

/// What an engine makes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The answer is known.
    Now(Answer),
    /// The answer is known, and comes when the model is in memory.
    Loaded { model: Box<SimModel>, keep_alive_s: Option<i64>, answer: Answer },
    /// A generation is to run in a slot of the model.
    Generate(Box<Plan>),
    /// Lines of progress, at the node's pace, without a model.
    Progress { wire: Box<dyn Wire>, stream: bool },
}

/// A generation before it has its slot.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) model: SimModel,
    pub(crate) keep_alive_s: Option<i64>,
    pub(crate) dialect: Dialect,
    pub(crate) spec: Spec,
}

/// The wire format of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Completion,
    Responses,
    Messages,
    OllamaChat,
    OllamaGenerate,
}

impl Plan {
    /// The plan for this request; `shown` is the model's name as the answer will say it.
    pub(crate) fn new(node: &Node, ask: &Ask, dialect: Dialect, model: SimModel, shown: &str) -> Self {
        let limit = match dialect {
            Dialect::Responses => ask.limit(&["max_output_tokens"]),
            Dialect::OllamaChat | Dialect::OllamaGenerate => {
                let limit = ask.get("options").and_then(|options| options.get("num_predict"));
                limit.and_then(serde_json::Value::as_i64).and_then(|limit| usize::try_from(limit).ok())
            }
            // Ollama does not read `max_completion_tokens`.
            Dialect::Chat if node.profile.engine != Engine::Ollama => {
                ask.limit(&["max_completion_tokens", "max_tokens"])
            }
            Dialect::Chat | Dialect::Completion | Dialect::Messages => ask.limit(&["max_tokens"]),
        };
        let mut tokens = node.words(&model);
        let mut finish = Finish::Stop;
        if let Some(limit) = limit.filter(|limit| *limit < tokens.len()) {
            tokens.truncate(limit);
            finish = Finish::Length;
        }
        let native = matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate);
        let spec = Spec {
            stream: ask.flag("stream").unwrap_or(native),
            include_usage: ask
                .get("stream_options")
                .and_then(|options| options.get("include_usage"))
                .is_some_and(|flag| flag == true),
            model: shown.to_owned(),
            tokens,
            finish,
            prompt_tokens: ask.prompt_tokens(),
            ..node.spec(ask)
        };
        Self { keep_alive_s: ask.keep_alive_s(), model, dialect, spec }
    }

    /// The writer of its dialect.
    pub(crate) fn wire(self) -> Box<dyn Wire> {
        use crate::formats::{anthropic::Message, chat::Chat, ollama::Native, responses::Response};
        let spec = self.spec;
        match self.dialect {
            Dialect::Chat => Box::new(Chat { spec, plain: false }),
            Dialect::Completion => Box::new(Chat { spec, plain: true }),
            Dialect::Responses => Box::new(Response { spec }),
            Dialect::Messages => Box::new(Message { spec }),
            Dialect::OllamaChat => Box::new(Native { spec, chat: true }),
            Dialect::OllamaGenerate => Box::new(Native { spec, chat: false }),
        }
    }
}

/// The answer of the node's engine.
pub(crate) fn reply(node: &Node, ask: &Ask) -> Reply {
    match node.profile.engine {
        Engine::Ollama => ollama::reply(node, ask),
        Engine::Llamacpp | Engine::LlamacppRouter => llamacpp::reply(node, ask),
        Engine::Openai | Engine::Vllm | Engine::Lmstudio => openai::reply(node, ask),
    }
}

/// An error of this status in the shape the engine uses on this path.
pub(crate) fn error(node: &Node, path: &str, status: u16, message: &str) -> Answer {
    match node.profile.engine {
        Engine::Ollama => ollama::error(path, status, message),
        Engine::Llamacpp | Engine::LlamacppRouter => llamacpp::error(status, message),
        Engine::Openai | Engine::Vllm | Engine::Lmstudio => openai::error(node, status, message),
    }
}

/// Why the model cannot run, in the engine's words.
pub(crate) fn refusal(node: &Node, path: &str, refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Busy => error(node, path, 503, BUSY),
        Refusal::LoadTimeout => error(node, path, 500, "timed out waiting for llama runner to start"),
    }
}

/// Ollama's words for a full queue (`ErrMaxQueue`), with their two blanks.
pub(crate) const BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

/// What every answer of the engine carries, and how it streams.
pub(crate) fn dress(engine: Engine, mut answer: Answer) -> Answer {
    let stream = matches!(answer.body, crate::answer::Payload::Events(_));
    match engine {
        Engine::Llamacpp | Engine::LlamacppRouter => {
            answer = answer.header("server", "llama.cpp").header("access-control-allow-origin", "");
            if stream {
                answer = answer.header("x-accel-buffering", "no");
            }
            // cpp-httplib ends the connection after every error it answers.
            if answer.status.is_success() {
                answer = answer.header("keep-alive", "timeout=5, max=100");
            } else {
                answer = answer.header("connection", "close");
            }
        }
        Engine::Vllm => answer = answer.header("server", "uvicorn"),
        Engine::Ollama | Engine::Openai | Engine::Lmstudio => {}
    }
    answer
}

/// Paths whose requests run a model.
pub(crate) fn is_generation(method: &str, path: &str) -> bool {
    method == "POST"
        && matches!(
            path,
            "/v1/chat/completions"
                | "/v1/completions"
                | "/v1/embeddings"
                | "/v1/responses"
                | "/v1/messages"
                | "/api/chat"
                | "/api/generate"
                | "/api/embed"
                | "/api/embeddings"
                | "/chat/completions"
                | "/completions"
                | "/completion"
                | "/embeddings"
                | "/responses"
        )
}

/// A JSON answer.
pub(crate) fn json(status: u16, content_type: &'static str, body: crate::json::Raw) -> Answer {
    Answer::new(status, content_type, Bytes::from(body.0))
}
