//! Nodes that die, hang or fail: what has not begun goes to the next one, what has begun ends with an error and never twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::future::join_all;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use lamplighter_tests::{
    house::{Gateway, config},
    process::NodeProcess,
};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// How one request ended.
#[derive(Debug)]
struct End {
    status: u16,
    node: String,
    text: String,
    at: Instant,
}

impl End {
    /// The stream begins and ends as it should.
    fn is_whole_stream(&self) -> bool {
        self.status == 200 && self.text.ends_with("data: [DONE]\n\n") && !self.text.contains("\"error\"")
    }

    /// Something of an answer had come, and then an error of the dialect ended it.
    fn is_cut_stream(&self) -> bool {
        // A long silence before it may have carried signs of life: comments, which are no events.
        let spoken = self.text.replace(": still here\n", "");
        let events: Vec<&str> = spoken.trim_end().split("\n\n").collect();
        let (last, before) = events.split_last().unwrap();
        let error: Value = serde_json::from_str(last.trim_start_matches("data: ")).unwrap_or_default();
        self.status == 200
            && !before.is_empty()
            && before.iter().all(|event| event.contains("\"choices\""))
            && error["error"]["message"].is_string()
            && !self.text.contains("[DONE]")
    }

    fn is_whole_answer(&self) -> bool {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        self.status == 200 && body["choices"][0]["finish_reason"].is_string()
    }
}

/// Sends one chat and reads it to its end. The node gives `tokens` tokens.
fn chat(gateway: &Gateway, stream: bool, tokens: u32) -> JoinHandle<End> {
    // Each is a conversation of its own: none goes where another was answered.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let words = format!("conversation {}", NEXT.fetch_add(1, Relaxed));
    let message = json!({ "role": "user", "content": words });
    let body = json!({ "model": "m", "stream": stream, "max_tokens": tokens, "messages": [message] });
    let request = gateway.post("/v1/chat/completions", &body);
    tokio::spawn(async move {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let node = answer.headers().get("x-lamplighter-node");
        let node = node.map_or("", |node| node.to_str().unwrap()).to_owned();
        let text = answer.text().await.unwrap();
        End { status, node, text, at: Instant::now() }
    })
}

async fn ends(requests: Vec<JoinHandle<End>>) -> Vec<End> {
    join_all(requests).await.into_iter().map(Result::unwrap).collect()
}

/// Three nodes as processes: half a second to the first token, then 40 tokens a second, the same model on each.
async fn three_nodes() -> ([NodeProcess; 3], Gateway) {
    let args =
        ["--model", "m,loaded", "--parallel", "64", "--ttft-ms", "500", "--tok-s", "40", "--tokens", "160"];
    let nodes = ["one", "two", "three"].map(|name| NodeProcess::start(name, &args));
    // All go to the first while it is there.
    let lines = ["max_concurrent = 64\npriority = 9", "max_concurrent = 64", "max_concurrent = 64"];
    let text: String = nodes.iter().zip(lines).map(|(node, lines)| node.node(lines)).collect();
    let gateway = Gateway::start(&config(&[], &text)).await;
    gateway.until_up(3).await;
    (nodes, gateway)
}

