//! One try at one node: send, wait until the answer has really begun, or say why it did not.
//!
//! Up to here nothing has gone down to the client, so a failure may go to the next candidate. [`Opened`] is the point of no
//! return: it can be turned into an answer, and no longer into another try.

use crate::{
    dialects::{
        self,
        judge::{Judge, Standing},
        whole,
    },
    upstream::{Ends, Incoming, Lost, OpenRequest, Upstream},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header, response};
use http_body_util::BodyExt;
use hyper::body::Body;
use lamplighter_core::operation::{Dialect, Operation};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// An answer in one piece is collected up to this size before it goes down: then it arrives whole or not at all.
const WHOLE_CAP: usize = 4 << 20;
/// An error body is kept up to this size.
const ERROR_CAP: usize = 1 << 20;
/// What comes before the first event of a stream (comments, blank lines) is held up to this size.
const PREFACE_CAP: usize = 64 << 10;
/// Time for an error body to arrive.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Debug)]
pub struct Sending<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// Does the client want a stream?
    pub streams: bool,
    /// The request's query, without its `?`.
    pub query: Option<&'a str>,
    /// Headers that may go up, without credentials.
    pub headers: &'a HeaderMap,
    /// The body, with the model's name as the node knows it.
    pub body: Bytes,
    /// The request is ended by a person or by a shutdown.
    pub cancel: &'a CancellationToken,
    /// Could somebody else answer? Then a node that misses its probes is left at once.
    pub has_alternative: bool,
    /// How long its silence is borne.
    pub bear: Bear,
}

/// How long a node's silence is borne before an answer has begun.
#[derive(Debug, Clone, Copy)]
pub struct Bear {
    /// Time to the first event of a stream, when a healthy node that was not asked could answer instead. That such a node is
    /// there also means that one which generates nothing is left.
    pub first_event: Option<Duration>,
    /// Could a healthy node that was not asked answer instead?
    pub has_healthy: bool,
    /// Silence is never a fault by itself while the node is alive; this bounds it all the same.
    pub cap: Duration,
    /// The node is believed to be gone, and asked all the same: what is believed does not end this.
    pub is_hope: bool,
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Opened {
    /// Status and headers as the node sent them.
    pub head: response::Parts,
    /// The answer.
    pub answer: Answer,
    /// Signals that end it.
    pub ends: Ends,
    /// The open request; closed on drop.
    pub open: OpenRequest,
}

/// The answer itself.
#[derive(Debug)]
pub enum Answer {
    /// All of it.
    Whole(Bytes),
    /// A stream that a judge listens to: what has come already, and the rest.
    Judged {
        /// Whole events that have come.
        ready: VecDeque<Bytes>,
        /// The beginning of an event that is not whole.
        partial: BytesMut,
        /// The listener.
        judge: Judge,
        /// The rest.
        rest: Incoming,
    },
    /// Something large in one piece: what has come already, and the rest.
    Plain {
        /// What has come.
        ready: VecDeque<Bytes>,
        /// The rest.
        rest: Incoming,
    },
}

/// Why no answer has begun.
#[derive(Debug)]
pub enum Failed {
    /// No connection: the node has not seen the request. The words say why.
    NoConnection(String),
    /// The connection broke before an answer came. It may have been a kept one that the node was just closing: then the node
    /// has never seen the request.
    Broke(String),
    /// The node was lost before its answer had begun, or what it sent is no answer: the words say how.
    Unreachable(String),
    /// Probes have missed: the node is gone.
    Gone,
    /// It sent nothing for so long, and somebody else could answer.
    Silent(Duration),
    /// It answers probes and generates nothing: canaries have found out meanwhile.
    Gray,
    /// The node does not have the model.
    Drift(Box<Response<Bytes>>),
    /// The node refuses our key, or what is asked of it.
    Refused(Box<Response<Bytes>>),
    /// The model does not fit into the node's memory.
    OutOfMemory(Box<Response<Bytes>>),
    /// The node answered with an error that another node may not have.
    Error(Box<Response<Bytes>>),
    /// The node said 200 and nothing else.
    Empty,
    /// A person or a shutdown ended the request.
    Cancelled,
}

impl Failed {
    /// Did the node fail at its work, and how? Being busy, gone, misconfigured or without the model is no such failure, and
    /// neither is a client's mistake.
    #[must_use]
    pub fn at_work(&self) -> Option<String> {
        match self {
            Self::Broke(how) | Self::Unreachable(how) => Some(how.clone()),
            Self::Empty => Some("it answered with nothing".into()),
            Self::Silent(_) => Some("it sent nothing for too long".into()),
            Self::Error(response) if matches!(response.status().as_u16(), 500 | 502 | 504) => {
                Some(format!("it answered {}", response.status().as_u16()))
            }
            Self::NoConnection(_)
            | Self::Gone
            | Self::Gray
            | Self::OutOfMemory(_)
            | Self::Drift(_)
            | Self::Refused(_)
            | Self::Error(_)
            | Self::Cancelled => None,
        }
    }
}

/// Sends the request to one node and waits until the answer has begun.
///
/// # Errors
/// [`Failed`], with nothing sent down.
pub async fn open(upstream: &Arc<Upstream>, sending: Sending<'_>) -> Result<Opened, Failed> {
    let open = OpenRequest::new(upstream.clone(), !sending.streams);
    let Bear { first_event, has_healthy, cap, is_hope } = sending.bear;
    let ends = if is_hope { Ends::default() } else { upstream.ends() };
    let dialect = sending.operation.dialect();
    let request = request(upstream, &sending)?;
    let left = async {
        tokio::select! {
            () = ends.gone.cancelled(), if sending.has_alternative => Failed::Gone,
            () = ends.cut.cancelled() => Failed::Gone,
            () = sending.cancel.cancelled() => Failed::Cancelled,
            () = ends.gray.cancelled(), if has_healthy => Failed::Gray,
            () = tokio::time::sleep(first_event.unwrap_or(cap)), if first_event.is_some() => {
                Failed::Silent(first_event.unwrap_or(cap))
            }
            () = tokio::time::sleep(cap) => {
                Failed::Unreachable(format!("it was silent for {} minutes", cap.as_secs() / 60))
            }
        }
    };
    tokio::select! {
        failed = left => Err(failed),
        begun = begin(upstream, request, sending.body.clone(), dialect, &open) => {
            let (head, answer) = begun?;
            Ok(Opened { head, answer, ends: ends.clone(), open })
        }
    }
}

/// Where to, and with which headers.
fn request(upstream: &Upstream, sending: &Sending<'_>) -> Result<(Uri, HeaderMap), Failed> {
    let wrong = |error: http::Error| Failed::Unreachable(format!("the request cannot be written: {error}"));
    let uri = upstream.uri(sending.operation.path(), sending.query).map_err(wrong)?;
    let mut headers = sending.headers.clone();
    // The node counts bytes we pass on unread: it must not compress them.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = upstream.key() {
        headers.insert(header::AUTHORIZATION, key.clone());
    }
    Ok((uri, headers))
}

