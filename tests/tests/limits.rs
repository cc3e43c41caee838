//! The door's limits: time, size, encodings, and the end of the process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE},
    peers::Wire,
};
use serde_json::Value;
use std::{
    io::Write,
    time::{Duration, Instant},
};

const MIB: usize = 1 << 20;
/// The limit of the door for heads and bodies that stand still, with room for a busy machine.
const LIMIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(29)..=Duration::from_secs(33);

async fn over(profile: Profile) -> (SimNode, Gateway) {
    let node = SimNode::start(profile.model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    (node, gateway)
}

/// The message in an error body of the route's dialect.
fn message(path: &str, body: &Value) -> String {
    let text = if path.starts_with("/api") { &body["error"] } else { &body["error"]["message"] };
    if path.starts_with("/v1/messages") {
        assert_eq!(body["type"], "error", "{body}");
    }
    text.as_str().unwrap_or_else(|| panic!("{path}: {body}")).to_owned()
}

/// Status and JSON body of an answer as it stands on the wire.
fn parsed(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

/// Both take half a minute: together, so that it is the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_header_and_a_stalled_body_end_after_30_s() {
    let (node, gateway) = over(Profile::ollama("node")).await;
    tokio::join!(half_headers(&gateway), stalled_bodies(&node, &gateway));
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), 200);
}

/// A head that is never finished: the connection is closed after 30 s, however it stands still.
async fn half_headers(gateway: &Gateway) {
    let cases = [
        ("silent", ""),
        ("half", "POST /v1/chat/completions HTTP/1.1\r\nHost: 127"),
        ("dripping", "GET / HTTP/1.1\r\nX: "),
    ];
    let closed = cases.map(async |(name, start)| {
        let began = Instant::now();
        let mut wire = Wire::connect(gateway.authority()).await;
        wire.send(start.as_bytes()).await;
        while name == "dripping" && began.elapsed() < Duration::from_secs(35) {
            // Each byte is a sign of life, and none of them helps.
            if wire.to_end(Duration::from_secs(3)).await.is_some() || wire.try_send(b"x").await.is_err() {
                return (name, began.elapsed());
            }
        }
        assert!(wire.to_end(Duration::from_secs(40)).await.is_some(), "{name} is still open");
        (name, began.elapsed())
    });
    for (name, took) in join_all(closed).await {
        let room = if name == "dripping" { Duration::from_secs(3) } else { Duration::ZERO };
        assert!(took >= *LIMIT.start() && took <= *LIMIT.end() + room, "{name}: {took:?}");
    }
}

/// A body that stops arriving is refused after 30 s, in the caller's dialect; one that comes slowly is not.
async fn stalled_bodies(node: &SimNode, gateway: &Gateway) {
    let stalled = ["/v1/chat/completions", "/v1/messages", "/api/chat"].map(async |path| {
        let mut wire = Wire::connect(gateway.authority()).await;
        let began = Instant::now();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100\r\n\r\n{{\"model\":\"m\"",
            gateway.authority()
        );
        wire.send(head.as_bytes()).await;
        let answer =
            wire.to_end(Duration::from_secs(40)).await.expect("an answer, and the end of the connection");
        let took = began.elapsed();
        assert!(LIMIT.contains(&took), "{path}: {took:?}");
        let (status, body) = parsed(&answer);
        assert_eq!(status, 408, "{answer}");
        assert_eq!(message(path, &body), "The request body stopped arriving.");
    });
    let slow = async {
        let mut wire = Wire::connect(gateway.authority()).await;
        let body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user"}]}"#;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            gateway.authority(),
            body.len()
        );
        wire.send(head.as_bytes()).await;
        for piece in body.chunks(body.len().div_ceil(4)) {
            tokio::time::sleep(Duration::from_secs(8)).await;
            wire.send(piece).await;
        }
        let answer = wire.to_end(PATIENCE).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    tokio::join!(join_all(stalled), slow);
    assert_eq!(node.seen().iter().filter(|seen| seen.method == "POST").count(), 1);
}

/// More than 64 MiB: refused as soon as it is known, announced or not, and a client that just goes on sending reads why.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_64_mib_gets_413() {
    let (node, gateway) = over(Profile::ollama("node")).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/embeddings"] {
        let mut wire = Wire::connect(gateway.authority()).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            gateway.authority(),
            64 * MIB + 1
        );
        wire.send(head.as_bytes()).await;
        let (status, body) = parsed(&wire.to_end(PATIENCE).await.expect("an answer without the body"));
        assert_eq!((status, message(path, &body).as_str()), (413, "The request body is larger than 64 MiB."));
    }
    // Who asks first is told so, and need not send anything.
    let mut wire = Wire::connect(gateway.authority()).await;
    let lines = format!(
        "Host: {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n",
        gateway.authority(),
        64 * MIB + 1
    );
    wire.send(format!("POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n").as_bytes()).await;
    let answer = wire.to_end(PATIENCE).await.expect("an answer without the body");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // In chunks nobody announces anything: it is counted, and a client that just goes on is not cut off.
    let mut wire = Wire::connect(gateway.authority()).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        gateway.authority()
    );
    wire.send(head.as_bytes()).await;
    let chunk = [format!("{MIB:x}\r\n").into_bytes(), vec![b' '; MIB], b"\r\n".to_vec()].concat();
    for _ in 0..100 {
        wire.send(&chunk).await;
    }
    wire.send(b"0\r\n\r\n").await;
    let (status, body) = parsed(&wire.to_end(PATIENCE).await.expect("an answer"));
    assert_eq!((status, body["error"]["code"].as_str()), (413, Some("body_too_large")));
    // A client that sends all of it before it reads is not cut off in the middle: it would never learn why.
    let mut wire = Wire::connect(gateway.authority()).await;
    let lines = format!("Host: {}\r\nContent-Length: {}\r\n", gateway.authority(), 100 * MIB);
    wire.send(format!("POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n").as_bytes()).await;
    for _ in 0..100 {
        wire.send(&vec![b' '; MIB]).await;
    }
    let answer = wire.to_end(PATIENCE).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(node.seen().iter().filter(|seen| seen.method == "POST").count(), 0);

    // A large one within the limit arrives whole.
    let mut body = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user"}],"pad":""#.to_vec();
    body.resize(5 * MIB, b'x');
    body.extend_from_slice(b"\"}");
    let length = body.len();
    let url = format!("{}/v1/chat/completions", gateway.url);
    assert_eq!(gateway.http.post(&url).body(body).send().await.unwrap().status(), 200);
    assert_eq!(node.seen().pop().unwrap().body_len, length);
}

