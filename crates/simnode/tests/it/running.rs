//! Slots, memory, records and the ends of a node.

use crate::client::{End, Got, get, post, read_to_end, request, send};
use lamplighter_simnode::{Outcome, Profile, SimModel, SimNode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn chat(model: &str) -> Value {
    json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "hi" }] })
}

/// Opens a request and leaves its answer unread.
async fn open(addr: SocketAddr, model: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let ask = request("POST", "/v1/chat/completions", "", &chat(model).to_string());
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream
}

/// Waits until this holds; fails after two seconds.
async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(2), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn one_slot_is_a_queue() {
    let model = SimModel::new("m:1").loaded(true);
    let profile = Profile::ollama("nas").tokens(4).ttft_ms(500).max_queue(Some(1)).model(model);
    let node = SimNode::start(profile).await.unwrap();
    let start = Instant::now();
    let first = open(node.addr(), "m:1").await;
    soon("the first generation", || node.stats().generations_started == 1).await;
    let mut second = open(node.addr(), "m:1").await;
    soon("the second request", || node.stats().in_flight == 2).await;
    let third = post(node.addr(), "/api/chat", chat("m:1")).await;
    let words = "server busy, please try again.  maximum pending requests exceeded";
    assert_eq!((third.status, third.json()), (503, json!({ "error": words })));
    assert_eq!(node.stats().generations_started, 1, "the second waits");
    let mut all = Vec::new();
    read_to_end(&mut second, &mut all, Duration::from_secs(3)).await;
    assert!(start.elapsed() >= Duration::from_millis(1000), "one after the other");
    drop(first);
    let stats = node.stats();
    assert_eq!((stats.generations_started, stats.in_flight, stats.in_flight_peak), (2, 0, 3));
}

#[tokio::test]
async fn a_cold_load_is_silence_even_of_the_head() {
    let profile = Profile::ollama("nas").tokens(2).load_ms(150).model(SimModel::new("m:1"));
    let node = SimNode::start(profile).await.unwrap();
    let start = Instant::now();
    let mut stream = open(node.addr(), "m:1").await;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(node.loaded(), ["m:1"]);
    let again = post(node.addr(), "/api/chat", chat("m:1")).await;
    assert_eq!(again.lines().last().unwrap().get("load_duration"), None, "it was loaded");
    node.unload("m:1");
    let cold = post(node.addr(), "/api/chat", chat("m:1")).await;
    assert!(cold.lines().last().unwrap()["load_duration"].as_u64().unwrap() > 100_000_000);
}

#[tokio::test]
async fn memory_is_limited() {
    let models = ["a:1", "b:1"].map(|name| SimModel::new(name).size(60));
    let mut profile = Profile::ollama("nas").vram(100).ttft_ms(400);
    profile.models = models.into_iter().chain([SimModel::new("huge:1").size(400)]).collect();
    let node = SimNode::start(profile).await.unwrap();
    post(node.addr(), "/api/chat", chat("a:1")).await;
    post(node.addr(), "/api/chat", chat("b:1")).await;
    assert_eq!(node.loaded(), ["b:1"], "no room for both");
    // While it is busy it stays, and the other one waits.
    let busy = open(node.addr(), "b:1").await;
    soon("the generation", || node.stats().generations_started == 3).await;
    assert!(!node.load("a:1"));
    let start = Instant::now();
    post(node.addr(), "/api/chat", chat("a:1")).await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(node.loaded(), ["a:1"]);
    drop(busy);
    post(node.addr(), "/api/generate", json!({ "model": "huge:1" })).await;
    let ps = get(node.addr(), "/api/ps").await.json();
    assert_eq!(
        (&ps["models"][0]["size"], &ps["models"][0]["size_vram"]),
        (&json!(400), &json!(100)),
        "it spills"
    );
}

