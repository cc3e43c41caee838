//! Fair waiting under load: floods, full rooms, and models that do not fit into one GPU together.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::{StreamExt, future::join_all, stream};
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::house::{Gateway, config};
use serde_json::json;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// What became of a request: its status, when to come back, and how long it took.
struct End {
    status: u16,
    retry_after: Option<u32>,
    took: Duration,
}

/// A whole answer of so many tokens, asked for under a key of its own: each key is another client.
async fn ask(request: reqwest::RequestBuilder) -> End {
    let began = Instant::now();
    let answer = request.send().await.unwrap();
    let retry_after =
        answer.headers().get("retry-after").map(|after| after.to_str().unwrap().parse().unwrap());
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    End { status, retry_after, took: began.elapsed() }
}

fn chat(gateway: &Gateway, model: &str, key: &str, tokens: u64, id: &str) -> reqwest::RequestBuilder {
    let body = json!({ "model": model, "stream": false, "max_tokens": tokens,
        "messages": [{ "role": "user", "content": "hi" }] });
    gateway.post("/v1/chat/completions", &body).bearer_auth(key).header("x-request-id", id)
}

fn spawn(request: reqwest::RequestBuilder) -> JoinHandle<End> {
    tokio::spawn(ask(request))
}

fn served(node: &SimNode) -> Vec<String> {
    let posts = node.seen().into_iter().filter(|seen| seen.method == "POST");
    posts.filter_map(|seen| seen.request_id().map(str::to_owned)).collect()
}

/// A node whose only place is held by somebody who never gets an answer.
async fn held() -> (SimNode, Gateway, JoinHandle<End>) {
    let profile = Profile::ollama("node").model(SimModel::new("m").loaded(true)).ttft_ms(30).parallel(16);
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::over(&[&node], "").await;
    node.set_fault(FaultRule::from(Fault::Gray).on(On::Generation).times(1));
    let holder = spawn(chat(&gateway, "m", "holder", 5, "holder"));
    while served(&node).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (node, gateway, holder)
}

/// What its owner may write of it.
const VRAM: &str = "vram = \"3GB\"";

/// A machine whose memory holds one model at a time; a load takes `load_ms`.
async fn one_model_at_a_time(load_ms: u64, models: &[&str], more: &str) -> (SimNode, Gateway) {
    let mut profile =
        Profile::ollama("gpu").vram(3 << 30).load_ms(load_ms).ttft_ms(20).tok_s(500.0).tokens(5);
    for model in models {
        profile = profile.model(SimModel::new(*model));
    }
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::start(&config(&[(&node, more)], "")).await;
    gateway.until_up(1).await;
    (node, gateway)
}

/// Two clients are served in turn, each in its own order, and the positions that are shown say so.
#[tokio::test(flavor = "multi_thread")]
async fn two_clients_take_turns_and_positions_are_true() {
    let (node, gateway, holder) = held().await;
    let mut waiting = Vec::new();
    // Ann floods; Bob comes late.
    for (key, id, ahead) in [
        ("ann", "ann-0", 0),
        ("ann", "ann-1", 1),
        ("ann", "ann-2", 2),
        ("ann", "ann-3", 3),
        ("bob", "bob-0", 1),
        ("bob", "bob-1", 3),
    ] {
        waiting.push(spawn(chat(&gateway, "m", key, 5, id)));
        let shown = gateway.until(|s| s.requests.iter().any(|r| r.id == id && r.ahead.is_some())).await;
        assert_eq!(shown.requests.iter().find(|r| r.id == id).unwrap().ahead, Some(ahead), "{id}");
    }
    // Who was overtaken is told, within the second.
    gateway.until(|s| s.requests.iter().any(|r| r.id == "ann-3" && r.ahead == Some(5))).await;
    holder.abort();
    for end in join_all(waiting).await {
        assert_eq!(end.unwrap().status, 200);
    }
    assert_eq!(served(&node)[1..], ["ann-0", "bob-0", "ann-1", "bob-1", "ann-2", "ann-3"]);
}

/// Apps that were given the same key are told apart by what they call themselves.
#[tokio::test(flavor = "multi_thread")]
async fn apps_with_the_same_key_take_turns() {
    let (node, gateway, holder) = held().await;
    let mut waiting = Vec::new();
    for (agent, id) in [("batch/1", "b-0"), ("batch/1", "b-1"), ("batch/1", "b-2"), ("chat/1", "c-0")] {
        waiting.push(spawn(chat(&gateway, "m", "sk-dummy", 5, id).header("user-agent", agent)));
        gateway.until(|s| s.requests.iter().any(|r| r.id == id && r.ahead.is_some())).await;
    }
    holder.abort();
    for end in join_all(waiting).await {
        assert_eq!(end.unwrap().status, 200);
    }
    assert_eq!(served(&node)[1..], ["b-0", "c-0", "b-1", "b-2"]);
}

