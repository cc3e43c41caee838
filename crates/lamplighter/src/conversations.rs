//! Which conversation a request belongs to, and where each was answered last.

use crate::{
    clock,
    dialects::conversation::{Known, Marks},
};
use http::HeaderMap;
use lamplighter_core::{
    affinity::{Affinity, Conversation, Home},
    model,
    room::Client,
};
use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Headers in which clients name a conversation, the most particular first. As seen in the clients' own sources:
///
/// - `x-claude-code-session-id`: Claude Code, on every request to its provider.
/// - `x-session-affinity`, `x-opencode-session`: OpenCode (`packages/opencode/src/session/llm/request.ts`).
/// - `session-id`, earlier `session_id`: Codex CLI (codex-rs, `build_session_headers`).
/// - `x-openwebui-chat-id`: Open WebUI with `ENABLE_FORWARD_USER_INFO_HEADERS`.
/// - `x-qwen-code-session-id`: Qwen Code.
/// - `x-litellm-session-id`: LiteLLM and what speaks through it.
/// - `x-session-id`, `x-conversation-id`: what many others, and people with a configuration file, send.
pub const HEADERS: [&str; 10] = [
    "x-claude-code-session-id",
    "x-session-affinity",
    "x-opencode-session",
    "session-id",
    "session_id",
    "x-openwebui-chat-id",
    "x-qwen-code-session-id",
    "x-litellm-session-id",
    "x-session-id",
    "x-conversation-id",
];
/// A name in a header is hashed up to here, in bytes.
const NAME_BYTES: usize = 1024;

/// Where conversations were answered last; in memory, see [`Affinity`].
#[derive(Debug, Default)]
pub struct Conversations {
    seen: Mutex<Affinity>,
}

impl Conversations {
    /// Where it was answered last, within the last hour.
    #[must_use]
    pub fn home(&self, conversation: Conversation) -> Option<Home> {
        self.lock().home(conversation, clock::mono_ms()).cloned()
    }

    /// It is being answered there now.
    pub fn settle(&self, conversation: Conversation, home: Home) {
        self.lock().settle(conversation, home, clock::mono_ms());
    }

    fn lock(&self) -> MutexGuard<'_, Affinity> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request tells of its conversation.
#[derive(Debug, Default)]
pub struct Session {
    /// The name that the client's headers give it.
    name: Option<Vec<u8>>,
    /// Worked out once, when it is first needed: a house with one machine never asks.
    conversation: OnceLock<Option<Conversation>>,
}

impl Session {
    /// What the headers tell.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        // A request has a handful of headers: each is held against the names once, instead of each name being looked up.
        let named = headers.iter().filter_map(|(header, value)| {
            let rank = HEADERS.iter().position(|name| header == name)?;
            let named = value.as_bytes().trim_ascii();
            (!named.is_empty()).then_some((rank, named))
        });
        let name = named.min_by_key(|(rank, _)| *rank);
        let name = name.map(|(_, named)| named[..named.len().min(NAME_BYTES)].to_vec());
        Self { name, conversation: OnceLock::new() }
    }

    /// The conversation: by the client's own name for it in a header, else in the body, else by how it begins.
    /// The model is meant without a pin.
    pub fn conversation(
        &self,
        model: &str,
        marks: &Marks,
        body: &[u8],
        client: Client,
    ) -> Option<Conversation> {
        *self.conversation.get_or_init(|| match &self.name {
            Some(name) => Some(named(name, model)),
            None => in_body(model, marks, body, client),
        })
    }
}

/// The conversation of that name about a model. An agent may talk to several models in one session, each with a past of its own.
#[must_use]
pub fn named(name: &[u8], model: &str) -> Conversation {
    let mut hasher = hasher();
    (0u8, model::key(model), name).hash(&mut hasher);
    Conversation(hasher.finish())
}

/// Names are believed whoever gives them; two clients may well begin with the same words.
fn in_body(model: &str, marks: &Marks, body: &[u8], client: Client) -> Option<Conversation> {
    let (known, model) = (marks.known(body)?, model::key(model));
    let mut hasher = hasher();
    match known {
        Known::Named(_) => (1u8, model).hash(&mut hasher),
        Known::Opening(_) => (2u8, model, client).hash(&mut hasher),
    }
    known.hash(&mut hasher).then(|| Conversation(hasher.finish()))
}

/// The conversation that goes on from an answer of that id (`previous_response_id`).
#[must_use]
pub fn after(response: &str, model: &str) -> Conversation {
    let mut hasher = hasher();
    (1u8, model::key(model)).hash(&mut hasher);
    hasher.write(format!("\"{response}\"").as_bytes());
    Conversation(hasher.finish())
}

/// Keyed anew for each process: what is remembered are hashes that nobody can steer or read back.
fn hasher() -> impl Hasher {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.build_hasher()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::envelope;
    use http::HeaderValue;
    use lamplighter_core::fleet::NodeId;

    #[test]
    fn headers_name_a_conversation_the_particular_ones_first() {
        let mut headers = HeaderMap::new();
        let name = |headers: &HeaderMap| Session::of(headers).name;
        assert_eq!(name(&headers), None);
        headers.insert("x-session-id", HeaderValue::from_static(" general "));
        assert_eq!(name(&headers).as_deref(), Some(&b"general"[..]));
        headers.insert("x-claude-code-session-id", HeaderValue::from_static("0f0e"));
        assert_eq!(name(&headers).as_deref(), Some(&b"0f0e"[..]));
        headers.insert("x-claude-code-session-id", HeaderValue::from_static(""));
        assert_eq!(name(&headers).as_deref(), Some(&b"general"[..]), "an empty one names nothing");
    }

    fn conversation(body: &str, client: u64) -> Option<Conversation> {
        let envelope = envelope::read(body.as_bytes(), &["model"]).unwrap();
        Session::default().conversation(&envelope.model, &envelope.marks, body.as_bytes(), Client(client))
    }

    #[test]
    fn one_conversation_per_model_and_per_client() {
        assert_eq!(named(b"1", "m"), named(b"1", "m:latest"));
        assert_ne!(named(b"1", "m"), named(b"1", "n"));
        let of = |model: &str, client| {
            let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
            conversation(&body, client).unwrap()
        };
        assert_eq!(of("m", 1), of("m:latest", 1));
        assert!(of("m", 1) != of("m", 2) && of("m", 1) != of("n", 1));
        assert_eq!(conversation(r#"{"model":"m","prompt":"hi"}"#, 1), None);
    }

    #[test]
    fn an_answer_is_gone_on_from_by_its_id() {
        let body = r#"{"model":"m","input":"and now?","previous_response_id":"resp_7"}"#;
        assert_eq!(conversation(body, 1), Some(after("resp_7", "m")));
        assert_ne!(conversation(body, 1), Some(after("resp_8", "m")));
    }

    #[test]
    fn the_last_answer_is_remembered() {
        let (conversations, it) = (Conversations::default(), named(b"1", "m"));
        assert_eq!(conversations.home(it), None);
        let home = Home { node: NodeId(3), model: "m".into(), digest: None };
        conversations.settle(it, home.clone());
        assert_eq!(conversations.home(it), Some(home));
    }
}
