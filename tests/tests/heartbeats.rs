//! A client that waits long hears that we are still there, in its own dialect, and then gets the whole answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Fault, Profile, SimModel, SimNode};
use lamplighter_tests::{
    clients::{self, Library, Python},
    house::{Gateway, config},
    peers::{Scripted, in_pieces},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longer than the silence after which a client hears something.
const PREFILL_MS: u64 = 12_500;

/// What clients are to bear.
const MINUTE_MS: u64 = 61_000;
const HALF_A_MINUTE_MS: u64 = 31_500;

async fn silent_for(ms: u64) -> SimNode {
    let profile = Profile::ollama("nas").model(SimModel::new("m").loaded(true)).parallel(16);
    SimNode::start(profile.ttft_ms(ms)).await.unwrap()
}

/// The body as it came, with the second in which each piece came.
async fn pieces(answer: reqwest::Response, began: Instant) -> Vec<(u64, String)> {
    let mut answer = answer;
    let mut pieces = vec![];
    while let Some(chunk) = answer.chunk().await.unwrap() {
        pieces.push((began.elapsed().as_secs(), String::from_utf8(chunk.to_vec()).unwrap()));
    }
    pieces
}

/// For apps that stumble over comments: a chunk with nothing in it, where the owner wants that.
#[tokio::test(flavor = "multi_thread")]
async fn r36_an_empty_delta_in_place_of_a_comment() {
    let nas = silent_for(PREFILL_MS).await;
    let text = config(&[(&nas, "max_concurrent = 16")], "");
    let text = text.replacen("[server]\n", "[server]\nsigns_of_life = \"empty-delta\"\n", 1);
    let gateway = Gateway::start(&text).await;
    gateway.until_up(1).await;
    let answer = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    let first = answer.strip_prefix("data: ").and_then(|rest| rest.lines().next()).expect("an event first");
    let first: Value = serde_json::from_str(first).unwrap();
    assert_eq!((&first["choices"][0]["delta"], &first["model"]), (&json!({}), &json!("m")), "{first}");
    assert!(!answer.contains(": still here") && answer.ends_with("data: [DONE]\n\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_each_dialect_is_kept_alive_in_its_own_words() {
    let nas = silent_for(PREFILL_MS).await;
    let gateway = Gateway::over(&[&nas], "max_concurrent = 16").await;
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let chat = json!({ "model": "m", "stream": true, "messages": hi });
    let message = json!({ "model": "m", "stream": true, "max_tokens": 64, "messages": hi });
    let plain = json!({ "model": "m", "messages": hi });
    let cases = [
        ("/v1/chat/completions", chat.clone(), ": still here\n", "data: [DONE]\n\n"),
        (
            "/v1/completions",
            json!({ "model": "m", "stream": true, "prompt": "hi" }),
            ": still here\n",
            "data: [DONE]\n\n",
        ),
        (
            "/v1/responses",
            json!({ "model": "m", "stream": true, "input": "hi" }),
            ": still here\n",
            "\"type\":\"response.completed\"",
        ),
        ("/v1/messages", message, "event: ping\ndata: {\"type\": \"ping\"}\n\n", "message_stop"),
        ("/api/chat", plain, "\"message\":{\"content\":\"\",\"role\":\"assistant\"}", "\"done\":true"),
        ("/api/generate", json!({ "model": "m", "prompt": "hi" }), "\"response\":\"\"", "\"done\":true"),
    ];
    let asked = cases.map(|(path, body, beat, end)| {
        let request = gateway.post(path, &body);
        tokio::spawn(async move {
            let began = Instant::now();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let pieces = pieces(answer, began).await;
            assert!(pieces[0].1.contains(beat) && pieces[0].0 >= 10, "{path}: {:?}", pieces[0]);
            let text: String = pieces.iter().map(|(_, piece)| piece.as_str()).collect();
            assert!(text.contains(end), "{path}: {text}");
            (path, kind, text)
        })
    });
    for case in asked {
        let (path, kind, text) = case.await.unwrap();
        let ndjson = path.starts_with("/api");
        assert_eq!(kind, if ndjson { "application/x-ndjson" } else { "text/event-stream" });
        if ndjson {
            for line in text.lines() {
                serde_json::from_str::<Value>(line).expect(line);
            }
        }
    }
}

/// Silence in the middle of an answer, and an error after the status was committed.
#[tokio::test(flavor = "multi_thread")]
async fn r36_silence_in_the_middle_and_an_error_behind_it() {
    let slow = SimNode::start(Profile::ollama("slow").model(SimModel::new("m").loaded(true)).tok_s(0.08))
        .await
        .unwrap();
    let dying =
        SimNode::start(Profile::ollama("dying").model(SimModel::new("late").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&slow, &dying], "").await;
    dying.set_fault(Fault::Silent { ms: None });
    let middle = async {
        let mut answer = gateway.chat("m", true).send().await.unwrap();
        let began = Instant::now();
        let mut seen = String::new();
        while began.elapsed() < Duration::from_secs(20) && !seen.contains(": still here") {
            seen.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(seen.contains("data: ") && seen.contains(": still here\n"), "{seen}");
    };
    let late = async {
        // It answers no probe either: after 10 s of silence it is given up, when the status may have gone down already.
        let answer = gateway.chat("late", true).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{status}: {text}");
    };
    tokio::join!(middle, late);
    gateway.until(|snapshot| snapshot.requests.is_empty()).await;
}

/// Ollama answers an order to load a model with one object, although its streams are the default: behind signs of life it is the
/// last line.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_takes_long_ends_in_its_answer() {
    let profile = Profile::ollama("nas").model(SimModel::new("m")).model(SimModel::new("n"));
    let nas = SimNode::start(profile.load_ms(PREFILL_MS)).await.unwrap();
    let gateway = Gateway::over(&[&nas], "").await;
    let orders = [
        ("/api/generate", json!({ "model": "m" }), "response"),
        ("/api/chat", json!({ "model": "n", "messages": [] }), "message"),
    ];
    for (path, body, part) in orders {
        let began = Instant::now();
        let answer = gateway.post(path, &body).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), began.elapsed() < Duration::from_millis(PREFILL_MS)),
            (200, true)
        );
        let text = answer.text().await.unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let (last, beats) = lines.split_last().expect("an answer");
        assert!(text.ends_with('\n') && beats.iter().all(|beat| beat["done"] == false), "{text}");
        assert!(!beats.is_empty() && last[part] != Value::Null, "{text}");
        assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("load")), "{text}");
    }
    let totals = gateway.until(|snapshot| snapshot.requests.is_empty()).await.totals;
    assert_eq!((totals.answered, totals.failed), (2, 0));
}