/// A client that fills the line shuts nobody out: its newest request makes room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_line_makes_room_for_somebody_else() {
    let (node, gateway, holder) = held().await;
    let mut flood = Vec::new();
    for at in 0..64u32 {
        flood.push(spawn(chat(&gateway, "m", "ann", 5, &format!("ann-{at}"))));
        gateway.until(|s| s.nodes[0].waiting == at + 1).await;
    }
    let refused = ask(chat(&gateway, "m", "ann", 5, "ann-64")).await;
    assert_eq!(refused.status, 429, "she has the most herself");
    let bob = spawn(chat(&gateway, "m", "bob", 5, "bob"));
    let displaced = flood.pop().unwrap().await.unwrap();
    assert_eq!(displaced.status, 429);
    assert!(displaced.retry_after.is_some());
    let shown = gateway.until(|s| s.requests.iter().any(|r| r.id == "bob" && r.ahead.is_some())).await;
    assert_eq!(shown.nodes[0].waiting, 64);
    holder.abort();
    assert_eq!(bob.await.unwrap().status, 200);
    assert_eq!(served(&node)[2], "bob", "after the one that had come first");
    flood.iter().for_each(JoinHandle::abort);
    gateway.until(|s| s.requests.is_empty() && s.nodes[0].active == 0 && s.nodes[0].waiting == 0).await;
}

/// R55: a hundred requests, in turn for two models that do not fit together, make ten loads at most.
#[tokio::test(flavor = "multi_thread")]
async fn r55_a_hundred_in_turn_make_few_loads() {
    alternate(VRAM, 10).await;
}

/// R55: where nobody wrote down how much memory there is, evictions tell; until they have, a few loads more are made.
#[tokio::test(flavor = "multi_thread")]
async fn r55_what_does_not_fit_is_learned() {
    alternate("", 20).await;
}

async fn alternate(more: &str, most_loads: usize) {
    let (node, gateway) = one_model_at_a_time(400, &["a", "b"], more).await;
    let requests = (0..100usize).map(|at| {
        let key = format!("client-{}", at / 2 % 5);
        ask(chat(&gateway, ["a", "b"][at % 2], &key, 5, &format!("r-{at}")))
    });
    let ends: Vec<End> = stream::iter(requests).buffer_unordered(40).collect().await;
    assert!(ends.iter().all(|end| end.status == 200));
    let longest = ends.iter().map(|end| end.took).max().unwrap();
    println!("{more:?}: {} loads, longest {longest:?}", node.loads());
    assert!(node.loads() <= most_loads, "{} loads", node.loads());
    assert!(longest < Duration::from_secs(30), "{longest:?}");
}

/// R55: the same in the worst order, from two who ask again as soon as they are answered.
#[tokio::test(flavor = "multi_thread")]
async fn r55_two_who_ask_again_and_again_do_not_thrash() {
    let (node, gateway) = one_model_at_a_time(400, &["a", "b"], VRAM).await;
    let one_after_the_other = |model: &'static str| {
        let gateway = &gateway;
        async move {
            for at in 0..50 {
                let end = ask(chat(gateway, model, model, 5, &format!("{model}-{at}"))).await;
                assert_eq!(end.status, 200);
            }
        }
    };
    tokio::join!(one_after_the_other("a"), one_after_the_other("b"));
    println!("{} loads", node.loads());
    assert!(node.loads() <= 10, "{} loads", node.loads());
}

