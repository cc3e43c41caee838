//! From an HTTP request to a call: what the proxy needs, and nothing that must not go up.

#[cfg(test)]
mod tests;

use super::{
    body::{self, INFERENCE_CAP},
    guard::{Caller, Rights, presented_keys},
};
use crate::{conversations::Session, proxy::Call};
use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use lamplighter_core::{
    operation::Operation,
    refusal::Refusal,
    room::Client,
    wake::{CLASS_HEADER, is_auxiliary_class},
};
use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Request headers that may go up. All others stay here: credentials, cookies, `Origin`, hop-by-hop, forged addresses.
const GOES_UP: [&str; 13] = [
    "accept",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "openai-beta",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "x-app",
    "x-session-id",
    "x-claude-code-session-id",
    "session_id",
];
/// Pins a request to a node.
const PIN: &str = "x-lamplighter-node";
/// Marks what has passed through a Lamplighter,
const VIA: &str = "lamplighter";
/// and counts how many: proxies in between may rewrite `Via`.
const HOP: HeaderName = HeaderName::from_static("x-lamplighter-hop");
/// So many Lamplighters may stand behind each other.
const HOPS: usize = 2;

/// Reads a request into a call.
///
/// # Errors
/// A refusal that says what is wrong with it.
pub async fn read(operation: Operation, request: Request) -> Result<Call, (Refusal, String)> {
    let (head, body) = request.into_parts();
    let id = request_id(&head.headers);
    let caller = head.extensions.get::<Caller>().copied();
    let nobody = Caller { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), is_browser: true, rights: Rights::Ask };
    let caller = caller.unwrap_or(nobody);
    let call = async {
        check_kind(&head.headers, caller)?;
        let hops = hops(&head.headers);
        if hops >= HOPS {
            return Err(Refusal::Loop);
        }
        let pin =
            match head.headers.get(PIN) {
                None => None,
                Some(pin) => Some(pin.to_str().map(str::to_owned).map_err(|_| Refusal::BadRequest {
                    what: format!("its {PIN} header is not readable"),
                })?),
            };
        let body = body::collect(&head.headers, body, INFERENCE_CAP).await?;
        let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("");
        Ok(Call {
            operation,
            id: id.clone(),
            client: client(&head.headers, agent, caller.peer),
            agent: printable(agent, 120),
            pin,
            query: head
                .uri
                .query()
                .filter(|query| !query.to_ascii_lowercase().contains("key="))
                .map(str::to_owned),
            session: Session::of(&head.headers),
            is_background: head
                .headers
                .get(CLASS_HEADER)
                .and_then(|class| class.to_str().ok())
                .is_some_and(is_auxiliary_class),
            headers: goes_up(&head.headers, &id, hops),
            body,
        })
    };
    call.await.map_err(|refusal| (refusal, id.clone()))
}

/// The request's id: the client's own when it is harmless, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("lamplighter"));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let harmless = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match headers.get(crate::answer::REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless) {
        Some(id) => id.to_owned(),
        None => format!("req_{:08x}{:08x}", *PROCESS as u32, NEXT.fetch_add(1, Relaxed)),
    }
}

/// Text from a stranger, cut and without control characters.
pub fn printable(text: &str, cap: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(cap).collect()
}

/// A web page must say that its JSON is JSON, so that its browser asks first. Everybody else may say what they like:
/// the examples of Ollama's own documentation post JSON as a form.
fn check_kind(headers: &HeaderMap, caller: Caller) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes).to_ascii_lowercase();
    if caller.is_browser && !kind.starts_with(b"application/json") {
        return Err(Refusal::BadRequest {
            what: "a web page must send content-type application/json".into(),
        });
    }
    Ok(())
}

/// Lamplighters that the request has passed, by whichever mark says more. A mark that cannot be read counts as too many: ours
/// can be.
fn hops(headers: &HeaderMap) -> usize {
    let via = headers.get_all(header::VIA).iter().filter_map(|via| via.to_str().ok());
    // `Via` is a list of `1.1 name (comment)`, RFC 9110, 7.6.3.
    let named =
        via.flat_map(|via| via.split(',')).filter(|hop| hop.split_whitespace().nth(1) == Some(VIA)).count();
    let counted =
        headers.get_all(&HOP).iter().map(|hop| hop.to_str().ok().and_then(|hop| hop.trim().parse().ok()));
    counted.map(|hops: Option<usize>| hops.unwrap_or(HOPS)).fold(named, usize::max)
}

/// Until keys tell clients apart a client is its key, program and address together: apps that had to be given some key mostly have
/// the same one, and so have all that know the door's.
fn client(headers: &HeaderMap, agent: &str, peer: IpAddr) -> Client {
    static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Client(HASH.hash_one((presented_keys(headers).next(), agent, peer)))
}

fn goes_up(headers: &HeaderMap, id: &str, hops: usize) -> HeaderMap {
    let mut up = HeaderMap::with_capacity(16);
    for (name, value) in headers {
        if GOES_UP.contains(&name.as_str()) {
            up.append(name.clone(), value.clone());
        }
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        up.insert(crate::answer::REQUEST_ID, id);
    }
    for via in headers.get_all(header::VIA) {
        up.append(header::VIA, via.clone());
    }
    up.append(header::VIA, HeaderValue::from_static("1.1 lamplighter"));
    up.insert(HOP, HeaderValue::from(hops + 1));
    up
}
