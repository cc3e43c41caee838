//! Clients that hang up, in one way or another, or hardly read: the node is told at once, or slowed, and the place is free again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::snapshot::RequestStage;
use lamplighter_simnode::{Fault, FaultRule, On, Outcome, Profile, Seen, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE},
    peers::Wire,
};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(1);

async fn over(profile: Profile) -> (SimNode, Gateway) {
    let node = SimNode::start(profile.model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    (node, gateway)
}

/// Asks for an answer in one of the dialects, under a key and an id of its own.
async fn ask(gateway: &Gateway, path: &str, stream: bool, id: &str) -> Wire {
    let mut wire = Wire::connect(gateway.authority()).await;
    let body = format!(
        r#"{{"model":"m","stream":{stream},"max_tokens":500,"messages":[{{"role":"user","content":"hi"}}],"input":"hi"}}"#
    );
    wire.post(path, &format!("Authorization: Bearer {id}\r\nX-Request-Id: {id}\r\n"), body.as_bytes()).await;
    wire
}

fn seen(node: &SimNode, id: &str) -> Option<Seen> {
    node.seen().into_iter().find(|seen| seen.request_id() == Some(id))
}

/// Waits until the node has noticed; how long after `since` that was.
async fn noticed_after(node: &SimNode, id: &str, since: Instant) -> Duration {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let record = seen(node, id).expect("it was sent to the node");
        match record.outcome {
            Outcome::ClientGone { after } => return (record.at + after).saturating_duration_since(since),
            Outcome::Open => {}
            other => panic!("it ended otherwise: {other:?}"),
        }
        assert!(Instant::now() < deadline, "the node was never told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing runs and nothing waits, soon after `since`.
async fn all_is_free(gateway: &Gateway, since: Instant) {
    gateway.until(|s| s.requests.is_empty() && s.nodes[0].active == 0 && s.nodes[0].waiting == 0).await;
    assert!(since.elapsed() < 2 * SOON, "free after {:?}", since.elapsed());
}

const PATHS: [&str; 4] = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"];

/// R40: before the first byte, in each dialect, streamed or not.
#[tokio::test(flavor = "multi_thread")]
async fn r40_while_waiting_for_the_first_byte() {
    let (node, gateway) = over(Profile::ollama("node").ttft_ms(60_000).parallel(8)).await;
    for (at, path) in PATHS.into_iter().enumerate() {
        for stream in [true, false] {
            let id = format!("first-{at}-{stream}");
            let wire = ask(&gateway, path, stream, &id).await;
            gateway.until(|s| s.requests.iter().any(|r| r.id == id && r.stage == RequestStage::Sent)).await;
            while seen(&node, &id).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let left = Instant::now();
            drop(wire);
            let took = noticed_after(&node, &id, left).await;
            assert!(took <= SOON, "{path} {stream}: {took:?}");
            all_is_free(&gateway, left).await;
        }
    }
    assert_eq!(node.stats().in_flight, 0);
}

/// R40: in the middle of a stream whose next event is far away. The node is good for the next one each time.
#[tokio::test(flavor = "multi_thread")]
async fn r40_while_streaming() {
    let (node, gateway) = over(Profile::ollama("node").tok_s(0.02).tokens(1000).parallel(8)).await;
    for (at, path) in PATHS.into_iter().enumerate() {
        let id = format!("stream-{at}");
        let mut wire = ask(&gateway, path, true, &id).await;
        wire.until("\r\n\r\n").await;
        gateway.until(|s| s.requests.iter().any(|r| r.id == id && r.stage == RequestStage::Streaming)).await;
        let left = Instant::now();
        drop(wire);
        let took = noticed_after(&node, &id, left).await;
        assert!(took <= SOON, "{path}: {took:?}");
        all_is_free(&gateway, left).await;
    }
    assert_eq!(gateway.snapshot().await.totals.cancelled, 4);
}

/// R40: in the line: the node never hears of it, and the next one moves up.
#[tokio::test(flavor = "multi_thread")]
async fn r40_while_queued() {
    let (node, gateway) = over(Profile::ollama("node").ttft_ms(60_000).parallel(8)).await;
    let holder = ask(&gateway, PATHS[0], true, "holder").await;
    gateway.until(|s| s.nodes[0].active == 1).await;
    let leaver = ask(&gateway, PATHS[0], true, "leaver").await;
    gateway.until(|s| s.nodes[0].waiting == 1).await;
    let stayer = ask(&gateway, PATHS[2], false, "stayer").await;
    gateway.until(|s| s.nodes[0].waiting == 2).await;
    let left = Instant::now();
    drop(leaver);
    let line = gateway.until(|s| s.nodes[0].waiting == 1).await;
    assert!(left.elapsed() < 2 * SOON, "{:?}", left.elapsed());
    assert!(line.requests.iter().any(|r| r.id == "stayer" && r.stage == RequestStage::Queued));

    let left = Instant::now();
    drop(holder);
    let took = noticed_after(&node, "holder", left).await;
    assert!(took <= SOON, "{took:?}");
    gateway.until(|s| s.requests.iter().any(|r| r.id == "stayer" && r.stage == RequestStage::Sent)).await;
    assert!(left.elapsed() < 2 * SOON, "the place was free after {:?}", left.elapsed());
    while seen(&node, "stayer").is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen(&node, "leaver").is_none(), "the node never heard of it");
    let left = Instant::now();
    drop(stayer);
    all_is_free(&gateway, left).await;
}

/// R41: a client that closes its writing half has hung up.
///
/// To TCP, `shutdown(SHUT_WR)` and the end of a program look the same: a FIN. While a node thinks, that FIN is all that says that
/// nobody waits any more; taking it for less would leave nodes working for clients that are gone, until the first write meets a
/// reset. No HTTP client that we know closes its half before it has its answer: curl (`-N` only turns off its own buffering)
/// keeps it open, also when its input has ended. Pipes by hand (`printf … | nc -N`) do: they want `nc` without `-N`.
#[tokio::test(flavor = "multi_thread")]
async fn r41_who_closes_its_half_has_left() {
    let (node, gateway) = over(Profile::ollama("node").ttft_ms(60_000).parallel(8)).await;
    for (at, path) in PATHS.into_iter().enumerate() {
        let id = format!("half-{at}");
        let mut wire = ask(&gateway, path, at % 2 == 0, &id).await;
        while seen(&node, &id).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left = Instant::now();
        wire.close_half().await;
        let took = noticed_after(&node, &id, left).await;
        assert!(took <= SOON, "{path}: {took:?}");
        all_is_free(&gateway, left).await;
        assert_eq!(wire.to_end(PATIENCE).await.as_deref(), Some(""), "no half answer either");
    }
}

/// R41: curl with its input at an end, `-N`, and a silence in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn r41_curl_is_answered() {
    let (node, gateway) = over(Profile::ollama("node").ttft_ms(1500).tokens(20)).await;
    let curl = tokio::process::Command::new("curl")
        .args([
            "--noproxy",
            "*",
            "-sSN",
            "--max-time",
            "20",
            "-H",
            "X-Request-Id: curl",
            "--data-binary",
            "@-",
        ])
        .arg(format!("{}/v1/chat/completions", gateway.url))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut curl) = curl else {
        return lamplighter_tests::house::skip("r41_curl_is_answered", "no curl here");
    };
    let mut input = curl.stdin.take().unwrap();
    let body = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    input.write_all(body).await.unwrap();
    drop(input);
    let output = curl.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(node.sent("curl").unwrap(), output.stdout);
    assert!(output.stdout.ends_with(b"data: [DONE]\n\n"));
}

