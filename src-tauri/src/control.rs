//! Acts through the gateway's control API: the same calls whether the gateway runs in this process or in another one.

use futures::StreamExt;
use lamplighter::dialects::sse;
use lamplighter_core::{
    mode::Mode,
    snapshot::{Offer, Snapshot},
    view::Action,
};
use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest that a call may take which the gateway answers by itself.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest that a node may take to load a model from a slow disk.
const LOAD: Duration = Duration::from_secs(600);
/// Heartbeats come every 10 s: two missed ones and a bit mean that nobody is there any more.
const SILENCE: Duration = Duration::from_secs(25);
/// An event stream is asked for anew after this long: the client wants an end, and no stream needs one.
const STREAM: Duration = Duration::from_secs(86_400);

/// The way into a gateway: for the window, which talks to it by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// For example `http://127.0.0.1:11400`.
    pub url: String,
    /// Bearer token of the control API.
    pub token: String,
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Control {
    connection: Connection,
    http: Client,
}

/// What the control API says when it says no.
#[derive(Deserialize)]
struct No {
    message: String,
    hint: Option<String>,
}

impl Control {
    /// A client of the gateway there. The HTTP client is shared.
    pub fn new(http: Client, url: impl Into<String>, token: impl Into<String>) -> Self {
        Self { connection: Connection { url: url.into(), token: token.into() }, http }
    }

    /// The same gateway has moved there.
    pub fn is_now_at(&mut self, url: &str) {
        if self.connection.url != url {
            url.clone_into(&mut self.connection.url);
        }
    }

    /// Where it is, and the key to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Does it. Actions that are not the gateway's are none of its business and succeed at once.
    ///
    /// # Errors
    /// In the gateway's words, or that it does not answer.
    pub async fn act(&self, action: &Action) -> Result<(), String> {
        let Some((method, path, body)) = call(action) else { return Ok(()) };
        let limit = if matches!(action, Action::Load { .. }) { LOAD } else { ANSWER };
        self.call(method, &path, &body, limit).await
    }

    /// Has every machine looked at, now.
    ///
    /// # Errors
    /// In the gateway's words, or that it does not answer.
    pub async fn look(&self) -> Result<(), String> {
        self.call(Method::POST, "look", &json!({}), ANSWER).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value, limit: Duration) -> Result<(), String> {
        let asked = self.ask(method, path).timeout(limit).body(body.to_string());
        let answer = asked.send().await.map_err(|why| self.silent(&why))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        Err(match answer.json::<No>().await {
            Ok(No { message, hint: Some(hint) }) => format!("{message} {hint}"),
            Ok(No { message, hint: None }) => message,
            Err(_) => format!("the gateway answered {status}"),
        })
    }

    /// The snapshot of this moment.
    ///
    /// # Errors
    /// When there is none: nobody answers, or somebody else does.
    pub async fn snapshot(&self) -> Result<Snapshot, String> {
        let asked = self.ask(Method::GET, "snapshot").timeout(ANSWER).send().await;
        let answer = asked.map_err(|why| self.silent(&why))?;
        if !answer.status().is_success() {
            return Err(format!("the gateway at {} answered {}", self.connection.url, answer.status()));
        }
        answer.json().await.map_err(|why| format!("its answer cannot be read: {why}"))
    }