async fn begin(
    upstream: &Upstream,
    (uri, headers): (Uri, HeaderMap),
    body: Bytes,
    dialect: Dialect,
    open: &OpenRequest,
) -> Result<(response::Parts, Answer), Failed> {
    let response = upstream.post(&uri, &headers, body).await.map_err(lost)?;
    open.beat();
    let (head, body) = response.into_parts();
    if head.status.is_redirection() || head.status.is_informational() {
        // Never followed and never passed on: it would lead us, or the client past us, where nobody wants to be.
        return Err(Failed::Unreachable(format!("it sends us elsewhere ({})", head.status.as_u16())));
    }
    if !head.status.is_success() {
        return Err(refusal_of(head, body).await);
    }
    if is_web_page(&head.headers) {
        // A captive portal or a router's login page; no engine answers in HTML.
        return Err(Failed::Unreachable("it answered with a web page".into()));
    }
    let answer = match stream_dialect(&head.headers, dialect) {
        Some(dialect) => first_event(body, dialect, open).await?,
        None => match whole(body, open).await? {
            Answer::Whole(body) if dialect == Dialect::Openai && has_no_choice(&body) => {
                return Err(Failed::Empty);
            }
            Answer::Whole(body) => match whole::trouble(dialect, &body) {
                Some(what) => return Err(Failed::Unreachable(what)),
                None => Answer::Whole(body),
            },
            answer => answer,
        },
    };
    Ok((head, answer))
}

/// The dialect to judge the answer by, if it is a stream.
fn stream_dialect(headers: &HeaderMap, dialect: Dialect) -> Option<Dialect> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match (kind, dialect) {
        ("text/event-stream", Dialect::Openai | Dialect::Responses | Dialect::Anthropic) => Some(dialect),
        ("application/x-ndjson", Dialect::Ollama) => Some(dialect),
        _ => None,
    }
}

fn is_web_page(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

/// `"choices": []` with status 200: an answer with nothing in it (GoModel #947).
fn has_no_choice(body: &[u8]) -> bool {
    let after = memchr::memmem::find(body, b"\"choices\"").map(|at| body[at + 9..].trim_ascii_start());
    let value = after.and_then(|rest| rest.strip_prefix(b":")).map(<[u8]>::trim_ascii_start);
    value
        .and_then(|rest| rest.strip_prefix(b"["))
        .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]"))
}