/// R57: somebody else's client evicts our model. That is seen, and theirs is left in memory for 20 s: no ping-pong.
#[tokio::test(flavor = "multi_thread")]
async fn r57_somebody_elses_model_is_left_in_memory() {
    let (node, gateway) = one_model_at_a_time(50, &["a", "x"], VRAM).await;
    assert_eq!(ask(chat(&gateway, "a", "ann", 5, "first")).await.status, 200);
    let is_loaded = |s: &lamplighter_core::snapshot::Snapshot, name: &str| {
        s.nodes[0].models.iter().any(|model| model.name == name && model.loaded == Some(true))
    };
    gateway.until(|s| is_loaded(s, "a")).await;
    let body = json!({ "model": "x", "stream": false, "messages": [{ "role": "user", "content": "hi" }] });
    let theirs = gateway.http.post(format!("{}/api/chat", node.url())).json(&body);
    let began = Instant::now();
    assert_eq!(ask(theirs.try_clone().unwrap()).await.status, 200);
    gateway.until(|s| is_loaded(s, "x") && !is_loaded(s, "a")).await;
    let seen = began.elapsed();
    assert!(seen < Duration::from_secs(8), "{seen:?}");
    let ours = spawn(chat(&gateway, "a", "ann", 5, "second"));
    gateway.until(|s| s.nodes[0].waiting == 1).await;
    // They go on, and are not disturbed.
    while began.elapsed() < Duration::from_secs(18) {
        assert_eq!(ask(theirs.try_clone().unwrap()).await.status, 200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(!ours.is_finished());
    assert_eq!((node.loads(), node.loaded()), (2, vec!["x".to_owned()]));
    // Then it is our turn, and only once.
    let end = ours.await.unwrap();
    assert_eq!((end.status, node.loads()), (200, 3));
    assert!(began.elapsed() >= Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// R58: one client sends a hundred times as much as the other. The small one waits at most twice as long as alone.
#[tokio::test(flavor = "multi_thread")]
async fn r58_a_flood_does_not_double_the_others_wait() {
    let profile =
        Profile::ollama("node").model(SimModel::new("m").loaded(true)).parallel(16).tok_s(100.0).tokens(100);
    let node = SimNode::start(profile).await.unwrap();
    let gateway = Gateway::start(&config(&[(&node, "max_concurrent = 4")], "")).await;
    gateway.until_up(1).await;
    // At least 19 of 20 answers came within this.
    let p95 = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[(times.len() * 19).div_ceil(20) - 1]
    };
    // 60 tokens at 100 a second: 0.6 s. The other's are shorter, so that who comes next waits 0.3 s at most, far from 0.6 s;
    // in order of arrival it would be three seconds.
    let small = |at: usize| chat(&gateway, "m", "small", 60, &format!("small-{at}"));
    let mut alone = Vec::new();
    for at in 0..10 {
        let end = ask(small(at)).await;
        assert_eq!(end.status, 200);
        alone.push(end.took);
    }
    let (offered, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let flood = |worker: usize| {
        let (gateway, offered, done) = (&gateway, &offered, &done);
        async move {
            let mut served = 0;
            while !done.load(Relaxed) {
                let at = offered.fetch_add(1, Relaxed);
                // Between 0.1 and 0.3 s.
                let tokens = 10 + (at as u64 * 7 + worker as u64) % 21;
                let end = ask(chat(gateway, "m", "big", tokens, &format!("big-{at}"))).await;
                match end.status {
                    200 => served += 1,
                    429 => {
                        assert!(end.retry_after.is_some());
                        // Not what it was told, but what floods do.
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                    other => panic!("{other}"),
                }
            }
            served
        }
    };
    let beside = async {
        let mut times = Vec::new();
        for at in 0..20 {
            // A hundred of the other's for each of ours, and the first when the flood no longer begins in step.
            while offered.load(Relaxed) < 100 * (at + 3) {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            let end = ask(small(100 + at)).await;
            assert_eq!(end.status, 200, "nobody is shut out");
            times.push(end.took);
        }
        done.store(true, Relaxed);
        times
    };
    let (served, beside) = tokio::join!(join_all((0..110).map(flood)), beside);
    let served: usize = served.into_iter().sum();
    let (alone, beside) = (p95(alone), p95(beside));
    println!("p95 alone {alone:?}, beside {} offered and {served} served {beside:?}", offered.load(Relaxed));
    assert!(served > 40, "the big one is served too: {served}");
    assert!(beside <= 2 * alone, "p95 {beside:?} beside the flood, {alone:?} alone");
}

/// R59: ten thousand requests at a full room are told at once when to come back, and leave nothing behind.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn r59_a_full_room_costs_nothing() {
    let (node, gateway, holder) = held().await;
    let waiting: Vec<_> =
        (0..64).map(|at| spawn(chat(&gateway, "m", "ann", 5, &format!("w-{at}")))).collect();
    gateway.until(|s| s.nodes[0].waiting == 64).await;
    let rss_kb = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let text = "x".repeat(8 << 10);
    let body = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] });
    let knock = async |times: usize| {
        let requests =
            (0..times).map(|_| ask(gateway.post("/v1/chat/completions", &body).bearer_auth("ann")));
        let ends: Vec<End> = stream::iter(requests).buffer_unordered(32).collect().await;
        assert!(
            ends.iter()
                .all(|end| end.status == 429 && end.retry_after.is_some_and(|s| (1..=60).contains(&s)))
        );
        let mut took: Vec<_> = ends.iter().map(|end| end.took).collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    knock(1_000).await;
    let before_kb = rss_kb();
    let p99 = knock(9_000).await;
    let after_kb = rss_kb();
    println!("p99 {p99:?}, {before_kb} KiB before, {after_kb} KiB after");
    assert!(p99 < Duration::from_secs(2), "{p99:?}");
    assert!(after_kb < before_kb + (16 << 10), "{before_kb} KiB before, {after_kb} KiB after");
    assert_eq!(served(&node).len(), 1, "the node has heard of none of them");
    waiting.iter().for_each(JoinHandle::abort);
    holder.abort();
    gateway.until(|s| s.requests.is_empty() && s.nodes[0].active == 0 && s.nodes[0].waiting == 0).await;
}
