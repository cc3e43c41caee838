//! One call to a node: bounded in time and bytes, no proxy, no redirect, no decompression.

use super::resolve::Guarded;
use super::trouble;
use lamplighter_core::health::{PROBE_TIMEOUT_MS, Report};
use lamplighter_core::node_url::{NodeUrl, may_lead_to};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, SERVER,
};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Most bytes read of a list of models.
pub(super) const LIST_BYTES: usize = 16 << 20;
/// Most bytes read of any other answer.
pub(super) const SMALL_BYTES: usize = 256 << 10;

/// The client that all askers share. Call it once; clones share their connections.
///
/// A machine without any trusted certificate still gets a client: plain http works, and https nodes are refused with
/// the reason.
#[must_use]
pub fn http_client() -> reqwest::Client {
    // An error says that somebody installed a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("lamplighter/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_millis(PROBE_TIMEOUT_MS))
            .timeout(Duration::from_millis(PROBE_TIMEOUT_MS))
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(Guarded))
    };
    builder().build().unwrap_or_else(|error| {
        tracing::warn!("https nodes will be refused: {}", trouble::chain(&error));
        #[expect(clippy::expect_used, reason = "without certificates to read, nothing is left that can fail")]
        builder().tls_certs_only([]).build().expect("a client that trusts nobody")
    })
}

/// The way to one node: where it is and which key opens it.
pub(super) struct Line {
    http: reqwest::Client,
    pub(super) url: NodeUrl,
    /// `Err` when a key is set that cannot stand in a header.
    authorization: Result<Option<HeaderValue>, ()>,
    /// How long the first answer since the last reset took.
    pub(super) first_ms: OnceLock<u32>,
    /// Is the connection kept for the next call? Where none is due before it would be too old, closing it with its answer saves this
    /// computer from waking up for that alone.
    pub(super) is_kept: bool,
}

/// A node's answer, read to its end or to its cap.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) server: Option<String>,
    /// Who really answered.
    pub(super) peer: Option<IpAddr>,
    pub(super) location: Option<String>,
    pub(super) html: bool,
    pub(super) body: Vec<u8>,
}

