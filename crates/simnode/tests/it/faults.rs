//! Faults that are well-formed HTTP: silence, wrong statuses, streams that end badly.

use crate::client::{End, Got, get, post, request, send, send_within};
use lamplighter_simnode::{Fault, FaultRule, On, Outcome, Profile, SimModel, SimNode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn node() -> SimNode {
    let model = SimModel::new("m:1").loaded(true);
    SimNode::start(Profile::ollama("nas").tokens(6).parallel(8).model(model)).await.unwrap()
}

fn chat(stream: bool) -> Value {
    json!({
        "model": "m:1", "stream": stream, "max_tokens": 50, "prompt": "hi", "input": "hi",
        "messages": [{ "role": "user", "content": "hi" }],
    })
}

async fn streamed(node: &SimNode, path: &str) -> Got {
    post(node.addr(), path, chat(true)).await
}

const STREAMS: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
];

/// The words that end a complete stream of this route.
fn marker(path: &str) -> &'static str {
    match path {
        "/v1/responses" => "response.completed",
        "/v1/messages" => "message_stop",
        "/api/chat" | "/api/generate" => "\"done\":true",
        _ => "[DONE]",
    }
}

#[tokio::test]
async fn silence_ends_or_does_not() {
    let node = node().await;
    node.set_fault(Fault::Silent { ms: Some(120) });
    let start = Instant::now();
    assert_eq!(get(node.addr(), "/api/version").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(120));
    node.set_fault(Fault::Silent { ms: None });
    let got =
        send_within(node.addr(), &request("GET", "/api/tags", "", ""), Duration::from_millis(150)).await;
    assert_eq!((got.end, got.head.as_str()), (End::Quiet, ""));
    node.clear_fault();
    assert_eq!(get(node.addr(), "/api/version").await.status, 200);
}

#[tokio::test]
async fn gray_lists_but_never_says_a_word() {
    let node = node().await;
    node.set_fault(Fault::Gray);
    assert_eq!(get(node.addr(), "/v1/models").await.status, 200);
    let ask = request("POST", "/v1/chat/completions", "", &chat(true).to_string());
    let got = send_within(node.addr(), &ask, Duration::from_millis(200)).await;
    assert_eq!((got.status, got.wire.len(), got.end), (200, 0, End::Quiet));
    let ask = request("POST", "/v1/chat/completions", "", &chat(false).to_string());
    let got = send_within(node.addr(), &ask, Duration::from_millis(200)).await;
    assert_eq!((got.head.as_str(), got.end), ("", End::Quiet));
}

#[tokio::test]
async fn rate_slows_a_stream() {
    let node = node().await;
    node.set_fault(Fault::Rate { tok_per_s: 50.0 });
    let start = Instant::now();
    assert!(streamed(&node, "/v1/chat/completions").await.text().contains("[DONE]"));
    assert!(start.elapsed() >= Duration::from_millis(100), "five gaps of 20 ms");
}

#[tokio::test]
async fn close_leaves_out_the_terminal_marker_in_every_dialect() {
    let node = node().await;
    for path in STREAMS {
        node.clear_fault();
        let good = streamed(&node, path).await;
        assert!(good.text().contains(marker(path)), "{path}");
        // After three events, and as late as can be.
        for after_events in [3, 10_000] {
            node.set_fault(Fault::Close { after_events });
            let got = streamed(&node, path).await;
            assert!(got.whole, "{path}: the framing is complete");
            assert!(!got.text().contains(marker(path)), "{path}: {}", got.text());
            assert!(good.body.starts_with(&got.body) && !got.body.is_empty(), "{path}");
        }
        assert_eq!(node.seen().last().unwrap().outcome, Outcome::Broken);
    }
    node.set_fault(Fault::Close { after_events: 0 });
    let got = post(node.addr(), "/v1/chat/completions", chat(false)).await;
    assert!(got.whole && serde_json::from_slice::<Value>(&got.body).is_err());
}

#[tokio::test]
async fn an_error_in_the_stream_has_the_dialects_form() {
    let node = node().await;
    for (path, sign) in STREAMS.iter().zip([
        "data: {\"error\":{\"message\":",
        "data: {\"error\":{\"message\":",
        "event: response.failed\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
        "{\"error\":\"",
        "{\"error\":\"",
    ]) {
        for after_events in [2, 10_000] {
            node.set_fault(Fault::InBandError { after_events });
            let got = streamed(&node, path).await;
            assert!(got.whole && got.status == 200);
            assert!(got.text().contains(sign), "{path}: {}", got.text());
            assert!(!got.text().contains(marker(path)), "{path}");
        }
    }
    let got = post(node.addr(), "/api/chat", chat(false)).await;
    assert_eq!((got.status, got.json()["error"].is_string()), (500, true));
}

#[tokio::test]
async fn extra_comes_after_the_marker() {
    let node = node().await;
    node.set_fault(Fault::Extra);
    for path in STREAMS {
        let text = streamed(&node, path).await;
        let (_, after) = text.text().split_once(marker(path)).unwrap();
        assert!(after.contains("nas"), "{path}: {after}");
    }
}

#[tokio::test]
async fn endless_goes_on() {
    let node = node().await;
    node.set_fault(Fault::Endless);
    let ask = request("POST", "/api/chat", "", &chat(true).to_string());
    let got = send_within(node.addr(), &ask, Duration::from_millis(800)).await;
    assert_eq!(got.end, End::Quiet);
    assert!(got.wire.len() > 100_000, "{}", got.wire.len());
    assert!(!String::from_utf8_lossy(&got.body).contains(marker("/api/chat")));
}