/// So many streams that have begun on the first node.
async fn begun(gateway: &Gateway, count: usize) -> Vec<JoinHandle<End>> {
    let streams = (0..count).map(|_| chat(gateway, true, 160)).collect();
    gateway.until(|s| s.requests.iter().filter(|request| request.events >= 2).count() == count).await;
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_has_not_begun() {
    let (nodes, gateway) = three_nodes().await;
    let streams = begun(&gateway, 8).await;
    let waiting: Vec<_> = (0..28).map(|at| chat(&gateway, at % 2 == 0, 20)).collect();
    gateway.until(|s| s.nodes[0].active == 36).await;
    nodes[0].signal("KILL");
    let (streams, waiting) = (ends(streams).await, ends(waiting).await);
    for end in &streams {
        assert!(end.is_cut_stream(), "{end:?}");
        assert_eq!(end.node, "one");
    }
    // On a machine that is very busy a stream of the second wave may have begun, too.
    let (cut, answered): (Vec<_>, Vec<_>) = waiting.into_iter().partition(End::is_cut_stream);
    assert!(answered.len() >= 20, "{} of 28 had not begun", answered.len());
    assert!(cut.iter().all(|end| end.node == "one"));
    for end in &answered {
        assert!(end.is_whole_stream() || end.is_whole_answer(), "{end:?}");
        assert_ne!(end.node, "one");
    }
    let mut counts = (0, 0);
    for node in &nodes[1..] {
        counts.0 += node.count("generations_started").await;
        counts.1 += node.count("generations_finished").await;
    }
    assert_eq!(counts, (answered.len() as u64, answered.len() as u64), "each by exactly one");
    let after = gateway.until(|s| s.requests.is_empty()).await;
    assert!(after.nodes.iter().all(|node| node.active == 0), "{:?}", after.nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_stopped_node_is_left_within_8_s() {
    let (nodes, gateway) = three_nodes().await;
    let streams = begun(&gateway, 4).await;
    let waiting: Vec<_> = (0..20).map(|at| chat(&gateway, at % 2 == 0, 2)).collect();
    gateway.until(|s| s.nodes[0].active == 24).await;
    nodes[0].signal("STOP");
    let stopped = Instant::now();
    let late = chat(&gateway, true, 2);
    for end in ends(waiting).await.into_iter().chain(ends(vec![late]).await) {
        let took = end.at - stopped;
        assert!(end.is_whole_stream() || end.is_whole_answer(), "{end:?}");
        assert_ne!(end.node, "one");
        assert!(took <= Duration::from_secs(8), "it took {took:?}");
    }
    let finished =
        nodes[1].count("generations_finished").await + nodes[2].count("generations_finished").await;
    assert_eq!(finished, 21, "each by exactly one");
    // What had begun cannot go elsewhere: it ends when the node stays silent.
    for end in ends(streams).await {
        let took = end.at - stopped;
        assert!(end.is_cut_stream(), "{end:?}");
        assert!(took <= Duration::from_secs(20), "it took {took:?}");
    }
    // Awake again, it is used again, over fresh connections.
    nodes[0].signal("CONT");
    gateway.until_up(3).await;
    assert_eq!(chat(&gateway, false, 2).await.unwrap().node, "one");
}

/// A bad node that comes first, and a good one.
async fn bad_and_good(fault: Fault) -> (SimNode, SimNode, Gateway) {
    let bad = SimNode::start(Profile::ollama("bad").model(SimModel::new("m").loaded(true))).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(SimModel::new("m"))).await.unwrap();
    let gateway = Gateway::over(&[&bad, &good], "").await;
    bad.set_fault(FaultRule::from(fault).on(On::Generation));
    (bad, good, gateway)
}

fn posts(node: &SimNode) -> usize {
    node.seen().iter().filter(|seen| seen.method == "POST").count()
}

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, body: None }
}

/// Every way to fail before the first event: the next node answers, and the client sees nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_first_event_goes_to_the_next_node() {
    let faults = [
        Fault::DieBeforeFirstByte,
        Fault::Rst { after_bytes: 0 },
        Fault::EmptyOk,
        Fault::InBandError { after_events: 0 },
        Fault::TruncChunk,
        Fault::BadStatus,
        Fault::Busy503,
        Fault::Html200,
        status(500),
        status(502),
        status(503),
        status(429),
        status(408),
    ];
    for fault in faults {
        for stream in [true, false] {
            let (bad, good, gateway) = bad_and_good(fault.clone()).await;
            let end = chat(&gateway, stream, 8).await.unwrap();
            assert_eq!((end.status, end.node.as_str()), (200, "good"), "{fault:?} {stream}: {}", end.text);
            assert!(if stream { end.is_whole_stream() } else { end.is_whole_answer() }, "{fault:?}: {end:?}");
            assert_eq!(posts(&bad), 1, "{fault:?}: asked once");
            let stats = good.stats();
            assert_eq!((stats.generations_started, stats.generations_finished), (1, 1), "{fault:?}");
        }
    }
}

/// 200 with `choices: []` is an answer with nothing in it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_choice_goes_to_the_next_node() {
    let (bad, good, gateway) = bad_and_good(Fault::EmptyChoices).await;
    let end = chat(&gateway, false, 8).await.unwrap();
    assert_eq!((end.status, end.node.as_str()), (200, "good"), "{}", end.text);
    assert_eq!((posts(&bad), good.stats().generations_finished), (1, 1));
}

