//! Real llama-servers behind a real gateway, asked by the official client libraries.
//! `env $(cargo xtask tools) cargo test -p lamplighter-tests --test real_engines`

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::StreamExt;
use lamplighter_core::node::State;
use lamplighter_tests::{
    clients::{Call, Library, Python, Report},
    house::Gateway,
    llama::{LAMP, Llama, LlamaServer, MOON},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Each model with the node that alone has it, and what it says.
const PAIRS: [(&str, &str, &str); 2] = [("tiny-lamp", "desk", LAMP), ("tiny-moon", "attic", MOON)];
/// Enough to outlast every test: a tiny model makes thousands of tokens a second.
const NO_END: &str = "100000";
/// A context for that many.
const LONG: &[&str] = &["-c", "131072", "-np", "1"];

/// A gateway in front of these servers, all of them up.
async fn over(servers: &[&LlamaServer], rest: &str) -> Gateway {
    let nodes: String = servers.iter().map(|server| server.node("")).collect();
    let gateway = Gateway::start(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{nodes}{rest}")).await;
    gateway.until_up(servers.len()).await;
    gateway
}

/// The node that `explain` names first.
async fn explained(gateway: &Gateway, model: &str, operation: &str) -> String {
    let path = format!("explain?model={model}&operation={operation}");
    let told: Value = gateway.control(&path).await.json().await.unwrap();
    told["candidates"][0]["node"].as_str().unwrap_or_else(|| panic!("nobody: {told}")).to_owned()
}

/// The call was answered by `node`, with its sentence.
fn assert_said(call: &Call, node: &str, sentence: &str) {
    assert!(call.ok, "{call:?}");
    assert_eq!(call.text.trim(), sentence, "{call:?}");
    assert_eq!(call.node(), Some(node), "{call:?}");
    if call.call.contains("stream") {
        assert!(call.more["pieces"].as_u64() > Some(1), "in one piece: {call:?}");
    }
}

fn listed(report: &Report) -> Vec<&str> {
    let models = report.call("models").more["models"].as_array().unwrap();
    models.iter().map(|model| model.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_the_official_clients_is_answered_by_the_node_that_has_the_model() {
    let test = "each_request_of_the_official_clients_is_answered_by_the_node_that_has_the_model";
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let (desk, attic) =
        tokio::join!(llama.one("desk", "tiny-lamp", &[]), llama.one("attic", "tiny-moon", &[]));
    let gateway = over(&[&desk, &attic], "").await;

    for (model, node, sentence) in PAIRS {
        let calls = "models,model,chat,chat_stream,completion,completion_stream,response,response_stream";
        let chosen = ["--calls", calls];
        let (openai, anthropic) = tokio::join!(
            python.run(Library::Openai, &gateway.url, model, &chosen),
            python.run(Library::Anthropic, &gateway.url, model, &[]),
        );
        for name in calls.split(',').skip(2) {
            assert_said(openai.call(name), node, sentence);
        }
        for name in ["message", "message_stream", "message_stream_helper"] {
            assert_said(anthropic.call(name), node, sentence);
        }
        assert_eq!(openai.call("chat_stream").more["finish"], "stop");
        assert_eq!(openai.call("response_stream").more["finish"], "response.completed");
        assert_eq!(anthropic.call("message_stream").more["last"], "message_stop");
        let counted = anthropic.call("count_tokens");
        assert!(counted.more["input_tokens"].as_u64() > Some(3), "{counted:?}");
        assert_eq!(counted.node(), Some(node));
        assert_eq!(openai.call("model").text, model);
        assert_eq!(listed(&openai), ["tiny-lamp", "tiny-moon"]);
        assert_eq!(listed(&anthropic), ["tiny-lamp", "tiny-moon"]);

        for operation in ["chat_completions", "completions", "responses", "messages", "count_tokens"] {
            assert_eq!(explained(&gateway, model, operation).await, node, "{operation}");
        }
        let (code, told, _) = gateway.cli(&["explain", model]);
        assert_eq!(code, 0);
        let first: Vec<_> = told.lines().next().unwrap().split_whitespace().take(3).collect();
        assert_eq!(first, ["1.", node, model]);
    }

    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.requests, totals.failed, totals.cancelled), (20, 0, 0), "{totals:?}");
    assert_eq!(totals.answered, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_go_to_the_server_that_was_started_for_them() {
    let test = "embeddings_go_to_the_server_that_was_started_for_them";
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let embeds = &["--embeddings", "--pooling", "mean", "-ub", "512"];
    let (shelf, attic) =
        tokio::join!(llama.one("shelf", "tiny-lamp", embeds), llama.one("attic", "tiny-moon", &[]));
    let gateway = over(&[&shelf, &attic], "").await;

    let args = ["--calls", "embeddings,chat", "--embed-model", "tiny-lamp"];
    let report = python.run(Library::Openai, &gateway.url, "tiny-moon", &args).await;
    let embedded = report.call("embeddings");
    assert!(embedded.ok, "{embedded:?}");
    assert_eq!(embedded.node(), Some("shelf"));
    assert_eq!(embedded.more["sizes"], json!([64, 64]));
    assert_eq!(embedded.more["different"], true);
    assert_said(report.call("chat"), "attic", MOON);
    assert_eq!(explained(&gateway, "tiny-lamp", "embeddings").await, "shelf");

    // It would answer a chat with 501; nobody needs to ask it.
    let refused = gateway.chat("tiny-lamp", false).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["x-should-retry"], "false");
    let told = refused.text().await.unwrap();
    assert!(told.contains("embeddings only"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_loads_what_a_request_names_and_the_list_shows_it() {
    let test = "a_router_loads_what_a_request_names_and_the_list_shows_it";
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let closet = llama.router("closet").await;
    let gateway = over(&[&closet], "").await;

    let closets = gateway.node("closet").await;
    let models: Vec<_> = closets.models.iter().map(|model| (model.name.as_str(), model.loaded)).collect();
    let unloaded = Some(false);
    assert_eq!(models, [("tiny-lamp", unloaded), ("tiny-moon", unloaded), ("tiny-random", unloaded)]);

    let report =
        python.run(Library::Openai, &gateway.url, "tiny-moon", &["--calls", "chat,chat_stream"]).await;
    assert_said(report.call("chat"), "closet", MOON);
    assert_said(report.call("chat_stream"), "closet", MOON);
    let since = Instant::now();
    let loaded = |snapshot: &lamplighter_core::snapshot::Snapshot| {
        let moon = snapshot.models.iter().find(|model| model.name == "tiny-moon");
        moon.is_some_and(|moon| moon.loaded_on == ["closet"])
    };
    let snapshot = gateway.until(loaded).await;
    assert!(since.elapsed() < Duration::from_secs(10), "the list knew it after {:?}", since.elapsed());
    let lamp = snapshot.models.iter().find(|model| model.name == "tiny-lamp").unwrap();
    assert!(lamp.loaded_on.is_empty(), "{lamp:?}");

    let anthropic = python.run(Library::Anthropic, &gateway.url, "tiny-lamp", &["--calls", "message"]).await;
    assert_said(anthropic.call("message"), "closet", LAMP);

    // A router answers an unknown model with 400. It is not asked: it does not list it.
    let unknown = python.run(Library::Openai, &gateway.url, "tiny-mars", &["--calls", "chat"]).await;
    let unknown = unknown.call("chat");
    assert!(unknown.raised("NotFoundError"), "{unknown:?}");
    assert!(unknown.error.contains("model 'tiny-mars' not found: no node lists it"), "{unknown:?}");
    assert_eq!(unknown.node(), None, "it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_key_wants_it_and_nobody_else_sees_it() {
    let test = "a_node_with_a_key_wants_it_and_nobody_else_sees_it";
    let Some(llama) = Llama::or_skip(test) else { return };
    const KEY: &str = "sk-house-7f3e9d1c5b";
    let safe = llama.one("safe", "tiny-lamp", &["--api-key", KEY]).await;

    let without = Gateway::start(&format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{}", safe.node(""))).await;
    without.until(|snapshot| snapshot.nodes[0].state == State::Refusing).await;
    let shown = without.node("safe").await;
    let why = shown.why.unwrap();
    assert!(why.contains("wants a key") && why.contains("api_key"), "{why}");
    assert!(shown.models.is_empty());
    let refused = without.chat("tiny-lamp", false).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let told = refused.text().await.unwrap();
    assert!(told.contains("safe") && told.contains("api_key"), "{told}");
    let (_, status, _) = without.cli(&["status"]);
    assert!(status.contains("refusing") && status.contains("api_key"), "{status}");
    drop(without);

    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("safe.key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config =
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{}", safe.node("api_key = \"file:safe.key\""));
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let gateway = Gateway::start_in(home).await;
    gateway.until_up(1).await;
    for stream in [false, true] {
        // The client's own key is for us, and does not go up.
        let asked = gateway.chat("tiny-lamp", stream).bearer_auth("sk-of-the-client");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-lamplighter-node"], "safe");
        let shown = format!("{:?}", answer.headers());
        assert!(!shown.contains(KEY), "{shown}");
        assert!(answer.text().await.unwrap().contains("lamp"));
    }

    let seen_by_people = [
        gateway.control("snapshot").await.text().await.unwrap(),
        gateway.control("explain?model=tiny-lamp").await.text().await.unwrap(),
        gateway.cli(&["status", "--json"]).1,
        gateway.cli(&["status"]).1,
        gateway.cli(&["models", "--json"]).1,
        gateway.cli(&["explain", "tiny-lamp"]).1,
        gateway.log(),
    ];
    for seen in &seen_by_people {
        assert!(!seen.is_empty() && !seen.contains(KEY), "{seen}");
    }
    for file in files(gateway.home.path()) {
        if !file.ends_with("safe.key") {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            assert!(!text.contains(KEY), "{}", file.display());
        }
    }
}

/// Every file under `folder`.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Waits until a request on `node` has had this many events.
async fn until_streaming(gateway: &Gateway, node: &str, events: u64) {
    gateway
        .until(|snapshot| {
            let mut requests = snapshot.requests.iter();
            requests.any(|request| request.node.as_deref() == Some(node) && request.events >= events)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_its_answer_makes_the_client_raise() {
    let test = "a_server_killed_in_the_middle_of_its_answer_makes_the_client_raise";
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let cases = [
        (Library::Openai, "chat_stream", "APIError"),
        (Library::Openai, "completion_stream", "APIError"),
        (Library::Anthropic, "message_stream", "APIError"),
        (Library::Anthropic, "message_stream_helper", "APIError"),
    ];
    for (library, call, kind) in cases {
        let mut noise = llama.one("noise", "tiny-random", LONG).await;
        let gateway = over(&[&noise], "").await;
        let args = ["--calls", call, "--max-tokens", NO_END];
        let mut running = python.start(library, &gateway.url, "tiny-random", &args);
        until_streaming(&gateway, "noise", 50).await;
        assert!(!running.has_ended(), "the answer was over too soon");
        noise.kill();
        let report = running.report().await;
        let cut = report.call(call);
        assert!(cut.raised(kind), "{library:?}: {cut:?}");
        assert!(cut.error.contains("noise broke the connection in the middle of its answer"), "{cut:?}");
        assert_eq!(gateway.snapshot().await.totals.failed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_the_server() {
    let test = "a_client_that_hangs_up_frees_the_server";
    let Some(llama) = Llama::or_skip(test) else { return };
    let Some(python) = Python::or_skip(test) else { return };
    let noise = llama.one("noise", "tiny-random", LONG).await;
    let gateway = over(&[&noise], "").await;

    let body = json!({ "model": "tiny-random", "stream": true, "max_tokens": 100_000,
        "messages": [{ "role": "user", "content": "hi" }] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "noise");
    let mut pieces = answer.bytes_stream();
    for _ in 0..5 {
        pieces.next().await.unwrap().unwrap();
    }
    assert_eq!(noise.busy_slots().await, 1);
    drop(pieces);
    assert_idle_soon(&noise, &gateway).await;

    // A client program that leaves, and one that dies.
    let args = ["--calls", "chat_stream", "--max-tokens", NO_END, "--leave-after", "5"];
    let report = python.run(Library::Openai, &gateway.url, "tiny-random", &args).await;
    assert!(report.ok, "{report:?}");
    assert_idle_soon(&noise, &gateway).await;
    let running = python.start(
        Library::Anthropic,
        &gateway.url,
        "tiny-random",
        &["--calls", "message_stream", "--max-tokens", NO_END],
    );
    until_streaming(&gateway, "noise", 5).await;
    assert_eq!(noise.busy_slots().await, 1);
    drop(running);
    assert_idle_soon(&noise, &gateway).await;
    let totals = gateway.snapshot().await.totals;
    assert_eq!((totals.cancelled, totals.answered, totals.failed), (3, 0, 0), "{totals:?}");
}

/// The server works on nothing within 2 s, and the gateway knows of nothing.
async fn assert_idle_soon(server: &LlamaServer, gateway: &Gateway) {
    let since = Instant::now();
    while server.busy_slots().await > 0 {
        assert!(since.elapsed() < Duration::from_secs(2), "still at work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let snapshot = gateway.until(|snapshot| snapshot.requests.is_empty()).await;
    assert_eq!(snapshot.nodes[0].active, 0);
    assert!(since.elapsed() < Duration::from_secs(2), "freed after {:?}", since.elapsed());
}
