//! Kept connections that the node closes just as they are used again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::Gateway;
use reqwest::StatusCode;
use std::time::Duration;

/// R29: a node that closes idle connections after 50 ms is asked again and again just then.
#[tokio::test(flavor = "multi_thread")]
async fn r29_no_request_is_lost_to_a_closing_connection() {
    let model = SimModel::new("m").loaded(true);
    let nas = SimNode::start(Profile::openai("nas").model(model).idle_close_ms(Some(50)).parallel(64))
        .await
        .unwrap();
    let gateway = Gateway::over(&[&nas], "").await;
    let (gateway, nas) = (&gateway, &nas);
    let clients = (0..8).map(|client| async move {
        for round in 0..16u64 {
            let answer = gateway.chat("m", round % 2 == 0).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "client {client}, round {round}");
            let body = tokio::time::timeout(Duration::from_secs(8), answer.text()).await;
            if body.is_err() {
                let snapshot = gateway.snapshot().await;
                panic!(
                    "it never ended: {:#?}\n{:?}\n{:#?}",
                    snapshot.requests,
                    nas.stats(),
                    snapshot.nodes[0].active
                );
            }
            tokio::time::sleep(Duration::from_millis(46 + (client + round) % 8)).await;
        }
    });
    futures::future::join_all(clients).await;
    assert!(nas.stats().connections_total >= 8, "connections were closed: {:?}", nas.stats());
}

/// A broken connection may be a stale one, so an only node is asked once more, on a fresh one; and only once.
#[tokio::test(flavor = "multi_thread")]
async fn an_only_node_is_asked_once_more() {
    let nas = SimNode::start(Profile::ollama("nas").model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&nas], "").await;
    nas.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Generation).times(1));
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::OK);
    let posts =
        || nas.seen().iter().filter(|seen| seen.method == "POST" && seen.path.contains("chat")).count();
    assert_eq!(posts(), 2);
    nas.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Generation));
    gateway.until(|snapshot| snapshot.nodes[0].state.takes_requests()).await;
    assert_eq!(gateway.chat("m", false).send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(posts(), 4);
}
