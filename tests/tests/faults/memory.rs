//! R56: a model that does not fit into a node's memory.

use super::*;

/// A node whose memory is full of another model, and one that has the model too.
async fn full_and_roomy() -> (SimNode, SimNode, Gateway) {
    let other = SimModel::new("other").loaded(true);
    let full = SimNode::start(Profile::ollama("full").model(SimModel::new("m")).model(other)).await.unwrap();
    let roomy = SimNode::start(Profile::ollama("roomy").model(SimModel::new("m"))).await.unwrap();
    let gateway = Gateway::start(&config(&[(&full, "priority = 9"), (&roomy, "")], "")).await;
    gateway.until_up(2).await;
    (full, roomy, gateway)
}

/// R56: what nobody uses is unloaded, and it is tried once more there; then it works.
#[tokio::test(flavor = "multi_thread")]
async fn r56_room_is_made_and_the_second_try_fits() {
    let (full, roomy, gateway) = full_and_roomy().await;
    full.set_fault(on_path(1));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert!(end.is_whole() && end.node == "full", "{end:?}");
    assert_eq!((posts(&full), posts(&roomy)), (2, 0));
    assert_eq!(full.loaded(), ["m"], "the other has left");
}

/// R56: it does not fit even so: another node answers, and this one is not asked for it for ten minutes, or until it has it in
/// memory after all.
#[tokio::test(flavor = "multi_thread")]
async fn r56_a_model_that_does_not_fit_is_blocked_there() {
    let (full, roomy, gateway) = full_and_roomy().await;
    full.set_fault(on_path(2));
    let end = chat(&gateway, "m", false).await.unwrap();
    assert!(end.is_whole() && end.node == "roomy", "{end:?}");
    assert_eq!((posts(&full), posts(&roomy)), (2, 1), "one more try, after making room");
    assert!(full.loaded().is_empty(), "{:?}", full.loaded());
    roomy.unload("m");
    for _ in 0..3 {
        assert_eq!(chat(&gateway, "m", false).await.unwrap().node, "roomy");
    }
    assert_eq!(posts(&full), 2, "not asked for it again");
    let (_, explained, _) = gateway.cli(&["explain", "m"]);
    assert!(explained.contains("out of memory"), "{explained}");
    // For anything else it is as good as before.
    assert_eq!(chat(&gateway, "other", false).await.unwrap().node, "full");
    assert_eq!(gateway.node("full").await.state.word(), "up");
    // A person loads it there: then it fits.
    let (code, _, errors) = gateway.cli(&["load", "full", "m"]);
    assert_eq!(code, 0, "{errors}");
    let deadline = Instant::now() + lamplighter_tests::house::PATIENCE;
    while chat(&gateway, "m", false).await.unwrap().node != "full" {
        assert!(Instant::now() < deadline, "it is blocked though the model is loaded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Out of memory for the next so many chats.
fn on_path(times: u32) -> FaultRule {
    FaultRule::from(Fault::Oom500).on(On::Path("/v1/chat/completions".into())).times(times)
}