/// A node that takes no notice of `stream`, and its time: where a stream cannot end in an answer in one piece, it ends in an error
/// that says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_in_one_piece_is_told_as_such() {
    let whole = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{whole}", whole.len());
    let node = Scripted::slow(answer, Duration::ZERO, Duration::from_millis(PREFILL_MS)).await;
    let gateway = Gateway::start(&config(&[], &node.node("whole"))).await;
    gateway.until_up(1).await;
    let text = gateway.chat("m", true).send().await.unwrap().text().await.unwrap();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().expect("an event");
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "not_streamed", "{text}");
}

/// A client that leaves while it waits frees the node and the line, also after its status was committed.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_early_is_gone() {
    let nas = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true)).ttft_ms(60_000))
        .await
        .unwrap();
    let gateway = Gateway::over(&[&nas], "").await;
    let mut answer = gateway.chat("m", true).send().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some(), "a sign of life");
    assert_eq!(gateway.snapshot().await.requests.len(), 1);
    drop(answer);
    let left = Instant::now();
    gateway.until(|snapshot| snapshot.requests.is_empty() && snapshot.nodes[0].active == 0).await;
    while nas.stats().generations_cancelled == 0 {
        assert!(left.elapsed() < Duration::from_secs(5), "{:?}", nas.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gateway.snapshot().await.totals.cancelled, 1);
}

