//! Faults of the wire itself: resets, cut bodies, contradictory framing, idle connections.

use crate::client::{End, Got, get, post, read_to_end, request, send, send_within};
use lamplighter_simnode::{Fault, FaultRule, On, Outcome, Profile, SimModel, SimNode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn node() -> SimNode {
    let model = SimModel::new("m:1").loaded(true);
    SimNode::start(Profile::ollama("nas").tokens(6).parallel(8).model(model)).await.unwrap()
}

fn chat(stream: bool) -> Value {
    json!({ "model": "m:1", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
}

async fn good(node: &SimNode) -> Got {
    node.clear_fault();
    post(node.addr(), "/api/chat", chat(true)).await
}

async fn with(node: &SimNode, fault: Fault) -> Got {
    node.set_fault(fault);
    post(node.addr(), "/api/chat", chat(true)).await
}

#[tokio::test]
async fn slices_change_no_byte() {
    let node = node().await;
    let good = good(&node).await;
    let got = with(&node, Fault::Slicer { bytes: 1 }).await;
    assert_eq!((got.whole, got.body == good.body), (true, true));
    // The first byte comes alone.
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    stream.write_all(request("GET", "/api/tags", "", "").as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    let first = stream.read(&mut buffer).await.unwrap();
    assert!(first < 200, "{first} bytes at once");
    assert_eq!(node.seen()[1].outcome, Outcome::Answered);
}

#[tokio::test]
async fn a_reset_comes_after_so_many_bytes() {
    let node = node().await;
    let good = good(&node).await;
    let got = with(&node, Fault::Rst { after_bytes: 300 }).await;
    assert_eq!((got.end, got.whole), (End::Reset, false));
    // A reset may overtake what was sent; what is there is right.
    assert!(got.body.len() <= 300 && good.body.starts_with(&got.body));
    assert_eq!(node.last_sent().unwrap().len(), 300);
    assert_eq!(node.seen().last().unwrap().outcome, Outcome::Broken);
    let got = with(&node, Fault::Rst { after_bytes: 1_000_000 }).await;
    assert_eq!((got.end, got.whole), (End::Reset, false));
}

#[tokio::test]
async fn bodies_are_cut() {
    let node = node().await;
    let good = good(&node).await;
    let got = with(&node, Fault::TruncChunk).await;
    assert_eq!((got.status, got.whole, got.end), (200, false, End::Closed));
    assert!(!got.body.is_empty() && good.body.starts_with(&got.body));
    let got = with(&node, Fault::TruncContentLength).await;
    assert_eq!(
        (got.header("content-length"), got.whole),
        (Some(good.body.len().to_string().as_str()), false)
    );
    assert_eq!(got.body, good.body[..good.body.len() / 2]);
    assert_eq!(got.end, End::Closed);
}

#[tokio::test]
async fn heads_of_unusual_size() {
    let node = node().await;
    let good = good(&node).await;
    let got = with(&node, Fault::HugeHeader { bytes: 100_000 }).await;
    assert_eq!((got.header("x-huge").unwrap().len(), got.body == good.body), (100_000, true));
    let got = with(&node, Fault::ManyHeaders { count: 500 }).await;
    assert_eq!((got.head.lines().count() > 500, got.body == good.body), (true, true));
}

#[tokio::test]
async fn interim_answers_in_a_flood() {
    let node = node().await;
    node.set_fault(Fault::Flood1xx { count: Some(20) });
    let got = get(node.addr(), "/api/version").await;
    let all = format!("{}\r\n\r\n{}", got.head, String::from_utf8_lossy(&got.wire));
    assert_eq!(all.matches("HTTP/1.1 103 Early Hints").count(), 20);
    assert!(all.ends_with("{\"version\":\"0.30.0\"}"));
    node.set_fault(Fault::Flood1xx { count: None });
    let endless = send_within(node.addr(), &request("GET", "/", "", ""), Duration::from_millis(100)).await;
    assert_eq!(endless.end, End::Quiet);
    assert!(!String::from_utf8_lossy(&endless.wire).contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn framing_that_contradicts_itself() {
    let node = node().await;
    let got = with(&node, Fault::ClTe).await;
    assert_eq!((got.header("content-length"), got.header("transfer-encoding")), (Some("7"), Some("chunked")));
    node.set_fault(Fault::HugeChunk);
    let ask = request("POST", "/api/chat", "", &chat(true).to_string());
    let got = send_within(node.addr(), &ask, Duration::from_millis(150)).await;
    assert!(String::from_utf8_lossy(&got.wire).contains("\r\n10000000000000005\r\n"));
    let got = with(&node, Fault::BadStatus).await;
    assert!(got.head.starts_with("HTTP/1.1 2OO Nearly\r\n"));
}

#[tokio::test]
async fn bytes_after_the_end() {
    let node = node().await;
    node.set_fault(Fault::ExtraRaw);
    let ask = request("POST", "/api/chat", "", &chat(true).to_string());
    let got = send_within(node.addr(), &ask, Duration::from_millis(150)).await;
    let wire = String::from_utf8_lossy(&got.wire).into_owned();
    let (_, after) = wire.split_once("\r\n0\r\n\r\n").unwrap();
    assert!(after.starts_with("HTTP/1.1 200 OK\r\n") && after.ends_with("extra"));
    assert_eq!(got.end, End::Quiet, "the connection stays open, as a trap");
}

#[tokio::test]
async fn death_before_the_first_byte() {
    let node = node().await;
    node.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).times(1));
    let got = send(node.addr(), &request("POST", "/api/chat", "", &chat(true).to_string())).await;
    assert_eq!((got.head.as_str(), got.end), ("", End::Closed));
    assert_eq!(node.seen()[0].body_len, chat(true).to_string().len(), "the request was read");
    assert_eq!(post(node.addr(), "/api/chat", chat(true)).await.status, 200);
}

#[tokio::test]
async fn idle_connections_are_closed_but_not_busy_ones() {
    let model = SimModel::new("m:1").loaded(true);
    let profile = Profile::ollama("nas").tokens(6).tok_s(20.0).model(model);
    let node = SimNode::start(profile).await.unwrap();
    node.set_fault(Fault::KeepAlive { seconds: 0.1 });
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    let ask = request("POST", "/api/chat", "", &chat(true).to_string()).replace("Connection: close\r\n", "");
    let start = Instant::now();
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let end = read_to_end(&mut stream, &mut all, Duration::from_secs(3)).await;
    let got = Got::read(&all, end);
    assert_eq!((got.whole, got.end), (true, End::Closed), "250 ms of answer outlive 100 ms of idle time");
    assert!(start.elapsed() >= Duration::from_millis(350));
    // A rule set later reaches connections that are open already.
    node.clear_fault();
    let mut stream = TcpStream::connect(node.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    assert_eq!(read_to_end(&mut stream, &mut all, Duration::from_millis(250)).await, End::Quiet);
    node.set_fault(FaultRule::from(Fault::KeepAlive { seconds: 0.1 }).on(On::Generation));
    assert_eq!(read_to_end(&mut stream, &mut all, Duration::from_secs(3)).await, End::Closed);
}

#[tokio::test]
async fn whole_answers_are_cut_too() {
    let node = node().await;
    for fault in [Fault::TruncChunk, Fault::TruncContentLength, Fault::Rst { after_bytes: 20 }] {
        node.set_fault(fault.clone());
        let got = get(node.addr(), "/api/tags").await;
        assert!(!got.whole && got.body.len() < 500, "{fault:?}");
    }
}
