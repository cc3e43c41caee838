//! The path of one request: read it, pick its fault, ask the engine, run the generation, answer.

use crate::activity::Busy;
use crate::answer::{Answer, Payload};
use crate::ask::Ask;
use crate::body::SimBody;
use crate::engines::{self, Reply};
use crate::fault::Fault;
use crate::formats::{Wire, ndjson};
use crate::json::obj;
use crate::node::{Node, per_token_ns};
use crate::profile::Engine;
use crate::raw;
use crate::record::{Outcome, Ticket};
use crate::residents::Seat;
use crate::script::{Script, Twist};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Largest request body read; long prompts with images stay below it.
const BODY_MAX: usize = 128 << 20;

/// Where a request leaves a job for the connection, when hyper cannot write what is wanted.
pub(crate) type Handover = Arc<Mutex<Option<raw::Job>>>;

/// The connection is to be taken from hyper.
#[derive(Debug)]
pub(crate) struct TakenOver;

impl std::fmt::Display for TakenOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is written to directly")
    }
}

impl std::error::Error for TakenOver {}

/// An answer with the clock and the seat of its generation.
struct Run {
    answer: Answer,
    start: Instant,
    seat: Option<Seat>,
    outcome: Outcome,
}

impl Run {
    fn now(answer: Answer) -> Self {
        Self { answer, start: Instant::now(), seat: None, outcome: Outcome::Answered }
    }

    fn broken(answer: Answer) -> Self {
        Self { outcome: Outcome::Broken, ..Self::now(answer) }
    }
}

/// Answers one request, or leaves a job in `handover` and ends hyper's part.
pub(crate) async fn serve(
    node: Arc<Node>,
    handover: Handover,
    busy: Busy,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, TakenOver> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(|_| TakenOver)?.to_bytes();
    let mut ticket = node.recorder.enter(&head, &body);
    let ask = Ask::new(head, body);
    let (method, path) = (ask.method(), ask.path());
    let probe = matches!(method, "GET" | "HEAD");
    let generation = engines::is_generation(method, path);
    let fault = node.faults.take(probe, generation, path);
    if let Fault::Silent { ms } = fault {
        quiet(ms).await;
    }
    let run = match early(&node, path, &fault) {
        Some(answer) => Run::broken(answer),
        None => run(&node, &ask, &fault, &mut ticket).await,
    };
    let Run { answer, start, seat, outcome } = run;
    let answer = engines::dress(node.profile.engine, answer);
    ticket.status(answer.status.as_u16());
    if raw::needed(&fault) {
        let job = raw::Job { answer, fault, start, ticket, seat };
        *handover.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        return Err(TakenOver);
    }
    let mut response = Response::builder().status(answer.status);
    if let Some(headers) = response.headers_mut() {
        headers.extend(answer.headers);
    }
    let body = SimBody::new(answer.body, start, ticket, seat, outcome, busy);
    let body = if method == "HEAD" { body.headless() } else { body };
    response.body(body).map_err(|_| TakenOver)
}

