//! Listens to a streamed answer: is it complete, did the node report an error, how many tokens were there?
//!
//! A stream is complete only when its own terminal marker has come. A connection that merely ends proves nothing: a node that
//! dies behind a close-delimited response looks like success.

mod choices;

use super::{json, ndjson, sse, sse::TooLong};
use choices::Choices;
use lamplighter_core::operation::Dialect;
use memchr::memmem::{self, Finder};
use serde::Deserialize;
use serde_json::Value;
use std::sync::LazyLock;

/// A field's name with its quotes, ready to be searched for: getting ready costs more than the search of one event.
type Field = LazyLock<Finder<'static>>;

static USAGE: Field = LazyLock::new(|| Finder::new(b"\"usage\""));
static FINISH_REASON: Field = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static DONE: Field = LazyLock::new(|| Finder::new(b"\"done\""));
static PROMPT_EVAL_COUNT: Field = LazyLock::new(|| Finder::new(b"\"prompt_eval_count\""));
static EVAL_COUNT: Field = LazyLock::new(|| Finder::new(b"\"eval_count\""));

/// The last event of a stream in OpenAI's dialect.
const DONE_MARK: &[u8] = b"[DONE]";
/// More tokens than this in one answer are a node's mistake, and count as none: the largest context there is has some ten
/// millions.
const TOKENS_CAP: u64 = 1 << 30;
/// Up to this size an object is read through for its counts. A longer one is full of embeddings, and has nothing else in it that
/// could bear their names.
const READ_CAP: usize = 64 << 10;

/// Tokens as the node told them. Zero when it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The terminal marker has not come.
    Unfinished,
    /// The terminal marker has come.
    Complete,
    /// The node has reported an error in the stream itself, in the dialect's own form.
    NodeError,
}

/// The listener for one stream.
#[derive(Debug)]
pub struct Judge {
    dialect: Dialect,
    reader: Reader,
    standing: Standing,
    /// The terminal marker itself has come. In OpenAI's dialect that is more than being complete: usage comes in between.
    marked: bool,
    /// Something has come behind it.
    over: bool,
    events: u64,
    tokens: Tokens,
    /// In OpenAI's dialect.
    choices: Choices,
}

#[derive(Debug)]
enum Reader {
    Sse(sse::Reader),
    Ndjson(ndjson::Reader),
}

impl Judge {
    /// A listener for a stream of `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let reader = match dialect {
            Dialect::Ollama => Reader::Ndjson(ndjson::Reader::default()),
            Dialect::Openai | Dialect::Responses | Dialect::Anthropic => Reader::Sse(sse::Reader::default()),
        };
        Self {
            dialect,
            reader,
            standing: Standing::Unfinished,
            marked: false,
            over: false,
            events: 0,
            tokens: Tokens::default(),
            choices: Choices::default(),
        }
    }

    /// Takes in one chunk. Returns the position after the last whole event in it that belongs to the answer.
    ///
    /// # Errors
    /// [`TooLong`] when an event grows beyond the cap.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<usize>, TooLong> {
        let Self { dialect, reader, standing, marked, over, events, tokens, choices } = self;
        if *over {
            return Ok(None);
        }
        let mut hear = |name: &[u8], data: &[u8]| {
            // Some servers end every stream with `[DONE]`, also where the dialect has an end of its own.
            *over = *marked && data != DONE_MARK;
            if *over {
                return false;
            }
            *events += 1;
            let heard = hear_event(*dialect, name, data, tokens, choices);
            *marked |= match dialect {
                Dialect::Openai => data == DONE_MARK,
                _ => heard == Standing::Complete,
            };
            *standing = match (*standing, heard) {
                (Standing::Unfinished, heard) => heard,
                // A further choice has begun behind the end of the others.
                (Standing::Complete, Standing::Unfinished) if *dialect == Dialect::Openai && !*marked => {
                    heard
                }
                (standing, _) => standing,
            };
            true
        };
        match reader {
            Reader::Sse(reader) => reader.push_while(chunk, |event| hear(event.name, event.data)),
            Reader::Ndjson(reader) => reader.push_while(chunk, |line| hear(b"", line)),
        }
    }

    /// The stream has ended: a last line without its line end still counts.
    pub fn finish(&mut self) {
        if let Reader::Ndjson(reader) = &self.reader {
            let rest = reader.rest().trim_ascii().to_vec();
            if rest.ends_with(b"}") {
                let heard = hear_event(self.dialect, b"", &rest, &mut self.tokens, &mut self.choices);
                if self.standing == Standing::Unfinished {
                    self.standing = heard;
                }
            }
        }
    }

    /// Has the dialect's own end mark come? Nothing that counts can follow.
    #[must_use]
    pub fn has_end_mark(&self) -> bool {
        self.marked
    }

    /// Has something followed the end mark all the same? It is not heard, and neither is what comes after it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// How the stream stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whole events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Tokens told so far.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.tokens
    }
}

/// The tokens in an answer that came in one piece.
#[must_use]
pub fn tokens_of_whole(dialect: Dialect, body: &[u8]) -> Tokens {
    let mut tokens = Tokens::default();
    match dialect {
        Dialect::Ollama => ollama_tokens(body, &mut tokens),
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic => usage_tokens(body, &mut tokens),
    }
    tokens
}

/// Is the object an error in the dialect's own form?
pub(super) fn is_error(dialect: Dialect, data: &[u8]) -> bool {
    standing_of(dialect, b"", data, &mut Choices::default()) == Standing::NodeError
}

