//! The gate in front of every route: who may talk to us at all, decided before anything is parsed, looked up or connected.
//!
//! Against DNS rebinding the `Host` must be one of our names; against pages in the browser next door the `Origin` must be on a
//! list. The same answer, to the byte, whether the route exists or not.

#[cfg(test)]
mod tests;

use super::call::printable;
use crate::secrets::Sensitive;
use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use lamplighter_core::refusal::Refusal;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};

/// The name under which containers reach their host. Always accepted: it resolves only inside Docker.
const DOCKER_HOST: &str = "host.docker.internal";
/// Longest request target.
const URI_CAP: usize = 16 << 10;
/// The desktop window's own origins, by platform. Good for the control API only, and useless without its token.
const WINDOW_ORIGINS: [&str; 3] = ["tauri://localhost", "http://tauri.localhost", "https://tauri.localhost"];
/// Where browsers may be told about other origins' requests to the control API.
const CONTROL: &str = "/control/v1/";

/// What the gate knows.
#[derive(Debug)]
pub struct Guard {
    ports: Vec<u16>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    keyring: Keyring,
    manage: bool,
}

/// The keys that open the door where one is needed. Only their hashes are kept.
#[derive(Debug, Default)]
pub struct Keyring(Option<[u8; 32]>);

impl Keyring {
    /// A keyring with the key of `[server]`, if there is one.
    #[must_use]
    pub fn new(key: Option<&Sensitive>) -> Self {
        Self(key.map(|key| Sha256::digest(key.expose().as_bytes()).into()))
    }

    /// Is it the key? Hashes are compared, so the time taken tells nothing about the key.
    fn opens(&self, presented: &str) -> bool {
        self.0.is_some_and(|key| <[u8; 32]>::from(Sha256::digest(presented.as_bytes())) == key)
    }
}

/// Who has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// Came with an `Origin` or as a browser's fetch: then JSON must say that it is JSON.
    pub is_browser: bool,
    /// What it may do with models.
    pub rights: Rights,
}

/// What somebody may do with models. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Ask them.
    Ask,
    /// Also fetch and copy them: the owner, on this machine.
    Own,
    /// Also make, change, give away and delete them.
    Manage,
}

/// What has passed.
#[derive(Debug)]
pub enum Passed {
    /// A request, and the origin that its answer may be shown to.
    In {
        /// Who asks.
        caller: Caller,
        /// For the answer's CORS headers.
        cors: Option<HeaderValue>,
    },
    /// A key is needed, and there is none or a wrong one. A listed page is told so, not left with a network error.
    KeyNeeded {
        /// For the answer's CORS headers.
        cors: Option<HeaderValue>,
    },
    /// A browser's question whether it may ask; this is the answer.
    Preflight(Box<Response>),
}

impl Guard {
    /// A gate for our own ports.
    #[must_use]
    pub fn new(
        addresses: &[SocketAddr],
        allowed_hosts: Vec<String>,
        allowed_origins: Vec<String>,
        keyring: Keyring,
    ) -> Self {
        Self {
            ports: addresses.iter().map(SocketAddr::port).collect(),
            allowed_hosts,
            allowed_origins,
            keyring,
            manage: false,
        }
    }

    /// The same gate, and its owner may manage models by it.
    #[must_use]
    pub fn managing(self, manage: bool) -> Self {
        Self { manage, ..self }
    }

    /// Judges a request by its head alone.
    ///
    /// # Errors
    /// The refusal. Nothing has been done for the request.
    pub fn judge(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Result<Passed, Refusal> {
        let bad = |what: &str| Refusal::BadRequest { what: what.into() };
        if uri.path().len() + uri.query().map_or(0, str::len) > URI_CAP {
            return Err(bad("its address is longer than 16 KiB"));
        }
        if *method == Method::CONNECT || *method == Method::TRACE {
            return Err(bad("CONNECT and TRACE are not served"));
        }
        let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let is_chunked = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if encodings.next().is_some_and(|encoding| !is_chunked(encoding)) || encodings.next().is_some() {
            return Err(bad("only the transfer encoding \"chunked\" is understood, and only once"));
        }
        let host = one_host(headers, uri)?;
        let trust =
            self.trust(host, local).ok_or_else(|| Refusal::HostNotAllowed { host: printable(host, 100) })?;
        let (is_browser, cors) = self.origin(method, uri, headers, host)?;
        if *method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return Ok(Passed::Preflight(Box::new(preflight(cors, headers))));
        }
        if trust == Trust::NeedsKey && !presented_keys(headers).any(|key| self.keyring.opens(key)) {
            return Ok(Passed::KeyNeeded { cors });
        }
        let rights = match trust {
            Trust::NeedsKey => Rights::Ask,
            Trust::Owner if self.manage => Rights::Manage,
            Trust::Owner => Rights::Own,
        };
        Ok(Passed::In { caller: Caller { peer: peer.ip().to_canonical(), is_browser, rights }, cors })
    }

