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

/// An answer in one piece that takes its time on an engine that does one thing at a time: the canary has to wait behind it, and its
/// silence says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn r08_a_long_answer_in_one_piece_is_no_gray_node() {
    // 3 s: with 120 s of silence in 1.2 s, five minutes.
    let slow =
        Profile::ollama("bad").model(SimModel::new("m").loaded(true)).parallel(1).tok_s(20.0).tokens(60);
    let (bad, good, gateway) = two(SimNode::start(slow).await.unwrap()).await;
    let end = chat(&gateway, "m", false).await.unwrap();
    assert!(end.is_whole() && end.node == "bad", "{end:?}");
    let canaries = bad.seen().iter().filter(|seen| seen.path == "/api/generate").count();
    assert!(canaries > 0, "it was looked into");
    assert_eq!((posts(&bad), posts(&good)), (1, 0));
    assert_eq!(gateway.node("bad").await.state.word(), "up");
}

/// A node that has come back serves one at a time until that went well. An answer in one piece says so late: that the node has been
/// at it for a while is enough.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_behind_a_long_answer_in_one_piece_does_not_wait_for_its_end() {
    let profile = || Profile::ollama("only").model(SimModel::new("m").loaded(true)).parallel(16).tok_s(10.0);
    let only = SimNode::start(profile()).await.unwrap();
    let port = only.addr().port();
    // 15 s are one.
    let gateway = Gateway::hurried(&config(&[(&only, "max_concurrent = 16")], ""), 15).await;
    gateway.until_up(1).await;
    only.kill().await;
    drop(only);
    gateway.until(|snapshot| state_of(snapshot, "only") != "up").await;
    let _only = SimNode::start(profile().port(port)).await.unwrap();
    gateway.until_up(1).await;
    let ask = |tokens: u32, key: &str| {
        let body = json!({ "model": "m", "stream": false, "max_tokens": tokens,
            "messages": [{ "role": "user", "content": key }] });
        send(gateway.post("/v1/chat/completions", &body).bearer_auth(key))
    };
    // 20 s, and half a one.
    let long = ask(200, "ann");
    gateway.until(|snapshot| snapshot.nodes[0].active == 1).await;
    let short = ask(5, "bob");
    gateway.until(|snapshot| snapshot.nodes[0].waiting == 1).await;
    assert!(short.await.unwrap().is_whole());
    assert!(!long.is_finished(), "it was served beside the long one");
    long.abort();
}