    /// Tells `seen` each snapshot until the gateway goes away; returns why it ended.
    pub async fn follow(&self, mut seen: impl FnMut(Arc<Snapshot>)) -> String {
        let asking = self.ask(Method::GET, "events").timeout(STREAM).send();
        let answer = match timeout(ANSWER, asking).await {
            Ok(Ok(answer)) if answer.status().is_success() => answer,
            Ok(Ok(answer)) => return format!("the gateway answered {}", answer.status()),
            Ok(Err(why)) => return self.silent(&why),
            Err(_) => return "the gateway does not answer".into(),
        };
        let (mut chunks, mut reader) = (answer.bytes_stream(), sse::Reader::default());
        loop {
            let chunk = match timeout(SILENCE, chunks.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(why))) => return self.silent(&why),
                Ok(None) => return "the gateway ended".into(),
                Err(_) => return "the gateway has fallen silent".into(),
            };
            let mut unread = None;
            let read = reader.push(&chunk, |event| {
                if event.name == b"snapshot" {
                    match serde_json::from_slice(event.data) {
                        Ok(snapshot) => seen(Arc::new(snapshot)),
                        Err(why) => unread = Some(why),
                    }
                }
            });
            match (read, unread) {
                (Ok(_), None) => {}
                // It may be of another version.
                (Ok(_), Some(why)) => return format!("what the gateway shows cannot be read: {why}"),
                (Err(_), _) => return "an event of the gateway is too long".into(),
            }
        }
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let Connection { url, token } = &self.connection;
        self.http.request(method, format!("{url}/control/v1/{path}")).bearer_auth(token)
    }

    fn silent(&self, why: &reqwest::Error) -> String {
        format!("the gateway at {} does not answer: {why}", self.connection.url)
    }
}

/// Method, path and body of an action; `None` for what the app does by itself.
fn call(action: &Action) -> Option<(Method, String, Value)> {
    let post = |node: &str, what: &str, body| (Method::POST, format!("nodes/{node}/{what}"), body);
    let route = |body| (Method::PUT, "route".to_owned(), body);
    Some(match action {
        Action::Load { node, model } => post(node, "load", json!({ "model": model })),
        Action::Unload { node, model: Some(model) } => post(node, "unload", json!({ "model": model })),
        Action::Unload { node, model: None } => post(node, "unload", json!({})),
        Action::Wake { node } => post(node, "wake", json!({})),
        Action::CancelWake { node } => (Method::DELETE, format!("nodes/{node}/wake"), json!({})),
        Action::Answer { node, wake } => {
            let choice = if *wake { "wake" } else { "elsewhere" };
            (Method::POST, format!("prompts/{node}"), json!({ "choice": choice }))
        }
        Action::Sleep { node } => post(node, "sleep", json!({})),
        Action::KeepAwake { node, on } => {
            (Method::PATCH, format!("nodes/{node}"), json!({ "keep_awake": on }))
        }
        Action::IsHome { node } => post(node, "home", json!({})),
        Action::Route(Mode::Paused) | Action::Pause { an_hour: false } => route(json!({ "mode": "pause" })),
        Action::Route(mode) => route(json!({ "mode": mode.word() })),
        Action::Pause { an_hour: true } => route(json!({ "mode": "pause", "for": "1h" })),
        Action::Resume => route(json!({ "mode": "resume" })),
        Action::Use(Offer { name, url }) => {
            (Method::POST, "nodes".to_owned(), json!({ "name": name, "url": url }))
        }
        Action::CopyBaseUrl
        | Action::CopyEnvironment
        | Action::Open
        | Action::Tell(..)
        | Action::StartHere
        | Action::Quit => {
            return None;
        }
    })
}

/// What is said while an action takes its time; `None` where it is done in a moment.
pub fn doing(action: &Action) -> Option<String> {
    match action {
        Action::Load { node, model } => Some(format!("Loading {model} on {node}…")),
        Action::Unload { node, model: Some(model) } => Some(format!("Unloading {model} on {node}…")),
        Action::Unload { node, model: None } => Some(format!("Unloading all models on {node}…")),
        Action::Sleep { node } => Some(format!("Putting {node} to sleep…")),
        Action::Use(offer) => Some(format!("Adding {} as a node…", offer.url)),
        Action::CopyBaseUrl
        | Action::CopyEnvironment
        | Action::Open
        | Action::Answer { .. }
        | Action::Tell(..)
        | Action::Wake { .. }
        | Action::CancelWake { .. }
        | Action::KeepAwake { .. }
        | Action::IsHome { .. }
        | Action::Route(_)
        | Action::Pause { .. }
        | Action::Resume
        | Action::StartHere
        | Action::Quit => None,
    }
}