    /// The refusal as an answer, in the dialect that the path suggests.
    pub fn refuse<B>(&self, request: &Request<B>, refusal: &Refusal) -> Response {
        let mut head = Request::new(Body::empty());
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        let mut response = super::refuse_on(&head, refusal);
        // Its body is unread and unwanted.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// What may somebody who calls us by this name, on this of our addresses?
    fn trust(&self, host: &str, local: SocketAddr) -> Option<Trust> {
        let (name, port) = split_port(host)?;
        let local_ip = local.ip().to_canonical();
        let of_loopback = if local_ip.is_loopback() { Trust::Owner } else { Trust::NeedsKey };
        // A connection may outlive its listener, whose port is then no longer among ours.
        let our_port =
            port.map_or(local.port() == 80, |port| port == local.port() || self.ports.contains(&port));
        if our_port && ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Some(of_loopback);
        }
        // The address itself cannot be rebound: only names can. It is reached by the network, so a key is needed.
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if our_port && !local_ip.is_loopback() && literal.is_ok_and(|ip| ip == local_ip) {
            return Some(Trust::NeedsKey);
        }
        if name.eq_ignore_ascii_case(DOCKER_HOST) {
            return Some(of_loopback);
        }
        self.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)).then_some(Trust::NeedsKey)
    }

    /// Does a web page ask, and may it? The answer: is it a browser, and for which origin may it see the answer.
    fn origin(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        host: &str,
    ) -> Result<(bool, Option<HeaderValue>), Refusal> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let refuse = |origin: &[u8]| {
            Err(Refusal::OriginNotAllowed { origin: printable(&String::from_utf8_lossy(origin), 100) })
        };
        match (origins.next(), origins.next()) {
            (Some(_), Some(second)) => refuse(second.as_bytes()),
            (Some(origin), None) => {
                let text = origin.to_str().unwrap_or("");
                // Our own pages. A browser leaves the scheme's own port out of both.
                if text.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host)) {
                    return Ok((true, None));
                }
                let listed = self.allowed_origins.iter().any(|allowed| allowed == text)
                    || uri.path().starts_with(CONTROL) && WINDOW_ORIGINS.contains(&text);
                // No CORS answer for the API's own pages list on the control API, and none for the window elsewhere.
                let cors_here = !uri.path().starts_with(CONTROL) || WINDOW_ORIGINS.contains(&text);
                if listed && cors_here { Ok((true, Some(origin.clone()))) } else { refuse(origin.as_bytes()) }
            }
            (None, _) => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
                None | Some(b"none") => Ok((false, None)),
                Some(b"same-origin") => Ok((true, None)),
                // A link to our pages, in a chat or a wiki: they hold nothing by themselves, and stand in no frame.
                Some(_) if *method == Method::GET && is_link_to_pages(uri, headers) => Ok((true, None)),
                Some(site) => refuse(&[b"of unknown origin, sec-fetch-site: ", site].concat()),
            },
        }
    }
}

/// Does a browser open one of our pages as what its person looks at from now on?
fn is_link_to_pages(uri: &Uri, headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &[u8]| headers.get(name).is_some_and(|value| value.as_bytes() == word);
    let is_page = uri.path() == "/ui" || uri.path().starts_with("/ui/");
    is_page && says("sec-fetch-mode", b"navigate") && says("sec-fetch-dest", b"document")
}

/// The keys that a client presents, in any of the usual headers. Libraries that know two of them send both.
pub fn presented_keys(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let named = ["x-api-key", "api-key"].into_iter().filter_map(|name| headers.get(name)?.to_str().ok());
    bearer.into_iter().chain(named).filter(|key| !key.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// On this machine, under one of our own names.
    Owner,
    /// Reached by the network, or under a name that a proxy in front of us may have.
    NeedsKey,
}

/// The one `Host`, which an absolute request target may not contradict (RFC 9112, 3.2).
fn one_host<'a>(headers: &'a HeaderMap, uri: &Uri) -> Result<&'a str, Refusal> {
    let bad = |what: &str| Refusal::BadRequest { what: what.into() };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => return Err(bad("it has no Host header")),
        (Some(_), Some(_)) => return Err(bad("it has more than one Host header")),
        (Some(host), None) => host.to_str().map_err(|_| bad("its Host header is not readable"))?,
    };
    if uri.authority().is_some_and(|authority| authority.as_str() != host) {
        return Err(bad("its Host header differs from its request line"));
    }
    Ok(host)
}

/// Name and port of a `Host`. `None` when it cannot be one.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let name_end =
        if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at(name_end);
    if name.is_empty() {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((name, None)),
        None => None,
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((name, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

/// Headers that a listed page may send, whether its browser asks for them or not.
const PAGES_SEND: &str = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, last-event-id, idempotency-key";
/// Longest list of headers that is granted as it was asked for.
const ASKED_CAP: usize = 2 << 10;

/// The headers that a page asks to send, when they are names and not too many. Whoever is on the list may send any: official
/// clients add new ones with every version, and what goes up to a node is chosen elsewhere.
fn asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let (asked, None) = (lines.next()?, lines.next()) else { return None };
    let is_name = |name: &str| !name.is_empty() && HeaderName::try_from(name).is_ok();
    let text = asked.to_str().ok().filter(|text| text.len() <= ASKED_CAP)?;
    text.split(',').map(str::trim).all(is_name).then(|| asked.clone())
}

fn preflight(cors: Option<HeaderValue>, request: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Some(origin) = cors {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"),
        );
        let may_send = asked(request).unwrap_or(HeaderValue::from_static(PAGES_SEND));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, may_send);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    headers.insert(header::VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
    response
}

/// Headers that every answer carries.
pub fn dress(headers: &mut HeaderMap, cors: Option<HeaderValue>) {
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Some(origin) = cors {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "x-request-id, request-id, retry-after, x-lamplighter-node, x-lamplighter-model, x-lamplighter-reason",
            ),
        );
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}
