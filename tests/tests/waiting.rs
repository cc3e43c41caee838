//! The waiting room: who waits, in which order, and how many.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use lamplighter_core::snapshot::RequestStage;
use lamplighter_simnode::{Fault, FaultRule, On, Outcome, Profile, Seen, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How a request ended: its status, the node, its answer.
type End = (u16, String, String);

/// Asks under a key of its own: each key is another client.
fn ask(gateway: &Gateway, path: &str, model: &str, key: &str, id: &str) -> JoinHandle<End> {
    let body = json!({ "model": model, "stream": false, "max_tokens": 50, "input": "hi",
        "messages": [{ "role": "user", "content": "hi" }] });
    let request = gateway.post(path, &body).bearer_auth(key).header("x-request-id", id);
    tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        let node = answer.headers().get("x-lamplighter-node").map(|node| node.to_str().unwrap().to_owned());
        (answer.status().as_u16(), node.unwrap_or_default(), answer.text().await.unwrap())
    })
}

fn chat(gateway: &Gateway, key: &str, id: &str) -> JoinHandle<End> {
    ask(gateway, "/v1/chat/completions", "m", key, id)
}

fn posts(node: &SimNode) -> Vec<Seen> {
    node.seen().into_iter().filter(|seen| seen.method == "POST").collect()
}

async fn node(name: &str) -> SimNode {
    let profile = Profile::ollama(name).model(SimModel::new("m").loaded(true)).ttft_ms(60).parallel(16);
    SimNode::start(profile).await.unwrap()
}

/// Somebody on each of the nodes who never gets an answer, and holds the only place.
async fn held(gateway: &Gateway, nodes: &[&SimNode]) -> Vec<JoinHandle<End>> {
    let mut holders = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        node.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(1));
        let id = format!("holder-{}", node.name());
        holders.push(chat(gateway, "holder", &id));
        gateway.until(|s| s.nodes.iter().filter(|node| node.active == 1).count() == at + 1).await;
        while posts(node).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    holders
}

/// First come, first served for one client, one after the other; who waits is shown with its position.
#[tokio::test(flavor = "multi_thread")]
async fn first_come_first_served() {
    let node = node("node").await;
    let gateway = Gateway::over(&[&node], "").await;
    let holders = held(&gateway, &[&node]).await;
    let (mut waiting, mut ids) = (Vec::new(), Vec::new());
    for at in 0..8u32 {
        let id = format!("waiter-{at}");
        waiting.push(chat(&gateway, "ann", &id));
        ids.push(id.clone());
        let shown = gateway.until(|s| s.requests.iter().any(|r| r.id == id && r.ahead.is_some())).await;
        let request = shown.requests.iter().find(|request| request.id == id).unwrap();
        assert_eq!((request.stage, request.ahead), (RequestStage::Queued, Some(at)));
        assert_eq!(shown.nodes[0].waiting, at + 1);
    }
    holders.iter().for_each(JoinHandle::abort);
    // The line moves, and so do the positions that are shown.
    let shown = gateway.until(|s| s.requests.iter().any(|r| r.id == "waiter-7" && r.ahead < Some(7))).await;
    assert!(shown.requests.iter().all(|request| request.id != "holder-node"));
    for end in join_all(waiting).await {
        assert_eq!(end.unwrap().0, 200);
    }
    let served = posts(&node);
    let order: Vec<_> = served.iter().skip(1).map(|seen| seen.request_id().unwrap().to_owned()).collect();
    assert_eq!(order, ids);
    for pair in served[1..].windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= Duration::from_millis(60), "never two at once: {apart:?}");
    }
}

/// When 64 wait, the next one is told at once, in its own dialect, when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn the_65th_waiter_gets_429() {
    let node = node("node").await;
    let gateway = Gateway::over(&[&node], "").await;
    let holders = held(&gateway, &[&node]).await;
    let mut waiting: Vec<_> =
        (0..64).map(|at| chat(&gateway, &format!("client-{at}"), &format!("waiter-{at}"))).collect();
    gateway.until(|s| s.nodes[0].waiting == 64).await;
    for (path, kind) in [
        ("/v1/chat/completions", "rate_limit_error"),
        ("/v1/responses", "rate_limit_error"),
        ("/v1/messages", "rate_limit_error"),
        ("/api/chat", ""),
    ] {
        let body = json!({ "model": "m", "stream": true, "max_tokens": 5, "input": "hi", "messages": [] });
        let began = Instant::now();
        let answer = gateway.post(path, &body).bearer_auth("ann").send().await.unwrap();
        assert_eq!(answer.status(), 429, "{path}");
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
        let after: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&after));
        let body: Value = answer.json().await.unwrap();
        let message = match path {
            "/api/chat" => &body["error"],
            "/v1/messages" => {
                assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
                &body["error"]["message"]
            }
            _ => {
                assert_eq!(
                    (&body["error"]["type"], &body["error"]["code"]),
                    (&json!(kind), &json!("waiting_room_full"))
                );
                &body["error"]["message"]
            }
        };
        assert!(message.as_str().unwrap().contains("64 requests are waiting for node"), "{message}");
    }
    assert_eq!(posts(&node).len(), 1, "the node heard of the first one only");
    // One leaves: there is room for one.
    waiting.pop().unwrap().abort();
    gateway.until(|s| s.nodes[0].waiting == 63).await;
    waiting.push(chat(&gateway, "ann", "late"));
    gateway.until(|s| s.nodes[0].waiting == 64).await;
    assert_eq!(chat(&gateway, "ann", "too-late").await.unwrap().0, 429);
    waiting.iter().chain(&holders).for_each(JoinHandle::abort);
    gateway.until(|s| s.requests.is_empty() && s.nodes[0].active == 0 && s.nodes[0].waiting == 0).await;
    assert_eq!(chat(&gateway, "ann", "after").await.unwrap().0, 200);
}