/// Once an event has gone down nobody else is asked, whatever happens.
#[tokio::test(flavor = "multi_thread")]
async fn never_a_second_try_after_the_first_event() {
    for fault in [
        Fault::Rst { after_bytes: 900 },
        Fault::Close { after_events: 3 },
        Fault::InBandError { after_events: 3 },
    ] {
        let (bad, good, gateway) = bad_and_good(fault.clone()).await;
        let end = chat(&gateway, true, 100).await.unwrap();
        assert!(end.is_cut_stream(), "{fault:?}: {end:?}");
        assert_eq!(end.text.matches("\"error\"").count(), 1, "{fault:?}: one error: {}", end.text);
        assert_eq!((posts(&bad), posts(&good)), (1, 0), "{fault:?}");
    }
    // The process dies in the middle.
    let profile = Profile::ollama("bad").model(SimModel::new("m").loaded(true)).tok_s(50.0).tokens(1000);
    let bad = SimNode::start(profile).await.unwrap();
    let good = SimNode::start(Profile::ollama("good").model(SimModel::new("m"))).await.unwrap();
    let gateway = Gateway::over(&[&bad, &good], "").await;
    let streams = begun(&gateway, 1).await;
    bad.kill().await;
    assert!(ends(streams).await.iter().all(End::is_cut_stream));
    assert_eq!(posts(&good), 0);
}

/// What another node could not do better is passed on as it is: a client's own mistake is not tried elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_mistake_is_not_tried_elsewhere() {
    for code in [400, 413, 422] {
        let words = format!("{{\"error\":{{\"message\":\"mistake {code}\"}}}}");
        let fault = Fault::Status { status: code, retry_after: None, body: Some(words.clone()) };
        let (bad, good, gateway) = bad_and_good(fault).await;
        let end = chat(&gateway, true, 8).await.unwrap();
        assert_eq!((end.status, end.text, end.node.as_str()), (code, words, "bad"));
        assert_eq!((posts(&bad), posts(&good)), (1, 0));
    }
}

/// When all fail, the last node's own error is the answer, with what it says of later when that is too late to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_nodes_own_error_comes_through() {
    let (bad, good, gateway) = bad_and_good(status(500)).await;
    let words = "  { \"error\": \"words of the last\" }\n".to_owned();
    let fault = Fault::Status { status: 503, retry_after: Some("45".into()), body: Some(words.clone()) };
    good.set_fault(FaultRule::from(fault).on(On::Generation));
    let answer = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(
        (&answer.headers()["x-lamplighter-node"], &answer.headers()["retry-after"]),
        (&"good".parse().unwrap(), &"45".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), words);
    assert_eq!((posts(&bad), posts(&good)), (1, 1));

    // An error that came as the first event of a stream: the words are there, the status says that it failed.
    for node in [&bad, &good] {
        node.set_fault(FaultRule::from(Fault::InBandError { after_events: 0 }).on(On::Generation));
    }
    let answer = gateway.chat("m", true).send().await.unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
    let text = answer.text().await.unwrap();
    assert!(text.contains("the runner stopped"), "{text}");

    // Nobody is there any more: what each of them met.
    bad.kill().await;
    good.kill().await;
    let answer = gateway.chat("m", true).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("bad") && message.contains("good"), "{message}");
}

/// Nodes that cannot be reached do not use up the tries: the fifth answers when four have just gone.
#[tokio::test(flavor = "multi_thread")]
async fn four_gone_at_once_and_the_fifth_answers() {
    let mut nodes = Vec::new();
    for name in ["one", "two", "three", "four", "five"] {
        let loaded = name != "five";
        nodes.push(
            SimNode::start(Profile::ollama(name).model(SimModel::new("m").loaded(loaded))).await.unwrap(),
        );
    }
    let gateway = Gateway::over(&nodes.iter().collect::<Vec<_>>(), "").await;
    for node in &nodes[..4] {
        node.kill().await;
    }
    let end = chat(&gateway, false, 8).await.unwrap();
    assert_eq!((end.status, end.node.as_str()), (200, "five"), "{}", end.text);
}

/// At most three nodes are really asked for one request: a request that breaks engines must not break the whole house.
#[tokio::test(flavor = "multi_thread")]
async fn three_tries_at_most() {
    let mut nodes = Vec::new();
    for name in ["one", "two", "three", "four", "five"] {
        nodes.push(SimNode::start(Profile::ollama(name).model(SimModel::new("m"))).await.unwrap());
    }
    let gateway = Gateway::over(&nodes.iter().collect::<Vec<_>>(), "").await;
    for node in &nodes {
        node.set_fault(FaultRule::from(Fault::DieBeforeFirstByte).on(On::Generation));
    }
    let end = chat(&gateway, false, 8).await.unwrap();
    assert_eq!(end.status, 503, "{}", end.text);
    assert_eq!(nodes.iter().map(posts).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
}
