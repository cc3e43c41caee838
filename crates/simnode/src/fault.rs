//! The scripted faults of a node: which there are, which requests they hit and how often.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// One way to misbehave. `None` for a time or a count means for ever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// No fault.
    #[default]
    Ok,
    /// Not one byte for so long, then the ordinary answer.
    Silent {
        /// Milliseconds; `None` is for ever.
        ms: Option<u64>,
    },
    /// Lists answer; a generation sends its head (when streamed) and then never a token.
    Gray,
    /// Generates at this speed.
    Rate {
        /// Tokens per second.
        tok_per_s: f64,
    },
    /// Writes the answer in pieces of so many bytes, each its own segment.
    Slicer {
        /// Bytes per write, at least 1.
        bytes: usize,
    },
    /// Resets the connection after so many bytes of body (on the wire).
    Rst {
        /// Body bytes before the reset; 0 resets after the head.
        after_bytes: usize,
    },
    /// Ends the stream cleanly without its terminal marker; a whole answer ends half-way.
    Close {
        /// Events before the end.
        after_events: usize,
    },
    /// Sends one more event after the terminal marker, in the same body.
    Extra,
    /// Sends bytes after the end of the body, on the same connection.
    ExtraRaw,
    /// Announces a chunk and closes in the middle of it.
    TruncChunk,
    /// Announces a length and closes half-way.
    TruncContentLength,
    /// Adds a header of this size.
    HugeHeader {
        /// Bytes of its value.
        bytes: usize,
    },
    /// Adds this many headers.
    ManyHeaders {
        /// Number of headers.
        count: usize,
    },
    /// Sends `103 Early Hints` again and again before the answer.
    Flood1xx {
        /// How many; `None` never stops.
        count: Option<u64>,
    },
    /// A stream that never ends, at the node's own speed.
    Endless,
    /// Sends both `Content-Length` and `Transfer-Encoding`.
    ClTe,
    /// A chunk whose size overflows 64 bits.
    HugeChunk,
    /// A status line that is none.
    BadStatus,
    /// 200 with the HTML page of a router's login.
    Html200,
    /// This status in the engine's own error shape.
    Status {
        /// HTTP status code.
        status: u16,
        /// `Retry-After`, as text, so that garbage can be sent.
        #[serde(default)]
        retry_after: Option<String>,
        /// Body instead of the engine's error shape.
        #[serde(default)]
        body: Option<String>,
    },
    /// 503 with Ollama's words for a full queue.
    Busy503,
    /// 500 with the words of a runner that is out of memory.
    Oom500,
    /// 200 without a body.
    EmptyOk,
    /// An error in the dialect's own form in the middle of a stream, then the end.
    InBandError {
        /// Events before the error.
        after_events: usize,
    },
    /// A well-formed answer with nothing in it; `choices: []` in the OpenAI dialect.
    EmptyChoices,
    /// Reads the request and closes.
    DieBeforeFirstByte,
    /// 307 to another address.
    Redirect {
        /// The `Location`.
        to: String,
    },
    /// Closes connections that were idle for so long; answers are ordinary.
    KeepAlive {
        /// Seconds.
        seconds: f64,
    },
    /// A gzip body nobody asked for, that unpacks to so much.
    GzipBomb {
        /// Mebibytes when unpacked; about 160 times less on the wire.
        mib: usize,
    },
    /// Server-sent events in their rarer but valid forms: byte order mark, CRLF, comments, `id:` and `retry:`.
    OddSse,
    /// One event of this size without a line end, then the end.
    HugeLine {
        /// Bytes.
        bytes: usize,
    },
    /// Exactly these bytes, the head among them, then the end of the connection.
    Verbatim {
        /// Each piece in a segment of its own.
        pieces: Vec<Vec<u8>>,
        /// The last piece again and again, until the client leaves.
        #[serde(default)]
        forever: bool,
    },
}

/// Which requests a fault hits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Every request.
    #[default]
    All,
    /// Requests that run a model: chat, completion, messages, responses, embeddings.
    Generation,
    /// `GET` and `HEAD`.
    Probes,
    /// One path, exactly.
    Path(String),
}

/// A fault with its aim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// For which requests.
    pub on: On,
    /// For how many of them; `None` until cleared.
    pub times: Option<u32>,
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }
}

impl FaultRule {
    /// Narrows the rule to some requests.
    #[must_use]
    pub fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// Ends the rule after so many requests were hit.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Reads `{"kind":"rst","after_bytes":9,"on":"generation","times":3}`.
    ///
    /// # Errors
    /// What serde says about an unknown kind, field or aim.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text)?;
        let on = fields.remove("on").map(serde_json::from_value).transpose()?;
        let times = fields.remove("times").map(serde_json::from_value).transpose()?;
        let fault = serde_json::from_value(fields.into())?;
        Ok(Self { fault, on: on.unwrap_or_default(), times: times.unwrap_or_default() })
    }

    fn hits(&self, probe: bool, generation: bool, path: &str) -> bool {
        match &self.on {
            On::All => true,
            On::Generation => generation,
            On::Probes => probe,
            On::Path(wanted) => wanted == path,
        }
    }
}

/// The rules in force; the first that hits a request wins.
#[derive(Debug)]
pub(crate) struct Faults {
    rules: Mutex<Vec<FaultRule>>,
    changed: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self { rules: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Replaces every rule.
    pub(crate) fn set(&self, rules: Vec<FaultRule>) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
        self.changed.send_modify(|version| *version += 1);
    }

    /// Adds a rule behind the others.
    pub(crate) fn add(&self, rule: FaultRule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Takes the fault for one request, counting it.
    pub(crate) fn take(&self, probe: bool, generation: bool, path: &str) -> Fault {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = rules.iter().position(|rule| rule.hits(probe, generation, path)) else {
            return Fault::Ok;
        };
        let fault = rules[index].fault.clone();
        if let Some(times) = &mut rules[index].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(index);
            }
        }
        fault
    }

    /// The idle time of a `KeepAlive` rule, in ms.
    pub(crate) fn idle_close_ms(&self) -> Option<u64> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find_map(|rule| match rule.fault {
            // Whole milliseconds; a negative or absurd number saturates in the cast.
            Fault::KeepAlive { seconds } => Some((seconds * 1000.0) as u64),
            _ => None,
        })
    }

    /// Wakes when the rules change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