/// R36: the official clients, unchanged, in Python and JavaScript, against a minute of silence before the first token.
#[tokio::test(flavor = "multi_thread")]
async fn r36_a_minute_of_silence_is_borne_by_the_official_clients() {
    let test = "r36_a_minute_of_silence_is_borne_by_the_official_clients";
    let Some(python) = Python::or_skip(test) else { return };
    let nas = silent_for(MINUTE_MS).await;
    let gateway = Gateway::over(&[&nas], "max_concurrent = 16").await;
    let (openai, responses, anthropic, ollama, javascript) = tokio::join!(
        python.run(Library::Openai, &gateway.url, "m", &["--calls", "chat_stream"]),
        python.run(Library::Openai, &gateway.url, "m", &["--calls", "response_stream"]),
        python.run(Library::Anthropic, &gateway.url, "m", &["--calls", "message_stream"]),
        python.run(Library::Ollama, &gateway.url, "m", &["--calls", "chat_stream"]),
        clients::in_javascript(test, &gateway.url, "m"),
    );
    for (report, call) in [
        (&openai, "chat_stream"),
        (&responses, "response_stream"),
        (&anthropic, "message_stream"),
        (&ollama, "chat_stream"),
    ] {
        let call = report.call(call);
        assert!(call.ok && call.text.starts_with("nas answers with m:"), "{call:?}");
    }
    let Some(javascript) = javascript else { return };
    assert_eq!(javascript.calls.len(), 4);
    for call in &javascript.calls {
        assert!(call.ok && call.text.starts_with("nas answers with m:"), "JavaScript: {call:?}");
    }
    assert_eq!(nas.stats().generations_started, 8, "and nobody asked twice");
}

/// R36: a node's own comments stay comments: they become no `data:` and are not lost.
#[tokio::test(flavor = "multi_thread")]
async fn r36_a_nodes_comments_stay_comments() {
    let nas = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&nas], "").await;
    let pieces: [&[u8]; 6] = [
        b": OPENROUTER PROCESSING\n\n",
        b":\n\n: ping\n",
        b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n",
        b": keep-alive ",
        b"\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        b"data: [DONE]\n\n",
    ];
    nas.set_fault(in_pieces("/v1/chat/completions", &pieces));
    let got = gateway.chat("m", true).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(got, pieces.concat());
}

/// R43: an answer in one piece that takes its time. Eight minutes are half a minute here: nothing of ours counts this silence but
/// the cap of 30 minutes, and every clock that must not touch it has passed by then: pings of the silent node (1 s), idle pools
/// (4 s), heartbeats (10 s), dead peers (16 s), heads and bodies of requests (30 s).
/// (Clients have clocks of their own: undici gives up after 300 s without a head, so long answers are better streamed.)
#[tokio::test(flavor = "multi_thread")]
async fn r43_an_answer_in_one_piece_may_take_its_time() {
    let nas = silent_for(HALF_A_MINUTE_MS).await;
    let gateway = Gateway::over(&[&nas], "max_concurrent = 16").await;
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "model": "m", "stream": false, "max_tokens": 64, "messages": hi, "input": "hi" });
    let began = Instant::now();
    let asked = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"].map(|path| {
        let request = gateway.post(path, &body).header("x-request-id", path.replace('/', "-"));
        tokio::spawn(async move {
            let answer = request.send().await.unwrap();
            (path, answer.status(), answer.bytes().await.unwrap())
        })
    });
    for answer in asked {
        let (path, status, got) = answer.await.unwrap();
        assert_eq!(
            (status.as_u16(), Some(&got)),
            (200, nas.sent(&path.replace('/', "-")).as_ref()),
            "{path}"
        );
        assert!(serde_json::from_slice::<Value>(&got).is_ok(), "{path}: no sign of life in it");
    }
    assert!(began.elapsed() >= Duration::from_millis(HALF_A_MINUTE_MS));
    assert_eq!(nas.stats().generations_started, 4, "and nobody asked twice");
}

/// A node that is busy may take its time to read, too: a long prompt fills what the kernels hold, and then stands still for longer
/// than a peer that is gone is waited for (16 s).
#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_read_a_long_prompt_late() {
    let whole = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{whole}", whole.len());
    let node = Scripted::slow(answer, Duration::from_secs(20), Duration::ZERO).await;
    let gateway = Gateway::start(&config(&[], &node.node("late"))).await;
    gateway.until_up(1).await;
    let long = "word ".repeat(1 << 20);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": long }] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!((status.as_u16(), text.as_str()), (200, whole));
}