#[cfg(target_os = "linux")]
fn resident_kb(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// R42: clients that read 1 KB/s of answers without end: their nodes are slowed and not dropped, and what we hold for each is
/// little. (The kernel's own buffers, up to some megabytes for each connection, are neither ours nor the node's.)
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn r42_a_slow_reader_slows_its_node() {
    const READERS: u64 = 8;
    let text = "x".repeat(16_000);
    let node = SimNode::start(
        Profile::ollama("node").model(SimModel::new("m").loaded(true)).parallel(32).text(text),
    )
    .await
    .unwrap();
    let gateway = Gateway::over(&[&node], "max_concurrent = 32").await;
    node.set_fault(FaultRule::from(Fault::Endless).on(On::Generation));
    let before = resident_kb(&gateway);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let mut stream = socket.connect(gateway.authority().parse().unwrap()).await.unwrap();
        let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.authority(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        readers.spawn(async move {
            let mut turns = tokio::time::interval(Duration::from_millis(250));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stream.read_exact(&mut [0; 256]).await.is_ok() {
                turns.tick().await;
            }
        });
    }
    // Until everything on the way is full: then the node can send no more than is read.
    let began = Instant::now();
    let mut sent = 0;
    let stats = loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stats = node.stats();
        let more = stats.sent_bytes - std::mem::replace(&mut sent, stats.sent_bytes);
        if more < (READERS * 64) << 10 && stats.generations_started == READERS {
            break stats;
        }
        assert!(began.elapsed() < 3 * PATIENCE, "not slowed: {} KiB in 2 s, {stats:?}", more >> 10);
    };
    assert!(stats.sent_bytes < (READERS * 16) << 20, "{} KiB on the way", stats.sent_bytes >> 10);
    assert_eq!((stats.generations_finished, stats.generations_cancelled), (0, 0), "and nobody was dropped");
    assert_eq!(gateway.snapshot().await.requests.len() as u64, READERS);
    // Two MiB for all that is not the readers.
    let grown = resident_kb(&gateway).saturating_sub(before);
    assert!(grown <= READERS * 256 + 2048, "{} KiB for each", grown / READERS);
    assert!(readers.try_join_next().is_none(), "all of them read on");
    let left = Instant::now();
    readers.shutdown().await;
    all_is_free(&gateway, left).await;
}
