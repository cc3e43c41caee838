//! Nodes that answer probes and fail at work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, PATIENCE, config};
use reqwest::StatusCode;
use serde_json::json;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

fn posts(node: &SimNode) -> usize {
    node.seen().iter().filter(|seen| seen.method == "POST" && seen.path.contains("chat")).count()
}

/// Who answers a conversation that nobody has had before.
async fn answered_by(gateway: &Gateway) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let words = format!("conversation {}", NEXT.fetch_add(1, Relaxed));
    let body = json!({ "model": "m", "stream": false, "messages": [{ "role": "user", "content": words }] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers()["x-lamplighter-node"].to_str().unwrap().to_owned()
}

fn broken() -> FaultRule {
    FaultRule::from(Fault::Status { status: 500, retry_after: None, body: None }).on(On::Generation)
}

/// A bad node that comes first, with many places, and a good one.
async fn bad_and_good(places: u32) -> (SimNode, SimNode, Gateway) {
    let model = || SimModel::new("m").loaded(true);
    let bad = SimNode::start(Profile::ollama("bad").model(model()).parallel(8)).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(model()).parallel(8)).await.unwrap();
    let more = format!("priority = 9\nmax_concurrent = {places}");
    let gateway = Gateway::start(&config(&[(&bad, &more), (&good, "max_concurrent = 8")], "")).await;
    gateway.until_up(2).await;
    (bad, good, gateway)
}

/// R13: 500 on every generation while probes are fine. After three it goes to the end of the line; then a single request is
/// its trial, and it comes back slowly.
#[tokio::test(flavor = "multi_thread")]
async fn r13_three_failures_at_work_and_a_trial() {
    let (bad, _good, gateway) = bad_and_good(8).await;
    bad.set_fault(broken());
    for _ in 0..3 {
        assert_eq!(answered_by(&gateway).await, "good", "nobody sees the failure");
    }
    let told = gateway.until(|snapshot| snapshot.nodes[0].state == State::Degraded).await;
    assert!(told.nodes[0].why.as_deref().unwrap().contains("it answered 500"), "{:?}", told.nodes[0]);
    for _ in 0..10 {
        assert_eq!(answered_by(&gateway).await, "good");
    }
    assert_eq!(posts(&bad), 3, "the fourth request went past it");

    // On trial it answers late: of many requests at the same time one is the trial, all others go elsewhere.
    let slow = Fault::Silent { ms: Some(1_000) };
    bad.set_fault(FaultRule::from(slow).on(On::Generation));
    let deadline = Instant::now() + PATIENCE;
    while posts(&bad) == 3 {
        assert!(Instant::now() < deadline, "no trial");
        let many = (0..4).map(|_| answered_by(&gateway));
        let trials = join_all(many).await.into_iter().filter(|node| node == "bad").count();
        assert!(trials <= 1, "{trials} at once");
    }
    assert_eq!(posts(&bad), 4, "one request");
    bad.clear_fault();
    gateway.until(|snapshot| snapshot.nodes[0].state == State::Up).await;
    assert_eq!(answered_by(&gateway).await, "bad", "back at its place");
}

/// A node that fails at once always has a free place, and would draw every request (Olla #144): each failure counts as load for a
/// while.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_fast_draws_no_requests() {
    let (bad, _good, gateway) = bad_and_good(1).await;
    bad.set_fault(broken().times(1));
    for _ in 0..5 {
        assert_eq!(answered_by(&gateway).await, "good");
    }
    assert_eq!(posts(&bad), 1, "its only place counts as taken");
    assert_eq!(gateway.node("bad").await.state, State::Up, "one failure is no reason for more");
    let deadline = Instant::now() + PATIENCE;
    while answered_by(&gateway).await != "bad" {
        assert!(Instant::now() < deadline, "it does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// With nobody else it is asked all the same: better a chance than a certain no.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_one_is_asked_all_the_same() {
    let model = SimModel::new("m").loaded(true);
    let only = SimNode::start(Profile::ollama("only").model(model)).await.unwrap();
    let gateway = Gateway::over(&[&only], "").await;
    only.set_fault(broken());
    for _ in 0..4 {
        let answer = gateway.chat("m", false).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "its own error comes through");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.until(|snapshot| snapshot.nodes[0].state == State::Degraded).await;
    only.clear_fault();
    assert_eq!(answered_by(&gateway).await, "only");
    gateway.until(|snapshot| snapshot.nodes[0].state == State::Up).await;
}

/// R10: being busy is no fault. For a second others go first; then it is at its place.
#[tokio::test(flavor = "multi_thread")]
async fn r10_busy_is_no_fault() {
    let (busy, _good, gateway) = bad_and_good(8).await;
    busy.set_fault(FaultRule::from(Fault::Busy503).on(On::Generation));
    let began = Instant::now();
    let mut asked = 0;
    while posts(&busy) < 4 {
        assert_eq!(answered_by(&gateway).await, "good");
        asked += 1;
        assert!(began.elapsed() < PATIENCE, "it does not keep its place");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2) && asked > 4, "{asked} in {:?}", began.elapsed());
    assert_eq!(gateway.node("bad").await.state, State::Up);
}
