//! The one path of a request, from the envelope to the last byte of the answer.

mod early;
mod experience;
mod failed;
mod lamp;
mod lost;
mod place;
mod refused;
mod remembered;
mod retries;
mod send;
mod tries;
mod trip;

use crate::{
    answer::{self, Reply},
    aside,
    attempt::Opened,
    conversations::{Conversations, Session},
    dialects::{
        envelope::{self, Envelope},
        heartbeat::{self, Heartbeat},
    },
    live::{Arrival, Outcome, Requests, UnderWay},
    meter::{Holding, Metered},
    places::{Held, Places},
    registry::Registry,
    speeds::{Measured, Stopwatch},
    steering::Steering,
    vigil::{Vigil, Vigils},
    waker::Waker,
};
use bytes::Bytes;
use early::Early;
use http::{HeaderMap, Response};
use lamplighter_core::{
    config::ServerConfig,
    operation::{Dialect, Operation},
    refusal::Refusal,
    room::Client,
    route::Candidate,
};
pub use retries::Retries;
use std::sync::Arc;
use tokio::sync::watch;
use trip::Trip;

/// A request as it comes through the door.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The request's id.
    pub id: String,
    /// Who asks, for places.
    pub client: Client,
    /// The program that asks, for eyes.
    pub agent: String,
    /// The node that the request's own header pins it to.
    pub pin: Option<String>,
    /// The query, without its `?`.
    pub query: Option<String>,
    /// The conversation that it belongs to, as far as its headers tell.
    pub session: Session,
    /// Nobody waits for the answer, its client says.
    pub is_background: bool,
    /// Headers that may go up to a node.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What serving needs.
#[derive(Debug)]
pub struct Proxy {
    /// Knows the nodes.
    pub registry: Registry,
    /// Gives out places.
    pub places: Arc<Places>,
    /// Knows what is under way.
    pub requests: Arc<Requests>,
    /// Knows the routing mode.
    pub steering: Arc<Steering>,
    /// Knows where conversations were answered.
    pub conversations: Arc<Conversations>,
    /// Knows how fast the nodes write.
    pub speeds: Arc<Measured>,
    /// What the file says of the door.
    pub server: watch::Receiver<ServerConfig>,
    /// Wakes machines.
    pub waker: Arc<Waker>,
    /// Keeps machines awake while they answer.
    pub vigils: Arc<Vigils>,
    /// Bounds what is tried more than once.
    pub retries: Retries,
}

/// Serves one request. Refusals are dressed in the caller's dialect.
pub async fn serve(proxy: &Arc<Proxy>, call: Call) -> Reply {
    let (operation, dialect) = (call.operation, call.operation.dialect());
    if let Some(left_ms) = proxy.steering.pause_left_ms() {
        let left_s = left_ms.map(|left_ms| left_ms.div_ceil(1000));
        return answer::refuse(dialect, &Refusal::Paused { left_s }, &call.id);
    }
    let envelope = match read(&call.body, operation).await {
        Ok(envelope) => envelope,
        Err(refusal) => return answer::refuse(dialect, &refusal, &call.id),
    };
    let stream = envelope.stream.unwrap_or(operation.streams_by_default());
    let under_way = proxy.requests.begin(Arrival {
        id: call.id.clone(),
        client: call.agent.clone(),
        operation,
        model: envelope.model.clone(),
        stream,
    });
    let heartbeat = if stream {
        Heartbeat::of(operation, &envelope.model, proxy.server.borrow().signs_of_life)
    } else {
        None
    };
    let (id, model) = (call.id.clone(), envelope.model.clone());
    let mut trip = Box::pin(Trip::new(proxy.clone(), call, envelope, stream).go(under_way));
    let Some(heartbeat) = heartbeat else {
        let done = trip.await;
        let remembered = remembered::show(proxy, operation, &model, &done, &id);
        return remembered.unwrap_or_else(|| done.reply(dialect, &id, None));
    };
    match tokio::time::timeout(heartbeat::EVERY, &mut trip).await {
        Ok(done) => done.reply(dialect, &id, Some(heartbeat)),
        Err(_) => answer::early(dialect, Early::new(trip, dialect, heartbeat), &id),
    }
}

/// Reads the envelope; that of a large body beside the threads that serve.
async fn read(body: &Bytes, operation: Operation) -> Result<Envelope, Refusal> {
    if body.len() <= aside::LARGE {
        return envelope::read(body, model_fields(operation));
    }
    let body = body.clone();
    let read = aside::run(move || envelope::read(&body, model_fields(operation))).await;
    read.unwrap_or_else(|error| Err(Refusal::Internal { what: error.to_string() }))
}

/// The names that the model may have in the body, the first that is set counts. To `/api/show` Ollama's own clients send both, one
/// of them empty (ollama `api/types.go`).
fn model_fields(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::OllamaShow => &["model", "name"],
        _ => &["model"],
    }
}

struct Arrived {
    candidate: Candidate,
    node: String,
    held: Option<Held>,
    opened: Opened,
    stopwatch: Option<Stopwatch>,
    vigil: Option<Vigil>,
}

enum Ended {
    /// We say no.
    Refused(Refusal),
    /// The node's own error is the answer.
    NodeSaid { response: Box<Response<Bytes>>, node: String, model: Arc<str> },
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A trip that has ended, one way or the other.
struct Done {
    under_way: UnderWay,
    result: Result<Arrived, Ended>,
}

impl Done {
    /// The answer, when nothing has gone down yet.
    fn reply(self, dialect: Dialect, id: &str, heartbeat: Option<Heartbeat>) -> Reply {
        match self.result {
            Ok(mut arrived) => {
                let head = std::mem::take(&mut arrived.opened.head.headers);
                let (status, node) = (arrived.opened.head.status, arrived.node.clone());
                let candidate = arrived.candidate.clone();
                let body = arrived.into_body(self.under_way, dialect, heartbeat);
                answer::from_node(status, &head, body, &node, &candidate, id)
            }
            Err(Ended::Refused(refusal)) => {
                let is_wish = refusal == Refusal::Cancelled;
                self.under_way.ends(if is_wish { Outcome::Cancelled } else { Outcome::Failed });
                answer::refuse(dialect, &refusal, id)
            }
            Err(Ended::NodeSaid { response, node, model }) => {
                self.under_way.ends(Outcome::Answered);
                answer::error_from_node(dialect, *response, &node, &model, id)
            }
        }
    }
}

impl Arrived {
    /// The way down: everything that the request holds is given back when it is dropped.
    fn into_body(self, under_way: UnderWay, dialect: Dialect, heartbeat: Option<Heartbeat>) -> Metered {
        let Opened { answer, ends, open, .. } = self.opened;
        let holding =
            Holding { under_way, place: self.held, open, stopwatch: self.stopwatch, vigil: self.vigil };
        Metered::new(answer, dialect, self.node, ends.cut, holding, heartbeat)
    }
}