fn hear_event(
    dialect: Dialect,
    name: &[u8],
    data: &[u8],
    tokens: &mut Tokens,
    choices: &mut Choices,
) -> Standing {
    let standing = standing_of(dialect, name, data, choices);
    match dialect {
        Dialect::Openai | Dialect::Responses | Dialect::Anthropic => usage_tokens(data, tokens),
        Dialect::Ollama if standing == Standing::Complete => ollama_tokens(data, tokens),
        Dialect::Ollama => {}
    }
    standing
}

/// What one event says of the stream that it stands in, and in OpenAI's dialect what all up to it say.
fn standing_of(dialect: Dialect, name: &[u8], data: &[u8], choices: &mut Choices) -> Standing {
    let is = |kind: &str| type_is(data, kind);
    match dialect {
        Dialect::Openai => {
            if data == DONE_MARK {
                return Standing::Complete;
            }
            match choices.hear(data) {
                Standing::Unfinished if is_error_object(data) => Standing::NodeError,
                standing => standing,
            }
        }
        Dialect::Responses => {
            if is("response.completed") || is("response.incomplete") || data == DONE_MARK {
                Standing::Complete
            } else if is("response.failed") || is("error") || is_error_object(data) {
                Standing::NodeError
            } else {
                Standing::Unfinished
            }
        }
        Dialect::Anthropic => {
            if name == b"message_stop" || is("message_stop") {
                Standing::Complete
            } else if name == b"error" || is("error") || is_error_object(data) {
                Standing::NodeError
            } else {
                Standing::Unfinished
            }
        }
        Dialect::Ollama => {
            // The quick look first. A tool call's arguments stand in it as an object, whose keys a model has chosen.
            if values(data, &DONE).any(|value| value[0] == b't')
                && json::members(data, ["done"]).is_some_and(|[done]| done == Some(b"true"))
            {
                Standing::Complete
            } else if is_error_object(data) {
                Standing::NodeError
            } else {
                Standing::Unfinished
            }
        }
    }
}

/// What stands after `field`, wherever in the JSON it is; never empty.
///
/// Inside a JSON string the quotes would be escaped, so a model that talks about the field is not mistaken for it.
fn values<'a>(data: &'a [u8], field: &'a Finder<'_>) -> impl Iterator<Item = &'a [u8]> {
    let whole = field.needle().len();
    field.find_iter(data).filter(|&at| at == 0 || data[at - 1] != b'\\').filter_map(move |at| {
        let value = data[at + whole..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        (!value.is_empty()).then_some(value)
    })
}

/// Is the top-level `type` of the event `kind`? Engines write it first or nearly so; a nested one never has these values.
fn type_is(data: &[u8], kind: &str) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<std::borrow::Cow<'a, str>>,
    }
    // The quick look first: most events are deltas.
    memmem::find(data, kind.as_bytes()).is_some()
        && serde_json::from_slice::<Typed<'_>>(data).is_ok_and(|typed| typed.kind.as_deref() == Some(kind))
}

/// `{"error": …}` with something in it.
fn is_error_object(data: &[u8]) -> bool {
    let Some(inside) = data.trim_ascii().strip_prefix(b"{") else { return false };
    let Some(rest) = inside.trim_ascii_start().strip_prefix(b"\"error\"") else { return false };
    rest.trim_ascii_start()
        .strip_prefix(b":")
        .is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
}

/// Usage as OpenAI, Responses and Anthropic tell it, at the top or inside `response` or `message`. Only that object is read:
/// an answer full of embeddings is megabytes long.
/// Anthropic's counts in `message_delta` are cumulative, so the largest is the truth.
fn usage_tokens<'a>(data: &'a [u8], tokens: &mut Tokens) {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Usage {
        prompt_tokens: Option<Value>,
        completion_tokens: Option<Value>,
        input_tokens: Option<Value>,
        output_tokens: Option<Value>,
    }
    let believed = |told: Option<Value>, other: Option<Value>| {
        // One wrong number must not hide the others, so each is read by itself.
        let count = told.or(other).as_ref().and_then(Value::as_u64);
        count.filter(|count| *count <= TOKENS_CAP).unwrap_or(0)
    };
    let add = |usage: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(usage);
        let Ok(usage) = Usage::deserialize(&mut reader) else { return };
        tokens.input = tokens.input.max(believed(usage.prompt_tokens, usage.input_tokens));
        tokens.output = tokens.output.max(believed(usage.completion_tokens, usage.output_tokens));
    };
    let mut quick = values(data, &USAGE).filter(|value| value[0] == b'{').peekable();
    if quick.peek().is_none() {
        return;
    }
    // Anthropic's tool calls are objects, whose keys a model has chosen.
    let read = (data.len() <= READ_CAP).then(|| json::members(data, ["usage", "response", "message"]));
    match read.flatten() {
        None => quick.for_each(add),
        Some([own, response, message]) => {
            let inside =
                |object: Option<&'a [u8]>| json::members(object?, ["usage"]).and_then(|[usage]| usage);
            let told = [own, inside(response), inside(message)].into_iter().flatten();
            told.filter(|usage| usage.starts_with(b"{")).for_each(add);
        }
    }
}

/// Ollama's counts, in the last object only (ollama `api/types.go`).
fn ollama_tokens(data: &[u8], tokens: &mut Tokens) {
    let count = |value: &[u8]| {
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        let count = std::str::from_utf8(&value[..digits]).ok()?.parse().ok()?;
        (count <= TOKENS_CAP).then_some(count)
    };
    let read = (data.len() <= READ_CAP).then(|| json::members(data, ["prompt_eval_count", "eval_count"]));
    let [input, output] = read
        .flatten()
        .unwrap_or_else(|| [&PROMPT_EVAL_COUNT, &EVAL_COUNT].map(|field| values(data, field).last()));
    tokens.input = input.and_then(count).unwrap_or(0);
    tokens.output = output.and_then(count).unwrap_or(0);
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
