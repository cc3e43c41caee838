//! The control port of a node: read its records, set its faults and models from outside its process.

use crate::fault::FaultRule;
use crate::node::Node;
use crate::profile::SimModel;
use crate::record::Seen;
use crate::server::Ends;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Largest body of a command.
const BODY_MAX: usize = 16 << 20;

/// A control server: `GET /stats`, `GET /seen`, `GET /loaded`, `POST /fault`, `POST /models`, `POST /load`, `POST /unload`.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
}

impl Control {
    /// `http://` and its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) async fn start(
        node: Arc<Node>,
        port: u16,
        ends: Ends,
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let inner = tasks.clone();
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = ends.stop.cancelled() => return,
                    () = ends.kill.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                if let Ok((stream, _)) = accepted {
                    inner.spawn(connection(stream, Arc::clone(&node), ends.clone()));
                }
            }
        });
        Ok(Self { addr })
    }
}

async fn connection(stream: TcpStream, node: Arc<Node>, ends: Ends) {
    let service = service_fn(move |request| command(Arc::clone(&node), request));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = ends.stop.cancelled() => {}
        () = ends.kill.cancelled() => {}
        // What the caller did wrong is the caller's to see.
        _ = served => {}
    }
}

async fn command(node: Arc<Node>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(answer(400, &json!({ "error": error.to_string() }))),
    };
    let (status, value) = match run(&node, head.method.as_str(), head.uri.path(), &body) {
        Ok(value) => (200, value),
        Err((status, error)) => (status, json!({ "error": error })),
    };
    Ok(answer(status, &value))
}

fn run(node: &Node, method: &str, path: &str, body: &[u8]) -> Result<Value, (u16, String)> {
    let bad = |error: serde_json::Error| (400, error.to_string());
    match (method, path) {
        ("GET", "/stats") => serde_json::to_value(node.recorder.stats()).map_err(bad),
        ("GET", "/seen") => Ok(node.recorder.seen().iter().map(written).collect()),
        ("GET", "/loaded") => {
            Ok(node.residents.loaded().into_iter().map(|resident| Value::from(resident.model.name)).collect())
        }
        // One rule, a list of them, or `{"kind":"ok"}` to end all faults.
        ("POST", "/fault") => {
            let rules = match serde_json::from_slice(body).map_err(bad)? {
                Value::Array(rules) => rules,
                rule => vec![rule],
            };
            let rules: Result<Vec<_>, _> =
                rules.iter().map(|rule| FaultRule::from_json(rule.to_string().as_bytes())).collect();
            node.faults.set(rules.map_err(bad)?);
            Ok(json!({ "ok": true }))
        }
        // A list of models; only `name` is needed.
        ("POST", "/models") => {
            let wanted: Vec<Value> = serde_json::from_slice(body).map_err(bad)?;
            let models: Result<Vec<_>, _> = wanted.into_iter().map(model).collect();
            node.residents.set(models.map_err(bad)?);
            Ok(json!({ "ok": true }))
        }
        ("POST", "/load" | "/unload") => {
            let wanted: Value = serde_json::from_slice(body).map_err(bad)?;
            let name = wanted["model"].as_str().unwrap_or_default();
            let done = if path == "/load" { node.residents.load(name) } else { node.residents.unload(name) };
            Ok(json!({ "ok": done }))
        }
        _ => Err((404, format!("no command {method} {path}"))),
    }
}

/// A model from its fields; those not given are the defaults of its name.
fn model(fields: Value) -> Result<SimModel, serde_json::Error> {
    let named = SimModel::new(fields["name"].as_str().unwrap_or_default());
    let mut whole = serde_json::to_value(named)?;
    if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, fields) {
        whole.extend(fields);
    }
    serde_json::from_value(whole)
}

fn written(seen: &Seen) -> Value {
    let headers: serde_json::Map<String, Value> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    json!({
        "seq": seen.seq, "method": seen.method.as_str(), "path": seen.path, "query": seen.query,
        "headers": headers, "body": String::from_utf8_lossy(&seen.body), "body_len": seen.body_len,
        "status": seen.status, "outcome": seen.outcome, "sent_len": seen.sent_len,
        "sent_sha256": seen.sent_sha256,
    })
}

fn answer(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}
