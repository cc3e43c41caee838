//! Listens to a streamed answer: is it complete, did the node report an error, how many tokens were there?
//!
//! A stream is complete only when its own terminal marker has come. A connection that merely ends proves nothing: a node that
//! dies behind a close-delimited response looks like success.

use super::{ndjson, sse, sse::TooLong};
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
        }
    }

    /// Takes in one chunk. Returns the position after the last whole event in it that belongs to the answer.
    ///
    /// # Errors
    /// [`TooLong`] when an event grows beyond the cap.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<usize>, TooLong> {
        let Self { dialect, reader, standing, marked, over, events, tokens } = self;
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
            let heard = hear_event(*dialect, name, data, tokens);
            *marked |= match dialect {
                Dialect::Openai => data == DONE_MARK,
                _ => heard == Standing::Complete,
            };
            match heard {
                Standing::Unfinished => {}
                // What was complete stays so: OpenAI sends usage and `[DONE]` after the finish reason.
                heard if *standing == Standing::Unfinished => *standing = heard,
                _ => {}
            }
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
                let heard = hear_event(self.dialect, b"", &rest, &mut self.tokens);
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
    standing_of(dialect, b"", data) == Standing::NodeError
}

fn hear_event(dialect: Dialect, name: &[u8], data: &[u8], tokens: &mut Tokens) -> Standing {
    usage_tokens(data, tokens);
    let standing = standing_of(dialect, name, data);
    if dialect == Dialect::Ollama && standing == Standing::Complete {
        ollama_tokens(data, tokens);
    }
    standing
}

