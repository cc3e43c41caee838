//! Streams: every byte as the node sent it, as soon as it was sent, and never a cut one that looks whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures::future::join_all;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE, config},
    peers::Scripted,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// The four dialects, each with the end of a whole stream.
const DIALECTS: [(&str, &str); 4] = [
    ("/v1/chat/completions", "data: [DONE]\n\n"),
    ("/v1/responses", "\"type\":\"response.completed\""),
    ("/v1/messages", "\"type\":\"message_stop\"}\n\n"),
    ("/api/chat", "\"done\":true"),
];

async fn over(profile: Profile, more: &str) -> (SimNode, Gateway) {
    let node = SimNode::start(profile.model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::start(&config(&[(&node, more)], "")).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// A stream in one of the dialects; the prompt is in the answer's ids, so no two streams are alike.
fn stream(gateway: &Gateway, path: &str, id: &str) -> reqwest::RequestBuilder {
    let body = json!({ "model": "m", "stream": true, "max_tokens": 4000, "input": id,
        "messages": [{ "role": "user", "content": id }] });
    gateway.post(path, &body).header("x-request-id", id)
}

/// What the node has sent for that request, once it has ended.
async fn sent(node: &SimNode, id: &str) -> Bytes {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match node.sent(id) {
            Some(bytes) if !bytes.is_empty() => return bytes,
            _ => assert!(Instant::now() < deadline, "{id} has not ended"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_is_quiet(gateway: &Gateway, node: &SimNode) {
    gateway.until(|s| s.requests.is_empty() && s.nodes.iter().all(|node| node.active == 0)).await;
    let deadline = Instant::now() + PATIENCE;
    while node.stats().in_flight > 0 {
        assert!(Instant::now() < deadline, "still in flight at the node: {:?}", node.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two hundred at once, in all dialects: each gets its own bytes, all of them, and nothing is left in flight.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once() {
    let profile = Profile::ollama("node").parallel(256).ttft_ms(1500).tok_s(40.0).tokens(40);
    let (node, gateway) = over(profile, "max_concurrent = 256").await;
    let streams = (0..200).map(|at| {
        let (path, end) = DIALECTS[at % 4];
        let id = format!("stream-{at}");
        let request = stream(&gateway, path, &id);
        tokio::spawn(async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["x-request-id"], id.as_str());
            (id, end, answer.bytes().await.unwrap())
        })
    });
    let streams = join_all(streams.collect::<Vec<_>>()).await;
    let mut different = HashSet::new();
    for stream in streams {
        let (id, end, got) = stream.unwrap();
        assert!(String::from_utf8_lossy(&got).contains(end), "{id} is whole");
        assert_eq!(got, sent(&node, &id).await, "{id}");
        different.insert(got);
    }
    assert!(different.len() >= 100, "the streams can be told apart: {}", different.len());
    assert!(node.stats().in_flight_peak >= 200, "at once: {}", node.stats().in_flight_peak);
    assert_eq!((node.stats().generations_started, node.stats().generations_finished), (200, 200));
    all_is_quiet(&gateway, &node).await;
    assert_eq!(gateway.snapshot().await.totals.answered, 200);
}

/// However the bytes are cut on their way, the same bytes arrive.
#[tokio::test(flavor = "multi_thread")]
async fn sliced_odd_and_more_than_asked_for() {
    let text = "Grüße 👋🏽 aus 日本語 \"quoted\\\" [DONE] finish_reason\": \"stop\" ";
    let (node, gateway) = over(Profile::ollama("node").text(text.repeat(5)), "").await;
    for fault in [Fault::Slicer { bytes: 1 }, Fault::Slicer { bytes: 7 }, Fault::OddSse, Fault::Extra] {
        node.set_fault(FaultRule::from(fault.clone()).on(On::Generation));
        for (path, _) in DIALECTS {
            let id = format!("cut-{}", node.stats().requests_total);
            let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
            // A complete stream that were not seen as such would have an error at its end, which the node has not sent.
            assert_eq!(got, sent(&node, &id).await, "{fault:?} {path}");
            assert!(got.len() > 1000, "{fault:?} {path}");
        }
    }
    all_is_quiet(&gateway, &node).await;
}

/// The last thing in a cut stream, parsed: the error of that dialect, in the place where its clients look for it.
fn error_at_the_end(path: &str, text: &str) -> Option<String> {
    let last = text.trim_end().rsplit(if path.starts_with("/api") { "\n" } else { "\n\n" }).next()?;
    let data = last.lines().last()?.trim_start_matches("data: ");
    let value: Value = serde_json::from_str(data).ok()?;
    let message = match path {
        "/v1/chat/completions" => value["error"]["message"].as_str(),
        "/v1/responses" if last.starts_with("event: error\n") && value["type"] == "error" => {
            value["message"].as_str()
        }
        "/v1/messages" if last.starts_with("event: error\n") && value["type"] == "error" => {
            value["error"]["message"].as_str()
        }
        "/api/chat" => value["error"].as_str(),
        _ => None,
    };
    message.map(str::to_owned)
}

/// A stream that ends before its end: whole events of the node's, then the dialect's error, and no end mark.
#[tokio::test(flavor = "multi_thread")]
async fn truncated_streams_end_in_an_error() {
    let (node, gateway) = over(Profile::ollama("node").tokens(60), "").await;
    let faults = [
        ("close-3", Fault::Close { after_events: 3 }),
        ("close-40", Fault::Close { after_events: 40 }),
        ("rst", Fault::Rst { after_bytes: 2000 }),
    ];
    for (name, fault) in faults {
        node.set_fault(FaultRule::from(fault).on(On::Generation));
        for (path, end) in DIALECTS {
            let id = format!("{name}-{}", node.stats().requests_total);
            let answer = stream(&gateway, path, &id).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{name} {path}");
            // The chunked body itself ends well: the error is in the stream, not in the transport.
            let got = answer.bytes().await.expect("a body that ends well");
            let text = String::from_utf8_lossy(&got).into_owned();
            let message = error_at_the_end(path, &text).unwrap_or_else(|| panic!("{name} {path}: {text}"));
            assert!(message.contains("node"), "it names the node: {message}");
            assert!(!text.contains(end.trim_end()), "{name} {path} has an end mark: {text}");
            let mark = if path.starts_with("/api") { "\n" } else { "\n\n" };
            let before = &text[..text.trim_end().rfind(mark).unwrap() + mark.len()];
            assert!(sent(&node, &id).await.starts_with(before.as_bytes()), "{name} {path}: {text}");
            assert!(before.len() > 100, "{name} {path}: something had come: {before}");
        }
    }
    all_is_quiet(&gateway, &node).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.failed, totals.answered), (12, 0));
}

/// Only the end mark missing: in OpenAI's dialect a finish reason is an end, in the others nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_reason_without_done_is_an_end() {
    let (node, gateway) = over(Profile::ollama("node").tokens(5), "").await;
    node.set_fault(FaultRule::from(Fault::Close { after_events: 10_000 }).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("end-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&got).into_owned();
        if path == "/v1/chat/completions" {
            assert!(text.contains("\"finish_reason\":\"stop\"") && !text.contains("[DONE]"), "{text}");
            assert_eq!(got, sent(&node, &id).await);
        } else {
            assert!(error_at_the_end(path, &text).is_some(), "{path}: {text}");
        }
    }
}

/// An error that the node itself tells in the stream is passed on as it is, and no second one is added.
#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_own_error_in_the_stream_is_the_last_word() {
    let (node, gateway) = over(Profile::ollama("node").tokens(60), "").await;
    node.set_fault(FaultRule::from(Fault::InBandError { after_events: 5 }).on(On::Generation));
    for (path, _) in DIALECTS {
        let id = format!("own-{}", node.stats().requests_total);
        let got = stream(&gateway, path, &id).send().await.unwrap().bytes().await.unwrap();
        assert!(String::from_utf8_lossy(&got).contains("the runner stopped"), "{path}");
        assert_eq!(got, sent(&node, &id).await, "{path}");
    }
}

/// Each event goes down when it comes, also when it comes in small pieces (in two of the dialects here).
#[tokio::test(flavor = "multi_thread")]
async fn events_are_not_held_back() {
    let (node, gateway) =
        over(Profile::ollama("node").tok_s(10.0).tokens(16).parallel(8), "max_concurrent = 8").await;
    for path in ["/v1/chat/completions", "/api/chat"] {
        node.add_fault(FaultRule::from(Fault::Slicer { bytes: 3 }).on(On::Path(path.into())));
    }
    let timed = DIALECTS.map(|(path, _)| {
        let request = stream(&gateway, path, path);
        async move {
            let mut answer = request.send().await.unwrap();
            let mut arrivals = Vec::new();
            while let Some(chunk) = answer.chunk().await.unwrap() {
                arrivals.push((Instant::now(), chunk.len()));
            }
            (path, arrivals)
        }
    });
    for (path, arrivals) in join_all(timed).await {
        let (first, last) = (arrivals[0].0, arrivals[arrivals.len() - 1].0);
        // The node takes 1.5 s from the first token to the last.
        assert!(last - first >= Duration::from_millis(1200), "{path}: {:?}", last - first);
        // Bytes come all along the way: in each quarter there are some.
        let quarter = (last - first) / 4;
        for q in 0..4u32 {
            let (from, to) = (first + quarter * q, first + quarter * (q + 1));
            assert!(
                arrivals.iter().any(|(at, _)| *at >= from && *at <= to),
                "{path}: nothing in quarter {q}"
            );
        }
        assert!(arrivals.len() >= 12, "{path}: in {} pieces", arrivals.len());
    }
}

/// A stream without an end of its own is not complete, even when the connection closes in good order and without framing.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_delimited_stream_that_is_cut() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let scripted = Scripted::start(format!("{head}{event}{}", &event[..30])).await;
    let gateway = Gateway::start(&config(&[], &scripted.node("scripted"))).await;
    gateway.until_up(1).await;
    let text = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    let rest = text.strip_prefix(event).expect("the whole event, and not the half one");
    assert!(error_at_the_end("/v1/chat/completions", rest).is_some(), "{text}");
    assert!(!rest.contains("half"), "{text}");
}

/// An event larger than what is held back has gone down in part when it is cut: the error still stands on lines of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_half_a_large_event_can_be_read() {
    let (node, gateway) = over(Profile::ollama("node"), "").await;
    // More than an event may have: 12 MiB without a line end.
    node.set_fault(FaultRule::from(Fault::HugeLine { bytes: 12 << 20 }).on(On::Generation));
    for (path, end) in DIALECTS {
        let got = stream(&gateway, path, path).send().await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&got).into_owned();
        let tail = &text[text.len().saturating_sub(500)..];
        assert!(error_at_the_end(path, &text).is_some(), "{path}: {tail}");
        assert!(text.len() > 1 << 20 && !tail.contains(end.trim_end()), "{path}: {tail}");
    }
    all_is_quiet(&gateway, &node).await;

    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":null}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let large = event.replace("half", &"x".repeat(300_000));
    let scripted = Scripted::start(format!("{head}{event}{}", &large[..200_000])).await;
    let gateway = Gateway::start(&config(&[], &scripted.node("scripted"))).await;
    gateway.until_up(1).await;
    let text = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    assert!(error_at_the_end("/v1/chat/completions", &text).is_some(), "{}", &text[text.len() - 500..]);
    assert!(text.starts_with(event));
}

