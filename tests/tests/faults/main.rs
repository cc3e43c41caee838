//! Nodes that die, hang, lie, refuse or say "later": what clients see of it, and what the house makes of the node.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flapping;
mod gone;
mod memory;
mod said;
mod silent;

use lamplighter_core::snapshot::Snapshot;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How one request ended.
#[derive(Debug)]
struct End {
    status: u16,
    node: String,
    retry_after: Option<String>,
    should_retry: Option<String>,
    text: String,
    took: Duration,
}

impl End {
    /// What the node said, as a person reads it.
    fn said(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    fn is_whole(&self) -> bool {
        let is_stream = self.text.ends_with("data: [DONE]\n\n") && !self.text.contains("\"error\"");
        self.status == 200 && (is_stream || !self.said().is_empty())
    }
}

/// Sends one chat and reads it to its end. Each is a conversation of its own: none goes where another was answered.
fn chat(gateway: &Gateway, model: &str, stream: bool) -> JoinHandle<End> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let words = format!("conversation {}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let body =
        json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": words }] });
    send(gateway.post("/v1/chat/completions", &body))
}

/// Sends a request and reads its answer to its end.
fn send(request: reqwest::RequestBuilder) -> JoinHandle<End> {
    tokio::spawn(async move {
        let began = Instant::now();
        let answer = request.send().await.unwrap();
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
        let (node, retry_after) = (header("x-lamplighter-node").unwrap_or_default(), header("retry-after"));
        let (should_retry, status) = (header("x-should-retry"), answer.status().as_u16());
        let text = answer.text().await.unwrap();
        End { status, node, retry_after, should_retry, text, took: began.elapsed() }
    })
}

/// A node that has `m` in memory.
async fn node(name: &str) -> SimNode {
    SimNode::start(Profile::ollama(name).model(SimModel::new("m").loaded(true))).await.unwrap()
}

/// A node that comes first, and a good one.
async fn bad_and_good() -> (SimNode, SimNode, Gateway) {
    let (bad, good) = (node("bad").await, node("good").await);
    let gateway =
        Gateway::start(&config(&[(&bad, "priority = 9\nmax_concurrent = 8"), (&good, "")], "")).await;
    gateway.until_up(2).await;
    (bad, good, gateway)
}

/// Chats that the node has seen.
fn posts(node: &SimNode) -> usize {
    node.seen().iter().filter(|seen| seen.method == "POST" && seen.path.contains("chat")).count()
}

fn on_work(fault: Fault) -> FaultRule {
    FaultRule::from(fault).on(On::Generation)
}

fn status(status: u16, retry_after: Option<&str>) -> Fault {
    Fault::Status { status, retry_after: retry_after.map(str::to_owned), body: None }
}

fn state_of(snapshot: &Snapshot, name: &str) -> String {
    snapshot.nodes.iter().find(|node| node.name == name).unwrap().state.word().to_owned()
}