/// What one event says of the stream that it stands in.
fn standing_of(dialect: Dialect, name: &[u8], data: &[u8]) -> Standing {
    let is = |kind: &str| type_is(data, kind);
    match dialect {
        Dialect::Openai => {
            if data == DONE_MARK || values(data, &FINISH_REASON).any(|value| value[0] == b'"') {
                Standing::Complete
            } else if is_error_object(data) {
                Standing::NodeError
            } else {
                Standing::Unfinished
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
            if values(data, &DONE).any(|value| value[0] == b't') {
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
fn usage_tokens(data: &[u8], tokens: &mut Tokens) {
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
    for value in values(data, &USAGE).filter(|value| value[0] == b'{') {
        let mut reader = serde_json::Deserializer::from_slice(value);
        let Ok(usage) = Usage::deserialize(&mut reader) else { continue };
        tokens.input = tokens.input.max(believed(usage.prompt_tokens, usage.input_tokens));
        tokens.output = tokens.output.max(believed(usage.completion_tokens, usage.output_tokens));
    }
}

/// Ollama's counts, in the last object only (ollama `api/types.go`).
fn ollama_tokens(data: &[u8], tokens: &mut Tokens) {
    let count = |field: &Finder<'_>| {
        let value = values(data, field).last()?;
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        let count = std::str::from_utf8(&value[..digits]).ok()?.parse().ok()?;
        (count <= TOKENS_CAP).then_some(count)
    };
    tokens.input = count(&PROMPT_EVAL_COUNT).unwrap_or(0);
    tokens.output = count(&EVAL_COUNT).unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(dialect: Dialect, stream: &str) -> (Standing, Tokens, u64) {
        let mut whole = Judge::new(dialect);
        whole.push(stream.as_bytes()).unwrap();
        whole.finish();
        // Byte by byte must give the same.
        let mut slow = Judge::new(dialect);
        for byte in stream.as_bytes() {
            slow.push(&[*byte]).unwrap();
        }
        slow.finish();
        assert_eq!(
            (slow.standing(), slow.tokens(), slow.events()),
            (whole.standing(), whole.tokens(), whole.events())
        );
        (whole.standing(), whole.tokens(), whole.events())
    }

    #[test]
    fn openai() {
        let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"finish_reason\\\":\\\"stop\\\" [DONE]\"},\"finish_reason\":null}]}\n\n";
        assert_eq!(judged(Dialect::Openai, delta).0, Standing::Unfinished);
        assert_eq!(judged(Dialect::Openai, &format!("{delta}data: [DONE]\n\n")).0, Standing::Complete);
        let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\": \"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n";
        assert_eq!(judged(Dialect::Openai, last), (Standing::Complete, Tokens { input: 5, output: 7 }, 2));
        assert_eq!(
            judged(Dialect::Openai, "data: {\"error\":{\"message\":\"x\"}}\n\n").0,
            Standing::NodeError
        );
        assert_eq!(
            judged(Dialect::Openai, "data: [DONE]").0,
            Standing::Unfinished,
            "cut before the line end"
        );
    }

    /// R44: counts that cannot be are none, and hide no others.
    #[test]
    fn r44_negative_and_huge_counts_are_not_believed() {
        let usage = |input: &str, output: &str| {
            let told = format!("{{\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output}}}}}");
            let tokens = tokens_of_whole(Dialect::Openai, told.as_bytes());
            (tokens.input, tokens.output)
        };
        assert_eq!(usage("5", "7"), (5, 7));
        for wrong in
            ["-7", "1e30", "18446744073709551615", "18446744073709551616", "7.5", "null", "\"7\"", "[7]"]
        {
            assert_eq!(usage("5", wrong), (5, 0), "{wrong}");
            assert_eq!(usage(wrong, "7"), (0, 7), "{wrong}");
        }
        for wrong in ["-7", "1e30", "18446744073709551615", "99999999999999999999999", "null", "\"7\""] {
            let told = format!("{{\"done\":true,\"prompt_eval_count\":5,\"eval_count\":{wrong}}}");
            let Tokens { input, output } = tokens_of_whole(Dialect::Ollama, told.as_bytes());
            assert!(input == 5 && output <= 1, "{wrong}: {output}");
        }
    }

    /// R39: what follows the end mark belongs to no answer, however it is cut; a `[DONE]` may follow everywhere.
    #[test]
    fn r39_nothing_follows_the_end_mark() {
        let ends = [
            (
                Dialect::Openai,
                "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: {\"usage\":{}}\n\ndata: [DONE]\n\n",
            ),
            (Dialect::Responses, "data: {\"type\":\"response.completed\"}\n\ndata: [DONE]\n\n"),
            (Dialect::Anthropic, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            (Dialect::Ollama, "{\"done\":true}\n"),
        ];
        for (dialect, whole) in ends {
            let extras = match dialect {
                Dialect::Ollama => ["{\"done\":false}\n", "{\"done\":true}\r\n"],
                _ => ["data: {\"choices\":[]}\n\n", ": c\r\nevent: x\r\ndata:y\r\n\r\n"],
            };
            for extra in extras {
                let stream = format!("{whole}\n{extra}{extra}");
                for cut in 0..stream.len() {
                    let (mut judge, mut to, mut at) = (Judge::new(dialect), 0, 0);
                    for part in [&stream[..cut], &stream[cut..]] {
                        if let Some(end) = judge.push(part.as_bytes()).unwrap() {
                            to = at + end;
                        }
                        at += part.len();
                    }
                    assert!(judge.has_end_mark() && judge.is_over(), "{dialect:?} cut at {cut}");
                    assert!(
                        stream[..to].trim_end() == whole.trim_end(),
                        "{dialect:?} cut at {cut}: {:?}",
                        &stream[..to]
                    );
                }
            }
            let mut judge = Judge::new(dialect);
            judge.push(whole.as_bytes()).unwrap();
            assert!(judge.has_end_mark() && !judge.is_over(), "{dialect:?}");
        }
    }

    #[test]
    fn an_answer_in_one_piece_tells_its_tokens() {
        let chat = br#"{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":9}"}}],"usage": {"prompt_tokens":5,"completion_tokens":7,"details":{"x":[1]}},"z":1}"#;
        assert_eq!(tokens_of_whole(Dialect::Openai, chat), Tokens { input: 5, output: 7 });
        let response = br#"{"response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
        assert_eq!(tokens_of_whole(Dialect::Responses, response), Tokens { input: 3, output: 4 });
        let embedded = br#"{"embeddings":[[0.5,-1e-3]],"prompt_eval_count": 8}"#;
        assert_eq!(tokens_of_whole(Dialect::Ollama, embedded), Tokens { input: 8, output: 0 });
        assert_eq!(tokens_of_whole(Dialect::Ollama, br#"{"eval_count":"#), Tokens::default());
    }

    #[test]
    fn anthropic() {
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
        let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n";
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        assert_eq!(judged(Dialect::Anthropic, &format!("{start}{delta}")).0, Standing::Unfinished);
        assert_eq!(
            judged(Dialect::Anthropic, &format!("{start}{delta}{stop}")),
            (Standing::Complete, Tokens { input: 9, output: 12 }, 3)
        );
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
        assert_eq!(judged(Dialect::Anthropic, error).0, Standing::NodeError);
    }

    #[test]
    fn responses() {
        let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n";
        assert_eq!(judged(Dialect::Responses, delta).0, Standing::Unfinished);
        let done = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
        assert_eq!(
            judged(Dialect::Responses, &format!("{delta}{done}")),
            (Standing::Complete, Tokens { input: 3, output: 4 }, 2)
        );
    }

    #[test]
    fn ollama() {
        let part = "{\"model\":\"m\",\"message\":{\"content\":\"\\\"done\\\":true\"},\"done\":false}\n";
        let last = "{\"model\":\"m\",\"message\":{\"content\":\"\"},\"done\": true,\"prompt_eval_count\":2,\"eval_count\":8}";
        assert_eq!(judged(Dialect::Ollama, part).0, Standing::Unfinished);
        let (standing, tokens, _) = judged(Dialect::Ollama, &format!("{part}{last}"));
        assert_eq!((standing, tokens), (Standing::Complete, Tokens { input: 2, output: 8 }));
        assert_eq!(judged(Dialect::Ollama, "{\"error\":\"out of memory\"}\n").0, Standing::NodeError);
        assert_eq!(judged(Dialect::Ollama, "{\"done\":true").0, Standing::Unfinished);
    }
}
