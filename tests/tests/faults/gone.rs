//! R01, R03, R05, R15: a node dies, vanishes before its first byte, resets in the middle; and nobody is up at all.

use super::*;
use lamplighter_tests::process::NodeProcess;

/// R01: `kill -9` under 50 requests a second. None fails, and the list drops what only that node had.
#[tokio::test(flavor = "multi_thread")]
async fn r01_kill_9_under_fifty_requests_a_second() {
    let first =
        NodeProcess::start("first", &["--model", "m,loaded", "--model", "mine,loaded", "--parallel", "64"]);
    let second = NodeProcess::start("second", &["--model", "m,loaded", "--parallel", "64"]);
    let text = first.node("priority = 9\nmax_concurrent = 64") + &second.node("max_concurrent = 64");
    let gateway = Gateway::start(&config(&[], &text)).await;
    gateway.until_up(2).await;
    let mut ends = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut dropped = None;
    let mut killed = Instant::now();
    for at in 0..150 {
        ticks.tick().await;
        if at == 50 {
            first.signal("KILL");
            killed = Instant::now();
        }
        ends.push(chat(&gateway, "m", at % 2 == 0));
        if at >= 50 && dropped.is_none() {
            let list = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
            dropped = (!list.text().await.unwrap().contains("\"mine")).then(|| killed.elapsed());
        }
    }
    for end in ends {
        let end = end.await.unwrap();
        assert!(end.is_whole(), "{end:?}");
    }
    let dropped = dropped.expect("the list drops what only the dead node had");
    // A second is the goal; the machine that runs this is busy.
    assert!(dropped <= Duration::from_millis(1_900), "after {dropped:?}");
    assert!(first_and_second(&gateway).await.1, "the second is up");
}

async fn first_and_second(gateway: &Gateway) -> (bool, bool) {
    let snapshot = gateway.snapshot().await;
    (snapshot.nodes[0].state.takes_requests(), snapshot.nodes[1].state.takes_requests())
}

/// R03: it has read the request and vanishes without a word: the client gets one answer of the other, and it is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn r03_gone_before_the_first_byte() {
    let gone = NodeProcess::start("gone", &["--model", "m,loaded", "--ttft-ms", "60000"]);
    let good = NodeProcess::start("good", &["--model", "m,loaded", "--tokens", "16"]);
    let gateway = Gateway::start(&config(&[], &(gone.node("priority = 9") + &good.node("")))).await;
    gateway.until_up(2).await;
    let end = chat(&gateway, "m", true);
    gateway.until(|snapshot| snapshot.nodes[0].active == 1).await;
    gone.signal("STOP");
    let end = end.await.unwrap();
    assert!(end.is_whole() && end.node == "good", "{end:?}");
    let after = gateway.until(|snapshot| snapshot.requests.is_empty()).await;
    assert_eq!((after.totals.requests, after.totals.answered), (1, 1));
    assert_eq!(good.count("generations_finished").await, 1, "by exactly one");
    gone.signal("CONT");
}

/// R05: a reset in the middle of a stream is told in the stream within a second; the text before it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn r05_a_reset_mid_stream_is_told_at_once() {
    let (bad, good, gateway) = bad_and_good().await;
    bad.set_fault(on_work(Fault::Rst { after_bytes: 900 }));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert_eq!((end.status, end.node.as_str()), (200, "bad"));
    assert!(end.took <= Duration::from_secs(3), "{:?}", end.took);
    let (before, error) = end.text.trim_end().rsplit_once("\n\n").unwrap();
    assert!(before.contains("\"choices\"") && error.contains("\"error\""), "{}", end.text);
    assert!(!end.text.contains("[DONE]"), "{}", end.text);
    assert_eq!(posts(&good), 0, "never spliced from another");
}

/// R15: all nodes down. A no comes at once, in the caller's own shape, with a time to come back.
#[tokio::test(flavor = "multi_thread")]
async fn r15_all_down_is_told_at_once_in_the_callers_shape() {
    let (one, two) = (node("one").await, node("two").await);
    let gateway = Gateway::over(&[&one, &two], "").await;
    one.kill().await;
    two.kill().await;
    gateway.until(|snapshot| snapshot.nodes.iter().all(|node| node.state.word() == "down")).await;
    let mut times = Vec::new();
    for at in 0..40 {
        let (path, error) = [
            ("/v1/chat/completions", "/error/message"),
            ("/v1/messages", "/error/message"),
            ("/v1/responses", "/error/message"),
            ("/api/chat", "/error"),
        ][at % 4];
        let input = json!([{ "role": "user", "content": "hi" }]);
        let body =
            json!({ "model": "m", "max_tokens": 9, "stream": at % 8 < 4, "messages": input, "input": "hi" });
        let end = send(gateway.post(path, &body)).await.unwrap();
        assert_eq!(end.status, 503, "{end:?}");
        assert!(end.retry_after.is_some(), "{end:?}");
        let body: Value = serde_json::from_str(&end.text).unwrap();
        let message = body.pointer(error).and_then(Value::as_str).unwrap_or_else(|| panic!("{path}: {body}"));
        assert!(
            message.contains("one") && message.contains("down") || message.contains("no connection"),
            "{message}"
        );
        assert!(end.took <= Duration::from_secs(1), "{:?}", end.took);
        times.push(end.took);
    }
    times.sort();
    assert!(times[20] <= Duration::from_millis(100), "half of them after {:?}", times[20]);
}

/// R15: what we believe may be wrong. While nobody is up, one request each 5 s tries the likeliest node.
#[tokio::test(flavor = "multi_thread")]
async fn r15_one_request_in_five_seconds_tries_all_the_same() {
    let lying = node("lying").await;
    let gateway = Gateway::over(&[&lying], "").await;
    // It works, and its probes break: we believe that it is down.
    lying.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Probes));
    gateway.until(|snapshot| state_of(snapshot, "lying") == "down").await;
    for round in 1..=2 {
        let began = Instant::now();
        let mut answered = 0;
        while began.elapsed() < Duration::from_millis(1_500) {
            let end = chat(&gateway, "m", false).await.unwrap();
            assert!(end.status == 200 || end.status == 503 && end.took <= Duration::from_secs(1), "{end:?}");
            answered += usize::from(end.status == 200);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!((answered, posts(&lying)), (1, round), "one try");
        tokio::time::sleep(Duration::from_millis(3_800)).await;
    }
}