/// Large answers in one piece arrive whole; a large one that is cut breaks the connection, so that nobody takes it for whole.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_in_one_piece() {
    let text = "0123456789abcdef".repeat(700_000);
    let (node, gateway) = over(Profile::ollama("node").text(text.clone()), "").await;
    let answer = gateway.chat("m", false).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    assert!(body["choices"][0]["message"]["content"] == text.as_str(), "11 MB, byte for byte");
    node.set_fault(FaultRule::from(Fault::TruncContentLength).on(On::Generation));
    match gateway.chat("m", false).send().await {
        Ok(answer) if answer.status() == 200 => assert!(answer.bytes().await.is_err(), "it was cut"),
        Ok(answer) => assert!(answer.status().is_server_error()),
        Err(_) => {}
    }
    all_is_quiet(&gateway, &node).await;
}

/// A client that reads nothing slows the node down; it does not fill our memory.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_slows_the_node() {
    let (node, gateway) = over(Profile::ollama("node").parallel(8), "").await;
    node.set_fault(FaultRule::from(Fault::Endless).on(On::Generation));
    let resident_kb = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident_kb();
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut answer = gateway.chat("m", true).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        streams.push(answer);
    }
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let grown = resident_kb().saturating_sub(before);
    // Four streams at the speed of the machine would be hundreds of megabytes.
    assert!(grown < 24 << 10, "grown by {grown} KiB");
    drop(streams);
    all_is_quiet(&gateway, &node).await;
}
