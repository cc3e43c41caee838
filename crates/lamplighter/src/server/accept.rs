//! Serves a connection, within limits.
//!
//! Our own loop around hyper's HTTP/1: `axum::serve` has no time limits, answers h2c, accepts two `Host` headers, and its
//! graceful shutdown never ends while a stream is open.

use super::{
    body::PatientBody,
    guard::{Guard, Passed},
    reader::Reader,
};
use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderValue, header};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lamplighter_core::refusal::Refusal;
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Limits of the door.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a request's head, and for an idle connection: hyper has one clock for both.
    pub head: Duration,
    /// Between two bytes of a body.
    pub body_idle: Duration,
    /// For a client that takes nothing of its answer.
    pub stall: Duration,
    /// For what runs when we shut down.
    pub grace: Duration,
    /// For the last words of what is ended then.
    pub farewell: Duration,
    /// Header fields of a request.
    pub header_fields: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Connections at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            farewell: Duration::from_secs(1),
            header_fields: 100,
            head_bytes: 64 << 10,
            connections: 4096,
        }
    }
}

/// hyper's limit on header fields when it is told none (`hyper::server::conn::http1::Builder::max_headers`).
const HYPERS_OWN_HEADERS: usize = 100;

/// hyper's own buffers for one connection, in bytes.
const BUFFER_CAP: usize = 64 << 10;

/// What every connection shares.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) guard: RwLock<Arc<Guard>>,
    pub(super) limits: Limits,
    pub(super) places: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
}

/// Serves one connection to its end. Once `closing`, each answer on it is the last.
pub(super) async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    door: Arc<Shared>,
    closing: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let Ok(local) = stream.local_addr() else { return };
    let limits = &door.limits;
    let service = service_fn(|request: Request<Incoming>| answer(request, peer, local, &door, &closing));
    let mut builder = http1::Builder::new();
    if limits.header_fields != HYPERS_OWN_HEADERS {
        // hyper sets aside room for them anew with each request when it is told a number.
        builder.max_headers(limits.header_fields);
    }
    let served = builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        // Of an answer that its client does not take, no more is held than this.
        .max_buf_size(BUFFER_CAP)
        // A client that closes its writing half has hung up: that is how we notice, and free the node.
        .half_close(false)
        .serve_connection(TokioIo::new(Reader::new(stream, limits.stall)), service);
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        () = door.stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    // Dropped, the answer lacks its final chunk: the client sees that it was cut.
    tokio::select! {
        _ = served => {}
        () = door.cut.cancelled() => {}
    }
}

async fn answer(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    local: SocketAddr,
    door: &Shared,
    closing: &CancellationToken,
) -> Result<Response, Infallible> {
    let leads_elsewhere = offers_another_protocol(request.headers());
    let guard = door.guard.read().unwrap_or_else(PoisonError::into_inner).clone();
    let (mut response, cors) =
        match guard.judge(request.method(), request.uri(), request.headers(), peer, local) {
            Err(refused) => (guard.refuse(&request, &refused), None),
            Ok(Passed::KeyNeeded { cors }) => (guard.refuse(&request, &Refusal::KeyNeeded), cors),
            Ok(Passed::Preflight(response)) => (*response, None),
            Ok(Passed::In { caller, cors }) => {
                request.extensions_mut().insert(caller);
                let idle = door.limits.body_idle;
                let request = request.map(|body| Body::new(PatientBody::new(body, idle)));
                let Ok(response) = door.router.clone().oneshot(request).await;
                (response, cors)
            }
        };
    super::guard::dress(response.headers_mut(), cors);
    if leads_elsewhere || closing.is_cancelled() {
        // Whatever the client sends next may be of that protocol, and nothing of it is read; or the listener is closed, and the
        // client's next request goes to where we listen now.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Does the client offer to go on in another protocol? We never do. Clients of HTTP/2 offer that as a matter of course, and
/// wait for the answer before they send anything else (RFC 7540, 3.2).
fn offers_another_protocol(headers: &HeaderMap) -> bool {
    let mut offers =
        headers.get_all(header::UPGRADE).iter().flat_map(|offer| offer.as_bytes().split(|b| *b == b','));
    offers.any(|offer| !offer.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}
