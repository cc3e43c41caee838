//! Writes answers: a node's, with the headers that may pass, and our own refusals.

use crate::{
    dialects::{self, JSON, whole},
    meter::{CutShort, Metered},
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use lamplighter_core::{operation::Dialect, refusal::Refusal, route::Candidate};

/// An answer as the door takes it: only here and there is it known how HTTP is served.
pub type Reply = Response<Body>;

/// The node that answered.
pub const NODE: HeaderName = HeaderName::from_static("x-lamplighter-node");
/// The model's name there.
pub const MODEL: HeaderName = HeaderName::from_static("x-lamplighter-model");
/// Why that node.
pub const REASON: HeaderName = HeaderName::from_static("x-lamplighter-reason");
/// The request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Read by OpenAI's and Anthropic's SDKs before they retry.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A node's answer, on its way down.
pub fn from_node(
    status: StatusCode,
    head: &HeaderMap,
    body: Metered,
    node: &str,
    candidate: &Candidate,
    id: &str,
) -> Reply {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    pass_headers(head, response.headers_mut());
    let headers = response.headers_mut();
    sign(headers, node, &candidate.model, id);
    headers.insert(REASON, text(candidate.reason.words));
    let is_stream = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().starts_with(b"text/event-stream")
            || kind.as_bytes().starts_with(b"application/x-ndjson")
    });
    if is_stream {
        flows(headers);
    }
    response
}

/// A stream whose answer has not begun: 200, and signs of life until it has. Which node answers is not known yet.
pub fn early<B>(dialect: Dialect, body: B, id: &str) -> Reply
where
    B: hyper::body::Body<Data = Bytes, Error = CutShort> + Send + 'static,
{
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(dialects::stream_type(dialect)));
    headers.insert(REQUEST_ID, text(id));
    headers.insert("request-id", text(id));
    flows(headers);
    response
}

/// Proxies in front of us must not hold events back.
fn flows(headers: &mut HeaderMap) {
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
}

/// A node's own error, as it came. One that no client of the dialect could read is told in the dialect's own shape.
pub fn error_from_node(
    dialect: Dialect,
    response: Response<Bytes>,
    node: &str,
    model: &str,
    id: &str,
) -> Reply {
    let (head, body) = response.into_parts();
    let mut response = if whole::is_object(&body) {
        Response::new(Body::from(body))
    } else {
        let said = dialects::plain_words(&body);
        refuse(dialect, &Refusal::NodeError { node: node.into(), status: head.status.as_u16(), said }, id)
    };
    *response.status_mut() = head.status;
    pass_headers(&head.headers, response.headers_mut());
    sign(response.headers_mut(), node, model, id);
    // All that could be tried has been: two more rounds of the same by the client's library help nobody. Who is busy says so,
    // and may be asked again.
    if head.status.is_server_error() && head.status != StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(SHOULD_RETRY).or_insert(HeaderValue::from_static("false"));
    }
    response
}

/// An answer of our own, from what was last seen of a model on that node.
pub fn remembered(value: &serde_json::Value, node: &str, model: &str, id: &str) -> Reply {
    let mut response = Response::new(Body::from(value.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    sign(headers, node, model, id);
    headers.insert(REASON, HeaderValue::from_static("as last seen: it sleeps"));
    response
}

/// A refusal in the caller's dialect.
pub fn refuse(dialect: Dialect, refusal: &Refusal, id: &str) -> Reply {
    let mut response = Response::new(Body::from(dialects::error_body(dialect, refusal, id)));
    dress(&mut response, refusal, id);
    response
}

/// Status and headers of a refusal.
pub fn dress(response: &mut Response<Body>, refusal: &Refusal, id: &str) {
    *response.status_mut() =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(REQUEST_ID, text(id));
    if let Some(after_s) = refusal.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after_s));
    }
    if refusal.status() >= 500 && !refusal.should_retry() {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if matches!(refusal, Refusal::KeyNeeded) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(refusal, Refusal::BodyTooLarge { .. } | Refusal::BodyStalled) {
        // The rest of the body is unread: the connection cannot be used again.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

fn sign(headers: &mut HeaderMap, node: &str, model: &str, id: &str) {
    headers.insert(NODE, text(node));
    headers.insert(MODEL, text(model));
    headers.insert(REQUEST_ID, text(id));
    // Anthropic's clients read this one.
    headers.entry("request-id").or_insert_with(|| text(id));
}

/// A header value of any text; what cannot stand in a header is left out.
fn text(text: &str) -> HeaderValue {
    HeaderValue::try_from(text)
        .or_else(|_| {
            HeaderValue::try_from(
                text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect::<String>(),
            )
        })
        .unwrap_or(HeaderValue::from_static(""))
}

/// Response headers of a node that reach the client. All others stay here: cookies, CORS, hop-by-hop, policies, redirects.
fn pass_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let passes = matches!(
            *name,
            header::CONTENT_TYPE | header::CACHE_CONTROL | header::RETRY_AFTER | header::CONTENT_DISPOSITION
        ) || matches!(name.as_str(), "request-id" | "x-should-retry")
            || ["openai-", "anthropic-", "x-ratelimit-"].iter().any(|start| name.as_str().starts_with(start));
        // What we have written ourselves stands.
        if passes && !(*name == header::CONTENT_TYPE && to.contains_key(name)) {
            to.append(name.clone(), value.clone());
        }
    }
}