#[tokio::test]
async fn keep_alive_runs_out() {
    let profile = Profile::ollama("nas").model(SimModel::new("m:1"));
    let node = SimNode::start(profile).await.unwrap();
    let mut body = chat("m:1");
    body["keep_alive"] = json!("-1s");
    post(node.addr(), "/api/chat", body.clone()).await;
    assert_eq!(node.loaded(), ["m:1"]);
    body["keep_alive"] = json!(0);
    post(node.addr(), "/api/chat", body).await;
    assert_eq!(node.loaded(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot() {
    let model = SimModel::new("m:1").loaded(true);
    let node = SimNode::start(Profile::ollama("nas").tokens(500).tok_s(50.0).model(model)).await.unwrap();
    let mut stream = open(node.addr(), "m:1").await;
    let mut some = [0; 300];
    stream.read_exact(&mut some).await.unwrap();
    let waiting = open(node.addr(), "m:1").await;
    soon("the second request", || node.stats().in_flight == 2).await;
    drop(stream);
    soon("the second generation", || node.stats().generations_started == 2).await;
    soon("the record", || matches!(node.seen()[0].outcome, Outcome::ClientGone { .. })).await;
    let seen = node.seen();
    assert!(seen[0].sent_len >= 300 && seen[0].status == Some(200));
    drop(waiting);
    soon("the end of all", || node.stats().in_flight == 0).await;
    assert_eq!(node.stats().generations_cancelled, 2);
}

#[tokio::test]
async fn what_was_sent_is_known_to_the_byte() {
    let model = SimModel::new("m:1").loaded(true);
    let node = SimNode::start(Profile::ollama("nas").tokens(9).model(model)).await.unwrap();
    let body = chat("m:1").to_string();
    for (id, path) in
        [("one", "/api/chat"), ("two", "/v1/chat/completions"), ("three", "/v1/chat/completions")]
    {
        let got = send(node.addr(), &request("POST", path, &format!("X-Request-Id: {id}\r\n"), &body)).await;
        assert_eq!(node.sent(id).unwrap(), got.body);
        assert_eq!(node.last_sent().unwrap(), got.body);
    }
    assert_eq!(node.sent("two"), node.sent("three"), "equal requests get equal bytes");
    assert_eq!(node.sent("four"), None);
    let seen = node.seen();
    assert_eq!(
        (seen[1].path.as_str(), seen[1].body.as_ref(), seen[1].request_id()),
        ("/v1/chat/completions", body.as_bytes(), Some("two"))
    );
    assert_eq!(
        (seen[1].outcome, seen[1].sent_len),
        (Outcome::Answered, node.sent_seq(1).unwrap().len() as u64)
    );
    assert_eq!(seen[1].sent_sha256, seen[2].sent_sha256);
    assert_eq!(node.stats().paths["/v1/chat/completions"], 2);
}

#[tokio::test]
async fn nothing_is_kept_when_it_should_not_be() {
    let node = SimNode::start(Profile::openai("fast").tokens(1).record(false).model(SimModel::new("m")))
        .await
        .unwrap();
    let body = json!({ "model": "m", "messages": [] });
    assert_eq!(post(node.addr(), "/v1/chat/completions", body).await.status, 200);
    assert_eq!(
        (node.seen().len(), node.stats().requests_total, node.stats().generations_finished),
        (0, 1, 1)
    );
}

#[tokio::test]
async fn a_stop_lets_streams_finish_and_a_kill_does_not() {
    let profile = || Profile::ollama("nas").tokens(10).tok_s(50.0).model(SimModel::new("m:1").loaded(true));
    let node = SimNode::start(profile()).await.unwrap();
    let mut stream = open(node.addr(), "m:1").await;
    soon("the generation", || node.stats().generations_started == 1).await;
    let mut all = Vec::new();
    let (end, ()) = tokio::join!(read_to_end(&mut stream, &mut all, Duration::from_secs(3)), node.stop());
    assert!(Got::read(&all, end).text().ends_with("[DONE]\n\n"));
    assert!(TcpStream::connect(node.addr()).await.is_err(), "the listener is closed");

    let node = SimNode::start(profile()).await.unwrap();
    let mut stream = open(node.addr(), "m:1").await;
    let mut some = [0; 300];
    stream.read_exact(&mut some).await.unwrap();
    node.kill().await;
    let mut all = Vec::new();
    assert_eq!(read_to_end(&mut stream, &mut all, Duration::from_secs(3)).await, End::Reset);
    assert!(TcpStream::connect(node.addr()).await.is_err());
    assert_eq!((node.seen()[0].outcome, node.stats().in_flight), (Outcome::Killed, 0));
    // The same address serves again.
    let again = SimNode::start(profile().port(node.addr().port())).await.unwrap();
    assert_eq!(get(again.addr(), "/").await.status, 200);
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    let profile = Profile::openai("wide").tokens(5).ttft_ms(1200).parallel(2000).model(SimModel::new("m"));
    let node = SimNode::start(profile).await.unwrap();
    let addr = node.addr();
    let mut streams = JoinSet::new();
    for _ in 0..1000 {
        streams.spawn(async move {
            let mut stream = open(addr, "m").await;
            let mut all = Vec::new();
            let end = read_to_end(&mut stream, &mut all, Duration::from_secs(8)).await;
            Got::read(&all, end).body
        });
    }
    let bodies = streams.join_all().await;
    let sent = node.last_sent().unwrap();
    assert!(bodies.iter().all(|body| *body == sent));
    let stats = node.stats();
    assert_eq!((stats.generations_finished, stats.in_flight), (1000, 0));
    assert!(stats.in_flight_peak > 500, "{}", stats.in_flight_peak);
}
