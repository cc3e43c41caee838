//! What a hostile request, node or address can try, row by row; each case goes through the door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod garbage;
mod json;
mod places;
mod rights;
mod streams;
mod wire;

use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, config},
    socket::{self, Reply},
};

const BODY: &str = r#"{"model":"m","max_tokens":8,"messages":[{"role":"user","content":"hi"}]}"#;

/// The routes that stream, with how a stream of each is told to have ended well.
const STREAMS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "[DONE]"),
    ("/v1/responses", "response.completed"),
    ("/v1/messages", "message_stop"),
    ("/api/chat", "\"done\":true"),
];

/// A node that speaks every dialect, and a gateway before it.
async fn house() -> (SimNode, Gateway) {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true)).parallel(64))
        .await
        .unwrap();
    let gateway = Gateway::start(&config(&[(&node, "max_concurrent = 64")], "")).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// A body that every route understands.
fn body(stream: bool) -> String {
    format!(
        r#"{{"model":"m","stream":{stream},"max_tokens":9,"input":"hi","messages":[{{"role":"user","content":"hi"}}]}}"#
    )
}

/// `POST`s on a connection of its own.
async fn post(gateway: &Gateway, path: &str, lines: &[&str], body: &str) -> Reply {
    let host = format!("Host: {}", gateway.authority());
    let head: Vec<&str> = [host.as_str()].into_iter().chain(lines.iter().copied()).collect();
    socket::ask(gateway.authority(), &socket::request("POST", path, &head, body)).await
}

/// Generations that the node has been asked for.
fn asked(node: &SimNode) -> usize {
    let is_generation =
        |path: &str| STREAMS.iter().any(|(known, _)| *known == path) || path == "/v1/completions";
    node.seen()
        .iter()
        .filter(|seen| seen.method == "POST" && is_generation(&seen.path) && seen.body_len > 2)
        .count()
}

/// The node answers generations with exactly these bytes.
fn verbatim(pieces: &[&[u8]], forever: bool) -> FaultRule {
    let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    FaultRule::from(Fault::Verbatim { pieces, forever }).on(On::Generation)
}

/// A head of an answer, closed by the end of the connection.
fn head(status: &str, kind: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n")
}

/// The content type of a stream on this route.
fn stream_type(path: &str) -> &'static str {
    if path == "/api/chat" { "application/x-ndjson" } else { "text/event-stream" }
}

/// Is the body an error in the shape of the route's dialect? Its message then.
fn error_of(path: &str, reply: &Reply) -> String {
    let body = reply.json();
    let message = match path {
        "/api/chat" => &body["error"],
        "/v1/messages" => {
            assert_eq!(body["type"], "error", "{path}: {body}");
            &body["error"]["message"]
        }
        _ => &body["error"]["message"],
    };
    message.as_str().unwrap_or_else(|| panic!("{path}: no error of this dialect: {body}")).to_owned()
}

/// Does the stream end in its dialect's error, and not as if it were whole?
fn ends_in_error(path: &str, text: &str) {
    let last = &text[text.len().saturating_sub(600)..];
    let event = match path {
        "/api/chat" => last.trim_end().rsplit('\n').next().unwrap_or_default(),
        _ => last.trim_end().rsplit("data:").next().unwrap_or_default(),
    };
    let event: serde_json::Value =
        serde_json::from_str(event.trim()).unwrap_or_else(|error| panic!("{path}: {error}: {last}"));
    let shape = match path {
        "/v1/messages" => event["type"] == "error" && event["error"]["message"].is_string(),
        "/v1/responses" => event["type"] == "error" || event["type"] == "response.failed",
        "/api/chat" => event["error"].is_string(),
        _ => event["error"]["message"].is_string(),
    };
    assert!(shape, "{path}: {event}");
}