/// Waits so long; `None` waits until the client gives up.
async fn quiet(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

/// Faults that answer without asking the engine.
fn early(node: &Node, path: &str, fault: &Fault) -> Option<Answer> {
    let page =
        "<!DOCTYPE html><html><head><title>Router login</title></head><body>Please log in.</body></html>";
    Some(match fault {
        Fault::DieBeforeFirstByte | Fault::EmptyOk | Fault::Verbatim { .. } => Answer::new(200, "", ""),
        Fault::Html200 => Answer::new(200, "text/html; charset=utf-8", page),
        Fault::Busy503 => engines::error(node, path, 503, engines::BUSY),
        Fault::Oom500 => {
            let words = "llama runner process has terminated: cudaMalloc failed: out of memory";
            engines::error(node, path, 500, words)
        }
        Fault::GzipBomb { mib } => {
            let bomb = crate::gzip::bomb(mib.saturating_mul((1 << 20) / 258));
            Answer::new(200, crate::formats::JSON_UTF8, bomb).header("content-encoding", "gzip")
        }
        Fault::Redirect { to } => Answer::new(307, "", "").header("location", to),
        Fault::Status { status, retry_after, body } => {
            let answer = match body {
                Some(body) => Answer::new(*status, "text/plain; charset=utf-8", body.clone()),
                None => engines::error(node, path, *status, "simulated fault"),
            };
            match retry_after {
                Some(value) => answer.header("retry-after", value),
                None => answer,
            }
        }
        _ => return None,
    })
}

/// Asks the engine and, for a generation, waits for its model, its slot and its first token.
async fn run(node: &Arc<Node>, ask: &Ask, fault: &Fault, ticket: &mut Ticket) -> Run {
    let path = ask.path();
    match engines::reply(node, ask) {
        Reply::Now(answer) => Run::now(cut(answer, fault)),
        Reply::Loaded { model, keep_alive_s, answer } => {
            if *fault == Fault::Gray {
                quiet(None).await;
            }
            match node.residents.admit(&model, keep_alive_s, false).await {
                Ok(seat) => Run { seat: Some(seat), ..Run::now(cut(answer, fault)) },
                Err(refused) => Run::now(engines::refusal(node, path, refused)),
            }
        }
        Reply::Progress { wire, stream } => {
            let spec = wire.spec();
            let total = spec.ttft_ns + spec.per_token_ns * spec.completion_tokens();
            if !stream {
                tokio::time::sleep(Duration::from_nanos(total)).await;
                return Run::now(Answer::new(200, crate::formats::JSON_UTF8, wire.whole()));
            }
            Run::now(Answer::events(wire.stream_type(), Script::new(wire, Twist::of(fault))))
        }
        Reply::Generate(mut plan) => {
            let seat = match node.residents.admit(&plan.model, plan.keep_alive_s, true).await {
                Ok(seat) => seat,
                Err(refused) => return Run::now(engines::refusal(node, path, refused)),
            };
            ticket.generation_started();
            plan.spec.load_ns = seat.load_ns;
            match fault {
                Fault::Rate { tok_per_s } => plan.spec.per_token_ns = per_token_ns(*tok_per_s),
                Fault::EmptyChoices => {
                    plan.spec.empty = true;
                    plan.spec.tokens.clear();
                }
                _ => {}
            }
            generate(node, path, fault, plan.wire(), seat).await
        }
    }
}

/// Runs a generation that has its seat.
async fn generate(node: &Node, path: &str, fault: &Fault, wire: Box<dyn Wire>, seat: Seat) -> Run {
    let start = Instant::now();
    let twist = Twist::of(fault);
    let outcome = match twist {
        Twist::None | Twist::Extra | Twist::OddSse => Outcome::Answered,
        _ => Outcome::Broken,
    };
    let spec = wire.spec();
    let answer = if spec.stream {
        // Ollama and llama-server send their head with the first token; the others at once.
        let late = matches!(node.profile.engine, Engine::Ollama | Engine::Llamacpp | Engine::LlamacppRouter);
        if late && spec.ttft_ns > 0 && twist != Twist::Mute {
            tokio::time::sleep_until(start + Duration::from_nanos(spec.ttft_ns)).await;
        }
        Answer::events(wire.stream_type(), Script::new(wire, twist))
    } else {
        if twist == Twist::Mute {
            quiet(None).await;
        }
        let total = spec.ttft_ns + spec.per_token_ns * spec.completion_tokens();
        if total > 0 {
            tokio::time::sleep_until(start + Duration::from_nanos(total)).await;
        }
        if matches!(fault, Fault::InBandError { .. }) {
            engines::error(node, path, 500, "the runner stopped: simulated fault")
        } else {
            let plain = matches!(node.profile.engine, Engine::Openai | Engine::Vllm | Engine::Lmstudio);
            let kind = if plain { "application/json" } else { crate::formats::JSON_UTF8 };
            cut(Answer::new(200, kind, wire.whole()), fault)
        }
    };
    Run { answer, start, seat: Some(seat), outcome }
}

/// The faults of a stream, for a whole body: half of it, or more than all.
fn cut(mut answer: Answer, fault: &Fault) -> Answer {
    if let Payload::Whole(bytes) = &mut answer.body {
        match fault {
            Fault::Close { .. } => bytes.truncate(bytes.len() / 2),
            Fault::Extra => {
                let more = ndjson(obj! { "extra": true });
                *bytes = Bytes::from([&bytes[..], &more[..]].concat());
            }
            _ => {}
        }
    }
    answer
}