/// A zstd frame written by hand (RFC 8878): one raw block, or `blocks` times 128 KiB of the letter x in four bytes each.
fn zstd(raw: &[u8], blocks: u32) -> Vec<u8> {
    // Magic, a header without content size and checksum, a window of 128 KiB.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 7 << 3];
    let mut block = |last: bool, kind: u32, size: u32, content: &[u8]| {
        let header = u32::from(last) | kind << 1 | size << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    };
    for _ in 0..blocks {
        block(false, 1, 128 << 10, b"x");
    }
    block(true, 0, raw.len() as u32, raw);
    frame
}

fn gzip(parts: &[(&[u8], usize)]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for (part, times) in parts {
        for _ in 0..*times {
            encoder.write_all(part).unwrap();
        }
    }
    encoder.finish().unwrap()
}

/// gzip and zstd are decoded, under the same limit; other encodings are refused.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies() {
    let (node, gateway) = over(Profile::ollama("node")).await;
    let plain = br#"{ "model":"m", "max_tokens":9,"messages":[{"role":"user"}] }"#;
    let post = async |path: &str, encoding: &str, body: Vec<u8>| {
        let url = format!("{}{path}", gateway.url);
        gateway.http.post(url).header("content-encoding", encoding).body(body).send().await.unwrap()
    };
    for (encoding, body) in [
        ("gzip", gzip(&[(plain, 1)])),
        ("X-GZIP", gzip(&[(plain, 1)])),
        ("zstd", zstd(plain, 0)),
        ("identity", plain.to_vec()),
    ] {
        for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
            assert_eq!(post(path, encoding, body.clone()).await.status(), 200, "{encoding} {path}");
            let seen = node.seen().into_iter().rfind(|seen| seen.method == "POST").unwrap();
            assert_eq!(seen.body, plain.as_slice(), "{encoding}");
            assert!(seen.headers.get("content-encoding").is_none());
        }
    }
    let asked = node.seen().len();
    for encoding in ["br", "deflate", "gzip, gzip", "compress", "zstd,gzip"] {
        for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
            let answer = post(path, encoding, plain.to_vec()).await;
            assert_eq!(answer.status(), 415, "{encoding} {path}");
            assert!(message(path, &answer.json().await.unwrap()).contains("gzip or zstd"));
        }
    }
    // 65 MiB in a few dozen kilobytes.
    let pad = vec![b' '; MIB];
    for (encoding, bomb) in [("gzip", gzip(&[(&pad, 65), (plain, 1)])), ("zstd", zstd(plain, 8 * 65))] {
        assert!(bomb.len() < 100 << 10, "{}", bomb.len());
        let began = Instant::now();
        assert_eq!(post("/v1/chat/completions", encoding, bomb).await.status(), 413, "{encoding}");
        assert!(began.elapsed() < Duration::from_secs(10), "{encoding}: {:?}", began.elapsed());
    }
    for (encoding, broken) in
        [("gzip", plain.to_vec()), ("zstd", plain.to_vec()), ("gzip", gzip(&[(plain, 1)])[..30].to_vec())]
    {
        let answer = post("/v1/chat/completions", encoding, broken).await;
        assert_eq!(answer.status(), 400, "{encoding}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], "bad_body");
    }
    let posts = node.seen().iter().skip(asked).filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 0, "nothing of this reached the node");
}

