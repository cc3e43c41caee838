//! A client that waits long hears that we are still there, in its own dialect, and then gets the whole answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Fault, Profile, SimModel, SimNode};
use lamplighter_tests::{
    clients::{Library, Python},
    house::Gateway,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longer than the silence after which a client hears something.
const PREFILL_MS: u64 = 12_500;

async fn thoughtful() -> SimNode {
    let profile = Profile::ollama("nas").model(SimModel::new("m").loaded(true)).parallel(16);
    SimNode::start(profile.ttft_ms(PREFILL_MS)).await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn each_dialect_is_kept_alive_in_its_own_words() {
    let nas = thoughtful().await;
    let gateway = Gateway::over(&[&nas], "max_concurrent = 16").await;
    let hi = json!([{ "role": "user", "content": "hi" }]);
    let chat = json!({ "model": "m", "stream": true, "messages": hi });
    let message = json!({ "model": "m", "stream": true, "max_tokens": 64, "messages": hi });
    let plain = json!({ "model": "m", "messages": hi });
    let cases = [
        ("/v1/chat/completions", chat.clone(), ": still here\n", "data: [DONE]\n\n"),
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
async fn silence_in_the_middle_and_an_error_behind_it() {
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

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_bear_it() {
    let Some(python) = Python::or_skip("the_official_clients_bear_it") else { return };
    let nas = thoughtful().await;
    let gateway = Gateway::over(&[&nas], "max_concurrent = 16").await;
    let (openai, anthropic, ollama) = tokio::join!(
        python.run(Library::Openai, &gateway.url, "m", &["--calls", "chat_stream"]),
        python.run(Library::Anthropic, &gateway.url, "m", &["--calls", "message_stream"]),
        python.run(Library::Ollama, &gateway.url, "m", &["--calls", "chat_stream"]),
    );
    for (report, call) in [(&openai, "chat_stream"), (&anthropic, "message_stream"), (&ollama, "chat_stream")]
    {
        let call = report.call(call);
        assert!(call.ok && call.text.starts_with("nas answers with m:"), "{call:?}");
    }
}