impl Line {
    pub(super) fn new(http: reqwest::Client, url: NodeUrl, key: Option<String>) -> Self {
        let authorization = key
            .filter(|key| !key.is_empty())
            .map(|key| {
                let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ())?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose();
        Self { http, url, authorization, first_ms: OnceLock::new(), is_kept: true }
    }

    /// The same way by another client.
    pub(super) fn over(&self, http: reqwest::Client) -> Self {
        let (url, authorization) = (self.url.clone(), self.authorization.clone());
        Self { http, url, authorization, first_ms: OnceLock::new(), is_kept: true }
    }

    /// `GET`s `path` and reads at most `cap` bytes of its body; more is a refusal.
    pub(super) async fn get(&self, path: &str, cap: usize) -> Result<Answer, Report> {
        self.call(self.http.get(self.url.join(path)), cap).await
    }

    /// `GET`s `path` and reads only the head of the answer: a list that is long and asked for often costs nothing.
    pub(super) async fn head_of(&self, path: &str) -> Result<Answer, Report> {
        let (answer, _) = self.send(self.http.get(self.url.join(path))).await?;
        Ok(answer)
    }

    /// Asks whether `path` takes POSTs, with an object that lacks everything: nothing is run. Only the status counts, so
    /// a long answer is cut instead of refused.
    pub(super) async fn try_post(&self, path: &str) -> Result<Answer, Report> {
        let request = self.http.post(self.url.join(path)).header(CONTENT_TYPE, "application/json").body("{}");
        self.cut(request).await
    }

    /// Asks whether `path` is there; a long answer is cut.
    pub(super) async fn try_get(&self, path: &str) -> Result<Answer, Report> {
        self.cut(self.http.get(self.url.join(path))).await
    }

    /// `POST`s JSON to `path`.
    pub(super) async fn post(&self, path: &str, json: String, cap: usize) -> Result<Answer, Report> {
        let request = self.http.post(self.url.join(path)).header(CONTENT_TYPE, "application/json").body(json);
        self.call(request, cap).await
    }

    /// What an answer means when it means the same on every route of every engine; `None` when it is for the caller.
    pub(super) fn verdict(&self, answer: &Answer) -> Option<Report> {
        let refused = |why: String| Some(Report::Refused(why));
        match answer.status {
            300..=399 => refused(match &answer.location {
                Some(location) => format!("it sends us on to {location}: write that address, if it is meant"),
                None => "it sends us on, without saying where".into(),
            }),
            // Ollama bound to loopback refuses names that are not its own with a bare 403 (server/routes.go).
            403 if answer.body.is_empty() && self.authorization == Ok(None) => refused(format!(
                "it refuses the name {} (403): write its IP address, or set api_key if it wants a key",
                self.url.host()
            )),
            401 | 403 => refused(match &self.authorization {
                Ok(None) => "it wants a key: set api_key for this node".into(),
                _ => format!("it refused our api_key ({})", answer.status),
            }),
            // Alive, and too busy to tell more.
            429 => Some(Report::Answered),
            503 if answer.is_loading() => Some(Report::Loading),
            500.. => Some(Report::Silent(format!("it answers with status {}", answer.status))),
            _ if answer.html => {
                refused(format!("{} answers with a web page, not with a model server's API", self.url))
            }
            400 if contains(&answer.body, b"HTTPS") => {
                refused("it wants TLS: write https:// before the address".into())
            }
            _ => None,
        }
    }

    async fn call(&self, request: reqwest::RequestBuilder, cap: usize) -> Result<Answer, Report> {
        let (answer, whole) = self.read(request, cap).await?;
        whole
            .then_some(answer)
            .ok_or_else(|| Report::Refused(format!("its answer is longer than {} KiB", cap >> 10)))
    }

    async fn cut(&self, request: reqwest::RequestBuilder) -> Result<Answer, Report> {
        self.read(request, SMALL_BYTES).await.map(|(answer, _)| answer)
    }

    /// Reads at most `cap` bytes of the body, chunk by chunk. True when that was all of it.
    async fn read(&self, request: reqwest::RequestBuilder, cap: usize) -> Result<(Answer, bool), Report> {
        let (mut answer, mut response) = self.send(request).await?;
        let mut whole = true;
        while let Some(chunk) = response.chunk().await.map_err(|error| trouble::report(&self.url, &error))? {
            whole = answer.body.len() + chunk.len() <= cap;
            answer.body.extend_from_slice(&chunk[..chunk.len().min(cap - answer.body.len())]);
            if !whole {
                break;
            }
        }
        answer.html |= answer.body.trim_ascii_start().starts_with(b"<");
        Ok((answer, whole))
    }

    /// Sends the request and reads the head of the answer.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(Answer, reqwest::Response), Report> {
        if self.url.host().parse().is_ok_and(|ip| !may_lead_to(self.url.host(), ip)) {
            return Err(trouble::forbidden(&self.url));
        }
        let request = match &self.authorization {
            Ok(Some(key)) => request.header(AUTHORIZATION, key.clone()),
            Ok(None) => request,
            Err(()) => return Err(Report::Refused("its api_key has characters that cannot be sent".into())),
        };
        let request = if self.is_kept { request } else { request.header(CONNECTION, "close") };
        let began = Instant::now();
        let sent = request.header(ACCEPT, "application/json").send().await;
        let response = sent.map_err(|error| trouble::report(&self.url, &error))?;
        let _ = self.first_ms.set(ms_since(began));
        let mut answer = Answer::head(response.status().as_u16(), response.headers());
        answer.peer = response.remote_addr().map(|at| at.ip());
        Ok((answer, response))
    }
}

impl Answer {
    fn head(status: u16, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            server: text(SERVER).map(|value| value.chars().take(64).collect()),
            location: text(LOCATION).map(host_of),
            html: text(CONTENT_TYPE).is_some_and(|kind| kind.trim_start().starts_with("text/html")),
            ..Self::default()
        }
    }

    /// Is the status 200 to 299?
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// llama-server while it reads its model: 503 `{"error":{"message":"Loading model",…}}` on every route.
    fn is_loading(&self) -> bool {
        contains(&self.body, b"Loading model")
    }
}

/// Whole milliseconds since `then`.
pub(super) fn ms_since(then: Instant) -> u32 {
    u32::try_from(then.elapsed().as_millis()).unwrap_or(u32::MAX)
}

/// Scheme and host of a `Location`: enough to recognise it, without a query that may hold a token.
fn host_of(location: &str) -> String {
    let (scheme, rest) = location.split_once("://").map_or(("", location), |(scheme, rest)| (scheme, rest));
    let end = if scheme.is_empty() { rest.find(['?', '#']) } else { rest.find(['/', '?', '#', '\\']) };
    let host: String =
        rest[..end.unwrap_or(rest.len())].chars().filter(|c| !c.is_control()).take(100).collect();
    let host = host.rsplit_once('@').map_or(host.as_str(), |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body[..body.len().min(4096)].windows(words.len()).any(|window| window == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_named_by_its_host() {
        assert_eq!(host_of("https://u:p@login.lan/path?token=x"), "https://login.lan");
        assert_eq!(host_of("/login?token=x"), "/login");
        assert_eq!(host_of("https://[fd00::1]:8080/"), "https://[fd00::1]:8080");
    }
}