/// A client that has a node to itself is never held: the engine queues by itself, and we must not be slower than no gateway.
#[tokio::test(flavor = "multi_thread")]
async fn alone_on_one_node_nobody_is_held() {
    let node = node("node").await;
    let gateway = Gateway::over(&[&node], "").await;
    node.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(5));
    let alone: Vec<_> = (0..5).map(|at| chat(&gateway, "ann", &format!("ann-{at}"))).collect();
    let shown = gateway.until(|s| s.nodes[0].active == 5).await;
    assert_eq!((shown.nodes[0].slots, shown.nodes[0].waiting), (1, 0));
    // Somebody else comes: then the places count, for both.
    let bob = chat(&gateway, "bob", "bob");
    gateway.until(|s| s.nodes[0].waiting == 1).await;
    let sixth = chat(&gateway, "ann", "ann-6");
    gateway.until(|s| s.nodes[0].waiting == 2).await;
    alone.iter().for_each(JoinHandle::abort);
    assert_eq!((bob.await.unwrap().0, sixth.await.unwrap().0), (200, 200));
    let ids: Vec<_> = posts(&node).iter().map(|seen| seen.request_id().unwrap().to_owned()).collect();
    assert_eq!(ids[5..], ["bob", "ann-6"]);
}

/// Embeddings have four places of their own: a generation does not hold them up, and they do not pass four.
#[tokio::test(flavor = "multi_thread")]
async fn embeddings_have_four_places_of_their_own() {
    let profile = Profile::ollama("node").parallel(16).model(SimModel::new("m").loaded(true));
    let node = SimNode::start(profile.model(SimModel::new("e").capabilities(["embedding"]))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    let holders = held(&gateway, &[&node]).await;
    let waiter = chat(&gateway, "bob", "waiter");
    gateway.until(|s| s.nodes[0].waiting == 1).await;
    node.set_fault(FaultRule::from(Fault::Silent { ms: Some(700) }).on(On::Path("/api/embed".into())));
    let embed = |at: usize| ask(&gateway, "/api/embed", "e", ["ann", "bob"][at % 2], &format!("embed-{at}"));
    let embeddings: Vec<_> = (0..6).map(embed).collect();
    let shown = gateway.until(|s| s.nodes[0].active == 5 && s.nodes[0].waiting == 3).await;
    let sent = shown.requests.iter().filter(|r| r.id.starts_with("embed") && r.stage == RequestStage::Sent);
    assert_eq!(sent.count(), 4);
    let at_node = || {
        posts(&node).iter().filter(|seen| seen.path == "/api/embed" && seen.outcome == Outcome::Open).count()
    };
    let mut most = 0;
    while !embeddings.iter().all(JoinHandle::is_finished) {
        most = most.max(at_node());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most, 4, "at once at the node");
    for end in join_all(embeddings).await {
        assert_eq!(end.unwrap().0, 200);
    }
    assert!(!waiter.is_finished(), "the generation still waits for its place");
    holders.iter().for_each(JoinHandle::abort);
    assert_eq!(waiter.await.unwrap().0, 200);
}

/// Each loaded model has places of its own.
#[tokio::test(flavor = "multi_thread")]
async fn places_are_counted_per_model() {
    let profile = Profile::ollama("node").parallel(16).model(SimModel::new("m").loaded(true));
    let node = SimNode::start(profile.model(SimModel::new("n").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    let holders = held(&gateway, &[&node]).await;
    let other = ask(&gateway, "/v1/chat/completions", "n", "bob", "other");
    assert_eq!(other.await.unwrap().0, 200);
    let same = chat(&gateway, "bob", "same");
    gateway.until(|s| s.nodes[0].waiting == 1).await;
    holders.iter().for_each(JoinHandle::abort);
    assert_eq!(same.await.unwrap().0, 200);
}

/// Who waits takes the first place that becomes free on any of the nodes, also on one that has just come back.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_that_becomes_free_will_do() {
    let (one, two) = (node("one").await, node("two").await);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let third = format!("[[node]]\nname = \"three\"\nurl = \"http://127.0.0.1:{port}\"\n");
    let gateway = Gateway::start(&config(&[(&one, ""), (&two, "")], &third)).await;
    gateway.until_up(2).await;
    let holders = held(&gateway, &[&one, &two]).await;
    let first = chat(&gateway, "bob", "first");
    gateway.until(|s| s.requests.iter().any(|r| r.id == "first" && r.ahead == Some(0))).await;
    holders[1].abort();
    assert_eq!(first.await.unwrap().1, "two");

    two.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(1));
    let again = chat(&gateway, "ann", "again");
    gateway.until(|s| s.nodes[1].active == 1).await;
    let second = chat(&gateway, "bob", "second");
    gateway.until(|s| s.requests.iter().any(|r| r.id == "second" && r.ahead.is_some())).await;
    let profile = Profile::ollama("three").model(SimModel::new("m")).port(port);
    let _three = SimNode::start(profile).await.unwrap();
    assert_eq!(second.await.unwrap().1, "three");
    again.abort();
}
