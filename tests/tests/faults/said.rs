//! R10, R11, R12, R20: what a node says that is no fault of its machine: busy, later, no key, no engine at all.

use super::*;
use futures::future::join_all;

/// R10: alone, a busy node is waited for, a little.
#[tokio::test(flavor = "multi_thread")]
async fn r10_an_only_node_that_is_busy_is_asked_again() {
    let only = node("only").await;
    let gateway = Gateway::over(&[&only], "").await;
    only.set_fault(on_work(Fault::Busy503).times(2));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert!(end.is_whole(), "{end:?}");
    assert_eq!(posts(&only), 3);
    // Busy for good: its own words, after three tries and no more.
    only.set_fault(on_work(Fault::Busy503));
    let end = chat(&gateway, "m", true).await.unwrap();
    assert_eq!((end.status, posts(&only)), (503, 6));
    assert!(end.text.contains("maximum pending requests exceeded"), "{}", end.text);
    assert_eq!(gateway.node("only").await.state.word(), "up", "no fault");
}

/// R11: with another node, nobody waits for a `Retry-After`; and meanwhile the other goes first.
#[tokio::test(flavor = "multi_thread")]
async fn r11_later_is_now_with_another_node() {
    let (bad, _good, gateway) = bad_and_good().await;
    bad.set_fault(on_work(status(429, Some("7"))));
    for _ in 0..5 {
        let end = chat(&gateway, "m", false).await.unwrap();
        assert!(end.is_whole() && end.node == "good" && end.took < Duration::from_secs(5), "{end:?}");
    }
    assert_eq!(posts(&bad), 1, "it said when to come back");
    assert_eq!(gateway.node("bad").await.state.word(), "up", "no fault");
}

/// R11: alone, `Retry-After` is kept to, as seconds and as a date; garbage is a second; more than 30 s is the client's to wait.
#[tokio::test(flavor = "multi_thread")]
async fn r11_later_is_kept_to_by_an_only_node() {
    let date = in_three_seconds().await;
    let cases = [("2", 2_000, 6_000), (&date, 500, 6_000), ("any time now", 1_000, 5_000), ("45", 0, 1_500)];
    let cases = cases.map(async |(text, least_ms, most_ms)| {
        let only = node("only").await;
        let gateway = Gateway::over(&[&only], "").await;
        only.set_fault(on_work(status(429, Some(text))).times(1));
        let end = chat(&gateway, "m", false).await.unwrap();
        let took_ms = end.took.as_millis();
        assert!((least_ms..=most_ms).contains(&took_ms), "{text}: after {took_ms} ms");
        if text == "45" {
            assert_eq!((end.status, end.retry_after.as_deref(), posts(&only)), (429, Some("45"), 1));
        } else {
            assert!(end.is_whole() && posts(&only) == 2, "{text}: {end:?}");
        }
    });
    join_all(cases).await;
}

/// The HTTP date of a moment three seconds from now: a gateway tells the date itself.
async fn in_three_seconds() -> String {
    let gateway = Gateway::start(&config(&[], "")).await;
    loop {
        let answer = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap().to_owned();
        let second: u32 = date[23..25].parse().unwrap();
        if second <= 56 {
            return format!("{}{:02}{}", &date[..23], second + 3, &date[25..]);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// R12: a node that refuses our key at work gets no more requests; it is the configuration that is told about, once.
#[tokio::test(flavor = "multi_thread")]
async fn r12_a_wrong_key_is_no_storm() {
    // A key that opens nothing is refused with 403 by some; lists are refused then, too.
    let cases = [on_work(status(401, None)), status(403, None).into()].map(async |fault: FaultRule| {
        let (bad, _good, gateway) = bad_and_good().await;
        bad.set_fault(fault);
        let ends = join_all((0..4).map(|_| chat(&gateway, "m", false))).await;
        assert!(ends.into_iter().all(|end| end.unwrap().is_whole()), "nobody sees it");
        let told = gateway.until(|snapshot| state_of(snapshot, "bad") == "refusing").await;
        let seen = posts(&bad);
        for _ in 0..10 {
            assert_eq!(chat(&gateway, "m", false).await.unwrap().node, "good");
        }
        assert_eq!(posts(&bad), seen, "not asked any more");
        let problems: Vec<_> = told.problems.iter().filter(|p| p.node.as_deref() == Some("bad")).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("api_key"), "{problems:?}");
        // Its probes answer all the time; that proves nothing.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(gateway.node("bad").await.state.word(), "refusing");
    });
    join_all(cases).await;
}

/// R12: with nobody else, the client's library is told not to try again: nothing will change by itself.
#[tokio::test(flavor = "multi_thread")]
async fn r12_an_only_node_with_a_wrong_key_is_told_as_such() {
    let only = node("only").await;
    let gateway = Gateway::over(&[&only], "").await;
    only.set_fault(on_work(status(401, None)));
    for _ in 0..3 {
        let end = chat(&gateway, "m", true).await.unwrap();
        assert_eq!((end.status, end.should_retry.as_deref()), (503, Some("false")), "{end:?}");
        assert!(end.text.contains("api_key"), "{}", end.text);
        gateway.until(|snapshot| state_of(snapshot, "only") == "refusing").await;
    }
    assert_eq!(posts(&only), 1);
}

/// A 403 about one request (moderation): that client hears the node's own words, and everybody else is served as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_forbidden_is_one_request() {
    let only = node("only").await;
    let gateway = Gateway::over(&[&only], "").await;
    let words = r#"{"error":{"message":"flagged: violence","code":403}}"#;
    let no = Fault::Status { status: 403, retry_after: None, body: Some(words.into()) };
    // However often: with nobody else, its own words are the best answer.
    only.set_fault(on_work(no).times(4));
    for _ in 0..4 {
        let end = chat(&gateway, "m", true).await.unwrap();
        assert_eq!((end.status, end.text.as_str()), (403, words), "{end:?}");
        assert_eq!(gateway.node("only").await.state.word(), "up", "no fault");
    }
    let end = chat(&gateway, "m", false).await.unwrap();
    assert!(end.is_whole(), "{end:?}");
}

/// A 403 about a model (the key may not use it): after some in a row others are asked for it at once, and the node's other models
/// are as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_forbidden_is_one_model() {
    let both = Profile::ollama("bad").model(SimModel::new("m").loaded(true));
    let bad = SimNode::start(both.model(SimModel::new("n").loaded(true))).await.unwrap();
    let good = node("good").await;
    let gateway = Gateway::start(&config(&[(&bad, "priority = 9"), (&good, "")], "")).await;
    gateway.until_up(2).await;
    bad.set_fault(on_work(status(403, None)));
    let blocked = async || {
        let end = chat(&gateway, "m", false).await.unwrap();
        assert!(end.is_whole() && end.node == "good", "nobody sees it: {end:?}");
        let told = gateway.control("explain?model=m").await.text().await.unwrap();
        told.contains("refused (403) again and again")
    };
    let began = Instant::now();
    while !blocked().await {
        assert!(began.elapsed() < Duration::from_secs(60), "it is asked for ever");
    }
    let seen = posts(&bad);
    assert!(seen >= 3, "after {seen}");
    // It is in memory there, as its next looks say; that is no news.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..5 {
        assert!(blocked().await);
    }
    assert_eq!(posts(&bad), seen, "not asked any more");
    assert_eq!(gateway.node("bad").await.state.word(), "up", "no fault");
    bad.set_fault(FaultRule::from(Fault::Ok));
    let end = chat(&gateway, "n", false).await.unwrap();
    assert!(end.is_whole() && end.node == "bad", "{end:?}");
}