#[tokio::test]
async fn statuses_in_the_engines_shape_or_with_any_body() {
    let node = node().await;
    let status = |status, retry_after: Option<&str>, body: Option<&str>| Fault::Status {
        status,
        retry_after: retry_after.map(str::to_owned),
        body: body.map(str::to_owned),
    };
    for code in [401, 403, 404, 429, 500, 503] {
        node.set_fault(status(code, Some("7"), None));
        let got = post(node.addr(), "/api/chat", chat(true)).await;
        assert_eq!((got.status, got.header("retry-after")), (code, Some("7")));
        assert!(got.json()["error"].is_string());
        let got = post(node.addr(), "/v1/chat/completions", chat(true)).await;
        assert!(got.json()["error"]["message"].is_string());
    }
    node.set_fault(status(429, Some("soon"), Some("slow down")));
    let got = get(node.addr(), "/api/tags").await;
    assert_eq!((got.text(), got.header("retry-after")), ("slow down", Some("soon")));
    node.set_fault(Fault::Busy503);
    let got = post(node.addr(), "/api/chat", chat(true)).await;
    let words = "server busy, please try again.  maximum pending requests exceeded";
    assert_eq!((got.status, got.json()), (503, json!({ "error": words })));
    node.set_fault(Fault::Oom500);
    let got = post(node.addr(), "/api/chat", chat(true)).await;
    assert_eq!(got.status, 500);
    assert!(got.text().contains("out of memory"));
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for() {
    let node = node().await;
    node.set_fault(Fault::Html200);
    let got = get(node.addr(), "/v1/models").await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(got.text().starts_with("<!DOCTYPE html>"));
    node.set_fault(Fault::EmptyOk);
    let got = post(node.addr(), "/api/chat", chat(false)).await;
    assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, Some("0"), 0));
    node.set_fault(Fault::Redirect { to: "http://192.0.2.1/".into() });
    let got = post(node.addr(), "/api/chat", chat(false)).await;
    assert_eq!((got.status, got.header("location")), (307, Some("http://192.0.2.1/")));
    node.set_fault(Fault::EmptyChoices);
    let got = post(node.addr(), "/v1/chat/completions", chat(false)).await;
    assert_eq!((got.status, &got.json()["choices"]), (200, &json!([])));
    let got = streamed(&node, "/v1/chat/completions").await;
    assert_eq!(got.data()[0]["choices"], json!([]));
    let got = post(node.addr(), "/v1/messages", chat(false)).await;
    assert_eq!(got.json()["content"], json!([]));
}

#[tokio::test]
async fn a_huge_line_never_ends() {
    let node = node().await;
    node.set_fault(Fault::HugeLine { bytes: 1 << 20 });
    for path in STREAMS {
        let got = streamed(&node, path).await;
        let last = got.body.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        assert!(got.body.len() - last > 1 << 20, "{path}");
        assert!(!String::from_utf8_lossy(&got.body).contains(marker(path)), "{path}");
    }
}

#[tokio::test]
async fn rare_forms_of_events_and_a_bomb() {
    let node = node().await;
    let good = streamed(&node, "/v1/chat/completions").await;
    node.set_fault(Fault::OddSse);
    let got = streamed(&node, "/v1/chat/completions").await;
    let text = got.text().strip_prefix('\u{feff}').unwrap();
    assert!(text.starts_with(": comment 0\r\nid: 0\r\nretry: 3000\r\ndata:{"));
    let data = |text: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(data(text), data(good.text()));
    node.set_fault(Fault::GzipBomb { mib: 50 });
    let got = get(node.addr(), "/v1/models").await;
    assert_eq!((got.status, got.header("content-encoding")), (200, Some("gzip")));
    assert!(got.whole && got.body.starts_with(&[0x1f, 0x8b]) && got.body.len() < 400_000);
}

#[tokio::test]
async fn rules_have_an_aim_and_a_count() {
    let node = node().await;
    node.set_fault(FaultRule::from(Fault::Html200).on(On::Generation).times(2));
    node.add_fault(FaultRule::from(Fault::EmptyOk).on(On::Path("/api/ps".into())));
    assert_eq!(
        get(node.addr(), "/api/tags").await.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(get(node.addr(), "/api/ps").await.body.len(), 0);
    for kind in ["text/html; charset=utf-8", "text/html; charset=utf-8", "application/json; charset=utf-8"] {
        let got = post(node.addr(), "/api/chat", chat(false)).await;
        assert_eq!(got.header("content-type"), Some(kind));
    }
    node.set_fault(FaultRule::from(Fault::EmptyOk).on(On::Probes));
    assert_eq!(send(node.addr(), &request("GET", "/", "", "")).await.body.len(), 0);
    assert_ne!(post(node.addr(), "/api/show", json!({ "model": "m:1" })).await.body.len(), 0);
}

#[test]
fn rules_from_json() {
    let rule =
        FaultRule::from_json(br#"{"kind":"rst","after_bytes":9,"on":"generation","times":3}"#).unwrap();
    assert_eq!(rule, FaultRule::from(Fault::Rst { after_bytes: 9 }).on(On::Generation).times(3));
    let rule = FaultRule::from_json(br#"{"kind":"silent","ms":null,"on":{"path":"/x"}}"#).unwrap();
    assert_eq!(rule, FaultRule::from(Fault::Silent { ms: None }).on(On::Path("/x".into())));
    let plain = FaultRule::from_json(br#"{"kind":"status","status":503}"#).unwrap();
    assert_eq!(plain.fault, Fault::Status { status: 503, retry_after: None, body: None });
    for wrong in
        [&br#"{"kind":"tired"}"#[..], br#"{"kind":"rst","after":9}"#, br#"{"kind":"ok","on":"monday"}"#]
    {
        assert!(FaultRule::from_json(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
    }
}