/// Waits for the first whole event: a stream that is empty, or begins with an error, has not begun.
async fn first_event(mut rest: Incoming, dialect: Dialect, open: &OpenRequest) -> Result<Answer, Failed> {
    let mut judge = Judge::new(dialect);
    let (mut ready, mut partial, mut held) = (VecDeque::new(), BytesMut::new(), 0);
    while judge.events() == 0 && held < PREFACE_CAP {
        let chunk = match rest.frame().await {
            None => {
                judge.finish();
                if judge.standing() == Standing::Unfinished {
                    return Err(Failed::Empty);
                }
                break;
            }
            Some(Err(error)) => {
                return Err(Failed::Unreachable(format!(
                    "the connection broke before the first event: {error}"
                )));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => chunk,
                Err(_) => continue,
            },
        };
        open.spoke();
        held += chunk.len();
        match judge.push(&chunk) {
            Err(_) => return Err(Failed::Unreachable("its first event has no end".into())),
            Ok(None) => partial.extend_from_slice(&chunk),
            Ok(Some(to)) => {
                if !partial.is_empty() {
                    ready.push_back(partial.split().freeze());
                }
                ready.push_back(chunk.slice(..to));
                partial.extend_from_slice(&chunk[to..]);
            }
        }
    }
    if judge.events() <= 1 && judge.standing() == Standing::NodeError {
        let mut body = ready.iter().flat_map(|bytes| bytes.iter().copied()).collect::<Vec<u8>>();
        body.extend_from_slice(&partial);
        // The error in the dialect's own stream form; its text is what a person wants to read.
        return Err(Failed::Unreachable(format!("it answered with an error: {}", first_line(&body))));
    }
    Ok(Answer::Judged { ready, partial, judge, rest })
}

fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().find(|line| line.contains('{')).unwrap_or("").trim_start_matches("data:").trim();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Collects an answer in one piece. Beyond the cap it goes down as it comes.
async fn whole(mut rest: Incoming, open: &OpenRequest) -> Result<Answer, Failed> {
    let (mut ready, mut size) = (VecDeque::new(), 0);
    loop {
        match rest.frame().await {
            None => break,
            Some(Err(error)) => {
                return Err(Failed::Unreachable(format!("its answer was cut short: {error}")));
            }
            Some(Ok(frame)) => {
                open.spoke();
                if let Ok(chunk) = frame.into_data() {
                    size += chunk.len();
                    ready.push_back(chunk);
                }
                if rest.is_end_stream() {
                    break;
                }
                if size > WHOLE_CAP {
                    return Ok(Answer::Plain { ready, rest });
                }
            }
        }
    }
    match ready.len() {
        0 => Err(Failed::Empty),
        1 => Ok(Answer::Whole(ready.pop_front().unwrap_or_default())),
        _ => Ok(Answer::Whole(ready.into_iter().flatten().collect())),
    }
}

/// What a status that is no success means.
async fn refusal_of(head: response::Parts, body: Incoming) -> Failed {
    let collected = http_body_util::Limited::new(body, ERROR_CAP).collect();
    let body = match tokio::time::timeout(ERROR_BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    let status = head.status;
    let response = Box::new(Response::from_parts(head, body));
    match status.as_u16() {
        401 | 403 => Failed::Refused(response),
        400 | 404 if dialects::says_model_absent(status.as_u16(), response.body()) => Failed::Drift(response),
        500 | 503 if says_out_of_memory(response.body()) => Failed::OutOfMemory(response),
        _ => Failed::Error(response),
    }
}

/// Does the error say that the model does not fit? Ollama 500 `llama runner process has terminated: cudaMalloc failed: out of
/// memory` and `model requires more system memory (9.1 GiB) than is available (4.2 GiB)` (ollama `llm/server.go`); vLLM's and
/// torch's `CUDA out of memory`; llama.cpp `failed to allocate`.
fn says_out_of_memory(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(8 << 10)]).to_ascii_lowercase();
    ["out of memory", "cudamalloc failed", "more system memory", "failed to allocate", "insufficient memory"]
        .iter()
        .any(|words| text.contains(words))
}

/// May another node answer where this one gave such a status?
#[must_use]
pub fn is_worth_another(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 425 | 429) || status.is_server_error() || status.is_redirection()
}

/// What was lost on the way, in words for a person.
fn lost(lost: Lost) -> Failed {
    match lost {
        Lost::NoConnection(how) => Failed::NoConnection(format!("no connection: {how}")),
        Lost::Broke(how) => Failed::Broke(format!("the connection broke before an answer came: {how}")),
        Lost::Malformed(what) => Failed::Unreachable(format!("its answer cannot be read: {what}")),
    }
}