/// R12: what a node says of our key is passed on, but for the key.
#[tokio::test(flavor = "multi_thread")]
async fn r12_a_refusals_words_are_passed_on_without_the_key() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("node.key");
    std::fs::write(&secret, "CANARY-KEY\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let only = node("only").await;
    let text = config(&[(&only, &format!("api_key = \"file:{}\"", secret.display()))], "");
    std::fs::write(home.path().join("config.toml"), text).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    for (code, wanted) in [(403, 403), (401, 503)] {
        let words = r#"{"error":{"message":"key CANARY-KEY has expired"}}"#.to_owned();
        only.set_fault(on_work(Fault::Status { status: code, retry_after: None, body: Some(words) }));
        let end = chat(&gateway, "m", false).await.unwrap();
        assert_eq!(end.status, wanted, "{end:?}");
        assert!(end.text.contains("key *** has expired") && !end.text.contains("CANARY"), "{end:?}");
    }
    let eyes = gateway.control("snapshot").await.text().await.unwrap();
    assert!(!eyes.contains("CANARY") && !gateway.log().contains("CANARY"));
}

/// R20: a router's login page where an engine was. Never listed, never sent a prompt.
#[tokio::test(flavor = "multi_thread")]
async fn r20_a_login_page_is_no_engine() {
    let page = node("page").await;
    page.set_fault(Fault::Html200);
    let turned = node("turned").await;
    let gateway = Gateway::start(&config(&[(&page, ""), (&turned, "")], "")).await;
    gateway.until_up(1).await;
    let told = gateway.until(|snapshot| state_of(snapshot, "page") == "refusing").await;
    assert!(told.nodes[0].models.is_empty(), "{:?}", told.nodes[0]);
    turned.set_fault(Fault::Html200);
    gateway.until(|snapshot| state_of(snapshot, "turned") == "refusing").await;
    let list = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    assert_eq!(list["data"], json!([]), "nobody lists anything");
    let end = chat(&gateway, "m", false).await.unwrap();
    assert_eq!(end.status, 503, "{end:?}");
    assert_eq!((posts(&page), posts(&turned)), (0, 0), "no prompt goes to a page");
}

/// An error that quotes what was sent is the client's to read, and says nothing of the model, which everybody else goes on to get.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_quotes_the_prompt_takes_no_model_away() {
    let (bad, _good, gateway) = bad_and_good().await;
    let words =
        r#"{"error":{"message":"1 validation error: {'input': 'the model was not found'}","code":400}}"#;
    let no = Fault::Status { status: 400, retry_after: None, body: Some(words.into()) };
    bad.set_fault(on_work(no).times(1));
    let end = chat(&gateway, "m", false).await.unwrap();
    assert_eq!((end.status, end.text.as_str(), end.node.as_str()), (400, words, "bad"), "{end:?}");
    let end = chat(&gateway, "m", false).await.unwrap();
    assert!(end.is_whole() && end.node == "bad", "{end:?}");
}
