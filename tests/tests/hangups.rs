//! Clients that hang up: the node is told at once, and the place is free again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::snapshot::RequestStage;
use lamplighter_simnode::{Outcome, Profile, Seen, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, PATIENCE},
    peers::Wire,
};
use std::time::{Duration, Instant};

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

/// Before the first byte, in each dialect, streamed or not.
#[tokio::test(flavor = "multi_thread")]
async fn while_waiting_for_the_first_byte() {
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

/// In the middle of a stream whose next event is far away.
#[tokio::test(flavor = "multi_thread")]
async fn while_streaming() {
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

/// In the line: the node never hears of it, and the next one moves up.
#[tokio::test(flavor = "multi_thread")]
async fn while_queued() {
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
