//! R07, R08 and the deadline that knows whether a model is loaded: silence, and what it means. Time is shortened.

use super::*;

/// An hour in 36 s: what is 120 s of silence takes 1.2 s here.
const HASTE: u64 = 100;

async fn two(bad: SimNode) -> (SimNode, SimNode, Gateway) {
    let good = node("good").await;
    let gateway = Gateway::hurried(&config(&[(&bad, "priority = 9"), (&good, "")], ""), HASTE).await;
    gateway.until_up(2).await;
    (bad, good, gateway)
}

/// R07: lists answer, and no token ever comes. A canary finds out, others are preferred, and two tokens bring it back.
#[tokio::test(flavor = "multi_thread")]
async fn r07_gray_is_found_out_and_forgiven() {
    // Generous with its time, so that a busy machine does not make a good node look gray.
    let only = node("only").await;
    let gateway = Gateway::hurried(&config(&[(&only, "")], ""), 40).await;
    gateway.until_up(1).await;
    only.set_fault(on_work(Fault::Gray));
    let silent = chat(&gateway, "m", true);
    let told = gateway.until(|snapshot| state_of(snapshot, "only") == "degraded").await;
    assert_eq!(told.nodes[0].why.as_deref(), Some("it answers, and generates nothing"));
    assert_eq!(told.requests.len(), 1, "nobody else is there: the request is not given up");
    let canaries = |node: &SimNode| node.seen().iter().filter(|seen| seen.path == "/api/generate").count();
    assert_eq!(canaries(&only), 2, "two were enough");
    // Its client gives up: its only place is free again.
    silent.abort();
    only.clear_fault();
    gateway.until(|snapshot| state_of(snapshot, "only") == "up").await;
    assert!(chat(&gateway, "m", true).await.unwrap().is_whole());
}

/// R07: with another node, what has not begun goes there, streamed or not.
#[tokio::test(flavor = "multi_thread")]
async fn r07_what_waits_at_a_gray_node_goes_to_another() {
    let (bad, _good, gateway) = two(node("bad").await).await;
    bad.set_fault(on_work(Fault::Gray));
    let (stream, whole) = (chat(&gateway, "m", true), chat(&gateway, "m", false));
    for end in [stream.await.unwrap(), whole.await.unwrap()] {
        assert!(end.is_whole() && end.node == "good", "{end:?}");
    }
    gateway.until(|snapshot| state_of(snapshot, "bad") == "degraded").await;
    assert_eq!(chat(&gateway, "m", true).await.unwrap().node, "good");
}

/// R08: 25 minutes without a byte of an answer, and the node is healthy: nobody gives up, the client hears that we are there.
#[tokio::test(flavor = "multi_thread")]
async fn r08_a_long_silence_of_a_healthy_node_is_borne() {
    let only = node("only").await;
    // 25 minutes in 12.5 s: long enough for a sign of life, which keeps its own time.
    let gateway = Gateway::hurried(&config(&[(&only, "")], ""), 120).await;
    gateway.until_up(1).await;
    let silent = Fault::Silent { ms: Some(12_500) };
    only.set_fault(FaultRule::from(silent).on(On::Path("/v1/chat/completions".into())).times(1));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert!(end.is_whole(), "{end:?}");
    assert!(end.took >= Duration::from_secs(12) && end.text.contains(": still here\n"), "{end:?}");
    assert_eq!(posts(&only), 1, "asked once");
    assert_eq!(gateway.node("only").await.state.word(), "up");
}

/// A model that is in memory begins soon, or another node does; one that must be loaded gets the time that a load takes.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_knows_whether_the_model_is_loaded() {
    // 20 s of silence are 0.2 s here, and a load of 10 minutes 6 s.
    let (bad, _good, gateway) = two(node("bad").await).await;
    bad.set_fault(on_work(Fault::Silent { ms: Some(60_000) }).times(1));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert!(end.is_whole() && end.node == "good" && end.took < Duration::from_secs(5), "{end:?}");

    let slow = Profile::ollama("bad").model(SimModel::new("m")).load_ms(2_500);
    let slow = SimNode::start(slow).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(SimModel::new("m"))).await.unwrap();
    let gateway = Gateway::hurried(&config(&[(&slow, "priority = 9"), (&good, "")], ""), HASTE).await;
    gateway.until_up(2).await;
    let end = chat(&gateway, "m", true).await.unwrap();
    assert!(end.is_whole() && end.node == "bad" && end.took >= Duration::from_millis(2_400), "{end:?}");
    assert_eq!(posts(&good), 0);
}
