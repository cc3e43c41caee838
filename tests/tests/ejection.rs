//! Nodes that answer probes and fail at work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_core::node::State;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use reqwest::StatusCode;
use std::time::Duration;

fn posts(node: &SimNode) -> usize {
    node.seen().iter().filter(|seen| seen.method == "POST" && seen.path.contains("chat")).count()
}

async fn answered_by(gateway: &Gateway) -> String {
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.headers()["x-lamplighter-node"].to_str().unwrap().to_owned()
}

/// R13: 500 on every generation while probes are fine. After three it goes to the end of the line, and comes back on trial.
#[tokio::test(flavor = "multi_thread")]
async fn r13_three_failures_at_work_and_a_trial() {
    let model = || SimModel::new("m").loaded(true);
    let bad = SimNode::start(Profile::ollama("bad").model(model())).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(model())).await.unwrap();
    let gateway = Gateway::start(&config(&[(&bad, "priority = 9"), (&good, "")], "")).await;
    gateway.until_up(2).await;
    bad.set_fault(
        FaultRule::from(Fault::Status { status: 500, retry_after: None, body: None }).on(On::Generation),
    );
    for _ in 0..3 {
        assert_eq!(answered_by(&gateway).await, "good", "nobody sees the failure");
    }
    let told = gateway.until(|snapshot| snapshot.nodes[0].state == State::Degraded).await;
    assert!(told.nodes[0].why.as_deref().unwrap().contains("it answered 500"), "{:?}", told.nodes[0]);
    for _ in 0..10 {
        assert_eq!(answered_by(&gateway).await, "good");
    }
    assert_eq!(posts(&bad), 3, "the fourth request went past it");

    bad.clear_fault();
    gateway.until(|snapshot| snapshot.nodes[0].state == State::Up).await;
    assert_eq!(answered_by(&gateway).await, "bad", "back at its place");
}

/// With nobody else it is asked all the same: better a chance than a certain no.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_one_is_asked_all_the_same() {
    let model = SimModel::new("m").loaded(true);
    let only = SimNode::start(Profile::ollama("only").model(model)).await.unwrap();
    let gateway = Gateway::over(&[&only], "").await;
    only.set_fault(
        FaultRule::from(Fault::Status { status: 500, retry_after: None, body: None }).on(On::Generation),
    );
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

/// R10: being busy is no fault.
#[tokio::test(flavor = "multi_thread")]
async fn r10_busy_is_no_fault() {
    let model = || SimModel::new("m").loaded(true);
    let busy = SimNode::start(Profile::ollama("busy").model(model())).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(model())).await.unwrap();
    let gateway = Gateway::start(&config(&[(&busy, "priority = 9"), (&good, "")], "")).await;
    gateway.until_up(2).await;
    busy.set_fault(FaultRule::from(Fault::Busy503).on(On::Generation));
    for _ in 0..6 {
        assert_eq!(answered_by(&gateway).await, "good");
    }
    assert_eq!(posts(&busy), 6, "it keeps its place");
    assert_eq!(gateway.node("busy").await.state, State::Up);
}
