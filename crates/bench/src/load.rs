//! The closed loop: so many connections, each with one request after the other, and what that costs the process in front.

use crate::{
    node::MODEL,
    process::{Cpu, Spent},
    spread::Spread,
    wire::Connection,
};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// Before anything counts: connections open, caches are warm.
const WARM_UP: Duration = Duration::from_millis(150);

/// What is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process whose CPU time counts; none when a node is asked directly.
    pub pid: Option<u32>,
}

/// What a closed loop came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Loaded {
    /// Answers per second.
    pub per_second: f64,
    /// From the request's first byte to the answer's last.
    pub latency: Spread,
    /// Of the target's process, per request.
    pub cpu_us: f64,
    /// The kernel's part of it, 0 to 1.
    pub kernel_share: f64,
}

/// A chat request with a body of about `body_bytes`. The model comes last, as OpenAI's Python library sends it.
pub fn chat(body_bytes: usize) -> Vec<u8> {
    let filler = "Tell me about lamps. ".repeat(body_bytes.saturating_sub(110) / 21 + 1);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{filler}"}}],"temperature":0.7,"max_tokens":64,"model":"{MODEL}"}}"#
    );
    post("", &body)
}

/// A request for a stream of `events` events, `gap_us` apart.
pub fn stream(events: u64, gap_us: u64) -> Vec<u8> {
    post("", &streamed("lamps", events, gap_us, 0))
}

/// The same under an id and a prompt of its own, from a node that thinks before it answers.
pub fn stream_of(id: &str, events: u64, gap_us: u64, thinks_ms: u64) -> Vec<u8> {
    post(&format!("x-request-id: {id}\r\n"), &streamed(id, events, gap_us, thinks_ms))
}

fn streamed(what: &str, events: u64, gap_us: u64, thinks_ms: u64) -> String {
    format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"Tell me about {what}."}}],"stream":true,"bench_events":{events},"bench_gap_us":{gap_us},"bench_thinks_ms":{thinks_ms}}}"#
    )
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    // Host without a port is refused by the gateway's gate; the headers are those of an SDK.
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nuser-agent: OpenAI/Python 2.8.0\r\naccept: application/json\r\ncontent-type: application/json\r\nauthorization: Bearer sk-none\r\n{lines}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The same request to `address`, named in its `Host`.
pub fn to(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(request, b"localhost").map_or(request.len(), |at| at + "localhost".len());
    [&request[..at], format!(":{}", address.port()).as_bytes(), &request[at..]].concat()
}

/// Runs the loop for `length` after a short warm-up.
pub async fn closed_loop(
    target: Target,
    request: &[u8],
    connections: usize,
    length: Duration,
) -> Result<Loaded, String> {
    let request: std::sync::Arc<[u8]> = to(target.address, request).into();
    let from = Instant::now() + WARM_UP;
    let until = from + length;
    let mut clients = JoinSet::new();
    for _ in 0..connections.max(1) {
        let request = request.clone();
        clients.spawn(async move { one_client(target.address, &request, from, until).await });
    }
    tokio::time::sleep_until(from).await;
    let before = cpu(target)?;
    tokio::time::sleep_until(until).await;
    let spent = spent(target, before)?;
    let mut samples = Vec::new();
    while let Some(client) = clients.join_next().await {
        samples.extend(client.map_err(|error| error.to_string())??);
    }
    let count = samples.len().max(1) as f64;
    Ok(Loaded {
        per_second: count / length.as_secs_f64(),
        latency: Spread::of(samples),
        cpu_us: spent.us / count,
        kernel_share: spent.kernel_share,
    })
}

async fn one_client(
    address: SocketAddr,
    request: &[u8],
    from: Instant,
    until: Instant,
) -> Result<Vec<u64>, String> {
    let broken = |error: std::io::Error| format!("a connection to {address} broke: {error}");
    let mut connection = Connection::open(address).await.map_err(broken)?;
    let mut samples = Vec::with_capacity(1 << 12);
    loop {
        let asked = Instant::now();
        if asked >= until {
            return Ok(samples);
        }
        let status = connection.ask(request).await.map_err(broken)?;
        let mut bytes = 0;
        while !connection.some(&mut |piece| bytes += piece.len()).await.map_err(broken)? {}
        if status != 200 || bytes == 0 {
            return Err(format!("{address} answered {status} with {bytes} bytes"));
        }
        if asked >= from {
            samples.push(asked.elapsed().as_nanos() as u64);
        }
    }
}

/// CPU time of the target so far.
pub fn cpu(target: Target) -> Result<Cpu, String> {
    let read = |pid| Cpu::of(pid).map_err(|error| format!("process {pid} is gone: {error}"));
    target.pid.map(read).transpose().map(Option::unwrap_or_default)
}

/// CPU time of the target since `before`.
pub fn spent(target: Target, before: Cpu) -> Result<Spent, String> {
    Ok(cpu(target)?.since(&before))
}