/// Too many or too long header fields end with 431, not with memory.
#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let (_node, gateway) = over(Profile::ollama("node")).await;
    let many = |count: usize| (0..count).map(|at| format!("X-{at}: 1\r\n")).collect::<String>();
    let long = |bytes: usize| format!("X-Long: {}\r\n", "l".repeat(bytes));
    for (lines, status) in [(many(90), 200), (many(101), 431), (long(32 << 10), 200), (long(66 << 10), 431)] {
        let mut wire = Wire::connect(gateway.authority()).await;
        let head = format!(
            "GET /api/version HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\r\n",
            gateway.authority()
        );
        wire.send(head.as_bytes()).await;
        let answer = wire.to_end(PATIENCE).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

/// Told to stop with streams that would never end: they have 30 s, then their dialect's error; the process ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_open_streams_within_32_s() {
    let (node, gateway) = over(Profile::ollama("node").tok_s(4.0).tokens(10_000).parallel(8)).await;
    let authority = gateway.authority().to_owned();
    let body = br#"{"model":"m","stream":true,"max_tokens":9000,"input":"hi","messages":[{"role":"user","content":"hi"}]}"#;
    let mut wires = Vec::new();
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"] {
        let mut wire = Wire::connect(&authority).await;
        wire.post(path, "", body).await;
        wire.until("\r\n\r\n").await;
        wires.push((path, wire));
    }
    // Not one byte of an answer yet: this one can still be refused properly.
    let mut whole = Wire::connect(&authority).await;
    whole
        .post("/v1/chat/completions", "", br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#)
        .await;
    gateway.until(|s| s.nodes[0].active == 5).await;

    let stopping = tokio::task::spawn_blocking(move || gateway.stop(Duration::from_secs(40)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(tokio::net::TcpStream::connect(&authority).await.is_err(), "no new connections");
    let (code, took) = stopping.await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_secs(29), "what runs has its grace: {took:?}");
    assert!(took <= Duration::from_secs(32), "{took:?}");
    for (path, mut wire) in wires {
        let text = wire.to_end(PATIENCE).await.expect("closed");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(
            body.contains("\"error\""),
            "{path} ends in an error: {}",
            &body[body.len().saturating_sub(300)..]
        );
        for end in ["[DONE]", "response.completed", "message_stop", "\"done\":true"] {
            assert!(!body.contains(end), "{path} looks whole");
        }
        assert!(
            body.ends_with("0\r\n\r\n"),
            "{path}: the body itself ends well: {}",
            &body[body.len().saturating_sub(300)..]
        );
    }
    let (status, body) = parsed(&whole.to_end(PATIENCE).await.expect("closed"));
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("shutting_down")));
    assert_eq!(node.stats().generations_cancelled, 5, "the node was told");
}

/// Told to stop with a stream that ends by itself: it ends whole, and then we end.
#[tokio::test(flavor = "multi_thread")]
async fn drain_waits_for_a_stream_that_ends() {
    let (_node, gateway) = over(Profile::ollama("node").tok_s(10.0).tokens(21)).await;
    let stream = tokio::spawn(gateway.chat("m", true).send());
    let shown = gateway.until(|s| s.requests.iter().any(|request| request.events > 0)).await;
    assert_eq!(shown.requests.len(), 1);
    let stopping = tokio::task::spawn_blocking(move || gateway.stop(Duration::from_secs(40)));
    let text = stream.await.unwrap().unwrap().text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""), "{text}");
    let (code, took) = stopping.await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Told to stop with nothing but idle connections: they are closed at once.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_the_end() {
    let (_node, gateway) = over(Profile::ollama("node")).await;
    let mut used = Wire::connect(gateway.authority()).await;
    used.post("/v1/chat/completions", "", br#"{"model":"m","max_tokens":9,"messages":[{"role":"user"}]}"#)
        .await;
    used.until("\"finish_reason\"").await;
    let mut fresh = Wire::connect(gateway.authority()).await;
    let events = gateway.control("events").await;
    assert_eq!(events.status(), 200);
    let (code, took) =
        tokio::task::spawn_blocking(move || gateway.stop(Duration::from_secs(40))).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(used.to_end(PATIENCE).await.is_some() && fresh.to_end(PATIENCE).await.is_some());
}
